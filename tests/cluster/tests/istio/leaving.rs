//! Leaving Istio, by README's commands: the same objects are served by istiod and Envoy, then by Turnout beside them, then
//! by Turnout alone, which goes on with the rollout that Istio mode has begun; and back. Whoever asks the same gets the same
//! answer each time. What Turnout does not support is said before anything moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::client::{self, Response};
use turnout_cluster::istio::Istio;
use turnout_cluster::{Cluster, SplitLoad, release};
use turnout_rollout::{Mode, Weights};

use crate::recorded::Recorded;
use crate::returning;
use crate::scene::Scene;
use crate::way::Way;

/// README's.
const NAMESPACE: &str = "abtesting";
const DEADLINE: Duration = Duration::from_mins(2);
const REACHES_BOTH: &str = "both models are reached";
/// The weights of `routes.yaml`.
const WRITTEN: Weights = Weights { green: 70, blue: 30 };
const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
/// The rule of `routes.yaml` that Istio serves and Turnout's gateway does not.
const UNSUPPORTED: usize = 9;

/// Headers that say who or when, and not what: those of the gateways themselves, and the pod that happened to answer.
const NOT_COMPARED: [&str; 6] =
    ["connection", "content-length", "date", "server", "x-pod", "x-envoy-upstream-service-time"];
/// What a gateway answers for want of a model. Turnout's answer has more headers than Envoy's, and a body.
const FAILURES: [u16; 2] = [404, 503];

pub(crate) fn changes_no_answer(cluster: &Cluster) -> Result<()> {
    let istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, NAMESPACE)?;
    scene.deploy("green", "r1")?;
    scene.deploy("blue", "r2")?;
    let mut way = Way::new(cluster)?;
    let turnout = way.install()?;
    refuse(&mut way, &scene)?;
    let (host, envoy, recorded) = (scene.host(), istio.gateway(80)?, Recorded::read(cluster, NAMESPACE)?);

    recorded.ask("Envoy, and Turnout beside it", &[envoy, turnout])?;
    await_models(cluster, envoy, &host)?;
    let expected = answers(envoy, &host)?;
    println!("Envoy: {}", account(&expected));
    measure(cluster, envoy, &host, "Envoy")?;
    release::await_answers(cluster, REACHES_BOTH, |gateway| reaches_both(gateway, &host))?;
    compare("Turnout beside Istio", &answers(turnout, &host)?, &expected)?;
    measure(cluster, turnout, &host, "Turnout beside Istio")?;

    scene.begin(Mode::Istio, "r1", "Green_100")?;
    let mut load = SplitLoad::start(cluster, turnout, &host)?;
    load.settle("Green_100 of Istio mode", GREEN)?;
    istio.down()?;
    ensure!(client::get(envoy, "/score").is_err(), "Envoy is still there");
    load.check("Turnout alone", GREEN)?;
    compare("Turnout alone", &answers(turnout, &host)?, &expected)?;
    let left = scene.routes()?;
    way.next(r#""mode": "Gateway""#)?;
    scene.roll_out("r2", "Blue_50")?;
    load.check("Blue_50 of Turnout", HALF)?;
    for line in ["kubectl get", "turnout lint", "kubectl create", "documents.source=configmap"] {
        way.next(line)?;
    }
    load.check("Blue_50 of the copy", HALF)?;
    let last = scene.routes()?;
    for part in ["/spec", "/metadata/annotations", "/metadata/labels"] {
        ensure!(last.pointer(part) == left.pointer(part), "Turnout has changed the object:\n{left}\n{last}");
    }
    load.finish()?;
    returning::changes_no_answer(cluster, &scene, way, (turnout, &expected), &recorded)
}

/// The author of the VirtualService is told which rule has to go first.
fn refuse(way: &mut Way<'_>, scene: &Scene<'_>) -> Result<()> {
    let what = format!("spec.http[{UNSUPPORTED}].retries.retryRemoteLocalities: not supported by the gateway");
    scene.cluster.wait_until("the status of the VirtualService names what is not supported", DEADLINE, || {
        let conditions = scene.routes()?["status"]["conditions"].to_string();
        ensure!(conditions.contains(&what), "its conditions are {conditions}");
        Ok(())
    })?;
    let said = way.next("turnout check").err().context("it finds nothing")?.to_string();
    ensure!(said.contains(&what), "{said}");
    scene.change_routes(&json!([{"op": "remove", "path": format!("/spec/http/{UNSUPPORTED}")}]))
}

/// One request of the table, by which only one backend, or none, can be meant.
#[derive(Clone, Copy, Debug, Default)]
struct Ask {
    method: &'static str,
    path: &'static str,
    header: Option<(&'static str, &'static str)>,
    /// In place of the scene's host.
    host: Option<&'static str>,
}

const fn get(path: &'static str) -> Ask {
    Ask { method: "GET", path, header: None, host: None }
}

impl Ask {
    const fn with(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    const fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    const fn host(self, host: &'static str) -> Self {
        Self { host: Some(host), ..self }
    }
}

const TABLE: [Ask; 43] = [
    get("/score").with("x-api-version", "blue"),
    get("/score").with("x-api-version", "green"),
    get("/score").with("X-API-Version", "blue"),
    get("/score").by("POST").with("x-api-version", "blue"),
    get("/score").by("PUT").with("x-api-version", "green"),
    get("/score?debug=0&x=%20y").with("x-api-version", "green"),
    get("/scoreboard").with("x-api-version", "blue"),
    get("/score/").with("x-api-version", "blue"),
    get("/%73core").with("x-api-version", "green"),
    get("/other/../score").with("x-api-version", "blue"),
    get("//score").with("x-api-version", "blue"),
    get("/Score").with("x-api-version", "blue"),
    get("/moved"),
    get("/moved").by("POST"),
    get("/moved?a=b"),
    get("/moved/"),
    get("/search/x"),
    get("/search/x?y=z"),
    get("/search"),
    get("/about"),
    get("/about?why=1"),
    get("/about").by("POST"),
    get("/v2/score"),
    get("/v2/"),
    get("/v2"),
    get("/v2/control/seen?value=x%20%26y"),
    get("/v2/control/a%20b?value=1").by("POST"),
    get("/models/abc/score"),
    get("/models/ABC/score"),
    get("/models/abc/control/seen"),
    get("/models/abc/control/seen?a=b"),
    get("/compare/score"),
    get("/compare/control/seen?value=7"),
    get("/score?debug=1"),
    get("/score?a=b&debug=1").by("POST"),
    get("/score").with("user-agent", "probe/7"),
    get("/TENANTS").with("x-tenant", "a12"),
    get("/tenants/7").with("x-tenant", "b"),
    get("/tenants/7").with("x-tenant", "c"),
    get("/broken/or/not"),
    get("/nobody"),
    get("/"),
    get("/score").with("x-api-version", "blue").host("elsewhere.example"),
];

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    status: u16,
    /// No model was asked.
    is_failure: bool,
    headers: BTreeMap<String, String>,
    body: Value,
}

pub(crate) fn answers(gateway: SocketAddr, host: &str) -> Result<Vec<Answer>> {
    TABLE.iter().map(|ask| answer(gateway, host, ask)).collect()
}

fn answer(gateway: SocketAddr, host: &str, ask: &Ask) -> Result<Answer> {
    let mut headers = vec![("host", ask.host.unwrap_or(host))];
    headers.extend(ask.header);
    let response = client::request(gateway, ask.method, ask.path, &headers, "")?;
    let is_failure = is_failure(&response);
    let mut answer = Answer { status: response.status, is_failure, headers: BTreeMap::new(), body: Value::Null };
    if is_failure {
        return Ok(answer);
    }
    let compared = response.headers.iter().filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
    answer.headers = compared.cloned().collect();
    answer.body = response.json().unwrap_or_else(|_| response.body.clone().into());
    if let Some(body) = answer.body.as_object_mut() {
        body.remove("pod");
    }
    Ok(answer)
}

/// Turnout says why there is no answer of a model, and Envoy says how long each that there is has taken.
fn is_failure(response: &Response) -> bool {
    let is_own = match response.header("server") {
        Some("istio-envoy") => response.header("x-envoy-upstream-service-time").is_none(),
        _ => response.header("x-turnout-reason").is_some(),
    };
    is_own && FAILURES.contains(&response.status)
}

/// How many answers there are of each status, by models and by rules, and for want of a model.
fn account(answers: &[Answer]) -> String {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for answer in answers {
        *counts.entry((answer.status, answer.is_failure)).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|((status, is_failure), count)| {
            format!("{count} of status {status}{}", if is_failure { " for want of a model" } else { "" })
        })
        .collect();
    counts.join(", ")
}

pub(crate) fn compare(when: &str, seen: &[Answer], expected: &[Answer]) -> Result<()> {
    let pairs = TABLE.iter().zip(seen.iter().zip(expected));
    let others: Vec<_> = pairs
        .filter(|(_, (seen, expected))| seen != expected)
        .map(|(ask, (seen, expected))| format!("{ask:?}\n  Envoy:   {expected:?}\n  Turnout: {seen:?}"))
        .collect();
    ensure!(others.is_empty(), "{when}: {} of {} answers differ:\n{}", others.len(), TABLE.len(), others.join("\n"));
    println!("{when}: {} answers are those of Envoy", TABLE.len());
    Ok(())
}

/// The gateway has the routes, and knows endpoints of both models.
pub(crate) fn await_models(cluster: &Cluster, gateway: SocketAddr, host: &str) -> Result<()> {
    cluster.wait_until(REACHES_BOTH, DEADLINE, || reaches_both(gateway, host))
}

fn reaches_both(gateway: SocketAddr, host: &str) -> Result<()> {
    for ask in &TABLE[..2] {
        let answer = answer(gateway, host, ask)?;
        ensure!(answer.status == 200, "{ask:?}: {answer:?}");
    }
    Ok(())
}

/// The split is the one that is written.
fn measure(cluster: &Cluster, gateway: SocketAddr, host: &str, when: &str) -> Result<()> {
    let mut load = SplitLoad::start(cluster, gateway, host)?;
    load.check(when, WRITTEN)?;
    load.finish()
}
