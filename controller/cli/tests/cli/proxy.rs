//! The way to the API server by TLS, through a forward proxy or past it. The proxy is a process of its own and counts who
//! comes. This machine is never asked for through a proxy, so the server is `0.0.0.0`, which is this machine and not
//! known as such, or a name that only the proxy can resolve.

use crate::api::Api;
use crate::support::{Ran, check, closed_address, command, run, write};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// A name that nobody can resolve (RFC 6761).
const NAME: &str = "api.turnout.invalid";

struct Bed {
    api: Api,
    proxy: ForwardProxy,
    directory: TempDir,
}

impl Bed {
    fn start() -> Self {
        let (api, [certificate, _]) = Api::start_with_tls(&["127.0.0.1", "0.0.0.0", NAME], false);
        api.put_rollout(&json!({}), &json!({"stage": "Blue_50"}));
        let (proxy, directory) = (ForwardProxy::start(api.address()), tempfile::tempdir().unwrap());
        write(directory.path(), "ca.pem", &certificate);
        Self { api, proxy, directory }
    }

    fn port(&self) -> u16 {
        self.api.address().port()
    }

    /// Lists the rollouts of the server by this name; returns with how many connections the proxy saw.
    fn list(&self, host: &str, proxy_url: &str, variables: &[(&str, &str)]) -> (Ran, usize) {
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {{server: 'https://{host}:{}', certificate-authority: ca.pem, proxy-url: '{proxy_url}'}}
users: [{{name: test, user: {{token: secret}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test, namespace: ns}}}}]
",
            self.port()
        );
        let kubeconfig = write(self.directory.path(), "kubeconfig", &text);
        let mut command = command(&["rollout", "list", "--kubeconfig", &kubeconfig]);
        // Where a name is not to be resolved, that is told at once.
        command.env("RES_OPTIONS", "timeout:1 attempts:1").envs(variables.iter().copied());
        (run(&mut command, ""), self.proxy.connections())
    }
}

#[test]
fn no_proxy_decides_about_the_server_in_every_form_and_spelling() {
    let bed = Bed::start();
    let (proxy, port) = (bed.proxy.url(), bed.port());
    let forms = [
        ("0.0.0.0", String::new(), true),
        ("0.0.0.0", "*".to_owned(), false),
        ("0.0.0.0", "0.0.0.0".to_owned(), false),
        ("0.0.0.0", "0.0.0.0/8".to_owned(), false),
        ("0.0.0.0", format!("0.0.0.0:{port}"), false),
        ("0.0.0.0", " 10.0.0.0/8 , 0.0.0.0,".to_owned(), false),
        ("0.0.0.0", "0.0.0.0:1".to_owned(), true),
        // The proxy is here: that is not what it is about.
        ("0.0.0.0", "10.0.0.0/8,127.0.0.1,localhost,".to_owned(), true),
        (NAME, String::new(), true),
        (NAME, format!(".{NAME}"), true),
        (NAME, format!("{NAME}:1"), true),
        (NAME, "urnout.invalid,".to_owned(), true),
        ("127.0.0.1", String::new(), false),
    ];
    for (host, exceptions, through) in &forms {
        for https_proxy in ["HTTPS_PROXY", "https_proxy"] {
            for no_proxy in ["NO_PROXY", "no_proxy"] {
                let (ran, connections) = bed.list(host, "", &[(https_proxy, &proxy), (no_proxy, exceptions)]);
                assert_eq!(connections > 0, *through, "{host}, {https_proxy}, {no_proxy}={exceptions}: {ran:?}");
                check(&ran, 0, &["model  Holding  Blue_50"]);
            }
        }
    }
}

#[test]
fn a_name_that_no_proxy_covers_is_asked_for_directly() {
    let bed = Bed::start();
    let proxy = bed.proxy.url();
    for exceptions in
        ["turnout.invalid", ".turnout.invalid", "*.turnout.invalid", NAME, &format!("{NAME}:{}", bed.port())]
    {
        let (ran, connections) = bed.list(NAME, "", &[("HTTPS_PROXY", &proxy), ("NO_PROXY", exceptions)]);
        assert_eq!(connections, 0, "{exceptions}");
        check(&ran, 2, &[&format!("no answer from https://{NAME}:{}: ", bed.port())]);
    }
}

#[test]
fn the_proxy_of_the_kubeconfig_comes_before_all_variables() {
    let bed = Bed::start();
    let other = format!("http://{}", closed_address());
    for variables in [[("NO_PROXY", "*"), ("HTTPS_PROXY", "")], [("NO_PROXY", ""), ("HTTPS_PROXY", &other)]] {
        for proxy_url in [bed.proxy.url(), bed.proxy.address.to_string()] {
            let (ran, connections) = bed.list("127.0.0.1", &proxy_url, &variables);
            check(&ran, 0, &["model  Holding  Blue_50"]);
            assert!(connections > 0, "{variables:?}");
        }
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let bed = Bed::start();
    let closed = closed_address();
    let said = format!("through the proxy http://{closed}: ");
    for (value, said) in [
        (format!("http://me:hush@{closed}"), said.as_str()),
        ("ftp://me:hush@proxy".to_owned(), "HTTPS_PROXY: a proxy is http://, https:// or socks5://, not ftp://"),
    ] {
        let (ran, _) = bed.list("0.0.0.0", "", &[("HTTPS_PROXY", &value)]);
        check(&ran, 2, &[said]);
        assert!(!ran.stderr.contains("hush"), "{ran:?}");
    }
}

/// A proxy that knows CONNECT, a process of its own. Wherever one wants to go, it goes to one address.
struct ForwardProxy {
    process: Child,
    said: std::sync::Mutex<BufReader<ChildStdout>>,
    address: SocketAddr,
}

/// Says to this binary that it is the proxy, and where that goes.
const DESTINATION: &str = "PROXY_OF_THE_TESTS";

impl ForwardProxy {
    fn start(destination: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "proxy::a_process_of_the_tests_above"]);
        command.env(DESTINATION, destination.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let address = answer(&mut said, "listens on ").parse().unwrap();
        Self { process, said: said.into(), address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many came since the last call.
    fn connections(&self) -> usize {
        self.process.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        answer(&mut self.said.lock().unwrap(), "connections: ").parse().unwrap()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The rest of the next line that has this.
fn answer(said: &mut BufReader<ChildStdout>, mark: &str) -> String {
    let mut lines = said.lines().map(Result::unwrap);
    lines.find_map(|line| line.split_once(mark).map(|(_, rest)| rest.to_owned())).expect("the proxy answers")
}

/// The process: it answers each line with a count, and ends with its input. It tests nothing by itself.
#[test]
fn a_process_of_the_tests_above() {
    let Ok(destination) = std::env::var(DESTINATION) else { return };
    let destination: SocketAddr = destination.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listens on {}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || connect(client.unwrap(), destination));
        }
    });
    for _ in std::io::stdin().lines() {
        println!("connections: {}", connections.swap(0, Ordering::SeqCst));
    }
}

/// Until both sides have said all.
fn connect(mut client: TcpStream, destination: SocketAddr) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"CONNECT "), "{}", String::from_utf8_lossy(&head));
    let mut server = TcpStream::connect(destination).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Write);
}
