//! The network between controllers and the world: every request of a `kube::Client` and every request to a pod waits
//! here until somebody delivers it, so that anything can happen between two of them, and to each of them.

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use turnout_driver::outbound::{Answer, Call, Outbound, OutboundError, Post, Posting};

/// A request on its way.
#[derive(Debug)]
pub(crate) enum Letter {
    /// To the API server.
    Api {
        head: Box<http::request::Parts>,
        body: Bytes,
        reply: oneshot::Sender<io::Result<http::Response<Full<Bytes>>>>,
    },
    /// To a pod.
    Pod { call: Call, reply: oneshot::Sender<Result<Answer, OutboundError>> },
}

impl Letter {
    /// Whoever sent it is still there.
    pub(crate) fn is_awaited(&self) -> bool {
        match self {
            Self::Api { reply, .. } => !reply.is_closed(),
            Self::Pod { reply, .. } => !reply.is_closed(),
        }
    }
}

/// What one controller has sent and nobody has delivered, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Mutex<Vec<Letter>>>);

impl Wire {
    /// A client whose requests wait here.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// Requests whose sender has gone are not on their way any more.
    pub(crate) fn waiting(&self) -> usize {
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.retain(Letter::is_awaited);
        letters.len()
    }

    /// One of those that wait would write an object of this kind.
    pub(crate) fn writes(&self, plural: &str) -> bool {
        let letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.iter().any(|letter| match letter {
            Letter::Api { head, .. } => {
                head.method != http::Method::GET && head.uri.path().split('/').any(|part| part == plural)
            }
            Letter::Pod { .. } => false,
        })
    }

    /// Takes one of those that wait.
    pub(crate) fn take(&self, chosen: usize) -> Option<Letter> {
        let waiting = self.waiting();
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting > 0).then(|| letters.remove(chosen % waiting))
    }

    pub(crate) fn post(&self, letter: Letter) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was lost")
}

impl tower::Service<http::Request<Body>> for Wire {
    type Response = http::Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let (reply, answer) = oneshot::channel();
            wire.post(Letter::Api { head: Box::new(head), body, reply });
            answer.await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

impl Outbound for Wire {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, OutboundError>> {
        let address = call.address;
        let (reply, answer) = oneshot::channel();
        self.post(Letter::Pod { call, reply });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(OutboundError::Connect(address, lost()))) })
    }

    /// A server of the user's is neither in the cluster nor in its network.
    fn post(&self, _: Post) -> Posting<'_> {
        Box::pin(async { Ok(Answer { status: 200, body: Bytes::new() }) })
    }
}
