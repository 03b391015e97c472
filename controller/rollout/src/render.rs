//! What is published: the documents of the users, in which the weights of the rules that rollouts govern are replaced and
//! nothing else is. Finding those rules is here too, with an error for everything that is not exactly one rule with
//! exactly the two backends.

use crate::hosts::full_host;
use crate::resource::{BackendRef, ModelRollout};
use crate::weights::{Backend, Weights};
use turnout_routes::documents::{
    Action, Destination, Destinations, Document, HttpRule, SplitPolicy, VirtualService, WeightedDestination,
};

/// The largest text that is published, in bytes: a ConfigMap holds little more.
pub const MAX_PUBLISHED_BYTES: usize = 900 * 1024;

/// Why a rollout's rule cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteSelectionError {
    /// No document of that name.
    #[error("VirtualService {0} is not among the documents: correct spec.route.virtualService or spec.route.namespace")]
    VirtualServiceNotFound(String),
    /// No rule of that name, or several.
    #[error("{place} has {count} http rules named `{name}`: spec.route.http must name exactly one")]
    HttpRuleNotFound {
        /// The VirtualService.
        place: String,
        /// The name.
        name: String,
        /// How many rules have it.
        count: usize,
    },
    /// The named rule has other destinations.
    #[error("{place} does not split between green ({green}) and blue ({blue}): it has {found}")]
    NotTheSplit {
        /// The rule.
        place: String,
        /// Green's destination.
        green: String,
        /// Blue's destination.
        blue: String,
        /// What is there.
        found: String,
    },
    /// No rule splits between the backends, or several do.
    #[error("{place} has {count} http rules that split between green ({green}) and blue ({blue}){hint}")]
    NoSingleSplit {
        /// The VirtualService.
        place: String,
        /// How many rules do.
        count: usize,
        /// Green's destination.
        green: String,
        /// Blue's destination.
        blue: String,
        /// What to do.
        hint: &'static str,
    },
    /// The rule is another namespace's, which the release does not share.
    #[error(
        "spec.route.namespace: the rules of namespace {0} are governed by its own rollouts alone: move the rollout there, \
         or let the release share them (sharedRouteNamespaces)"
    )]
    NotShared(String),
    /// Only one policy can govern a rule, and the user's does.
    #[error(
        "SplitPolicy {policy} governs {place}, whose evidence the steps want under a policy of their own: remove it, or what \
         they want of evidence and shadows"
    )]
    HasPolicy {
        /// The rule.
        place: String,
        /// `namespace/name` of the policy.
        policy: String,
    },
    /// Gateways refuse two documents of one name.
    #[error(
        "SplitPolicy {0} has the name of the rollout's own: give it another, so that gateways can count for the rollout"
    )]
    PolicyNameTaken(String),
    /// A policy finds its rule by name.
    #[error(
        "{0} has no name, and is not the only one with two destinations: give it a name, so that gateways can count for it"
    )]
    Nameless(String),
    /// An older rollout decides these weights already.
    #[error("{place} is governed by rollout {by} already: change spec.route of one of them")]
    AlreadyGoverned {
        /// The rule.
        place: String,
        /// `namespace/name` of the older rollout.
        by: String,
    },
}

/// Why nothing can be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A rollout governs no rule. Leave it out to publish the rest.
    #[error("rollout {rollout}: {error}")]
    Route {
        /// `namespace/name` of the rollout.
        rollout: String,
        /// What is wrong.
        #[source]
        error: Box<RouteSelectionError>,
    },
    /// Two rollouts cannot decide the same weights.
    #[error("rollouts {first} and {second} govern the same rule, {place}: change spec.route of one of them")]
    Conflict {
        /// `namespace/name` of one.
        first: String,
        /// `namespace/name` of the other.
        second: String,
        /// The rule.
        place: String,
    },
    /// No decision has such weights.
    #[error("rollout {rollout}: both weights are 0, which no rule may have")]
    NoWeight {
        /// `namespace/name` of the rollout.
        rollout: String,
    },
    /// A ConfigMap would not hold it.
    #[error(
        "the routes, with what rollouts govern, take {size} bytes, at most {MAX_PUBLISHED_BYTES} can be published: \
         remove documents"
    )]
    TooLarge {
        /// How many bytes.
        size: usize,
    },
}

/// The text of `routes.yaml`: the documents sorted by kind, namespace and name, each rule with the weights of the
/// rollout that governs it. Rules without a rollout keep their own.
pub fn publish(documents: &[Document], rollouts: &[(&ModelRollout, Weights)]) -> Result<String, RenderError> {
    let mut documents = documents.to_vec();
    let mut governed: Vec<(Place, String)> = Vec::new();
    for (rollout, weights) in rollouts {
        let rule = find_rule(&documents, rollout)
            .map_err(|error| RenderError::Route { rollout: rollout.id(), error: Box::new(error) })?;
        if let Some((_, first)) = governed.iter().find(|(place, _)| *place == rule.place) {
            let place = rule_name(rollout, rule.place.rule);
            return Err(RenderError::Conflict { first: first.clone(), second: rollout.id(), place });
        }
        set_weights(&mut documents, &rule, *weights, rollout)?;
        governed.push((rule.place, rollout.id()));
    }
    add_policies(&mut documents, rollouts);
    let text = turnout_routes::render(&documents);
    let size = text.len() + rollouts.iter().map(|(rollout, _)| size_beside(rollout)).sum::<usize>();
    if size > MAX_PUBLISHED_BYTES {
        return Err(RenderError::TooLarge { size });
    }
    Ok(text)
}

/// What a rollout governs is kept beside the text, in the same object: so many bytes at most.
fn size_beside(rollout: &ModelRollout) -> usize {
    const NAMES_AND_UID: usize = 100;
    let governs = serde_json::to_string(&rollout.governs()).unwrap_or_default();
    governs.len() + rollout.id().len() + NAMES_AND_UID
}

/// The weights that the documents give to the rule that the rollout governs: of the users' documents, to learn whether
/// there is such a rule, and of the published ones, to learn what is published.
pub fn route_weights(documents: &[Document], rollout: &ModelRollout) -> Result<Weights, RouteSelectionError> {
    let rule = find_rule(documents, rollout)?;
    Ok(rule.weights)
}

/// Each rollout's policy beside its rule, in the place of the one that it had; a user's wins.
fn add_policies(documents: &mut Vec<Document>, rollouts: &[(&ModelRollout, Weights)]) {
    documents.retain(|document| !rollouts.iter().any(|(rollout, _)| rollout.has_published(document)));
    let policy = |rollout: &ModelRollout| {
        let rule = find_rule(documents, rollout).ok().filter(|_| rollout.wants_policy())?;
        let (_, http, blue) = rule.in_documents(documents)?;
        rollout.policy(http, blue).filter(|_| policy_problem(documents, rollout).is_none())
    };
    let policies: Vec<Document> = rollouts.iter().filter_map(|(rollout, _)| policy(rollout)).collect();
    documents.extend(policies);
}

/// Why gateways cannot count for the rollout's rule, if its steps want that.
pub(crate) fn policy_problem(documents: &[Document], rollout: &ModelRollout) -> Option<RouteSelectionError> {
    let rule = find_rule(documents, rollout).ok().filter(|_| rollout.wants_policy())?;
    let (service, http, _) = rule.in_documents(documents)?;
    let place = rule_name(rollout, rule.place.rule);
    let name = |policy: &SplitPolicy| format!("{}/{}", policy.metadata.namespace, policy.metadata.name);
    let is_split = |rule: &&HttpRule| destinations(rule).len() == 2;
    let is_only = service.http.iter().filter(is_split).count() == 1;
    if let Some(rival) = rollout.rival(documents, (http, is_only)) {
        return Some(RouteSelectionError::HasPolicy { place, policy: name(rival) });
    }
    if let Some(namesake) = rollout.namesake(documents) {
        return Some(RouteSelectionError::PolicyNameTaken(name(namesake)));
    }
    (http.name.is_none() && !is_only).then_some(RouteSelectionError::Nameless(place))
}

impl GovernedRule {
    /// The rule with what it stands in, and blue's destination in it.
    fn in_documents<'d>(
        &self,
        documents: &'d [Document],
    ) -> Option<(&'d VirtualService, &'d HttpRule, &'d Destination)> {
        let Document::VirtualService(service) = &documents[self.place.document] else { return None };
        let http = &service.http[self.place.rule];
        destinations(http).get(1 - self.green).map(|blue| (service, http, &blue.destination))
    }
}

/// The rule that the rollout governs, as people call it: two rollouts with the same one cannot both decide its weights.
pub fn governed_rule(documents: &[Document], rollout: &ModelRollout) -> Result<String, RouteSelectionError> {
    Ok(rule_name(rollout, find_rule(documents, rollout)?.place.rule))
}

fn rule_name(rollout: &ModelRollout, rule: usize) -> String {
    format!("VirtualService {}/{} spec.http[{rule}]", rollout.route_namespace(), rollout.spec.route.virtual_service)
}

/// The index of a document, and that of the rule in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    document: usize,
    rule: usize,
}

/// A governed rule.
#[derive(Clone, Copy, Debug)]
struct GovernedRule {
    place: Place,
    /// Which of the two destinations is green; the other is blue.
    green: usize,
    weights: Weights,
}

fn find_rule(documents: &[Document], rollout: &ModelRollout) -> Result<GovernedRule, RouteSelectionError> {
    let (document, service) = find_service(documents, rollout)?;
    let (rule, split) = match &rollout.spec.route.http {
        Some(name) => named_split(service, name, rollout)?,
        None => only_split(service, rollout)?,
    };
    Ok(GovernedRule { place: Place { document, rule }, green: split.green, weights: split.weights })
}

fn find_service<'a>(
    documents: &'a [Document],
    rollout: &ModelRollout,
) -> Result<(usize, &'a VirtualService), RouteSelectionError> {
    let (name, namespace) = (&rollout.spec.route.virtual_service, rollout.route_namespace());
    for (index, document) in documents.iter().enumerate() {
        if let Document::VirtualService(service) = document
            && service.metadata.name == *name
            && service.metadata.namespace == namespace
        {
            return Ok((index, service));
        }
    }
    Err(RouteSelectionError::VirtualServiceNotFound(format!("{namespace}/{name}")))
}

fn named_split(
    service: &VirtualService,
    name: &str,
    rollout: &ModelRollout,
) -> Result<(usize, Split), RouteSelectionError> {
    let rules = service.http.iter().enumerate();
    let named: Vec<_> = rules.filter(|(_, rule)| rule.name.as_deref() == Some(name)).collect();
    let &[(index, rule)] = named.as_slice() else {
        let place = service_name(service);
        return Err(RouteSelectionError::HttpRuleNotFound { place, name: name.to_owned(), count: named.len() });
    };
    let split = split_of(rule, service, rollout).ok_or_else(|| not_the_split(service, index, rollout))?;
    Ok((index, split))
}

fn only_split(service: &VirtualService, rollout: &ModelRollout) -> Result<(usize, Split), RouteSelectionError> {
    let rules = service.http.iter().enumerate();
    let splits: Vec<_> = rules.filter_map(|(index, rule)| Some((index, split_of(rule, service, rollout)?))).collect();
    match splits.as_slice() {
        &[only] => Ok(only),
        several => Err(no_single_split(service, several.len(), rollout)),
    }
}

/// A rule with exactly the two backends.
#[derive(Clone, Copy, Debug)]
struct Split {
    green: usize,
    weights: Weights,
}

fn split_of(rule: &HttpRule, service: &VirtualService, rollout: &ModelRollout) -> Option<Split> {
    let [first, second] = destinations(rule) else {
        return None;
    };
    let is = |one: &WeightedDestination, backend| {
        is_backend(&one.destination, rollout.spec.backend(backend), &service.metadata.namespace)
    };
    if is(first, Backend::Green) && is(second, Backend::Blue) {
        Some(Split { green: 0, weights: Weights { green: first.weight, blue: second.weight } })
    } else if is(first, Backend::Blue) && is(second, Backend::Green) {
        Some(Split { green: 1, weights: Weights { green: second.weight, blue: first.weight } })
    } else {
        None
    }
}

fn destinations(rule: &HttpRule) -> &[WeightedDestination] {
    match &rule.action {
        Action::Forward(forward) => forward.destinations.as_slice(),
        Action::Redirect(_) | Action::DirectResponse(_) | Action::Delegate(_) => &[],
    }
}

fn is_backend(destination: &Destination, backend: &BackendRef, namespace: &str) -> bool {
    full_host(&destination.host, namespace) == full_host(&backend.host, namespace)
        && destination.subset == backend.subset
        && (backend.port.is_none() || backend.port == destination.port)
}

fn set_weights(
    documents: &mut [Document],
    rule: &GovernedRule,
    weights: Weights,
    rollout: &ModelRollout,
) -> Result<(), RenderError> {
    let Document::VirtualService(service) = &mut documents[rule.place.document] else {
        return Ok(());
    };
    let Action::Forward(forward) = &mut service.http[rule.place.rule].action else {
        return Ok(());
    };
    let mut destinations = forward.destinations.as_slice().to_vec();
    destinations[rule.green].weight = weights.green;
    destinations[1 - rule.green].weight = weights.blue;
    forward.destinations =
        Destinations::new(destinations).map_err(|_| RenderError::NoWeight { rollout: rollout.id() })?;
    Ok(())
}

fn service_name(service: &VirtualService) -> String {
    format!("VirtualService {}/{}", service.metadata.namespace, service.metadata.name)
}

fn not_the_split(service: &VirtualService, index: usize, rollout: &ModelRollout) -> RouteSelectionError {
    let destinations = destinations(&service.http[index]).iter();
    let found: Vec<String> = destinations.map(|one| destination_name(&one.destination)).collect();
    RouteSelectionError::NotTheSplit {
        place: format!("{} spec.http[{index}]", service_name(service)),
        green: backend_name(&rollout.spec.green),
        blue: backend_name(&rollout.spec.blue),
        found: if found.is_empty() { "no destinations".to_owned() } else { found.join(" and ") },
    }
}

fn no_single_split(service: &VirtualService, count: usize, rollout: &ModelRollout) -> RouteSelectionError {
    let hint = if count == 0 {
        ", as its only two destinations: correct spec.green, spec.blue or the rule"
    } else {
        ": name one of them in spec.route.http"
    };
    let (green, blue) = (backend_name(&rollout.spec.green), backend_name(&rollout.spec.blue));
    RouteSelectionError::NoSingleSplit { place: service_name(service), count, green, blue, hint }
}

fn backend_name(backend: &BackendRef) -> String {
    name_of(&backend.host, backend.subset.as_deref(), backend.port)
}

fn destination_name(destination: &Destination) -> String {
    name_of(&destination.host, destination.subset.as_deref(), destination.port)
}

fn name_of(host: &str, subset: Option<&str>, port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let subset = subset.map(|subset| format!(" subset {subset}")).unwrap_or_default();
    format!("{host}{port}{subset}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::{rollout, steps};
    use serde_json::{Value, json};
    use turnout_routes::{Source, parse};

    /// The sample's routes, with a rule before and after the split that nobody governs.
    const SAMPLE: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: model, namespace: abtesting, labels: {team: scoring}}
spec:
  hosts: ["*"]
  gateways: [model]
  http:
  - match: [{uri: {prefix: /score}, headers: {x-api-version: {exact: blue}}}]
    route: [{destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}}]
  - name: split
    timeout: 30s
    retries: {attempts: 1}
    route:
    - destination: {host: model-svc-green.abtesting.svc.cluster.local, port: {number: 5001}}
      weight: 70
      headers: {response: {set: {x-model: green}}}
    - destination: {host: model-svc-blue.abtesting.svc.cluster.local, port: {number: 5001}}
      weight: 30
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: model, namespace: abtesting}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"#;

    fn documents(text: &str) -> Vec<Document> {
        parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap().documents
    }

    /// The rules of a VirtualService `model` in the namespace `abtesting`.
    fn rules(http: &str) -> Vec<Document> {
        let head =
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: model, namespace: abtesting}";
        documents(&format!("{head}, spec: {{hosts: [model], http: [{http}]}}}}"))
    }

    fn split(name: &str, first: &str, second: &str) -> String {
        format!("{{name: {name}, route: [{{destination: {first}, weight: 9}}, {{destination: {second}, weight: 1}}]}}")
    }

    fn error(documents: &[Document], spec: Value) -> String {
        route_weights(documents, &rollout(spec)).unwrap_err().to_string()
    }

    fn judged(stage: &str) -> ModelRollout {
        let shadow = json!({"percent": 10, "methods": ["POST"]});
        let steps = json!([
            {"stage": "Blue_0", "shadow": shadow, "require": [{"comparison": {}}]},
            {"stage": "Blue_50", "require": [{"verdict": {}}]},
        ]);
        let mut rollout = rollout(json!({"steps": steps}));
        rollout.status = serde_json::from_value(json!({
            "stage": stage, "stableRevision": "v1", "candidate": {"revision": "v2", "attempt": 1},
        }))
        .unwrap();
        rollout
    }

    const HALF: Weights = Weights { green: 50, blue: 50 };

    /// The policies of what is published for the rollout.
    fn policies(documents: &[Document], rollout: &ModelRollout) -> Vec<turnout_routes::documents::SplitPolicy> {
        let text = publish(documents, &[(rollout, HALF)]).unwrap();
        let policies = self::documents(&text).into_iter().filter_map(|document| match document {
            Document::SplitPolicy(policy) => Some(policy),
            _ => None,
        });
        policies.collect()
    }

    #[test]
    fn gateways_are_told_what_is_on_trial_where_steps_want_evidence() {
        let documents = documents(SAMPLE);
        let rollout = judged("Blue_50");
        let [policy] = policies(&documents, &rollout).try_into().unwrap();
        let (name, salt) = rollout.evidence_key().unwrap();
        assert_eq!((format!("{}/{}", policy.metadata.namespace, policy.metadata.name), &policy.salt), (name, &salt));
        assert_eq!((policy.route.virtual_service.as_str(), policy.route.http.as_deref()), ("model", Some("split")));
        assert!(policy.candidate.unwrap().host.starts_with("model-svc-blue.") && policy.shadow.is_none());
        let [policy] = policies(&documents, &judged("Blue_0")).try_into().unwrap();
        assert_eq!((policy.salt, policy.shadow.map(|shadow| shadow.percent.value())), (salt.clone(), Some(10.0)));
        let mut other = judged("Blue_50");
        other.status.candidate.as_mut().unwrap().attempt = 2;
        assert_ne!(other.evidence_key().unwrap().1, salt);
        let again = publish(&documents, &[(&rollout, HALF)]).unwrap();
        let published = self::documents(&again);
        assert_eq!(publish(&published, &[(&rollout, HALF)]).unwrap(), again, "what is published has one already");
    }

    /// Until blue serves the candidate a shadow would ask what was there before.
    #[test]
    fn copies_are_answered_by_the_candidate_alone() {
        let mut rollout = judged("Blue_0");
        (rollout.status.stage, rollout.status.moving_to) = (None, rollout.status.stage);
        let [policy] = policies(&documents(SAMPLE), &rollout).try_into().unwrap();
        assert_eq!(policy.shadow, None);
    }

    #[test]
    fn rollouts_that_want_no_evidence_publish_what_they_did() {
        let documents = documents(SAMPLE);
        let plain = publish(&documents, &[(&rollout(json!({})), HALF)]).unwrap();
        let ends = ["Rollback", "Green_100"].map(judged);
        let mut back = judged("Blue_50");
        back.status.rollback =
            serde_json::from_value(json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"}))
                .unwrap();
        let mut first = judged("Blue_50");
        first.status.stable_revision = None;
        let mut approved = judged("Blue_50");
        approved.spec.steps = serde_json::from_value(steps(&[("Blue_50", json!([{"approval": {}}]))])).unwrap();
        for rollout in ends.into_iter().chain([back, first, approved]) {
            assert_eq!(publish(&documents, &[(&rollout, HALF)]).unwrap(), plain, "{:?}", rollout.status);
            assert_eq!(rollout.evidence_key(), None, "{:?}", rollout.status);
        }
    }

    #[test]
    fn a_policy_of_the_users_wins_and_the_rollout_says_so() {
        let own = "\n---\napiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\nmetadata: {name: mine, namespace: abtesting}\n\
                   spec: {route: {virtualService: model, http: split}}\n";
        let documents = documents(&format!("{SAMPLE}{own}"));
        let rollout = judged("Blue_50");
        let [policy] = policies(&documents, &rollout).try_into().unwrap();
        assert_eq!(policy.metadata.name, "mine");
        let problem = policy_problem(&documents, &rollout).unwrap().to_string();
        assert_eq!(
            problem,
            "SplitPolicy abtesting/mine governs VirtualService abtesting/model spec.http[1], whose evidence the steps want \
             under a policy of their own: remove it, or what they want of evidence and shadows"
        );
        let fitted = crate::governed::fit(&mut documents.clone(), &[], &[&rollout]);
        assert!(fitted[0].route.is_err());
        assert_eq!(policy_problem(&documents, &self::rollout(json!({}))), None, "it wants none");
    }

    /// Of two documents of one name gateways take neither, nor anything beside them.
    #[test]
    fn no_name_is_published_twice() {
        let policy = |name: &str, http: &str| {
            format!(
                "\n---\napiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\n\
                 metadata: {{name: {name}, namespace: abtesting}}\nspec: {{route: {{virtualService: model{http}}}}}\n"
            )
        };
        let rollout = judged("Blue_50");
        let own = rollout.evidence_key().unwrap().0.replace("abtesting/", "");
        for (text, problem) in [
            (policy(&own, ", http: other"), Some("has the name of the rollout's own")),
            (policy("mine", ", http: other"), None),
        ] {
            let documents = documents(&format!("{SAMPLE}{text}"));
            let told = policy_problem(&documents, &rollout).map(|problem| problem.to_string());
            assert_eq!(told.is_some(), problem.is_some(), "{told:?}");
            assert!(problem.is_none_or(|part| told.unwrap().contains(part)));
            assert_eq!(policies(&documents, &rollout).len(), if problem.is_some() { 1 } else { 2 });
        }
        let named = |name: &str, namespace: &str| {
            let mut rollout = judged("Blue_50");
            (rollout.metadata.name, rollout.metadata.namespace) = (name.to_owned(), namespace.to_owned());
            rollout.spec.route.namespace = Some("abtesting".to_owned());
            rollout.evidence_key().unwrap().0
        };
        let names = [named("a", "b"), named("a.b", "abtesting"), named("b.a", "abtesting"), named("a", "abtesting")];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_policy_must_find_its_rule() {
        let (green, blue, other) = ("{host: model-svc-green}", "{host: model-svc-blue}", "{host: other}");
        let nameless = |first: &str, second: &str| split("x", first, second).replace("name: x, ", "");
        let both = rules(&format!("{}, {}", nameless(green, blue), nameless(green, other)));
        let place = "VirtualService abtesting/model spec.http[0]";
        let problem = policy_problem(&both, &judged("Blue_50")).unwrap().to_string();
        assert!(problem.starts_with(&format!("{place} has no name")), "{problem}");
        assert_eq!(policy_problem(&rules(&nameless(green, blue)), &judged("Blue_50")), None);
    }

    #[test]
    fn only_the_two_weights_change() {
        let documents = documents(SAMPLE);
        let rollout = rollout(json!({}));
        let same = publish(&documents, &[(&rollout, Weights { green: 70, blue: 30 })]).unwrap();
        assert_eq!(same, publish(&documents, &[]).unwrap());
        for weights in crate::STAGE_TABLE.map(|row| row.stage.weights()) {
            let text = publish(&documents, &[(&rollout, weights)]).unwrap();
            let read_back = self::documents(&text);
            assert_eq!(route_weights(&read_back, &rollout), Ok(weights));
            assert_eq!(publish(&read_back, &[(&rollout, Weights { green: 70, blue: 30 })]).unwrap(), same);
        }
    }

    #[test]
    fn the_order_of_the_destinations_and_of_the_documents_does_not_matter() {
        let (green, blue) = ("{host: model-svc-green}", "{host: model-svc-blue}");
        let rollout = rollout(json!({}));
        let check = |documents: &[Document], expected| assert_eq!(route_weights(documents, &rollout), Ok(expected));
        check(&rules(&split("a", green, blue)), Weights { green: 9, blue: 1 });
        check(&rules(&split("a", blue, green)), Weights { green: 1, blue: 9 });
        let mut documents = documents(SAMPLE);
        let text = publish(&documents, &[]).unwrap();
        documents.reverse();
        assert_eq!(publish(&documents, &[]).unwrap(), text);
    }

    #[test]
    fn a_backend_is_told_by_host_subset_and_port() {
        let check = |destination: &str, backend: Value, expected: bool| {
            let documents = rules(&split("a", destination, "{host: other}"));
            let found = route_weights(&documents, &rollout(json!({"green": backend, "blue": {"host": "other"}})));
            assert_eq!(found.is_ok(), expected, "{destination}: {found:?}");
        };
        check("{host: m}", json!({"host": "m"}), true);
        check("{host: m}", json!({"host": "M.abtesting.svc.cluster.local"}), true);
        check("{host: m.abtesting.svc.cluster.local}", json!({"host": "m"}), true);
        check("{host: m.elsewhere.svc.cluster.local}", json!({"host": "m"}), false);
        check("{host: m, port: {number: 80}}", json!({"host": "m"}), true);
        check("{host: m, port: {number: 80}}", json!({"host": "m", "port": 80}), true);
        check("{host: m, port: {number: 80}}", json!({"host": "m", "port": 81}), false);
        check("{host: m}", json!({"host": "m", "port": 80}), false);
        check("{host: m, subset: a}", json!({"host": "m", "subset": "a"}), true);
        check("{host: m, subset: a}", json!({"host": "m", "subset": "b"}), false);
        check("{host: m, subset: a}", json!({"host": "m"}), false);
    }

    #[test]
    fn a_rule_that_is_not_exactly_the_split_is_refused_with_its_place() {
        let (green, blue) = ("{host: model-svc-green}", "{host: model-svc-blue}");
        let one = rules(&split("a", green, blue));
        let two = rules(&format!("{}, {}", split("a", green, blue), split("b", blue, green)));
        let route = |http: &str| json!({"route": {"virtualService": "model", "http": http}});
        let service = "VirtualService abtesting/model";
        let both = "split between green (model-svc-green) and blue (model-svc-blue)";
        assert_eq!(
            error(&one, json!({"route": {"virtualService": "other"}})),
            "VirtualService abtesting/other is not among the documents: \
             correct spec.route.virtualService or spec.route.namespace"
        );
        assert_eq!(
            error(&one, json!({"route": {"virtualService": "model", "namespace": "elsewhere"}})),
            "VirtualService elsewhere/model is not among the documents: \
             correct spec.route.virtualService or spec.route.namespace"
        );
        assert_eq!(
            error(&one, route("c")),
            format!("{service} has 0 http rules named `c`: spec.route.http must name exactly one")
        );
        assert_eq!(
            error(&two, json!({})),
            format!("{service} has 2 http rules that {both}: name one of them in spec.route.http")
        );
        assert_eq!(route_weights(&two, &rollout(route("b"))), Ok(Weights { green: 1, blue: 9 }));
        let neither = "as its only two destinations: correct spec.green, spec.blue or the rule";
        let alone = rules("{name: a, route: [{destination: {host: model-svc-green, port: {number: 80}}}]}");
        assert_eq!(error(&alone, json!({})), format!("{service} has 0 http rules that {both}, {neither}"));
        assert_eq!(
            error(&alone, route("a")),
            format!("{service} spec.http[0] does not {both}: it has model-svc-green:80")
        );
        let redirect = rules("{name: a, redirect: {uri: /}}");
        assert_eq!(
            error(&redirect, route("a")),
            format!("{service} spec.http[0] does not {both}: it has no destinations")
        );
        let three = rules(
            "{name: a, route: [{destination: {host: model-svc-green}, weight: 1}, \
             {destination: {host: model-svc-blue, subset: s}, weight: 1}, {destination: {host: c}, weight: 1}]}",
        );
        assert_eq!(
            error(&three, route("a")),
            format!("{service} spec.http[0] does not {both}: it has model-svc-green and model-svc-blue subset s and c")
        );
    }

    #[test]
    fn two_rollouts_share_a_service_but_never_a_rule() {
        let (green, blue) = ("{host: model-svc-green}", "{host: model-svc-blue}");
        let documents = rules(&format!("{}, {}", split("a", green, blue), split("b", blue, green)));
        let named = |name: &str, http: &str| {
            let mut rollout = rollout(json!({"route": {"virtualService": "model", "http": http}}));
            rollout.metadata.name = name.to_owned();
            rollout
        };
        let (a, b) = (named("one", "a"), named("two", "b"));
        let (five, six) = (Weights { green: 5, blue: 95 }, Weights { green: 6, blue: 94 });
        let text = publish(&documents, &[(&a, five), (&b, six)]).unwrap();
        let published = self::documents(&text);
        assert_eq!((route_weights(&published, &a), route_weights(&published, &b)), (Ok(five), Ok(six)));
        let conflict = publish(&documents, &[(&a, five), (&named("two", "a"), six)]).unwrap_err();
        assert_eq!(
            conflict.to_string(),
            "rollouts abtesting/one and abtesting/two govern the same rule, VirtualService abtesting/model spec.http[0]: \
             change spec.route of one of them"
        );
    }

    #[test]
    fn what_cannot_be_published_is_refused() {
        let (green, blue) = ("{host: model-svc-green}", "{host: model-svc-blue}");
        let documents = rules(&split("a", green, blue));
        let rollout = rollout(json!({}));
        let nothing = publish(&documents, &[(&rollout, Weights { green: 0, blue: 0 })]).unwrap_err();
        assert_eq!(nothing.to_string(), "rollout abtesting/model: both weights are 0, which no rule may have");
        let long = "x".repeat(MAX_PUBLISHED_BYTES);
        let large = rules(&format!("{{directResponse: {{status: 200, body: {{string: {long}}}}}}}"));
        let error = publish(&large, &[]).unwrap_err();
        assert!(matches!(error, RenderError::TooLarge { size } if size > MAX_PUBLISHED_BYTES), "{error}");
    }
}
