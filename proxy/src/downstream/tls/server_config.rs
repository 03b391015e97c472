//! From a certificate's files to what rustls serves.

use super::ALPN;
use crate::files;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use turnout_routes::documents::{ClientAuth, TlsVersion};

/// Far more than a certificate needs.
const MAX_FILE_BYTES: usize = 64 << 20;

/// What a server's handshakes are to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handshakes {
    pub(super) client_auth: ClientAuth,
    pub(super) min_version: TlsVersion,
    pub(super) max_version: TlsVersion,
}

/// Where a credential's files are.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
}

/// What is in them; the authority only where clients are asked for certificates.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("no --credentials folder is set")]
    NoFolder,
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("client certificates need the authority in {0}")]
    NoAuthority(PathBuf),
    #[error("tls.crt and tls.key, or the files in their place: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the client authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Files {
    pub(super) fn read(paths: &Paths, client_auth: ClientAuth) -> Result<Self, CredentialError> {
        Ok(Self {
            certificate: read(&paths.certificate)?,
            key: read(&paths.key)?,
            ca: if client_auth == ClientAuth::None { None } else { Some(read(&paths.ca)?) },
        })
    }

    /// When the certificate ends, in seconds since 1970.
    pub(super) fn expires(&self) -> Option<i64> {
        let first = CertificateDer::pem_slice_iter(&self.certificate).next()?.ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialError> {
    files::read(path, MAX_FILE_BYTES).map_err(|error| CredentialError::Read(path.to_owned(), error))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| CredentialError::Pem(path.to_owned(), error))?;
    if chain.is_empty() { Err(CredentialError::Empty(path.to_owned())) } else { Ok(chain) }
}

pub(super) fn server_config(
    handshakes: Handshakes,
    paths: &Paths,
    files: &Files,
) -> Result<ServerConfig, CredentialError> {
    let chain = certificates(&paths.certificate, &files.certificate)?;
    let private_key =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| CredentialError::Pem(paths.key.clone(), error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(handshakes.min_version, handshakes.max_version))?;
    let builder = match client_verifier(handshakes.client_auth, paths, files)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private_key)?;
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn versions(min: TlsVersion, max: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_1_2: [&SupportedProtocolVersion; 1] = [&TLS12];
    static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (min, max) {
        (TlsVersion::V1_3, _) => &ONLY_1_3,
        (TlsVersion::V1_2, TlsVersion::V1_2) => &ONLY_1_2,
        (TlsVersion::V1_2, TlsVersion::V1_3) => &BOTH,
    }
}

fn client_verifier(
    client_auth: ClientAuth,
    paths: &Paths,
    files: &Files,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, CredentialError> {
    if client_auth == ClientAuth::None {
        return Ok(None);
    }
    let pem = files.ca.as_ref().ok_or_else(|| CredentialError::NoAuthority(paths.ca.clone()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&paths.ca, pem)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if client_auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    Ok(Some(verifier.build()?))
}
