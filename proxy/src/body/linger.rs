//! What is left of a request that was answered early. A client that is still sending when its connection closes gets a
//! reset, and may lose the answer with it; so the rest is read for a while and thrown away (RFC 9112, 9.6).

use super::client::ClientBody;
use crate::client::OpenRequest;
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;

/// How long, and how much: beyond either the client is cut off.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 64 << 20;

/// Reads the rest of a body that nobody wants, in a task of its own. The client is not idle meanwhile.
pub(crate) fn linger(mut body: ClientBody, request: OpenRequest) {
    if body.is_end_stream() || !body.can_linger() {
        return;
    }
    tokio::task::spawn_local(async move {
        let discard = async {
            let mut discarded = 0;
            // Of a body of known length hyper does not say the end where the answer came before it.
            while !body.is_end_stream()
                && let Some(Ok(frame)) = body.frame().await
            {
                discarded += frame.data_ref().map_or(0, bytes::Bytes::len);
                if discarded > MOST_BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LONGEST, discard).await;
        request.end_elsewhere();
    });
}
