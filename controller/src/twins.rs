//! The registry in the cluster: what the API says of the Services that routes name, and the headless twins through which
//! gateways find their pods in DNS.

#[cfg(test)]
mod tests;

use crate::kube_api::ApiError;
use crate::names::{FIELD_MANAGER, MANAGED_BY, TWIN_OF};
use crate::settings::{RegistryKind, Settings};
use crate::view::View;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use turnout_rollout::{EndpointsBy, PortFacts, Registry, ServiceFacts, ServiceName, Twin, registry as render_registry};

/// What is to be published and made for the Services that the documents name.
pub fn registry(view: &View, kind: RegistryKind) -> Registry {
    let services: Vec<ServiceFacts> = view
        .services
        .iter()
        .filter(|(_, service)| !is_twin(service))
        .map(|(name, service)| facts(view, name, service))
        .collect();
    let by = match kind {
        RegistryKind::Twins => EndpointsBy::Twins,
        RegistryKind::ClusterIp => EndpointsBy::ClusterIp,
    };
    render_registry(&view.documents.documents, &view.gateways_namespace, &services, by)
}

/// Makes the twins that are missing, and mends those that differ. A Service of that name that the controller did not
/// make stays as it is. Says in which namespaces that failed, and how: each goes on without the others.
pub async fn apply(
    client: &Client,
    settings: &Settings,
    view: &View,
    registry: &Registry,
) -> BTreeMap<String, ApiError> {
    let mut refused = BTreeMap::new();
    for twin in registry.twins.iter().filter(|twin| settings.governs(&twin.namespace)) {
        if !refused.contains_key(&twin.namespace)
            && let Err(error) = apply_one(client, view, twin).await
        {
            refused.insert(twin.namespace.clone(), error);
        }
    }
    refused
}

async fn apply_one(client: &Client, view: &View, twin: &Twin) -> Result<(), ApiError> {
    let api: Api<Service> = Api::namespaced(client.clone(), &twin.namespace);
    let place = || format!("services {}/{}", twin.namespace, twin.name);
    let name = ServiceName { namespace: twin.namespace.clone(), name: twin.name.clone() };
    match view.services.get(&name) {
        None => {
            let created = api.create(&post(), &service_of(view, twin)).await.map_err(ApiError::of("create", place()));
            // That it has come meanwhile is as good; the next round sees it.
            created.map(|_| ()).or_else(|error| if error.already_exists() { Ok(()) } else { Err(error) })
        }
        Some(present) if is_twin(present) && !is_as_wanted(present, twin) => {
            let mut next = present.clone();
            let wanted = service_of(view, twin);
            next.metadata.labels = wanted.metadata.labels;
            if let (Some(spec), Some(wanted)) = (&mut next.spec, wanted.spec) {
                spec.selector = wanted.selector;
                spec.ports = wanted.ports;
            }
            let updated = api.replace(&twin.name, &post(), &next).await;
            updated.map(|_| ()).map_err(ApiError::of("update", place()))
        }
        Some(_) => Ok(()),
    }
}

/// Removes the twins that nothing names any more. Call it only when every gateway has what is published.
pub async fn remove_others(client: &Client, view: &View, registry: &Registry) -> Result<(), ApiError> {
    let wanted: BTreeSet<(&str, &str)> =
        registry.twins.iter().map(|twin| (twin.namespace.as_str(), twin.name.as_str())).collect();
    let twins = view.services.iter().filter(|(_, service)| is_twin(service));
    for (name, service) in twins.filter(|(name, _)| !wanted.contains(&(name.namespace.as_str(), name.name.as_str()))) {
        remove(client, name, service).await?;
    }
    Ok(())
}

/// Removes one twin, as it was read.
pub async fn remove(client: &Client, name: &ServiceName, twin: &Service) -> Result<(), ApiError> {
    let api: Api<Service> = Api::namespaced(client.clone(), &name.namespace);
    let only_this = Preconditions { uid: twin.uid(), resource_version: twin.resource_version() };
    let parameters = DeleteParams::default().preconditions(only_this);
    match api.delete(&name.name, &parameters).await.map_err(ApiError::of("delete", format!("services {name}"))) {
        Err(error) if !error.is_missing() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// The address family in which gateways find the pods of a Service, if anything says it: that of its twin, which it keeps,
/// or its own first one. In a cluster with two families each pod has an address, and an endpoint, of each.
pub fn family<'a>(view: &'a View, name: &ServiceName) -> Option<&'a str> {
    family_of(twins_of(view, name).next()).or_else(|| family_of(view.services.get(name)))
}

/// Those that stand beside this Service.
fn twins_of<'a>(view: &'a View, name: &ServiceName) -> impl Iterator<Item = &'a Service> {
    let is_of = |twin: &Service| is_twin(twin) && twin.labels().get(TWIN_OF) == Some(&name.name);
    view.services_in(&name.namespace).map(|(_, service)| service).filter(move |service| is_of(service))
}

/// The controller made it.
pub fn is_twin(service: &Service) -> bool {
    service.labels().get(MANAGED_BY).is_some_and(|by| by == FIELD_MANAGER) && service.labels().contains_key(TWIN_OF)
}

fn service_of(view: &View, twin: &Twin) -> Service {
    let labels = [(MANAGED_BY, FIELD_MANAGER), (TWIN_OF, &twin.service)];
    Service {
        metadata: ObjectMeta {
            name: Some(twin.name.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: owner(view, twin).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(twin.selector.clone()),
            ports: Some(twin.ports.iter().map(port).collect()),
            ip_families: family_of(view.services.get(&service_beside(twin))).map(|family| vec![family.to_owned()]),
            ip_family_policy: Some("SingleStack".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn service_beside(twin: &Twin) -> ServiceName {
    ServiceName { namespace: twin.namespace.clone(), name: twin.service.clone() }
}

/// The first address family of a Service, in which its twin has its pods.
fn family_of(service: Option<&Service>) -> Option<&str> {
    service?.spec.as_ref()?.ip_families.as_ref()?.first().map(String::as_str)
}

fn port(port: &turnout_rollout::TwinPort) -> ServicePort {
    ServicePort {
        name: Some(port.name.clone()),
        port: i32::from(port.port),
        target_port: Some(IntOrString::Int(i32::from(port.port))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// With the Service goes its twin.
fn owner(view: &View, twin: &Twin) -> Option<OwnerReference> {
    let service = view.services.get(&service_beside(twin))?;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: twin.service.clone(),
        uid: service.uid()?,
        ..OwnerReference::default()
    })
}

fn is_as_wanted(present: &Service, twin: &Twin) -> bool {
    let Some(spec) = &present.spec else { return false };
    let ports: Vec<(Option<&str>, i32)> =
        spec.ports.iter().flatten().map(|port| (port.name.as_deref(), port.port)).collect();
    let wanted: Vec<(Option<&str>, i32)> =
        twin.ports.iter().map(|port| (Some(port.name.as_str()), i32::from(port.port))).collect();
    spec.selector.as_ref() == Some(&twin.selector) && ports == wanted
}

fn facts(view: &View, name: &ServiceName, service: &Service) -> ServiceFacts {
    let spec = service.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    let port = |port: &ServicePort| {
        Some(PortFacts {
            name: port.name.clone(),
            number: u16::try_from(port.port).ok()?,
            protocol: port.protocol.clone(),
            app_protocol: port.app_protocol.clone(),
            target: target(view, name, port),
        })
    };
    ServiceFacts {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        cluster_ip: spec.cluster_ip,
        external_name: spec.external_name,
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        deployments: deployments_of(view, name, &selector),
        selector,
    }
}

fn deployments_of(
    view: &View,
    service: &ServiceName,
    selector: &BTreeMap<String, String>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let named = |deployment: &Deployment| {
        let pods = deployment.spec.as_ref()?.template.metadata.as_ref()?.labels.clone()?;
        let is_selected = selector.iter().all(|(key, value)| pods.get(key) == Some(value));
        is_selected.then(|| (deployment.name_any(), pods))
    };
    view.deployments_in(&service.namespace).iter().filter_map(named).collect()
}

/// The port at the pods. A named one is what the endpoints say, or, while there are none, what the twin has kept. Pods of
/// another image may listen elsewhere, and while they take over both are there: then it is where most are ready.
fn target(view: &View, name: &ServiceName, port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(_)) => {
            let kept = kept(view, name, port);
            let mut ready = BTreeMap::<u16, usize>::new();
            for slice in view.slices.get(name).into_iter().flatten() {
                if let Some(number) = number_in(slice, port) {
                    *ready.entry(number).or_default() += slice.endpoints.iter().filter(|one| is_ready(one)).count();
                }
            }
            let told = ready.into_iter().max_by_key(|(number, ready)| (*ready, Some(*number) == kept));
            told.map(|(number, _)| number).or(kept)
        }
    }
}

/// Where the pods of a slice listen for a port of their Service.
fn number_in(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let mut ports = slice.ports.iter().flatten();
    let found = ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == name)?;
    u16::try_from(found.port?).ok()
}

/// Nothing else said, it is.
pub fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn kept(view: &View, name: &ServiceName, port: &ServicePort) -> Option<u16> {
    let ports = twins_of(view, name).flat_map(|twin| twin.spec.iter().flat_map(|spec| spec.ports.iter().flatten()));
    let same = ports.filter(|candidate| candidate.name == port.name).map(|candidate| candidate.port);
    same.map(u16::try_from).find_map(Result::ok)
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
