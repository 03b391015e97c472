//! The weights cannot be written: a policy of the cluster forbids it, or istiod, which has to agree to each change, is
//! away. The rollout stays where it is and says why, Istio's gateway serves on, and once nothing is in the way the stage
//! is reached.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use turnout_cluster::Cluster;
use turnout_cluster::istio::Istio;
use turnout_rollout::{Mode, Weights};

use crate::scene::{ROUTES, Scene, has_condition};
use turnout_cluster::SplitLoad;
use turnout_cluster::release;

const NAMESPACE: &str = "refusal";
/// What the policy says of itself.
const FREEZE: &str = "no routes are changed before the holidays";
/// What the API server calls istiod's webhook.
const WEBHOOK: &str = "validation.istio.io";
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn is_told_and_outlasted(cluster: &Cluster) -> Result<()> {
    let istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, NAMESPACE)?;
    scene.deploy("green", "r1")?;
    scene.deploy("blue", "r2")?;
    release::install(cluster, scene.namespace, &["gateway.enabled=false"])?;
    scene.begin(Mode::Istio, "r2", "Blue_0")?;
    let mut load = SplitLoad::start(cluster, istio.gateway(80)?, &scene.host())?;

    freeze(cluster)?;
    scene.change(&json!({"target": "Blue_50"}))?;
    await_obstacle(&scene, "Blue_0", FREEZE)?;
    load.check("Blue_0, while a policy forbids changes", Weights { green: 100, blue: 0 })?;
    cluster.kubectl(&["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", NAMESPACE])?;
    scene.await_stage("Blue_50")?;
    load.check("Blue_50", Weights { green: 50, blue: 50 })?;

    istio.stop_istiod()?;
    scene.change(&json!({"target": "Blue_100"}))?;
    await_obstacle(&scene, "Blue_50", WEBHOOK)?;
    load.check("Blue_50, while istiod is away", Weights { green: 50, blue: 50 })?;
    istio.start_istiod()?;
    scene.await_stage("Blue_100")?;
    scene.await_status("nothing is in the way", |status| has_condition(status, "Operational", "True", "Working"))?;
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;
    load.finish()
}

/// The rollout says what keeps it from leaving this stage.
fn await_obstacle(scene: &Scene<'_>, stage: &str, why: &str) -> Result<()> {
    scene.await_status(&format!("{why:?} is told"), |status| {
        let is_told = status["conditions"].to_string().contains(why);
        status["stage"] == stage && is_told && has_condition(status, "Operational", "False", "ApiFailure")
    })?;
    println!("{stage}: the rollout waits and says why: {why}");
    Ok(())
}

/// Nobody may change what a VirtualService of the case says.
fn freeze(cluster: &Cluster) -> Result<()> {
    cluster.apply(NAMESPACE, &policy().to_string())?;
    let edit = json!([{"op": "replace", "path": "/spec/http/0/name", "value": "edited"}]).to_string();
    let patch = ["patch", "virtualservice", ROUTES, "--namespace", NAMESPACE, "--type", "json", "--patch", &edit];
    cluster.wait_until("the policy is in force", DEADLINE, || {
        match cluster.kubectl(&[&patch[..], &["--dry-run=server"]].concat()) {
            Err(error) if error.to_string().contains(FREEZE) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => bail!("nobody is asked yet"),
        }
    })
}

fn policy() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": NAMESPACE},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["networking.istio.io"],
                    "apiVersions": ["*"],
                    "operations": ["UPDATE"],
                    "resources": ["virtualservices"],
                }]},
                "validations": [{"expression": "object.spec == oldObject.spec", "message": FREEZE}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": NAMESPACE},
            "spec": {
                "policyName": NAMESPACE,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                },
            },
        },
    ]})
}
