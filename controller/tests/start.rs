//! The program where the environment names a proxy, as in a pod of a company's cluster: it starts, and goes through the
//! proxy unless NO_PROXY covers the API server. This machine is never asked for through a proxy, so the server is
//! `0.0.0.0`, which is this machine and not known as such.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something that hangs up on everybody, and counts them.
fn start() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.unwrap().read(&mut [0; 4096]);
        }
    });
    (address, count)
}

#[test]
fn it_starts_and_asks_through_the_proxy_unless_no_proxy_covers_the_server() {
    let directory = tempfile::tempdir().unwrap();
    for (exceptions, through) in [("10.0.0.0/8,0.0.0.0,", false), ("0.0.0.0/8", false), (",.svc,10.0.0.0/8,", true)] {
        let ((server, asked), (proxy, connections)) = (start(), start());
        let kubeconfig = directory.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: test,
clusters: [{{name: test, cluster: {{server: 'https://0.0.0.0:{}', insecure-skip-tls-verify: true}}}}],
contexts: [{{name: test, context: {{cluster: test}}}}]}}",
            server.port()
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnout-controller"));
        command.args(["cleanup", "--namespaces", "ns"]).env_clear().env("KUBECONFIG", kubeconfig);
        let output =
            command.env("https_proxy", format!("http://{proxy}")).env("no_proxy", exceptions).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let seen = [&asked, &connections].map(|count| count.load(Ordering::SeqCst) > 0);
        assert_eq!(seen, [!through, through], "{exceptions}: {said}");
    }
}
