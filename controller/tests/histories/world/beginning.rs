//! How a history begins.

use super::cast::App;
use serde_json::Value;
use std::collections::BTreeMap;

/// How a history begins.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    /// The documents are objects; else they stand in a ConfigMap.
    pub(crate) objects: bool,
    /// Gateways find pods by headless twins; else Services by their cluster IPs.
    pub(crate) twins: bool,
    /// Without any the controller publishes for none.
    pub(crate) gateways: u8,
    pub(crate) models: BTreeMap<App, Model>,
}

/// A model, as it is when its rollout is made.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Of the rollout, but for route and backends.
    pub(crate) spec: Value,
    /// What green serves already.
    pub(crate) green: Option<u8>,
    /// Its pods say what they serve.
    pub(crate) labelled: bool,
    /// Its Services come and go with the Deployments.
    pub(crate) brings_services: bool,
}

impl Model {
    /// The controller makes its Deployments; green is the first template.
    pub(crate) fn is_managed(&self) -> bool {
        self.spec["workload"] == "Managed"
    }

    /// Its weights are those of its VirtualService in the cluster.
    pub(crate) fn is_in_istio_mode(&self) -> bool {
        self.spec["mode"] == "Istio"
    }
}
