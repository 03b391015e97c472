//! From the `tls` of a DestinationRule to how hands are shaken with its endpoints.

use super::files::{CredentialError, Files, Paths, certificates, private_key};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, OnceLock};
use turnout_routes::documents::TlsOrigination;
use x509_parser::extensions::GeneralName;

pub(super) fn client_config(
    tls: &TlsOrigination,
    paths: &Paths,
    files: &Files,
) -> Result<ClientConfig, CredentialError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = EndpointVerifier { accepts: Accepts::new(tls, paths, files)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(&paths.certificate, certificate)?;
            builder.with_client_auth_cert(chain, private_key(&paths.key, key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    // Whoever speaks something else says so.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Which certificates of endpoints will do.
#[derive(Debug)]
enum Accepts {
    Any,
    Trusted {
        /// In `caCertificates`; what an endpoint shows may be one of these itself.
        authorities: Vec<CertificateDer<'static>>,
        roots: Arc<RootCertStore>,
        names: Names,
    },
}

/// And for which names.
#[derive(Debug)]
enum Names {
    /// `subjectAltNames`.
    OneOf(Vec<String>),
    /// The one that was asked for: the request's host.
    Asked,
    /// A name was asked for that the endpoint need not have, as in Istio where `sni` is written alone.
    Any,
}

impl Accepts {
    fn new(tls: &TlsOrigination, paths: &Paths, files: &Files) -> Result<Self, CredentialError> {
        if tls.accepts_any {
            return Ok(Self::Any);
        }
        let mut authorities = Vec::new();
        let roots = match &files.ca {
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                authorities = certificates(&paths.ca, pem)?;
                for certificate in &authorities {
                    let added = roots.add(certificate.clone());
                    added.map_err(|error| CredentialError::Authority(paths.ca.clone(), error))?;
                }
                Arc::new(roots)
            }
            None => system_roots()?,
        };
        let names = match (tls.subject_alt_names.as_slice(), &tls.sni) {
            ([], None) => Names::Asked,
            ([], Some(_)) => Names::Any,
            (names, _) => Names::OneOf(names.to_vec()),
        };
        Ok(Self::Trusted { authorities, roots, names })
    }
}

/// Those that the system trusts, read once.
fn system_roots() -> Result<Arc<RootCertStore>, CredentialError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() { Err(CredentialError::NoSystemRoots) } else { Ok(Arc::clone(roots)) }
}

/// Checks an endpoint's certificate.
#[derive(Debug)]
struct EndpointVerifier {
    accepts: Accepts,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for EndpointVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Accepts::Trusted { authorities, roots, names } = &self.accepts else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if authorities.contains(end_entity) {
            // Signed by itself, as openssl makes them by default; whoever trusts it has named it.
            check_dates(end_entity, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        match names {
            Names::Any => {}
            Names::Asked => verify_server_name(&certificate, server_name)?,
            Names::OneOf(names) => {
                if !names.iter().any(|name| has_name(end_entity, &certificate, name)) {
                    return Err(CertificateError::NotValidForName.into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if seconds < validity.not_before.timestamp() {
        Err(CertificateError::NotValidYet.into())
    } else if seconds > validity.not_after.timestamp() {
        Err(CertificateError::Expired.into())
    } else {
        Ok(())
    }
}

/// A host, an address, or a URI such as `spiffe://cluster.local/ns/default/sa/model`.
fn has_name(end_entity: &CertificateDer<'_>, certificate: &ParsedCertificate<'_>, name: &str) -> bool {
    if ServerName::try_from(name).is_ok_and(|name| verify_server_name(certificate, &name).is_ok()) {
        return true;
    }
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(end_entity) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|known| matches!(known, GeneralName::URI(uri) if *uri == name))
}
