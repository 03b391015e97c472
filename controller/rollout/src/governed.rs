//! The rules that rollouts govern, and what stays where a rollout and the documents do not fit each other any more. The
//! weights of a governed rule never follow a document by accident: whatever was misspelt, renamed or deleted, on either
//! side, the VirtualService stays as it is published, until the two fit again or the rollout is deleted.

use crate::render::{RouteSelectionError, governed_rule, policy_problem, route_weights};
use crate::resource::{BackendRef, ModelRollout, RouteRef};
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use turnout_routes::documents::Document;

/// What a rollout governed when it fitted the documents last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Governed {
    /// The rule.
    pub route: RouteRef,
    /// Green's destination in it.
    pub green: BackendRef,
    /// Blue's destination in it.
    pub blue: BackendRef,
}

/// A rollout beside the documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The rollout to decide on: with the rule and the backends of its spec, or, where these do not fit, with those that
    /// it governed last.
    pub rollout: ModelRollout,
    /// The weights that the documents give to its rule, or why it does not fit.
    pub route: Result<Weights, RouteSelectionError>,
}

impl ModelRollout {
    /// The rule and the backends that the spec names.
    pub fn governs(&self) -> Governed {
        Governed { route: self.spec.route.clone(), green: self.spec.green.clone(), blue: self.spec.blue.clone() }
    }

    /// The rollout with the rule and the backends that it governed last; none if it never governed any.
    pub fn as_it_governed(&self) -> Option<Self> {
        let Governed { route, green, blue } = self.status.governs.clone()?;
        let mut former = self.clone();
        (former.spec.route, former.spec.green, former.spec.blue) = (route, green, blue);
        Some(former)
    }

    /// Namespace and name of the VirtualService that it names.
    pub fn virtual_service(&self) -> (&str, &str) {
        (self.route_namespace(), &self.spec.route.virtual_service)
    }
}

/// Looks for the rule of each rollout in `documents`; of two with the same rule the first governs it. Where one is not
/// found any more, its VirtualService takes the form back that it has in `published`.
pub fn fit(documents: &mut Vec<Document>, published: &[Document], rollouts: &[&ModelRollout]) -> Vec<Fitted> {
    let misfit = |rollout: &&ModelRollout| {
        route_weights(documents, rollout).err().or_else(|| policy_problem(documents, rollout))
    };
    let misfits: Vec<_> = rollouts.iter().map(misfit).collect();
    for (rollout, _) in rollouts.iter().zip(&misfits).filter(|(_, misfit)| misfit.is_some()) {
        hold(documents, published, rollout);
    }
    let mut governed = BTreeMap::new();
    rollouts.iter().zip(misfits).map(|(rollout, misfit)| fit_one(documents, rollout, misfit, &mut governed)).collect()
}

/// Gives the VirtualService that the rollout governed the form that is published, or brings it back.
pub fn hold(documents: &mut Vec<Document>, published: &[Document], rollout: &ModelRollout) {
    let Some(former) = rollout.as_it_governed() else { return };
    let kept = published.iter().find(|document| is_virtual_service(document, former.virtual_service()));
    if kept.is_some_and(|kept| route_weights(std::slice::from_ref(kept), &former).is_ok()) {
        keep_published(documents, published, former.virtual_service());
        documents.retain(|document| !former.has_published(document));
        documents.extend(published.iter().find(|document| former.has_published(document)).cloned());
    }
}

/// The VirtualService of this namespace and name stays as it is published, be it not at all.
pub fn keep_published(documents: &mut Vec<Document>, published: &[Document], name: (&str, &str)) {
    documents.retain(|document| !is_virtual_service(document, name));
    documents.extend(published.iter().find(|document| is_virtual_service(document, name)).cloned());
}

/// Gives the documents of the namespaces that `is_frozen` the form back that is published, with what the registry made
/// for them.
pub fn freeze(documents: &mut Vec<Document>, published: &[Document], is_frozen: impl Fn(&str) -> bool) {
    let is_there = |document: &&Document| is_frozen(&document.metadata().namespace);
    documents.retain(|document| !is_there(&document));
    documents.extend(published.iter().filter(is_there).cloned());
}

fn is_virtual_service(document: &Document, name: (&str, &str)) -> bool {
    let metadata = document.metadata();
    matches!(document, Document::VirtualService(_)) && (metadata.namespace.as_str(), metadata.name.as_str()) == name
}

fn fit_one(
    documents: &[Document],
    rollout: &ModelRollout,
    misfit: Option<RouteSelectionError>,
    governed: &mut BTreeMap<String, String>,
) -> Fitted {
    let route = misfit.map_or_else(|| route_weights(documents, rollout), Err);
    let rollout = match &route {
        Ok(_) => rollout.clone(),
        Err(_) => rollout.as_it_governed().unwrap_or_else(|| rollout.clone()),
    };
    // A rule that is held is governed, too.
    let Ok(place) = governed_rule(documents, &rollout) else { return Fitted { rollout, route } };
    if let Some(by) = governed.get(&place) {
        let error = RouteSelectionError::AlreadyGoverned { place, by: by.clone() };
        return Fitted { rollout, route: Err(error) };
    }
    governed.insert(place, rollout.id());
    Fitted { rollout, route }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::rollout;
    use serde_json::json;
    use turnout_routes::{Source, parse};

    fn documents(rules: &str) -> Vec<Document> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: model, namespace: abtesting}}\n\
             spec:\n  hosts: [m.example]\n  http:\n{rules}"
        );
        parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap().documents
    }

    fn split(name: &str, green: &str, blue: &str, weight: u32) -> String {
        format!(
            "  - name: {name}\n    route:\n    - {{destination: {{host: {green}, port: {{number: 80}}}}, weight: {}}}\n    \
             - {{destination: {{host: {blue}, port: {{number: 80}}}}, weight: {weight}}}\n",
            100 - weight
        )
    }

    fn good(weight: u32) -> Vec<Document> {
        documents(&split("split", "model-svc-green", "model-svc-blue", weight))
    }

    /// It has governed the rule `split`.
    fn governing() -> ModelRollout {
        let mut rollout = rollout(json!({"route": {"virtualService": "model", "http": "split"}}));
        rollout.status.governs = Some(rollout.governs());
        rollout
    }

    #[test]
    fn what_does_not_fit_any_more_stays_as_it_is_published() {
        let other_host = |host: &str| documents(&split("split", host, "model-svc-blue", 50));
        let changes: [(&str, Vec<Document>); 5] = [
            ("a destination is misspelt", other_host("model-svc-gren")),
            ("the rule is renamed", documents(&split("new", "model-svc-green", "model-svc-blue", 50))),
            (
                "the rule has one destination",
                documents("  - name: split\n    route: [{destination: {host: x, port: {number: 80}}}]\n"),
            ),
            ("the rule is gone", documents("  - route: [{destination: {host: x, port: {number: 80}}}]\n")),
            ("the document is gone", Vec::new()),
        ];
        let rollout = governing();
        for (what, mut documents) in changes {
            let fitted = fit(&mut documents, &good(7), &[&rollout]);
            assert!(fitted[0].route.is_err(), "{what}");
            assert_eq!(documents, good(7), "{what}");
            assert_eq!(route_weights(&documents, &fitted[0].rollout), Ok(Weights { green: 93, blue: 7 }), "{what}");
        }
    }

    #[test]
    fn a_spec_that_does_not_fit_any_more_is_decided_on_as_it_was() {
        for (field, value) in [
            ("green", json!({"host": "model-svc-gren"})),
            ("blue", json!({"host": "model-svc-blue", "port": 81})),
            ("route", json!({"virtualService": "model", "http": "splt"})),
            ("route", json!({"virtualService": "modl"})),
        ] {
            let mut rollout = rollout(json!({"route": {"virtualService": "model", "http": "split"}, field: value}));
            rollout.status.governs = governing().status.governs;
            let mut documents = good(50);
            let fitted = fit(&mut documents, &good(7), &[&rollout]);
            assert!(fitted[0].route.is_err(), "{field}");
            assert_eq!((documents, fitted[0].rollout.governs()), (good(7), governing().governs()), "{field}");
        }
    }

    #[test]
    fn a_rollout_that_never_governed_holds_nothing_and_one_that_fits_takes_the_documents() {
        let never = rollout(json!({"green": {"host": "model-svc-gren"}}));
        let mut documents = good(50);
        assert!(fit(&mut documents, &good(7), &[&never])[0].route.is_err());
        assert_eq!(documents, good(50));
        let fitted = fit(&mut documents, &good(7), &[&governing()]);
        assert_eq!((documents, fitted[0].route.clone()), (good(50), Ok(Weights { green: 50, blue: 50 })));
    }

    /// Gateways go on counting.
    #[test]
    fn the_policy_of_a_rollout_that_is_held_stays() {
        let steps = json!([{"stage": "Blue_50", "require": [{"verdict": {}}]}]);
        let mut rollout = rollout(json!({"route": {"virtualService": "model", "http": "split"}, "steps": steps}));
        rollout.status = serde_json::from_value(json!({
            "stage": "Blue_50", "stableRevision": "v1", "candidate": {"revision": "v2"},
        }))
        .unwrap();
        rollout.status.governs = Some(rollout.governs());
        let text = crate::publish(&good(50), &[(&rollout, Weights { green: 50, blue: 50 })]).unwrap();
        let published = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap().documents;
        assert!(published.iter().any(|document| rollout.has_published(document)));
        let mut documents = good(50);
        hold(&mut documents, &published, &rollout);
        assert_eq!(crate::publish(&documents, &[]).unwrap(), text);
    }

    #[test]
    fn a_rule_that_is_held_is_nobody_elses() {
        let mut later = rollout(json!({"green": {"host": "model-svc-gren"}}));
        later.metadata.name = "later".to_owned();
        later.status.governs = governing().status.governs;
        let mut documents = documents(&split("split", "model-svc-gren", "model-svc-blue", 50));
        let fitted = fit(&mut documents, &good(7), &[&governing(), &later]);
        assert_eq!(documents, good(7));
        let message = fitted[1].route.clone().unwrap_err().to_string();
        assert!(message.contains("is governed by rollout abtesting/model already"), "{message}");
    }
}
