//! What there is, for a decision: which endpoints of a backend answer and what they serve, and what each gateway has.
//! The documents say where a backend is, as they say it to the gateways; an endpoint's label `turnout.dev/revision`
//! says what it serves, as a pod's does in a cluster.

use super::directory::Directory;
use super::http;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use turnout_driver::outbound::{Direct, Outbound};
use turnout_driver::{BackendView, Gateway, Inquiry};
use turnout_rollout::{
    Backend, BackendObservation, GatewayReport, ModelRollout, REVISION_LABEL, full_host, subset_labels,
};
use turnout_routes::documents::{Document, EndpointAddress, ServiceEndpoint, ServicePort};
use turnout_routes::router::ServiceEntries;

/// The namespace of the gateways that `turnout` starts itself.
pub(crate) const GATEWAYS: &str = "default";
/// Nobody listens there.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Whether an endpoint can carry the revision: what is no value of a label would refuse its document.
pub(crate) fn check_revision(revision: &str) -> anyhow::Result<()> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let has_ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = revision.as_bytes();
    let is_label =
        bytes.len() <= 63 && bytes.iter().copied().all(is_inner) && has_ends(bytes.first()) && has_ends(bytes.last());
    anyhow::ensure!(
        is_label,
        "revision `{revision}` is no value of a label, and endpoints carry it as {REVISION_LABEL}: write at most 63 \
         letters, digits, -, _ and ., and a letter or digit at both ends"
    );
    Ok(())
}

/// One endpoint of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) revision: Option<String>,
}

/// Finds the gateways and asks each. Of one whose file cannot be read nothing is known but that it is there.
pub(crate) async fn gateways(directory: &Directory, inquiry: &mut Inquiry) -> anyhow::Result<Vec<Gateway>> {
    let found = directory.gateway_addresses()?.into_iter();
    let found = found.map(|(id, addresses)| (id, addresses.map_or(NOWHERE, |addresses| addresses.status)));
    let found: Vec<(String, SocketAddr)> = found.collect();
    let outbound: Arc<dyn Outbound> = Arc::new(Direct);
    let mut reports = inquiry.ask(&outbound, &found).await;
    let gateway = |(id, status): (String, SocketAddr)| {
        let report = reports.remove(&id).unwrap_or_else(|| GatewayReport::silent(id.clone()));
        Gateway { id, serving: true, terminating: false, status, report }
    };
    Ok(found.into_iter().map(gateway).collect())
}

/// Where the documents say that a backend is, as its gateways see them; empty if nowhere.
pub(crate) fn endpoints(documents: &[Document], rollout: &ModelRollout, backend: Backend) -> Vec<Endpoint> {
    let reference = rollout.spec.backend(backend);
    let host = full_host(&reference.host, rollout.route_namespace());
    let entries = ServiceEntries::new(documents, GATEWAYS);
    let labels = subset_labels(documents, GATEWAYS, (&host, reference.subset.as_deref()));
    let mut listeners = documents.iter().filter_map(|document| match document {
        Document::Gateway(gateway) => Some(gateway.servers.iter().map(|server| server.port)),
        _ => None,
    });
    let service = entries.get(&host).and_then(|service| {
        let implied = || service.implied_port(rollout.route_namespace());
        // Of several ports, that by which requests come in.
        let of_listener = || listeners.by_ref().flatten().find(|port| service.port(Some(*port)).is_ok());
        let wanted = reference.port.or_else(implied).or_else(of_listener);
        Some((service, service.port(wanted).ok()?))
    });
    let (Some((service, port)), Some(labels)) = (service, labels) else { return Vec::new() };
    let is_selected =
        |endpoint: &&ServiceEndpoint| labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value));
    let endpoint = |endpoint: &ServiceEndpoint, port: &ServicePort| {
        let number = endpoint.ports.get(&port.name).copied().unwrap_or(port.target_port.unwrap_or(port.number));
        let address = match &endpoint.address {
            EndpointAddress::Ip(address) => SocketAddr::new(*address, number).to_string(),
            EndpointAddress::Name(name) => format!("{name}:{number}"),
        };
        Endpoint { address, revision: endpoint.labels.get(REVISION_LABEL).cloned() }
    };
    let sources = service.sources(port).flat_map(|(entry, port)| {
        entry.resolution.endpoints().iter().filter(is_selected).map(move |one| endpoint(one, port))
    });
    sources.collect()
}

/// Asks every endpoint of a backend for its root. What answers, and not with a fault of its own, is ready.
pub(crate) async fn backend(endpoints: &[Endpoint]) -> BackendView {
    let mut asked = JoinSet::new();
    for endpoint in endpoints.iter().cloned() {
        asked.spawn(async move {
            let address = lookup_host(&endpoint.address).await.ok()?.next()?;
            let (status, _) = http::get(&endpoint.address, "/").await.ok()?;
            (!status.is_server_error()).then_some((endpoint, address))
        });
    }
    let ready: Vec<(Endpoint, SocketAddr)> = asked.join_all().await.into_iter().flatten().collect();
    let revision = ready.first().and_then(|(first, _)| first.revision.clone());
    let is_the_same = ready.iter().all(|(endpoint, _)| endpoint.revision == revision);
    let observed = BackendObservation {
        exists: !endpoints.is_empty(),
        ready_endpoints: u32::try_from(ready.len()).unwrap_or(u32::MAX),
        revision: revision.filter(|_| is_the_same),
        ..BackendObservation::default()
    };
    let ready = ready.into_iter().map(|(endpoint, address)| {
        // Another model at the same address is to be warmed anew.
        let uid = format!("{address} {}", endpoint.revision.unwrap_or_default());
        turnout_driver::Endpoint { uid, address }
    });
    BackendView { observed, ready: ready.collect(), looked_up: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with the addresses of green that are observed, of two ServiceEntries for its host.
    #[test]
    fn a_backend_is_where_its_gateways_are_told_that_it_is() {
        let entry = |name: &str, port: u16, more: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: abtesting}}\n\
                 spec: {{hosts: [model-svc-green.abtesting.svc.cluster.local], resolution: STATIC, ports: [{{number: {port}, \
                 name: p{port}, protocol: HTTP}}], endpoints: [{{address: 127.0.0.1, ports: {{p{port}: 1{port}}}}}], {more}}}\n"
            )
        };
        let several = entry("a", 5001, "").replace("ports: [{", "ports: [{number: 80, name: p80, protocol: HTTP}, {");
        let gateway = |port: u16| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: abtesting}}\n\
                 spec: {{servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n"
            )
        };
        for (entries, port, expected) in [
            ([entry("a", 5001, ""), entry("b", 5002, "")], Some(5001), &["127.0.0.1:15001"][..]),
            ([entry("a", 5002, ""), entry("b", 5001, "")], Some(5001), &["127.0.0.1:15001"]),
            ([entry("a", 5001, "exportTo: [default]"), entry("b", 5002, "")], Some(5001), &["127.0.0.1:15001"]),
            ([entry("a", 5001, "exportTo: [.]"), entry("b", 5002, "")], Some(5001), &[]),
            ([entry("a", 5001, "exportTo: [other]"), entry("b", 5002, "exportTo: [.]")], Some(5001), &[]),
            ([entry("a", 5001, ""), gateway(80)], None, &["127.0.0.1:15001"]),
            ([several.clone(), gateway(5001)], None, &["127.0.0.1:15001"]),
            ([several.clone(), gateway(80)], None, &["127.0.0.1:80"]),
            ([several, gateway(81)], None, &[]),
        ] {
            let green = serde_json::json!({"host": "model-svc-green", "port": port});
            let spec = serde_json::json!({"route": {"virtualService": "m"}, "green": green, "blue": {"host": "b"}});
            let rollout: ModelRollout = serde_json::from_value(serde_json::json!({
                "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
                "metadata": {"name": "m", "namespace": "abtesting"}, "spec": spec,
            }))
            .expect("a rollout");
            let text = entries.join("---\n");
            let source = turnout_routes::Source { name: "routes.yaml", bytes: text.as_bytes() };
            let documents = turnout_routes::parse(&[source]).expect("good documents").documents;
            let found = endpoints(&documents, &rollout, Backend::Green);
            let found: Vec<&str> = found.iter().map(|endpoint| endpoint.address.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_revision_is_what_a_label_can_hold() {
        let check = |revision: &str, is_good| assert_eq!(check_revision(revision).is_ok(), is_good, "{revision}");
        for good in ["A", "v1.2.3", "20260131_1", "3f2a61d09be4", &"a".repeat(63)] {
            check(good, true);
        }
        for bad in ["", "-a", "a.", "sha256:3f2a", "a/b", "a b", "ä", &"a".repeat(64)] {
            check(bad, false);
        }
    }
}
