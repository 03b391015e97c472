//! Running the binary, and a `turnout local` of a test's own. Everything that is started here is ended by its own id
//! when the test ends, well or badly.

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far longer than anything takes; only a failure waits so long.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// The binary, without what the environment says of it.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TURNOUT_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub(crate) fn turnout(arguments: &[&str]) -> Ran {
    turnout_with_input(arguments, "")
}

/// Runs a command with this on its standard input.
pub(crate) fn turnout_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut command = binary();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
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
        let mut local = Self { root: tempfile::tempdir().unwrap(), running: None };
        local.start_again();
        local
    }

    /// Starts over the same directory, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        let addresses = self.path().join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let mut command = binary();
        command.args(["local", "--listen", "127.0.0.1:0", "--workers", "1", "--dir"]).arg(self.path());
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
        self.done(&["rollout", "status", "-o", "json"]).json()
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

/// Writes a file of a test's own and returns its path as text.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
