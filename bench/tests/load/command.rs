//! The command as a shell sees it: exit status, stdout for the result, stderr for everything else.

use std::process::Output;

use tokio::process::Command;
use turnout_bench::Protocol;

use crate::{NEVER, server};

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_turnout-bench")).arg("load").args(arguments).output();
    let Output { status, stdout, stderr } = command.await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_clean_run_prints_a_table_and_succeeds() {
    for (protocol, flags) in [(Protocol::Http1, vec!["-c", "2"]), (Protocol::Http2, vec!["--http2", "--streams", "4"])]
    {
        let server = server::well_behaved(protocol, NEVER).await;
        let url = format!("http://{}/score", server.addr);
        let (code, stdout, stderr) = run(&[&[&*url, "-n", "50", "--label-body"], &flags[..]].concat()).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let lines: Vec<_> = stdout.lines().collect();
        assert!(lines[0].starts_with("requests  50 in "), "{stdout}");
        assert_eq!(lines[1..4], ["failed    0", "statuses  200: 50", "answers   /score: 50"], "{stdout}");
        assert!(lines[4].starts_with("latency   p50 "), "{stdout}");
        assert_eq!(server.count(), 50);
    }
}

#[tokio::test]
async fn json_is_one_document() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let url = format!("http://{}/score", server.addr);
    let (code, stdout, _) = run(&[&url, "-n", "5", "--label-header", "x-path", "-o", "json"]).await;
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(report["ended"], "complete");
    assert_eq!(report["total"]["answers"]["/score"], 5);
}

#[tokio::test]
async fn a_failed_request_fails_the_command() {
    let url = format!("http://{}/", server::deserted().await);
    let (code, stdout, stderr) = run(&[&url, "-n", "3"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains("failed    3 (refused: 3)\n"), "{stdout}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("failed: requests: refused: ")).count(), 3, "{stderr}");
}

#[tokio::test]
async fn missing_requests_fail_the_command() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let url = format!("http://{}/", server.addr);
    let (code, stdout, stderr) = run(&[&url, "-n", "1000", "--rate", "1", "--max-seconds", "1"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains("failed    0\n"), "{stdout}");
    assert!(stderr.starts_with("ended early: "), "{stderr}");
}

#[tokio::test]
async fn a_load_that_cannot_be_sent_prints_no_result() {
    for url in ["https://127.0.0.1/", "127.0.0.1:80"] {
        let (code, stdout, stderr) = run(&[url]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{url}");
        assert!(stderr.contains("is not an http:// URL"), "{stderr}");
    }
}
