//! From a Gateway's `tls` to how hands are shaken with its clients.

use super::files::{CredentialError, Files, Paths, certificates, private_key};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;
use turnout_routes::documents::{ClientAuth, TlsVersion};

/// Protocols offered, the better first.
pub(crate) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server's handshakes are to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handshakes {
    pub(super) client_auth: ClientAuth,
    pub(super) min_version: TlsVersion,
    pub(super) max_version: TlsVersion,
}

pub(super) fn server_config(
    handshakes: Handshakes,
    paths: &Paths,
    files: &Files,
) -> Result<ServerConfig, CredentialError> {
    let chain = certificates(&paths.certificate, files.certificate.as_deref().unwrap_or_default())?;
    let private_key = private_key(&paths.key, files.key.as_deref().unwrap_or_default())?;
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
