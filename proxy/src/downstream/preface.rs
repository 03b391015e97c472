//! Telling HTTP/2 with prior knowledge from HTTP/1 by the first bytes of a clear-text connection.

use super::ending::ConnectionError;
use crate::client::ClientLimits;
use std::time::Duration;
use tokio::net::TcpStream;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at the first bytes without taking them. False where the client sends none.
pub(super) async fn begins_with_preface(stream: &TcpStream, limits: ClientLimits) -> Result<bool, ConnectionError> {
    let mut first = [0; PREFACE.len()];
    let some = tokio::time::timeout(limits.idle, stream.peek(&mut first[..1])).await;
    if some.map_err(|_| ConnectionError::FirstBytes)?? == 0 {
        return Ok(false);
    }
    let all = async {
        let mut pause = Duration::from_millis(5);
        loop {
            let seen = stream.peek(&mut first).await?;
            if first[..seen] != PREFACE[..seen] || seen == 0 {
                return Ok(false);
            }
            if seen == first.len() {
                return Ok(true);
            }
            // Part of a preface has come. Peeking again is ready at once, so give the rest a moment.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    };
    tokio::time::timeout(limits.head, all).await.map_err(|_| ConnectionError::FirstBytes)?
}
