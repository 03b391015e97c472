//! Leaving Istio: the same VirtualService is served by istiod and Envoy, then by Turnout beside them, then by Turnout
//! alone. Whoever asks the same gets the same answer each time, and the object stays as it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use turnout_cluster::istio::Istio;
use turnout_cluster::{Cluster, client};
use turnout_rollout::{Mode, Weights};

use crate::measure::Load;
use crate::release;
use crate::scene::Scene;

const DEADLINE: Duration = Duration::from_mins(2);
/// The weights of `routes.yaml`.
const WRITTEN: Weights = Weights { green: 70, blue: 30 };

/// Headers that say who or when, and not what: those of the gateways themselves, and the pod that happened to answer.
const NOT_COMPARED: [&str; 6] =
    ["connection", "content-length", "date", "server", "x-pod", "x-envoy-upstream-service-time"];
/// An answer that a gateway makes because it has none of a model: Turnout's says why, in headers and a body of JSON.
const OWN_FAILURES: [u16; 2] = [404, 503];

pub(crate) fn changes_no_answer(cluster: &Cluster) -> Result<()> {
    let istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, "leaving")?;
    scene.deploy("green", "r1")?;
    scene.deploy("blue", "r2")?;
    let host = scene.host();
    let envoy = istio.gateway(80)?;
    await_models(cluster, envoy, &host)?;
    let expected = answers(envoy, &host)?;
    measure(cluster, envoy, &host, "Envoy")?;
    let written = scene.routes()?;

    release::install(cluster, scene.namespace, &["documents.source=objects", "gateway.replicas=1"])?;
    release::await_gateway(cluster)?;
    let turnout = SocketAddr::from((cluster.give_address(release::NAMESPACE, release::GATEWAY)?, 80));
    await_models(cluster, turnout, &host)?;
    compare("Turnout beside Istio", &answers(turnout, &host)?, &expected)?;
    measure(cluster, turnout, &host, "Turnout beside Istio")?;

    let mut load = Load::start(cluster, turnout, &host)?;
    istio.down()?;
    load.check("Turnout alone", WRITTEN)?;
    compare("Turnout alone", &answers(turnout, &host)?, &expected)?;
    scene.begin(Mode::Gateway, "r2", "Blue_50")?;
    load.check("Blue_50 of Turnout", Weights { green: 50, blue: 50 })?;
    load.finish()?;
    let last = scene.routes()?;
    for part in ["/spec", "/metadata/annotations", "/metadata/labels"] {
        ensure!(last.pointer(part) == written.pointer(part), "the object has changed:\n{written}\n{last}");
    }
    Ok(())
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

const TABLE: [Ask; 38] = [
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
    get("/models/abc/score"),
    get("/models/abc/score?a=b"),
    get("/models/ABC/score"),
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
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

fn answers(gateway: SocketAddr, host: &str) -> Result<Vec<Answer>> {
    TABLE.iter().map(|ask| answer(gateway, host, ask)).collect()
}

fn answer(gateway: SocketAddr, host: &str, ask: &Ask) -> Result<Answer> {
    let mut headers = vec![("host", ask.host.unwrap_or(host))];
    headers.extend(ask.header);
    let response = client::request(gateway, ask.method, ask.path, &headers, "")?;
    let mut answer = Answer { status: response.status, headers: BTreeMap::new(), body: Value::Null };
    let is_of_a_model = response.header("x-served-by").is_some();
    if OWN_FAILURES.contains(&response.status) && !is_of_a_model {
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

fn compare(when: &str, seen: &[Answer], expected: &[Answer]) -> Result<()> {
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
fn await_models(cluster: &Cluster, gateway: SocketAddr, host: &str) -> Result<()> {
    cluster.wait_until("the gateway reaches both models", DEADLINE, || {
        for ask in &TABLE[..2] {
            let answer = answer(gateway, host, ask)?;
            ensure!(answer.status == 200, "{ask:?}: {answer:?}");
        }
        Ok(())
    })
}

fn measure(cluster: &Cluster, gateway: SocketAddr, host: &str, when: &str) -> Result<()> {
    let mut load = Load::start(cluster, gateway, host)?;
    load.check(when, WRITTEN)?;
    load.finish()
}
