//! TLS on the client's side: which server a client means, with which certificate and version, and what becomes of
//! connections while certificates change, are broken or are missing.

use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::tunnels::scene::handshake;
use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use turnout_tests::bed::{Bed, services};
use turnout_tests::certificates::{
    Authority, Certificate, TLS12, TLS13, TlsClient, Visitor, certificate_bytes, is_resumed, shown_certificate,
};
use turnout_tests::client::{Http2Connection, RawConnection, RawRequest, RawResponse};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::mount::KubeletMount;

const LONG: Duration = Duration::from_secs(10);
const TLS_PORT: u16 = 443;
const PLAIN_PORT: u16 = 80;

/// The folder of `--credentials`, whose folders are mounted Secrets.
struct Secrets {
    folder: TempDir,
    mounts: Vec<(String, KubeletMount)>,
}

impl Secrets {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, mounts: Vec::new() })
    }

    /// Mounts a Secret, or changes it as kubelet does.
    fn mount(&mut self, name: &str, keys: &[(&str, &str)]) -> anyhow::Result<()> {
        let keys: Vec<(&str, &[u8])> = keys.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        if let Some((_, mount)) = self.mounts.iter_mut().find(|(own, _)| own == name) {
            mount.swap(&keys)?;
            return Ok(());
        }
        let mount = KubeletMount::new(&keys)?;
        symlink(mount.path(), self.folder.path().join(name))?;
        self.mounts.push((name.to_owned(), mount));
        Ok(())
    }

    fn certificate(&mut self, name: &str, certificate: &Certificate) -> anyhow::Result<()> {
        self.mount(name, &[("tls.crt", &certificate.certificate), ("tls.key", &certificate.key)])
    }
}

/// A server with TLS: its hosts, and its settings beside the mode.
fn server(name: &str, host: &str, tls: &str) -> String {
    format!(
        "  - {{port: {{number: {TLS_PORT}, name: {name}, protocol: HTTPS}}, hosts: [\"{host}\"], tls: {{{tls}}}}}\n"
    )
}

/// These servers, with a rule for each of these hosts that sends to the backend of that name.
fn documents(backends: &Backends, servers: &str, rules: &[(&str, &str)]) -> String {
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gateway, namespace: default}}\n\
         spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{servers}"
    );
    let rules = rules.iter().enumerate().map(|(index, (host, backend))| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: rule-{index}, namespace: default}}\n\
             spec:\n  hosts: [\"{host}\"]\n  gateways: [gateway]\n  http:\n  - route: [{{destination: {{host: {backend}}}}}]\n"
        )
    });
    [services(backends), gateway].into_iter().chain(rules).collect()
}

async fn start(secrets: &Secrets, servers: &str, rules: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let documents = documents(&backends, servers, rules);
    let folder = secrets.folder.path().to_string_lossy().into_owned();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--credentials", &folder]).collect();
    Bed::over(backends, &documents, &[TLS_PORT, PLAIN_PORT], &arguments).await
}

/// A gateway that serves `*` with one certificate for `a.example.com` and `b.example.com`.
async fn simple(tls: &str) -> anyhow::Result<(Bed, Authority, Secrets)> {
    let authority = Authority::new()?;
    let mut secrets = Secrets::new()?;
    secrets.certificate("one", &authority.sign(&["a.example.com", "b.example.com"])?)?;
    let servers = server("https", "*", &format!("mode: SIMPLE, credentialName: one{tls}"));
    let bed = start(&secrets, &servers, &[("*", "green")], &[]).await?;
    Ok((bed, authority, secrets))
}

async fn connect(bed: &Bed, client: &TlsClient, name: &str) -> anyhow::Result<TlsStream<TcpStream>> {
    client.connect(bed.gateway.address(TLS_PORT), name).await
}

/// Asks for `/` of this host over a TLS connection to the server of this name.
async fn ask(bed: &Bed, client: &TlsClient, name: &str, host: &str) -> anyhow::Result<RawResponse> {
    let stream = connect(bed, client, name).await?;
    let request = RawRequest::new("GET", "/").header("Host", host);
    Ok(RawConnection::over(stream).exchange(&request).await?)
}

#[tokio::test]
async fn both_versions_of_tls_are_served_and_backends_hear_of_https() -> anyhow::Result<()> {
    let (bed, authority, _secrets) = simple("").await?;
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::trusting(&authority)?.version(version);
        let response = ask(&bed, &client, "a.example.com", "a.example.com").await?;
        assert_eq!((response.status, response.backend()), (200, Some("green")));
    }
    for received in bed.backends.received() {
        assert_eq!(received.headers.values("x-forwarded-proto"), ["https"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_tunnel_goes_over_tls_too() -> anyhow::Result<()> {
    let (bed, authority, _secrets) = simple("").await?;
    let client = TlsClient::trusting(&authority)?;
    let mut connection = RawConnection::over(connect(&bed, &client, "a.example.com").await?);
    assert_eq!(connection.exchange(&handshake("/chat")).await?.status, 101);
    for said in [&b"ping"[..], &vec![7; 200_000]] {
        connection.send(said).await?;
        assert!(connection.exactly(said.len()).await? == said);
    }
    Ok(())
}

#[tokio::test]
async fn versions_of_tls_can_be_limited() -> anyhow::Result<()> {
    for (setting, served, refused) in [
        (", minProtocolVersion: TLSV1_3", &TLS13, Some(&TLS12)),
        (", maxProtocolVersion: TLSV1_2", &TLS12, Some(&TLS13)),
        (", minProtocolVersion: TLSV1_2", &TLS12, None),
    ] {
        let (bed, authority, _secrets) = simple(setting).await?;
        let client = TlsClient::trusting(&authority)?;
        let response = ask(&bed, &client.clone().version(served), "a.example.com", "a").await?;
        assert_eq!(response.status, 200, "{setting}");
        if let Some(refused) = refused {
            let refused = ask(&bed, &client.version(refused), "a.example.com", "a").await;
            assert!(refused.is_err(), "{setting}: {refused:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn alpn_decides_between_http1_and_http2() -> anyhow::Result<()> {
    let (bed, authority, _secrets) = simple("").await?;
    let offers: [(&[&str], Option<&[u8]>); 4] = [
        (&["h2", "http/1.1"], Some(b"h2")),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ];
    for (offered, chosen) in offers {
        let client = TlsClient::trusting(&authority)?.alpn(offered);
        let stream = connect(&bed, &client, "a.example.com").await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
        if chosen == Some(b"h2") {
            let request = http::Request::get("https://a.example.com/").body(bytes::Bytes::new())?;
            assert_eq!(Http2Connection::over(stream).await?.send(request).await?.status(), 200);
        } else {
            let response = RawConnection::over(stream).exchange(&RawRequest::get("/")).await?;
            assert_eq!(response.status, 200, "{offered:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_server_name_decides_which_server_and_which_certificate() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let mut secrets = Secrets::new()?;
    let [a, b] = [authority.sign(&["a.example.com"])?, authority.sign(&["b.example.com", "x.b.example.com"])?];
    secrets.certificate("a", &a)?;
    secrets.certificate("b", &b)?;
    let servers = server("https-a", "a.example.com", "mode: SIMPLE, credentialName: a")
        + &server("https-b", "b.example.com", "mode: SIMPLE, credentialName: b")
        + &server("https-x", "*.b.example.com", "mode: SIMPLE, credentialName: b");
    let rules = [("a.example.com", "green"), ("b.example.com", "blue"), ("x.b.example.com", "red")];
    let bed = start(&secrets, &servers, &rules, &[]).await?;
    let client = TlsClient::trusting(&authority)?;

    let table = [("a.example.com", &a, "green"), ("b.example.com", &b, "blue"), ("x.b.example.com", &b, "red")];
    for (name, certificate, backend) in table {
        let stream = connect(&bed, &client, name).await?;
        assert_eq!(shown_certificate(&stream), Some(certificate_bytes(&certificate.certificate)?), "{name}");
        let request = RawRequest::new("GET", "/").header("Host", name);
        let response = RawConnection::over(stream).exchange(&request).await?;
        assert_eq!((response.status, response.backend()), (200, Some(backend)), "{name}");
    }
    assert_eq!(connect(&bed, &client, "A.Example.Com").await.map(drop).ok(), Some(()), "names mind no case");
    for unknown in ["c.example.com", "example.com", "a.b.c"] {
        let refused = connect(&bed, &client, unknown).await;
        assert!(refused.is_err(), "{unknown}");
    }
    let nameless = connect(&bed, &client.clone().without_server_name(), "a.example.com").await;
    assert!(nameless.is_err(), "no server is for every host");
    for (name, host) in [("a.example.com", "b.example.com"), ("b.example.com", "a.example.com")] {
        assert_eq!(ask(&bed, &client, name, host).await?.status, 404, "{name} with the Host {host}");
    }
    let refused = bed.count("turnout_downstream_errors_total", &[("kind", "tls_name")]).await?;
    assert!((refused - 4.0).abs() < 0.5, "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_server_for_every_host_needs_no_server_name() -> anyhow::Result<()> {
    let (bed, authority, _secrets) = simple("").await?;
    let client = TlsClient::trusting(&authority)?;
    let nameless = client.clone().without_server_name();
    assert_eq!(ask(&bed, &nameless, "a.example.com", "any.example.com").await?.status, 200);
    assert_eq!(ask(&bed, &client, "b.example.com", "any.example.com").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn clients_are_asked_for_their_certificate_as_the_mode_says() -> anyhow::Result<()> {
    let [authority, clients, strangers] = [Authority::new()?, Authority::new()?, Authority::new()?];
    let known = clients.sign(&["client"])?;
    let unknown = strangers.sign(&["client"])?;
    let own = authority.sign(&["a.example.com"])?;
    let mut secrets = Secrets::new()?;
    let ca = clients.pem();
    secrets.mount("one", &[("tls.crt", &own.certificate), ("tls.key", &own.key), ("ca.crt", &ca)])?;
    for (mode, without) in [("MUTUAL", false), ("OPTIONAL_MUTUAL", true)] {
        let servers = server("https", "*", &format!("mode: {mode}, credentialName: one"));
        let bed = start(&secrets, &servers, &[("*", "green")], &[]).await?;
        for version in [&TLS12, &TLS13] {
            let client = TlsClient::trusting(&authority)?.version(version);
            let table = [
                ("none", client.clone(), without),
                ("known", client.clone().certificate(&known), true),
                ("unknown", client.clone().certificate(&unknown), false),
            ];
            for (shown, client, served) in table {
                let answer = ask(&bed, &client, "a.example.com", "a.example.com").await;
                let status = answer.ok().map(|response| response.status);
                assert_eq!(status, served.then_some(200), "{mode}, {shown}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn backends_hear_which_certificate_a_client_showed() -> anyhow::Result<()> {
    const HEADER: &str = "x-forwarded-client-cert";
    let [authority, clients] = [Authority::new()?, Authority::new()?];
    let (own, ca, known) = (authority.sign(&["a.example.com"])?, clients.pem(), clients.sign(&["client.example.com"])?);
    let mut secrets = Secrets::new()?;
    secrets.mount("one", &[("tls.crt", &own.certificate), ("tls.key", &own.key), ("ca.crt", &ca)])?;
    let servers = server("https", "*", "mode: OPTIONAL_MUTUAL, credentialName: one");
    let bed = start(&secrets, &servers, &[("*", "green")], &["--trusted-proxies", "127.0.0.0/8"]).await?;
    for (version, http2, shows) in [&TLS12, &TLS13]
        .into_iter()
        .flat_map(|version| [(version, false), (version, true)])
        .flat_map(|(version, http2)| [(version, http2, false), (version, http2, true)])
    {
        let client = TlsClient::trusting(&authority)?.version(version).alpn(&[if http2 { "h2" } else { "http/1.1" }]);
        let visitor = if shows { client.certificate(&known) } else { client }.visitor()?;
        for resumed in [false, true] {
            bed.backends.clear();
            let stream = visitor.connect(bed.gateway.address(TLS_PORT), "a.example.com").await?;
            let case = format!("{:?}, HTTP/2: {http2}, shows: {shows}, resumed: {resumed}", version.version);
            assert_eq!(is_resumed(&stream), resumed, "{case}");
            // A client's own word counts for nothing, not even a trusted one's.
            if http2 {
                let request = http::Request::get("https://a.example.com/").header(HEADER, "Hash=forged");
                Http2Connection::over(stream).await?.send(request.body(bytes::Bytes::new())?).await?;
            } else {
                RawConnection::over(stream).exchange(&RawRequest::get("/").header(HEADER, "Hash=forged")).await?;
            }
            let received = bed.backends.received();
            match (shows, &received[0].headers.values(HEADER)[..]) {
                (false, []) => {}
                (true, [told]) => {
                    let end = ";Subject=\"CN=client.example.com\";URI=;DNS=client.example.com";
                    assert!(
                        told.starts_with("Hash=") && told.ends_with(end) && !told.contains("forged"),
                        "{case}: {told}"
                    );
                }
                (_, told) => panic!("{case}: {told:?}"),
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_without_a_failed_request() -> anyhow::Result<()> {
    let (bed, authority, mut secrets) = simple("").await?;
    let client = TlsClient::trusting(&authority)?;
    let mut old_connection = RawConnection::over(connect(&bed, &client, "a.example.com").await?);
    for round in 0..2 {
        let new = authority.sign(&["a.example.com", &format!("round-{round}.example.com")])?;
        let shown = certificate_bytes(&new.certificate)?;
        secrets.certificate("one", &new)?;
        // Every handshake on the way to the new certificate, and every request, succeeds.
        let mut asked = 0;
        loop {
            let stream = connect(&bed, &client, "a.example.com").await.context("a handshake failed")?;
            let is_new = shown_certificate(&stream).as_ref() == Some(&shown);
            let response = RawConnection::over(stream).exchange(&RawRequest::get("/")).await?;
            ensure!(response.status == 200, "{response:?}");
            if is_new {
                break;
            }
            asked += 1;
            ensure!(asked < 5000, "the new certificate is never shown");
        }
        let response = old_connection.exchange(&RawRequest::get("/")).await?;
        assert_eq!(response.status, 200, "a connection outlives the certificate that it began with");
    }
    Ok(())
}

#[tokio::test]
async fn a_broken_new_certificate_keeps_the_old_one() -> anyhow::Result<()> {
    let (bed, authority, mut secrets) = simple("").await?;
    let client = TlsClient::trusting(&authority)?;
    let before = shown_certificate(&connect(&bed, &client, "a.example.com").await?);
    let other = authority.sign(&["a.example.com"])?;
    let good = authority.sign(&["a.example.com"])?;
    let broken: [&[(&str, &str)]; 4] = [
        &[("tls.crt", "not a certificate"), ("tls.key", &other.key)],
        &[("tls.crt", &good.certificate), ("tls.key", &other.key)],
        &[("tls.crt", &good.certificate)],
        &[("tls.crt", ""), ("tls.key", &good.key)],
    ];
    for (index, keys) in broken.iter().enumerate() {
        secrets.mount("one", keys)?;
        missing(&bed, "one", Some(1.0)).await.with_context(|| format!("row {index}"))?;
        let stream = connect(&bed, &client, "a.example.com").await.with_context(|| format!("row {index}"))?;
        assert_eq!(shown_certificate(&stream), before, "row {index}");
    }
    secrets.certificate("one", &good)?;
    missing(&bed, "one", None).await?;
    let stream = connect(&bed, &client, "a.example.com").await?;
    assert_eq!(shown_certificate(&stream), Some(certificate_bytes(&good.certificate)?));
    Ok(())
}

/// Waits until the gauge of missing credentials says this of one.
async fn missing(bed: &Bed, credential: &str, expected: Option<f64>) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let seen = bed.gateway.metrics().await?.sum("turnout_credential_missing", &[("credential", credential)]);
        ensure!(seen == expected, "turnout_credential_missing of {credential} is {seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_missing_credential_fails_its_own_server_alone() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let mut secrets = Secrets::new()?;
    secrets.certificate("here", &authority.sign(&["a.example.com"])?)?;
    secrets.mount("empty", &[])?;
    let servers = server("https-a", "a.example.com", "mode: SIMPLE, credentialName: here")
        + &server("https-b", "b.example.com", "mode: SIMPLE, credentialName: gone")
        + &server("https-c", "c.example.com", "mode: SIMPLE, credentialName: empty")
        + &server("https-d", "d.example.com", "mode: MUTUAL, credentialName: here");
    let mut bed = start(&secrets, &servers, &[("*", "green")], &[]).await?;
    let client = TlsClient::trusting(&authority)?;
    assert_eq!(ask(&bed, &client, "a.example.com", "a.example.com").await?.status, 200);
    for name in ["b.example.com", "c.example.com", "d.example.com"] {
        assert!(connect(&bed, &client, name).await.is_err(), "{name}");
    }
    missing(&bed, "gone", Some(1.0)).await?;
    missing(&bed, "empty", Some(1.0)).await?;
    let told = bed.gateway.status("/revision").await?.json()?;
    for name in ["gone", "empty", "here"] {
        assert!(told["warnings"].to_string().contains(&format!("credential {name} cannot be used")), "{name}: {told}");
    }
    // Each look says only what is new: a gateway with its log beside the routes would never come to rest.
    for table in 0..3 {
        let again = documents(&bed.backends, &servers, &[("*", "green")]) + &format!("# {table}\n");
        bed.publish(&again).await?;
    }
    let log = bed.gateway.log();
    assert_eq!(log.matches("certificate cannot be used").count(), 3, "{log}");
    // Once it is there it is used; nothing has to be published for it.
    secrets.certificate("empty", &authority.sign(&["c.example.com"])?)?;
    missing(&bed, "empty", None).await?;
    assert_eq!(ask(&bed, &client, "c.example.com", "c.example.com").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told() -> anyhow::Result<()> {
    let (bed, ..) = simple("").await?;
    let metrics = bed.gateway.metrics().await?;
    let ends = metrics.sum("turnout_credential_expiry_seconds", &[("credential", "one")]);
    // rcgen's certificates end in the year 4096.
    assert!(ends.is_some_and(|seconds| seconds > 4e9), "{ends:?}");
    Ok(())
}

#[tokio::test]
async fn the_wrong_protocol_on_a_port_fails_cleanly() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let mut secrets = Secrets::new()?;
    secrets.certificate("one", &authority.sign(&["a.example.com"])?)?;
    let servers = server("https", "*", "mode: SIMPLE, credentialName: one")
        + &format!("  - {{port: {{number: {PLAIN_PORT}, name: http, protocol: HTTP}}, hosts: [\"*\"]}}\n");
    let bed = start(&secrets, &servers, &[("*", "green")], &[]).await?;
    let client = TlsClient::trusting(&authority)?;

    let mut plain = RawConnection::open(bed.gateway.address(TLS_PORT)).await?;
    plain.send(&RawRequest::get("/").to_bytes()).await?;
    match plain.response("GET").await {
        Ok(response) => assert_eq!(response.status, 400),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "the connection hangs"),
    }
    let refused = client.connect(bed.gateway.address(PLAIN_PORT), "a.example.com").await;
    let refused = refused.map(drop).expect_err("the port speaks clear text").to_string();
    assert!(!refused.contains("timed out"), "{refused}");

    assert_eq!(bed.received(), 0);
    assert_eq!(ask(&bed, &client, "a.example.com", "a").await?.status, 200);
    let plain = turnout_tests::client::send(bed.gateway.address(PLAIN_PORT), &RawRequest::get("/")).await?;
    assert_eq!(plain.status, 200);
    Ok(())
}

#[tokio::test]
async fn clear_text_can_be_redirected_to_https() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let mut secrets = Secrets::new()?;
    secrets.certificate("one", &authority.sign(&["a.example.com"])?)?;
    let redirect = format!(
        "  - {{port: {{number: {PLAIN_PORT}, name: http, protocol: HTTP}}, hosts: [\"*\"], tls: {{httpsRedirect: true}}}}\n"
    );
    let servers = server("https", "*", "mode: SIMPLE, credentialName: one") + &redirect;
    let bed = start(&secrets, &servers, &[("*", "green")], &[]).await?;
    let table = [
        ("a.example.com", "/score?x=1", "https://a.example.com/score?x=1"),
        ("a.example.com:80", "/", "https://a.example.com:80/"),
    ];
    for (host, path, location) in table {
        let request = RawRequest::new("POST", path).header("Host", host).sized_body(b"{}");
        let response = turnout_tests::client::send(bed.gateway.address(PLAIN_PORT), &request).await?;
        assert_eq!((response.status, response.header("location")), (301, Some(location)));
    }
    assert_eq!(bed.received(), 0);
    let client = TlsClient::trusting(&authority)?;
    assert_eq!(ask(&bed, &client, "a.example.com", "a.example.com").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_key_that_others_can_read_is_warned_of() -> anyhow::Result<()> {
    let (bed, ..) = simple("").await?;
    // The mount's files are made with the usual mode, which lets everybody read.
    assert!(bed.gateway.log().contains("can be read by others"), "{}", bed.gateway.log());
    Ok(())
}

/// Has a request served, and says whether that was in a session taken up again.
async fn visit(bed: &Bed, visitor: &Visitor) -> anyhow::Result<bool> {
    let stream = visitor.connect(bed.gateway.address(TLS_PORT), "a.example.com").await?;
    let resumed = is_resumed(&stream);
    let response = RawConnection::over(stream).exchange(&RawRequest::get("/")).await?;
    ensure!(response.status == 200, "{response:?}");
    Ok(resumed)
}

#[tokio::test]
async fn a_session_is_taken_up_again_and_never_past_a_demand_for_a_certificate() -> anyhow::Result<()> {
    for version in [&TLS12, &TLS13] {
        let [authority, clients] = [Authority::new()?, Authority::new()?];
        let mut secrets = Secrets::new()?;
        let (own, ca) = (authority.sign(&["a.example.com"])?, clients.pem());
        secrets.mount("one", &[("tls.crt", &own.certificate), ("tls.key", &own.key), ("ca.crt", &ca)])?;
        let servers = |mode: &str| server("https", "*", &format!("mode: {mode}, credentialName: one"));
        let mut bed = start(&secrets, &servers("SIMPLE"), &[("*", "green")], &[]).await?;
        let visitor = TlsClient::trusting(&authority)?.version(version).visitor()?;
        let visits = [visit(&bed, &visitor).await?, visit(&bed, &visitor).await?, visit(&bed, &visitor).await?];
        assert_eq!(visits, [false, true, true]);

        // What was open may go on: it was let in by the rules of its time.
        let stream = visitor.connect(bed.gateway.address(TLS_PORT), "a.example.com").await?;
        let mut open = RawConnection::over(stream);
        assert_eq!(open.exchange(&RawRequest::get("/")).await?.status, 200);
        let mutual = documents(&bed.backends, &servers("MUTUAL"), &[("*", "green")]);
        bed.publish(&mutual).await?;
        visit(&bed, &visitor).await.expect_err("no certificate was shown");
        let known = TlsClient::trusting(&authority)?.version(version).certificate(&clients.sign(&["client"])?);
        visit(&bed, &known.visitor()?).await?;
        assert_eq!(open.exchange(&RawRequest::get("/")).await?.status, 200);
    }
    Ok(())
}
