//! The recorded cases of the sample's scenario, asked of gateways of this cluster that serve the objects of the sample's own
//! chart: who answers, by which the two rules with a header and the split are told apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use turnout_cluster::{Cluster, client};

const CASES: &str = include_str!("../../../parity/cases/seed-scenario.yaml");
/// Those that stages of the sample differ by: blue's weight, of 100.
const STAGES: [(&str, u32); 3] = [("stage-blue-staging", 0), ("stage-blue-50", 50), ("stage-blue-100", 100)];
const DEADLINE: Duration = Duration::from_mins(2);

/// The cases, and where the sample's objects are.
pub(crate) struct Recorded<'cluster> {
    cluster: &'cluster Cluster,
    namespace: &'static str,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    send: Send,
    expect: Expect,
}

#[derive(Debug, Deserialize)]
struct Send {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default = "one")]
    count: u32,
}

#[derive(Deserialize)]
struct Expect {
    backend: Option<String>,
    #[serde(default)]
    shares: BTreeMap<String, f64>,
    #[serde(default)]
    tolerance: f64,
}

fn get() -> String {
    "GET".to_owned()
}

fn one() -> u32 {
    1
}

impl<'cluster> Recorded<'cluster> {
    pub(crate) fn read(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        let File { cases } = serde_yaml::from_str(CASES)?;
        Ok(Self { cluster, namespace, cases })
    }

    /// Gives the sample's objects the weights of each stage, and waits until all these gateways answer as was recorded.
    pub(crate) fn ask(&self, when: &str, gateways: &[SocketAddr]) -> Result<()> {
        for (name, blue) in STAGES {
            self.write(blue)?;
            let case = self.cases.iter().find(|case| case.name == name).with_context(|| format!("no case {name}"))?;
            for gateway in gateways {
                let as_recorded = || case.requests.iter().try_for_each(|request| request.ask(*gateway));
                self.cluster.wait_until(&format!("{when}: {name}"), DEADLINE, as_recorded)?;
            }
            println!("{when}: {} requests of {name} are answered as was recorded", case.requests.len());
        }
        Ok(())
    }

    /// Gives the sample's objects this weight of blue, of 100.
    pub(crate) fn write(&self, blue: u32) -> Result<()> {
        let chart = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/abtest-istio"));
        let chart = chart.to_str().context("a path is text")?;
        let values = format!("svc.port=80,weight.green={},weight.blue={blue}", 100 - blue);
        let line = ["upgrade", "--install", "abtest-istio", chart, "--namespace", self.namespace, "--set", &values];
        self.cluster.helm(&line).map(drop)
    }
}

impl Request {
    fn ask(&self, gateway: SocketAddr) -> Result<()> {
        let Send { method, path, headers, body, count } = &self.send;
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..*count {
            let answer = client::request(gateway, method, path, &headers, body)?;
            *seen.entry(answer.header("x-served-by-model").unwrap_or_default().to_owned()).or_default() += 1;
        }
        let shares = match &self.expect.backend {
            Some(backend) => &BTreeMap::from([(backend.clone(), 1.0)]),
            None => &self.expect.shares,
        };
        let is_so = seen.keys().all(|backend| shares.contains_key(backend))
            && shares.iter().all(|(backend, share)| {
                let share_seen = f64::from(seen.get(backend).copied().unwrap_or_default()) / f64::from(*count);
                let tolerance = if *share < 1.0 { self.expect.tolerance } else { 0.0 };
                (share_seen - share).abs() <= tolerance
            });
        ensure!(is_so, "{:?}: {shares:?} was recorded, {seen:?} is seen", self.send);
        Ok(())
    }
}
