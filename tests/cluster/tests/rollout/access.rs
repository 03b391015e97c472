//! The command line on its way to a real API server: through a forward proxy or past it, as the variables say, and with
//! a login by a command, which gives a real token.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::Cluster;
use turnout_cluster::scene::{ROLLOUT, Scene};

use crate::users::User;

/// Those that only ask, that write, and that watch.
const VERBS: [&[&str]; 6] = [
    &["rollout", "list"],
    &["rollout", "start", ROLLOUT, "--revision", "r2", "--wait"],
    &["rollout", "promote", ROLLOUT, "--wait"],
    &["rollout", "status", ROLLOUT],
    &["rollout", "rollback", ROLLOUT],
    &["wait", ROLLOUT, "--stage", "Rollback"],
];

pub(crate) fn a_login_and_a_proxy_lead_to_the_api_server(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "access", &[])?;
    let folder = tempfile::tempdir()?;
    let editor = User::new(&scene, folder.path(), "edit")?;
    log_in_by_command(&editor, folder.path())?;
    let node = cluster.addresses()?.node().to_string();
    let proxy = ForwardProxy::start()?;
    let url = format!("http://{}", proxy.address);
    let ways = [("", true), ("127.0.0.1,localhost", true), (node.as_str(), false), ("10.0.0.0/8", false)];
    for (exceptions, goes_through) in ways {
        for verb in VERBS {
            let ran = run(&scene, &editor, verb, &[("HTTPS_PROXY", &url), ("NO_PROXY", exceptions)])?;
            let what = format!("{verb:?} with NO_PROXY={exceptions}: {ran:?}");
            ensure!(ran.status.success(), "{what}");
            let connections = proxy.connections();
            ensure!((connections > 0) == goes_through, "{connections} connections: {what}");
            let logins = fs::read_to_string(folder.path().join("logins"))?;
            ensure!(logins.lines().count() == 1, "logged in {} times: {what}", logins.lines().count());
            fs::remove_file(folder.path().join("logins"))?;
        }
    }

    fs::write(folder.path().join("token"), "of-nobody")?;
    let ran = run(&scene, &editor, VERBS[0], &[])?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.code() == Some(2) && said.contains("(401)"), "{ran:?}");
    Ok(())
}

/// As a kubeconfig for AKS does, by a command which notes that it ran.
fn log_in_by_command(user: &User<'_>, folder: &Path) -> Result<()> {
    let kubeconfig: serde_json::Value = serde_json::from_slice(&fs::read(user.kubeconfig())?)?;
    let token = kubeconfig["users"][0]["user"]["token"].as_str().context("the user has a token")?;
    fs::write(folder.join("token"), token)?;
    let (api, command) = ("client.authentication.k8s.io/v1", folder.join("kubelogin"));
    let script = format!(
        r#"#!/bin/sh
cd '{}'
echo "$*" >> logins
echo '{{"apiVersion": "{api}", "kind": "ExecCredential", "status": {{"token": "'"$(cat token)"'"}}}}'
"#,
        folder.display()
    );
    fs::write(&command, script)?;
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755))?;
    let arguments = json!(["get-token", "--login", "azurecli"]);
    user.write_kubeconfig(&json!({
        "exec": { "apiVersion": api, "command": command, "args": arguments, "interactiveMode": "Never" },
    }))
}

fn run(scene: &Scene<'_>, user: &User<'_>, verb: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = scene.turnout_command(verb)?;
    for name in ["https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.env("KUBECONFIG", user.kubeconfig()).envs(variables.iter().copied());
    command.output().context("cannot run turnout")
}

/// A proxy that knows CONNECT, and goes where it is told.
struct ForwardProxy {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl ForwardProxy {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self { address: listener.local_addr()?, connections: Arc::default() };
        let count = Arc::clone(&proxy.connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || connect(client).inspect_err(|error| eprintln!("the proxy: {error:#}")));
            }
        });
        Ok(proxy)
    }

    /// How many came since the last call.
    fn connections(&self) -> usize {
        self.connections.swap(0, Ordering::SeqCst)
    }
}

/// Until both sides have said all.
fn connect(mut client: TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let mut server = TcpStream::connect(target.with_context(|| format!("what is {head}?"))?)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        // Either side may be gone first.
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Write);
    Ok(())
}
