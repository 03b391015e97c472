//! What stands where a file should and is none: a pipe that nobody writes to, a device without an end. It is refused like
//! a file that cannot be read, and holds up neither reloads, nor the status port, nor the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use turnout_tests::bed::{PORT, TO_GREEN, documents};
use turnout_tests::client::{RawRequest, send};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};

const LONG: Duration = Duration::from_secs(10);
const TLS_PORT: u16 = 443;

fn make_pipe(path: &Path) -> anyhow::Result<()> {
    ensure!(Command::new("mkfifo").arg(path).status()?.success(), "no pipe");
    Ok(())
}

/// Waits until the gateway counts so many, within what it takes to ask.
async fn says(gateway: &Gateway, metric: &str, label: (&str, &str), least: f64) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let told = tokio::time::timeout(LONG, gateway.metrics()).await??.sum(metric, &[label]);
        ensure!(told.is_some_and(|told| told >= least), "{told:?}");
        Ok(())
    })
    .await
}

async fn serves_and_ends(gateway: Gateway) -> anyhow::Result<()> {
    assert_eq!(gateway.status("/livez").await?.status, 200);
    assert_eq!(send(gateway.address(PORT), &RawRequest::get("/")).await?.status, 200);
    gateway.signal("TERM")?;
    assert!(gateway.wait_until_exit(DEADLINE).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_pipe_among_the_routes_holds_nobody_up() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let backends = Backends::start().await?;
    std::fs::write(folder.path().join("routes.yaml"), documents(&backends, TO_GREEN))?;
    let command = GatewayCommand::new(folder.path()).listen(PORT).args(&["--shutdown-delay-ms", "0"]);
    let gateway = command.start().await?;
    make_pipe(&folder.path().join("more.yaml"))?;
    for looks in 1..=5_u32 {
        says(&gateway, "turnout_reloads_total", ("result", "unreadable"), looks.into()).await?;
        // What is written beside the routes is a hint to look again.
        std::fs::write(folder.path().join("other.txt"), looks.to_string())?;
    }
    assert_eq!(gateway.log().matches("more.yaml: it is not").count(), 1, "{}", gateway.log());
    serves_and_ends(gateway).await
}

#[tokio::test]
async fn a_pipe_or_a_device_in_place_of_a_certificate_holds_nobody_up() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("pipe");
    make_pipe(&pipe)?;
    let backends = Backends::start().await?;
    for certificate in [&*pipe.to_string_lossy(), "/dev/zero"] {
        let tls = format!(
            "hosts: [\"*\"]}}\n  - {{port: {{number: {TLS_PORT}, name: https, protocol: HTTPS}}, hosts: [\"*\"], \
             tls: {{mode: SIMPLE, serverCertificate: {certificate}, privateKey: /dev/null}}}}"
        );
        let routes = folder.path().join("routes.yaml");
        std::fs::write(&routes, documents(&backends, TO_GREEN).replacen("hosts: [\"*\"]}", &tls, 1))?;
        let command = GatewayCommand::new(&routes).listen(PORT).listen(TLS_PORT).args(&["--shutdown-delay-ms", "0"]);
        let gateway = command.start().await?;
        says(&gateway, "turnout_credential_missing", ("credential", certificate), 1.0).await?;
        serves_and_ends(gateway).await?;
    }
    Ok(())
}
