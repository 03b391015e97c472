//! The controller as a process of this machine, instead of in its pod: the same program with the same flags and the same
//! rights, which a test can kill and start again as often as it likes, without kubelet's ever longer pauses.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use turnout_cluster::{Cluster, Image, release};

/// How to run the controller of the release from here.
pub(crate) struct Recipe<'cluster> {
    cluster: &'cluster Cluster,
    program: std::path::PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
}

/// A controller that runs; it is killed with the value.
pub(crate) struct Controller(Child);

impl<'cluster> Recipe<'cluster> {
    /// Takes the release's own controller away.
    pub(crate) fn take_over(cluster: &'cluster Cluster) -> Result<Self> {
        let deployment = cluster.get(release::NAMESPACE, "deployment", release::CONTROLLER)?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let flags = container["args"].as_array().context("the controller has flags")?;
        // Its address is for the probes of its pod, and its log would drown what the test says.
        let flags = flags
            .iter()
            .filter_map(Value::as_str)
            .filter(|flag| !flag.starts_with("--listen") && !flag.starts_with("--log="));
        let own_namespace = format!("--namespace={}", release::NAMESPACE);
        let arguments = flags
            .map(str::to_owned)
            .chain([own_namespace, "--listen=127.0.0.1:0".to_owned(), "--log=warn".to_owned()])
            .collect();
        scale(cluster, 0)?;
        Ok(Self { cluster, program: Image::Controller.program()?, arguments, folder: kubeconfig(cluster)? })
    }

    /// Gives the release its controller back.
    pub(crate) fn give_back(self) -> Result<()> {
        scale(self.cluster, 1)
    }

    pub(crate) fn start(&self, identity: &str) -> Result<Controller> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(format!("--identity={identity}"));
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig")).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Controller(command.spawn().context("cannot start the controller")?))
    }
}

impl Controller {
    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "the controller has ended by itself");
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scale(cluster: &Cluster, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    cluster.kubectl(&["scale", "deployment", release::CONTROLLER, &replicas, "--namespace", release::NAMESPACE])?;
    let gone = ["wait", "pods", "--selector", release::CONTROLLER_PODS, "--for", "delete", "--timeout", "60s"];
    if replicas == "--replicas=0" {
        cluster.kubectl(&[gone.as_slice(), &["--namespace", release::NAMESPACE]].concat())?;
    }
    cluster.wait_for_rollout(release::NAMESPACE, "deployment", release::CONTROLLER, std::time::Duration::from_mins(1))
}

/// A kubeconfig with the rights of the controller's service account.
fn kubeconfig(cluster: &Cluster) -> Result<TempDir> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let token = cluster.kubectl(&["create", "token", release::CONTROLLER, "--namespace", release::NAMESPACE])?;
    let text = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--output", "json"])?;
    let mut kubeconfig: Value = serde_json::from_str(&text).context("a kubeconfig is JSON")?;
    kubeconfig["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).context("cannot write a kubeconfig")?;
    Ok(folder)
}
