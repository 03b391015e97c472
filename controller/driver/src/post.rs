//! A request to a URL that users write: the name is looked up, the certificate checked, and no redirect followed. Each has
//! a connection of its own, so that a server may move.

use crate::exchange::{Answer, BoxError, exchange};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const USER_AGENT: &str = concat!("turnout/", env!("CARGO_PKG_VERSION"));
/// Where machines ask the host of Azure, and for the metadata of Alibaba, AWS and Google, besides link-local addresses; what
/// stands there is none of a user's business.
const HOSTS: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// A question to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Where it goes.
    pub url: String,
    /// The authority that signs the server's certificate, in PEM; the public ones if absent.
    pub ca_bundle: Option<String>,
    /// JSON.
    pub body: String,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// Why a server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Within its time.
    #[error("nothing within {0:?}")]
    TimedOut(Duration),
    /// The URL cannot be used.
    #[error("the URL cannot be used: {0}")]
    Url(#[source] BoxError),
    /// Its name leads nowhere.
    #[error("{0} cannot be looked up: {1}")]
    Lookup(String, #[source] io::Error),
    /// Its name leads to addresses that no server of a user's has.
    #[error("{0} leads to {1}, which belongs to the machine and is not asked")]
    OfTheMachine(String, IpAddr),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, #[source] io::Error),
    /// The certificates of `caBundle`.
    #[error("caBundle cannot be used: {0}")]
    CaBundle(#[source] BoxError),
    /// No TLS.
    #[error("no TLS with {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// No HTTP.
    #[error("no HTTP with {0}: {1}")]
    Http(String, #[source] BoxError),
}

pub(crate) async fn post(post: Post) -> Result<Answer, PostError> {
    let url: Uri = post.url.parse().map_err(|error: http::uri::InvalidUri| PostError::Url(error.into()))?;
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(post.body)))
        .map_err(|error| PostError::Url(error.into()))?;
    let (head, body) = send(request, post.ca_bundle.as_deref(), MAX_ANSWER_BYTES).await?.into_parts();
    let location = head.headers.get(header::LOCATION).filter(|_| head.status.is_redirection());
    let body = match location.and_then(|location| location.to_str().ok()) {
        Some(location) => Bytes::from(format!("it leads to {location}, which is not followed: write that URL")),
        None => body,
    };
    Ok(Answer { status: head.status.as_u16(), body })
}

/// Sends a request to its whole URL, by TLS if that says so, and reads the answer, as long as it is no longer than
/// `max_bytes`. The authority that signs the server's certificate is given in PEM; if not, it is one of the public ones.
pub async fn send(
    mut request: Request<Full<Bytes>>,
    ca_bundle: Option<&str>,
    max_bytes: usize,
) -> Result<Response<Bytes>, PostError> {
    let url = std::mem::take(request.uri_mut());
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let authority = url.authority().map_or(host.as_str(), |authority| authority.as_str());
    let authority = HeaderValue::from_str(authority).map_err(|error| PostError::Url(error.into()))?;
    request.headers_mut().insert(header::HOST, authority);
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    *request.uri_mut() = url.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    let stream = connect(&host, port).await?;
    let answer = if is_tls {
        let config = Arc::new(tls(ca_bundle)?);
        let name = ServerName::try_from(host.clone()).map_err(|error| PostError::Url(error.into()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        exchange(stream.map_err(|error| PostError::Tls(host.clone(), error))?, request, max_bytes).await
    } else {
        exchange(stream, request, max_bytes).await
    };
    answer.map_err(|error| PostError::Http(host, error))
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, PostError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| PostError::Lookup(host.to_owned(), error))?;
    let mut failure = PostError::Lookup(host.to_owned(), io::ErrorKind::NotFound.into());
    for address in found {
        if is_of_the_machine(address.ip()) {
            failure = PostError::OfTheMachine(host.to_owned(), address.ip());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = PostError::Connect(address, error),
        }
    }
    Err(failure)
}

/// Addresses at which clouds tell a machine its secrets.
fn is_of_the_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    HOSTS.contains(&address)
        || match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, PostError> {
    let bad = |error: BoxError| PostError::CaBundle(error);
    let mut roots = RootCertStore::empty();
    match ca_bundle {
        None => {
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.map_err(|error| bad(error.into()))?).map_err(|error| bad(error.into()))?;
            }
        }
    }
    if roots.is_empty() {
        return Err(bad("there is no certificate in it".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| PostError::Url(error.into()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
