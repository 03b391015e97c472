//! A tunnel with both of its ends in the test's hands, and the gateway between them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;
use turnout_tests::eventually;

/// What does not come within this time is missing.
pub(super) const LONG: Duration = Duration::from_secs(15);

/// A backend's agreement.
pub(super) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A WebSocket handshake, as RFC 6455 has it.
pub(crate) fn handshake(target: &str) -> RawRequest {
    RawRequest::get(target)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A gateway in front of a backend that the test plays.
pub(super) struct Scene {
    pub(super) bed: Bed,
    listener: TcpListener,
}

/// Both ends.
pub(super) struct Tunnel {
    pub(super) client: TcpStream,
    pub(super) backend: TcpStream,
}

impl Scene {
    /// The rule has these fields beside its destination, and the backend this policy.
    pub(super) async fn start(fields: &str, policy: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let documents = documents(listener.local_addr()?, fields, policy);
        let arguments = [&["--workers", "1", "--access-log", "json", "--log", "off"], arguments].concat();
        let bed = Bed::over(Backends::start_named(&[]).await?, &documents, &[PORT], &arguments).await?;
        Ok(Self { bed, listener })
    }

    /// A connection that the gateway makes, with the head that comes over it.
    pub(super) async fn accept(&self) -> anyhow::Result<(TcpStream, String)> {
        let (mut backend, _) = timeout(LONG, self.listener.accept()).await.context("nobody connects")??;
        let asked = head(&mut backend).await?;
        Ok((backend, asked))
    }

    pub(super) async fn open(&self) -> anyhow::Result<Tunnel> {
        self.open_with(b"", b"").await
    }

    /// With this behind the handshake, and this behind the agreement, each in one write.
    pub(super) async fn open_with(&self, behind_asking: &[u8], behind_answer: &[u8]) -> anyhow::Result<Tunnel> {
        let mut client = TcpStream::connect(self.bed.address()).await?;
        client.write_all(&[&handshake("/chat").to_bytes(), behind_asking].concat()).await?;
        let (mut backend, asked) = self.accept().await?;
        ensure!(asked.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{asked}");
        backend.write_all(&[AGREED.as_bytes(), behind_answer].concat()).await?;
        let answer = head(&mut client).await?;
        ensure!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Ok(Tunnel { client, backend })
    }

    /// The lines of the access log, once there are so many.
    pub(super) async fn log(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        eventually(LONG, || async {
            let log = self.bed.gateway.log();
            ensure!(log.lines().count() == count && log.ends_with('\n'), "not {count} lines: {log}");
            Ok::<_, anyhow::Error>(log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn documents(backend: SocketAddr, fields: &str, policy: &str) -> String {
    let mut rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: model, namespace: default}}\n\
         spec: {{host: model, trafficPolicy: {{{policy}}}}}\n---\n"
    );
    if policy.is_empty() {
        rule.clear();
    }
    let http = format!("- route: [{{destination: {{host: model}}}}]\n  {fields}");
    service("model", &[backend]) + &rule + &virtual_service(&http)
}

/// Reads a head and nothing behind it.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(LONG, stream.read_u8()).await.context("no head in time")?;
        head.push(byte.with_context(|| String::from_utf8_lossy(&head).into_owned())?);
    }
    Ok(String::from_utf8(head)?)
}

/// Reads so much, and exactly this.
pub(super) async fn expect(stream: &mut TcpStream, expected: &[u8]) -> anyhow::Result<()> {
    let mut came = vec![0; expected.len()];
    timeout(LONG, stream.read_exact(&mut came)).await.context("it does not come in time")??;
    ensure!(came == expected, "something else came: {} bytes", came.len());
    Ok(())
}

/// Nothing more comes: the end does, in one way or another.
pub(super) async fn expect_end(stream: &mut TcpStream) -> anyhow::Result<()> {
    let read = timeout(LONG, stream.read_u8()).await.context("it does not end")?;
    ensure!(read.is_err(), "a byte came: {read:?}");
    Ok(())
}

/// Bytes that tell their places apart.
pub(super) fn bytes(count: usize) -> Vec<u8> {
    (0..=count / 8).flat_map(|n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(count).collect()
}
