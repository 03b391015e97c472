//! How a gateway's process is started, watched and ended, shown with a shell script that stands in for it and an echo
//! backend as its status port.

use super::{Gateway, GatewayCommand};
use crate::echo::Backends;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn stand_in() -> GatewayCommand {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/stand_in.sh");
    GatewayCommand::new(Path::new("routes")).program(&script)
}

async fn start(backends: &Backends) -> Gateway {
    let status = backends.address("green").to_string();
    let command = stand_in().listen(80).args(&["--stand-in-status", &status]);
    command.start().await.expect("the stand-in starts")
}

fn runs(id: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-0", &id.to_string()]).stderr(Stdio::null());
    kill.status().expect("there is a kill").success()
}

#[tokio::test]
async fn a_gateway_is_asked_at_the_addresses_that_it_names() {
    let backends = Backends::start().await.expect("loopback has free ports");
    let gateway = start(&backends).await;
    assert_eq!(gateway.address(80).port(), 1);
    assert_eq!(gateway.status_address(), backends.address("green"));
    gateway.status("/livez").await.expect("the status port answers");
    gateway.admin("/routes").await.expect("the admin port answers");
    let asked: Vec<_> = backends.received().into_iter().map(|received| received.target).collect();
    assert_eq!(asked, ["/readyz", "/livez", "/routes"]);
    let revisions = gateway.revisions().await.expect("JSON without a revision is read");
    assert!(revisions.active.is_none() && revisions.rejected.is_none());
    assert_eq!(gateway.log(), "listening\n");
}

#[tokio::test]
async fn a_gateway_that_ends_at_once_is_reported_with_its_log() {
    let error = stand_in().start().await.expect_err("it has nowhere to listen");
    let message = format!("{error:#}");
    for part in ["binds no ports", "nowhere to listen", "exit status: 3"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
}

#[tokio::test]
async fn a_gateway_ends_when_it_is_dropped_or_signalled() {
    let backends = Backends::start().await.expect("loopback has free ports");
    let gateway = start(&backends).await;
    let id = gateway.id();
    assert!(runs(id));
    drop(gateway);
    assert!(!runs(id));

    let gateway = start(&backends).await;
    gateway.signal("TERM").expect("the process can be signalled");
    let status = gateway.wait_until_exit(Duration::from_mins(1)).await.expect("it ends");
    assert!(!status.success());
}
