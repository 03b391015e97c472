//! People who have Kubernetes' own roles in one namespace: `edit` drives rollouts there, `view` looks on, and neither
//! writes a status or reaches another namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, SplitLoad};
use turnout_rollout::Weights;

const NAMESPACE: &str = "users";
const ELSEWHERE: &str = "users-elsewhere";
/// A rollout of no route, to be changed and deleted.
const SPARE: &str = "spare";
/// What kubectl is told to do with it, in this order.
const ACTIONS: [(&str, &[&str]); 6] = [
    ("get", &["get", "modelrollout", SPARE, "--output", "jsonpath={.status.conditions}"]),
    ("list", &["get", "modelrollouts"]),
    ("patch", &["patch", "modelrollout", SPARE, "--type", "merge", "--patch", r#"{"spec": {"target": "Blue_0"}}"#]),
    (
        "write the status",
        &["patch", "modelrollout", SPARE, "--subresource", "status", "--type", "merge", "--patch", r#"{"status": {}}"#],
    ),
    ("delete", &["delete", "modelrollout", SPARE, "--timeout", "60s"]),
    ("create", &["create", "--filename", "spare.json"]),
];

pub(crate) fn users_have_what_their_role_gives_them(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, NAMESPACE, &[])?;
    cluster.create_namespace(ELSEWHERE)?;
    let folder = tempfile::tempdir()?;
    let mut spare = scene.rollout();
    spare["metadata"]["name"] = json!(SPARE);
    spare["spec"]["route"]["virtualService"] = json!("nowhere");
    fs::write(folder.path().join("spare.json"), spare.to_string())?;
    for namespace in [NAMESPACE, ELSEWHERE] {
        cluster.apply(namespace, &spare.to_string())?;
    }
    let (viewer, editor) = (User::new(&scene, folder.path(), "view")?, User::new(&scene, folder.path(), "edit")?);

    viewer.may_only(&["get", "list"])?;
    for verb in [&["list"] as &[&str], &["status", ROLLOUT], &["history", ROLLOUT]] {
        viewer.turnout(0, verb)?;
    }
    editor.may_only(&["get", "list", "patch", "delete", "create"])?;
    drives(&editor, &viewer)
}

/// The one drives, and the other one cannot.
fn drives(editor: &User<'_>, viewer: &User<'_>) -> Result<()> {
    let scene = editor.scene;
    let mut load = SplitLoad::without_pins(scene.cluster, scene.gateway, &scene.host())?;
    let verb = |words: &[&str]| editor.turnout(0, words).map(drop);
    verb(&["start", ROLLOUT, "--revision", "r2", "--wait"])?;
    verb(&["promote", ROLLOUT, "--wait"])?;
    load.check("Blue_50", Weights { green: 50, blue: 50 })?;
    let writing: [&[&str]; 4] =
        [&["start", ROLLOUT, "--revision", "r3"], &["promote", ROLLOUT], &["pause", ROLLOUT], &["rollback", ROLLOUT]];
    for verb in writing {
        let said = viewer.turnout(2, verb)?;
        ensure!(said.contains("forbidden"), "{verb:?}: {said}");
    }
    for words in [["status", ROLLOUT], ["history", ROLLOUT], ["pause", ROLLOUT], ["resume", ROLLOUT]] {
        verb(&words)?;
    }
    verb(&["rollback", ROLLOUT, "--wait"])?;
    load.check("rolled back", Weights { green: 100, blue: 0 })?;
    load.finish()
}

/// Somebody with this role of the cluster, in the scene's namespace alone.
pub(crate) struct User<'a> {
    scene: &'a Scene<'a>,
    folder: &'a Path,
    role: &'static str,
}

impl<'a> User<'a> {
    /// A ServiceAccount, whose kubeconfig is in this folder.
    pub(crate) fn new(scene: &'a Scene<'a>, folder: &'a Path, role: &'static str) -> Result<Self> {
        let kubectl = |words: &[&str]| scene.cluster.kubectl(&[words, &["--namespace", scene.namespace]].concat());
        kubectl(&["create", "serviceaccount", role])?;
        let (of, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={}:{role}", scene.namespace));
        kubectl(&["create", "rolebinding", role, &of, &account])?;
        let user = Self { scene, folder, role };
        user.write_kubeconfig(&json!({ "token": kubectl(&["create", "token", role])?.trim() }))?;
        Ok(user)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join(self.role)
    }

    /// That of the cluster, with these credentials.
    pub(crate) fn write_kubeconfig(&self, credentials: &Value) -> Result<()> {
        let of_cluster = self.scene.cluster.kubectl(&["config", "view", "--raw", "--minify", "--output", "json"])?;
        let mut kubeconfig: Value = serde_json::from_str(&of_cluster)?;
        kubeconfig["users"][0]["user"] = credentials.clone();
        fs::write(self.kubeconfig(), kubeconfig.to_string()).context("cannot write a kubeconfig")
    }

    /// Of what can be done with a rollout, and nothing in another namespace.
    fn may_only(&self, allowed: &[&str]) -> Result<()> {
        for (action, words) in ACTIONS {
            for namespace in [ELSEWHERE, NAMESPACE] {
                let ran = self.kubectl(namespace, words)?;
                let said = String::from_utf8_lossy(&ran.stderr);
                let is_allowed = namespace == NAMESPACE && allowed.contains(&action);
                let is_refused = !ran.status.success() && said.contains("(Forbidden)");
                let what = format!("{} does {action} in {namespace}: {}", self.role, ran.status);
                ensure!(if is_allowed { ran.status.success() } else { is_refused }, "{what}: {said}");
            }
        }
        Ok(())
    }

    fn kubectl(&self, namespace: &str, words: &[&str]) -> Result<Output> {
        let mut command = self.scene.cluster.kubectl_command();
        command.args(words).args(["--namespace", namespace]).current_dir(self.folder);
        command.env("KUBECONFIG", self.kubeconfig()).output().context("cannot run kubectl")
    }

    /// A verb of `turnout rollout` ends with this code; returns what it says.
    fn turnout(&self, code: i32, words: &[&str]) -> Result<String> {
        let words = [&["rollout"], words].concat();
        let mut command = self.scene.turnout_command(&words)?;
        let ran = command.env("KUBECONFIG", self.kubeconfig()).output().context("cannot run turnout")?;
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(ran.status.code() == Some(code), "{}: {words:?} ended with {}: {said}", self.role, ran.status);
        Ok(said)
    }
}
