//! Certificates on disk, from a table's point of view: what is in use, what is told of it, and with whom hands are
//! shaken.

use super::{CredentialReport, Credentials};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use turnout_routes::Source;
use turnout_routes::router::{Identity, Router, compile};

/// A certificate and its key in PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn key() -> KeyPair {
    KeyPair::generate().expect("keys can be made")
}

fn ending_in(year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

/// A certificate that ends with the year, signed by itself.
fn pair(year: i32) -> Pair {
    let key = key();
    let certificate = ending_in(year).self_signed(&key).expect("it is signed");
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = ending_in(2040);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key()).expect("it is signed")
}

fn write(folder: &Path, name: &str, pair: &Pair) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("tls.crt"), &pair.certificate).expect("a file");
    fs::write(folder.join("tls.key"), &pair.key).expect("a file");
}

/// A table with a TLS server for each credential.
fn router(mode: &str, credentials: &[&str]) -> Router {
    let servers: Vec<String> = credentials
        .iter()
        .map(|name| {
            format!(
                "  - port: {{number: 443, name: https-{name}, protocol: HTTPS}}\n    hosts: [\"{name}.example.com\"]\n    \
                 tls: {{mode: {mode}, credentialName: {name}}}\n"
            )
        })
        .collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw, namespace: default}}\nspec:\n  \
         selector: {{istio: ingressgateway}}\n  servers:\n{}",
        servers.concat()
    );
    let parsed = turnout_routes::parse(&[Source { name: "gateway.yaml", bytes: text.as_bytes() }]);
    let identity = Identity {
        labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
        namespace: "istio-system".to_owned(),
    };
    compile(&parsed.expect("a good document").documents, &identity)
}

fn config(credentials: &Credentials, router: &Router, server_name: &str) -> Option<Arc<ServerConfig>> {
    credentials.server_config(router.tls_server(443, Some(server_name)).expect("a server of this name"))
}

fn report(credentials: &Credentials) -> Vec<(String, bool, bool)> {
    let told = |(name, report): (String, CredentialReport)| (name, report.unusable.is_some(), report.expires.is_some());
    credentials.report().into_iter().map(told).collect()
}

fn one_and(name: &str, missing: bool, in_use: bool) -> Vec<(String, bool, bool)> {
    vec![("one".to_owned(), false, true), (name.to_owned(), missing, in_use)]
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_older_one_and_every_other() {
    let folder = TempDir::new().expect("a folder");
    let table = router("SIMPLE", &["one", "two"]);
    let (good, other) = (pair(2031), pair(2032));
    let broken: [(&str, Pair); 4] = [
        ("no PEM", Pair { certificate: "nothing".into(), key: good.key.clone() }),
        ("empty", Pair { certificate: String::new(), key: String::new() }),
        ("cut", Pair { certificate: good.certificate[..200].into(), key: good.key.clone() }),
        ("another's key", Pair { certificate: good.certificate.clone(), key: other.key.clone() }),
    ];
    for (what, bad) in &broken {
        let credentials = Credentials::new(Some(folder.path().to_owned()));
        write(folder.path(), "one", &other);
        write(folder.path(), "two", bad);
        credentials.load(&table);
        assert!(config(&credentials, &table, "two.example.com").is_none(), "{what}: there is no older one");
        assert_eq!(report(&credentials), one_and("two", true, false), "{what}");

        write(folder.path(), "two", &good);
        credentials.load(&table);
        let in_use = config(&credentials, &table, "two.example.com").expect("it is good");
        assert_eq!(report(&credentials), one_and("two", false, true), "{what}");

        write(folder.path(), "two", bad);
        credentials.load(&table);
        let kept = config(&credentials, &table, "two.example.com").expect("the older one is kept");
        assert!(Arc::ptr_eq(&in_use, &kept), "{what}");
        assert_eq!(report(&credentials), one_and("two", true, true), "{what}");
        fs::remove_dir_all(folder.path().join("two")).expect("it was there");
        credentials.load(&table);
        assert!(config(&credentials, &table, "two.example.com").is_some(), "{what}: kept without its folder");
        assert!(config(&credentials, &table, "one.example.com").is_some(), "{what}: another is not concerned");
    }
}

#[test]
fn a_certificate_is_made_anew_only_when_its_files_change_and_goes_with_its_server() {
    let folder = TempDir::new().expect("a folder");
    let credentials = Credentials::new(Some(folder.path().to_owned()));
    let table = router("SIMPLE", &["one"]);
    write(folder.path(), "one", &pair(2031));
    credentials.load(&table);
    let first = config(&credentials, &table, "one.example.com").expect("it is good");
    let ends = credentials.report()["one"].expires.expect("it ends");
    credentials.load(&router("SIMPLE", &["one", "two"]));
    let again = config(&credentials, &table, "one.example.com").expect("it is good");
    assert!(Arc::ptr_eq(&first, &again), "sessions go on across tables");
    write(folder.path(), "one", &pair(2032));
    credentials.load(&table);
    let second = config(&credentials, &table, "one.example.com").expect("it is good");
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(credentials.report()["one"].expires.expect("it ends") - ends, 365 * 86_400);
    credentials.load(&router("SIMPLE", &["two"]));
    credentials.load(&router("SIMPLE", &["two"]));
    assert!(
        config(&credentials, &table, "one.example.com").is_some(),
        "requests of the table before may still need it"
    );
    write(folder.path(), "two", &pair(2031));
    credentials.load(&router("SIMPLE", &["two"]));
    credentials.load(&router("SIMPLE", &["three"]));
    assert!(config(&credentials, &table, "one.example.com").is_none(), "no server names it");
    assert_eq!(report(&credentials), [("three".to_owned(), true, false)], "nor is it told of");
}

#[test]
fn without_a_folder_every_certificate_is_missing() {
    for folder in [None, Some("/nowhere".into())] {
        let credentials = Credentials::new(folder.clone());
        let table = router("SIMPLE", &["one"]);
        credentials.load(&table);
        assert!(config(&credentials, &table, "one.example.com").is_none(), "{folder:?}");
        assert_eq!(report(&credentials), [("one".to_owned(), true, false)], "{folder:?}");
    }
}

#[test]
fn mutual_asks_clients_for_a_certificate_of_the_authority() {
    let folder = TempDir::new().expect("a folder");
    let (trusted, foreign) = (authority(), authority());
    write(folder.path(), "one", &pair(2031));
    let credentials = Credentials::new(Some(folder.path().to_owned()));
    let table = router("MUTUAL", &["one"]);
    credentials.load(&table);
    assert!(config(&credentials, &table, "one.example.com").is_none(), "there is no authority to ask");
    assert_eq!(report(&credentials), [("one".to_owned(), true, false)]);

    fs::write(folder.path().join("one/ca.crt"), trusted.pem()).expect("a file");
    let client = |authority: &CertifiedIssuer<'_, KeyPair>| {
        let key = key();
        let certificate = ending_in(2031).signed_by(&key, authority).expect("it is signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    };
    for (mode, without, of_another) in
        [("MUTUAL", false, false), ("OPTIONAL_MUTUAL", true, false), ("SIMPLE", true, true)]
    {
        let table = router(mode, &["one"]);
        credentials.load(&table);
        let config = config(&credentials, &table, "one.example.com").expect("it is good");
        assert!(shake_hands(&config, Some(&client(&trusted))), "{mode}");
        assert_eq!(shake_hands(&config, None), without, "{mode} without a certificate");
        assert_eq!(shake_hands(&config, Some(&client(&foreign))), of_another, "{mode} with a stranger's");
    }
}

#[test]
fn tls_1_2_has_the_cipher_suites_that_are_chosen() {
    let folder = TempDir::new().expect("a folder");
    // Its key is one of ECDSA.
    write(folder.path(), "one", &pair(2031));
    let credentials = Credentials::new(Some(folder.path().to_owned()));
    for (fields, gets_through) in [
        ("maxProtocolVersion: TLSV1_2", true),
        ("maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]", true),
        ("maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]", false),
        // Those of TLS 1.3 are not chosen.
        ("cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]", true),
    ] {
        let table = router(&format!("SIMPLE, {fields}"), &["one"]);
        credentials.load(&table);
        let config = config(&credentials, &table, "one.example.com").expect("it is good");
        assert_eq!(shake_hands(&config, None), gets_through, "{fields}");
    }
}

/// Whether a client with this certificate gets through, over no wire at all.
fn shake_hands(config: &Arc<ServerConfig>, client: Option<&Pair>) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let client_config = match client {
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("one.example.com").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client_config), name).expect("a good configuration");
    let mut server = ServerConnection::new(Arc::clone(config)).expect("a good configuration");
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes it");
        }
        server.read_tls(&mut bytes.as_slice()).expect("memory gives it");
        if server.process_new_packets().is_err() {
            return false;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory takes it");
        }
        client.read_tls(&mut bytes.as_slice()).expect("memory gives it");
        client.process_new_packets().expect("the server is in order");
    }
    !server.is_handshaking()
}

/// Takes any server: this is about what the server takes.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
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
