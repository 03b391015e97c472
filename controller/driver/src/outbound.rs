//! The requests that a driver sends to gateways, models and webhooks: what a gateway reports, the warm-up of a model, and
//! what a server of the user's says. Behind a trait, so that tests which replace what the site talks to can replace this
//! as well.

pub use crate::exchange::{Answer, BoxError, exchange};
pub use crate::post::{Post, PostError, send};
use bytes::Bytes;
use http_body_util::Full;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a gateway's answer may take. Every round waits for the slowest, so one that hangs must not be waited for long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer that is read, in bytes: what a gateway with thousands of backends reports.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where it goes.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    /// The body of a POST; a GET without it.
    pub body: Option<String>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Call {
    /// A page of a gateway.
    pub fn get(address: SocketAddr, path: &str) -> Self {
        Self { address, path: path.to_owned(), body: None, timeout: TIMEOUT }
    }
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Within the time-out.
    #[error("{0} does not answer within {1:?}")]
    TimedOut(SocketAddr, Duration),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// No HTTP.
    #[error("{0} does not answer as HTTP: {1}")]
    Http(SocketAddr, #[source] BoxError),
}

/// An answer that is awaited.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, OutboundError>> + Send + 'a>>;

/// An answer of a webhook that is awaited, or why nothing came back.
pub type Posting<'a> = Pin<Box<dyn Future<Output = Result<Answer, PostError>> + Send + 'a>>;

/// Sends requests.
pub trait Outbound: Send + Sync {
    /// Sends one and reads the answer whole.
    fn send(&self, call: Call) -> Answering<'_>;

    /// Asks a webhook.
    fn post(&self, post: Post) -> Posting<'_>;
}

/// Over TCP, a connection for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Outbound for Direct {
    fn send(&self, call: Call) -> Answering<'_> {
        Box::pin(async move {
            let (address, timeout) = (call.address, call.timeout);
            let answer = tokio::time::timeout(timeout, self::call(call)).await;
            answer.unwrap_or(Err(OutboundError::TimedOut(address, timeout)))
        })
    }

    fn post(&self, post: Post) -> Posting<'_> {
        Box::pin(async move {
            let timeout = post.timeout;
            let answer = tokio::time::timeout(timeout, crate::post::post(post)).await;
            answer.unwrap_or(Err(PostError::TimedOut(timeout)))
        })
    }
}

async fn call(call: Call) -> Result<Answer, OutboundError> {
    let address = call.address;
    let http = |error: BoxError| OutboundError::Http(address, error);
    let stream = TcpStream::connect(address).await.map_err(|error| OutboundError::Connect(address, error))?;
    let method = if call.body.is_some() { http::Method::POST } else { http::Method::GET };
    let request = http::Request::builder()
        .method(method)
        .uri(&call.path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(call.body.unwrap_or_default())))
        .map_err(|error| http(error.into()))?;
    let (head, body) = exchange(stream, request, MAX_ANSWER_BYTES).await.map_err(http)?.into_parts();
    Ok(Answer { status: head.status.as_u16(), body })
}
