//! Single requests to models and gateways on this machine: one connection each, a limit on time and size. Those who ask
//! treat every failure alike, as no answer.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use std::time::Duration;
use tokio::net::TcpStream;
use turnout_driver::outbound::exchange;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest body that is read.
const MAX_BODY_BYTES: usize = 8 << 20;

/// A request without further headers.
pub(crate) struct Call<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    pub(crate) path: &'a str,
    /// Sent as JSON in a POST; a GET without it.
    pub(crate) body: Option<&'a str>,
    /// A further header.
    pub(crate) header: Option<(&'static str, &'a str)>,
}

/// GET of a path.
pub(crate) async fn get(address: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    send(&Call { address, path, body: None, header: None }).await
}

/// Sends one request and reads its whole answer.
pub(crate) async fn send(call: &Call<'_>) -> anyhow::Result<(StatusCode, Bytes)> {
    let (head, body) = answer_to(call, call.address, TIMEOUT).await?.into_parts();
    Ok((head.status, body))
}

/// As [`send`], with the headers of the answer; the request is for `host`, and waits no longer than `timeout`.
pub(crate) async fn answer_to(call: &Call<'_>, host: &str, timeout: Duration) -> anyhow::Result<Response<Bytes>> {
    let answer = tokio::time::timeout(timeout, ask(call, host)).await;
    answer
        .map_err(|_| anyhow!("no answer within {timeout:?}"))
        .flatten()
        .with_context(|| format!("http://{}{}", call.address, call.path))
}

async fn ask(call: &Call<'_>, host: &str) -> anyhow::Result<Response<Bytes>> {
    let mut request = Request::builder().uri(call.path).header(header::HOST, host);
    if call.body.is_some() {
        request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/json");
    }
    if let Some((name, value)) = call.header {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(call.body.unwrap_or_default().to_owned())))?;
    let stream = TcpStream::connect(call.address).await?;
    exchange(stream, request, MAX_BODY_BYTES).await.map_err(|error| anyhow!(error))
}
