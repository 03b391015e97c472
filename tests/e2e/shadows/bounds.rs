//! What copies may take: places, bytes, and of a backend's limits what nobody needs.

use super::{DEADLINE, RULE, bed, counted, ensure_skipped, policy, post, send, settled};
use anyhow::ensure;
use std::time::Instant;
use tokio::net::TcpListener;
use turnout_tests::bed::{Bed, PORT, documents, service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::process::memory_kib;

const HANGS: &str = "delay=600s; only=blue";

#[tokio::test]
async fn no_more_are_under_way_than_may_be_in_all_workers() -> anyhow::Result<()> {
    const MOST: u64 = 4;
    const REQUESTS: u64 = 20;
    let shadow = format!("percent: 100, noise: 0, methods: [POST], maxInFlight: {MOST}, timeout: 600s");
    let bed = bed(RULE, &shadow, &["--workers", "2"]).await?;
    for _ in 0..REQUESTS {
        // Each over a connection of its own: workers take turns.
        send(&bed, &post(b"{}").header("x-echo", HANGS)).await?;
    }
    let counted = settled(&bed, REQUESTS - MOST).await?;
    ensure_skipped(&counted, &[("in_flight", REQUESTS - MOST)])?;
    assert_eq!(counted.copies, MOST);
    Ok(())
}

#[tokio::test]
async fn places_are_free_again_when_the_time_is_over() -> anyhow::Result<()> {
    let shadow = "percent: 100, noise: 0, methods: [POST], maxInFlight: 1, timeout: 200ms";
    let bed = bed(RULE, shadow, &[]).await?;
    for round in 1..=3 {
        send(&bed, &post(b"{}").header("x-echo", HANGS)).await?;
        let counted = settled(&bed, round).await?;
        ensure_skipped(&counted, &[("timeout", round)])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_copied_however_its_length_is_told() -> anyhow::Result<()> {
    let bed = bed(RULE, "percent: 100, noise: 100, methods: [POST], maxBodyBytes: 100000", &[]).await?;
    let request = || RawRequest::new("POST", "/score").header("Host", "scoring.example.com");
    for bytes in [100_001, 3 << 20] {
        let body = vec![b'x'; bytes];
        send(&bed, &request().sized_body(&body)).await?;
        send(&bed, &request().chunked_body(&body, &[])).await?;
    }
    let counted = settled(&bed, 4).await?;
    ensure_skipped(&counted, &[("request_too_large", 4)])?;
    assert_eq!((counted.candidate.requests, counted.pairs), (0, 0), "what is not whole is nobody's failure");
    send(&bed, &request().sized_body(&vec![b'x'; 100_000])).await?;
    assert_eq!(settled(&bed, 5).await?.pairs, 1);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_compared_whosever_it_is() -> anyhow::Result<()> {
    let bed = bed(RULE, "percent: 100, noise: 0, methods: [POST], maxBodyBytes: 1000", &[]).await?;
    let large = format!("body={}", "x".repeat(1001));
    for only in ["green", "blue"] {
        send(&bed, &post(b"{}").header("x-echo", &format!("{large}; only={only}"))).await?;
    }
    let counted = settled(&bed, 2).await?;
    ensure_skipped(&counted, &[("answer_too_large", 2)])?;
    assert_eq!((counted.candidate.requests, counted.candidate.failures.total()), (2, 0));
    Ok(())
}

#[tokio::test]
async fn bodies_that_a_candidate_does_not_take_are_bounded_in_memory() -> anyhow::Result<()> {
    const EACH: usize = 16 << 20;
    const REQUESTS: u64 = 10;
    const ROOM_KIB: u64 = 64 << 10;
    let backends = Backends::start().await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let shadow =
        format!("to: {{host: silent}}, percent: 100, noise: 0, methods: [POST], maxBodyBytes: {EACH}, timeout: 600s");
    let documents = service("silent", &[silent.local_addr()?]) + &documents(&backends, RULE) + &policy(&shadow);
    let bed = Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await?;
    let before = memory_kib(bed.gateway.id())?;
    for number in 0..REQUESTS {
        let began = Instant::now();
        send(&bed, &post(&vec![b'x'; EACH])).await?;
        println!("{number}: answered in {:?}", began.elapsed());
    }
    let grown = memory_kib(bed.gateway.id())?.saturating_sub(before);
    println!("{grown} KiB more after {REQUESTS} bodies of {EACH} bytes that a candidate did not take");
    ensure!(grown < ROOM_KIB + ROOM_KIB / 2, "{grown} KiB");
    let skipped = counted(&bed).await?.skipped;
    ensure!(skipped.get("memory").is_some_and(|count| *count > 0), "{skipped:?}");
    Ok(())
}

/// The time of one that takes nothing runs from when the request has come.
#[tokio::test]
async fn a_candidate_that_takes_nothing_is_given_up_when_its_time_is_over() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let shadow = "to: {host: silent}, percent: 100, noise: 0, methods: [POST], maxBodyBytes: 33554432, timeout: 200ms";
    let documents = service("silent", &[silent.local_addr()?]) + &documents(&backends, RULE) + &policy(shadow);
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    send(&bed, &post(&vec![b'x'; 32 << 20])).await?;
    let counted = settled(&bed, 1).await?;
    ensure_skipped(&counted, &[("timeout", 1)])?;
    assert_eq!(counted.candidate.failures.timeout, 1);
    Ok(())
}

#[tokio::test]
async fn half_of_a_backends_limits_is_for_those_who_are_waited_for() -> anyhow::Result<()> {
    let limited = |host: &str, limits: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}, namespace: default}}\n\
             spec: {{host: {host}, trafficPolicy: {{connectionPool: {limits}}}}}\n"
        )
    };
    let shadow = "percent: 100, noise: 0, methods: [POST], timeout: 600s";
    for limits in
        ["{http: {http2MaxRequests: 4}}", "{http: {http1MaxPendingRequests: 4}}", "{tcp: {maxConnections: 4}}"]
    {
        let backends = Backends::start().await?;
        let documents = documents(&backends, RULE) + &policy(shadow) + &limited("blue", limits);
        let bed = Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await?;
        for number in 1..=5_usize {
            send(&bed, &post(b"{}").header("x-echo", HANGS)).await?;
            eventually(DEADLINE, || async {
                let counted = counted(&bed).await?;
                let begun = counted.copies + counted.skipped.values().sum::<u64>();
                ensure!(begun == number as u64, "{counted:?}");
                Ok(())
            })
            .await?;
        }
        let counted = counted(&bed).await?;
        ensure_skipped(&counted, &[("busy", 3)])?;
        assert_eq!(counted.copies, 2, "{limits}");
    }
    Ok(())
}
