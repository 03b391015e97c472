//! What a cluster does to whoever runs in it, under load: models are updated, gateways are restarted and killed, the API
//! server is away. Where every repeat is wanted,
//! DNS answers are as old as on AKS and the API server is away for as long as it may be.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::{PRE_STOP_SECONDS, STAGES, Scene, name};
use turnout_cluster::{Cluster, Daemon, Dns, Image, Options, Suite, is_full, release};
use turnout_rollout::Weights;

const HALF: Weights = Weights { green: 50, blue: 50 };
const BLUE: Weights = Weights { green: 0, blue: 100 };
const DEADLINE: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let dns = if is_full() { Dns::Cached } else { Dns::Fresh };
    let options = Options { images: Image::OWN.to_vec(), dns, ..Options::default() };
    Suite::new("disturbance", options)
        .case("a_model_is_updated_without_loss", a_model_is_updated_without_loss)
        .case("gateways_restart_without_loss", gateways_restart_without_loss)
        .case("a_killed_gateway_costs_what_was_written_to_it", a_killed_gateway_costs_what_was_written_to_it)
        .node_case("nothing_is_lost_without_an_api_server", nothing_is_lost_without_an_api_server)
        .run()
}

/// A rolling update of both models, while the weights are divided.
fn a_model_is_updated_without_loss(cluster: &Cluster) -> Result<()> {
    // A pod goes on serving after it was told to stop: longer than a DNS answer may be old.
    let pre_stop_seconds = if is_full() { 40 } else { PRE_STOP_SECONDS };
    let scene = Scene::prepare_patient(cluster, "update", pre_stop_seconds)?.begin(&[])?;
    scene.advance_to("Blue_50")?;
    let mut load = scene.load()?;
    load.check("before the update", HALF)?;
    let started = Instant::now();
    for (backend, revision) in [("green", "r1.1"), ("blue", "r2.1")] {
        cluster.apply(scene.namespace, &scene.model(backend, revision).objects().to_string())?;
    }
    for (backend, revision) in [("green", "r1.1"), ("blue", "r2.1")] {
        cluster.wait_for_rollout(scene.namespace, "deployment", &name(backend), DEADLINE)?;
        cluster.wait_until("the old pods are gone", DEADLINE, || {
            let pods = cluster.list(scene.namespace, "pods", &scene.model(backend, revision).selector())?;
            let of_before =
                pods.iter().filter(|pod| pod["metadata"]["labels"]["turnout.dev/revision"] != revision).count();
            ensure!(of_before == 0, "{of_before} pods of before are left");
            Ok(())
        })?;
    }
    println!("both models were updated in {:.0} s", started.elapsed().as_secs_f64());
    load.check("after the update", HALF)?;
    load.finish()
}

fn gateways_restart_without_loss(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "restart", &[])?;
    scene.advance_to("Blue_50")?;
    let mut load = scene.load()?;
    load.check("before the restart", HALF)?;
    let before = gateways(cluster)?;
    let started = Instant::now();
    cluster.kubectl(&["rollout", "restart", "deployment", release::GATEWAY, "--namespace", release::NAMESPACE])?;
    cluster.wait_for_rollout(release::NAMESPACE, "deployment", release::GATEWAY, DEADLINE)?;
    cluster.wait_until("the old gateways are gone", DEADLINE, || {
        let pods = cluster.list(release::NAMESPACE, "pods", release::GATEWAY_PODS)?;
        let is_left = |pod: &&serde_json::Value| before.iter().any(|name| pod["metadata"]["name"] == name.as_str());
        ensure!(pods.iter().filter(is_left).count() == 0, "they are still there");
        Ok(())
    })?;
    println!("{} gateways were restarted in {:.0} s", before.len(), started.elapsed().as_secs_f64());
    load.check("after the restart", HALF)?;
    // New gateways begin with what is published, and follow.
    scene.promote_to("Blue_100")?;
    load.check("Blue_100", BLUE)?;
    load.finish()
}

/// Without a grace period: what a node that dies does to its pods.
fn a_killed_gateway_costs_what_was_written_to_it(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "kill", &[])?;
    scene.advance_to("Blue_50")?;
    let mut load = scene.load()?;
    load.check("before the kill", HALF)?;
    let before = gateways(cluster)?;
    let killed = before.first().context("there is a gateway")?;
    cluster.kubectl(&["delete", "pod", killed, "--namespace", release::NAMESPACE, "--grace-period=0", "--force"])?;
    cluster.wait_for_rollout(release::NAMESPACE, "deployment", release::GATEWAY, DEADLINE)?;
    load.look(2000)?;
    load.check("after the kill", HALF)?;
    let report = load.end()?;
    let lost = &report.errors;
    println!("{} requests were lost with the gateway: {lost:?}", report.failed);
    // One request at a time is under way on each connection, and no other may fail.
    ensure!(report.failed <= CONNECTIONS && report.pins_wrong == 0, "{report:#?}");
    Ok(())
}

/// The load's own.
const CONNECTIONS: u64 = 8;

fn nothing_is_lost_without_an_api_server(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "outage", &[])?;
    scene.advance_to("Blue_50")?;
    let mut load = scene.load()?;
    load.check("before the outage", HALF)?;
    let outage = Duration::from_secs(if is_full() { 60 } else { 15 });
    let started = Instant::now();
    cluster.stop(Daemon::ApiServer)?;
    while started.elapsed() < outage {
        load.look(1000)?;
    }
    println!("the API server was away for {:.0} s", started.elapsed().as_secs_f64());
    cluster.start(Daemon::ApiServer)?;
    cluster.wait_for_api(DEADLINE)?;
    load.check("after the outage", HALF)?;
    let back = Instant::now();
    for stage in &STAGES[2..4] {
        scene.promote_to(stage)?;
        println!("{stage} was reached {:.1} s after the API server was back", back.elapsed().as_secs_f64());
    }
    load.check("Blue_Green", BLUE)?;
    load.finish()
}

fn gateways(cluster: &Cluster) -> Result<Vec<String>> {
    cluster.ready_pods(release::NAMESPACE, release::GATEWAY_PODS)
}
