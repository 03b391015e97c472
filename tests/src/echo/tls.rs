//! The server's side of TLS towards backends, and what it sees of a client.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// How a client shook hands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSeen {
    /// The name that it asked for.
    pub server_name: Option<String>,
    /// The protocols that it offered.
    pub offered: Vec<String>,
    /// The protocol that was agreed on.
    pub protocol: Option<String>,
    /// The certificate that it showed.
    pub certificate: Option<Vec<u8>>,
    /// `TLSv1.3`, as a rule.
    pub version: Option<String>,
}

/// The type of a record with what a client says first.
const HANDSHAKE: u8 = 22;

/// Shakes hands. What is not TLS is an error.
pub(super) async fn accept(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream<TcpStream>, TlsSeen)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 || first != [HANDSHAKE] {
        // The library would answer it.
        return Err(io::ErrorKind::InvalidData.into());
    }
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = hello.client_hello();
    let server_name = said.server_name().map(str::to_owned);
    let offered = said.alpn().into_iter().flatten().map(text).collect();
    let stream = hello.into_stream(config).await?;
    let session = stream.get_ref().1;
    let first = session.peer_certificates().and_then(|chain| chain.first());
    let version = session.protocol_version().and_then(|version| version.as_str());
    let seen = TlsSeen {
        server_name,
        offered,
        protocol: session.alpn_protocol().map(text),
        certificate: first.map(|certificate| certificate.to_vec()),
        version: version.map(|version| version.replace('_', ".")),
    };
    Ok((stream, seen))
}
