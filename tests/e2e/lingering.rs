//! A client that writes all of a large request before it reads anything gets the answer that was made without its body:
//! the gateway goes on taking what still comes, and does not reset the connection under the answer (RFC 9112, 9.6).

use turnout_tests::bed::Bed;
use turnout_tests::client::{RawConnection, RawRequest};

const RULES: &str = "- match: [{uri: {prefix: /forbidden}}]
  directResponse: {status: 403, body: {string: refused}}
- match: [{uri: {prefix: /moved}}]
  redirect: {uri: /there}
- match: [{uri: {prefix: /dead}}]
  retries: {attempts: 0}
  route: [{destination: {host: dead}}]
- match: [{uri: {prefix: /ok}}]
  route: [{destination: {host: green}}]";

const MIB: usize = 1024 * 1024;

/// Writes all of it, and only then reads.
async fn write_then_read(bed: &Bed, request: &RawRequest) -> anyhow::Result<(u16, bool)> {
    let mut connection: RawConnection = bed.open().await?;
    connection.send(&request.to_bytes()).await?;
    let response = connection.response("POST").await?;
    Ok((response.status, response.complete))
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_large_body_reaches_a_client_that_writes_first() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    // Refused before a backend is asked for, and in the middle of sending it there.
    let limits: [&[&str]; 3] = [&[], &["--max-body-bytes", "1000"], &["--max-body-bytes", "200000"]];
    let mut beds = Vec::new();
    for limit in limits {
        beds.push(Bed::start(RULES, limit).await?);
    }
    let table = [
        ("/none", 404, 0),
        ("/forbidden", 403, 0),
        ("/moved", 301, 0),
        ("/dead", 503, 0),
        ("/ok", 413, 1),
        ("/ok", 413, 2),
    ];
    for size in [MIB, 4 * MIB, 16 * MIB] {
        let body = vec![b'x'; size];
        for (path, status, bed) in table {
            let bed = &beds[bed];
            for connection in [None, Some("close"), Some("keep-alive")] {
                for chunked in [false, true] {
                    let request = RawRequest::new("POST", path).header("Host", "a");
                    let request = connection.iter().fold(request, |request, value| request.header("Connection", value));
                    let request = if chunked { request.chunked_body(&body, &[]) } else { request.sized_body(&body) };
                    match write_then_read(bed, &request).await {
                        Ok(seen) if seen == (status, true) => {}
                        other => problems.push(format!("{path}, {size} bytes, {connection:?}, {chunked}: {other:?}")),
                    }
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} of 108:\n{}", problems.len(), problems.join("\n"));
    Ok(())
}
