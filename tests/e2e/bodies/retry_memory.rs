//! What is kept of a body for a retry costs about as much memory as its bytes, however small the pieces in which they
//! came.

#![cfg(target_os = "linux")]

use std::sync::atomic::Ordering;

use turnout_tests::process::peak_memory_kib;

use super::Fixture;
use super::client::Http1;

const CLIENTS: usize = 8;
const PIECES: u64 = 400;

/// The bytes themselves are 3 KiB. A page for each piece would be 12 MiB, a buffer of 8 KiB for each twice that.
const ENOUGH_KIB: u64 = 6 * 1024;

#[tokio::test]
async fn a_body_of_tiny_pieces_that_may_be_sent_again_costs_little_more_than_its_bytes() {
    let fixture = Fixture::serving("retries: {attempts: 1, retryOn: 5xx}", &["--request-buffer-bytes", "0"]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Http1::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        let head = format!("POST /held/{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head.as_bytes()).await.expect("the gateway takes it");
        clients.push(client);
    }
    let mut before = 0;
    for piece in 0..PIECES {
        for client in &mut clients {
            client
                .send(&[b"1\r\n".as_slice(), &super::piece(piece, piece + 1), b"\r\n"].concat())
                .await
                .expect("taken");
        }
        // So that each is read by itself.
        for number in 0..CLIENTS {
            let target = format!("/held/{number}");
            fixture.wait_for(&target, |seen| seen.received.load(Ordering::Relaxed) > piece).await;
        }
        if piece == 0 {
            before = peak_memory_kib(fixture.gateway.id()).expect("/proc can be read");
        }
    }
    let after = peak_memory_kib(fixture.gateway.id()).expect("/proc can be read");
    println!("{before} KiB before, {after} KiB after {CLIENTS} bodies of {PIECES} pieces of one byte");
    assert!(after - before < ENOUGH_KIB, "{before} KiB before, {after} KiB after");
}
