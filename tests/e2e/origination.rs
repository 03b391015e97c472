//! TLS towards endpoints: what they are asked for and shown, what of them is believed, and what becomes of requests to those
//! that are not.

use crate::tunnels::scene::handshake;
use anyhow::ensure;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::certificates::{Authority, Certificate, certificate_bytes};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::{Backends, Speaks};

/// So that connections outlast what the tests take.
const KEPT: &str = "connectionPool: {http: {idleTimeout: 60s}}";

/// What a client showed and asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    server_name: Option<String>,
    certificate: Option<Vec<u8>>,
    /// The protocol that both agreed on.
    protocol: Option<Vec<u8>>,
}

/// TLS in front of a backend.
struct Front {
    address: SocketAddr,
    shown: Arc<Mutex<Vec<Shown>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Shows this certificate, and takes those of clients that the authority has signed, or none.
    async fn start(backend: SocketAddr, certificate: &Certificate, authority: &Authority) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
        let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
        let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, shown) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let recorded = Arc::clone(&shown);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, shown) = (acceptor.clone(), Arc::clone(&recorded));
                tokio::spawn(async move { pass_on(client, &acceptor, backend, &shown).await });
            }
        });
        Ok(Self { address, shown, task })
    }

    fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass_on(
    client: TcpStream,
    acceptor: &TlsAcceptor,
    backend: SocketAddr,
    shown: &Mutex<Vec<Shown>>,
) -> anyhow::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let session = client.get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
    let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
    let one = Shown { server_name: session.server_name().map(str::to_owned), certificate, protocol };
    shown.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    let mut backend = TcpStream::connect(backend).await?;
    tokio::io::copy_bidirectional(&mut client, &mut backend).await?;
    Ok(())
}

/// A backend for `model.example` with TLS, and the files that documents may name.
struct Scene {
    backends: Option<Backends>,
    front: Front,
    folder: TempDir,
    client: Certificate,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        let (authority, stranger) = (Authority::new()?, Authority::new()?);
        let mut backends = Backends::start_named(&["green"]).await?;
        let folder = tempfile::tempdir()?;
        let server = authority.sign(&["model.example"])?;
        let client = authority.sign(&["gateway"])?;
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("ca.crt", &authority.pem())?;
        write("stranger.crt", &stranger.pem())?;
        write("client.crt", &client.certificate)?;
        write("client.key", &client.key)?;
        secret(folder.path(), "mutual", &[("tls.crt", &client.certificate), ("tls.key", &client.key)], &authority)?;
        secret(folder.path(), "simple", &[], &authority)?;
        let front = Front::start(backends.listen("green", Speaks::Either).await?, &server, &authority).await?;
        Ok(Self { backends: Some(backends), front, folder, client })
    }

    /// A gateway that speaks to the service with this policy.
    async fn gateway(&mut self, tls: &str, pool: &str) -> anyhow::Result<Bed> {
        let backends = match self.backends.take() {
            Some(backends) => backends,
            None => Backends::start_named(&[]).await?,
        };
        let arguments = ["--workers", "1", "--credentials", &self.path("")];
        Bed::over(backends, &self.documents(tls, pool), &[PORT], &arguments).await
    }

    fn documents(&self, tls: &str, pool: &str) -> String {
        let tls = tls.replace("${CERTS}", self.path("").trim_end_matches('/'));
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: model, namespace: default}}\n\
             spec: {{host: model, trafficPolicy: {{{pool}, tls: {{{tls}}}}}}}\n---\n"
        );
        let http = "- retries: {attempts: 0}\n  route: [{destination: {host: model}}]";
        service("model", &[self.front.address]) + &rule + &virtual_service(http)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }
}

fn secret(folder: &Path, name: &str, keys: &[(&str, &str)], authority: &Authority) -> anyhow::Result<()> {
    let folder = folder.join(name);
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("ca.crt"), authority.pem())?;
    keys.iter().try_for_each(|(key, text)| std::fs::write(folder.join(key), text))?;
    Ok(())
}

fn get(host: &str) -> RawRequest {
    RawRequest::new("GET", "/").header("Host", host)
}

/// What an endpoint is asked for and whether it is shown a certificate; none where it is not believed.
type Seen = Option<(Option<&'static str>, bool)>;

/// What an endpoint sees, or that it is not believed.
#[tokio::test]
async fn an_endpoint_is_asked_shown_and_believed_as_the_rule_says() -> anyhow::Result<()> {
    let mut scene = Scene::new().await?;
    let ca = "caCertificates: ${CERTS}/ca.crt";
    let files = "clientCertificate: ${CERTS}/client.crt, privateKey: ${CERTS}/client.key";
    let (name, client) = (Some("model.example"), true);
    // The policy, and the request's host.
    let cases: [(&str, &str, Seen); 15] = [
        (&format!("mode: SIMPLE, {ca}"), "model.example", Some((name, false))),
        (&format!("mode: SIMPLE, {ca}"), "model.example:8080", Some((name, false))),
        (&format!("mode: SIMPLE, {ca}"), "other.example", None),
        (&format!("mode: SIMPLE, {ca}, sni: model.example"), "other.example", Some((name, false))),
        (&format!("mode: SIMPLE, {ca}, sni: any.example"), "other.example", Some((Some("any.example"), false))),
        (&format!("mode: SIMPLE, {ca}, subjectAltNames: [a, model.example]"), "x.y", Some((Some("x.y"), false))),
        (&format!("mode: SIMPLE, {ca}, subjectAltNames: [other.example]"), "model.example", None),
        ("mode: SIMPLE, caCertificates: ${CERTS}/stranger.crt", "model.example", None),
        ("mode: SIMPLE, caCertificates: ${CERTS}/absent.crt", "model.example", None),
        ("mode: SIMPLE", "model.example", None),
        ("mode: SIMPLE, insecureSkipVerify: true", "other.example", Some((Some("other.example"), false))),
        ("mode: SIMPLE, credentialName: simple", "model.example", Some((name, false))),
        ("mode: MUTUAL, credentialName: mutual", "model.example", Some((name, client))),
        (&format!("mode: MUTUAL, {files}, {ca}"), "model.example", Some((name, client))),
        ("mode: MUTUAL, credentialName: absent", "model.example", None),
    ];
    // What one policy has connected is not used under another, though it is kept.
    let mut bed = scene.gateway("mode: DISABLE", KEPT).await?;
    let mut published = "";
    for (tls, host, expected) in cases {
        scene.front.shown.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if tls != published {
            bed.publish(&scene.documents(tls, KEPT)).await?;
            published = tls;
        } else if let Some((_, shows)) = expected {
            // Kept from the case before: the port is no part of the name.
            ensure!(bed.send(&get(host)).await?.status == 200 && scene.front.shown().is_empty() && !shows);
            continue;
        }
        let answer = bed.send(&get(host)).await?;
        match expected {
            None => {
                let reason = answer.header("x-turnout-reason");
                ensure!((answer.status, reason) == (503, Some("connect_failure")), "{tls} for {host}: {answer:?}");
            }
            Some((server_name, shows)) => {
                ensure!(answer.backend() == Some("green"), "{tls} for {host}: {answer:?}");
                let certificate = if shows { Some(certificate_bytes(&scene.client.certificate)?) } else { None };
                let expected = Shown {
                    server_name: server_name.map(str::to_owned),
                    certificate,
                    protocol: Some(b"http/1.1".to_vec()),
                };
                let shown = scene.front.shown();
                ensure!(shown == [expected], "{tls} for {host}: {shown:?}");
            }
        }
    }
    let failed = bed.count("turnout_upstream_connects_total", &[("result", "tls_failed")]).await?;
    ensure!(failed >= 3.0, "{failed}");
    Ok(())
}

/// A connection is used again, but only for the name that it was made for.
#[tokio::test]
async fn a_connection_is_kept_for_the_name_it_was_made_for() -> anyhow::Result<()> {
    let any = "mode: SIMPLE, insecureSkipVerify: true";
    let names = |scene: &Scene| -> Vec<String> {
        scene.front.shown().into_iter().filter_map(|shown| shown.server_name).collect()
    };
    for (more, protocol) in [("", "http/1.1"), (", h2UpgradePolicy: UPGRADE", "h2")] {
        let mut scene = Scene::new().await?;
        let bed = scene.gateway(any, &format!("connectionPool: {{http: {{idleTimeout: 60s{more}}}}}")).await?;
        for host in ["a.example", "b.example", "a.example:80", "b.example"] {
            ensure!(bed.send(&get(host)).await?.status == 200);
        }
        ensure!(names(&scene) == ["a.example", "b.example"], "{:?}", names(&scene));
        ensure!(scene.front.shown()[0].protocol.as_deref() == Some(protocol.as_bytes()), "{:?}", scene.front.shown());
    }

    let mut scene = Scene::new().await?;
    let mut bed = scene.gateway(any, KEPT).await?;
    for host in ["a.example", "b.example"] {
        ensure!(bed.send(&get(host)).await?.status == 200);
    }
    // Where there may be one only, a name makes room for the next.
    bed.publish(&scene.documents(any, "connectionPool: {tcp: {maxConnections: 1}}")).await?;
    for host in ["c.example", "d.example", "c.example"] {
        ensure!(bed.send(&get(host)).await?.status == 200);
    }
    let expected = ["a.example", "b.example", "c.example", "d.example", "c.example"];
    ensure!(names(&scene) == expected, "{:?}", names(&scene));
    Ok(())
}

#[tokio::test]
async fn a_tunnel_goes_over_tls_too() -> anyhow::Result<()> {
    let mut scene = Scene::new().await?;
    let bed = scene.gateway("mode: SIMPLE, insecureSkipVerify: true", KEPT).await?;
    let mut connection = bed.open().await?;
    let answer = connection.exchange(&handshake("/chat")).await?;
    ensure!((answer.status, answer.backend()) == (101, Some("green")), "{answer:?}");
    for said in [&b"ping"[..], &vec![7; 200_000]] {
        connection.send(said).await?;
        ensure!(connection.exactly(said.len()).await? == said);
    }
    Ok(())
}

/// A Secret that is renewed is shown by the next connection; one that is broken leaves the older one in use.
#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() -> anyhow::Result<()> {
    let mut scene = Scene::new().await?;
    // Each request shakes hands anew.
    let pool = "connectionPool: {http: {maxRequestsPerConnection: 1}}";
    let bed = scene.gateway("mode: SIMPLE, caCertificates: ${CERTS}/late.crt", pool).await?;
    ensure!(bed.send(&get("model.example")).await?.status == 503, "there is no authority yet");
    let ready = || async {
        let answer = bed.send(&get("model.example")).await?;
        ensure!(answer.status == 200, "{answer:?}");
        anyhow::Ok(())
    };
    std::fs::copy(scene.path("ca.crt"), scene.path("late.crt"))?;
    turnout_tests::eventually(std::time::Duration::from_secs(20), ready).await?;
    std::fs::write(scene.path("late.crt"), "nothing")?;
    turnout_tests::eventually(std::time::Duration::from_secs(20), || async {
        let missing = bed.count("turnout_credential_missing", &[]).await?;
        ensure!(missing.total_cmp(&1.0).is_eq(), "it is not noticed");
        Ok(())
    })
    .await?;
    ready().await
}
