//! The pipeline as its YAML has it, with models of which one is better and one is worse. Of the worse one no request fails,
//! and nothing of its training tells; the pipeline's check does, by what a driver's risk has to be who speeds most of the way.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use turnout_cluster::{Cluster, client, readme};

use crate::scene::{Models, repository};
use crate::takeover::GREEN;

const FAST_DRIVER: &str = r#"{"data": [{"distance_km": 1500, "speeding_share": 0.7, "harsh_braking_per_100km": 2.4, "night_share": 0.3, "phone_minutes_per_hour": 5, "years_licensed": 2}]}"#;
/// A model that knows what speeding is says at least this.
const HIGH_RISK: &str = r#""risk": [0.9"#;
const PYTHON: &str = "target/pipelines-tools/bin/python";

const STAGES: [&str; 8] =
    ["Building", "Blue_Staging", "Blue_50", "Blue_100", "Set_Production_Tag", "Green_100", "Rollback", "Disable_blue"];

pub(crate) fn the_better_and_the_worse(cluster: &Cluster) -> Result<()> {
    let python = repository().join(PYTHON);
    ensure!(python.exists(), "{} is not there: run tests/pipelines/run", python.display());
    let models = Models::set(cluster, "driving", "safe-driving-a", &[])?;
    let mut load = models.load(FAST_DRIVER)?;
    load.check("only A is there", GREEN)?;
    ended_as(&models.walk("safe-driving-b")?, &["Rollback"], &[])?;
    load.check("B serves", GREEN)?;
    models.serves("B")?;

    let before = load.so_far()?.by_backend;
    let staged = ["Blue_50", "Blue_100", "Set_Production_Tag", "Green_100", "Disable_blue"];
    ended_as(&models.walk("safe-driving-c")?, &staged, &["Blue_Staging"])?;
    let after = load.so_far()?.by_backend;
    ensure!(before.get("blue") == after.get("blue"), "C was given users' requests: {before:?}, then {after:?}");
    load.check("C is turned back", GREEN)?;
    load.finish()?;
    models.serves("B")
}

/// What became of every stage: all have succeeded but these.
fn ended_as(stages: &BTreeMap<String, String>, skipped: &[&str], failed: &[&str]) -> Result<()> {
    for stage in STAGES {
        let wanted = match (skipped.contains(&stage), failed.contains(&stage)) {
            (true, _) => "Skipped",
            (_, true) => "Failed",
            _ => "Succeeded",
        };
        ensure!(stages.get(stage).is_some_and(|result| result == wanted), "{stage} is not {wanted}: {stages:#?}");
    }
    Ok(())
}

impl Models<'_> {
    /// Lets the pipeline roll an image out, and returns what became of its stages.
    fn walk(&self, image: &str) -> Result<BTreeMap<String, String>> {
        let folder = tempfile::tempdir()?;
        let results = folder.path().display();
        let (namespace, url) = (self.scene.namespace, format!("http://{}/score", self.scene.gateway));
        let line = format!(
            "K8S_AB_NAMESPACE={namespace} SCORE_URL={url} RESULTS={results} CHECK_DATA='{FAST_DRIVER}' \
             CHECK_EXPECT='{HIGH_RISK}' {PYTHON} tests/pipelines/pipeline run .pipelines/abtest.yml \
             --without .pipelines/login.sh --parameter requests=20 --parameter maxP99=30000 \
             --parameter image={} >{results}/said || true; cat {results}/said",
            self.registry.reference(image)?
        );
        readme::run(self.scene.cluster, &repository(), &line)?;
        let said = std::fs::read_to_string(folder.path().join("said"))?;
        let last = said.lines().last().context("the pipeline has said nothing")?;
        let mut ended: Value = serde_json::from_str(last).with_context(|| format!("the pipeline broke off: {said}"))?;
        Ok(serde_json::from_value(ended["stages"].take())?)
    }

    fn serves(&self, version: &str) -> Result<()> {
        let json = [("content-type", "application/json")];
        let answer = client::request(self.scene.gateway, "POST", "/score", &json, FAST_DRIVER)?;
        ensure!(answer.status == 200 && answer.json()?["version"] == version, "{answer:?}");
        Ok(())
    }
}
