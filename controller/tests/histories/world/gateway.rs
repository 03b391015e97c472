//! A gateway: a pod with a copy of the published ConfigMap that kubelet brings late, and a process that loads it, or
//! refuses it, looks names up when it pleases, and has requests in flight.

use super::cast::{App, GATEWAYS, STATUS_PORT, SYSTEM, published};
use super::table::Table;
use crate::api::store::{Key, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use turnout_rollout::Backend;
use turnout_routes::address_digest;
use turnout_routes::documents::EndpointAddress;

/// The annotation that makes kubelet sync a pod.
const NUDGE: &str = "turnout.dev/nudge";

/// Requests that a gateway has sent and that are not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// By the weights.
    pub(crate) split: u64,
    /// By a header, whatever the weights.
    pub(crate) pinned: u64,
}

/// A gateway.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    /// The keys in the mounted directory.
    mount: BTreeMap<String, String>,
    /// The nudge that kubelet has followed.
    synced: Option<String>,
    pub(crate) table: Option<Rc<Table>>,
    rejected: Option<(String, String)>,
    /// Every revision that it ever had.
    pub(crate) loaded: Vec<String>,
    /// It takes nothing, whatever is published.
    pub(crate) refuses: bool,
    /// It does not answer on its status port.
    pub(crate) silent: bool,
    /// It drains, and goes.
    pub(crate) leaving: bool,
    /// Endpoints of each backend, by the last look-up.
    known: BTreeMap<String, BTreeSet<IpAddr>>,
    /// By backend, and by the rule that sent them.
    in_flight: BTreeMap<(String, String), InFlight>,
}

impl Gateway {
    /// Its pod starts, with what is published at that moment.
    pub(crate) fn start(store: &mut Store, number: u8) -> Self {
        let name = format!("gateway-{number}");
        let address = IpAddr::V4(Ipv4Addr::new(10, 1, 0, number));
        let pod = json!({
            "metadata": {"labels": {"app": GATEWAYS}, "annotations": {"example.com/owner": "platform"}},
            "spec": {"containers": [{"name": "gateway", "image": "registry/turnout-proxy:1"}]},
            "status": {
                "phase": "Running",
                "podIP": address.to_string(),
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        store.put(&Key::new("pods", SYSTEM, &name), pod);
        let mut gateway = Self {
            name,
            address,
            mount: mount(store),
            synced: None,
            table: None,
            rejected: None,
            loaded: Vec::new(),
            refuses: false,
            silent: false,
            leaving: false,
            known: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        };
        gateway.reload();
        gateway.look_up(store);
        gateway
    }

    pub(crate) fn pod(&self) -> Key {
        Key::new("pods", SYSTEM, &self.name)
    }

    /// Kubelet brings what is published: at once after a nudge, else when it looks by itself.
    pub(crate) fn sync(&mut self, store: &Store, by_itself: bool) {
        let nudge = store.get(&self.pod()).and_then(|pod| pod["metadata"]["annotations"][NUDGE].as_str());
        if by_itself || nudge != self.synced.as_deref() {
            self.synced = nudge.map(str::to_owned);
            self.mount = mount(store);
        }
    }

    /// The process reads the mount. What it refuses changes nothing.
    pub(crate) fn reload(&mut self) {
        if self.mount.is_empty() {
            return;
        }
        match Table::load(&self.mount) {
            Ok(table) if self.refuses && self.table.as_ref().is_none_or(|had| had.revision != table.revision) => {
                self.rejected = Some((table.revision.clone(), "out of memory".to_owned()));
            }
            Ok(table) => {
                if self.loaded.last() != Some(&table.revision) {
                    self.loaded.push(table.revision.clone());
                }
                self.rejected = None;
                self.table = Some(table);
            }
            Err(rejected) => self.rejected = Some(rejected),
        }
    }

    /// The process starts anew, with what is mounted.
    pub(crate) fn restart(&mut self) {
        (self.table, self.rejected) = (None, None);
        self.known.clear();
        self.in_flight.clear();
        self.reload();
    }

    /// Looks up the names of all backends of the table.
    pub(crate) fn look_up(&mut self, store: &Store) {
        let Some(table) = &self.table else { return };
        let all = |addresses: &Vec<EndpointAddress>| addresses.iter().flat_map(|it| resolve(store, it)).collect();
        self.known = table.upstreams.iter().map(|(name, addresses)| (name.clone(), all(addresses))).collect();
    }

    pub(crate) fn known(&self, upstream: &str) -> u64 {
        self.known.get(upstream).map_or(0, |known| known.len() as u64)
    }

    pub(crate) fn weight(&self, upstream: &str) -> u32 {
        self.table.as_ref().map_or(0, |table| table.weight(upstream))
    }

    pub(crate) fn in_flight(&self, upstream: &str) -> InFlight {
        let mut all = InFlight::default();
        for (_, some) in self.in_flight.iter().filter(|((at, _), _)| at == upstream) {
            all.split += some.split;
            all.pinned += some.pinned;
        }
        all
    }

    /// Requests come in: by the weights, or pinned to one backend.
    pub(crate) fn serve(&mut self, app: App, pinned: Option<Backend>) {
        let Some(table) = self.table.clone().filter(|_| !self.leaving) else { return };
        for backend in Backend::BOTH {
            let upstream = app.upstream(backend);
            if self.known(&upstream) == 0 {
                continue;
            }
            let (by_weight, by_header) =
                (table.weight(&upstream) > 0, pinned == Some(backend) && table.names(&upstream));
            let is_named = |targets: &[(String, u32)]| targets.iter().any(|(name, _)| *name == upstream);
            let rules = |splits: bool| table.splits.iter().find(|(_, to)| (to.len() > 1) == splits && is_named(to));
            if let Some((route, _)) = rules(true).filter(|_| by_weight) {
                self.in_flight.entry((upstream.clone(), route.clone())).or_default().split += 1;
            }
            if let Some((route, _)) = rules(false).filter(|_| by_header) {
                self.in_flight.entry((upstream.clone(), route.clone())).or_default().pinned += 1;
            }
        }
    }

    /// All requests are answered.
    pub(crate) fn finish(&mut self) {
        self.in_flight.clear();
    }

    /// A backend has died under its requests.
    pub(crate) fn finish_at(&mut self, upstream: &str) {
        self.in_flight.retain(|(at, _), _| at != upstream);
    }

    /// Whether it answers at this address.
    pub(crate) fn listens(&self, address: SocketAddr) -> bool {
        !self.silent && address == SocketAddr::new(self.address, STATUS_PORT)
    }

    /// `/revision`.
    pub(crate) fn revision_page(&self) -> Value {
        let rejected = self.rejected.as_ref();
        json!({
            "active": self.table.as_ref().map(|table| table.revision.as_str()),
            "rejected": rejected.map(|(revision, reason)| json!({"revision": revision, "reason": reason})),
            "language": 1,
        })
    }

    /// `/backends`: what the table names, and what it has in flight.
    pub(crate) fn backends_page(&self) -> Value {
        let Some(table) = &self.table else { return json!({"revision": null, "backends": []}) };
        let digest = |name: &String| address_digest(self.known.get(name).into_iter().flatten().copied());
        let of = |name: &String| {
            let is_it = |target: &&(String, u32)| target.0 == *name;
            let given = |targets: &[(String, u32)]| targets.iter().find(is_it).map(|(_, weight)| *weight);
            let rules = table.splits.iter().filter_map(|(route, targets)| Some((route, given(targets)?)));
            let weights = rules
                .filter(|(_, weight)| *weight > 0)
                .map(|(route, weight)| json!({"route": route, "weight": weight}));
            let sent = self.in_flight.iter().filter(|((at, _), _)| at == name);
            let in_flight = sent.flat_map(|((_, route), by)| {
                [(true, by.split), (false, by.pinned)].into_iter().filter(|(_, requests)| *requests > 0).map(
                    move |(by_weight, requests)| json!({"route": route, "byWeight": by_weight, "requests": requests}),
                )
            });
            json!({
                "backend": name, "endpoints": self.known(name), "endpointsDigest": digest(name),
                "weights": weights.collect::<Vec<_>>(), "inFlight": in_flight.collect::<Vec<_>>(),
            })
        };
        json!({"revision": table.revision, "backends": table.upstreams.keys().map(of).collect::<Vec<_>>()})
    }
}

fn mount(store: &Store) -> BTreeMap<String, String> {
    let data = store.get(&published()).and_then(|config_map| config_map["data"].as_object());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    data.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What DNS has for a name: the ready pods of a headless Service, its own address for any other.
fn resolve(store: &Store, address: &EndpointAddress) -> Vec<IpAddr> {
    let name = match address {
        EndpointAddress::Ip(address) => return vec![*address],
        EndpointAddress::Name(name) => name,
    };
    let mut labels = name.split('.');
    let (Some(service), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next()) else {
        return Vec::new();
    };
    match store.get(&Key::new("services", namespace, service)) {
        None => Vec::new(),
        Some(found) if found["spec"]["clusterIP"] == "None" => ready_addresses(store, namespace, service),
        Some(found) => {
            found["spec"]["clusterIP"].as_str().and_then(|address| address.parse().ok()).into_iter().collect()
        }
    }
}

/// The ready endpoints of a Service, as its EndpointSlices have them.
fn ready_addresses(store: &Store, namespace: &str, service: &str) -> Vec<IpAddr> {
    let slices = store.list("endpointslices", namespace).into_iter().map(|(_, slice)| slice);
    let of_service = slices.filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service);
    let ready = |slice: &Value| {
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        ready.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok()).collect::<Vec<_>>()
    };
    of_service.flat_map(|slice| ready(slice)).collect()
}
