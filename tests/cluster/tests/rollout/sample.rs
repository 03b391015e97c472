//! README's chapter for users of the canary sample, from an empty cluster to `Green_100`, run as it is printed: the
//! sample's own lines stage by stage, then a rollout in their place. Under load, each line is held to what stands behind
//! it. Only what a model of tests needs besides comes from a file.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::readme::{self, Readme};
use turnout_cluster::scene::{PRE_STOP_SECONDS, ROLLOUT};
use turnout_cluster::{Cluster, Image, SplitLoad, client, release, release_values};
use turnout_rollout::{Backend, ModelRollout, Weights};

const SECTION: &str = "## From the sample to Turnout";
/// As the charts' values have it.
const NAMESPACE: &str = "abtesting";
/// What the models are called, what they answer, and how long they take to load: who asks one before is refused.
const MODELS: [(&str, &str, u32); 2] = [("scoring-a", "New Model A", 0), ("scoring-b", "New Model B", 3000)];

pub(crate) fn the_samples_users_reach_green_100_as_printed(cluster: &Cluster) -> Result<()> {
    // The commands make what they need themselves.
    release::clear(cluster, NAMESPACE)?;
    let (readme, folder) = (Readme::read()?, tempfile::tempdir()?);
    readme.write_files(folder.path())?;
    let lines = readme.commands(SECTION)?;
    let installs = 1 + lines.iter().position(|line| line.contains("helm install")).context("nothing is installed")?;
    let (install, walk) = lines.split_at(installs);
    let gateway = SocketAddr::from((readme::run_in_a_cloud(cluster, folder.path(), install)?, 80));
    let mut load = None;
    for line in walk {
        let printed = readme::run(cluster, folder.path(), &with_a_model_of_tests(folder.path(), line)?)?;
        let Some((command, says)) = line.split_once(" # ") else { continue };
        if let Some(weights) = weights(says) {
            let load = match &mut load {
                Some(load) => load,
                none => none.insert(begin_load(cluster, gateway)?),
            };
            // Only a rollout ends when the gateways have the weights.
            let is_confirmed = command.contains("turnout rollout");
            if is_confirmed { load.check(says, weights) } else { load.settle(says, weights) }?;
        } else {
            let is_so = printed.lines().all(|answer| answer.contains(says.trim())) && !printed.is_empty();
            ensure!(is_so, "{line}\nprints\n{printed}");
        }
    }
    load.context("no line says what is so after it")?.finish()?;
    is_over(cluster)
}

/// The shares of green and blue, as `Blue_50: 50/50` or `50/50`.
fn weights(says: &str) -> Option<Weights> {
    let (green, blue) = says.rsplit(' ').next()?.split_once('/')?;
    Some(Weights { green: green.parse().ok()?, blue: blue.parse().ok()? })
}

/// Blue comes and goes, so nobody asks for it by name.
fn begin_load(cluster: &Cluster, gateway: SocketAddr) -> Result<SplitLoad<'_>> {
    release::await_answers(cluster, "green answers", |gateway| {
        let answer = client::get(gateway, "/score")?;
        ensure!(answer.status == 200 && answer.header("x-served-by-model") == Some("green"), "{answer:?}");
        Ok(())
    })?;
    SplitLoad::without_pins(cluster, gateway, "any.example")
}

/// The line, with the model of tests in the place of the one that it names: of another revision for each of them.
fn with_a_model_of_tests(folder: &Path, line: &str) -> Result<String> {
    for (model, answer, startup_ms) in MODELS {
        let named = format!("{}/{model}:dev", Image::registry());
        let Some((before, after)) = line.split_once(&named) else { continue };
        let colour = if before.contains("bluegreen=blue") { "blue" } else { "green" };
        let file = format!("{colour}-{model}.yaml");
        std::fs::write(folder.join(&file), values(colour, model, answer, startup_ms))?;
        return Ok(format!("{before}{} --values {file}{after}", Image::Model.reference()));
    }
    Ok(line.to_owned())
}

fn values(colour: &str, model: &str, answer: &str, startup_ms: u32) -> String {
    let startup_ms = startup_ms.to_string();
    let environment = [("MODEL_BACKEND", colour), ("MODEL_ANSWER", answer), ("MODEL_STARTUP_MS", &startup_ms)];
    let mut deployment = release_values(&format!("{model}-dev"), &environment);
    deployment["drain"] = json!({ "preStopSleepSeconds": PRE_STOP_SECONDS, "timeoutSeconds": 5 });
    deployment["resources"] =
        json!({ "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "256Mi" } });
    json!({ "deployment": deployment }).to_string()
}

/// The last image is the stable one, and nothing needs blue. Once its last pod is gone, whoever asks for blue is told so,
/// and never answered by the other one.
fn is_over(cluster: &Cluster) -> Result<()> {
    let rollout: ModelRollout = serde_json::from_value(cluster.get(NAMESPACE, "modelrollout", ROLLOUT)?)?;
    let status = rollout.status;
    ensure!(status.stable_revision.as_deref() == Some("scoring-a-dev"), "{status:#?}");
    ensure!(status.safe_to_remove.iter().all(|backend| *backend == Backend::Blue), "{status:#?}");
    release::await_answers(cluster, "blue is gone", |gateway| {
        let answer = client::request(gateway, "POST", "/score", &[("x-api-version", "blue")], "{}")?;
        let reason = answer.header("x-turnout-reason");
        ensure!(answer.status == 503 && reason == Some("backend_absent"), "{answer:?}");
        Ok(())
    })
}
