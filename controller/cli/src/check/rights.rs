//! Rights: your own, and those that a controller needs. The API server is asked for each (SelfSubjectAccessReview,
//! SubjectAccessReview), so that it does not matter where they come from.

use super::controller::Controller;
use super::report::Report;
use crate::client::cluster::{Cluster, Failure};
use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use std::fmt;
use turnout_controller::names::{GROUP, PLURAL};
use turnout_controller::settings::{DocumentSource, RegistryKind};
use turnout_rollout::{Backend, Mode, ModelRollout, Workload};

const RIGHTS: &str = "rights";
const ISTIO: &str = "networking.istio.io";
const DOCUMENTS: [&str; 4] = ["virtualservices", "destinationrules", "gateways", "serviceentries"];

/// What the controller needs in a namespace with managed workloads, beyond what it needs in any.
const MANAGED: [(&str, &[&str]); 2] = [
    ("deployments", &["create", "update", "patch", "delete"]),
    ("controllerrevisions", &["get", "list", "create", "delete"]),
];

/// To do something with a kind of object, or with one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    verb: &'static str,
    group: &'static str,
    /// With its subresource, as `modelrollouts/status`.
    resource: String,
    name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl Right {
    fn attributes(&self, namespace: &str) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: self.name.clone(),
            ..ResourceAttributes::default()
        }
    }
}

/// A list of rights in the making.
#[derive(Default)]
struct Rights(Vec<Right>);

impl Rights {
    fn add(&mut self, group: &'static str, resource: impl Into<String>, verbs: &[&'static str]) {
        self.add_named(group, resource, None, verbs);
    }

    fn add_named(
        &mut self,
        group: &'static str,
        resource: impl Into<String>,
        name: Option<&str>,
        verbs: &[&'static str],
    ) {
        let resource = resource.into();
        let right = |&verb| Right { verb, group, resource: resource.clone(), name: name.map(str::to_owned) };
        self.0.extend(verbs.iter().map(right));
    }
}

/// What you may do with the rollouts of a namespace.
pub(super) async fn check_own(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let missing_of = async |verbs: &[&'static str]| {
        let mut rights = Rights::default();
        rights.add(GROUP, PLURAL, verbs);
        missing(rights.0, |right| cluster.may(right, namespace)).await
    };
    let missing =
        async { Ok::<_, Failure>((missing_of(&["get", "list"]).await?, missing_of(&["watch", "patch"]).await?)) };
    match missing.await {
        Ok((reading, changing)) if reading.is_empty() && changing.is_empty() => {
            report.pass(RIGHTS, format!("you may get, list, watch and patch {PLURAL} in {namespace}"));
        }
        Ok((reading, changing)) if reading.is_empty() => {
            let text = format!("in {namespace} you may not {}", sentence(&changing));
            report.warn(RIGHTS, text, "without `patch` you can look at rollouts, but not start, promote or roll back");
        }
        Ok((reading, changing)) => {
            let all = [reading, changing].concat();
            let text = format!("in {namespace} you may not {}", sentence(&all));
            report.fail(RIGHTS, text, "ask for a Role with get, list, watch and patch on modelrollouts of turnout.dev");
        }
        Err(failure) => report.warn(RIGHTS, failure.to_string(), "your rights were not looked at"),
    }
}

/// What the controller may do, where it must.
pub(super) async fn check_controller(
    cluster: &Cluster,
    controller: &Controller,
    rollouts: &[&ModelRollout],
    report: &mut Report,
) {
    let home = &controller.settings.namespace;
    let user = format!("system:serviceaccount:{home}:{}", controller.service_account);
    for (namespace, rights) in needed(controller, rollouts) {
        let count = rights.len();
        match missing(rights, |right| cluster.may_as(&user, home, right, &namespace)).await {
            Ok(missing) if missing.is_empty() => {
                report.pass(RIGHTS, format!("{user} has the {count} rights that it needs in {namespace}"));
            }
            Ok(missing) => {
                let text = format!("in {namespace} {user} may not {}", sentence(&missing));
                report.fail(RIGHTS, text, advice(&namespace, &missing));
            }
            Err(failure) if failure.is_forbidden() => {
                let text = "you have no right to ask for the rights of the controller (create subjectaccessreviews)";
                let hint = "a right that it misses shows in the condition Operational of the rollouts as well";
                report.warn(RIGHTS, text, hint);
                return;
            }
            Err(failure) => report.warn(RIGHTS, failure.to_string(), "the controller's rights were not looked at"),
        }
    }
}

/// What gives it the missing ones.
fn advice(namespace: &str, missing: &[Right]) -> String {
    let is_managed = |right: &Right| {
        let of_kind = MANAGED.iter().find(|(resource, _)| right.group == "apps" && right.resource == *resource);
        of_kind.is_some_and(|(_, verbs)| verbs.contains(&right.verb))
    };
    if missing.iter().all(is_managed) {
        return format!(
            "a rollout there has workload: Managed; list {namespace} in the chart's managedWorkloads.namespaces"
        );
    }
    "upgrade the release: its chart makes a Role in each namespace that it governs".to_owned()
}

/// What a controller needs, by namespace: as much as it uses for these rollouts.
fn needed(controller: &Controller, rollouts: &[&ModelRollout]) -> Vec<(String, Vec<Right>)> {
    let mut needed = vec![(controller.settings.namespace.clone(), at_home(controller))];
    for namespace in &controller.settings.namespaces {
        let there: Vec<&ModelRollout> =
            rollouts.iter().filter(|rollout| rollout.metadata.namespace == *namespace).copied().collect();
        needed.push((namespace.clone(), where_it_governs(controller, &there)));
    }
    needed
}

/// In the namespace of the release.
fn at_home(controller: &Controller) -> Vec<Right> {
    let (settings, mut rights) = (&controller.settings, Rights::default());
    rights.add_named("coordination.k8s.io", "leases", Some(&settings.lease), &["get", "update"]);
    rights.add("coordination.k8s.io", "leases", &["create"]);
    rights.add("events.k8s.io", "events", &["create"]);
    if settings.has_gateway() {
        if let Some(documents) = controller.documents_configmap() {
            rights.add_named("", "configmaps", Some(documents), &["get"]);
        }
        rights.add_named("", "configmaps", Some(&settings.routes_configmap), &["get", "update"]);
        rights.add("", "configmaps", &["list", "watch"]);
        rights.add("discovery.k8s.io", "endpointslices", &["list", "watch"]);
        rights.add("", "pods", &["patch"]);
    }
    rights.0
}

/// In a namespace that it governs, for the rollouts that are there.
fn where_it_governs(controller: &Controller, rollouts: &[&ModelRollout]) -> Vec<Right> {
    let (settings, mut rights) = (&controller.settings, Rights::default());
    rights.add(GROUP, PLURAL, &["get", "list", "watch", "patch"]);
    rights.add(GROUP, format!("{PLURAL}/status"), &["update"]);
    rights.add("events.k8s.io", "events", &["create"]);
    let reads = ["get", "list", "watch"];
    for (group, resource) in
        [("", "services"), ("", "pods"), ("discovery.k8s.io", "endpointslices"), ("apps", "deployments")]
    {
        rights.add(group, resource, &reads);
    }
    if settings.registry == RegistryKind::Twins && settings.has_gateway() {
        rights.add("", "services", &["create", "update", "delete"]);
    }
    if settings.documents == DocumentSource::Objects && settings.has_gateway() {
        for document in DOCUMENTS {
            rights.add(ISTIO, document, &reads);
            rights.add(ISTIO, format!("{document}/status"), &["patch"]);
        }
    }
    let of_istio = || rollouts.iter().filter(|rollout| rollout.spec.mode == Mode::Istio);
    if of_istio().next().is_some() {
        rights.add(ISTIO, "virtualservices", &["get", "patch"]);
    }
    if of_istio().any(|rollout| Backend::BOTH.iter().any(|it| rollout.spec.backend(*it).subset.is_some())) {
        rights.add(ISTIO, "destinationrules", &["list"]);
    }
    if rollouts.iter().any(|rollout| rollout.spec.workload == Workload::Managed) {
        for (resource, verbs) in MANAGED {
            rights.add("apps", resource, verbs);
        }
    }
    rights.0
}

/// Those that are not there.
async fn missing<F>(rights: Vec<Right>, may: impl Fn(Right) -> F) -> Result<Vec<Right>, Failure>
where
    F: Future<Output = Result<bool, Failure>>,
{
    let answers = join_all(rights.iter().cloned().map(may)).await;
    let mut missing = Vec::new();
    for (right, answer) in rights.into_iter().zip(answers) {
        if !answer? {
            missing.push(right);
        }
    }
    Ok(missing)
}

fn sentence(rights: &[Right]) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(", ")
}

impl Cluster {
    /// Whether you may.
    async fn may(&self, right: Right, namespace: &str) -> Result<bool, Failure> {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(right.attributes(namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let asked = api.create(&PostParams::default(), &review).await.map_err(self.failure("ask for your rights"))?;
        Ok(asked.status.is_some_and(|status| status.allowed))
    }

    /// Whether the service account of `home` with this name may.
    async fn may_as(&self, user: &str, home: &str, right: Right, namespace: &str) -> Result<bool, Failure> {
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{home}"), "system:authenticated"];
        let spec = SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.map(str::to_owned).to_vec()),
            resource_attributes: Some(right.attributes(namespace)),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let asked = api.create(&PostParams::default(), &review).await;
        let asked = asked.map_err(self.failure(format!("ask for the rights of {user}")))?;
        Ok(asked.status.is_some_and(|status| status.allowed))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::client::view::testing::rollout;
    use serde::Deserialize as _;
    use serde_json::{Value, json};
    use std::path::Path;

    /// The objects of a rendering of the chart: those of its own file, and what it has in common with the default.
    fn rendered(case: &str) -> Vec<Value> {
        let mut objects = golden(case);
        if case != "default" {
            let absent = objects.remove(0)["absent"].as_array().unwrap().clone();
            let common = golden("default").into_iter().filter(|object| {
                !objects.iter().any(|own| title(own) == title(object)) && !absent.contains(&json!(title(object)))
            });
            objects.extend(common.collect::<Vec<_>>());
        }
        objects
    }

    fn golden(case: &str) -> Vec<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/charts/golden/{case}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
    }

    /// As the golden files have it.
    fn title(object: &Value) -> String {
        let of_metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        format!("{} {}/{}", object["kind"].as_str().unwrap(), of_metadata("namespace"), of_metadata("name"))
    }

    fn controller(objects: &[Value]) -> Controller {
        let is_it = |object: &&Value| {
            object["kind"] == "Deployment"
                && object["metadata"]["labels"]["app.kubernetes.io/component"] == "controller"
        };
        let deployment = objects.iter().find(is_it).unwrap().clone();
        Controller::of(serde_json::from_value(deployment).unwrap()).unwrap()
    }

    /// Whether a Role of the namespace has it.
    fn is_given(objects: &[Value], namespace: &str, right: &Right) -> bool {
        let has = |rule: &Value, field: &str, word: &str| rule[field].as_array().unwrap().iter().any(|it| it == word);
        let is_role = |it: &&Value| it["kind"] == "Role" && it["metadata"]["namespace"] == namespace;
        let roles = objects.iter().filter(is_role);
        roles.flat_map(|role| role["rules"].as_array().unwrap()).any(|rule| {
            let is_named = |name: &String| has(rule, "resourceNames", name);
            has(rule, "apiGroups", right.group)
                && has(rule, "resources", &right.resource)
                && has(rule, "verbs", right.verb)
                && (rule["resourceNames"].is_null() || right.name.as_ref().is_some_and(is_named))
        })
    }

    #[test]
    fn a_controller_needs_nothing_that_its_chart_does_not_give() {
        let check = |case: &str, spec: Value, missing: &[&str]| {
            let objects = rendered(case);
            let controller = controller(&objects);
            let mut rollout = rollout(&spec);
            rollout.metadata.namespace.clone_from(&controller.settings.namespaces[0]);
            let needed = needed(&controller, &[&rollout]);
            assert_eq!(needed.len(), 1 + controller.settings.namespaces.len());
            let rights = needed.iter().flat_map(|(place, rights)| rights.iter().map(move |right| (place, right)));
            let lacking = rights.filter(|(namespace, right)| !is_given(&objects, namespace, right));
            let lacking: Vec<String> = lacking.map(|(_, right)| right.to_string()).collect();
            assert_eq!(lacking, missing, "{case} {spec}");
        };
        for case in ["aks", "bare", "default", "prometheus", "tls", "two-namespaces"] {
            check(case, json!({}), &[]);
        }
        let of_istio = json!({"mode": "Istio", "green": {"host": "m", "subset": "v1"}});
        check("istio-only", of_istio.clone(), &[]);
        check("managed", json!({"workload": "Managed"}), &[]);
        check("default", of_istio, &["get virtualservices", "patch virtualservices", "list destinationrules"]);
    }

    #[test]
    fn managed_workloads_need_their_namespace_to_be_listed() {
        let objects = rendered("two-namespaces");
        let controller = controller(&objects);
        let rollouts = ["abtesting", "forecasting"].map(|namespace| {
            let mut rollout = rollout(&json!({"workload": "Managed"}));
            namespace.clone_into(&mut rollout.metadata.namespace);
            rollout
        });
        for (namespace, rights) in needed(&controller, &rollouts.each_ref()) {
            let lacking: Vec<Right> =
                rights.into_iter().filter(|right| !is_given(&objects, &namespace, right)).collect();
            let expected = if namespace == "abtesting" { 8 } else { 0 };
            assert_eq!(lacking.len(), expected, "{namespace}: {lacking:?}");
            if expected > 0 {
                assert!(advice(&namespace, &lacking).contains("abtesting in the chart's managedWorkloads.namespaces"));
                let others =
                    [lacking, vec![Right { verb: "list", group: "", resource: "pods".to_owned(), name: None }]];
                assert!(advice(&namespace, &others.concat()).contains("upgrade the release"));
            }
        }
    }
}
