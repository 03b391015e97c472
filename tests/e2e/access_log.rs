//! The access log: one line for each request, whatever became of it, and nothing that a client sends leaves its field.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;
use turnout_tests::bed::{Bed, documents};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::proxy_binary;

const LONG: Duration = Duration::from_secs(10);

const RULES: &str = "- match: [{uri: {prefix: /dead}}]
  route: [{destination: {host: dead}}]
- match: [{uri: {prefix: /direct}}]
  directResponse: {status: 418, body: {string: tea}}
- match: [{uri: {prefix: /}, headers: {x-none: {exact: never}}}]
  route: [{destination: {host: blue}}]
- match: [{uri: {prefix: /score}}]
  route: [{destination: {host: green}}]";

/// A gateway whose standard output and error hold nothing but the access log; with one worker, in the requests' order.
async fn logging(form: &str) -> anyhow::Result<Bed> {
    Bed::start(RULES, &["--access-log", form, "--log", "off", "--workers", "1"]).await
}

/// The lines that were written, once there are so many.
async fn lines(bed: &Bed, count: usize) -> anyhow::Result<Vec<String>> {
    let lines = eventually(LONG, || async {
        let log = bed.gateway.log();
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        ensure!(lines.len() >= count && log.ends_with('\n'), "{} lines, not {count}: {log}", lines.len());
        Ok(lines)
    });
    let lines = lines.await?;
    ensure!(lines.len() == count, "{} lines, not {count}: {lines:#?}", lines.len());
    Ok(lines)
}

async fn entries(bed: &Bed, count: usize) -> anyhow::Result<Vec<Value>> {
    let lines = lines(bed, count).await?;
    lines.iter().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
}

#[tokio::test]
async fn every_request_is_one_json_object() -> anyhow::Result<()> {
    let bed = logging("json").await?;
    let requests = [
        (RawRequest::post("/score?x=1", b"{\"data\": [1]}"), 200, "-"),
        (RawRequest::get("/none"), 404, "NR"),
        (RawRequest::get("/dead"), 503, "URX,UF"),
        (RawRequest::get("/direct"), 418, "-"),
        (RawRequest::new("GET", "/score"), 400, "DPE"),
    ];
    for (request, status, _) in &requests {
        assert_eq!(bed.send(request).await?.status, *status);
    }
    let entries = entries(&bed, requests.len()).await?;
    for (entry, (request, status, flags)) in entries.iter().zip(&requests) {
        assert_eq!((&entry["status"], &entry["flags"]), (&(*status).into(), &(*flags).into()), "{request:?}");
        for field in ["timestamp", "method", "path", "protocol", "duration_ms", "request_bytes", "response_bytes"] {
            assert!(!entry[field].is_null(), "{field} is missing in {entry}");
        }
        assert!(entry["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{entry}");
        assert!(entry["request_id"].as_str().is_some_and(|id| id.len() == 36), "{entry}");
    }
    let scored = &entries[0];
    let fields = [
        ("method", "POST"),
        ("path", "/score?x=1"),
        ("authority", "scoring.example.com"),
        ("service", "green.default.svc.cluster.local"),
        ("version", "green"),
    ];
    for (field, value) in fields {
        assert_eq!(scored[field], value, "{scored}");
    }
    assert_eq!(scored["endpoint"], bed.backends.address("green").to_string());
    assert_eq!((&scored["request_bytes"], &scored["retries"]), (&13.into(), &0.into()));
    assert!(scored["response_bytes"].as_u64() > Some(100), "{scored}");
    assert!(scored["route"].as_str().is_some_and(|route| route.contains("scoring")), "{scored}");
    assert_eq!(entries[2]["retries"], 2);
    let id = bed.backends.received()[0].headers.first("x-request-id").map(str::to_owned);
    assert_eq!(scored["request_id"].as_str(), id.as_deref(), "the backend was told the same id");
    Ok(())
}

#[tokio::test]
async fn text_is_one_line_for_each_request() -> anyhow::Result<()> {
    let bed = logging("text").await?;
    for path in ["/score", "/none", "/direct"] {
        bed.send(&RawRequest::get(path)).await?;
    }
    let lines = lines(&bed, 3).await?;
    for (line, (path, status)) in lines.iter().zip([("/score", "200"), ("/none", "404"), ("/direct", "418")]) {
        assert!(line.contains(path) && line.contains(status) && line.contains("GET"), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours where nobody looks: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn no_log_is_written_by_default() -> anyhow::Result<()> {
    let bed = Bed::start(RULES, &["--log", "off"]).await?;
    for _ in 0..5 {
        bed.send(&RawRequest::get("/score")).await?;
    }
    let counted = bed.count("istio_requests_total", &[("reporter", "source")]).await?;
    assert!((counted - 5.0).abs() < 0.5, "{counted}");
    assert_eq!(bed.gateway.log(), "");
    Ok(())
}

/// Paths that try to end their field, their line, or to colour the terminal.
const HOSTILE: [&str; 7] = [
    "/score\",\"status\":200,\"x\":\"",
    "/score\\",
    "/score%0a{\"status\":200}",
    "/score%1b[31m",
    "/score?a=\"}\\n{\"",
    "/score?\\u000a",
    "/score'status=200",
];

#[tokio::test]
async fn what_a_client_sends_stays_in_its_field() -> anyhow::Result<()> {
    for form in ["json", "text"] {
        let bed = logging(form).await?;
        let targets = HOSTILE.map(|target| (target, "a.example.com", (target, 200)));
        // What is not even HTTP is refused before there is a target.
        let hosts = [("a\"b", "/score"), ("a\u{1b}[31m", ""), ("a\\n", "/score")];
        let hosts = hosts.map(|(host, logged)| ("/score", host, (logged, 400)));
        let mut expected = Vec::new();
        for (target, host, (logged, status)) in targets.into_iter().chain(hosts) {
            let request = RawRequest::new("GET", target)
                .header("Host", host)
                .header("User-Agent", "\"}{\"status\":200}")
                .header("X-Forwarded-For", "1.1.1.1\\n");
            assert_eq!(bed.send(&request).await?.status, status, "{target:?} {host:?}");
            expected.push((logged, status));
        }
        let lines = lines(&bed, expected.len()).await?;
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:#?}");
        if form == "json" {
            for (entry, (path, status)) in entries(&bed, expected.len()).await?.iter().zip(&expected) {
                assert_eq!((entry["path"].as_str(), &entry["status"]), (Some(*path), &(*status).into()), "{entry}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn secrets_of_a_request_are_not_logged() -> anyhow::Result<()> {
    for form in ["json", "text"] {
        let bed = Bed::start(RULES, &["--access-log", form, "--log", "trace"]).await?;
        let request = RawRequest::post("/score", b"secret-body")
            .header("Authorization", "Bearer secret-token")
            .header("Cookie", "session=secret-cookie")
            .header("X-Api-Key", "secret-key")
            .header("x-echo", "header=Set-Cookie:secret-answer");
        assert_eq!(bed.send(&request).await?.status, 200);
        let logged = || async { if bed.gateway.log().contains("/score") { Ok(()) } else { Err("nothing is logged") } };
        eventually(LONG, logged).await?;
        let log = bed.gateway.log();
        let access: Vec<&str> = log.lines().filter(|line| line.contains("/score")).collect();
        assert!(access.iter().all(|line| !line.contains("secret-")), "{access:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_nobody_takes_keeps_neither_requests_nor_the_end() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let backends = Backends::start().await?;
    let (routes, file) = (folder.path().join("routes.yaml"), folder.path().join("addresses.json"));
    std::fs::write(&routes, documents(&backends, RULES))?;
    let mut command = Command::new(proxy_binary()?);
    command.arg("--routes").arg(&routes).arg("--addresses-file").arg(&file);
    command.args(["--listen", "80=127.0.0.1:0", "--status", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--access-log", "json", "--shutdown-delay-ms", "0"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let read = || async { anyhow::Ok(serde_json::from_slice::<Value>(&std::fs::read(&file)?)?) };
    let addresses = eventually(LONG, read).await?;
    let address = addresses["listeners"][0]["address"].as_str().context("an address")?.parse()?;
    // More than a pipe holds.
    let mut connection = RawConnection::open(address).await?;
    for _ in 0..1000 {
        assert_eq!(connection.exchange(&RawRequest::get("/direct")).await?.status, 418);
    }
    let id = process.id().context("it runs")?.to_string();
    ensure!(Command::new("kill").args(["-TERM", &id]).status().await?.success());
    let ended = tokio::time::timeout(2 * LONG, process.wait()).await.context("it does not end")??;
    assert!(ended.success(), "{ended}");
    Ok(())
}
