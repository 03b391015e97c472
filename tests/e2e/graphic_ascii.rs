//! Every graphic byte of ASCII in a path and in a query, over both versions of HTTP, as Envoy was observed to take it
//! with its paths normalised: a query passes unchanged, a path has its unsafe bytes escaped. Two things differ: what
//! begins a fragment, which Envoy refuses, is cut off with it; and the library resets streams of HTTP/2 whose target
//! holds what no URI may.

use anyhow::Context as _;
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::RawRequest;
use turnout_tests::frames::{Frame, FrameConnection, StreamEnd};

/// What a path is forwarded as.
fn in_path(byte: char) -> String {
    match byte {
        '\\' => "/".to_owned(),
        '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' => format!("%{:02X}", u32::from(byte)),
        _ => byte.to_string(),
    }
}

/// The target that the backend was asked for, if it was.
async fn forwarded(bed: &Bed, http2: bool, target: &str) -> anyhow::Result<Option<String>> {
    bed.backends.clear();
    let expected = if http2 {
        let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
        connection.send(&Frame::get(1, target)).await?;
        !matches!(connection.end_of(1).await, StreamEnd::Answered) || bed.received() == 0
    } else {
        let response = bed.send(&RawRequest::get(target)).await.context("no answer")?;
        anyhow::ensure!(matches!(response.status, 200 | 400), "{response:?}");
        response.status == 400
    };
    let mut received = bed.backends.received();
    anyhow::ensure!(received.len() == usize::from(!expected), "{received:?}");
    Ok(received.pop().map(|received| received.target))
}

#[tokio::test]
async fn graphic_bytes_are_forwarded_as_envoy_forwards_them() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for byte in '!'..='~' {
        for (before, right, no_uri) in [("/a", in_path(byte), "<>`"), ("/a?q=", byte.to_string(), "\"<>")] {
            let target = format!("{before}{byte}b");
            for http2 in [false, true] {
                let right = match byte {
                    '#' => Some(before.to_owned()),
                    _ if http2 && no_uri.contains(byte) => None,
                    _ => Some(format!("{before}{right}b")),
                };
                let seen = forwarded(&bed, http2, &target).await.with_context(|| target.clone());
                if !matches!(&seen, Ok(seen) if *seen == right) {
                    problems.push(format!("{target}, HTTP/{}: {seen:?}, not {right:?}", if http2 { 2 } else { 1 }));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
