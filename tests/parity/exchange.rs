//! One request of a case and what came of it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turnout_tests::client::{RawConnection, RawRequest, RawResponse};
use turnout_tests::wire::latin1_bytes;

use crate::family::Send;

/// How long a connection that is to be closed may take for it.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection that is to stay open is watched.
const OPEN_FOR: Duration = Duration::from_millis(300);

/// One request and what came of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The answer, or why there is none.
    pub(crate) answer: Result<RawResponse, String>,
    pub(crate) elapsed: Duration,
    /// Whether the connection was closed after the answer, where that was asked.
    pub(crate) closed: Option<bool>,
}

/// Sends one request, over `connection` if there is one, and returns the connection if it can be used again. `closed`
/// says whether the connection is to be closed after the answer, where that is of interest.
pub(crate) async fn exchange(
    address: SocketAddr,
    send: &Send,
    connection: Option<RawConnection>,
    closed: Option<bool>,
) -> (Exchange, Option<RawConnection>) {
    let start = Instant::now();
    match try_exchange(address, send, connection).await {
        Ok((answer, mut connection)) => {
            let elapsed = start.elapsed();
            let closed = match closed {
                Some(true) => Some(connection.is_closed_within(CLOSE_DEADLINE).await),
                Some(false) => Some(connection.is_closed_within(OPEN_FOR).await),
                None => None,
            };
            let usable = answer.complete && !answer.headers.has_token("connection", "close");
            let answer = Ok(answer);
            (Exchange { answer, elapsed, closed }, usable.then_some(connection))
        }
        Err(error) => {
            let answer = Err(format!("no answer: {error}"));
            (Exchange { answer, elapsed: start.elapsed(), closed: None }, None)
        }
    }
}

async fn try_exchange(
    address: SocketAddr,
    send: &Send,
    connection: Option<RawConnection>,
) -> io::Result<(RawResponse, RawConnection)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => RawConnection::open(address).await?,
    };
    let answer = match &send.raw {
        Some(raw) => {
            connection.send(&latin1_bytes(raw)).await?;
            connection.response(raw.split(' ').next().unwrap_or_default()).await?
        }
        None => connection.exchange(&raw_request(send)).await?,
    };
    Ok((answer, connection))
}

fn raw_request(send: &Send) -> RawRequest {
    let mut request = RawRequest::new(&send.method, &send.path).version(&send.http);
    if let Some(authority) = &send.authority {
        request = request.header("Host", authority);
    }
    for (name, value) in &send.headers {
        request = request.header(name, value);
    }
    if send.close {
        request = request.header("Connection", "close");
    }
    let body = match send.body_size {
        Some(size) => vec![b'x'; size],
        None => send.body.clone().into_bytes(),
    };
    if send.chunked {
        return request.chunked_body(&body, &send.trailers);
    }
    let has = |name: &str| send.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let framed = has("content-length") || has("transfer-encoding");
    let sized = !body.is_empty() || matches!(send.method.as_str(), "POST" | "PUT" | "PATCH");
    if sized && !framed { request.sized_body(&body) } else { request.body(&body) }
}

#[cfg(test)]
mod tests {
    use super::{Send, raw_request};
    use serde_json::{Value, json};
    use turnout_tests::wire::latin1;

    fn send(value: Value) -> Send {
        serde_json::from_value(value).expect("the fields are known")
    }

    #[test]
    fn requests_are_built_as_the_case_says() {
        let table = [
            (json!({}), "GET / HTTP/1.1\r\nHost: scoring.example.com\r\n\r\n"),
            (json!({"authority": null, "http": "1.0", "path": "/a"}), "GET /a HTTP/1.0\r\n\r\n"),
            (json!({"method": "POST", "authority": "a"}), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
            (
                json!({"authority": "a", "headers": [["X-A", "1"]], "body": "abc", "close": true}),
                "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
            ),
            (
                json!({"authority": "a", "headers": [["content-length", "9"]], "body_size": 2}),
                "GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nxx",
            ),
            (
                json!({"authority": "a", "chunked": true, "body": "abc"}),
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(latin1(&raw_request(&send(fields)).to_bytes()), expected);
        }
    }
}
