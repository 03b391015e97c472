//! One request on one connection, whatever that goes over.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Whatever went wrong.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// One request on a connection of its own, and the whole answer.
pub async fn exchange<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<http::Response<Bytes>, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It only moves bytes, and ends with the sender; when it fails, so does the request, with the reason.
    let connection = tokio::spawn(connection);
    let answering = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, max_bytes).collect().await?.to_bytes();
        Ok(http::Response::from_parts(head, body))
    };
    let answer = answering.await;
    connection.abort();
    answer
}
