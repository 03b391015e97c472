//! The gateways: which are live, what each reports, and the nudge that makes kubelet bring them new routes at once.
//!
//! Live are the endpoints of the gateways' Service that still serve. One that drains takes no new connections and
//! confirms nothing, but its requests in flight count until it is gone; one that has just started has no routes yet, so
//! does not serve either, and is nudged like the others.

use crate::kube_api::{ApiError, list};
use crate::names::{FIELD_MANAGER, NUDGE};
use crate::settings::Settings;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use turnout_driver::outbound::Outbound;
use turnout_driver::outbound::{Call, OutboundError};
use turnout_driver::{Gateway, Inquiry};
use turnout_rollout::GatewayReport;

/// All gateways, in the order of their pods' names, each just asked.
pub async fn look(
    client: &Client,
    settings: &Settings,
    outbound: &Arc<dyn Outbound>,
    inquiry: &mut Inquiry,
) -> Result<Vec<Gateway>, ApiError> {
    let Some(service) = &settings.gateway_service else { return Ok(Vec::new()) };
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &settings.namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = list(&api, &settings.namespace, &of_service).await?;
    let endpoints = endpoints(&slices);
    let status = |address| SocketAddr::new(address, settings.gateway_status_port);
    let asked: Vec<_> = endpoints.iter().map(|(pod, endpoint)| (pod.clone(), status(endpoint.address))).collect();
    let mut reports = inquiry.ask(outbound, &asked).await;
    let found = endpoints.into_iter().map(|(id, Endpoint { address, serving, terminating })| {
        let (status, report, hangs) = (status(address), reports.remove(&id), inquiry.hangs(&id));
        async move {
            // What neither serves nor listens has gone, or has not come yet.
            if report.is_none() && !serving && !hangs && !listens(&**outbound, status).await {
                return None;
            }
            let report = report.unwrap_or_else(|| GatewayReport::silent(id.clone()));
            let report = if serving { report } else { report.draining() };
            Some(Gateway { id, serving, terminating, status, report })
        }
    });
    Ok(join_all(found).await.into_iter().flatten().collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    address: IpAddr,
    serving: bool,
    terminating: bool,
}

/// By pod. One that is in two slices while it moves between them serves if one of them says so. Of a pod with two addresses
/// the one of IPv4 is asked: the gateway's own default is to listen there.
fn endpoints(slices: &[EndpointSlice]) -> BTreeMap<String, Endpoint> {
    let mut found: BTreeMap<String, Endpoint> = BTreeMap::new();
    let (of_v4, others): (Vec<_>, Vec<_>) = slices.iter().partition(|slice| slice.address_type == "IPv4");
    for endpoint in of_v4.into_iter().chain(others).flat_map(|slice| &slice.endpoints) {
        let Some(address) = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let serving = conditions.serving.or(conditions.ready).unwrap_or(true);
        let next = Endpoint { address, serving, terminating: conditions.terminating.unwrap_or(false) };
        let known = found.entry(pod.unwrap_or_else(|| address.to_string())).or_insert(next);
        known.serving |= serving;
    }
    found
}

/// Whether somebody is there who may answer yet, as far as anybody can tell.
async fn listens(outbound: &dyn Outbound, status: SocketAddr) -> bool {
    let answer = outbound.send(Call::get(status, "/livez")).await;
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    !matches!(&answer, Err(OutboundError::Connect(_, error)) if refused(error))
}

/// Gives the pods' annotation a value that it never had, which makes kubelet sync them and with them the mounted
/// routes. What was just written must have been answered before: in the other order kubelet may mount the old routes and
/// rest for a minute.
pub async fn nudge(client: &Client, settings: &Settings, pods: &[String], value: &str) -> Result<(), ApiError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &settings.namespace);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { NUDGE: value } } }));
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let (api, parameters, patch) = (&api, &parameters, &patch);
    let nudges = pods.iter().map(|pod| async move {
        let name = format!("pods {}/{pod}", settings.namespace);
        match api.patch_metadata(pod, parameters, patch).await.map_err(ApiError::of("patch", name)) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    });
    join_all(nudges).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_gateway_with_two_addresses_that_of_ipv4_is_asked() {
        let slice = |family: &str, address: &str| -> EndpointSlice {
            let endpoint = json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": "a"}});
            let slice = json!({"addressType": family, "metadata": {"name": "s"}, "endpoints": [endpoint]});
            serde_json::from_value(slice).expect("a slice")
        };
        let found = endpoints(&[slice("IPv6", "fd00::1"), slice("IPv4", "10.0.0.1")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found["a"].address.to_string(), "10.0.0.1");
        assert_eq!(endpoints(&[slice("IPv6", "fd00::1")])["a"].address.to_string(), "fd00::1");
    }

    #[test]
    fn an_endpoint_serves_unless_it_says_otherwise() {
        let slice = |endpoints: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(json!({
                "addressType": "IPv4", "metadata": {"name": "s"}, "ports": [], "endpoints": endpoints,
            }))
            .expect("a slice")
        };
        let pod = |name: &str| json!({"kind": "Pod", "name": name});
        let slices = [
            slice(json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true}, "targetRef": pod("a")},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true}, "targetRef": pod("b")},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": false}, "targetRef": pod("c")},
                {"addresses": ["10.0.0.4"], "conditions": {}, "targetRef": pod("d")},
            ])),
            slice(json!([
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "serving": true}, "targetRef": pod("c")},
                {"addresses": ["10.0.0.5"]},
            ])),
        ];
        let found = endpoints(&slices);
        let serving: Vec<_> = found.iter().map(|(pod, found)| (pod.as_str(), found.serving)).collect();
        assert_eq!(serving, [("10.0.0.5", true), ("a", true), ("b", true), ("c", true), ("d", true)]);
        assert!(!endpoints(&slices[..1])["c"].serving);
    }
}
