//! Tunnels: what comes from either side of a WebSocket goes to the other, as it comes, until one of them ends.

mod ends;
mod routed;
pub(crate) mod scene;
mod volume;

use anyhow::ensure;
use scene::{LONG, Scene, bytes, expect, expect_end, handshake, head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::RawRequest;

#[tokio::test]
async fn any_amount_passes_both_ways_at_once() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    for count in [1, 125, 70_000, 10 << 20] {
        let mut client = TcpStream::connect(bed.address()).await?;
        client.write_all(&handshake("/chat").to_bytes()).await?;
        let answer = head(&mut client).await?.to_ascii_lowercase();
        for line in [
            "http/1.1 101 switching protocols",
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            "x-backend: green",
        ] {
            ensure!(answer.lines().any(|own| own == line), "{line} is missing in {answer}");
        }
        for name in ["content-length", "transfer-encoding"] {
            ensure!(!answer.contains(name), "{answer}");
        }
        let sent = bytes(count);
        let mut came = vec![0; count];
        let (mut read, mut write) = client.split();
        let echoed = async { tokio::try_join!(write.write_all(&sent), read.read_exact(&mut came)) };
        timeout(LONG, echoed).await??;
        ensure!(came == sent, "{count} bytes are not those that were sent");
    }
    Ok(())
}

#[tokio::test]
async fn what_comes_behind_either_head_is_the_tunnels() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &[]).await?;
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (some, much) = (bytes(9000), bytes(300_000));
    let table: [(&[u8], &[u8]); 6] =
        [(b"x", b""), (b"", b"y"), (smuggled, answer), (&some, &some), (&much, b""), (b"", &much)];
    for (behind_asking, behind_answer) in table {
        let mut tunnel = scene.open_with(behind_asking, behind_answer).await?;
        expect(&mut tunnel.backend, behind_asking).await?;
        expect(&mut tunnel.client, behind_answer).await?;
        // It goes on behind that.
        tunnel.client.write_all(b"ping").await?;
        expect(&mut tunnel.backend, b"ping").await?;
        tunnel.backend.write_all(b"pong").await?;
        expect(&mut tunnel.client, b"pong").await?;
    }
    Ok(())
}

/// As a second request, too, and with bytes that no WebSocket would send.
#[tokio::test]
async fn a_connection_may_become_a_tunnel_after_other_requests() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &[]).await?;
    let mut client = TcpStream::connect(scene.bed.address()).await?;
    client.write_all(&RawRequest::get("/page").to_bytes()).await?;
    let (mut backend, _) = scene.accept().await?;
    backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    ensure!(head(&mut client).await?.starts_with("HTTP/1.1 200"));
    expect(&mut client, b"ok").await?;
    client.write_all(&handshake("/chat").to_bytes()).await?;
    // Not over the connection that is kept.
    let (mut tunnelled, _) = scene.accept().await?;
    tunnelled.write_all(scene::AGREED.as_bytes()).await?;
    ensure!(head(&mut client).await?.starts_with("HTTP/1.1 101"));
    client.write_all(b"\0\r\n\r\n\xff").await?;
    expect(&mut tunnelled, b"\0\r\n\r\n\xff").await?;
    drop(client);
    expect_end(&mut tunnelled).await
}

/// What a handshake is answered with instead, and what becomes of the connection: the next request is an ordinary one.
#[tokio::test]
async fn a_refused_handshake_is_an_ordinary_request() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let table = [
        ("refuse-upgrade", 200),
        ("refuse-upgrade; status=404", 404),
        ("refuse-upgrade; status=426; chunked", 426),
        ("refuse-upgrade; status=204", 204),
        ("close", 503),
        ("reset", 503),
        ("garbage", 502),
    ];
    for (x_echo, status) in table {
        for pipelined in [false, true] {
            bed.backends.clear();
            let mut connection = bed.open().await?;
            let asked = handshake("/chat").header("x-echo", x_echo).to_bytes();
            let next = RawRequest::get("/next").to_bytes();
            if pipelined {
                connection.send(&[asked, next].concat()).await?;
            } else {
                connection.send(&asked).await?;
            }
            let refused = connection.response("GET").await?;
            ensure!((refused.status, refused.complete) == (status, true), "{x_echo}: {refused:?}");
            for name in ["connection", "upgrade"] {
                ensure!(refused.header(name).is_none(), "{x_echo}: {refused:?}");
            }
            if !pipelined {
                connection.send(&RawRequest::get("/next").to_bytes()).await?;
            }
            let next = connection.response("GET").await?;
            ensure!(next.status == 200 && next.json()?["path"] == "/next", "{x_echo}: {next:?}");
            ensure!(bed.received() == 2, "{x_echo}: {:?}", bed.backends.received());
        }
    }
    Ok(())
}

/// What a backend says to a handshake that is no agreement to it.
#[tokio::test]
async fn an_agreement_to_something_else_is_no_answer() -> anyhow::Result<()> {
    let scene = Scene::start("retries: {attempts: 0}", "", &[]).await?;
    for lines in ["", "Upgrade: tcp\r\n", "Upgrade: websocket, tcp\r\n", "Upgrade: websocket\r\nUpgrade: tcp\r\n"] {
        let mut connection = scene.bed.open().await?;
        connection.send(&handshake("/chat").to_bytes()).await?;
        let (mut backend, _) = scene.accept().await?;
        backend.write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n").as_bytes()).await?;
        let answer = connection.response("GET").await?;
        ensure!((answer.status, answer.header("x-turnout-reason")) == (502, Some("upstream_protocol")), "{lines}");
        expect_end(&mut backend).await?;
    }
    // What says of a body that there is one does not pass.
    let mut connection = scene.bed.open().await?;
    connection.send(&handshake("/chat").to_bytes()).await?;
    let (mut backend, _) = scene.accept().await?;
    let answer =
        scene::AGREED.replacen("\r\n\r\n", "\r\nContent-Length: 5\r\nTrailer: x\r\nKeep-Alive: 1\r\n\r\nhello", 1);
    backend.write_all(answer.as_bytes()).await?;
    let answer = connection.response("GET").await?;
    ensure!(answer.status == 101, "{answer:?}");
    for name in ["content-length", "trailer", "keep-alive"] {
        ensure!(answer.header(name).is_none(), "{answer:?}");
    }
    ensure!(connection.exactly(5).await? == b"hello");
    Ok(())
}
