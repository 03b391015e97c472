//! What is read once at start: flags and environment. What people change while it runs is in ModelRollouts and
//! documents.

use clap::Args;
use std::net::SocketAddr;
use std::str::FromStr;
use turnout_rollout::ModelRollout;

/// What a controller governs, and through what.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The namespaces whose ModelRollouts, routes and models it governs.
    #[arg(long, value_name = "NAME,...", env = "TURNOUT_NAMESPACES", value_delimiter = ',', required = true)]
    pub namespaces: Vec<String>,

    /// Namespaces whose rules may be governed by rollouts of other governed namespaces, too.
    #[arg(long, value_name = "NAME,...", env = "TURNOUT_SHARED_ROUTE_NAMESPACES", value_delimiter = ',')]
    pub shared_route_namespaces: Vec<String>,

    /// It drives the ModelRollouts whose spec.controller is this; without it those that have none.
    #[arg(long, value_name = "NAME", env = "TURNOUT_CLASS")]
    pub class: Option<String>,

    /// Its own namespace: that of the gateways, of the published ConfigMap and of the lease.
    #[arg(long, value_name = "NAME", env = "TURNOUT_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Who it is in the lease and in Events: its pod's name.
    #[arg(long, value_name = "NAME", env = "TURNOUT_IDENTITY", default_value = "turnout-controller")]
    pub identity: String,

    /// The Service whose endpoints are the gateways. Without it nothing is published, and only rollouts with
    /// `mode: Istio` are driven.
    #[arg(long, value_name = "NAME", env = "TURNOUT_GATEWAY_SERVICE")]
    pub gateway_service: Option<String>,

    /// The gateways' status port, on which they report what they have.
    #[arg(long, value_name = "PORT", env = "TURNOUT_GATEWAY_STATUS_PORT", default_value_t = 15021)]
    pub gateway_status_port: u16,

    /// The ConfigMap that the gateways mount, which the controller writes.
    #[arg(long, value_name = "NAME", env = "TURNOUT_ROUTES_CONFIGMAP", default_value = "turnout-routes")]
    pub routes_configmap: String,

    /// Where the documents come from: `objects` (VirtualService, DestinationRule, Gateway and ServiceEntry objects in
    /// the governed namespaces) or `configmap:NAME` (the *.yaml keys of that ConfigMap in its own namespace).
    #[arg(long, value_name = "SOURCE", env = "TURNOUT_DOCUMENTS", default_value = "objects")]
    pub documents: DocumentSource,

    /// Where gateways find a Service's endpoints: `twins` (a headless Service beside each one that the routes name) or
    /// `cluster-ip` (kube-proxy balances).
    #[arg(long, value_name = "KIND", env = "TURNOUT_REGISTRY", default_value = "twins")]
    pub registry: RegistryKind,

    /// The Lease by which one of several replicas leads.
    #[arg(long, value_name = "NAME", env = "TURNOUT_LEASE", default_value = "turnout-controller")]
    pub lease: String,

    /// Where /livez, /readyz and /metrics are.
    #[arg(long, value_name = "ADDR:PORT", env = "TURNOUT_CONTROLLER_LISTEN", default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
}

/// Where the documents come from. One source per installation: objects and a ConfigMap are never merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    /// The objects of the governed namespaces.
    Objects,
    /// The keys of a ConfigMap.
    ConfigMap(String),
}

impl FromStr for DocumentSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "objects" => Ok(Self::Objects),
            Some(("configmap", name)) if !name.is_empty() => Ok(Self::ConfigMap(name.to_owned())),
            _ => Err(format!("`{text}` is no source of documents: write objects or configmap:NAME")),
        }
    }
}

/// Where gateways find a Service's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryKind {
    /// In DNS, by a headless Service that the controller makes.
    Twins,
    /// At the Service's cluster IP.
    ClusterIp,
}

impl FromStr for RegistryKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "twins" => Ok(Self::Twins),
            "cluster-ip" => Ok(Self::ClusterIp),
            _ => Err(format!("`{text}` is no kind of registry: write twins or cluster-ip")),
        }
    }
}

impl Settings {
    /// It publishes routes for gateways.
    pub fn has_gateway(&self) -> bool {
        self.gateway_service.is_some()
    }

    /// Whether a rollout may govern the rule that it names: one of its own namespace, or of one that is shared.
    pub fn may_govern(&self, rollout: &ModelRollout) -> bool {
        let of_route = rollout.route_namespace();
        of_route == rollout.metadata.namespace || self.shared_route_namespaces.iter().any(|shared| shared == of_route)
    }

    /// Whether objects of the namespace are its business.
    pub fn governs(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|governed| governed == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_kinds_are_read_and_others_refused() {
        let check = |text: &str, expected: Option<DocumentSource>| {
            assert_eq!(text.parse::<DocumentSource>().ok(), expected, "{text}");
        };
        check("objects", Some(DocumentSource::Objects));
        check("configmap:documents", Some(DocumentSource::ConfigMap("documents".to_owned())));
        check("configmap:", None);
        check("configmap", None);
        check("secret:documents", None);
        assert_eq!("twins".parse(), Ok(RegistryKind::Twins));
        assert_eq!("cluster-ip".parse(), Ok(RegistryKind::ClusterIp));
        assert!("dns".parse::<RegistryKind>().is_err());
    }
}
