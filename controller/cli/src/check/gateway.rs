//! The gateways of an installation: that they run, and that each has what is published.

use super::controller::{Controller, check_deployment, given_up, setting, title, version};
use super::report::Report;
use super::routes::{self, Routes};
use super::{Publication, check_version};
use crate::client::access::Installation;
use crate::client::cluster::gateways::Published;
use crate::client::cluster::{Cluster, gateways};
use crate::client::view::{GatewayState, GatewayView, short};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use turnout_rollout::ModelRollout;
use turnout_routes::documents::Document;
use turnout_routes::router::Identity;

const GATEWAY: &str = "gateway";

/// With what is published for them, and the rollouts that move it.
pub(super) async fn check(
    cluster: &Cluster,
    controller: &Controller,
    (published, rollouts): (&Publication, &[&ModelRollout]),
    report: &mut Report,
) {
    let Some(service) = &controller.settings.gateway_service else {
        report.pass(GATEWAY, "there is none: Istio serves, and the controller moves its weights");
        return;
    };
    let at = Installation { gateway_namespace: Some(controller.settings.namespace.clone()) };
    let mut gateway = None;
    match cluster.find::<Deployment>(gateways::GATEWAYS, "the gateways' Deployments", &at).await {
        Ok(mut deployments) => {
            deployments.retain(|deployment| deployment.labels().get(gateways::INSTANCE) == controller.instance());
            if deployments.is_empty() {
                let text = format!("the Service {service} is to have gateways, and no Deployment of them was found");
                report.fail(GATEWAY, text, "install the chart again, with gateway.enabled");
            }
            gateway = deployments.first().and_then(identity);
            for deployment in &deployments {
                check_deployment(cluster, GATEWAY, deployment, report).await;
                check_version(&title(deployment), version(deployment).as_deref(), report);
            }
        }
        Err(failure) => report.warn(GATEWAY, failure.to_string(), "whether the gateways run was not looked at"),
    }
    match cluster.find_gateways(&at).await {
        Ok(mut pods) => {
            pods.retain(|pod: &Pod| pod.labels().get(gateways::INSTANCE) == controller.instance());
            let seen: Vec<GatewayView> = cluster.ask_gateways(pods).await.into_iter().map(|(_, seen)| seen).collect();
            if let Some((published, documents)) = check_published(published, controller, &seen, report) {
                let routes = Routes { published, documents, identity: gateway, gateways: &seen, rollouts };
                routes::check(&routes, report);
            }
        }
        Err(failure) => report.warn(GATEWAY, failure.to_string(), "what the gateways have was not looked at"),
    }
}

/// Whether each has what is published; what that is, if it is anything.
fn check_published<'a>(
    published: &'a Publication,
    controller: &Controller,
    gateways: &[GatewayView],
    report: &mut Report,
) -> Option<(&'a Published, &'a [Document])> {
    let place = (controller.settings.namespace.as_str(), controller.settings.routes_configmap.as_str());
    let (published, parsed) = match published {
        Ok(Some((published, parsed))) => (published, parsed),
        Ok(None) => {
            let text = format!("there is no ConfigMap {}/{}, which the gateways mount", place.0, place.1);
            report.fail(GATEWAY, text, "install the chart again: it makes the ConfigMap, the controller fills it");
            return None;
        }
        Err(failure) => {
            report.warn(GATEWAY, failure.to_string(), "whether the gateways have what is published was not looked at");
            return None;
        }
    };
    if published.uninstalling {
        let text = format!("ConfigMap {} says that the release goes: its controller stands still", published.title);
        report.fail(GATEWAY, text, given_up("configmap", place.0, place.1));
    }
    if published.is_empty() {
        let text = format!("nothing is published in ConfigMap {}: the gateways have no routes", published.title);
        report.warn(GATEWAY, text, "give it a VirtualService; what is wrong with documents stands above");
        return None;
    }
    report_states(gateways, &published.revision, report);
    report_languages(gateways, report);
    match parsed {
        Ok(parsed) => Some((published, &parsed.documents)),
        Err(problems) => {
            for problem in problems.as_slice() {
                let hint = "use a turnout of the release's version; else see the controller's log";
                report.warn(GATEWAY, format!("ConfigMap {}: {problem}", published.title), hint);
            }
            None
        }
    }
}

/// What its gateways are to the documents, as their flags say.
fn identity(deployment: &Deployment) -> Option<Identity> {
    let container = deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?;
    let text = |flag, variable, default: &str| setting(container, flag, variable).unwrap_or_else(|| default.to_owned());
    let labels = text("--labels", "TURNOUT_LABELS", "istio=ingressgateway");
    let pairs = labels.split(',').filter_map(|label| label.split_once('='));
    let labels = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
    Some(Identity { labels, namespace: text("--namespace", "TURNOUT_NAMESPACE", "default") })
}

fn report_states(gateways: &[GatewayView], published: &str, report: &mut Report) {
    let mut behind = 0;
    for gateway in gateways {
        let state = gateway.state(Some(published));
        let hint = match &state {
            GatewayState::AsPublished => continue,
            GatewayState::Silent(_) => "you need the right `get` on `pods/proxy` there; else see the pod's log",
            GatewayState::Rejects(_) | GatewayState::Fails(_) => {
                "a newer controller published what this gateway does not know: upgrade the gateways"
            }
            GatewayState::Behind | GatewayState::Empty | GatewayState::Unknown => {
                "kubelet brings it within seconds; if not, see the Events of the pod"
            }
        };
        behind += 1;
        let text = format!("{}: {state}", gateway.report.id());
        match state {
            GatewayState::Silent(_) => report.warn(GATEWAY, text, hint),
            _ => report.fail(GATEWAY, text, hint),
        }
    }
    if behind == 0 && !gateways.is_empty() {
        let text = format!("all of {} gateways have what is published, {}", gateways.len(), short(published));
        report.pass(GATEWAY, text);
    }
}

/// Gateways of different versions of the route language may refuse what others take.
fn report_languages(gateways: &[GatewayView], report: &mut Report) {
    let mut languages: Vec<u32> = gateways.iter().filter_map(|gateway| gateway.report.language()).collect();
    languages.sort_unstable();
    languages.dedup();
    match languages.as_slice() {
        [] => {}
        [one] => {
            report.pass(super::VERSIONS, format!("all gateways that answer read version {one} of the route language"));
        }
        several => {
            let text = format!("the gateways read different versions of the route language: {several:?}");
            report.warn(super::VERSIONS, text, "wait for the end of their rolling update");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn gateway(name: &str, revision: &Value) -> GatewayView {
        let page = crate::client::view::testing::backends(revision["active"].as_str(), 100, 0);
        GatewayView::read(name.to_owned(), revision.to_string().as_bytes(), page.as_bytes())
    }

    #[test]
    fn every_gateway_that_lacks_what_is_published_is_named() {
        let check = |gateways: &[GatewayView], well: bool, expected: &[&str]| {
            let mut report = Report::default();
            report_states(gateways, "b", &mut report);
            let found = report.to_json();
            let texts: Vec<&str> =
                found["findings"].as_array().into_iter().flatten().filter_map(|f| f["text"].as_str()).collect();
            assert_eq!((report.is_well(), texts.as_slice()), (well, expected));
        };
        let good = || gateway("g-0", &json!({"active": "b", "language": 1}));
        check(&[good(), good()], true, &["all of 2 gateways have what is published, b"]);
        check(&[good(), gateway("g-1", &json!({"active": "a"}))], false, &["g-1: not what is published"]);
        let rejecting = json!({"active": "a", "rejected": {"revision": "b", "reason": "no"}});
        check(&[gateway("g-1", &rejecting)], false, &["g-1: rejects b: no"]);
        check(&[GatewayView::silent("g-1".to_owned(), "so".to_owned())], true, &["g-1: does not answer: so"]);
        check(&[], true, &[]);
    }

    #[test]
    fn gateways_should_speak_one_language() {
        let mut report = Report::default();
        let of = |language: u32| gateway("g", &json!({"active": "a", "language": language}));
        report_languages(&[of(2), of(1), of(2)], &mut report);
        report_languages(&[of(1)], &mut report);
        let found = report.to_json();
        assert_eq!(found["findings"][0]["text"], "the gateways read different versions of the route language: [1, 2]");
        assert_eq!(found["findings"][1]["verdict"], "passed");
    }
}
