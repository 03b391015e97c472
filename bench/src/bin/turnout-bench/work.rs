//! What is sent in a measurement, and what has to come back: every answer is looked at, its status, its body, and who gave it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use turnout_bench::{Answer, Label, Load, Pace, Protocol, Report, Reuse, Run, Tls, Total, Variant};

use crate::bed::{Bed, HOST, Peer};
use crate::models::{LARGE_BYTES, SERVED_BY, SMALL_BYTES};

const TIMEOUT: Duration = Duration::from_secs(10);
/// So many standard deviations a share may be off: less than one in a million is.
const TOLERANCE: f64 = 5.0;
const SHARE_OF_BLUE: f64 = 0.2;

/// One kind of request, and the connections that carry it.
#[derive(Clone, Copy)]
pub(crate) struct Steady {
    pub(crate) protocol: Protocol,
    pub(crate) is_secure: bool,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) reuse: Reuse,
    /// Whether each client resumes the TLS session of its last connection.
    pub(crate) resumes: bool,
    /// What the models are asked for.
    pub(crate) path: &'static str,
    pub(crate) request_bytes: usize,
    /// Of the proxy.
    pub(crate) workers: u32,
    /// Whether who parses nothing can do it.
    pub(crate) has_relay: bool,
}

/// Small requests over 64 keep-alive connections.
pub(crate) const SMALL: Steady = Steady {
    protocol: Protocol::Http1,
    is_secure: false,
    connections: 64,
    streams: 1,
    reuse: Reuse::KeepAlive,
    resumes: false,
    path: "/score",
    request_bytes: 1 << 10,
    workers: 1,
    has_relay: true,
};
pub(crate) const SECURE: Steady = Steady { is_secure: true, has_relay: false, ..SMALL };
pub(crate) const HANDSHAKES: Steady = Steady { reuse: Reuse::Never, ..SECURE };

/// What is asked for: whatever the weights choose, or a version.
const KINDS: [&str; 3] = ["split", "green", "blue"];

/// Starts it: of ten requests one is pinned to green and one to blue.
pub(crate) fn start(bed: &Bed, peer: Peer, work: &Steady, pace: Pace, total: Total) -> Result<Run> {
    let path = PathAndQuery::from_static(work.path);
    let authority = Authority::from_static(HOST);
    let request = |name: &str| Variant {
        authority: Some(authority.clone()),
        ..Variant::post_json(name, path.clone(), vec![b'1'; work.request_bytes])
    };
    let version = HeaderName::from_static("x-api-version");
    let pin = |model| request(model).with_header(version.clone(), HeaderValue::from_static(model));
    let [split, green, blue] = KINDS;
    let variants = vec![request(split).with_share(8), pin(green), pin(blue)];
    let mut load = Load::new(peer.address(work), total, variants);
    load.protocol = work.protocol;
    load.tls = work.is_secure.then(|| tls(bed, work)).transpose()?;
    load.connections = work.connections;
    load.streams = work.streams;
    load.reuse = work.reuse;
    load.pace = pace;
    load.timeout = TIMEOUT;
    load.label = Label::By(Arc::new(model));
    load.start().context("cannot start the load")
}

/// What a client offers and trusts. There is one offer, so that no server spends more on what it prefers.
pub(crate) fn tls(bed: &Bed, work: &Steady) -> Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(bed.certificate.clone())?;
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if work.protocol == Protocol::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config.resumption = Resumption::disabled();
    Ok(Tls { config: Arc::new(config), name: ServerName::try_from(HOST)?, resumes: work.resumes })
}

/// Opens a TLS connection; an error unless it is agreed upon as with every proxy.
pub(crate) async fn secure(tls: &Tls, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(tls.name.clone(), stream).await?;
    let session = stream.get_ref().1;
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    let group = session.negotiated_key_exchange_group().map(SupportedKxGroup::name);
    let agreed = (suite, group, session.handshake_kind());
    let (suite, group) = (CipherSuite::TLS13_AES_128_GCM_SHA256, NamedGroup::X25519);
    ensure!(agreed == (Some(suite), Some(group), Some(HandshakeKind::Full)), "agreed upon: {agreed:?}");
    Ok(stream)
}

/// The model that gave this answer, if it is whole.
fn model(answer: &Answer<'_>) -> Option<String> {
    let (model, body) = (answer.headers.get(SERVED_BY)?.to_str().ok()?, answer.body);
    let is_small = || body.len() == SMALL_BYTES && body.starts_with(format!(r#"{{"model":"{model}""#).as_bytes());
    let is_large = || body.len() == LARGE_BYTES && body.iter().all(|byte| *byte == b'x');
    (is_small() || is_large()).then(|| model.to_owned())
}

/// Whether something was answered of each kind.
pub(crate) fn has_each(report: &Report) -> bool {
    let answers = |name| report.variant(name).map_or(0, |variant| variant.answers.values().sum::<u64>());
    KINDS.iter().all(|name| answers(*name) > 0)
}

/// Every answer is right, each pin has reached its model, the split is as the weights say, and sessions are resumed if they
/// are to be.
pub(crate) fn check(peer: Peer, work: &Steady, report: &Report) -> Result<()> {
    ensure!(
        report.failed() == 0,
        "{} of {} have failed: {:?}",
        report.failed(),
        report.requests(),
        report.first_failures
    );
    check_sessions(work, report)?;
    let [split, green, blue] = KINDS.map(|name| report.variant(name).map(|variant| &variant.answers));
    let (split, green, blue) = (split.context("no split")?, green.context("no pin")?, blue.context("no pin")?);
    ensure!(has_each(report), "there is no answer of some kind: {split:?}, {green:?}, {blue:?}");
    if peer == Peer::Relay {
        let is_green = |(model, _): (&String, &u64)| model == "green";
        ensure!([split, green, blue].into_iter().flatten().all(is_green), "{split:?}, {green:?}, {blue:?}");
        return Ok(());
    }
    for (model, pin) in [("green", green), ("blue", blue)] {
        ensure!(pin.keys().all(|answered| answered == model), "who asked for {model} got {pin:?}");
    }
    ensure!(split.keys().all(|model| model == "green" || model == "blue"), "the split is {split:?}");
    let (all, blue) = (as_f64(split.values().sum()), as_f64(split.get("blue").copied().unwrap_or_default()));
    let deviation = (all * SHARE_OF_BLUE * (1.0 - SHARE_OF_BLUE)).sqrt();
    ensure!((blue - all * SHARE_OF_BLUE).abs() <= TOLERANCE * deviation, "the split is {split:?}");
    Ok(())
}

/// Only the first connection of each client has no session to resume, but for one in a hundred.
fn check_sessions(work: &Steady, report: &Report) -> Result<()> {
    let (opened, resumed) = (report.connections_opened, report.connections_resumed);
    let first = u64::try_from(work.connections)?;
    let is_right = if work.resumes { resumed > 0 && opened - resumed <= first + opened / 100 } else { resumed == 0 };
    ensure!(is_right, "{resumed} of {opened} connections have resumed a session");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count stays far below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
