//! Each right is taken from the controller by itself: what then cannot be done is said, in the rollout's condition where
//! the right to write that is left and by `turnout check` in any case. Nothing is lost, and with the right the work goes
//! on by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::Scene;
use turnout_cluster::{Cluster, Model, release};
use turnout_rollout::{ConditionStatus, ConditionType};

const DEADLINE: Duration = Duration::from_mins(2);

/// Where a right holds, and so which role gives it.
#[derive(Clone, Copy)]
enum Where {
    Home,
    Governed,
}

/// A right.
#[derive(Clone, Copy)]
struct Right {
    place: Where,
    verb: &'static str,
    resource: &'static str,
    /// The rule's `resourceNames`, where it has some.
    name: Option<&'static str>,
    /// A rollout says so itself.
    told: bool,
}

const fn at_home(verb: &'static str, resource: &'static str, name: Option<&'static str>, told: bool) -> Right {
    Right { place: Where::Home, verb, resource, name, told }
}

const fn governed(verb: &'static str, resource: &'static str, told: bool) -> Right {
    Right { place: Where::Governed, verb, resource, name: None, told }
}

/// Those that work depends on. Without the right to lead, to read rollouts or to write what is to be told, nothing can be
/// told in a rollout.
const RIGHTS: [Right; 15] = [
    at_home("get", "leases", Some("turnout-controller"), false),
    at_home("update", "leases", Some("turnout-controller"), false),
    at_home("get", "configmaps", Some(release::ROUTES), true),
    at_home("update", "configmaps", Some(release::ROUTES), true),
    at_home("get", "configmaps", Some(turnout_cluster::scene::DOCUMENTS), true),
    at_home("list", "endpointslices", None, true),
    at_home("patch", "pods", None, true),
    governed("list", "modelrollouts", false),
    governed("update", "modelrollouts/status", false),
    governed("list", "services", true),
    governed("create", "services", true),
    governed("list", "endpointslices", true),
    governed("list", "pods", true),
    governed("list", "deployments", true),
    governed("create", "events", false),
];

pub(crate) fn a_missing_right_is_said_and_costs_nothing(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "rights", &[])?;
    scene.advance_to("Blue_50")?;
    let before = scene.status()?;
    let mut load = scene.load()?;
    for (number, right) in RIGHTS.iter().enumerate() {
        let place = format!("{} {}", right.verb, right.resource);
        let rules = take(&scene, *right).with_context(|| place.clone())?;
        // New work: another route, to another Service.
        let extra = format!("extra-{number}");
        add_route(&scene, &extra)?;
        let said = await_complaint(&scene, *right).with_context(|| place.clone())?;
        println!("without {place}: {said}");
        set_rules(&scene, *right, &rules)?;
        await_recovery(&scene, &extra).with_context(|| place.clone())?;
    }
    load.check("all rights are back", turnout_rollout::Weights { green: 50, blue: 50 })?;
    load.finish()?;
    let after = scene.status()?;
    ensure!((after.stage, after.history) == (before.stage, before.history), "the rollout has moved");
    Ok(())
}

/// The namespace and name of the Role that gives it.
fn role(right: Right) -> (&'static str, String) {
    let controller = release::CONTROLLER;
    match right.place {
        Where::Home => (release::NAMESPACE, controller.to_owned()),
        Where::Governed => ("rights", format!("{controller}-rollouts")),
    }
}

/// Takes it away; returns the rules as they were.
fn take(scene: &Scene<'_>, right: Right) -> Result<Value> {
    let (namespace, name) = role(right);
    let before = scene.cluster.get(namespace, "role", &name)?["rules"].take();
    let mut rules = before.clone();
    let is_meant = |rule: &&mut Value| {
        let resources = rule["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = rule["resourceNames"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named = right.name.map_or(names.is_empty(), |name| names.contains(&json!(name)));
        is_named && resources.contains(&json!(right.resource))
    };
    for rule in rules.as_array_mut().context("a Role has rules")?.iter_mut().filter(is_meant) {
        rule["verbs"].as_array_mut().context("a rule has verbs")?.retain(|verb| verb != right.verb);
    }
    // A rule without a verb is none.
    rules.as_array_mut().context("a Role has rules")?.retain(|rule| rule["verbs"] != json!([]));
    ensure!(rules != before, "there is no such right: {before}");
    set_rules(scene, right, &rules)?;
    Ok(before)
}

fn set_rules(scene: &Scene<'_>, right: Right, rules: &Value) -> Result<()> {
    let (namespace, name) = role(right);
    scene.cluster.patch(namespace, "role", &name, &json!({ "rules": rules }))
}

/// A Service without pods, and a route to it.
fn add_route(scene: &Scene<'_>, service: &str) -> Result<()> {
    let model = Model::new(service, "extra", "Extra", "r1");
    scene.cluster.apply(scene.namespace, &model.service().to_string())?;
    let rule = format!("    - name: {service}\n      match: [{{uri: {{prefix: /{service}}}}}]\n");
    let rule = format!("{rule}      route: [{{destination: {{host: {service}}}}}]\n");
    let routes = scene.routes(100, 0).replace("    - name: split\n", &format!("{rule}    - name: split\n"));
    scene.write_documents(&routes)
}

fn await_complaint(scene: &Scene<'_>, right: Right) -> Result<String> {
    let wanted = format!("{} {}", right.verb, right.resource);
    scene.cluster.wait_until("`turnout check` names the right", DEADLINE, || {
        let ran = scene.run_turnout(&["check", "--gateway-namespace", release::NAMESPACE])?;
        let printed = String::from_utf8_lossy(&ran.stdout);
        ensure!(ran.status.code() == Some(1) && printed.contains(&wanted), "{:?}: {printed}", ran.status);
        Ok(())
    })?;
    if !right.told {
        return Ok("`turnout check` says so".to_owned());
    }
    scene.cluster.wait_until("the rollout names the right", DEADLINE, || {
        let status = scene.status()?;
        let condition = status.condition(ConditionType::Operational).context("nothing is said")?;
        let is_said = condition.reason == "Forbidden" && condition.message.contains(right.resource);
        ensure!(is_said && condition.status == ConditionStatus::False, "{condition:?}");
        Ok(condition.message.clone())
    })
}

/// Nothing is said any more, and the new route is served.
fn await_recovery(scene: &Scene<'_>, service: &str) -> Result<()> {
    scene.cluster.wait_until("the work goes on", DEADLINE, || {
        let status = scene.status()?;
        let condition = status.condition(ConditionType::Operational);
        ensure!(condition.is_none_or(|condition| condition.status != ConditionStatus::False), "{condition:?}");
        let routes = scene.cluster.get(release::NAMESPACE, "configmap", release::ROUTES)?;
        ensure!(routes["data"].to_string().contains(service), "{service} is not published");
        Ok(())
    })
}
