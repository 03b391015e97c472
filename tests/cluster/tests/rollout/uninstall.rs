//! What is there after the release has gone is what was there before it came, and what the user owns.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::{ROLLOUT, Scene, name};
use turnout_cluster::{Cluster, SplitLoad, release};
use turnout_rollout::Weights;

const DEADLINE: Duration = Duration::from_mins(2);
/// Kinds of the cluster's own bookkeeping, which come and go by themselves.
const BOOKKEEPING: [&str; 3] = ["events", "events.events.k8s.io", "leases.coordination.k8s.io"];

pub(crate) fn uninstalling_leaves_what_the_user_owns(cluster: &Cluster) -> Result<()> {
    if cluster.find(release::NAMESPACE, "deployment", release::CONTROLLER)?.is_some() {
        release::uninstall(cluster)?;
    }
    release::await_pods_gone(cluster)?;
    let scene = Scene::prepare(cluster, "uninstall")?;
    for backend in ["green", "blue"] {
        cluster.wait_for_rollout(scene.namespace, "deployment", &name(backend), DEADLINE)?;
    }
    let before = everything(cluster)?;
    let scene = scene.begin(&[])?;
    scene.advance_to("Blue_50")?;
    let during = everything(cluster)?;
    for made in ["service/turnout-model-svc-green", "service/turnout-model-svc-blue", "deployment.apps/turnout-gateway"]
    {
        ensure!(during.iter().any(|name| name.ends_with(made)), "{made} is not there: {during:#?}");
    }
    release::uninstall(cluster)?;
    release::await_pods_gone(cluster)?;

    let rollout = format!("{} modelrollout.turnout.dev/{ROLLOUT}", scene.namespace);
    let expected: BTreeSet<String> = before.iter().cloned().chain([rollout]).collect();
    let after = everything(cluster)?;
    let left: Vec<_> = after.difference(&expected).collect();
    let lost: Vec<_> = expected.difference(&after).collect();
    ensure!(left.is_empty() && lost.is_empty(), "left behind: {left:#?}; lost: {lost:#?}");
    println!("{} objects before and after, {} while it was there", before.len(), during.len());

    // Nothing holds the user's rollout: it can be deleted without a controller.
    let object = cluster.get(scene.namespace, "modelrollout", ROLLOUT)?;
    ensure!(object["metadata"]["finalizers"].is_null(), "{object}");
    cluster.kubectl(&["delete", "modelrollout", ROLLOUT, "--namespace", scene.namespace, "--timeout", "30s"])?;
    let lease = cluster.find(release::NAMESPACE, "lease", release::CONTROLLER)?;
    ensure!(lease.is_none(), "the Lease is left behind: {lease:?}");
    Ok(())
}

/// Neither a deleted rollout nor a namespace waits for a controller; and as long as there is one, a deletion costs no request.
pub(crate) fn without_hooks_nothing_waits_for_a_controller_that_is_gone(cluster: &Cluster) -> Result<()> {
    let scene = Scene::prepare(cluster, "hookless")?.begin(&[])?;
    scene.advance_to("Blue_100")?;
    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;
    let green = |replicas: &str| {
        let wanted = format!("--replicas={replicas}");
        cluster.kubectl(&["scale", "deployment", &name("green"), &wanted, "--namespace", scene.namespace])?;
        cluster.wait_for_rollout(scene.namespace, "deployment", &name("green"), DEADLINE)
    };
    green("0")?;
    let delete = ["delete", "modelrollout", ROLLOUT, "--namespace", scene.namespace, "--timeout", "30s"];
    cluster.kubectl(&delete)?;
    // The document gives all to green, which is not there.
    load.check("the rollout is deleted", Weights { green: 0, blue: 100 })?;
    green("2")?;
    load.settle("green is back", Weights { green: 100, blue: 0 })?;
    load.finish()?;

    cluster.apply(scene.namespace, &scene.rollout().to_string())?;
    scene.advance_to("Blue_50")?;
    release::uninstall_without_hooks(cluster)?;
    release::await_pods_gone(cluster)?;
    cluster.kubectl(&delete)?;
    cluster.kubectl(&["delete", "namespace", scene.namespace, "--timeout", "2m"])?;
    Ok(())
}

/// Every object of the cluster, as `NAMESPACE KIND/NAME`.
fn everything(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for namespaced in [true, false] {
        let scope = format!("--namespaced={namespaced}");
        let kinds = cluster.kubectl(&["api-resources", "--verbs=list,delete", &scope, "--output", "name"])?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !BOOKKEEPING.contains(kind)).collect();
        let mut command = vec!["get".to_owned(), kinds.join(",")];
        command.extend(namespaced.then(|| "--all-namespaces".to_owned()));
        let columns = "custom-columns=NS:.metadata.namespace,KIND:.kind,API:.apiVersion,NAME:.metadata.name";
        command.extend(["--no-headers", "--output", columns].map(str::to_owned));
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        for line in cluster.kubectl(&words)?.lines() {
            all.insert(title(line).with_context(|| format!("kubectl printed {line}"))?);
        }
    }
    Ok(all)
}

fn title(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (namespace, kind, api, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let group = api.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    Some(format!("{namespace} {}{group}/{name}", kind.to_lowercase()))
}
