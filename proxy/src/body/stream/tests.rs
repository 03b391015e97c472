//! What is held of a body is what is counted of it.

use super::*;
use crate::body::replay::RequestBody;
use crate::telemetry::record::BytesCount;
use allocation_counter::measure;
use http_body_util::BodyExt;
use std::time::Duration;

/// What a connection reads at a time: a piece holds on to all of it.
const READ: usize = 8 << 10;

/// Pieces of one byte, each in a buffer of its own.
struct Pieces(usize);

impl Body for Pieces {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> FramesPoll {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![1; READ]).slice(..1)))))
    }
}

type FramesPoll = Poll<Option<Result<Frame<Bytes>, GatewayError>>>;

#[test]
fn small_pieces_hold_on_to_nothing_but_themselves() {
    let check = |pieces: usize, read_ahead_bytes: usize, replay_bytes: usize, expected_kib: u64| {
        let limits = BodyLimits { max_bytes: None, read_ahead_bytes, waits: true, replay_bytes };
        let mut body = None;
        let counted = measure(|| {
            let mut source = Some(ClientBody::test(Pieces(pieces), Duration::from_secs(1)));
            let mut count = BytesCount::Known(0);
            let reading = async {
                let body = RequestBody::read(&mut source, limits, &mut count).await.expect("it comes");
                let mut reader = body.next_try();
                while reader.frame().await.is_some() {}
                body
            };
            // It never waits.
            let mut context = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(read) = std::pin::pin!(reading).poll(&mut context) {
                body = Some(read);
            }
        });
        assert!(body.is_some_and(|body| body.is_received()));
        let held_kib = u64::try_from(counted.bytes_current).unwrap_or(u64::MAX).div_ceil(1 << 10);
        let case = format!("{pieces} pieces, {read_ahead_bytes} read ahead, {replay_bytes} kept");
        assert_eq!(held_kib, expected_kib, "{case}: {counted:?}");
        // Besides: the piece on its way, and a segment that is not full.
        let most = read_ahead_bytes + replay_bytes + READ + SEGMENT;
        assert!(counted.bytes_max <= most as u64, "{case}: {counted:?}");
    };
    check(4000, 0, 64 << 10, 17);
    check(4000, 16 << 10, 0, 5);
    check(4000, 100, 64 << 10, 17);
    check(60_000, 0, 64 << 10, 65);
    // More than is kept: none of it is.
    check(4000, 0, 3999, 1);
    check(4000, 0, 0, 1);
    check(4000, 100, 0, 1);
}
