//! The ModelRollout of `charts/abtest-istio` through the upgrades, rollbacks and the end of its release: what an upgrade
//! leaves out stays, what people have asked for is never the chart's, and no other release's rollout is touched.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, release, repository};

use crate::objects::{await_published, published};

const RELEASE: &str = "abtest";
/// What every line of this team says; its values' weights are those of no stage.
const TEAM: &str = "namespace=,ingress.hosts={kept.example},svc.port=80,weight.blue=70";
const STEPS: &str = "rollout.spec.steps[0].stage=Blue_0,rollout.spec.steps[0].require[0].pause=10m";

/// What comes of an upgrade: the fields of the spec that change, as JSON, or the refusal.
enum Then {
    Changes(&'static str),
    Refused(&'static str),
}
use Then::{Changes, Refused};

/// Upgrades one after the other, by their values.
const UPGRADES: [(&str, Then); 12] = [
    ("weight.green=30", Changes("{}")),
    ("rollout.enabled=true,STEPS", Changes(r#"{"steps": [{"stage": "Blue_0", "require": [{"pause": "10m"}]}]}"#)),
    ("weight.green=30", Changes("{}")),
    ("rollout.enabled=true,rollout.spec.onFailure=Rollback", Changes(r#"{"onFailure": "Rollback"}"#)),
    ("rollout.enabled=true,rollout.spec.onFailure=Never", Refused("spec.onFailure")),
    ("rollout.enabled=true,rollout.spec.onFaliure=Hold", Refused("'onFaliure' not allowed")),
    ("rollout.enabled=true,rollout.spec.steps[0].stage=Blue_120", Refused("spec.steps[0].stage")),
    ("rollout.enabled=true,rollout.spec.revision=r3", Refused("'revision' not allowed")),
    ("rollout.enabled=true,rollout.name=other", Refused("the rollout model governs the rule already")),
    ("weight.green=30", Changes("{}")),
    ("as=configmap,configMap.namespace=kept", Changes("{}")),
    ("rollout.enabled=true,rollout.spec.onFailure=Hold", Changes(r#"{"onFailure": "Hold"}"#)),
];

pub(crate) fn a_rollout_of_the_samples_chart_outlives_every_upgrade(cluster: &Cluster) -> Result<()> {
    let scene = Scene::prepare(cluster, "kept")?;
    release::install(cluster, scene.namespace, &["documents.source=objects", "crds.istio.install=true"])?;
    release::gateway(cluster)?;
    let team = Team { scene };
    team.upgrade(RELEASE, "weight.green=30")?;
    team.upgrade(RELEASE, "rollout.enabled=true")?;
    team.scene.start("r2")?;
    let begun = team.rollouts()?;
    team.goes_through_upgrades()?;
    team.goes_back(&begun)?;
    team.is_nobody_elses()?;
    team.has_another()?;
    team.leaves()
}

struct Team<'cluster> {
    scene: Scene<'cluster>,
}

impl Team<'_> {
    fn goes_through_upgrades(&self) -> Result<()> {
        for (number, (values, then)) in UPGRADES.into_iter().enumerate() {
            let mut expected = self.rollouts()?;
            let header = format!("x-upgrade-{number}");
            let said = self.upgrade(RELEASE, &format!("servedByHeader={header},{}", values.replace("STEPS", STEPS)));
            match then {
                Changes(fields) => {
                    said.with_context(|| values)?;
                    let fields: Value = serde_json::from_str(fields)?;
                    let spec = expected[0].spec.as_object_mut().context("a spec is an object")?;
                    spec.extend(fields.as_object().context("fields are an object")?.clone());
                    // In a ConfigMap nobody reads it here.
                    if !values.starts_with("as=") {
                        self.is_published(&header)?;
                    }
                }
                Refused(named) => is_refused(said, named)?,
            }
            self.has(&expected).with_context(|| values)?;
        }
        Ok(())
    }

    /// To the release without a rollout, and to the one that began it.
    fn goes_back(&self, begun: &[Rollout]) -> Result<()> {
        let before = self.rollouts()?;
        self.helm(&["rollback", RELEASE, "1", "--history-max", "0"])?;
        self.has(&before)?;
        self.is_in_the_release(&[])?;
        self.upgrade(RELEASE, "weight.green=30")?;
        self.is_in_the_release(&[ROLLOUT])?;
        self.has(&before)?;
        self.helm(&["rollback", RELEASE, "2", "--history-max", "0"])?;
        self.has(begun)?;
        self.upgrade(RELEASE, &format!("rollout.enabled=true,{STEPS}"))?;
        ensure!(self.rollouts()?[0].spec["steps"].is_array(), "{:#?}", self.rollouts()?);
        Ok(())
    }

    /// Another release over the same namespace.
    fn is_nobody_elses(&self) -> Result<()> {
        let before = self.rollouts()?;
        let own = "virtualService.name=other,ingress.name=other,ingress.hosts={other.example},svc.name=other";
        let refused = self.upgrade("other", &format!("{own},rollout.enabled=true,rollout.spec.onFailure=Rollback"));
        is_refused(refused, "cannot be imported into the current release")?;
        self.upgrade("other", own)?;
        self.has(&before)?;
        self.helm(&["uninstall", "other", "--wait"])?;
        self.has(&before)
    }

    /// The release gets a second model, and goes back to the first: it keeps the rollouts of both.
    fn has_another(&self) -> Result<()> {
        let first = self.rollouts()?;
        let other = "virtualService.name=other,svc.name=other";
        self.upgrade(RELEASE, &format!("{other},rollout.enabled=true,rollout.name=another"))?;
        let both = self.rollouts()?;
        ensure!(both.len() == 2 && both[1..] == first, "{both:#?}");
        for values in ["weight.green=30", "rollout.enabled=true", other] {
            self.upgrade(RELEASE, values)?;
            self.is_in_the_release(&["another", ROLLOUT])?;
            self.has(&both)?;
        }
        self.upgrade(RELEASE, "weight.green=30")?;
        self.scene.cluster.kubectl(&["delete", "modelrollout", "another", "--namespace", self.scene.namespace])?;
        self.upgrade(RELEASE, "weight.green=30")?;
        self.is_in_the_release(&[ROLLOUT])?;
        self.has(&first)
    }

    /// The rollout stays when the release goes, and is its own again when that is back. Deleted, it gives the weights back.
    fn leaves(&self) -> Result<()> {
        let before = self.rollouts()?;
        self.helm(&["uninstall", RELEASE, "--wait"])?;
        let routes = self.scene.cluster.list(self.scene.namespace, "gateways,virtualservices", "")?;
        ensure!(routes.is_empty(), "{routes:#?}");
        self.has(&before)?;
        self.upgrade(RELEASE, "servedByHeader=x-back")?;
        self.is_published("x-back")?;
        self.is_in_the_release(&[ROLLOUT])?;
        self.has(&before)?;
        self.scene.cluster.kubectl(&["delete", "modelrollout", ROLLOUT, "--namespace", self.scene.namespace])?;
        await_published(&self.scene, "weight: 70")?;
        self.upgrade(RELEASE, "weight.green=30")?;
        self.has(&[])
    }

    fn upgrade(&self, name: &str, values: &str) -> Result<()> {
        let chart = repository().join("charts/abtest-istio");
        let chart = chart.to_str().context("a path is text")?;
        self.helm(&["upgrade", name, chart, "--install", "--history-max", "0", "--set", TEAM, "--set", values])
    }

    fn helm(&self, words: &[&str]) -> Result<()> {
        self.scene.cluster.helm(&[words, &["--namespace", self.scene.namespace]].concat()).map(drop)
    }

    /// The ModelRollouts that are there, by their names.
    fn rollouts(&self) -> Result<Vec<Rollout>> {
        let listed = self.scene.cluster.list(self.scene.namespace, "modelrollouts", "")?;
        let rollout =
            |mut object: Value| Rollout { uid: object["metadata"]["uid"].take(), spec: object["spec"].take() };
        Ok(listed.into_iter().map(rollout).collect())
    }

    fn has(&self, expected: &[Rollout]) -> Result<()> {
        let there = self.rollouts()?;
        ensure!(there == expected, "there is {there:#?} and not {expected:#?}");
        Ok(())
    }

    /// What the release says that it has.
    fn is_in_the_release(&self, expected: &[&str]) -> Result<()> {
        let namespace = ["--namespace", self.scene.namespace];
        let manifest = self.scene.cluster.helm(&[&["get", "manifest", RELEASE], namespace.as_slice()].concat())?;
        let objects = serde_yaml::Deserializer::from_str(&manifest).map(Value::deserialize);
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        let rollouts = objects.iter().filter(|object| object["kind"] == "ModelRollout");
        let mut names: Vec<_> = rollouts.map(|own| own["metadata"]["name"].clone()).collect();
        names.sort_by_key(Value::to_string);
        ensure!(json!(names) == json!(expected), "{names:?} and not {expected:?}:\n{manifest}");
        Ok(())
    }

    /// The upgrade with this header is published, with the weights of `Blue_0` and not with those of its values.
    fn is_published(&self, header: &str) -> Result<()> {
        await_published(&self.scene, header)?;
        let published = published(self.scene.cluster)?;
        ensure!(published.contains("weight: 100") && !published.contains("weight: 70"), "{published}");
        Ok(())
    }
}

fn is_refused(said: Result<()>, named: &str) -> Result<()> {
    let said = format!("{:#}", said.err().with_context(|| format!("nobody refuses {named}"))?);
    ensure!(said.contains(named), "{named}: {said}");
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Rollout {
    uid: Value,
    spec: Value,
}
