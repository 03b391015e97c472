//! Heads that are refused before there is a request: an operator finds each in the metrics and in the access log, and a
//! client is told why, like those that are refused later.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest, RawResponse};
use turnout_tests::eventually;
use turnout_tests::wire::latin1_bytes;

const LONG: Duration = Duration::from_secs(10);

/// Heads, and the statuses that they are answered with.
fn refused() -> Vec<(&'static str, String, u16)> {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes));
    let many = (1..=100).fold(String::new(), |mut lines, number| {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "x-{number}: v\r");
        lines
    });
    vec![
        ("a head of more than 60 KiB", get(&format!("X-A: {}\r\n", "x".repeat(70_000))), 431),
        ("a head of more than all buffers", get(&format!("X-A: {}\r\n", "x".repeat(500_000))), 431),
        ("101 fields", get(&many), 431),
        ("a target of more than 8 KiB", target(9000), 414),
        ("a target of more than 60 KiB", target(65_000), 414),
        ("a target of more than http allows", target(70_000), 414),
        ("a name with a space", get("X A: 1\r\n"), 400),
        ("a field without a colon", get("X-A\r\n"), 400),
        ("a folded field", get("X-A: 1\r\n 2\r\n"), 400),
        ("a NUL in a value", get("X-A: 1\0\r\n"), 400),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n"), 400),
        ("no length", post("Content-Length: x\r\n"), 400),
        ("an unknown coding last", post("Transfer-Encoding: gzip\r\n"), 400),
        ("a bad method", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a version that does not exist", "GET / HTTP/1.9\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("another protocol's version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
    ]
}

async fn answered(bed: &Bed, head: &str) -> anyhow::Result<RawResponse> {
    let mut connection: RawConnection = bed.open().await?;
    // A gateway that refuses early may close before all is sent.
    let _ = connection.send(&latin1_bytes(head)).await;
    connection.response("GET").await.context("no answer")
}

#[tokio::test]
async fn a_refused_head_is_counted_and_logged() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--access-log", "json", "--log", "off", "--workers", "1"]).await?;
    let mut problems = String::new();
    for (name, head, status) in refused() {
        let before = bed.gateway.log().lines().count();
        let code = status.to_string();
        let labels = [("response_flags", "DPE"), ("response_code", &*code), ("reporter", "source")];
        let counted = bed.count("istio_requests_total", &labels).await?;
        match answered(&bed, &head).await {
            Ok(response) if response.status == status => {}
            Ok(response) => writeln!(problems, "{name}: answered {}, not {status}", response.status)?,
            Err(error) => writeln!(problems, "{name}: {error:#}")?,
        }
        // The log is written behind the answer; a request that is served is the next line, so none is waited for in vain.
        ensure!(bed.send(&RawRequest::get("/served")).await?.status == 200);
        let written = || async {
            let log = bed.gateway.log();
            let lines: Vec<String> = log.lines().skip(before).map(str::to_owned).collect();
            ensure!(lines.iter().any(|line| line.contains("/served")) && log.ends_with('\n'), "nothing is logged");
            Ok(lines)
        };
        let lines: Vec<String> = eventually(LONG, written).await?;
        let entry: Option<Value> = lines.first().and_then(|line| serde_json::from_str(line).ok());
        let entry = entry.filter(|entry| lines.len() == 2 && entry["status"] == status && entry["flags"] == "DPE");
        if entry.is_none() {
            writeln!(problems, "{name}: logged as {lines:?}")?;
        }
        let more = bed.count("istio_requests_total", &labels).await? - counted;
        if (more - 1.0).abs() > 0.1 {
            writeln!(problems, "{name}: counted {more} times as {status} with DPE")?;
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

#[tokio::test]
async fn a_refused_head_is_answered_with_its_reason() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = String::new();
    for (name, head, _) in refused() {
        let response = match answered(&bed, &head).await {
            Ok(response) => response,
            Err(error) => {
                writeln!(problems, "{name}: {error:#}")?;
                continue;
            }
        };
        let reason = response.header("x-turnout-reason");
        let body = response.json().unwrap_or_default();
        let told = body["reason"].as_str().is_some_and(|told| Some(told) == reason);
        if !told || body["error"].as_str().is_none_or(str::is_empty) {
            writeln!(problems, "{name}: {reason:?}, {:?}", response.text())?;
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}
