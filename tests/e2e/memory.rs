//! What an idle connection costs in memory, once it has had a request forwarded.

#![cfg(target_os = "linux")]

use anyhow::ensure;
use std::time::Duration;
use turnout_tests::bed::{Bed, PORT, TO_GREEN, documents};
use turnout_tests::certificates::{Authority, TlsClient};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::mount::KubeletMount;
use turnout_tests::process::{allow_descriptors, memory_kib};

const TLS_PORT: u16 = 443;
/// For connections to come to rest.
const DEADLINE: Duration = Duration::from_secs(30);

/// Opens connections, and waits until each costs the gateway no more than `most` bytes: one that has had no request for a
/// while is put to rest. All that the gateway has taken since its start is counted.
async fn cost_of_each<C, F>(bed: &Bed, count: u64, most: u64, connect: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<C>>,
{
    let before = memory_kib(bed.gateway.id())?;
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(connect().await?);
    }
    let each = || memory_kib(bed.gateway.id()).map(|kib| kib.saturating_sub(before) * 1024 / count);
    println!("{} bytes for each of {count} connections right after their requests", each()?);
    let at_rest = eventually(DEADLINE, || async {
        let bytes = each()?;
        ensure!(bytes <= most, "{bytes} bytes, not {most}");
        Ok(bytes)
    });
    println!("{} bytes for each at rest", at_rest.await?);
    Ok(())
}

/// A request over a fresh stream, which is then idle.
async fn serve<S>(stream: S) -> anyhow::Result<RawConnection<S>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut connection = RawConnection::over(stream);
    let response = connection.exchange(&RawRequest::post("/score", b"{\"data\": [1, 2, 3]}")).await?;
    ensure!(response.status == 200, "{response:?}");
    Ok(connection)
}

#[tokio::test]
async fn an_idle_connection_costs_little() -> anyhow::Result<()> {
    // Both ends of each connection are on this machine, this one with its own descriptors.
    allow_descriptors(12_000)?;
    let bed = Bed::start(TO_GREEN, &["--keep-alive-idle-timeout-ms", "600000"]).await?;
    let address = bed.address();
    let connect = || async move { serve(tokio::net::TcpStream::connect(address).await?).await };
    cost_of_each(&bed, 5000, 16 << 10, connect).await
}

#[tokio::test]
async fn an_idle_connection_with_tls_costs_little() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let secret = authority.sign(&["a.example.com"])?;
    let secret = KubeletMount::new(&[("tls.crt", secret.certificate.as_bytes()), ("tls.key", secret.key.as_bytes())])?;
    let backends = Backends::start().await?;
    let path = secret.path().display();
    let tls = format!(
        "hosts: [\"*\"]}}\n  - {{port: {{number: {TLS_PORT}, name: https, protocol: HTTPS}}, hosts: [\"*\"], \
         tls: {{mode: SIMPLE, serverCertificate: {path}/tls.crt, privateKey: {path}/tls.key}}}}"
    );
    let documents = documents(&backends, TO_GREEN).replacen("hosts: [\"*\"]}", &tls, 1);
    let bed = Bed::over(backends, &documents, &[PORT, TLS_PORT], &["--keep-alive-idle-timeout-ms", "600000"]).await?;
    let (address, client) = (bed.gateway.address(TLS_PORT), TlsClient::trusting(&authority)?);
    let connect = || async { serve(client.connect(address, "a.example.com").await?).await };
    // Handshakes are slow where nothing is optimised.
    cost_of_each(&bed, 1000, 40 << 10, connect).await
}
