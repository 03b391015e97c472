//! The program as it starts. Where its kubeconfig is broken, it says so. Where the environment names a proxy, as in a pod
//! of a company's cluster, it goes through the proxy unless NO_PROXY covers the API server. This machine is never asked
//! for through a proxy, so the server is `0.0.0.0`, which is this machine and not known as such.
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
        let file = directory.path().join("kubeconfig");
        std::fs::write(&file, kubeconfig(server.port(), "insecure-skip-tls-verify: true")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnout-controller"));
        command.args(["cleanup", "--namespaces", "ns"]).env_clear().env("KUBECONFIG", file);
        let output =
            command.env("https_proxy", format!("http://{proxy}")).env("no_proxy", exceptions).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let seen = [&asked, &connections].map(|count| count.load(Ordering::SeqCst) > 0);
        assert_eq!(seen, [!through, through], "{exceptions}: {said}");
    }
}

/// With more fields of the cluster.
fn kubeconfig(port: u16, fields: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Config, current-context: test,
clusters: [{{name: test, cluster: {{server: 'https://0.0.0.0:{port}', {fields}}}}}],
contexts: [{{name: test, context: {{cluster: test}}}}]}}"
    )
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let named = format!("cannot read {}: ", file.display());
    let used = "the kubeconfig cannot be used: ";
    let authority = |rest: &str| Some(kubeconfig(1, &format!("certificate-authority{rest}")));
    let of_authority = format!("{used}the certificate authority of cluster test cannot be used: ");
    for (text, expected) in [
        (Some("apiVersion: [\ntoken: secret\n".to_owned()), named.as_str()),
        (Some("clusters: 1\n".to_owned()), &named),
        (Some("apiVersion: v1\nkind: Config\n".to_owned()), &format!("{used}it names no current context")),
        (authority(": /nowhere"), &of_authority),
        (authority("-data: '!'"), &of_authority),
        (authority("-data: bm9uZQ=="), &format!("{of_authority}there is no certificate in it")),
        (None, "no cluster: there is no kubeconfig, and no service account that can be used"),
    ] {
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnout-controller"));
        let output =
            command.args(["cleanup", "--namespaces", "ns"]).env_clear().env("KUBECONFIG", &file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected) && !said.contains("secret"), "{expected}: {said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
}
