//! Which way handshakes go, and what holds for them as for every request: splits, matches, changes of headers, retries,
//! limits and reloads.

use super::scene::{LONG, Scene, handshake};
use anyhow::ensure;
use std::collections::BTreeMap;
use tokio::io::AsyncWriteExt as _;
use turnout_tests::bed::{Bed, PORT, documents, service, virtual_service};
use turnout_tests::client::{RawConnection, RawRequest, RawResponse};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;

/// A split, and a pin by header, as the sample has it.
const SPLIT: &str = "- match: [{headers: {x-api-version: {exact: blue}}}]
  route: [{destination: {host: blue}}]
- route:
  - {destination: {host: green}, weight: GREEN}
  - {destination: {host: blue}, weight: BLUE}";

fn split(green: u32) -> String {
    SPLIT.replace("GREEN", &green.to_string()).replace("BLUE", &(100 - green).to_string())
}

/// Opens a tunnel and sees it echo.
async fn open(bed: &Bed, request: &RawRequest) -> anyhow::Result<(RawConnection, RawResponse)> {
    let mut connection = bed.open().await?;
    let answer = connection.exchange(request).await?;
    ensure!(answer.status == 101, "{answer:?}");
    echoes(&mut connection).await?;
    Ok((connection, answer))
}

async fn echoes(connection: &mut RawConnection) -> anyhow::Result<()> {
    connection.send(b"ping").await?;
    ensure!(connection.exactly(4).await? == b"ping");
    Ok(())
}

#[tokio::test]
async fn tunnels_are_split_and_pinned_and_outlive_a_reload() -> anyhow::Result<()> {
    let mut bed = Bed::start(&split(50), &[]).await?;
    let mut tunnels = Vec::new();
    let mut shares = BTreeMap::<String, usize>::new();
    for _ in 0..100 {
        let (tunnel, answer) = open(&bed, &handshake("/chat")).await?;
        *shares.entry(answer.backend().unwrap_or_default().to_owned()).or_default() += 1;
        tunnels.push(tunnel);
    }
    ensure!(shares.len() == 2 && shares.values().sum::<usize>() == 100, "{shares:?}");
    for (name, count) in &shares {
        let backend = format!("{name}.default.svc.cluster.local:5001");
        let counted = bed.count("turnout_split_requests_total", &[("backend", &backend)]).await?;
        ensure!(counted.to_string() == count.to_string(), "{name}: {counted}, not {count}");
    }
    let (tunnel, answer) = open(&bed, &handshake("/chat").header("x-api-version", "blue")).await?;
    ensure!(answer.backend() == Some("blue"), "{answer:?}");
    tunnels.push(tunnel);

    for (green, to) in [(0, "blue"), (100, "green")] {
        let documents = documents(&bed.backends, &split(green));
        bed.publish(&documents).await?;
        for _ in 0..10 {
            let (tunnel, answer) = open(&bed, &handshake("/chat")).await?;
            ensure!(answer.backend() == Some(to), "{green}: {answer:?}");
            tunnels.push(tunnel);
        }
    }
    bed.in_flight(121.0).await?;
    for tunnel in &mut tunnels {
        echoes(tunnel).await?;
    }
    drop(tunnels);
    bed.in_flight(0.0).await
}

#[tokio::test]
async fn a_rule_can_match_and_change_a_handshake() -> anyhow::Result<()> {
    let http = "- match: [{headers: {upgrade: {exact: websocket}, connection: {regex: '(?i)upgrade'}}}]
  rewrite: {uri: /rewritten/}
  headers:
    request: {set: {x-asked: a}, remove: [x-secret]}
    response: {set: {x-said: s}}
  route: [{destination: {host: green}}]
- directResponse: {status: 418}";
    let bed = Bed::start(http, &[]).await?;
    let (_tunnel, answer) = open(&bed, &handshake("/chat?x=1").header("x-secret", "s")).await?;
    ensure!(answer.header("x-said") == Some("s"), "{answer:?}");
    let [received] = &bed.backends.received()[..] else { anyhow::bail!("not one request") };
    let seen = (received.target.as_str(), received.headers.first("x-asked"), received.headers.first("x-secret"));
    ensure!(seen == ("/rewritten/chat?x=1", Some("a"), None), "{received:?}");
    ensure!(bed.send(&RawRequest::get("/chat")).await?.status == 418);
    Ok(())
}

#[tokio::test]
async fn a_mirror_gets_no_copy_of_a_handshake() -> anyhow::Result<()> {
    let http = "- route: [{destination: {host: green}}]\n  mirror: {host: mirror}";
    let bed = Bed::start(http, &[]).await?;
    open(&bed, &handshake("/chat")).await?;
    ensure!(bed.send(&RawRequest::get("/page")).await?.status == 200);
    let copies = eventually(LONG, || async {
        let received = bed.backends.received();
        let copies: Vec<_> = received.into_iter().filter(|received| received.backend == "mirror").collect();
        ensure!(!copies.is_empty(), "the page is not mirrored yet");
        Ok(copies)
    });
    ensure!(copies.await?.iter().all(|copy| copy.target == "/page"));
    Ok(())
}

#[tokio::test]
async fn a_handshake_is_tried_again_where_nothing_was_sent_or_the_rule_says_so() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let endpoints = [backends.refusing_address(), backends.address("green")];
    let http = "- match: [{uri: {prefix: /again}}]
  retries: {attempts: 2, retryOn: 5xx}
  route: [{destination: {host: green}}]
- match: [{uri: {prefix: /once}}]
  route: [{destination: {host: green}}]
- route: [{destination: {host: model}}]";
    let services = service("model", &endpoints) + &service("green", &endpoints[1..]);
    let documents = services + &virtual_service(http);
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    for _ in 0..8 {
        open(&bed, &handshake("/chat")).await?;
    }
    for (target, received, status) in [("/again", 2, 101), ("/once", 1, 503)] {
        bed.backends.clear();
        let request = handshake(target).header("x-echo", "refuse-upgrade; status=503; first=1");
        let answer = bed.send(&request).await?;
        ensure!((answer.status, bed.received()) == (status, received), "{target}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tunnel_has_its_places_until_it_ends() -> anyhow::Result<()> {
    let connection = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let request = "connectionPool: {http: {http2MaxRequests: 1}}";
    for (policy, status, reason) in [(connection, 504, "timeout"), (request, 503, "overflow")] {
        let scene = Scene::start("timeout: 1s", policy, &[]).await?;
        let tunnel = scene.open().await?;
        let refused = scene.bed.send(&RawRequest::get("/page")).await?;
        ensure!((refused.status, refused.header("x-turnout-reason")) == (status, Some(reason)), "{refused:?}");
        drop(tunnel);
        scene.bed.in_flight(0.0).await?;
        let mut connection = scene.bed.open().await?;
        connection.send(&RawRequest::get("/page").to_bytes()).await?;
        let (mut backend, asked) = scene.accept().await?;
        ensure!(asked.starts_with("GET /page "), "{asked}");
        backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        ensure!(connection.response("GET").await?.status == 200);
    }
    Ok(())
}
