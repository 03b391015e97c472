//! How much a tunnel passes, and how little the gateway holds of it.

use super::scene::{LONG, bytes, handshake, head};
use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::process::peak_memory_kib;

/// Of the bytes that come again and again. It is a prime, so whatever is lost, doubled or moved on the way tells.
const PERIOD: usize = 1_048_573;

const ALL: u64 = 1 << 30;

/// How much of it there may be in the gateway at any time: two buffers, and what its allocator keeps.
const ROOM_KIB: u64 = 8 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_back_through_a_tunnel_in_little_memory() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--workers", "1"]).await?;
    let mut client = TcpStream::connect(bed.address()).await?;
    client.write_all(&handshake("/chat").to_bytes()).await?;
    ensure!(head(&mut client).await?.starts_with("HTTP/1.1 101 "));
    let before = peak_memory_kib(bed.gateway.id())?;
    let period = bytes(PERIOD);
    let (mut read, mut write) = client.split();
    let sending = async {
        let mut left = ALL;
        while left > 0 {
            let count = left.min(PERIOD as u64);
            write.write_all(&period[..usize::try_from(count)?]).await?;
            left -= count;
        }
        anyhow::Ok(())
    };
    let receiving = async {
        let (mut came, mut at, mut buffer) = (0_u64, 0, vec![0; 256 << 10]);
        while came < ALL {
            let count =
                timeout(LONG, read.read(&mut buffer)).await.with_context(|| format!("it stops at {came}"))??;
            ensure!(count > 0, "it ends at {came}");
            let (first, rest) = buffer[..count].split_at(count.min(PERIOD - at));
            ensure!(
                first == &period[at..at + first.len()] && rest == &period[..rest.len()],
                "something else at {came}"
            );
            at = (at + count) % PERIOD;
            came += count as u64;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    let grown = peak_memory_kib(bed.gateway.id())? - before;
    println!("{grown} KiB more after {ALL} bytes both ways");
    ensure!(grown < ROOM_KIB, "{grown} KiB more");
    Ok(())
}
