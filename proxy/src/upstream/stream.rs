//! What a connection to an endpoint is made over, and for whom.

use super::Endpoint;
use http::HeaderValue;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use turnout_routes::documents::TlsOrigination;

/// In plain text, or not.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// By which policy hands are shaken, and with whom. A connection is for nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsPeer {
    pub(super) policy: Arc<TlsOrigination>,
    pub(super) server_name: ServerName<'static>,
}

impl TlsPeer {
    /// Whom the handshake asks for: the policy's `sni`, else the request's host, else, where that is no name, the endpoint.
    pub(super) fn new(policy: &Arc<TlsOrigination>, authority: &HeaderValue, endpoint: &Endpoint) -> Self {
        let host = || Some(Authority::try_from(authority.as_bytes()).ok()?.host().trim_matches(['[', ']']).to_owned());
        let name = policy.sni.clone().or_else(host).and_then(|name| ServerName::try_from(name).ok());
        let server_name = name.unwrap_or_else(|| endpoint.address.ip().into());
        Self { policy: Arc::clone(policy), server_name }
    }
}
