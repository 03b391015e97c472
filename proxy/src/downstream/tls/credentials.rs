//! The certificates that Gateways name: read from mounted Secrets or from files, turned into what rustls serves, kept
//! while a newer version of them cannot be used.

use super::ALPN;
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use turnout_routes::documents::{ClientAuth, Credential, TlsVersion};
use turnout_routes::router::{Router, TlsServer};

/// The certificates in use.
pub(crate) struct Credentials {
    folder: Option<PathBuf>,
    loaded: ArcSwap<HashMap<Key, Loaded>>,
}

/// What makes one rustls configuration.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    credential: Credential,
    client_auth: ClientAuth,
    min_version: TlsVersion,
    max_version: TlsVersion,
}

#[derive(Clone)]
struct Loaded {
    /// The bytes that it was made from: what has not changed is not made anew, and sessions go on.
    files: Files,
    config: Arc<ServerConfig>,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

/// Where a credential's files are.
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
enum CredentialError {
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
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("the client authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Credentials {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, loaded: ArcSwap::default() }
    }

    /// What a server's handshakes are made with; none if its certificate has never been usable.
    pub(super) fn server_config(&self, server: &TlsServer) -> Option<Arc<ServerConfig>> {
        self.loaded.load().get(&Key::of(server)).map(|loaded| Arc::clone(&loaded.config))
    }

    /// Loads what the router's servers name and lets the rest go; called right before a table is published, and whenever
    /// a file of it may have changed.
    pub(crate) fn load(&self, router: &Router, metrics: &Metrics) {
        let before = self.loaded.load();
        let mut loaded = HashMap::new();
        metrics.credential_missing.reset();
        for server in router.tls_servers() {
            let key = Key::of(server);
            let name = key.name();
            let known = before.get(&key);
            match self.load_one(&key, known) {
                Ok(credential) => {
                    report_expiry(&name, &credential.files, metrics);
                    loaded.insert(key, credential);
                }
                Err(error) => {
                    tracing::warn!(credential = name, %error, kept = known.is_some(), "certificate cannot be used");
                    metrics.credential_missing.with_label_values(&[&name]).set(1);
                    loaded.extend(known.map(|known| (key, known.clone())));
                }
            }
        }
        self.loaded.store(Arc::new(loaded));
    }

    /// The folders whose changes concern the router's certificates.
    pub(crate) fn folders(&self, router: &Router) -> BTreeSet<PathBuf> {
        let paths = router.tls_servers().filter_map(|server| self.paths(&server.credential).ok());
        paths
            .flat_map(|paths| [paths.certificate, paths.key, paths.ca])
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect()
    }

    fn paths(&self, credential: &Credential) -> Result<Paths, CredentialError> {
        match credential {
            Credential::Named(name) => {
                let folder = self.folder.as_ref().ok_or(CredentialError::NoFolder)?.join(name);
                Ok(Paths {
                    certificate: folder.join("tls.crt"),
                    key: folder.join("tls.key"),
                    ca: folder.join("ca.crt"),
                })
            }
            Credential::Files { certificate, key, ca } => Ok(Paths {
                certificate: certificate.into(),
                key: key.into(),
                ca: ca.clone().unwrap_or_default().into(),
            }),
        }
    }

    fn load_one(&self, key: &Key, known: Option<&Loaded>) -> Result<Loaded, CredentialError> {
        let paths = self.paths(&key.credential)?;
        let files = Files {
            certificate: read(&paths.certificate)?,
            key: read(&paths.key)?,
            ca: if key.client_auth == ClientAuth::None { None } else { Some(read(&paths.ca)?) },
        };
        if let Some(known) = known.filter(|known| known.files == files) {
            return Ok(known.clone());
        }
        warn_if_others_can_read(&paths.key);
        let config = server_config(key, &paths, &files)?;
        tracing::info!(credential = key.name(), "certificate loaded");
        Ok(Loaded { files, config: Arc::new(config) })
    }
}

impl Key {
    fn of(server: &TlsServer) -> Self {
        Self {
            credential: server.credential.clone(),
            client_auth: server.client_auth,
            min_version: server.min_version,
            max_version: server.max_version,
        }
    }

    fn name(&self) -> String {
        match &self.credential {
            Credential::Named(name) => name.clone(),
            Credential::Files { certificate, .. } => certificate.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialError> {
    std::fs::read(path).map_err(|error| CredentialError::Read(path.to_owned(), error))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| CredentialError::Pem(path.to_owned(), error))?;
    if chain.is_empty() { Err(CredentialError::Empty(path.to_owned())) } else { Ok(chain) }
}

fn server_config(key: &Key, paths: &Paths, files: &Files) -> Result<ServerConfig, CredentialError> {
    let chain = certificates(&paths.certificate, &files.certificate)?;
    let private_key =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| CredentialError::Pem(paths.key.clone(), error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(key.min_version, key.max_version))?;
    let builder = match client_verifier(key.client_auth, paths, files)? {
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

fn report_expiry(name: &str, files: &Files, metrics: &Metrics) {
    let Some(Ok(first)) = CertificateDer::pem_slice_iter(&files.certificate).next() else { return };
    if let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&first) {
        let ends = certificate.validity().not_after.timestamp();
        metrics.credential_expiry.with_label_values(&[name]).set(ends);
    }
}

#[cfg(unix)]
fn warn_if_others_can_read(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(key = %key.display(), "the key file can be read by others than its owner");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_key: &Path) {}
