//! One cluster: starting it, talking to it, waiting for it, disturbing it, and taking it down without a trace.

mod address;
mod credentials;
mod daemons;
mod diagnosis;
mod dns;
mod handle;
mod objects;
mod registry;
mod start;

use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

pub use daemons::Daemon;
pub use dns::Dns;
pub use registry::Registry;

use crate::addresses::Addresses;
use crate::build::{Image, Programs};
use crate::control::{self, Description, Order};
use crate::process::output;
use crate::site::{Site, process_namespace};
use handle::Keeper;
pub(crate) use handle::own_program;

/// The name of the node.
pub const NODE: &str = "node";

/// Names an existing cluster by its kubeconfig; tests then use that one.
pub(crate) const EXISTING: &str = "TURNOUT_TEST_KUBECONFIG";

/// Names a folder that gets the logs of every cluster that is taken down.
const KEEP_LOGS: &str = "TURNOUT_TEST_KEEP_LOGS";

/// Between two questions of [`Cluster::wait_until`].
const PAUSE: Duration = Duration::from_millis(150);

/// What kind of cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// 0 to 255; without one it is the first of 0 to 15 that is free.
    pub index: Option<u8>,
    /// What pods may run, beside what every cluster has. Each is built if it is out of date.
    pub images: Vec<Image>,
    /// How the DNS server caches.
    pub dns: Dns,
}

/// A cluster that is up. Dropping it takes it down, except after [`Cluster::attach`] and [`Cluster::leave_running`].
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    own: Option<Own>,
    /// Namespaces that were made here.
    namespaces: Mutex<Vec<String>>,
}

/// What there is only of a cluster that was started here.
#[derive(Debug)]
struct Own {
    site: Site,
    /// The first process in the cluster's namespaces.
    node: u32,
    process_namespace: PathBuf,
    keeper: Option<Keeper>,
    /// Of the load balancers' addresses.
    next_address: AtomicU8,
}

impl Cluster {
    /// What suites call: the cluster that `TURNOUT_TEST_KUBECONFIG` names, or a new one.
    pub fn for_tests(options: &Options) -> Result<Self> {
        match env::var_os(EXISTING) {
            Some(kubeconfig) => Self::existing(Path::new(&kubeconfig)),
            None => Self::up(options),
        }
    }

    /// Starts a new one, and returns when its node is ready and its DNS server answers.
    pub fn up(options: &Options) -> Result<Self> {
        start::up(options)
    }

    /// The one with this index, which somebody else started and takes down.
    pub fn attach(index: u8) -> Result<Self> {
        let description = control::ask(index, &Order::Describe)?.cluster.context("the keeper does not say where")?;
        Self::of(&description, None)
    }

    /// Takes down the one with this index, whoever started it.
    pub fn down_by_index(index: u8) -> Result<()> {
        let cluster = Self::attach(index)?;
        control::ask(index, &Order::Down)?;
        cluster.own.as_ref().map_or(Ok(()), Own::check_for_traces)
    }

    /// Takes it down; fails if anything is left of it. A cluster that was not started by this process stays, and of one
    /// that exists elsewhere the namespaces go that were made here.
    pub fn down(mut self) -> Result<()> {
        let Some(own) = &mut self.own else { return self.delete_own_namespaces() };
        let Some(keeper) = own.keeper.take() else { return Ok(()) };
        own.save_logs();
        keeper.end()?;
        own.check_for_traces()
    }

    /// Lets it outlive this process; [`Cluster::attach`] finds it again.
    pub fn leave_running(mut self) -> Result<()> {
        let keeper = self.own.as_mut().and_then(|own| own.keeper.take());
        keeper.map_or(Ok(()), Keeper::leave)
    }

    /// Its index; none of a cluster that exists elsewhere.
    pub fn index(&self) -> Option<u8> {
        self.own.as_ref().map(|own| own.site.index())
    }

    /// Whether it was started by this harness, so that its daemons can be stopped and its namespaces entered.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Its networks.
    pub fn addresses(&self) -> Result<Addresses> {
        Ok(self.own()?.site.addresses())
    }

    /// For `KUBECONFIG`; its user may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of its logs: `NAME.log` for each daemon.
    pub fn logs(&self) -> Result<PathBuf> {
        Ok(self.own()?.site.path("log"))
    }

    /// Runs `kubectl` with these arguments; returns what it prints, or fails with what it complains about.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output(self.kubectl_command().args(arguments))
    }

    /// `kubectl` for this cluster, to be given arguments and pipes.
    pub fn kubectl_command(&self) -> Command {
        self.client(&self.kubectl)
    }

    /// Runs `helm` with these arguments; returns what it prints, or fails with what it complains about.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        output(self.helm_command().args(arguments))
    }

    /// `helm` for this cluster, to be given arguments and pipes.
    pub fn helm_command(&self) -> Command {
        self.client(&self.helm)
    }

    /// Runs a command inside the cluster's network, mount and process namespaces, as on the node itself.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("no command")?;
        output(self.node_command(program)?.args(arguments))
    }

    /// A command that will run inside the cluster's network, mount and process namespaces.
    pub fn node_command(&self, program: &str) -> Result<Command> {
        let mut command = self.enter(&["--net", "--mount", "--pid"])?;
        command.arg(program);
        Ok(command)
    }

    /// A command that will run in the cluster's network namespace, and otherwise as any process of this machine.
    pub fn network_command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = self.enter(&["--net"])?;
        command.arg(program.as_ref());
        Ok(command)
    }

    /// Loads an archive with an image, as [`Programs::image`] makes it.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.canonicalize().with_context(|| format!("no archive {}", archive.display()))?;
        output(self.node_command("ctr")?.args(["--namespace", "k8s.io", "images", "import"]).arg(archive)).map(drop)
    }

    /// Kills a daemon and keeps it down. Returns when it is gone.
    pub fn stop(&self, daemon: Daemon) -> Result<()> {
        self.order(&Order::Stop { name: daemon.name().to_owned() })
    }

    /// Lets a stopped daemon come back. Returns when it runs, which is before it is ready.
    pub fn start(&self, daemon: Daemon) -> Result<()> {
        self.order(&Order::Start { name: daemon.name().to_owned() })
    }

    /// Waits until the API server answers.
    pub fn wait_for_api(&self, deadline: Duration) -> Result<()> {
        eventually("the API server is ready", deadline, || self.kubectl(&["get", "--raw", "/readyz"])).map(drop)
    }

    /// Asks until the answer is `Ok` and returns that. After the deadline the error says what was wanted, the last
    /// refusal, and what a person would look at first: pods, events and logs.
    pub fn wait_until<T>(&self, what: &str, deadline: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
        eventually(what, deadline, probe).map_err(|error| anyhow!("{error:#}\n{}", self.diagnosis()))
    }

    fn of(description: &Description, keeper: Option<Keeper>) -> Result<Self> {
        let site = Site::new(description.index, &description.workshop);
        let programs = Programs::of_cluster(&site.path("programs"))?;
        let own = Own {
            node: description.node,
            process_namespace: process_namespace(description.node)?,
            keeper,
            next_address: AtomicU8::new(1),
            site,
        };
        Ok(Self {
            kubeconfig: own.site.path("admin.kubeconfig"),
            kubectl: programs.path("kubectl"),
            helm: programs.path("helm"),
            own: Some(own),
            namespaces: Mutex::default(),
        })
    }

    fn existing(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = kubeconfig.canonicalize();
        let kubeconfig = kubeconfig.with_context(|| format!("{EXISTING} does not name a file"))?;
        let cluster = Self {
            kubeconfig,
            kubectl: "kubectl".into(),
            helm: "helm".into(),
            own: None,
            namespaces: Mutex::default(),
        };
        let node = cluster.kubectl(&["get", "nodes", "--output", "name"]);
        node.with_context(|| format!("the cluster that {EXISTING} names does not answer"))?;
        Ok(cluster)
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("this is possible only with a cluster that was started here")
    }

    fn order(&self, order: &Order) -> Result<()> {
        control::ask(self.own()?.site.index(), order).map(drop)
    }

    fn enter(&self, namespaces: &[&str]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.own()?.node.to_string()]).args(namespaces).arg("--");
        Ok(command)
    }

    /// A client of the API, which keeps its caches with the cluster.
    fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        if let Some(own) = &self.own {
            command.env("KUBECACHEDIR", own.site.path("cache"));
            for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
                command.env(variable, own.site.path("cache").join(variable));
            }
        }
        command
    }
}

impl Own {
    fn check_for_traces(&self) -> Result<()> {
        let traces = self.site.traces(&self.process_namespace)?;
        if !traces.is_empty() {
            bail!("the cluster left something behind: {}", traces.join("; "));
        }
        Ok(())
    }

    /// Where somebody wants them, if somebody does.
    fn save_logs(&self) {
        let Some(folder) = env::var_os(KEEP_LOGS) else { return };
        let place = Path::new(&folder).join(format!("{}-{}", self.site.name(), std::process::id()));
        let mut copy = Command::new("cp");
        copy.arg("--recursive").arg(self.site.path("log")).arg(self.site.path("varlog")).arg(&place);
        let saved = std::fs::create_dir_all(&place).map_err(anyhow::Error::from).and_then(|()| output(&mut copy));
        match saved {
            Ok(_) => eprintln!("turnout-cluster: logs are in {}", place.display()),
            Err(error) => eprintln!("turnout-cluster: logs cannot be kept: {error:#}"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        if let Some(keeper) = own.keeper.take() {
            own.save_logs();
            if let Err(error) = keeper.end() {
                eprintln!("turnout-cluster: {error:#}");
            }
        }
    }
}

/// Asks until the answer is `Ok`, at least once; after the deadline the error carries the last refusal.
fn eventually<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(answer) => return Ok(answer),
            Err(refusal) if started.elapsed() >= deadline => {
                bail!("after {deadline:?} it is still not so that {what}: {refusal:#}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusal_is_in_the_error() {
        let mut asked = 0;
        let refused = eventually("it works", Duration::ZERO, || {
            asked += 1;
            Err::<(), _>(format!("refusal {asked}"))
        });
        let message = refused.map_err(|error| error.to_string());
        assert_eq!(message, Err("after 0ns it is still not so that it works: refusal 1".to_owned()));
    }

    #[test]
    fn the_first_good_answer_is_returned() -> Result<()> {
        let mut asked = 0;
        let answer = eventually("it works", Duration::from_mins(1), || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("not yet") }
        });
        assert_eq!(answer?, 3);
        Ok(())
    }
}
