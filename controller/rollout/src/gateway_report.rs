//! A gateway as it reports itself, from the two pages of its status port that a driver reads: `/revision` says what it
//! serves, `/backends` what each backend has there. How the pages were fetched is no business of this crate.

use crate::hosts::full_host;
use crate::observation::{GatewayObservation, Load, Rejection};
use crate::resource::ModelRollout;
use crate::weights::Backend;
use serde::Deserialize;
use std::collections::BTreeMap;
use turnout_routes::documents::{Action, Document};
use turnout_routes::router::Origin;

/// A gateway; nothing but its name is known of one that lives and cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayReport {
    id: String,
    serving: bool,
    answers: bool,
    active: Option<String>,
    rejected: Option<Rejection>,
    language: Option<u32>,
    warnings: Vec<String>,
    backends: Vec<BackendReport>,
    /// Where in `backends` those of a host are.
    by_host: BTreeMap<String, Vec<usize>>,
}

/// A backend at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendReport {
    /// `host:port` or `host:port/subset`.
    pub backend: String,
    /// How many endpoints the gateway knows of.
    pub endpoints: u32,
    /// Which addresses these are: the same number for the same set.
    pub endpoints_digest: u64,
    /// What each rule gives it; a rule that gives it nothing is left out.
    pub weights: Vec<RouteWeight>,
    /// The requests that it has not yet answered, by the rule that sent them there.
    pub in_flight: Vec<RouteRequests>,
}

/// What a rule gives a backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RouteWeight {
    /// Where the rule stands, as `abtesting/model spec.http[2] (name)`.
    pub route: String,
    /// Its share.
    pub weight: u32,
}

/// The requests of a rule at a backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRequests {
    /// Where the rule stood when they came.
    pub route: String,
    /// Weights chose the backend; else the rule named no other.
    pub by_weight: bool,
    /// How many there are.
    pub requests: u64,
}

/// What documents and rollouts call a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendName<'a> {
    /// In full and in lower case.
    pub host: &'a str,
    /// The service's port; any, if none.
    pub port: Option<u16>,
    /// The subset; the whole service, if none.
    pub subset: Option<&'a str>,
}

impl BackendName<'_> {
    /// Whether a gateway that says `host:port` or `host:port/subset` means it.
    fn is_called(&self, name: &str) -> bool {
        let (host, port, subset) = parts(name);
        host == self.host && subset == self.subset && self.port.is_none_or(|wanted| port == wanted.to_string())
    }
}

/// Host, port and subset of what a gateway calls a backend.
fn parts(name: &str) -> (&str, &str, Option<&str>) {
    let (address, subset) = match name.split_once('/') {
        Some((address, subset)) => (address, Some(subset)),
        None => (name, None),
    };
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host, port, subset)
}

/// Why a gateway's answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum GatewayReportError {
    /// A page is not what a gateway answers.
    #[error("gateway {id}: it does not answer to {page} as a gateway of this version does: {error}")]
    Page {
        /// The gateway.
        id: String,
        /// The page.
        page: &'static str,
        /// What is wrong.
        #[source]
        error: serde_json::Error,
    },
}

/// `/revision`. What newer gateways say besides is read over.
#[derive(Deserialize)]
struct RevisionAnswer {
    active: Option<String>,
    rejected: Option<RejectedAnswer>,
    language: Option<u32>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// `/backends`.
#[derive(Deserialize)]
struct BackendsAnswer {
    revision: Option<String>,
    backends: Vec<BackendReport>,
}

#[derive(Deserialize)]
struct RejectedAnswer {
    revision: String,
    reason: String,
}

/// The revision that a gateway serves, by the body of its `/revision`.
pub fn active_revision(revision_json: &[u8]) -> Option<String> {
    serde_json::from_slice::<RevisionAnswer>(revision_json).ok()?.active
}

impl GatewayReport {
    /// Reads the bodies of `/revision` and `/backends`. `id` is what people call the gateway, as its pod's name.
    pub fn parse(id: String, revision_json: &[u8], backends_json: &[u8]) -> Result<Self, GatewayReportError> {
        let (answer, page): (RevisionAnswer, BackendsAnswer) =
            match (serde_json::from_slice(revision_json), serde_json::from_slice(backends_json)) {
                (Ok(answer), Ok(page)) => (answer, page),
                (Err(error), _) => return Err(GatewayReportError::Page { id, page: "/revision", error }),
                (_, Err(error)) => return Err(GatewayReportError::Page { id, page: "/backends", error }),
            };
        let mut by_host: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, report) in page.backends.iter().enumerate() {
            by_host.entry(parts(&report.backend).0.to_owned()).or_default().push(index);
        }
        let rejection = |rejected: RejectedAnswer| Rejection { revision: rejected.revision, reason: rejected.reason };
        Ok(Self {
            id,
            serving: true,
            answers: true,
            // One that takes up routes between the two pages has said nothing of either.
            active: answer.active.filter(|active| page.revision.as_ref() == Some(active)),
            rejected: answer.rejected.map(rejection),
            language: answer.language,
            warnings: answer.warnings,
            backends: page.backends,
            by_host,
        })
    }

    /// A gateway that lives and cannot be read.
    pub fn silent(id: String) -> Self {
        Self {
            id,
            serving: true,
            answers: false,
            active: None,
            rejected: None,
            language: None,
            warnings: Vec::new(),
            backends: Vec::new(),
            by_host: BTreeMap::new(),
        }
    }

    /// The same gateway, which takes no new connections any more: what it has in flight counts, what it serves does not.
    #[must_use]
    pub fn draining(self) -> Self {
        Self { serving: false, ..self }
    }

    /// What people call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It has said all that.
    pub fn answers(&self) -> bool {
        self.answers
    }

    /// The revision that all of its workers have.
    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    /// The revision that it refuses.
    pub fn rejected(&self) -> Option<&Rejection> {
        self.rejected.as_ref()
    }

    /// The version of the route language that it understands.
    pub fn language(&self) -> Option<u32> {
        self.language
    }

    /// What it finds doubtful about its routes, ports and certificates.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All backends that it has.
    pub fn backends(&self) -> &[BackendReport] {
        &self.backends
    }

    /// A backend at this gateway, with the largest weight that any rule gives it.
    pub fn load(&self, backend: &BackendName<'_>) -> Load {
        self.load_in(backend, None)
    }

    /// The gateway as the decision about a rollout with these rules needs it.
    pub fn observe(&self, rules: &RolloutRules, rollout: &ModelRollout) -> GatewayObservation {
        let load = |backend: Backend| self.load_in(&name_of(rollout, backend).name(), Some(rules));
        GatewayObservation {
            id: self.id.clone(),
            serving: self.serving,
            answers: self.answers,
            active: self.active.clone(),
            rejected: self.rejected.clone(),
            green: load(Backend::Green),
            blue: load(Backend::Blue),
        }
    }

    /// Whether the endpoints that it has for a backend are exactly those with this digest, wherever it knows the backend.
    pub fn knows_endpoints(&self, rollout: &ModelRollout, backend: Backend, digest: u64) -> bool {
        self.of(&name_of(rollout, backend).name()).all(|report| report.endpoints_digest == digest)
    }

    fn of(&self, backend: &BackendName<'_>) -> impl Iterator<Item = &BackendReport> {
        let of_host = self.by_host.get(backend.host).into_iter().flatten().map(|index| &self.backends[*index]);
        of_host.filter(move |report| backend.is_called(&report.backend))
    }

    /// Of the rollout with these rules, or of all rules without.
    fn load_in(&self, backend: &BackendName<'_>, rules: Option<&RolloutRules>) -> Load {
        let mut load = Load::default();
        for report in self.of(backend) {
            let given = report.weights.iter().filter(|given| rules.is_none_or(|rules| rules.is_split(&given.route)));
            load.weight = given.map(|given| given.weight).fold(load.weight, u32::max);
            load.endpoints = load.endpoints.saturating_add(report.endpoints);
            for sent in &report.in_flight {
                load.in_flight = load.in_flight.saturating_add(sent.requests);
                if sent.by_weight && rules.is_none_or(|rules| sent.route.starts_with(&rules.own)) {
                    load.in_flight_by_split = load.in_flight_by_split.saturating_add(sent.requests);
                }
            }
        }
        load
    }
}

/// A backend's full name, of which [`BackendName`] borrows.
struct FullName<'a> {
    host: String,
    port: Option<u16>,
    subset: Option<&'a str>,
}

impl FullName<'_> {
    fn name(&self) -> BackendName<'_> {
        BackendName { host: &self.host, port: self.port, subset: self.subset }
    }
}

fn name_of(rollout: &ModelRollout, backend: Backend) -> FullName<'_> {
    let reference = rollout.spec.backend(backend);
    let host = full_host(&reference.host, rollout.route_namespace());
    FullName { host, port: reference.port, subset: reference.subset.as_deref() }
}

/// The rules of a rollout's VirtualService, as gateways name them.
#[derive(Clone, Debug)]
pub struct RolloutRules {
    /// How they all begin.
    own: String,
    /// Those that split: their weights are the rollout's.
    splits: Vec<String>,
}

impl RolloutRules {
    /// In these documents: those that are published.
    pub fn of(documents: &[Document], rollout: &ModelRollout) -> Self {
        let (namespace, name) = (rollout.route_namespace(), rollout.spec.route.virtual_service.as_str());
        let mut rules = Self { own: format!("{namespace}/{name} "), splits: Vec::new() };
        for document in documents {
            let Document::VirtualService(service) = document else { continue };
            if service.metadata.name != name || service.metadata.namespace != namespace {
                continue;
            }
            for (http, rule) in service.http.iter().enumerate() {
                let splits =
                    matches!(&rule.action, Action::Forward(forward) if forward.destinations.as_slice().len() > 1);
                if splits {
                    let (namespace, virtual_service) = (namespace.to_owned(), name.to_owned());
                    let origin =
                        Origin { namespace, virtual_service, http, name: rule.name.clone(), delegated_by: None };
                    rules.splits.push(origin.to_string());
                }
            }
        }
        rules
    }

    fn is_split(&self, route: &str) -> bool {
        self.splits.iter().any(|split| split == route)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::rollout;
    use serde_json::json;
    use turnout_routes::{Source, parse};

    /// Blue is pinned by a header, then split.
    const DOCUMENTS: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: model, namespace: abtesting}
spec:
  hosts: [m.example]
  http:
  - match: [{headers: {x-api-version: {exact: blue}}}]
    route: [{destination: {host: model-svc-blue, port: {number: 5001}}}]
  - route:
    - {destination: {host: model-svc-green, port: {number: 5001}}, weight: 80}
    - {destination: {host: model-svc-blue, port: {number: 5001}}, weight: 20}
";
    const BACKENDS: &str = r#"{"revision": "3f2a", "newer": true, "backends": [
  {"backend": "model-svc-blue.abtesting.svc.cluster.local:5001", "endpoints": 3, "endpointsDigest": 7, "weights": [
     {"route": "abtesting/model spec.http[0]", "weight": 100}, {"route": "other/model spec.http[1]", "weight": 70},
     {"route": "abtesting/model spec.http[1]", "weight": 20}],
   "inFlight": [
     {"route": "abtesting/model spec.http[0]", "byWeight": false, "requests": 1}, {"route": "other/model spec.http[1]", "byWeight": true, "requests": 2},
     {"route": "abtesting/model spec.http[1]", "byWeight": true, "requests": 4}, {"route": "abtesting/model spec.http[2] (gone)", "byWeight": true, "requests": 8}]},
  {"backend": "model-svc-blue.abtesting.svc.cluster.local:5001/v1", "endpoints": 1, "endpointsDigest": 8, "weights": [],
   "inFlight": [{"route": "abtesting/model spec.http[1]", "byWeight": true, "requests": 16}]},
  {"backend": "model-svc-green.abtesting.svc.cluster.local:5001", "endpoints": 0, "endpointsDigest": 9, "weights": [
     {"route": "abtesting/model spec.http[1]", "weight": 80}], "inFlight": []}]}"#;

    #[test]
    fn both_pages_make_the_observation_of_a_rollout() {
        let documents = parse(&[Source { name: "routes.yaml", bytes: DOCUMENTS.as_bytes() }]).unwrap().documents;
        let revision = json!({
            "active": "3f2a",
            "rejected": {"revision": "9c1b", "reason": "bad"},
            "language": 1,
            "warnings": ["no listener"],
            "newer": true,
        });
        let report =
            GatewayReport::parse("gateway-0".to_owned(), revision.to_string().as_bytes(), BACKENDS.as_bytes()).unwrap();
        assert_eq!((report.id(), report.active(), report.language()), ("gateway-0", Some("3f2a"), Some(1)));
        assert_eq!(report.warnings(), ["no listener"]);
        let observed = report.observe(&RolloutRules::of(&documents, &rollout(json!({}))), &rollout(json!({})));
        assert_eq!((observed.id.as_str(), observed.active.as_deref()), ("gateway-0", Some("3f2a")));
        let draining = GatewayObservation { serving: false, ..observed.clone() };
        assert_eq!(
            (
                observed.serving,
                report
                    .clone()
                    .draining()
                    .observe(&RolloutRules::of(&documents, &rollout(json!({}))), &rollout(json!({})))
            ),
            (true, draining)
        );
        let rejection = Rejection { revision: "9c1b".to_owned(), reason: "bad".to_owned() };
        assert_eq!((observed.rejected.as_ref(), report.rejected()), (Some(&rejection), Some(&rejection)));
        assert_eq!(observed.green, Load { weight: 80, endpoints: 0, in_flight: 0, in_flight_by_split: 0 });
        assert_eq!(
            observed.blue,
            Load { weight: 20, endpoints: 3, in_flight: 15, in_flight_by_split: 12 },
            "4 by weight, 8 perhaps"
        );
        assert!(report.knows_endpoints(&rollout(json!({})), Backend::Blue, 7));
        assert!(!report.knows_endpoints(&rollout(json!({})), Backend::Blue, 8), "which is that of the subset");
        let blue = BackendName { host: "model-svc-blue.abtesting.svc.cluster.local", port: Some(5001), subset: None };
        assert_eq!(report.load(&blue), Load { weight: 100, endpoints: 3, in_flight: 15, in_flight_by_split: 14 });
    }

    #[test]
    fn a_silent_gateway_has_no_revision_and_no_load() {
        let observed = GatewayReport::silent("gateway-0".to_owned())
            .observe(&RolloutRules::of(&[], &rollout(json!({}))), &rollout(json!({})));
        assert_eq!((observed.active, observed.rejected), (None, None));
        assert_eq!((observed.green, observed.blue), (Load::default(), Load::default()));
    }

    #[test]
    fn a_gateway_without_routes_is_read_and_what_is_no_gateway_is_not() {
        let check = |revision: &str, backends: &str, expected: Result<Option<&str>, &str>| {
            let report = GatewayReport::parse("gateway-0".to_owned(), revision.as_bytes(), backends.as_bytes());
            match expected {
                Ok(active) => assert_eq!(report.unwrap().active(), active, "{revision} {backends}"),
                Err(message) => {
                    let error = report.unwrap_err().to_string();
                    assert!(error.starts_with(message), "{revision} {backends}: {error}");
                }
            }
        };
        let of = |revision: &str| format!(r#"{{"revision": {revision}, "backends": []}}"#);
        check(r#"{"active": null, "rejected": null, "language": 1}"#, &of("null"), Ok(None));
        check(r#"{"active": "3f2a"}"#, &of(r#""3f2a""#), Ok(Some("3f2a")));
        check(r#"{"active": "3f2a"}"#, &of(r#""9c1b""#), Ok(None));
        check("not found", &of("null"), Err("gateway gateway-0: it does not answer to /revision as a gateway"));
        check(r#"{"active": 1}"#, &of("null"), Err("gateway gateway-0: it does not answer to /revision"));
        check(r#"{"active": null}"#, "404 page not found", Err("gateway gateway-0: it does not answer to /backends"));
    }
}
