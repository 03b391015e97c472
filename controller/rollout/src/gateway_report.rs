//! A gateway as it reports itself, from the two pages of its status port that a driver reads: `/revision` says what it
//! serves, `/metrics` what each backend has there. How the pages were fetched is no business of this crate.

use crate::gauges::{BackendName, Gauges};
use crate::hosts::full_host;
use crate::observation::{GatewayObservation, Load, Rejection};
use crate::resource::ModelRollout;
use crate::weights::Backend;
use serde::Deserialize;
use turnout_routes::documents::{Action, Document, VirtualService};
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
    gauges: Gauges,
}

/// Why a gateway's answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum GatewayReportError {
    /// `/revision` is not what a gateway answers.
    #[error("gateway {id}: what it answers to /revision is not a revision: {error}")]
    Revision {
        /// The gateway.
        id: String,
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
}

#[derive(Deserialize)]
struct RejectedAnswer {
    revision: String,
    reason: String,
}

impl GatewayReport {
    /// Reads the bodies of `/revision` and `/metrics`. `id` is what people call the gateway, as its pod's name.
    pub fn parse(id: String, revision_json: &[u8], metrics_text: &str) -> Result<Self, GatewayReportError> {
        let answer: RevisionAnswer = match serde_json::from_slice(revision_json) {
            Ok(answer) => answer,
            Err(error) => return Err(GatewayReportError::Revision { id, error }),
        };
        let rejection = |rejected: RejectedAnswer| Rejection { revision: rejected.revision, reason: rejected.reason };
        Ok(Self {
            id,
            serving: true,
            answers: true,
            active: answer.active,
            rejected: answer.rejected.map(rejection),
            language: answer.language,
            gauges: Gauges::parse(metrics_text),
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
            gauges: Gauges::default(),
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

    /// A backend at this gateway, with the largest weight that any rule gives it.
    pub fn load(&self, backend: &BackendName<'_>) -> Load {
        self.load_in(backend, |_| true)
    }

    /// The gateway as the decision about a rollout needs it; `documents` are what is published.
    pub fn observe(&self, documents: &[Document], rollout: &ModelRollout) -> GatewayObservation {
        let routes = split_routes(documents, rollout);
        let load = |backend: Backend| {
            let reference = rollout.spec.backend(backend);
            let host = full_host(&reference.host, rollout.route_namespace());
            let name = BackendName { host: &host, port: reference.port, subset: reference.subset.as_deref() };
            self.load_in(&name, |route| routes.iter().any(|split| split == route))
        };
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

    /// Whether the endpoints that it has for a backend are exactly those with this digest. One that does not tell is
    /// believed.
    pub fn knows_endpoints(&self, rollout: &ModelRollout, backend: Backend, digest: u64) -> bool {
        let reference = rollout.spec.backend(backend);
        let host = full_host(&reference.host, rollout.route_namespace());
        let name = BackendName { host: &host, port: reference.port, subset: reference.subset.as_deref() };
        self.gauges.knows(&name, digest)
    }

    fn load_in(&self, backend: &BackendName<'_>, is_meant: impl Fn(&str) -> bool) -> Load {
        Load {
            weight: u32::try_from(self.gauges.weight(backend, is_meant)).unwrap_or(u32::MAX),
            endpoints: u32::try_from(self.gauges.endpoints(backend)).unwrap_or(u32::MAX),
            in_flight: self.gauges.in_flight(backend),
        }
    }
}

/// The rules of the rollout's VirtualService that split, as gateways name them. A rule with one destination pins
/// requests to it whatever its weight, which is no share of a split.
fn split_routes(documents: &[Document], rollout: &ModelRollout) -> Vec<String> {
    let is_it = |service: &&VirtualService| {
        service.metadata.name == rollout.spec.route.virtual_service
            && service.metadata.namespace == rollout.route_namespace()
    };
    let services = documents.iter().filter_map(|document| match document {
        Document::VirtualService(service) => Some(service),
        _ => None,
    });
    let mut routes = Vec::new();
    for service in services.filter(is_it) {
        for (http, rule) in service.http.iter().enumerate() {
            let splits = matches!(&rule.action, Action::Forward(forward) if forward.destinations.as_slice().len() > 1);
            if splits {
                let (namespace, name) = (service.metadata.namespace.clone(), service.metadata.name.clone());
                routes.push(Origin { namespace, virtual_service: name, http, name: rule.name.clone() }.to_string());
            }
        }
    }
    routes
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
    const METRICS: &str = r#"turnout_weight{backend="model-svc-blue.abtesting.svc.cluster.local:5001",route="abtesting/model spec.http[0]"} 1
turnout_weight{backend="model-svc-blue.abtesting.svc.cluster.local:5001",route="other/model spec.http[1]"} 70
turnout_weight{backend="model-svc-green.abtesting.svc.cluster.local:5001",route="abtesting/model spec.http[1]"} 80
turnout_weight{backend="model-svc-blue.abtesting.svc.cluster.local:5001",route="abtesting/model spec.http[1]"} 20
turnout_upstream_endpoints{backend="model-svc-blue.abtesting.svc.cluster.local:5001"} 3
turnout_requests_in_flight{backend="model-svc-blue.abtesting.svc.cluster.local:5001"} 4
turnout_requests_in_flight{backend="model-svc-blue.other.svc.cluster.local:5001"} 5
"#;

    #[test]
    fn both_pages_make_the_observation_of_a_rollout() {
        let documents = parse(&[Source { name: "routes.yaml", bytes: DOCUMENTS.as_bytes() }]).unwrap().documents;
        let revision = json!({
            "active": "3f2a",
            "rejected": {"revision": "9c1b", "reason": "bad"},
            "language": 1,
            "newer": true,
        });
        let report = GatewayReport::parse("gateway-0".to_owned(), revision.to_string().as_bytes(), METRICS).unwrap();
        assert_eq!((report.id(), report.active(), report.language()), ("gateway-0", Some("3f2a"), Some(1)));
        let observed = report.observe(&documents, &rollout(json!({})));
        assert_eq!((observed.id.as_str(), observed.active.as_deref()), ("gateway-0", Some("3f2a")));
        let draining = GatewayObservation { serving: false, ..observed.clone() };
        assert_eq!(
            (observed.serving, report.clone().draining().observe(&documents, &rollout(json!({})))),
            (true, draining)
        );
        let rejection = Rejection { revision: "9c1b".to_owned(), reason: "bad".to_owned() };
        assert_eq!((observed.rejected.as_ref(), report.rejected()), (Some(&rejection), Some(&rejection)));
        assert_eq!(observed.green, Load { weight: 80, endpoints: 0, in_flight: 0 });
        assert_eq!(observed.blue, Load { weight: 20, endpoints: 3, in_flight: 4 });
        let blue = BackendName { host: "model-svc-blue.abtesting.svc.cluster.local", port: Some(5001), subset: None };
        assert_eq!(report.load(&blue), Load { weight: 70, endpoints: 3, in_flight: 4 });
    }

    #[test]
    fn a_silent_gateway_has_no_revision_and_no_load() {
        let observed = GatewayReport::silent("gateway-0".to_owned()).observe(&[], &rollout(json!({})));
        assert_eq!((observed.active, observed.rejected), (None, None));
        assert_eq!((observed.green, observed.blue), (Load::default(), Load::default()));
    }

    #[test]
    fn a_gateway_without_routes_is_read_and_what_is_no_gateway_is_not() {
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let report = GatewayReport::parse("gateway-0".to_owned(), text.as_bytes(), "");
            match expected {
                Ok(active) => assert_eq!(report.unwrap().active(), active, "{text}"),
                Err(message) => {
                    let error = report.unwrap_err().to_string();
                    assert!(error.starts_with(message), "{text}: {error}");
                }
            }
        };
        check(r#"{"active": null, "rejected": null, "language": 1}"#, Ok(None));
        check(r#"{"active": "3f2a"}"#, Ok(Some("3f2a")));
        check("not found", Err("gateway gateway-0: what it answers to /revision is not a revision: "));
        check(r#"{"active": 1}"#, Err("gateway gateway-0: "));
    }
}
