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
            // hyper does not say the end where the answer came before it: not after the last byte of a known length, nor
            // after trailers.
            while !body.is_end_stream()
                && let Some(Ok(frame)) = body.frame().await
                && let Ok(data) = frame.into_data()
                && discarded <= MOST_BYTES
            {
                discarded += data.len();
            }
        };
        let _ = tokio::time::timeout(LONGEST, discard).await;
        request.end_elsewhere();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::error::GatewayError;
    use crate::testing::in_paused_time;
    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, ready};
    use tokio::time::{Instant, Sleep, sleep};

    /// What a client still sends.
    #[derive(Clone, Copy, Debug)]
    enum Sends {
        Data,
        Trailers,
        End,
    }
    use Sends::{Data, End, Trailers};

    /// One thing a second, and then nothing more; its end is not said unless it is sent.
    struct Rest {
        sends: &'static [Sends],
        next: Pin<Box<Sleep>>,
    }

    impl Body for Rest {
        type Data = Bytes;
        type Error = GatewayError;

        fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> FramePoll {
            let Some((first, rest)) = self.sends.split_first() else { return Poll::Pending };
            ready!(self.next.as_mut().poll(context));
            self.next = second();
            self.sends = rest;
            Poll::Ready(match first {
                Data => Some(Ok(Frame::data(Bytes::from_static(b"ab")))),
                Trailers => Some(Ok(Frame::trailers(HeaderMap::new()))),
                End => None,
            })
        }
    }

    type FramePoll = Poll<Option<Result<Frame<Bytes>, GatewayError>>>;

    fn second() -> Pin<Box<Sleep>> {
        Box::pin(sleep(Duration::from_secs(1)))
    }

    #[test]
    fn what_is_left_is_read_to_its_end_and_not_for_long() {
        let check = |sends: &'static [Sends], expected: u64| {
            in_paused_time(async {
                let client = Rc::new(Client::new(([127, 0, 0, 1], 1).into(), 80, None, false, None));
                let started = Instant::now();
                let rest = ClientBody::test(Rest { sends, next: second() }, Duration::from_mins(1));
                linger(rest, OpenRequest::begin(&client));
                while Rc::strong_count(&client) > 1 {
                    sleep(Duration::from_millis(100)).await;
                }
                assert_eq!(started.elapsed().as_secs(), expected, "{sends:?}");
            });
        };
        check(&[Data, Data, End], 3);
        check(&[Data, Trailers], 2);
        check(&[Trailers], 1);
        check(&[Data], LONGEST.as_secs());
        check(&[Data; 9], LONGEST.as_secs());
    }
}
