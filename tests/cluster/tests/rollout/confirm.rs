//! From a promotion to its confirmation by three gateways, with the nudge and without it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, is_full, release};

pub(crate) fn a_promotion_is_confirmed_by_three_gateways(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "confirm", &["gateway.replicas=3"])?;
    // The shares of blue between `Blue_0` and `Blue_100`: each is a promotion.
    let shares: Vec<u32> = (1..if is_full() { 20 } else { 5 }).map(|step| step * 5).collect();
    let steps: Vec<Value> = shares.iter().map(|blue| json!({ "stage": format!("Blue_{blue}") })).collect();
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": { "steps": steps } }))?;
    scene.start("r2")?;
    scene.promote_to("Blue_5")?;
    // How many of them are made without the nudge: each takes up to a minute and a half.
    let (nudged, left_alone) = shares.split_at(shares.len() - usize::from(is_full()));
    let mut times = Vec::new();
    for blue in &nudged[1..] {
        times.push(promote(&scene, *blue)?);
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_secs_f64();
    println!("confirmed by 3 gateways: median {:.2} s, p95 {:.2} s of {}", at(50), at(95), times.len());

    let rights = Rights::without_nudge(cluster)?;
    for blue in left_alone {
        let seconds = promote(&scene, *blue)?.as_secs_f64();
        println!("without the nudge, when kubelet looks by itself: {seconds:.1} s");
    }
    rights.restore()
}

/// One promotion; how long it takes until every gateway has confirmed it.
fn promote(scene: &Scene<'_>, blue: u32) -> Result<Duration> {
    let started = Instant::now();
    scene.promote_to(&format!("Blue_{blue}"))?;
    let taken = started.elapsed();
    let status = scene.status()?;
    let reached = status.history.last().context("a stage was reached")?;
    ensure!(reached.confirmed_by.len() == 3, "{reached:?}");
    Ok(taken)
}

/// The controller's Role in the release's namespace.
struct Rights<'cluster> {
    cluster: &'cluster Cluster,
    rules: Value,
}

impl<'cluster> Rights<'cluster> {
    /// Takes away what the nudge needs: the right to patch pods.
    fn without_nudge(cluster: &'cluster Cluster) -> Result<Self> {
        let mut role = cluster.get(release::NAMESPACE, "role", release::CONTROLLER)?;
        let before = role["rules"].clone();
        let rules = role["rules"].as_array_mut().context("a Role has rules")?;
        rules.retain(|rule| rule["resources"] != json!(["pods"]));
        ensure!(role["rules"] != before, "the controller has no right to patch pods: {before}");
        cluster.patch(release::NAMESPACE, "role", release::CONTROLLER, &json!({ "rules": role["rules"] }))?;
        Ok(Self { cluster, rules: before })
    }

    fn restore(&self) -> Result<()> {
        self.cluster.patch(release::NAMESPACE, "role", release::CONTROLLER, &json!({ "rules": self.rules }))
    }
}
