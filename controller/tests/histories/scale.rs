//! Many rollouts: what a round costs where nothing moves. The requests to the API server are counted, and must grow with
//! the namespaces alone; the CPU time of the controller's own thread is printed, for the API answers on another one.

use crate::api::Request;
use crate::api::store::{Key, Store};
use crate::history::respond;
use crate::wire::{Letter, Wire};
use crate::world::cast::{GATEWAYS, MODEL_PORT, ROUTES, STATUS_PORT, SYSTEM, gateway_service, published};
use crate::world::gateway::Gateway;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use turnout_controller::controller;
use turnout_controller::settings::{DocumentSource, RegistryKind, Settings};
use turnout_controller::telemetry::Telemetry;
use turnout_driver::outbound::{Answer, OutboundError};
use turnout_rollout::{Backend, Mode, Timestamp};

const GATEWAY_COUNT: u8 = 20;

/// So many rollouts, with all that is around them.
#[derive(Clone, Copy, Debug)]
struct Size {
    mode: Mode,
    namespaces: usize,
    /// In each of them.
    rollouts: usize,
}

/// What a round came to.
#[derive(Debug)]
struct Cost {
    /// By verb and kind.
    requests: BTreeMap<String, usize>,
    cpu: Duration,
}

impl Size {
    fn namespaces(self) -> Vec<String> {
        (0..self.namespaces).map(|number| format!("models-{number}")).collect()
    }

    fn settings(self) -> Settings {
        Settings {
            shared_route_namespaces: Vec::new(),
            class: None,
            namespaces: self.namespaces(),
            namespace: SYSTEM.to_owned(),
            identity: "controller".to_owned(),
            gateway_service: (self.mode == Mode::Gateway).then(|| GATEWAYS.to_owned()),
            gateway_status_port: STATUS_PORT,
            routes_configmap: ROUTES.to_owned(),
            documents: DocumentSource::Objects,
            registry: RegistryKind::Twins,
            lease: "turnout-controller".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
        }
    }

    fn store(self) -> Store {
        let mut store = Store::new(Timestamp(1_767_225_600));
        store.put(&published(), json!({"metadata": {}}));
        store.put(&Key::new("services", SYSTEM, GATEWAYS), gateway_service());
        for number in 0..self.namespaces * self.rollouts {
            put_model(&mut store, self, number);
        }
        let gateways = (0..GATEWAY_COUNT).map(|number| (format!("gateway-{number}"), gateway_address(number)));
        put_slice(&mut store, SYSTEM, GATEWAYS, STATUS_PORT, gateways);
        store
    }
}

fn gateway_address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, number))
}

/// A model whose green serves, as it is when nothing is rolled out.
fn put_model(store: &mut Store, size: Size, number: usize) {
    let (namespace, name) = (format!("models-{}", number / size.rollouts), format!("model-{number}"));
    for backend in Backend::BOTH {
        let workload = format!("{name}-{backend}");
        let labels = json!({"app": name, "version": backend});
        let ports = json!([{"name": "http", "port": MODEL_PORT, "targetPort": MODEL_PORT}]);
        let service = json!({"metadata": {}, "spec": {"selector": labels, "ports": ports}});
        store.put(&Key::new("services", &namespace, &workload), service);
        if backend == Backend::Green {
            put_workload(store, &namespace, &workload, &labels, number);
        }
    }
    let destination = |backend: Backend| json!({"host": format!("{name}-{backend}"), "port": {"number": MODEL_PORT}});
    let [green, blue] = Backend::BOTH.map(destination);
    let pinned = json!({
        "match": [{"headers": {"x-api-version": {"exact": "blue"}}}], "route": [{"destination": blue}],
    });
    let split = json!({"route": [{"destination": green, "weight": 100}, {"destination": blue, "weight": 0}]});
    let routes = json!({"hosts": [format!("{name}.example.com")], "http": [pinned, split]});
    store.put(&Key::new("virtualservices", &namespace, &name), json!({"spec": routes}));
    let [green, blue] = Backend::BOTH.map(|backend| json!({"host": format!("{name}-{backend}")}));
    let spec = json!({"mode": size.mode, "route": {"virtualService": name}, "green": green, "blue": blue});
    store.put(&Key::new("modelrollouts", &namespace, &name), json!({"spec": spec}));
}

fn put_workload(store: &mut Store, namespace: &str, workload: &str, labels: &Value, number: usize) {
    let mut of_pods = labels.clone();
    of_pods["turnout.dev/revision"] = json!("v1");
    let containers = json!([{"name": "model", "image": "registry/model:v1"}]);
    let template = json!({"metadata": {"labels": of_pods}, "spec": {"containers": containers}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let status = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    store.put(&Key::new("deployments", namespace, workload), json!({"spec": spec, "status": status}));
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    let address = Ipv4Addr::new(10, 2, high, low);
    let status = json!({
        "phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "model", "ready": true, "imageID": "registry/model@sha256:1"}],
    });
    let pod = json!({"metadata": {"labels": of_pods}, "spec": {"containers": containers}, "status": status});
    store.put(&Key::new("pods", namespace, workload), pod);
    put_slice(store, namespace, workload, MODEL_PORT, [(workload.to_owned(), IpAddr::V4(address))].into_iter());
}

fn put_slice(
    store: &mut Store,
    namespace: &str,
    service: &str,
    port: u16,
    pods: impl Iterator<Item = (String, IpAddr)>,
) {
    let endpoint = |(pod, address): (String, IpAddr)| {
        let conditions = json!({"ready": true, "serving": true, "terminating": false});
        json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}})
    };
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
        "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    });
    store.put(&Key::new("endpointslices", namespace, &format!("{service}-slice")), slice);
}

/// Answers what is on the wire until it is told to stop, and tells of each request to the API.
fn serve(wire: &Wire, size: Size, stop: &AtomicBool, told: &mpsc::Sender<String>) {
    let mut store = size.store();
    let mut gateway = Gateway::start(&mut store, 0);
    let mut pages: Option<[Bytes; 2]> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(letter) = wire.take(0) else {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        };
        match letter {
            Letter::Pod { call, reply } if call.address.port() != STATUS_PORT => {
                let refused = io::ErrorKind::ConnectionRefused;
                let _ = reply.send(Err(OutboundError::Connect(call.address, refused.into())));
            }
            Letter::Pod { call, reply } => {
                let [revision, backends] = pages.get_or_insert_with(|| {
                    gateway.sync(&store, true);
                    gateway.reload();
                    gateway.look_up(&store);
                    [gateway.revision_page(), gateway.backends_page()].map(|page| page.to_string().into())
                });
                let body = if call.path == "/revision" { revision } else { backends };
                let _ = reply.send(Ok(Answer { status: 200, body: body.clone() }));
            }
            Letter::Api { head, body, reply } => {
                let request = Request::read(&head, &body).expect("no watch is asked for");
                let _ = told.send(format!("{:?} {}", request.verb, request.kind.plural));
                let now = store.revision();
                let answer = request.execute(&mut store, now).map_or_else(
                    |refusal| respond(refusal.code, &refusal.to_status()),
                    |accepted| respond(accepted.code, &accepted.body),
                );
                if store.revision() != now {
                    pages = None;
                }
                let _ = reply.send(Ok(answer));
            }
        }
    }
}

/// Of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A round in which nothing moves any more.
fn steady_round(size: Size) -> Cost {
    let (wire, stop) = (Wire::default(), Arc::new(AtomicBool::new(false)));
    let (told, telling) = mpsc::channel();
    let (their_wire, their_stop) = (wire.clone(), stop.clone());
    let api = std::thread::spawn(move || serve(&their_wire, size, &their_stop, &told));
    let clock = Arc::new(|| Timestamp(1_767_225_600));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cost = runtime.block_on(async {
        let (client, outbound) = (wire.client(), Arc::new(wire));
        let mut controller = controller(client, size.settings(), outbound, clock, Telemetry::default());
        // What the API server has not answered in time counts for the round that it is answered in: two rounds must be calm.
        let mut was_calm = false;
        for _ in 0..100 {
            let (cpu, _) = (cpu_time(), telling.try_iter().count());
            let round = controller.round().await;
            let is_calm = round.problems.is_empty() && round.pause > Duration::from_secs(1);
            if is_calm && was_calm {
                let mut requests = BTreeMap::new();
                for line in telling.try_iter() {
                    *requests.entry(line).or_default() += 1;
                }
                return Cost { requests, cpu: cpu_time().saturating_sub(cpu) };
            }
            was_calm = is_calm;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not come to rest");
    });
    stop.store(true, Ordering::Relaxed);
    api.join().expect("it serves to the end");
    cost
}

/// The cost of a round is printed; returns its requests.
fn requests(mode: Mode, namespaces: usize, rollouts: usize) -> usize {
    let Cost { requests, cpu } = steady_round(Size { mode, namespaces, rollouts });
    let (total, each) = (requests.values().sum::<usize>(), cpu / u32::try_from(namespaces * rollouts).unwrap());
    println!("{mode:?} mode, {namespaces} namespaces of {rollouts} rollouts, {GATEWAY_COUNT} gateways:");
    println!("  {total} requests, {cpu:?} of CPU, {each:?} for a rollout: {requests:?}");
    total
}

/// A ConfigMap has room for some five hundred rules with the names behind them, so that more is for Istio mode, where weights
/// stand in everybody's own VirtualServices.
#[test]
fn a_round_asks_by_namespaces_however_many_rollouts_they_have() {
    let is_large = std::env::var("TURNOUT_SLOW").is_ok_and(|size| size == "full");
    let many = |most| if is_large { most } else { 5 };
    for (namespaces, rollouts) in [(1, 5), (1, 20), (1, 60), (2, 20), (5, 20), (many(25), 20)] {
        assert_eq!(requests(Mode::Gateway, namespaces, rollouts), 9 * namespaces + 2, "{namespaces} of {rollouts}");
    }
    for (namespaces, rollouts) in [(1, 5), (1, 20), (1, 60), (5, 20), (many(50), 20)] {
        assert_eq!(requests(Mode::Istio, namespaces, rollouts), 6 * namespaces, "{namespaces} of {rollouts}");
    }
    // Up to four of a kind are asked for one by one.
    assert_eq!(requests(Mode::Gateway, 1, 1), 10 + 2);
    assert_eq!(requests(Mode::Gateway, 1, 2), 12 + 2);
}
