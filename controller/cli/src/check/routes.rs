//! What is published, as a gateway reads it: names that lead nowhere, and Services that are not there. What is doubtful is
//! for the router of the gateways to say, and which Services there must be for the controller's registry.

use super::documents::DOCUMENTS;
use super::report::Report;
use crate::client::cluster::backends::Behind;
use crate::client::cluster::gateways::Published;
use crate::client::cluster::{Cluster, Failure};
use crate::client::view::GatewayView;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use turnout_rollout::{Backend, EndpointsBy, ModelRollout, ServiceName, full_host, registry, services_named};
use turnout_routes::documents::Document;
use turnout_routes::router::{Identity, Missing, Router, Warning, compile};

/// Services that are looked at side by side.
const AT_ONCE: usize = 8;

/// What is published, and whom it concerns.
pub(super) struct Routes<'a> {
    pub(super) published: &'a Published,
    pub(super) documents: &'a [Document],
    /// What the gateways are; none if that may not be read.
    pub(super) identity: Option<Identity>,
    pub(super) gateways: &'a [GatewayView],
    pub(super) rollouts: &'a [&'a ModelRollout],
}

pub(super) async fn check(cluster: &Cluster, routes: &Routes<'_>, report: &mut Report) {
    let before = report.troubles();
    let mut told = Vec::new();
    if let Some(identity) = &routes.identity {
        let router = compile(routes.documents, identity);
        routes.judge(&router, report);
        told = routes.published.locate(&router);
    }
    routes.repeat_gateways(&told, report);
    if let Err(failure) = check_services(cluster, routes, report).await {
        report.warn(DOCUMENTS, failure.to_string(), "the Services of destinations were not looked at");
    }
    if report.troubles() == before {
        report.pass(DOCUMENTS, "what is published names nothing that is not there");
    }
}

impl Routes<'_> {
    /// Whether some rollout governs the VirtualService that is called so.
    fn is_governed(&self, namespace: &str, name: &str) -> bool {
        let is_it = |rollout: &&ModelRollout| {
            rollout.route_namespace() == namespace && rollout.spec.route.virtual_service == name
        };
        self.rollouts.iter().any(is_it)
    }

    fn judge(&self, router: &Router, report: &mut Report) {
        // What has no Service is told with the Services.
        let targets = router.splits().flat_map(|(_, split)| split.targets());
        let without_service: Vec<&Warning> = targets
            .filter(|target| matches!(target.backend, Err(Missing::Service)))
            .filter_map(|target| target.warning.as_ref())
            .collect();
        let serves_nothing = router.rules().is_empty();
        for warning in router.warnings().filter(|warning| !without_service.contains(warning)) {
            let Warning { kind, namespace, name, path, gets_503, advice, .. } = warning;
            let text = format!("{kind} {namespace}/{name}: {path}: {}", warning.message());
            let is_unserved = *kind == "VirtualService" && !path.starts_with("spec.http[");
            if *gets_503 || serves_nothing || (is_unserved && self.is_governed(namespace, name)) {
                report.fail(DOCUMENTS, text, advice.clone());
            } else {
                report.warn(DOCUMENTS, text, advice.clone());
            }
        }
        // Of documents that may be another gateway's there is only a notice, unless a rollout waits for them.
        for rollout in self.rollouts {
            let document =
                format!("VirtualService {}/{}: ", rollout.route_namespace(), rollout.spec.route.virtual_service);
            for notice in router.notices().iter().filter(|notice| notice.starts_with(&document)) {
                let hint = "every request for it gets 404: name a Gateway that is there under spec.gateways";
                report.fail(DOCUMENTS, notice.clone(), hint);
            }
        }
    }

    /// What the gateways say besides, as of ports that they do not serve and of certificates.
    fn repeat_gateways(&self, told: &[String], report: &mut Report) {
        let mut said: BTreeMap<&String, &str> = BTreeMap::new();
        for gateway in self.gateways {
            for warning in gateway.report.warnings().iter().filter(|warning| !told.contains(warning)) {
                said.entry(warning).or_insert_with(|| gateway.report.id());
            }
        }
        for (warning, gateway) in said {
            let hint = "the chart's gateway.service.ports are the listeners, and gateway.tls.credentialNames the \
                        certificates; all else is in the documents";
            report.warn(DOCUMENTS, format!("{gateway} says: {warning}"), hint);
        }
    }
}

/// Those that destinations name. What stands behind rollouts is told with them.
async fn check_services(cluster: &Cluster, routes: &Routes<'_>, report: &mut Report) -> Result<(), Failure> {
    let is_of_rollout = |service: &ServiceName| {
        let is_it = |rollout: &&ModelRollout, backend: Backend| {
            full_host(&rollout.spec.backend(backend).host, rollout.route_namespace()) == service.host()
        };
        routes.rollouts.iter().any(|rollout| Backend::BOTH.iter().any(|backend| is_it(rollout, *backend)))
    };
    // Where no Service is known the registry says of each, in their order, that it is not.
    let named = services_named(routes.documents).into_iter();
    let unknown = registry(routes.documents, &[], EndpointsBy::Twins).notices;
    let pairs = named.zip(unknown).filter(|(service, _)| !is_of_rollout(service));
    let looked = pairs.map(async |(service, unknown)| {
        Ok::<_, Failure>((cluster.behind_service(service, BTreeMap::new()).await?, unknown))
    });
    let seen: Vec<_> = stream::iter(looked).buffered(AT_ONCE).try_collect().await?;
    for (behind, unknown) in seen {
        match behind {
            Behind::NoService(_) => {
                let (text, hint) = unknown.split_once(": ").unwrap_or((&unknown, ""));
                report.fail(DOCUMENTS, text, hint.to_owned());
            }
            Behind::Pods { service, selector, pods } if pods.is_empty() => {
                let text =
                    format!("Service {service}, which a destination names, selects {selector}, and no pod has that");
                report.warn(DOCUMENTS, text, "deploy its pods, or correct its selector: requests for it get 503");
            }
            _ => {}
        }
    }
    Ok(())
}
