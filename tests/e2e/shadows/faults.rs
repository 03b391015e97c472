//! A candidate that misbehaves: the live requests do not, and each misbehaviour has its count.

use super::{DEADLINE, RULE, bed, counted, ensure_skipped, policy, post, received, send, settled};
use anyhow::ensure;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use turnout_tests::bed::{Bed, PORT, documents, service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::process::memory_kib;
use turnout_verdict::evidence::Failures;

const SHADOW: &str = "percent: 100, noise: 0, methods: [POST], timeout: 1s";
const NONE: Failures = Failures { status: 0, gateway: 0, timeout: 0, reported: 0 };

#[tokio::test]
async fn a_candidate_that_fails_fails_nobody_and_each_way_has_its_count() -> anyhow::Result<()> {
    let gateway = Failures { gateway: 2, ..NONE };
    let faults = [
        ("reset", "reset", gateway),
        ("close", "reset", gateway),
        ("garbage", "protocol", gateway),
        ("close-mid-body", "answer_incomplete", gateway),
        ("reset-mid-body", "answer_incomplete", gateway),
        ("delay=600s", "timeout", Failures { timeout: 2, ..NONE }),
        ("status=503", "", Failures { status: 2, ..NONE }),
        ("header=x-ms-run-function-failed:True", "", Failures { reported: 2, ..NONE }),
        ("status=404", "", NONE),
        ("header=content-encoding:gzip", "encoded", NONE),
    ];
    for (fault, reason, failures) in faults {
        let bed = bed(RULE, SHADOW, &["--workers", "1"]).await?;
        for bytes in [10, 200_000] {
            let began = Instant::now();
            send(&bed, &post(&vec![b'x'; bytes]).header("x-echo", &format!("{fault}; only=blue"))).await?;
            println!("{fault}, {bytes} bytes: answered in {:?}", began.elapsed());
        }
        let counted = settled(&bed, 2).await?;
        let reasons: Vec<_> = (!reason.is_empty()).then_some((reason, 2)).into_iter().collect();
        ensure_skipped(&counted, &reasons)?;
        assert_eq!((counted.copies, counted.candidate.requests), (2, 2), "{fault}");
        assert_eq!(counted.candidate.failures, failures, "{fault}");
        assert_eq!(counted.only_candidate_failed, failures.total(), "{fault}");
        let labels = [("policy", "default/split"), ("result", if reason.is_empty() { "compared" } else { reason })];
        let told = bed.count("turnout_shadow_requests_total", &labels).await?;
        ensure!(told.total_cmp(&2.0).is_eq(), "{fault}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_candidate_that_is_nowhere_is_counted_and_none_of_its_failures() -> anyhow::Result<()> {
    for (host, reason, requests) in
        [("dead", "connect", 3), ("empty", "no_endpoints", 0), ("nobody.example.com", "no_endpoints", 0)]
    {
        let bed = bed(RULE, &format!("to: {{host: {host}}}, {SHADOW}"), &[]).await?;
        for _ in 0..3 {
            send(&bed, &post(b"{}")).await?;
        }
        let counted = settled(&bed, 3).await?;
        ensure_skipped(&counted, &[(reason, 3)])?;
        assert_eq!((counted.candidate.requests, counted.candidate.failures.gateway), (requests, requests), "{host}");
    }
    Ok(())
}

/// A backend that answers without end, and how much of it was taken.
async fn flood() -> anyhow::Result<(SocketAddr, tokio::sync::mpsc::UnboundedReceiver<usize>)> {
    const MOST: usize = 100 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (told, taken) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {MOST}\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
                let (piece, mut sent) = (vec![b'1'; 64 << 10], 0);
                while sent < MOST && stream.write_all(&piece).await.is_ok() {
                    sent += piece.len();
                }
                let _ = told.send(sent);
            });
        }
    });
    Ok((address, taken))
}

#[tokio::test]
async fn an_answer_of_100_mib_is_cut_off() -> anyhow::Result<()> {
    const REQUESTS: u64 = 20;
    let (address, mut taken) = flood().await?;
    let backends = Backends::start().await?;
    let documents = service("flood", &[address])
        + &documents(&backends, RULE)
        + &policy(&format!("to: {{host: flood}}, {SHADOW}").replace("1s", "20s"));
    let bed = Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await?;
    let before = memory_kib(bed.gateway.id())?;
    for _ in 0..REQUESTS {
        send(&bed, &post(b"{}")).await?;
    }
    let counted = settled(&bed, REQUESTS).await?;
    ensure_skipped(&counted, &[("answer_too_large", REQUESTS)])?;
    assert_eq!((counted.candidate.requests, counted.candidate.failures), (REQUESTS, NONE));
    let grown = memory_kib(bed.gateway.id())?.saturating_sub(before);
    println!("{grown} KiB more after {REQUESTS} answers of 100 MiB");
    ensure!(grown < 64 << 10, "{grown} KiB");
    for _ in 0..REQUESTS {
        let sent = taken.recv().await.unwrap_or_default();
        ensure!(sent < 50 << 20, "{sent} bytes were taken");
    }
    Ok(())
}

#[tokio::test]
async fn a_live_answer_that_fails_or_breaks_off_makes_no_pair() -> anyhow::Result<()> {
    let bed = bed(RULE, SHADOW, &[]).await?;
    for (fault, status) in [("reset; only=green", 503), ("status=500; only=green", 500)] {
        let response = bed.send(&post(b"{}").header("x-echo", fault)).await?;
        ensure!(response.status == status, "{fault}: {response:?}");
    }
    // It announces more than it sends.
    let _ = bed.send(&post(b"{}").header("x-echo", "close-mid-body; only=green")).await;
    let counted = settled(&bed, 3).await?;
    ensure_skipped(&counted, &[("live_failed", 1), ("live_incomplete", 1)])?;
    assert_eq!((counted.pairs, counted.only_stable_failed, counted.only_candidate_failed), (1, 3, 0), "{counted:?}");
    Ok(())
}

#[tokio::test]
async fn a_live_answer_that_is_compressed_makes_no_pair() -> anyhow::Result<()> {
    let bed = bed(RULE, SHADOW, &[]).await?;
    send(&bed, &post(b"{}").header("x-echo", "header=content-encoding:gzip; only=green")).await?;
    let counted = settled(&bed, 1).await?;
    ensure_skipped(&counted, &[("encoded", 1)])?;
    assert_eq!((counted.only_stable_failed, counted.only_candidate_failed), (0, 0));
    Ok(())
}

#[tokio::test]
async fn both_have_the_same_time_the_smaller_of_the_shadows_and_the_rules() -> anyhow::Result<()> {
    let long = SHADOW.replace("1s", "600s");
    let rule = |more: &str| format!("{RULE}\n  {more}");
    for (rule, shadow) in [
        (RULE.to_owned(), SHADOW),
        (rule("timeout: 1s"), &long),
        (rule("retries: {attempts: 1, perTryTimeout: 1s, retryOn: connect-failure}"), &long),
    ] {
        let bed = bed(&rule, shadow, &["--workers", "1"]).await?;
        for (fault, failed) in [("delay=3s; only=green", (1, 0)), ("delay=3s; only=blue", (1, 1)), ("delay=3s", (1, 1))]
        {
            let before = counted(&bed).await?;
            bed.send(&post(b"{}").header("x-echo", fault)).await?;
            let over = before.pairs + before.skipped.values().sum::<u64>() + 1;
            let counted = settled(&bed, over).await?;
            let told = (counted.only_stable_failed, counted.only_candidate_failed);
            ensure!(told == failed, "{rule}, {fault}: {counted:?}");
        }
        let counted = counted(&bed).await?;
        assert_eq!((counted.pairs, counted.candidate.failures), (0, Failures { timeout: 2, ..NONE }), "{rule}");
    }
    Ok(())
}

/// A live answer may be late by its client, and is not held against stable.
#[tokio::test]
async fn an_answer_that_has_begun_in_time_and_ends_late_does_not_count_for_one_side_alone() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (mut open, mut head) = (Vec::new(), [0; 4096]);
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await;
            open.push(stream);
        }
    });
    let backends = Backends::start().await?;
    let shadow = policy(&format!("to: {{host: stalls}}, {SHADOW}"));
    let documents = service("stalls", &[address]) + &documents(&backends, RULE) + &shadow;
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    send(&bed, &post(b"{}")).await?;
    let counted = settled(&bed, 1).await?;
    ensure_skipped(&counted, &[("timeout", 1)])?;
    assert_eq!((counted.candidate.failures.timeout, counted.only_candidate_failed), (1, 0));
    Ok(())
}

#[tokio::test]
async fn of_stable_the_first_try_counts_as_of_the_candidate() -> anyhow::Result<()> {
    let rule = format!("{RULE}\n  retries: {{attempts: 3, retryOn: 5xx}}");
    let bed = bed(&rule, SHADOW, &["--workers", "1"]).await?;
    // Both have a connection then, and a copy is sent before an answer is read.
    send(&bed, &post(b"{}")).await?;
    settled(&bed, 1).await?;
    bed.backends.clear();
    send(&bed, &post(b"{}").header("x-echo", "status=503; first=2")).await?;
    let counted = settled(&bed, 2).await?;
    ensure!(received(&bed, "green").len() == 2 && received(&bed, "blue").len() == 1, "{counted:?}");
    assert_eq!(counted.candidate.failures, Failures { status: 1, ..NONE });
    assert_eq!((counted.only_stable_failed, counted.only_candidate_failed), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_copy_along() -> anyhow::Result<()> {
    let bed = bed(RULE, &SHADOW.replace("1s", "600s"), &[]).await?;
    let mut client = bed.open().await?;
    let request =
        RawRequest::new("POST", "/").header("Host", "a").header("Content-Length", "200000").body(&vec![0; 100_000]);
    client.send(&request.to_bytes()).await?;
    eventually(DEADLINE, || async {
        let begun = bed.backends.received().iter().filter(|one| one.backend == "blue").count();
        ensure!(begun == 1, "{begun}");
        Ok(())
    })
    .await?;
    drop(client);
    let counted = settled(&bed, 1).await?;
    ensure_skipped(&counted, &[("request_incomplete", 1)])?;
    assert_eq!((counted.candidate.requests, received(&bed, "blue").len()), (0, 0), "it is not to blame");
    Ok(())
}
