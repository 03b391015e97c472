//! TLS on the client's side: which server a client means, by the name it asks for, and that server's certificate.
//! Certificates are loaded off the request path, when a table or a file changes; one that cannot be loaded leaves the
//! older one in use, and where there is none, only the handshakes of its own server fail.

use crate::client::TlsInfo;
use crate::credentials::{ALPN, Credentials, forwarded_certificate};
use crate::snapshot::Snapshots;
use rustls::server::Acceptor;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// A worker's side of TLS.
pub(crate) struct TlsAcceptor {
    credentials: Arc<Credentials>,
    handshakes: Rc<Semaphore>,
}

/// A finished handshake.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) client: TlsInfo,
    /// Whether HTTP/2 was agreed on.
    pub(crate) is_http2: bool,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("the TLS handshake took too long")]
    Timeout,
    #[error("no server for the name {0:?}")]
    Name(Option<String>),
}

impl HandshakeError {
    /// A word for the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::Timeout => "tls_timeout",
            Self::Name(_) => "tls_name",
        }
    }
}

impl TlsAcceptor {
    pub(crate) fn new(credentials: &Arc<Credentials>, max_handshakes: usize) -> Self {
        Self { credentials: Arc::clone(credentials), handshakes: Rc::new(Semaphore::new(max_handshakes)) }
    }

    /// Shakes hands. Beyond the limit of handshakes at a time clients wait, within the same time-out.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        snapshots: &Snapshots,
        gateway_port: u16,
        timeout: Duration,
    ) -> Result<Handshake, HandshakeError> {
        let shaken = self.shake_hands(stream, snapshots, gateway_port);
        tokio::time::timeout(timeout, shaken).await.map_err(|_| HandshakeError::Timeout)?
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        snapshots: &Snapshots,
        gateway_port: u16,
    ) -> Result<Handshake, HandshakeError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(HandshakeError::Tls)?;
        let server_name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        // Only now is there work to do: whoever connects and says nothing takes no turn.
        let _turn = self.handshakes.acquire().await.map_err(|_| HandshakeError::Timeout)?;
        let config = snapshots.current().and_then(|snapshot| {
            let server = snapshot.router.tls_server(gateway_port, server_name.as_deref())?;
            self.credentials.server_config(server)
        });
        let Some(config) = config else { return Err(HandshakeError::Name(server_name)) };
        let stream = start.into_stream(config).await.map_err(HandshakeError::Tls)?;
        let connection = stream.get_ref().1;
        let is_http2 = connection.alpn_protocol() == Some(ALPN[0]);
        let certificate = connection.peer_certificates().and_then(|chain| forwarded_certificate(chain.first()?));
        Ok(Handshake { stream, client: TlsInfo { server_name, certificate }, is_http2 })
    }
}
