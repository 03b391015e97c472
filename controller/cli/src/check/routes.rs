//! What is published, as a gateway reads it: names that lead nowhere. What is doubtful is for the router of the gateways to
//! say; what stands behind destinations is told with the backends.

use super::documents::DOCUMENTS;
use super::report::Report;
use crate::client::cluster::gateways::Published;
use crate::client::view::GatewayView;
use std::collections::BTreeMap;
use turnout_rollout::ModelRollout;
use turnout_routes::documents::Document;
use turnout_routes::router::{Identity, Missing, Notice, Router, Warning, compile};

/// What is published, and whom it concerns.
pub(super) struct Routes<'a> {
    pub(super) published: &'a Published,
    pub(super) documents: &'a [Document],
    /// What the gateways are; none if that may not be read.
    pub(super) identity: Option<Identity>,
    pub(super) gateways: &'a [GatewayView],
    pub(super) rollouts: &'a [&'a ModelRollout],
}

pub(super) fn check(routes: &Routes<'_>, report: &mut Report) {
    let before = report.troubles();
    let mut told = Vec::new();
    if let Some(identity) = &routes.identity {
        let router = compile(routes.documents, identity);
        routes.judge(&router, report);
        told = routes.published.locate(&router);
    }
    routes.repeat_gateways(&told, report);
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
        // What has no Service is told with the backends.
        let targets = router.splits().flat_map(|(_, split)| split.targets());
        let without_service: Vec<&Warning> = targets
            .filter(|target| matches!(target.backend, Err(Missing::Service)))
            .filter_map(|target| target.warning.as_deref())
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
        let is_waited_for =
            |notice: &&Notice| notice.kind == "VirtualService" && self.is_governed(&notice.namespace, &notice.name);
        for notice in router.notices().iter().filter(is_waited_for) {
            report.fail(DOCUMENTS, notice.to_string(), format!("no request comes to it: {}", notice.advice));
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
