//! From a Gateway's `tls` to how hands are shaken with its clients.

use super::files::{CredentialError, Files, Paths, certificates, private_key};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use turnout_routes::documents::{CipherSuite, ClientAuth, TlsVersion};

/// Protocols offered, the better first.
pub(crate) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server's handshakes are to be like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handshakes {
    pub(super) client_auth: ClientAuth,
    pub(super) min_version: TlsVersion,
    pub(super) max_version: TlsVersion,
    pub(super) cipher_suites: Vec<CipherSuite>,
}

pub(super) fn server_config(
    handshakes: &Handshakes,
    paths: &Paths,
    files: &Files,
) -> Result<ServerConfig, CredentialError> {
    let chain = certificates(&paths.certificate, files.certificate.as_deref().unwrap_or_default())?;
    let private_key = private_key(&paths.key, files.key.as_deref().unwrap_or_default())?;
    let builder = ServerConfig::builder_with_provider(Arc::new(provider(&handshakes.cipher_suites)))
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

/// With these cipher suites of TLS 1.2, or all; and with those of TLS 1.3.
fn provider(chosen: &[CipherSuite]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !chosen.is_empty() {
        let chosen: Vec<rustls::CipherSuite> = chosen.iter().map(|suite| in_rustls(*suite)).collect();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || chosen.contains(&suite.suite()));
    }
    provider
}

fn in_rustls(suite: CipherSuite) -> rustls::CipherSuite {
    match suite {
        CipherSuite::EcdsaAes128Gcm => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes128Gcm => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256Gcm => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes256Gcm => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaChaCha20 => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
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
