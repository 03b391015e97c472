//! Running the binary, and a `turnout local` of a test's own. Everything that is started here is ended by its own id
//! when the test ends, well or badly.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far longer than anything takes; only a failure waits so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A directory in memory, where there is such a place: on a busy disk a write may take longer than anything here.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// It ended so, and said all of this.
#[track_caller]
pub(crate) fn check(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    for text in said {
        assert!(ran.stdout.contains(text) || ran.stderr.contains(text), "{text}: {ran:?}");
    }
}

/// The command, without what the environment says of it, of a cluster and of the terminal.
pub(crate) fn command(arguments: &[&str]) -> Command {
    command_as(Path::new(env!("CARGO_BIN_EXE_turnout")), arguments)
}

/// The command by another name of the binary.
pub(crate) fn command_as(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TURNOUT_")) {
        command.env_remove(name);
    }
    for name in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nowhere").env("LC_ALL", "C").args(arguments);
    command
}

/// Runs a command to its end.
pub(crate) fn turnout(arguments: &[&str]) -> Ran {
    turnout_with_input(arguments, "")
}

/// Runs a command with this on its standard input.
pub(crate) fn turnout_with_input(arguments: &[&str], input: &str) -> Ran {
    run(&mut command(arguments), input)
}

/// Runs a command that was made elsewhere, with this on its standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A command that goes on while it is looked at; it is ended with the value.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (lines_of(child.stdout.take().unwrap()), lines_of(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    /// Its next line on standard output.
    pub(crate) fn line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("another line")
    }

    /// Returns once it has said this on standard error.
    pub(crate) fn wait_for_remark(&self, said: &str) {
        while !self.stderr.recv_timeout(PATIENCE).expect("a remark").contains(said) {}
    }

    /// What it came to by itself, and what it said that was not read before.
    pub(crate) fn end(mut self) -> Ran {
        let (stdout, stderr) = (rest_of(&self.stdout), rest_of(&self.stderr));
        Ran { code: self.child.wait().unwrap().code().unwrap(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as they come, read by a thread of their own: so that nobody waits for one that never comes.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn rest_of(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => return text,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end: {text}"),
        }
    }
}

/// Waits until `look` sees something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory, and the `turnout local` over it while there is one.
pub(crate) struct Local {
    root: TempDir,
    running: Option<Child>,
}

impl Local {
    /// Starts over a fresh directory.
    pub(crate) fn start() -> Self {
        let mut local = Self { root: in_memory(), running: None };
        local.start_again();
        local
    }

    /// Starts over the same directory, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        let addresses = self.path().join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let mut command = command(&["local", "--listen", "127.0.0.1:0", "--workers", "1", "--dir"]);
        command.arg(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(command.spawn().unwrap());
        let running = self.running.as_mut().unwrap();
        eventually("addresses.json", || {
            assert_eq!(running.try_wait().unwrap(), None, "it ended");
            addresses.exists().then_some(())
        });
    }

    /// SIGKILL, as when a machine runs out of memory.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    /// One of the addresses: gateway, status, admin.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let addresses: Value =
            serde_json::from_slice(&std::fs::read(self.path().join("addresses.json")).unwrap()).unwrap();
        addresses[name].as_str().unwrap().parse().unwrap()
    }

    /// Runs a verb of `turnout rollout`, or `wait`, over the directory.
    pub(crate) fn turnout(&self, arguments: &[&str]) -> Ran {
        let path = self.path();
        turnout(&[arguments, &["--local", path.to_str().unwrap()]].concat())
    }

    /// Runs a command that must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Ran {
        let ran = self.turnout(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran
    }

    /// The status as `turnout rollout status -o json` tells it.
    pub(crate) fn status(&self) -> Value {
        self.turnout(&["rollout", "status", "-o", "json"]).json()
    }

    /// Scores once, with the override if it is given: the status and the body.
    pub(crate) fn score(&self, version: Option<&str>) -> (u16, String) {
        score(self.address("gateway"), version)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}

fn score(gateway: SocketAddr, version: Option<&str>) -> (u16, String) {
    let version = version.map(|version| format!("x-api-version: {version}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(gateway).unwrap();
    let head =
        format!("POST /score HTTP/1.1\r\nhost: model\r\nconnection: close\r\ncontent-length: 2\r\n{version}\r\n{{}}");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Whether nobody listens there.
pub(crate) fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

/// An address where nobody listens.
pub(crate) fn closed_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Writes a file of a test's own and returns its path as text.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
