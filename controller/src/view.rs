//! Everything that one round reads, once for all rollouts. Nothing of it outlives the round: decisions are made on what
//! the API server said a moment ago, never on a cache that an own write has overtaken.

use crate::documents::{self, Documents};
use crate::gateways;
use crate::kube_api::ApiError;
use crate::namespaces::{Namespace, Readers, Wanted, Workloads, backend_services};
use crate::published::PublishedRoutes;
use crate::rollouts::{RolloutObject, Rollouts, Versions, versions};
use crate::settings::{DocumentSource, Settings};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DynamicObject;
use kube::{Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use turnout_driver::outbound::Outbound;
use turnout_driver::{Elsewhere, Gateway, Inquiry};
use turnout_rollout::{
    BackendRef, Mode, ModelRollout, Obstacle, Registry, ServiceName, freeze, full_host, governed_rule, is_generated,
    subset_labels,
};
use turnout_routes::documents::Document;

/// What the cluster holds, as far as the controller cares.
#[derive(Debug, Default)]
pub struct View {
    /// The namespace of the gateways: what is not exported to it does not count for them.
    pub gateways_namespace: String,
    /// The rollouts.
    pub rollouts: Rollouts,
    /// The documents; empty without a gateway.
    pub documents: Documents,
    /// What is published; empty without a gateway.
    pub published: PublishedRoutes,
    /// The gateways, each just asked.
    pub gateways: Vec<Gateway>,
    /// The VirtualServices of rollouts in Istio mode, whatever they hold, by namespace and name.
    pub virtual_services: BTreeMap<(String, String), DynamicObject>,
    /// The DestinationRules beside them, read only where a rollout in Istio mode names a subset.
    pub destination_rules: Vec<DynamicObject>,
    /// The Services of the governed namespaces.
    pub services: BTreeMap<ServiceName, Service>,
    /// Their endpoints.
    pub slices: BTreeMap<ServiceName, Vec<EndpointSlice>>,
    /// The Deployments of the governed namespaces, by these.
    pub deployments: BTreeMap<String, Vec<Deployment>>,
    /// The pods behind the backends of rollouts, by namespace and name.
    pub pods: BTreeMap<(String, String), Pod>,
    /// The namespaces whose rollouts are known.
    pub listed: Vec<String>,
    /// The namespaces of which something else is not, and why: nothing there is decided on.
    pub dark: BTreeMap<String, Obstacle>,
    /// The namespaces of which the documents alone are not known.
    pub frozen: BTreeMap<String, Obstacle>,
    /// The rollouts on which nothing can be decided, and why.
    pub apart: Vec<(RolloutObject, Obstacle)>,
    /// What the namespaces were read for.
    read_for: Wanted,
    /// The rollouts that are decided on once their backends' namespaces were read for them, too.
    pub later: Vec<RolloutObject>,
    /// Rollouts, or what is known of them, that are not decided on and whose rules stay as they are published.
    held: Vec<RolloutObject>,
    /// Rollouts that somebody deleted, while the objects are still there.
    pub leaving: Vec<RolloutObject>,
    /// The rules of rollouts in Istio mode, by UID.
    pub elsewhere: BTreeMap<String, Elsewhere>,
    /// What was made for all that is to be published; none while some of it stays as it was published, with twins of its own.
    pub registry: Option<Registry>,
}

/// What all share could not be read.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub error: ApiError,
    /// The rollouts that were read before.
    pub rollouts: Vec<RolloutObject>,
}

impl View {
    /// Reads it. Rollouts come first, since a status is written over the version that was read: whatever it was decided on
    /// is then no older. Gateways come last, so that what they report is never older than what they are asked about. What
    /// is shared must be read; a namespace that cannot be is left alone. Of a release that is being uninstalled nothing else
    /// is read.
    pub async fn read(
        client: &Client,
        settings: &Settings,
        outbound: &Arc<dyn Outbound>,
        readers: &mut Readers,
        inquiry: &mut Inquiry,
        let_go: &mut BTreeSet<String>,
    ) -> Result<Self, Box<Unread>> {
        let mut view = Self { gateways_namespace: settings.namespace.clone(), ..Self::default() };
        let namespaces = readers.read(client, settings).await;
        if settings.has_gateway() {
            match PublishedRoutes::read(client, settings).await {
                Ok(published) => view.published = published,
                Err(error) => {
                    let read = namespaces.into_values().flatten();
                    let rollouts = read.flat_map(|namespace| namespace.rollouts.readable).collect();
                    return Err(Box::new(Unread { error, rollouts }));
                }
            }
            if view.published.is_uninstalling() {
                return Ok(view);
            }
        }
        let (mut objects, mut rollouts) = (Vec::new(), Vec::new());
        for (name, found) in namespaces {
            match found {
                Ok(mut found) => {
                    rollouts.push(std::mem::take(&mut found.rollouts));
                    objects.extend(view.take(name, found));
                }
                Err(obstacle) => drop(view.dark.insert(name, obstacle)),
            }
        }
        view.rollouts = Rollouts::join(rollouts);
        view.leaving = view.rollouts.readable.extract_if(.., |one| one.is_leaving()).collect();
        view.remember(settings, let_go);
        view.documents = match &settings.documents {
            DocumentSource::Objects => documents::of_objects(objects.into_iter(), &view.published),
            DocumentSource::ConfigMap(_) if !settings.has_gateway() => Documents::default(),
            DocumentSource::ConfigMap(name) => documents::read(client, settings, name, &view.published).await,
        };
        view.set_apart();
        readers.want(view.leave_for_later(settings));
        view.hold();
        view.freeze_documents();
        match gateways::look(client, settings, outbound, inquiry).await {
            Ok(gateways) => view.gateways = gateways,
            Err(error) => {
                let rollouts = view.rollouts.readable.iter().chain(view.undecided()).cloned().collect();
                return Err(Box::new(Unread { error, rollouts }));
            }
        }
        Ok(view)
    }

    /// Takes what serves in a namespace; returns the objects that are documents.
    fn take(&mut self, name: String, found: Namespace) -> Vec<DynamicObject> {
        let Workloads { services, slices, deployments, pods, virtual_services, destination_rules } =
            found.workloads.unwrap_or_else(|error| {
                self.dark.insert(name.clone(), error.obstacle());
                Workloads::default()
            });
        self.read_for.join(found.wanted);
        for service in services {
            let namespace = service.namespace().unwrap_or_default();
            self.services.insert(ServiceName { namespace, name: service.name_any() }, service);
        }
        for slice in slices {
            let Some(name) = slice.labels().get("kubernetes.io/service-name").cloned() else { continue };
            let namespace = slice.namespace().unwrap_or_default();
            self.slices.entry(ServiceName { namespace, name }).or_default().push(slice);
        }
        self.deployments.insert(name.clone(), deployments);
        self.pods.extend(pods.into_iter().map(|pod| ((name.clone(), pod.name_any()), pod)));
        let keyed = virtual_services.into_iter().map(|object| ((name.clone(), object.name_any()), object));
        self.virtual_services.extend(keyed);
        self.destination_rules.extend(destination_rules);
        self.listed.push(name.clone());
        found.documents.unwrap_or_else(|error| {
            self.frozen.insert(name, error.obstacle());
            Vec::new()
        })
    }

    /// Adds what is known only by what is published: rollouts that are gone are decided on until nothing needs them; those of
    /// governed namespaces that cannot be read, and those that name another class now, are held. `let_go` are those that
    /// nothing needs any more.
    fn remember(&mut self, settings: &Settings, let_go: &mut BTreeSet<String>) {
        let mut governed = self.published.governed();
        // Earlier versions of the controller kept nothing beside what is published, and the object instead.
        let is_new = |one: &RolloutObject| governed.iter().all(|known| known.uid() != one.uid());
        let by_finalizer = self.leaving.iter().filter_map(RolloutObject::by_finalizer).filter(is_new);
        governed.extend(by_finalizer.collect::<Vec<_>>());
        let unreadable = self.rollouts.unreadable.iter().filter_map(|(object, _)| object.uid());
        let there: BTreeSet<String> = self.rollouts.readable.iter().map(RolloutObject::uid).chain(unreadable).collect();
        let_go.retain(|uid| !there.contains(uid) && governed.iter().any(|one| one.uid() == *uid));
        let rule = |rollout: &ModelRollout| governed_rule(&self.published.documents, rollout).ok();
        let successors =
            self.rollouts.readable.iter().map(|one| &one.rollout).filter(|one| one.status.weights.is_some());
        let succeeded: BTreeSet<String> = successors.filter_map(|rollout| rule(&rollout.as_it_governed()?)).collect();
        governed.retain(|one| {
            let is_needed = !there.contains(&one.uid()) && !let_go.contains(&one.uid());
            is_needed && rule(&one.rollout).is_some_and(|rule| !succeeded.contains(&rule))
        });
        for one in governed {
            let namespace = &one.rollout.metadata.namespace;
            let is_unread = settings.governs(namespace) && !self.listed.contains(namespace);
            if is_unread || self.rollouts.of_others.contains(&one.uid()) {
                self.held.push(one);
            } else {
                self.rollouts.readable.push(RolloutObject { departed: true, ..one });
            }
        }
    }

    /// What its rule needs stays known once the object is gone, or nothing needs anything.
    pub fn may_go(&self, leaving: &RolloutObject) -> bool {
        let is_it = |one: &RolloutObject| one.departed && one.uid() == leaving.uid();
        let is_needed = self.rollouts.readable.iter().chain(self.undecided()).chain(&self.held).any(is_it);
        !is_needed || self.published.governed().iter().any(|one| one.uid() == leaving.uid())
    }

    /// Takes out the rollouts of which too little is known to decide on them. One that is gone gives its rule back to the
    /// document, which has to be known.
    fn set_apart(&mut self) {
        let (dark, frozen, documents) = (&self.dark, &self.frozen, &self.documents);
        let obstacle = |one: &RolloutObject| {
            let unknown = || frozen.get(one.rollout.route_namespace()).or(documents.unreadable.as_ref()).cloned();
            let refused = || documents.refused(one.rollout.virtual_service());
            if let Some(obstacle) = one.departed.then(|| unknown().or_else(refused)).flatten() {
                return Some(obstacle);
            }
            let rollout = &one.rollout;
            let of_backends = backend_services(rollout).into_iter().flatten().map(|service| service.namespace);
            let own = [rollout.metadata.namespace.clone(), rollout.route_namespace().to_owned()];
            own.into_iter().chain(of_backends).find_map(|namespace| dark.get(&namespace).cloned())
        };
        for one in std::mem::take(&mut self.rollouts.readable) {
            match obstacle(&one) {
                Some(obstacle) => self.apart.push((one, obstacle)),
                None => self.rollouts.readable.push(one),
            }
        }
    }

    /// Takes out the rollouts that want more of a namespace than it was read for: those of another one, which it did not
    /// know of. The next look has it. Returns what all want.
    fn leave_for_later(&mut self, settings: &Settings) -> Wanted {
        let all = self.rollouts.readable.iter().chain(self.apart.iter().map(|(one, _)| one));
        let wanted = Wanted::of(all.map(|one| &one.rollout), settings);
        let is_later = |one: &mut RolloutObject| !self.read_for.covers(&Wanted::of([&one.rollout], settings));
        self.later = self.rollouts.readable.extract_if(.., is_later).collect();
        wanted
    }

    /// Whatever is known of rollouts on which nothing can be decided keeps its rule as it is published.
    fn hold(&mut self) {
        let former = self.rollouts.unreadable.iter().filter_map(|(object, _)| RolloutObject::former(object));
        let held: Vec<RolloutObject> = former.chain(self.undecided().cloned()).collect();
        self.held.extend(held);
    }

    /// The rollouts that are known and not decided on.
    pub fn undecided(&self) -> impl Iterator<Item = &RolloutObject> {
        self.apart.iter().map(|(one, _)| one).chain(&self.later)
    }

    /// All rollouts that there are, in the versions that were written over those that were read.
    pub fn as_written<'a>(&'a self, decided: &'a [&'a RolloutObject]) -> impl Iterator<Item = &'a RolloutObject> {
        let all = decided.iter().copied().chain(self.undecided()).chain(&self.leaving);
        all.filter(|one| !one.departed)
    }

    /// All that govern a rule, or have governed one that stays as it is published.
    pub fn governing<'a>(&'a self, decided: &'a [&'a RolloutObject]) -> impl Iterator<Item = &'a RolloutObject> {
        decided.iter().copied().chain(&self.held)
    }

    /// What there is in a namespace, in the versions that were written over those that were read.
    pub fn versions_in(&self, namespace: &str, decided: &[&RolloutObject]) -> Versions {
        let is_its = |object: &&DynamicObject| object.metadata.namespace.as_deref() == Some(namespace);
        let unreadable = self.rollouts.unreadable.iter().map(|(object, _)| object);
        versions(self.as_written(decided).map(|one| &one.object).chain(unreadable).filter(is_its))
    }

    /// The registry is made for what will be published: also for documents that cannot be read.
    fn freeze_documents(&mut self) {
        let mut documents = std::mem::take(&mut self.documents.documents);
        freeze(&mut documents, &self.published.documents, |name| self.is_frozen(name));
        documents.retain(|document| !is_generated(document));
        self.documents.documents = documents;
    }

    /// The Services of a namespace, by name.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = (&ServiceName, &Service)> {
        let first = ServiceName { namespace: namespace.to_owned(), name: String::new() };
        let all = self.services.range(first..);
        all.take_while(move |(name, _)| name.namespace == namespace)
    }

    /// The Deployments of a namespace.
    pub fn deployments_in(&self, namespace: &str) -> &[Deployment] {
        self.deployments.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// The documents of this namespace stay as they are published: they, or what they lead to, cannot be read.
    pub fn is_frozen(&self, namespace: &str) -> bool {
        self.dark.contains_key(namespace) || self.frozen.contains_key(namespace)
    }

    /// What the pods of the backend carry; empty without a subset, none if no DestinationRule has it that counts.
    pub fn subset_labels(&self, rollout: &ModelRollout, reference: &BackendRef) -> Option<BTreeMap<String, String>> {
        let Some(wanted) = &reference.subset else { return Some(BTreeMap::new()) };
        let host = full_host(&reference.host, rollout.route_namespace());
        if rollout.spec.mode == Mode::Istio {
            return self.destination_rules.iter().find_map(|rule| raw_subset(rule, &host, wanted));
        }
        subset_labels(&self.documents.documents, &self.gateways_namespace, (&host, Some(wanted)))
    }
}

impl turnout_driver::View for View {
    type Rollout = RolloutObject;

    fn rollouts(&self) -> &[RolloutObject] {
        &self.rollouts.readable
    }

    fn documents(&mut self) -> &mut Vec<Document> {
        &mut self.documents.documents
    }

    fn published(&self) -> &[Document] {
        &self.published.documents
    }

    fn revision(&self) -> Option<&str> {
        self.published.revision.as_deref()
    }

    fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    fn is_whole(&self) -> bool {
        self.dark.is_empty() && self.undecided().next().is_none()
    }

    fn held(&self) -> Vec<ModelRollout> {
        self.held.iter().map(|one| one.rollout.clone()).collect()
    }

    fn withheld(&self) -> Vec<(String, String)> {
        let unreadable = self.rollouts.unreadable.iter().map(|(object, _)| object);
        let without_former = unreadable.filter(|object| RolloutObject::former(object).is_none());
        without_former.filter_map(RolloutObject::named_virtual_service).collect()
    }

    fn elsewhere(&self, rollout: &RolloutObject) -> Option<Elsewhere> {
        self.elsewhere.get(&rollout.uid()).cloned()
    }
}

/// The labels of a subset in a DestinationRule as Istio has it.
pub fn raw_subset(rule: &DynamicObject, host: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let spec = rule.data.get("spec")?;
    let of = full_host(spec.get("host")?.as_str()?, &rule.namespace().unwrap_or_default());
    let subsets = spec.get("subsets").filter(|_| of == host)?.as_array()?;
    let subset = subsets.iter().find(|subset| subset.get("name").and_then(|it| it.as_str()) == Some(name))?;
    serde_json::from_value(subset.get("labels").cloned().unwrap_or_default()).ok()
}
