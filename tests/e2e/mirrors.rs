//! Copies of requests: what the mirror does, or does not do, is nothing to the client.

use anyhow::ensure;
use std::time::Duration;
use tokio::net::TcpListener;
use turnout_tests::bed::{Bed, PORT, documents, service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::process::{allow_descriptors, memory_kib};

const DEADLINE: Duration = Duration::from_secs(20);
const COUNT: &str = "turnout_mirrored_requests_total";

fn to(mirror: &str) -> String {
    format!("- route: [{{destination: {{host: green}}}}]\n  mirror: {{host: {mirror}}}")
}

fn post() -> RawRequest {
    RawRequest::new("POST", "/score").header("Host", "scoring.example.com")
}

/// A body that tells its parts apart.
fn body(bytes: usize) -> Vec<u8> {
    (0..=bytes / 8).flat_map(|n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(bytes).collect()
}

async fn counted(bed: &Bed, expected: &[(&str, f64)]) -> anyhow::Result<()> {
    eventually(DEADLINE, || async {
        for (result, count) in expected {
            let got = bed.count(COUNT, &[("result", result)]).await?;
            ensure!(got.total_cmp(count).is_eq(), "{result}: {got}, not {count}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_copy_has_the_whole_body_whatever_its_size() -> anyhow::Result<()> {
    let bed = Bed::start(&to("mirror"), &[]).await?;
    for bytes in [0, 1, 60_000, 200_000, 10 << 20] {
        for chunked in [false, true] {
            bed.backends.clear();
            let body = body(bytes);
            let request = post();
            let request = if chunked { request.chunked_body(&body, &[]) } else { request.sized_body(&body) };
            let response = bed.send(&request).await?;
            ensure!(response.status == 200 && response.backend() == Some("green"), "{bytes}: {response:?}");
            eventually(DEADLINE, || async {
                let received = bed.backends.received();
                for name in ["green", "mirror"] {
                    let one = received.iter().find(|one| one.backend == name && one.body_complete);
                    ensure!(
                        one.is_some_and(|one| one.body == body),
                        "{name} has not {bytes} bytes, chunked: {chunked}"
                    );
                }
                Ok(())
            })
            .await?;
        }
    }
    counted(&bed, &[("answered", 10.0), ("failed", 0.0), ("dropped", 0.0)]).await
}

#[tokio::test]
async fn a_mirror_that_fails_fails_nobody() -> anyhow::Result<()> {
    let faults = ["reset", "close", "garbage", "close-mid-body", "status=500", "delay=1s"];
    for (mirror, faults) in [("mirror", &faults[..]), ("dead", &[""]), ("empty", &[""]), ("nobody.example.com", &[""])]
    {
        let bed = Bed::start(&to(mirror), &["--workers", "1"]).await?;
        for fault in faults {
            for bytes in [0, 100_000, 3 << 20] {
                let request = post().header("x-echo", &format!("{fault}; only=mirror"));
                let response = bed.send(&request.sized_body(&body(bytes))).await?;
                ensure!(response.status == 200 && response.backend() == Some("green"), "{mirror} {fault} {response:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn copies_that_nobody_answers_are_bounded_and_counted() -> anyhow::Result<()> {
    const MOST: u32 = 1024;
    const MORE: u32 = 50;
    allow_descriptors(6_000)?;
    let bed = Bed::start(&to("mirror"), &["--workers", "1"]).await?;
    let mut connection = bed.open().await?;
    for number in 0..MOST + MORE {
        let request = RawRequest::get("/").header("x-echo", "delay=600s; only=mirror");
        let response = connection.exchange(&request).await?;
        ensure!(response.status == 200, "{number}: {response:?}");
    }
    counted(&bed, &[("dropped", f64::from(MORE)), ("answered", 0.0), ("failed", 0.0)]).await
}

#[tokio::test]
async fn bodies_that_a_mirror_does_not_take_are_bounded_in_memory() -> anyhow::Result<()> {
    const EACH: usize = 16 << 20;
    const REQUESTS: u64 = 10;
    const ROOM_KIB: u64 = 64 << 10;
    let backends = Backends::start().await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let documents = format!("{}{}", service("silent", &[silent.local_addr()?]), documents(&backends, &to("silent")));
    let bed = Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await?;
    let before = memory_kib(bed.gateway.id())?;
    for number in 0..REQUESTS {
        let response = bed.send(&RawRequest::post("/score", &body(EACH))).await?;
        ensure!(response.status == 200, "{number}: {response:?}");
    }
    let grown = memory_kib(bed.gateway.id())?.saturating_sub(before);
    println!("{grown} KiB more after {REQUESTS} bodies of {EACH} bytes that a mirror did not take");
    ensure!(grown < ROOM_KIB + ROOM_KIB / 2, "{grown} KiB");
    ensure!(bed.count(COUNT, &[("result", "failed")]).await? > 0.0, "those that there was no room for");
    Ok(())
}
