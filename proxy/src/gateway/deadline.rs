//! Time-outs of a rule and of its tries.

use crate::body::replay::RequestBody;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// Ends when the time is over.
pub(super) type Deadline = Pin<Box<dyn Future<Output = ()>>>;

/// A time-out counts from the moment that the request has come whole, as Envoy's does.
pub(super) fn deadline(body: &RequestBody, timeout: Duration) -> Deadline {
    if body.is_received() {
        return Box::pin(tokio::time::sleep(timeout));
    }
    let body = body.clone();
    Box::pin(async move {
        body.received().await;
        tokio::time::sleep(timeout).await;
    })
}

/// What comes of `work`, unless the deadline is over before.
pub(super) fn within<T>(
    deadline: &mut Option<Deadline>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    poll_fn(move |context| match (work.as_mut().poll(context), &mut *deadline) {
        (Poll::Ready(done), _) => Poll::Ready(Some(done)),
        (Poll::Pending, Some(deadline)) => deadline.as_mut().poll(context).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
}
