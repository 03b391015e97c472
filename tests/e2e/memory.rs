//! What an idle connection costs in memory, once it has had a request forwarded.

#![cfg(target_os = "linux")]

use anyhow::ensure;
use turnout_tests::bed::{Bed, PORT, TO_GREEN, documents};
use turnout_tests::certificates::{Authority, TlsClient};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::mount::KubeletMount;
use turnout_tests::process::{allow_descriptors, memory_kib};

/// So many first, which are not counted: the heap grows in steps.
const WARM_UP: usize = 200;

const TLS_PORT: u16 = 443;

/// The connections, and the bytes that each of those after [`WARM_UP`] costs the gateway.
async fn bytes_of_each<C, F>(bed: &Bed, count: usize, connect: impl Fn() -> F) -> anyhow::Result<u64>
where
    F: Future<Output = anyhow::Result<C>>,
{
    let mut open = Vec::new();
    let mut before = 0;
    for number in 0..WARM_UP + count {
        if number == WARM_UP {
            before = memory_kib(bed.gateway.id())?;
        }
        open.push(connect().await?);
    }
    let after = memory_kib(bed.gateway.id())?;
    Ok((after - before) * 1024 / u64::try_from(count)?)
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
    let bytes = bytes_of_each(&bed, 5000, connect).await?;
    println!("{bytes} bytes for each idle connection in clear text");
    ensure!(bytes <= 16 * 1024, "{bytes} bytes");
    Ok(())
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
    let bytes = bytes_of_each(&bed, 1000, connect).await?;
    println!("{bytes} bytes for each idle connection with TLS");
    ensure!(bytes <= 40 * 1024, "{bytes} bytes");
    Ok(())
}
