//! Certificates made for a test, and the client's side of TLS.
//!
//! An [`Authority`] signs for servers and clients; what it made is PEM, as a Secret holds it. Clients trust one
//! authority and nothing else, or whoever answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use rustls::version::{TLS12, TLS13};

/// Who signs.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// `tls.crt`
    pub certificate: String,
    /// `tls.key`
    pub key: String,
}

impl Authority {
    /// Makes an authority.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Signs a certificate for these names, whose subject is the first, with a key of its own.
    pub fn sign(&self, names: &[&str]) -> anyhow::Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// `ca.crt`
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }
}

impl Certificate {
    /// A server that shows it, agrees to these protocols, and takes the certificates that the authority has signed, or none.
    pub fn server_config(&self, clients: &Authority, protocols: &[&str]) -> anyhow::Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes())?)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// How a client shakes hands.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// Nobody is asked who they are if there are none.
    roots: Option<RootCertStore>,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    certificate: Option<Certificate>,
    sends_server_name: bool,
}

impl TlsClient {
    /// Trusts this authority, speaks TLS 1.2 and 1.3 and offers `http/1.1`.
    pub fn trusting(authority: &Authority) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        Ok(Self { roots: Some(roots), ..Self::trusting_anyone() })
    }

    /// The same, but takes any certificate.
    pub fn trusting_anyone() -> Self {
        let alpn = vec![b"http/1.1".to_vec()];
        Self { roots: None, versions: vec![&TLS13, &TLS12], alpn, certificate: None, sends_server_name: true }
    }

    /// Speaks this version only.
    #[must_use]
    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Offers these protocols.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate if it is asked for one.
    #[must_use]
    pub fn certificate(mut self, certificate: &Certificate) -> Self {
        self.certificate = Some(certificate.clone());
        self
    }

    /// Does not say which server it means.
    #[must_use]
    pub fn without_server_name(mut self) -> Self {
        self.sends_server_name = false;
        self
    }

    /// Connects and shakes hands with the server of this name. With TLS 1.3 a server that refuses the client's
    /// certificate says so only after the client has finished: such a stream fails when it is used.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        self.visitor()?.connect(address, name).await
    }

    /// The same client, with a memory: its later connections take up the sessions of its earlier ones.
    pub fn visitor(&self) -> anyhow::Result<Visitor> {
        Ok(Visitor { connector: TlsConnector::from(Arc::new(self.client_config()?)) })
    }

    /// The first bytes of a handshake with the server of this name, for those who say no more.
    pub fn hello(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let name = ServerName::try_from(name.to_owned()).context("not a server name")?;
        let mut connection = rustls::ClientConnection::new(Arc::new(self.client_config()?), name)?;
        let mut hello = Vec::new();
        connection.write_tls(&mut hello)?;
        Ok(hello)
    }

    fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&self.versions)?;
        let builder = match &self.roots {
            Some(roots) => builder.with_root_certificates(roots.clone()),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?,
            )?,
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.sends_server_name;
        Ok(config)
    }
}

/// Whoever holds the key of what they show.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that remembers the sessions of its connections.
#[derive(Clone)]
pub struct Visitor {
    connector: TlsConnector,
}

impl Visitor {
    /// Connects and shakes hands, as [`TlsClient::connect`].
    pub async fn connect(&self, address: SocketAddr, name: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).context("not a server name")?;
        let handshake = tokio::time::timeout(crate::client::ANSWER_DEADLINE, self.connector.connect(name, stream));
        Ok(handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
    }
}

/// The certificate that the server showed, to be compared with another connection's.
pub fn shown_certificate(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let chain = stream.get_ref().1.peer_certificates()?;
    chain.first().map(|certificate| certificate.to_vec())
}

/// The bytes of a PEM certificate, to be compared with a shown one.
pub fn certificate_bytes(pem: &str) -> anyhow::Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

/// Whether the connection took up the session of an earlier one. Known once something was read from the server.
pub fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The version that was agreed on, as `TLSv1.3`.
pub fn agreed_version(stream: &TlsStream<TcpStream>) -> Option<String> {
    let version = stream.get_ref().1.protocol_version()?;
    Some(version.as_str()?.replace('_', "."))
}

/// The first bytes of a client that speaks nothing newer than TLS 1.1 (RFC 4346, 7.4.1.2), which no library here does.
pub fn hello_of_tls_1_1(name: &str) -> Vec<u8> {
    /// With its length before it, in that many bytes.
    fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&length[4 - width..], bytes].concat()
    }
    let extension = |kind: u8, content: &[u8]| [&[0, kind][..], &sized(2, content)].concat();
    let name = [&[0][..], &sized(2, name.as_bytes())].concat();
    let curves = sized(2, &[0, 23]);
    let extensions = [extension(0, &sized(2, &name)), extension(10, &curves), extension(11, &sized(1, &[0]))].concat();
    // ECDHE with AES-128-CBC, by RSA and by ECDSA.
    let ciphers = sized(2, &[0xc0, 0x13, 0xc0, 0x09]);
    let hello = [&[3, 2][..], &[7; 32], &[0], &ciphers, &sized(1, &[0]), &sized(2, &extensions)].concat();
    let handshake = [&[1][..], &sized(3, &hello)].concat();
    [&[22, 3, 1][..], &sized(2, &handshake)].concat()
}
