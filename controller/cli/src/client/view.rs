//! What is there around a rollout: its backends, and what each gateway has. A directory and a cluster are looked at in
//! their own ways; what was seen is told alike.

use super::splits::{self, Split};
use super::standing::waits_for_pods;
use serde_json::{Value, json};
use turnout_rollout::{Backend, GatewayObservation, GatewayReport, GatewayStatus, ModelRollout, RolloutRules, Weights};
use turnout_routes::documents::Document;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Green and blue; none if they cannot be told.
    pub(crate) backends: [Option<BackendView>; 2],
    /// Every live gateway, in the order of their names.
    pub(crate) gateways: Vec<GatewayView>,
    /// The revision that gateways are to have.
    pub(crate) published: Option<String>,
    /// What could not be seen, and why.
    pub(crate) notes: Vec<String>,
}

/// What stands behind a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendView {
    /// How many replicas there are, and how many of them are ready.
    pub(crate) replicas: usize,
    pub(crate) ready: usize,
    /// What they serve; more than one while they are replaced.
    pub(crate) revisions: Vec<String>,
    /// What keeps those that are not ready from it, in a line each.
    pub(crate) troubles: Vec<String>,
}

/// A gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayView {
    /// What it reports of itself.
    pub(crate) report: GatewayReport,
    /// What it gives to which backend.
    pub(crate) splits: Vec<Split>,
    /// What it has for a rollout; none if that is not known, or it has no rule of the rollout's VirtualService.
    pub(crate) observed: Option<GatewayObservation>,
    /// Why nothing is known of it.
    pub(crate) silence: Option<String>,
    /// What the controller has seen of it, where it was not asked itself.
    pub(crate) told: Option<Told>,
}

/// A gateway as a rollout's status has it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// What it gives to the rollout's rule.
    pub(crate) weights: Option<Weights>,
    pub(crate) state: GatewayState,
}

/// How a gateway stands to what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GatewayState {
    /// It has it.
    AsPublished,
    /// It has something, and what is published cannot be told.
    Unknown,
    /// It does not have it yet.
    Behind,
    /// It refuses it, or another revision.
    Rejects(String),
    /// It has no routes at all.
    Empty,
    /// It cannot be read.
    Silent(String),
    /// The controller says why it does not have it.
    Fails(String),
}

impl View {
    /// One of the backends.
    pub(crate) fn backend(&self, backend: Backend) -> Option<&BackendView> {
        self.backends[backend.index()].as_ref()
    }

    /// The weights that the gateways give to a backend, in the order of their names.
    pub(crate) fn seen(&self, backend: Backend) -> Vec<Option<u32>> {
        self.gateways.iter().map(|gateway| gateway.weight(backend)).collect()
    }

    /// Of gateways that could not be asked, what the controller has seen: whoever may see a rollout may see that.
    pub(crate) fn take_told(&mut self, rollout: &ModelRollout) {
        let status = &rollout.status;
        let is_told = |asked: &GatewayView| status.gateways.iter().any(|told| told.name == asked.report.id());
        let unasked = |asked: &GatewayView| asked.silence.is_some() && is_told(asked);
        if self.gateways.is_empty() || self.gateways.iter().any(unasked) {
            let silence = self.gateways.iter().find(|asked| unasked(asked)).and_then(|asked| asked.silence.clone());
            self.notes.extend(
                silence.map(|why| format!("gateways cannot be asked, so this is what the controller saw: {why}")),
            );
            let told = status.gateways.iter().map(|told| GatewayView::told(told, status.weights));
            let missing = |told: &GatewayView, asked: &[GatewayView]| {
                !asked.iter().any(|asked| asked.silence.is_none() && asked.report.id() == told.report.id())
            };
            let told: Vec<GatewayView> = told.filter(|told| missing(told, &self.gateways)).collect();
            self.gateways.retain(|asked| !unasked(asked));
            self.gateways.extend(told);
            self.gateways.sort_by(|one, other| one.report.id().cmp(other.report.id()));
        }
    }

    /// The requests that the gateways have in flight at a backend; none if none of them says.
    pub(crate) fn in_flight(&self, backend: Backend) -> Option<u64> {
        let told = self.gateways.iter().filter_map(|gateway| gateway.observed.as_ref());
        told.map(|observed| observed.load(backend).in_flight).reduce(u64::saturating_add)
    }

    /// What keeps a pod from being ready that the rollout waits for: first of a backend of which none is.
    pub(crate) fn trouble(&self, rollout: &ModelRollout) -> Option<&str> {
        let backends = || self.backends.iter().flatten().filter(|_| waits_for_pods(rollout));
        let first = backends().filter(|seen| seen.ready == 0).chain(backends()).find_map(|seen| seen.troubles.first());
        first.map(String::as_str)
    }

    /// As JSON, with the names that the texts have.
    pub(crate) fn to_json(&self, rollout: &ModelRollout) -> Value {
        let published = self.published.as_deref();
        let backend = |backend: Backend| {
            let seen = self.backend(backend);
            json!({
                "host": rollout.spec.backend(backend).host,
                "wanted": rollout.status.weights.map(|weights| weights.of(backend)),
                "replicas": seen.map(|seen| seen.replicas),
                "ready": seen.map(|seen| seen.ready),
                "revisions": seen.map(|seen| &seen.revisions),
                "troubles": seen.map(|seen| &seen.troubles),
            })
        };
        json!({
            "backends": { "green": backend(Backend::Green), "blue": backend(Backend::Blue) },
            "gateways": self.gateways.iter().map(|gateway| gateway.to_json(published)).collect::<Vec<_>>(),
            "published": published,
            "notes": self.notes,
        })
    }
}

impl GatewayView {
    /// Reads the bodies of a gateway's `/revision` and `/backends`.
    pub(crate) fn read(id: String, revision: &[u8], backends: &[u8]) -> Self {
        match GatewayReport::parse(id.clone(), revision, backends) {
            Ok(report) => Self { splits: splits::list(&report), report, observed: None, silence: None, told: None },
            Err(error) => Self::silent(id, error.to_string()),
        }
    }

    /// One that could not be read.
    pub(crate) fn silent(id: String, why: String) -> Self {
        Self { report: GatewayReport::silent(id), splits: Vec::new(), observed: None, silence: Some(why), told: None }
    }

    /// One of which only the status of a rollout tells.
    pub(crate) fn told(status: &GatewayStatus, wanted: Option<Weights>) -> Self {
        let weights = status.weights;
        let state = match &status.problem {
            Some(problem) => GatewayState::Fails(problem.clone()),
            None if weights.is_none() => GatewayState::Empty,
            None if weights == wanted => GatewayState::AsPublished,
            None => GatewayState::Behind,
        };
        Self { silence: None, told: Some(Told { weights, state }), ..Self::silent(status.name.clone(), String::new()) }
    }

    /// How it stands to what is published.
    pub(crate) fn state(&self, published: Option<&str>) -> GatewayState {
        if let Some(told) = &self.told {
            return told.state.clone();
        }
        if let Some(why) = &self.silence {
            return GatewayState::Silent(why.clone());
        }
        let active = self.report.active();
        if active.is_some() && active == published {
            return GatewayState::AsPublished;
        }
        if let Some(rejected) = self.report.rejected() {
            return GatewayState::Rejects(format!("{}: {}", short(&rejected.revision), rejected.reason));
        }
        match (active, published) {
            (None, _) => GatewayState::Empty,
            (Some(_), None) => GatewayState::Unknown,
            (Some(_), Some(_)) => GatewayState::Behind,
        }
    }

    /// Looks at it with the eyes of a rollout. `documents` are what is published: they tell the rule that splits from
    /// those that pin requests to one backend.
    pub(crate) fn observe(&mut self, documents: &[Document], rollout: &ModelRollout) {
        if self.knows(rollout) && !documents.is_empty() {
            self.observed = Some(self.report.observe(&RolloutRules::of(documents, rollout), rollout));
        }
    }

    /// Whether it has any rule of the rollout's VirtualService.
    pub(crate) fn knows(&self, rollout: &ModelRollout) -> bool {
        let document = format!("{}/{} ", rollout.route_namespace(), rollout.spec.route.virtual_service);
        self.splits.iter().any(|split| split.route.starts_with(&document))
    }

    pub(crate) fn weight(&self, backend: Backend) -> Option<u32> {
        let told = || Some(self.told.as_ref()?.weights?.of(backend));
        self.observed.as_ref().map(|observed| observed.load(backend).weight).or_else(told)
    }

    /// As JSON, with what it has for a rollout.
    pub(crate) fn to_json(&self, published: Option<&str>) -> Value {
        let of = |backend: Backend| {
            let load = self.observed.as_ref().map(|observed| observed.load(backend));
            self.weight(backend).map(|weight| {
                json!({
                    "weight": weight,
                    "endpoints": load.map(|load| load.endpoints),
                    "inFlight": load.map(|load| load.in_flight),
                })
            })
        };
        let mut summary = self.summary(published);
        summary["green"] = json!(of(Backend::Green));
        summary["blue"] = json!(of(Backend::Blue));
        summary
    }

    /// As JSON, without its splits.
    pub(crate) fn summary(&self, published: Option<&str>) -> Value {
        let rejected = self.report.rejected();
        let as_json = |revision: &str, reason: &str| json!({ "revision": revision, "reason": reason });
        json!({
            "name": self.report.id(),
            "revision": self.report.active(),
            "asPublished": (published.is_some() || self.told.is_some())
                .then(|| self.state(published) == GatewayState::AsPublished),
            "rejected": rejected.map(|rejected| as_json(&rejected.revision, &rejected.reason)),
            "language": self.report.language(),
            "warnings": self.report.warnings(),
            "problem": self.silence,
        })
    }
}

impl std::fmt::Display for GatewayState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AsPublished => f.write_str("as published"),
            Self::Unknown => f.write_str("serves"),
            Self::Behind => f.write_str("not what is published"),
            Self::Rejects(what) => write!(f, "rejects {what}"),
            Self::Empty => f.write_str("no routes yet"),
            Self::Silent(why) => write!(f, "does not answer: {why}"),
            Self::Fails(why) => f.write_str(why),
        }
    }
}

/// As much of a revision as people compare.
pub(crate) fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Objects that several tests need.
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use serde_json::{Value, json};
    use turnout_rollout::ModelRollout;
    use turnout_routes::documents::Document;
    use turnout_routes::{Source, parse};

    /// A rollout of `ns/model` between the Services green and blue, with more in its spec.
    pub(crate) fn rollout(more: &Value) -> ModelRollout {
        let mut spec =
            json!({"route": {"virtualService": "model"}, "green": {"host": "green"}, "blue": {"host": "blue"}});
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
            "metadata": {"name": "model", "namespace": "ns", "generation": 1}, "spec": spec,
        }))
        .unwrap()
    }

    /// The documents of [`rollout`]: rule 0 pins requests to blue, rule 1 splits.
    pub(crate) const DOCUMENTS: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: model, namespace: ns}
spec:
  hosts: [model.example]
  http:
  - match: [{headers: {x-api-version: {exact: blue}}}]
    route: [{destination: {host: blue, port: {number: 5001}}}]
  - route:
    - {destination: {host: green, port: {number: 5001}}, weight: 100}
    - {destination: {host: blue, port: {number: 5001}}, weight: 0}
";

    /// [`DOCUMENTS`] as they are read.
    pub(crate) fn documents() -> Vec<Document> {
        parse(&[Source { name: "routes.yaml", bytes: DOCUMENTS.as_bytes() }]).unwrap().documents
    }

    /// The `/backends` of a gateway that serves `revision` with these weights for the rollout's rule. As of a real one,
    /// what has no weight is not there.
    pub(crate) fn backends(revision: Option<&str>, green: u32, blue: u32) -> String {
        let of = |name: &str, pin: u32, weight: u32| {
            let weights = [("ns/model spec.http[0]", pin), ("ns/model spec.http[1]", weight)];
            let weights = weights.into_iter().filter(|(_, weight)| *weight > 0);
            json!({
                "backend": format!("{name}.ns.svc.cluster.local:5001"), "endpoints": 2, "endpointsDigest": 1,
                "weights": weights.map(|(route, weight)| json!({"route": route, "weight": weight})).collect::<Vec<_>>(),
                "inFlight": [{"route": "ns/model spec.http[1]", "byWeight": true, "requests": 3}],
            })
        };
        json!({"revision": revision, "backends": [of("green", 0, green), of("blue", 1, blue)]}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testing::{backends, documents, rollout};

    #[test]
    fn the_seen_weights_are_those_of_the_rule_that_splits() {
        let check = |page: &str, documents: &[Document], expected: Option<(u32, u32)>| {
            let mut gateway = GatewayView::read("g".to_owned(), b"{}", page.as_bytes());
            gateway.observe(documents, &rollout(&json!({})));
            let seen = gateway.weight(Backend::Green).zip(gateway.weight(Backend::Blue));
            assert_eq!(seen, expected);
        };
        check(&backends(None, 80, 20), &documents(), Some((80, 20)));
        check(&backends(None, 100, 0), &documents(), Some((100, 0)));
        check(&backends(None, 100, 0), &[], None);
        check(r#"{"revision": null, "backends": []}"#, &documents(), None);
    }

    #[test]
    fn a_gateway_is_told_by_how_it_stands_to_what_is_published() {
        let read = |revision: Value| {
            let page = backends(revision["active"].as_str(), 100, 0);
            GatewayView::read("g".to_owned(), revision.to_string().as_bytes(), page.as_bytes())
        };
        let check = |gateway: &GatewayView, published: Option<&str>, expected: &str| {
            assert_eq!(gateway.state(published).to_string(), expected, "{gateway:?}");
        };
        check(&read(json!({"active": "a"})), Some("a"), "as published");
        check(&read(json!({"active": "a"})), Some("b"), "not what is published");
        check(&read(json!({"active": "a"})), None, "serves");
        check(&read(json!({"active": null})), Some("a"), "no routes yet");
        let rejected = json!({"active": "a", "rejected": {"revision": "0123456789abcdef", "reason": "no"}});
        check(&read(rejected.clone()), Some("b"), "rejects 0123456789ab: no");
        check(&read(rejected), Some("a"), "as published");
        check(&GatewayView::silent("g".to_owned(), "gone".to_owned()), Some("a"), "does not answer: gone");
        let said = read(json!([])).state(None).to_string();
        assert!(said.starts_with("does not answer: gateway g: "), "{said}");
    }
}
