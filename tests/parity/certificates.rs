//! The certificates that cases name: those of two servers and of a wildcard, a client's, their authority, and one of
//! which that authority knows nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use turnout_tests::certificates::{Authority, Certificate, certificate_bytes};
use turnout_tests::mount::KubeletMount;

/// Each name, and what its certificate is for.
const SIGNED: [(&str, &str); 4] =
    [("a", "a.example.com"), ("b", "b.example.com"), ("wild", "*.wild.example.com"), ("client", "client.example.com")];

static MADE: LazyLock<Made> = LazyLock::new(|| Made::new().expect("certificates can be made"));

struct Made {
    by_name: BTreeMap<&'static str, Certificate>,
    authority: String,
}

impl Made {
    fn new() -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let signed = SIGNED.iter().map(|(name, of)| Ok((*name, authority.sign(&[of])?)));
        let mut by_name = signed.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        by_name.insert("stranger", Authority::new()?.sign(&["stranger"])?);
        Ok(Self { by_name, authority: authority.pem() })
    }
}

/// A folder with all of them: `NAME.crt` and `NAME.key`, and `ca.crt`.
pub(crate) fn mount() -> anyhow::Result<KubeletMount> {
    let mut files = BTreeMap::from([("ca.crt".to_owned(), MADE.authority.as_bytes())]);
    for (name, Certificate { certificate, key }) in &MADE.by_name {
        files.insert(format!("{name}.crt"), certificate.as_bytes());
        files.insert(format!("{name}.key"), key.as_bytes());
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    Ok(KubeletMount::new(&files)?)
}

/// The same as Secrets: a folder of each name, with `tls.crt`, `tls.key` and `ca.crt`.
pub(crate) fn secrets() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, Certificate { certificate, key }) in &MADE.by_name {
        let secret = folder.path().join(name);
        std::fs::create_dir(&secret)?;
        for (file, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", &MADE.authority)] {
            std::fs::write(secret.join(file), text)?;
        }
    }
    Ok(folder)
}

/// A backend's side of TLS: the certificate of this name, protocols, and whether a client must show a certificate that
/// the authority has signed, or may.
pub(crate) fn server(name: &str, protocols: &[&str], requires_client: bool) -> anyhow::Result<Arc<ServerConfig>> {
    let Certificate { certificate, key } = named(name)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(MADE.authority.as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let verifier = if requires_client { verifier } else { verifier.allow_unauthenticated() };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder().with_client_cert_verifier(verifier.build()?);
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificate of this name.
pub(crate) fn named(name: &str) -> anyhow::Result<&'static Certificate> {
    MADE.by_name.get(name).with_context(|| format!("no certificate {name:?}"))
}

/// The name of a certificate that a server showed.
pub(crate) fn name_of(shown: &[u8]) -> Option<&'static str> {
    let is_shown =
        |certificate: &Certificate| certificate_bytes(&certificate.certificate).is_ok_and(|own| own == shown);
    MADE.by_name.iter().find(|(_, certificate)| is_shown(certificate)).map(|(name, _)| *name)
}
