//! TLS towards endpoints: what they are asked for and shown, what of them is believed, and what becomes of requests to those
//! that are not.

use crate::tunnels::scene::handshake;
use anyhow::ensure;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::certificates::{Authority, Certificate, certificate_bytes};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::{Backends, Speaks, TlsSeen};

/// So that connections outlast what the tests take.
const KEPT: &str = "connectionPool: {http: {idleTimeout: 60s}}";
const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// A backend for `model.example` with TLS, and the files that documents may name.
struct Scene {
    backends: Option<Backends>,
    address: SocketAddr,
    folder: TempDir,
    client: Certificate,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        Self::agreeing_to(&BOTH).await
    }

    /// The same, where the backend agrees to these protocols.
    async fn agreeing_to(protocols: &[&str]) -> anyhow::Result<Self> {
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
        let address = backends.listen("green", Speaks::Tls(server.server_config(&authority, protocols)?)).await?;
        Ok(Self { backends: Some(backends), address, folder, client })
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
        service("model", &[self.address]) + &rule + &virtual_service(http)
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

/// How the connections shook hands that requests came over, those after this one; none of it is told again.
fn shown(bed: &Bed, after: &mut usize) -> Vec<Arc<TlsSeen>> {
    let received = bed.backends.received().into_iter();
    let new = received.filter_map(|received| {
        let is_new = received.connection > *after;
        *after = received.connection.max(*after);
        received.tls.filter(|_| is_new)
    });
    new.collect()
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
    let (mut published, mut connections) = ("", 0);
    for (tls, host, expected) in cases {
        if tls != published {
            bed.publish(&scene.documents(tls, KEPT)).await?;
            published = tls;
        } else if let Some((_, shows)) = expected {
            // Kept from the case before: the port is no part of the name.
            ensure!(bed.send(&get(host)).await?.status == 200 && shown(&bed, &mut connections).is_empty() && !shows);
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
                let shown = shown(&bed, &mut connections);
                let seen: Vec<_> = shown.iter().map(|one| (one.server_name.as_deref(), &one.certificate)).collect();
                ensure!(seen == [(server_name, &certificate)], "{tls} for {host}: {shown:?}");
                ensure!(shown[0].protocol.as_deref() == Some("http/1.1"), "{tls} for {host}: {shown:?}");
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
    let names = |bed: &Bed| -> Vec<String> {
        shown(bed, &mut 0).iter().filter_map(|shown| shown.server_name.clone()).collect()
    };
    for (more, protocol) in [("", "http/1.1"), (", h2UpgradePolicy: UPGRADE", "h2")] {
        let mut scene = Scene::new().await?;
        let bed = scene.gateway(any, &format!("connectionPool: {{http: {{idleTimeout: 60s{more}}}}}")).await?;
        for host in ["a.example", "b.example", "a.example:80", "b.example"] {
            ensure!(bed.send(&get(host)).await?.status == 200);
        }
        ensure!(names(&bed) == ["a.example", "b.example"], "{:?}", names(&bed));
        let shown = shown(&bed, &mut 0);
        ensure!(shown[0].protocol.as_deref() == Some(protocol), "{shown:?}");
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
    ensure!(names(&bed) == expected, "{:?}", names(&bed));
    Ok(())
}

/// What is agreed on is not asked: the rule says what is spoken.
#[tokio::test]
async fn what_is_spoken_is_what_the_rule_says_whatever_is_agreed_on() -> anyhow::Result<()> {
    let http2 = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}";
    // What the backend agrees to, how it is spoken to, and the status and reason of the answer.
    let table: [(&[&str], &str, &str); 6] = [
        (&["http/1.1"], KEPT, "200 "),
        (&["h2"], http2, "200 "),
        // It says itself that it has no protocol in common.
        (&["h2"], KEPT, "503 connect_failure"),
        (&["http/1.1"], http2, "503 connect_failure"),
        // It agrees to none, and speaks HTTP/1.1.
        (&[], KEPT, "200 "),
        (&[], http2, "502 upstream_protocol"),
    ];
    for (protocols, pool, expected) in table {
        let mut scene = Scene::agreeing_to(protocols).await?;
        let bed = scene.gateway("mode: SIMPLE, insecureSkipVerify: true", pool).await?;
        let answer = bed.send(&get("model.example")).await?;
        let seen = format!("{} {}", answer.status, answer.header("x-turnout-reason").unwrap_or_default());
        ensure!(seen == expected, "{protocols:?}, {pool}: {seen}");
    }
    Ok(())
}

/// A handshake that does not end holds up no request for another name.
#[tokio::test]
async fn a_connection_of_http2_is_waited_for_by_its_own_name_only() -> anyhow::Result<()> {
    let mut scene = Scene::new().await?;
    let backend = scene.address;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    scene.address = listener.local_addr()?;
    let (told, mut stuck) = tokio::sync::mpsc::channel(1);
    let front = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            // Peeked at, so that all of it goes on to the backend.
            let mut hello = [0; 2048];
            let Ok(bytes) = client.peek(&mut hello).await else { continue };
            if hello[..bytes].windows(4).any(|four| four == b"slow") {
                held.push(client);
                let _ = told.send(()).await;
                continue;
            }
            tokio::spawn(async move {
                let mut backend = tokio::net::TcpStream::connect(backend).await?;
                tokio::io::copy_bidirectional(&mut client, &mut backend).await
            });
        }
    });
    let pool = "connectionPool: {tcp: {connectTimeout: 600s}, http: {h2UpgradePolicy: UPGRADE}}";
    let bed = scene.gateway("mode: SIMPLE, insecureSkipVerify: true", pool).await?;
    let address = bed.address();
    let waiting = tokio::spawn(async move { turnout_tests::client::send(address, &get("slow.example")).await });
    ensure!(stuck.recv().await.is_some());
    ensure!(bed.send(&get("fast.example")).await?.status == 200);
    ensure!(!waiting.is_finished());
    waiting.abort();
    front.abort();
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
