//! The inside of a cluster: the process that runs in its namespaces, prepares them, and keeps daemons running.
//!
//! It takes orders on standard input and ends at its end. It is the only child of the namespace's first process, which
//! then ends too, and with it the kernel ends every process in the namespace: nothing of a cluster outlives its keeper.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;

use crate::control::{Order, Reply};
use crate::lines;
use crate::process::output;
use crate::site::{Site, UPLINK};

/// Between the end of a daemon and its next start.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// What the keeper sends when the link is there.
pub(crate) const LINKED: &str = "linked";

/// The kubelet insists on these values. The kernel keeps them for the whole machine, so the cluster is shown files that
/// hold them, and the machine's own stay as they are.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
];

/// Runs until standard input ends.
pub(crate) async fn run(site: &Site) -> Result<()> {
    let mut orders = lines::standard_input();
    mount_own_folders(site)?;
    hide_kernel_settings()?;
    if orders.recv().await.as_deref() != Some(LINKED) {
        bail!("the keeper is gone");
    }
    connect(site)?;
    reply(&Reply::default())?;

    let mut daemons = Daemons { logs: site.path("log"), running: BTreeMap::new() };
    while let Some(line) = orders.recv().await {
        let outcome = match serde_json::from_str(&line) {
            Ok(order) => daemons.obey(order).await,
            Err(error) => Err(error.into()),
        };
        reply(&outcome.map_or_else(|error| Reply::failure(&format!("{error:#}")), |()| Reply::default()))?;
    }
    Ok(())
}

/// Containers and their logs are kept at fixed places, which belong to the machine.
fn mount_own_folders(site: &Site) -> Result<()> {
    output(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    for (own, place) in [("varlib", "/var/lib"), ("varlog", "/var/log")] {
        mount_over(&site.path(own), Path::new(place))?;
    }
    Ok(())
}

fn hide_kernel_settings() -> Result<()> {
    for (setting, value) in KERNEL_SETTINGS {
        let shown = Path::new("/run/kernel-settings").join(setting);
        if let Some(folder) = shown.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&shown, format!("{value}\n")).with_context(|| format!("cannot write {}", shown.display()))?;
        mount_over(&shown, &Path::new("/proc/sys").join(setting))?;
    }
    Ok(())
}

fn mount_over(source: &Path, place: &Path) -> Result<()> {
    output(Command::new("mount").arg("--bind").arg(source).arg(place)).map(drop)
}

/// The default route is needed even where nothing is reached over it: the kernel looks for a route to a Service's
/// address before kube-proxy's rules replace the address.
fn connect(site: &Site) -> Result<()> {
    let addresses = site.addresses();
    let address = format!("{}/30", addresses.node());
    let gateway = addresses.host().to_string();
    for arguments in [
        ["link", "set", "lo", "up"].as_slice(),
        &["address", "add", &address, "dev", UPLINK],
        &["link", "set", UPLINK, "up"],
        &["route", "add", "default", "via", &gateway],
    ] {
        output(Command::new("ip").args(arguments))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1\n").context("cannot switch forwarding on")?;
    // It exists only where the bridge filter is a loaded module, and then it must be on.
    let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n");
    Ok(())
}

fn reply(reply: &Reply) -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(reply)?).context("the keeper is gone")?;
    stdout.flush().context("the keeper is gone")
}

struct Daemons {
    logs: PathBuf,
    running: BTreeMap<String, Daemon>,
}

struct Daemon {
    wanted: watch::Sender<bool>,
    is_running: watch::Receiver<bool>,
}

impl Daemons {
    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Run { name, command } => {
                if self.running.contains_key(&name) {
                    bail!("{name} runs already");
                }
                let daemon = start(&name, command, &self.logs)?;
                self.running.insert(name.clone(), daemon);
                self.turn(&name, true).await
            }
            Order::Stop { name } => self.turn(&name, false).await,
            Order::Start { name } => self.turn(&name, true).await,
            Order::Describe | Order::Down => bail!("this is not for the node"),
        }
    }

    /// Returns when the daemon is as wanted.
    async fn turn(&mut self, name: &str, on: bool) -> Result<()> {
        let known = self.running.keys().cloned().collect::<Vec<_>>().join(", ");
        let daemon = self.running.get_mut(name).with_context(|| format!("no daemon {name}; there are {known}"))?;
        daemon.wanted.send_replace(on);
        daemon.is_running.wait_for(|is_running| *is_running == on).await.context("its supervisor is gone")?;
        Ok(())
    }
}

fn start(name: &str, command: Vec<String>, logs: &Path) -> Result<Daemon> {
    let path = logs.join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot open {}", path.display()))?;
    let (wanted, is_wanted) = watch::channel(true);
    let (running, is_running) = watch::channel(false);
    tokio::spawn(supervise(command, log, is_wanted, running));
    Ok(Daemon { wanted, is_running })
}

/// Starts the command whenever it is wanted and does not run, and kills it when it is not wanted.
async fn supervise(command: Vec<String>, log: File, mut wanted: watch::Receiver<bool>, running: watch::Sender<bool>) {
    loop {
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let ended = match spawn(&command, &log) {
            Ok(child) => {
                running.send_replace(true);
                run_until_unwanted(child, &mut wanted).await
            }
            Err(error) => error.to_string(),
        };
        // The log is the place for it, and where it cannot be written it is missed by nobody.
        let _ = writeln!(&log, "turnout-cluster: it ended: {ended}");
        running.send_replace(false);
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Returns how it ended.
async fn run_until_unwanted(mut child: tokio::process::Child, wanted: &mut watch::Receiver<bool>) -> String {
    let unwanted = async { wanted.wait_for(|wanted| !*wanted).await.map_or((), drop) };
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = unwanted => None,
    };
    match ended {
        Some(Ok(status)) => status.to_string(),
        Some(Err(error)) => error.to_string(),
        None => {
            let _ = child.kill().await;
            "killed, as ordered".to_owned()
        }
    }
}

fn spawn(command: &[String], log: &File) -> std::io::Result<tokio::process::Child> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(std::io::Error::other("the command is empty"));
    };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.spawn()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn order(name: &str, script: &str) -> Order {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Order::Run { name: name.to_owned(), command }
    }

    fn named(name: &str) -> String {
        name.to_owned()
    }

    /// The shell runs as soon as it is started, and prints a moment later.
    async fn has_started(log: &std::path::Path, times: usize) {
        let started = || fs::read_to_string(log).unwrap_or_default().matches("started").count();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while started() < times {
            assert!(tokio::time::Instant::now() < deadline, "{times} starts are not in the log");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_daemon_that_ends_comes_back_unless_it_was_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemons = Daemons { logs: folder.path().to_owned(), running: BTreeMap::new() };
        let log = folder.path().join("sleeper.log");
        daemons.obey(order("sleeper", "echo started; exec sleep 600")).await.unwrap();
        has_started(&log, 1).await;
        daemons.obey(Order::Stop { name: named("sleeper") }).await.unwrap();
        assert!(!*daemons.running["sleeper"].is_running.borrow());
        daemons.obey(Order::Start { name: named("sleeper") }).await.unwrap();
        assert!(*daemons.running["sleeper"].is_running.borrow());
        has_started(&log, 2).await;
        daemons.obey(Order::Stop { name: named("sleeper") }).await.unwrap();
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.matches("started").count(), 2, "{log}");
        assert_eq!(log.matches("killed, as ordered").count(), 2, "{log}");
    }

    #[tokio::test]
    async fn what_cannot_be_obeyed_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemons = Daemons { logs: folder.path().to_owned(), running: BTreeMap::new() };
        daemons.obey(order("sleeper", "exec sleep 600")).await.unwrap();
        let twice = daemons.obey(order("sleeper", "true")).await.unwrap_err();
        assert_eq!(twice.to_string(), "sleeper runs already");
        let unknown = daemons.obey(Order::Stop { name: named("etcd") }).await.unwrap_err();
        assert_eq!(unknown.to_string(), "no daemon etcd; there are sleeper");
        daemons.obey(Order::Stop { name: named("sleeper") }).await.unwrap();
    }
}
