//! The controllers: where they are, what they govern (which their own flags say), and whether one of each leads.

use super::report::Report;
use super::{Arguments, check_version};
use crate::client::cluster::{Cluster, gateways, pods};
use clap::builder::Resettable;
use clap::{Args as _, FromArgMatches as _};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt as _;
use kube::api::Api;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use turnout_controller::names::UNINSTALLING;
use turnout_controller::settings::{DocumentSource, Settings};

pub(super) const CONTROLLER: &str = "controller";
const LABELS: &str = "app.kubernetes.io/part-of=turnout,app.kubernetes.io/component=controller";
/// How old the renewal of a lease may look: what the leader's clock and this one may differ is in it.
const OLDEST_RENEWAL: Duration = Duration::from_mins(2);

/// A controller's Deployment, and what its flags say.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    deployment: Deployment,
    /// Who it is to the API server.
    pub(super) service_account: String,
    pub(super) settings: Settings,
}

/// Finds them, or says that there is none.
pub(super) async fn find(cluster: &Cluster, arguments: &Arguments, report: &mut Report) -> Vec<Controller> {
    let found = cluster
        .find::<Deployment>(LABELS, "the controllers' Deployments", &arguments.cluster.installation.installation())
        .await;
    let mut deployments = match found {
        Ok(deployments) => deployments,
        Err(failure) => {
            let hint = "name the namespace where Turnout is installed by --gateway-namespace";
            report.warn(CONTROLLER, failure.to_string(), hint);
            return Vec::new();
        }
    };
    gateways::narrow(&mut deployments, arguments.cluster.access.access().namespace.as_deref());
    if deployments.is_empty() {
        let text = format!("no controller was found: no Deployment has the labels {LABELS}");
        report.fail(CONTROLLER, text, "install the chart, or name its namespace by --gateway-namespace");
    }
    let mut controllers = Vec::new();
    for deployment in deployments {
        let title = title(&deployment);
        match Controller::of(deployment) {
            Ok(controller) => controllers.push(controller),
            Err(problem) => {
                let hint = "correct the args and env of its container; turnout-controller run --help lists them";
                report.fail(CONTROLLER, format!("{title} cannot start: {problem}"), hint);
            }
        }
    }
    controllers
}

impl Controller {
    /// Or why it cannot run.
    pub(super) fn of(deployment: Deployment) -> Result<Self, String> {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let container = pod.and_then(|pod| pod.containers.first()).ok_or("it has no container")?;
        let settings = settings(container, &deployment.namespace().unwrap_or_default())?;
        let service_account = pod.and_then(|pod| pod.service_account_name.clone());
        Ok(Self { service_account: service_account.unwrap_or_else(|| "default".to_owned()), settings, deployment })
    }

    /// The ConfigMap of the users' documents; none where they are objects.
    pub(super) fn documents_configmap(&self) -> Option<&str> {
        match &self.settings.documents {
            DocumentSource::Objects => None,
            DocumentSource::ConfigMap(name) => Some(name),
        }
    }

    /// What tells its release from another one of the same namespace.
    pub(super) fn instance(&self) -> Option<&String> {
        self.deployment.labels().get(gateways::INSTANCE)
    }
}

/// What a container is told, as the controller in it reads that. Flags that this turnout does not know are left to their
/// release. Its own namespace is where it runs, and what it governs unless it is told.
fn settings(container: &Container, namespace: &str) -> Result<Settings, String> {
    let command = Settings::augment_args(clap::Command::new(CONTROLLER).no_binary_name(true));
    let told = command.get_arguments().filter_map(|argument| {
        let flag = format!("--{}", argument.get_long()?);
        let value = setting(container, &flag, argument.get_env()?.to_str()?)?;
        Some(format!("{flag}={value}"))
    });
    let mut told: Vec<String> = told.collect();
    if !told.iter().any(|flag| flag.starts_with("--namespaces=")) {
        told.push(format!("--namespaces={namespace}"));
    }
    // The environment of this command line says nothing of it.
    let command = command.mut_args(|argument| argument.env(Resettable::Reset));
    let read = command.try_get_matches_from(told).and_then(|matches| Settings::from_arg_matches(&matches));
    let settings = read.map_err(|error| {
        let said = error.to_string();
        said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    Ok(Settings { namespace: namespace.to_owned(), ..settings })
}

/// A setting of a container, by its flag or its variable.
pub(super) fn setting(container: &Container, flag: &str, variable: &str) -> Option<String> {
    let arguments = container.args.as_deref().unwrap_or_default();
    let joined = format!("{flag}=");
    let after = |place: usize| arguments.get(place + 1).cloned();
    let by_flag = arguments.iter().find_map(|argument| argument.strip_prefix(&joined)).map(str::to_owned);
    let by_flag = by_flag.or_else(|| arguments.iter().position(|argument| argument == flag).and_then(after));
    by_flag.or_else(|| {
        let mut variables = container.env.iter().flatten();
        variables.find(|found| found.name == variable).and_then(|found| found.value.clone())
    })
}

/// Whether it runs, and leads.
pub(super) async fn check(cluster: &Cluster, controller: &Controller, report: &mut Report) {
    check_deployment(cluster, CONTROLLER, &controller.deployment, report).await;
    check_lease(cluster, controller, report).await;
    check_version(&title(&controller.deployment), version(&controller.deployment).as_deref(), report);
}

/// Whether a Deployment has the pods that it wants, and what keeps those from it that it lacks.
pub(super) async fn check_deployment(
    cluster: &Cluster,
    subject: &'static str,
    deployment: &Deployment,
    report: &mut Report,
) {
    let status = deployment.status.as_ref();
    let lacks_some = status.and_then(|status| status.unavailable_replicas).is_some_and(|count| count > 0);
    let lacks = lacks_some || available(deployment) < wanted(deployment);
    let trouble = if lacks { trouble(cluster, deployment).await } else { None };
    judge_deployment(subject, deployment, trouble, report);
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn available(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// What keeps a pod of a Deployment from being ready, or from being there at all, and what to do; nothing, if that may
/// not be looked at.
async fn trouble(cluster: &Cluster, deployment: &Deployment) -> Option<(String, String)> {
    let labels = deployment.spec.as_ref()?.selector.match_labels.as_ref()?;
    let selector = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    let namespace = deployment.namespace().unwrap_or_default();
    let listed = cluster.pods_with(&namespace, &selector, "list the pods of a Deployment").await.ok()?;
    let of_pod = listed.iter().find_map(|pod| {
        let trouble = pods::trouble(pod)?;
        let advice = pods::advice(pod, &trouble);
        Some((trouble, advice))
    });
    of_pod.or_else(|| {
        let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
        let is_it =
            |condition: &&DeploymentCondition| condition.type_ == "ReplicaFailure" && condition.status == "True";
        let said = conditions.iter().find(is_it)?.message.clone()?;
        Some((said, "the message names the quota or the policy that refuses its pods".to_owned()))
    })
}

fn judge_deployment(
    subject: &'static str,
    deployment: &Deployment,
    trouble: Option<(String, String)>,
    report: &mut Report,
) {
    let (title, wanted, available) = (title(deployment), wanted(deployment), available(deployment));
    let count = format!("{title}: {available} of {wanted} pods are available");
    let is_troubled = trouble.is_some();
    let (text, hint) = match trouble {
        Some((trouble, advice)) => (format!("{count}; {trouble}"), advice),
        None => (count, "kubectl describe its pods: a probe that fails, or a pod that has only just begun".to_owned()),
    };
    match available {
        0 if wanted == 0 => report.fail(subject, format!("{title} is scaled to no pods"), "scale it up"),
        0 => report.fail(subject, text, hint),
        some if some < wanted || is_troubled => report.warn(subject, text, hint),
        _ => report.pass(subject, text),
    }
}

async fn check_lease(cluster: &Cluster, controller: &Controller, report: &mut Report) {
    let Settings { namespace, lease: name, .. } = &controller.settings;
    let title = format!("{namespace}/{name}");
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let read = api.get_opt(name).await.map_err(cluster.failure(format!("read the Lease {title}")));
    let lease = match read {
        Ok(Some(lease)) if lease.annotations().contains_key(UNINSTALLING) => {
            let text = format!("the Lease {title} says that the release goes: no controller leads");
            report.fail(CONTROLLER, text, given_up("lease", namespace, name));
            return;
        }
        Ok(lease) => lease.and_then(|lease| lease.spec),
        Err(failure) => {
            report.warn(CONTROLLER, failure.to_string(), "who leads was not looked at");
            return;
        }
    };
    let holder = lease.as_ref().and_then(|lease| lease.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let renewed = lease.and_then(|lease| lease.renew_time).map(|time| time.0.as_second());
    let (Some(holder), Some(renewed)) = (holder, renewed) else {
        report.fail(
            CONTROLLER,
            format!("nobody holds the Lease {title}: no controller leads"),
            "see the controller's log",
        );
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let age = now.saturating_sub(u64::try_from(renewed).unwrap_or(0));
    if age > OLDEST_RENEWAL.as_secs() {
        let text = format!("{holder} holds the Lease {title} and has not renewed it for {age} s: nobody leads");
        report.fail(CONTROLLER, text, "see the controller's log, and whether this machine's clock is right");
    } else {
        report.pass(CONTROLLER, format!("{holder} leads: it renewed the Lease {title} {age} s ago"));
    }
}

/// What to do about the mark of an uninstaller on an object.
pub(super) fn given_up(kind: &str, namespace: &str, name: &str) -> String {
    format!(
        "let `helm uninstall` end; if it was given up: \
         kubectl annotate {kind} {name} --namespace {namespace} {UNINSTALLING}-"
    )
}

/// For messages.
pub(super) fn title(deployment: &Deployment) -> String {
    format!("Deployment {}/{}", deployment.namespace().unwrap_or_default(), deployment.name_any())
}

/// By its label, else by the tag of its image.
pub(super) fn version(deployment: &Deployment) -> Option<String> {
    let label = deployment.labels().get("app.kubernetes.io/version").cloned();
    label.or_else(|| {
        let image = deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.clone()?;
        let name = image.rsplit('/').next()?;
        let (_, tag) = name.split('@').next()?.split_once(':')?;
        Some(tag.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};
    use turnout_controller::settings::RegistryKind;

    fn deployment(container: &Value, labels: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "t-controller", "namespace": "turnout", "labels": labels},
            "spec": {
                "replicas": 2, "selector": {},
                "template": {"spec": {"serviceAccountName": "t", "containers": [container]}},
            },
            "status": {"availableReplicas": 1},
        }))
        .unwrap()
    }

    #[test]
    fn what_a_controller_governs_is_what_its_flags_say() {
        let container = json!({
            "name": "controller",
            "args": ["run", "--namespaces=a,b", "--documents=configmap:docs", "--registry", "cluster-ip", "--lease=l"],
            "env": [{"name": "TURNOUT_ROUTES_CONFIGMAP", "value": "r"}],
        });
        let controller = Controller::of(deployment(&container, &json!({}))).unwrap();
        let Settings { namespaces, routes_configmap, registry, lease, .. } = &controller.settings;
        assert_eq!((namespaces.concat().as_str(), controller.documents_configmap()), ("ab", Some("docs")));
        assert_eq!((routes_configmap.as_str(), lease.as_str(), *registry), ("r", "l", RegistryKind::ClusterIp));
        let bare = Controller::of(deployment(&json!({"name": "controller"}), &json!({}))).unwrap().settings;
        assert_eq!((bare.namespace.as_str(), bare.namespaces.concat().as_str()), ("turnout", "turnout"));
        assert_eq!((bare.registry, bare.has_gateway()), (RegistryKind::Twins, false));
        let newer = json!({"name": "controller", "args": ["run", "--later=1", "--registry=dns"]});
        let problem = Controller::of(deployment(&newer, &json!({}))).unwrap_err();
        assert!(problem.starts_with("invalid value 'dns' for '--registry <KIND>': `dns` is no kind"), "{problem}");
    }

    #[test]
    fn a_version_is_told_by_label_or_tag() {
        let check = |image: &str, labels: Value, expected: Option<&str>| {
            let found = version(&deployment(&json!({"name": "c", "image": image}), &labels));
            assert_eq!(found.as_deref(), expected, "{image}");
        };
        check("host:5000/turnout:1.2.3", json!({}), Some("1.2.3"));
        check("turnout:1.2.3@sha256:00", json!({}), Some("1.2.3"));
        check("host:5000/turnout", json!({}), None);
        check("turnout@sha256:00", json!({"app.kubernetes.io/version": "0.9"}), Some("0.9"));
    }

    #[test]
    fn a_deployment_is_well_with_all_of_its_pods() {
        let check = |wanted: i32, available: i32, trouble: bool, well: bool, expected: &str| {
            let mut deployment = deployment(&json!({"name": "c"}), &json!({}));
            deployment.spec.as_mut().unwrap().replicas = Some(wanted);
            deployment.status.as_mut().unwrap().available_replicas = Some(available);
            let mut report = Report::default();
            judge_deployment(CONTROLLER, &deployment, trouble.then(Default::default), &mut report);
            let finding = report.to_json()["findings"][0].clone();
            assert_eq!((report.is_well(), finding["verdict"].as_str().unwrap()), (well, expected));
        };
        check(2, 2, false, true, "passed");
        check(2, 2, true, true, "warning");
        check(2, 1, false, true, "warning");
        check(2, 0, true, false, "failed");
        check(0, 0, false, false, "failed");
    }
}
