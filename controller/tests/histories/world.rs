//! The cluster around the controllers: models and their pipelines, gateways, people, and whoever else writes where he
//! should not. It moves only when it is told what happens next.

pub(crate) mod bar;
mod beginning;
pub(crate) mod cast;
pub(crate) mod cluster;
mod forms;
pub(crate) mod gateway;
mod happening;
mod people;
pub(crate) mod table;

pub(crate) use happening::Happening;

use crate::api::store::{Key, Store, uid_of};
use crate::laws::Checked;
pub(crate) use beginning::{Beginning, Model};
use bytes::Bytes;
use cast::{App, DOCUMENTS, Draft, GATEWAYS, MODEL_PORT, ROUTES, SYSTEM, published};
pub(crate) use cast::{own_name, revision_name};
pub(crate) use forms::{normal_form, table_of};
use gateway::Gateway;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use table::Table;
use turnout_controller::names::GOVERNED_KEY;
use turnout_controller::settings::{DocumentSource, RegistryKind, Settings};
use turnout_driver::outbound::{Answer, Call};
use turnout_rollout::{Backend, ModelRollout, RolloutStatus, Timestamp, Weights};
use turnout_routes::documents::Document;

/// The cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) beginning: Beginning,
    pub(crate) store: Store,
    pub(crate) gateways: Vec<Gateway>,
    drafts: [Draft; App::COUNT],
    /// A key of the documents' ConfigMap is no YAML.
    rubbish: bool,
    next_gateway: u8,
    next_pod: u16,
    /// Warm-up requests that a pod has answered, by its UID.
    pub(crate) warmed: BTreeMap<String, u32>,
    /// Every gate that people ever opened: the rollout's UID, revision, attempt and stage.
    pub(crate) approvals: BTreeSet<(String, String, u32, String)>,
    /// Every good form that a VirtualService's document ever had, in the order of the edits.
    pub(crate) good_forms: [Vec<Document>; App::COUNT],
    /// Whether the status may be held to what it calls safe to remove: nobody has published by hand since, and no stale
    /// answer was behind it.
    pub(crate) claims: [[bool; 2]; App::COUNT],
    /// Managed: the template that people asked for last, where that is all that they asked for.
    pub(crate) asked: [Option<u8>; App::COUNT],
    /// Istio mode: when a controller gave the rule other weights last.
    pub(crate) patched_at: [u64; App::COUNT],
    /// The namespaces that controllers are kept from.
    pub(crate) bars: BTreeMap<&'static str, bar::Bar>,
    /// How often somebody has published by hand.
    pub(crate) meddled: u64,
}

impl World {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let mut store = Store::new(Timestamp(1_767_225_600));
        store.put(&published(), json!({"metadata": {"labels": {"chart": "turnout"}}}));
        store.put(&Key::new("services", SYSTEM, GATEWAYS), cast::gateway_service());
        let mut world = Self {
            store,
            gateways: Vec::new(),
            drafts: [Draft::original(); App::COUNT],
            rubbish: false,
            next_gateway: 0,
            next_pod: 0,
            warmed: BTreeMap::new(),
            approvals: BTreeSet::new(),
            good_forms: [const { Vec::new() }; App::COUNT],
            claims: [[false; 2]; App::COUNT],
            asked: [None; App::COUNT],
            patched_at: [0; App::COUNT],
            bars: BTreeMap::new(),
            meddled: 0,
            beginning,
        };
        for app in world.apps() {
            world.found(app);
        }
        for _ in 0..world.beginning.gateways {
            world.gateway_joins();
        }
        world.cluster_follows();
        world
    }

    /// A model is installed.
    fn found(&mut self, app: App) {
        self.write_document(app);
        let model = self.model(app).clone();
        for backend in Backend::BOTH {
            if !model.brings_services {
                self.store.put(&app.service(backend), cast::model_service(app, backend));
            }
        }
        if let Some(number) = model.green.filter(|_| !model.is_managed()) {
            self.deploy(app, Backend::Green, &revision_name(number));
        }
        self.make_rollout(app);
    }

    pub(crate) fn settings(&self) -> Settings {
        let Beginning { objects, twins, .. } = self.beginning;
        Settings {
            shared_route_namespaces: Vec::new(),
            class: None,
            namespaces: self.namespaces().into_iter().map(str::to_owned).collect(),
            namespace: SYSTEM.to_owned(),
            identity: "controller".to_owned(),
            gateway_service: self.has_gateways().then(|| GATEWAYS.to_owned()),
            gateway_status_port: cast::STATUS_PORT,
            routes_configmap: ROUTES.to_owned(),
            documents: if objects { DocumentSource::Objects } else { DocumentSource::ConfigMap(DOCUMENTS.to_owned()) },
            registry: if twins { RegistryKind::Twins } else { RegistryKind::ClusterIp },
            lease: "turnout-controller".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
        }
    }

    pub(crate) fn has_gateways(&self) -> bool {
        self.beginning.gateways > 0
    }

    pub(crate) fn apps(&self) -> Vec<App> {
        self.beginning.models.keys().copied().collect()
    }

    pub(crate) fn model(&self, app: App) -> &Model {
        &self.beginning.models[&app]
    }

    pub(crate) fn draft(&self, app: App) -> Draft {
        self.drafts[app.0]
    }

    /// The rollout as the API server has it.
    pub(crate) fn rollout(&self, app: App) -> Option<ModelRollout> {
        let object = self.store.get(&app.rollout())?;
        Some(ModelRollout::deserialize(&**object).expect("only good rollouts are written"))
    }

    pub(crate) fn status(&self, app: App) -> RolloutStatus {
        self.rollout(app).map(|rollout| rollout.status).unwrap_or_default()
    }

    pub(crate) fn uid(&self, app: App) -> Option<String> {
        self.store.get(&app.rollout()).map(|object| uid_of(object))
    }

    /// A rollout of it that is gone still governs its rule.
    pub(crate) fn has_departed(&self, app: App) -> bool {
        let uid = self.uid(app);
        let published = self.store.get(&published());
        published.is_some_and(|published| governors(published, app).any(|one| Some(one) != uid))
    }

    /// What is published, as a gateway would read it; none before the first time, or where it is rubbish.
    pub(crate) fn published(&self) -> Option<Rc<Table>> {
        table_of(self.store.get(&published())?)
    }

    /// The weights that a model's rule has where its data plane reads them.
    pub(crate) fn weights(&self, app: App) -> Option<Weights> {
        if self.model(app).is_in_istio_mode() {
            return cast::split(self.store.get(&app.virtual_service())?, app).map(|(_, weights)| weights);
        }
        self.published().map(|table| crate::laws::weights(&table, app))
    }

    /// A controller gave a rule weights. One that comes late may give those of an older position, once.
    pub(crate) fn patched(&mut self, app: App, given: Weights, is_late: bool) {
        // Nobody can know of it who has looked before and after, and found the same.
        if !is_late {
            self.patched_at[app.0] = self.store.now.0;
        }
        if self.status(app).weights != Some(given) {
            self.claims[app.0] = [false; 2];
        }
    }

    /// Deployments, pods and EndpointSlices do what they have to, to the end.
    pub(crate) fn cluster_follows(&mut self) {
        loop {
            let before = self.store.revision();
            cluster::deployments_act(&mut self.store, &mut self.next_pod);
            self.pods_go();
            for (key, _) in self.model_pods(None) {
                cluster::set_ready(&mut self.store, &key, true);
            }
            if self.store.revision() == before {
                break;
            }
        }
        self.probe_gateways();
        cluster::slices_follow(&mut self.store);
    }

    /// Kubelet follows nudges, the processes what is mounted, and DNS everything.
    pub(crate) fn gateways_follow(&mut self) {
        for chosen in 0..self.gateways.len() {
            self.gateways[chosen].sync(&self.store, false);
            self.gateways[chosen].reload();
            self.gateways[chosen].look_up(&self.store);
        }
        self.probe_gateways();
        cluster::slices_follow(&mut self.store);
    }

    fn gateway_joins(&mut self) {
        self.next_gateway += 1;
        self.gateways.push(Gateway::start(&mut self.store, self.next_gateway));
        self.probe_gateways();
    }

    /// A gateway is ready once it has routes, until it leaves.
    fn probe_gateways(&mut self) {
        for gateway in &self.gateways {
            let ready = gateway.table.is_some() && !gateway.leaving;
            cluster::set_ready(&mut self.store, &gateway.pod(), ready);
        }
    }

    /// All, or those of one backend.
    fn model_pods(&self, of: Option<(App, Backend)>) -> Vec<(Key, Arc<Value>)> {
        let is_of = |pod: &Value| {
            of.is_none_or(|(app, backend)| {
                let labels = &pod["metadata"]["labels"];
                labels["app"] == app.name() && labels["version"] == backend.to_string()
            })
        };
        self.model_objects("pods").into_iter().filter(|(_, pod)| is_of(pod)).collect()
    }

    /// The namespaces of the models.
    pub(crate) fn namespaces(&self) -> BTreeSet<&'static str> {
        self.apps().into_iter().map(App::namespace).collect()
    }

    /// All of a kind in these.
    pub(crate) fn model_objects(&self, plural: &'static str) -> Vec<(Key, Arc<Value>)> {
        let all = self.namespaces().into_iter().flat_map(|namespace| self.store.list(plural, namespace));
        all.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    /// Pods that terminate are gone, and with the last one of a backend the requests that it had.
    fn pods_go(&mut self) {
        for (key, pod) in self.model_pods(None) {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                self.store.remove(&key);
            }
        }
        self.store.collect_garbage();
        cluster::deployments_go(&mut self.store);
        self.requests_die();
    }

    /// In flight, that weights have sent.
    pub(crate) fn requests_of_splits(&self) -> u64 {
        let backends = self.apps().into_iter().flat_map(|app| Backend::BOTH.map(|backend| app.upstream(backend)));
        let at = |upstream: String| self.gateways.iter().map(move |it| it.in_flight(&upstream).split).sum::<u64>();
        backends.map(at).sum()
    }

    fn requests_die(&mut self) {
        for app in self.apps() {
            for backend in Backend::BOTH {
                if !self.model_pods(Some((app, backend))).iter().any(|(_, pod)| cluster::is_ready(pod)) {
                    let upstream = app.upstream(backend);
                    self.gateways.iter_mut().for_each(|gateway| gateway.finish_at(&upstream));
                }
            }
        }
    }

    /// What the backend's ready pods run, if they all run the same.
    pub(crate) fn runs(&self, app: App, backend: Backend) -> Option<String> {
        let pods = self.model_pods(Some((app, backend)));
        let image = |pod: &Value| pod["status"]["containerStatuses"][0]["image"].as_str().map(str::to_owned);
        let mut images = pods.iter().filter(|(_, pod)| cluster::is_ready(pod)).map(|(_, pod)| image(pod));
        let first = images.next()??;
        let is_same = images.all(|other| other.as_ref() == Some(&first));
        first.rsplit_once(':').filter(|_| is_same).map(|(_, revision)| revision.to_owned())
    }

    pub(crate) fn exists(&self, app: App, backend: Backend) -> bool {
        self.store.get(&app.deployment(backend)).is_some() || !self.model_pods(Some((app, backend))).is_empty()
    }

    /// Some revision was warmed as the spec says: every ready pod.
    pub(crate) fn is_warm(&self, app: App, backend: Backend, requests: u32) -> bool {
        let pods = self.model_pods(Some((app, backend)));
        let takes_requests = |pod: &Value| cluster::is_ready(pod) && !pod["metadata"]["deletionTimestamp"].is_string();
        let mut ready = pods.iter().filter(|(_, pod)| takes_requests(pod));
        ready.all(|(_, pod)| self.warmed.get(&uid_of(pod)).is_some_and(|count| *count >= requests))
    }

    /// A pod answers; none where nobody listens.
    pub(crate) fn answer(&mut self, call: &Call) -> Option<Answer> {
        let page = |status: u16, body: String| Some(Answer { status, body: Bytes::from(body) });
        if let Some(gateway) = self.gateways.iter().find(|gateway| gateway.listens(call.address)) {
            return match call.path.as_str() {
                "/revision" => page(200, gateway.revision_page().to_string()),
                "/backends" => page(200, gateway.backends_page().to_string()),
                _ => page(404, String::new()),
            };
        }
        let pods = self.model_pods(None);
        let is_it = |pod: &Value| {
            let address = pod["status"]["podIP"].as_str().and_then(|address| address.parse().ok());
            address.map(|address| SocketAddr::new(address, MODEL_PORT)) == Some(call.address)
        };
        let (_, pod) = pods.iter().find(|(_, pod)| is_it(pod))?;
        if !cluster::is_ready(pod) {
            return page(503, String::new());
        }
        *self.warmed.entry(uid_of(pod)).or_default() += 1;
        page(200, "ok".to_owned())
    }

    /// What happens next.
    pub(crate) fn happens(&mut self, happening: &Happening) -> Checked {
        match happening.app() {
            // Nobody makes anything there any more.
            Some(app) if self.is_deleted(app) => Ok(()),
            _ => happening::happens(self, happening),
        }
    }

    /// Writes a VirtualService's document where documents are.
    fn write_document(&mut self, app: App) {
        let draft = self.drafts[app.0];
        let object = draft.virtual_service(app);
        if draft.is_good() {
            self.good_forms[app.0].push(normal_form(&forms::only_document(&object)));
        }
        // In Istio mode whoever writes the document writes the weights, too.
        if self.model(app).is_in_istio_mode() {
            self.claims[app.0] = [false; 2];
            self.meddled += 1;
        }
        if self.beginning.objects {
            let key = app.virtual_service();
            if self.store.get(&key).is_some() {
                self.store.edit(&key, |stored| stored["spec"] = object["spec"].clone());
            } else {
                self.store.put(&key, object);
            }
            return;
        }
        let key = Key::new("configmaps", SYSTEM, DOCUMENTS);
        if self.store.get(&key).is_none() {
            self.store.put(&key, json!({"metadata": {}, "data": {}}));
        }
        self.store.edit(&key, |stored| {
            stored["data"][format!("{}.yaml", app.name())] = json!(object.to_string());
        });
    }

    /// A key that is no YAML comes, or goes.
    fn write_rubbish(&mut self, present: bool) {
        self.rubbish = present && !self.beginning.objects;
        let (rubbish, key) = (self.rubbish, Key::new("configmaps", SYSTEM, DOCUMENTS));
        self.store.edit(&key, |stored| {
            crate::api::store::remove(&mut stored["data"], "zz.yaml");
            if rubbish {
                stored["data"]["zz.yaml"] = json!("kind: [");
            }
        });
    }

    fn void_claims(&mut self) {
        self.meddled += 1;
        self.claims = [[false; 2]; App::COUNT];
    }

    /// A release of the model puts a revision on a backend.
    fn deploy(&mut self, app: App, backend: Backend, revision: &str) {
        let key = app.deployment(backend);
        let wanted = cast::model_deployment(app, backend, revision, 2, self.model(app).labelled);
        if self.store.get(&app.service(backend)).is_none() {
            self.store.put(&app.service(backend), cast::model_service(app, backend));
        }
        match self.store.get(&key).cloned() {
            None => drop(self.store.put(&key, wanted)),
            Some(present) => {
                let mut complete = wanted;
                crate::api::defaults::complete("deployments", &mut complete);
                if present["spec"] != complete["spec"] {
                    self.store.edit(&key, |stored| stored["spec"] = complete["spec"].clone());
                }
            }
        }
    }

    /// Its release is uninstalled.
    fn undeploy(&mut self, app: App, backend: Backend) {
        self.store.remove(&app.deployment(backend));
        if self.model(app).brings_services {
            self.store.remove(&app.service(backend));
        }
        for (key, _) in self.model_pods(Some((app, backend))) {
            self.store.mark_deleted(&key);
        }
    }

    fn make_rollout(&mut self, app: App) {
        let mut spec = self.model(app).spec.clone();
        spec["route"] = json!({"virtualService": app.name()});
        if self.model(app).is_managed() {
            let first = self.model(app).green.unwrap_or(0);
            spec["template"] = cast::template(app, first);
            self.asked[app.0] = spec["revision"].is_null().then_some(first);
        }
        for backend in Backend::BOTH {
            spec[backend.to_string()] = json!({"host": app.host(backend), "port": MODEL_PORT});
        }
        let object = json!({
            "metadata": {"labels": {"team": "scoring"}, "annotations": {"example.com/owner": "data-science"}},
            "spec": spec,
        });
        self.store.put(&app.rollout(), object);
    }
}

/// Which image a revision stands for: the one with which it was met, or that of its name.
pub(crate) fn number_of(app: App, status: &RolloutStatus, revision: &str) -> Option<u8> {
    let met = status.known.iter().rev().find(|known| known.revision == revision);
    let is_it = |number: &u8| {
        let name = revision_name(*number);
        let is_met = |images: &str| cluster::image_id(&cast::image(app, &name)).ends_with(images);
        met.map_or(revision == name, |met| is_met(&met.runs.images))
    };
    (0..=9).find(is_it)
}

/// The UIDs of the rollouts of a model that govern its rule as far as what is published says.
pub(crate) fn governors(published: &Value, app: App) -> impl Iterator<Item = String> {
    let governed = published["data"][GOVERNED_KEY].as_str().unwrap_or_default();
    let governed: Vec<Value> = serde_json::from_str(governed).unwrap_or_default();
    let is_its = move |metadata: &Value| metadata["name"] == app.name() && metadata["namespace"] == app.namespace();
    let all = governed.into_iter().map(|mut one| one["metadata"].take()).filter(is_its);
    all.filter_map(|metadata| metadata["uid"].as_str().map(str::to_owned))
}
