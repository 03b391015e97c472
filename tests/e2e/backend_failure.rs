//! Backends that fail: what was written to one that dies may be lost, everything else is served by the other one, and
//! nothing reaches an application twice.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use model::{Death, Entry, ID_HEADER, Journal, Model, PADDING};
use tokio::task::JoinSet;
use turnout_bench::{Load, Total, Variant};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;
use turnout_tests::routes::{self, KEY};

/// Clients that send one request after the other.
const LANES: usize = 8;

/// Every so many requests one has a body that the gateway streams.
const LARGE_EVERY: usize = 5;

/// More than the gateway reads ahead (16 KiB).
const LARGE_BYTES: usize = 40_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_closes_its_connections_costs_only_the_requests_that_were_written_to_it() {
    let mut fixture = Fixture::start().await;
    let lanes = Lanes::start(fixture.gateway.address(80));
    fixture.kill_and_revive_each(Death::Polite, &lanes).await;
    let outcomes = lanes.finish().await;

    let unanswered: BTreeSet<String> = fixture.models.iter().flat_map(|model| unanswered(model.journal())).collect();
    let failed: BTreeSet<String> = outcomes.failed.keys().cloned().collect();
    assert_eq!(failed, unanswered, "{:?}", outcomes.failed);
    fixture.assert_nothing_reached_an_application_twice(&outcomes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_resets_its_connections_costs_at_most_the_request_on_each() {
    let mut fixture = Fixture::start().await;
    let lanes = Lanes::start(fixture.gateway.address(80));
    let reset = fixture.kill_and_revive_each(Death::Hard, &lanes).await;
    let outcomes = lanes.finish().await;

    assert!(outcomes.failed.len() <= reset, "{reset} connections were reset: {:?}", outcomes.failed);
    fixture.assert_nothing_reached_an_application_twice(&outcomes);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_request_whose_kept_connection_turns_out_closed_is_served_by_the_other_endpoint() {
    let mut fixture = Fixture::start().await;
    let mut clients = Clients::open(fixture.gateway.address(80)).await;
    for round in 0..2 {
        // Connections to both models are kept, and idle.
        clients.exchange_all(&format!("warm-{round}")).await;
        // The gateway finds the requests first, and only then that the model is gone. One that found a request before the
        // model was gone would be right to write it to the connection, and could not send it again.
        fixture.gateway.stop().await.expect("the process can be stopped");
        clients.send_all(&format!("late-{round}")).await;
        fixture.models[0].vanish().await;
        fixture.gateway.resume().expect("the process can be signalled");
        clients.receive_all(&format!("late-{round}")).await;
        fixture.models[0].revive().expect("the address was kept");
        fixture.wait_until_used(0, &mut clients).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_that_a_backend_closes_between_requests_cost_no_request() {
    let fixture = Fixture::start().await;
    let mut clients = Clients::open(fixture.gateway.address(80)).await;
    for round in 0..50 {
        clients.exchange_all(&format!("round-{round}")).await;
        for model in &fixture.models {
            model.close_idle_connections().await;
        }
    }
    let entries: Vec<Entry> = fixture.models.iter().flat_map(|model| model.journal().entries().into_values()).collect();
    assert_eq!(entries.len(), 50 * LANES);
    assert!(entries.iter().all(|entry| *entry == Entry { heads: 1, wholes: 1, answers: 1 }), "{entries:?}");
}

#[tokio::test]
async fn a_backend_that_closes_after_every_answer_costs_no_request() {
    let backends = Backends::start_named(&["green"]).await.expect("loopback has free ports");
    let (_mount, gateway) = start_gateway(&[backends.address("green")]).await;
    let closing = HeaderValue::from_static("header=connection:close; close-after; body=ok");
    let variant = Variant::post_json("score", PathAndQuery::from_static("/score"), "{}");
    let variant = variant.with_header(HeaderName::from_static("x-echo"), closing);
    let report = Load::new(gateway.address(80), Total::Requests(2000), vec![variant]).start();
    let report = report.expect("the load is valid").report().await;
    assert_eq!((report.requests(), report.failed()), (2000, 0), "{:?}", report.first_failures);
    let connections: BTreeSet<usize> = backends.received().iter().map(|received| received.connection).collect();
    assert_eq!(connections.len(), 2000, "every request has a connection of its own");
}

async fn start_gateway(endpoints: &[SocketAddr]) -> (KubeletMount, Gateway) {
    let documents = routes::one_service(endpoints, 1);
    let mount = KubeletMount::new(&[(KEY, documents.as_bytes())]).expect("the mount is made");
    let command = GatewayCommand::new(mount.path()).listen(80).args(&["--workers", "2"]);
    let gateway = command.start().await.expect("the gateway starts");
    (mount, gateway)
}

/// Two models behind one Service, and the gateway.
struct Fixture {
    models: [Model; 2],
    gateway: Gateway,
    _mount: KubeletMount,
}

impl Fixture {
    async fn start() -> Self {
        let models = [Model::start().await, Model::start().await].map(|model| model.expect("loopback has free ports"));
        let (mount, gateway) = start_gateway(&[models[0].address(), models[1].address()]).await;
        Self { models, gateway, _mount: mount }
    }

    /// Kills each model once, and sees that it is used again when it has come back. Returns how many connections ended.
    async fn kill_and_revive_each(&mut self, death: Death, lanes: &Lanes) -> usize {
        let mut ended = 0;
        for model in &mut self.models {
            lanes.wait_for_further(200).await;
            ended += model.die(death).await;
            lanes.wait_for_further(200).await;
            let before = model.journal().len();
            model.revive().expect("the address was kept");
            let used = eventually(DEADLINE, || async {
                if model.journal().len() > before { Ok(()) } else { Err("the model is not used again") }
            });
            used.await.unwrap_or_else(|error| panic!("{error}: {}", self.gateway.log()));
        }
        lanes.wait_for_further(200).await;
        assert!(ended > 0, "the models had connections");
        ended
    }

    /// Sends requests until one reaches this model.
    async fn wait_until_used(&self, model: usize, clients: &mut Clients) {
        let journal = self.models[model].journal();
        let before = journal.len();
        let start = std::time::Instant::now();
        let mut round = 0;
        while journal.len() == before {
            assert!(start.elapsed() < DEADLINE, "the model is not used again");
            clients.exchange_all(&format!("again-{before}-{round}")).await;
            round += 1;
        }
    }

    fn assert_nothing_reached_an_application_twice(&self, outcomes: &Outcomes) {
        let mut total: BTreeMap<String, Entry> = BTreeMap::new();
        for (id, entry) in self.models.iter().flat_map(|model| model.journal().entries()) {
            let sum = total.entry(id).or_default();
            sum.heads += entry.heads;
            sum.wholes += entry.wholes;
            sum.answers += entry.answers;
        }
        let twice: Vec<_> = total.iter().filter(|(_, entry)| entry.wholes > 1 || entry.heads > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let once = Entry { heads: 1, wholes: 1, answers: 1 };
        let lost: Vec<_> = outcomes.answered.iter().filter(|id| total.get(*id) != Some(&once)).collect();
        assert!(lost.is_empty(), "answered, but not by one model: {lost:?}");
        println!("{} requests answered, {} failed", outcomes.answered.len(), outcomes.failed.len());
    }
}

/// The requests that a model received and did not answer.
fn unanswered(journal: &Journal) -> impl Iterator<Item = String> {
    journal.entries().into_iter().filter(|(_, entry)| entry.answers == 0).map(|(id, _)| id)
}

fn post(id: &str, large: bool) -> RawRequest {
    let length = if large { LARGE_BYTES } else { id.len() + 1 };
    let mut body = id.as_bytes().to_vec();
    body.resize(length, PADDING as u8);
    RawRequest::post("/score", &body).header(ID_HEADER, id)
}

/// What became of the requests of [`Lanes`], by their ids.
#[derive(Debug, Default)]
struct Outcomes {
    answered: BTreeSet<String>,
    failed: BTreeMap<String, String>,
}

/// Clients that send one POST after the other, each with an id that no other has, until they are told to stop.
struct Lanes {
    stopped: Arc<AtomicBool>,
    finished: Arc<AtomicUsize>,
    tasks: JoinSet<Outcomes>,
}

impl Lanes {
    fn start(gateway: SocketAddr) -> Self {
        let (stopped, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for lane in 0..LANES {
            tasks.spawn(send_until(Arc::clone(&stopped), Arc::clone(&finished), gateway, lane));
        }
        Self { stopped, finished, tasks }
    }

    /// Waits until that many more requests have ended, well or badly.
    async fn wait_for_further(&self, count: usize) {
        let wanted = self.finished.load(Ordering::Relaxed) + count;
        let reached = eventually(DEADLINE, || async {
            let finished = self.finished.load(Ordering::Relaxed);
            if finished >= wanted { Ok(()) } else { Err(format!("{finished} requests have ended")) }
        });
        reached.await.expect("requests end");
    }

    async fn finish(self) -> Outcomes {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = Outcomes::default();
        for mut outcomes in self.tasks.join_all().await {
            all.answered.append(&mut outcomes.answered);
            all.failed.append(&mut outcomes.failed);
        }
        all
    }
}

async fn send_until(
    stopped: Arc<AtomicBool>,
    finished: Arc<AtomicUsize>,
    gateway: SocketAddr,
    lane: usize,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut connection = None;
    for number in 0.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{lane}-{number}");
        match exchange(&mut connection, gateway, &id, number % LARGE_EVERY == 0).await {
            Ok(()) => {
                outcomes.answered.insert(id);
            }
            Err(error) => {
                connection = None;
                outcomes.failed.insert(id, format!("{error:#}"));
            }
        }
        finished.fetch_add(1, Ordering::Relaxed);
    }
    outcomes
}

async fn exchange(
    connection: &mut Option<RawConnection>,
    gateway: SocketAddr,
    id: &str,
    large: bool,
) -> anyhow::Result<()> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(RawConnection::open(gateway).await?),
    };
    let response = open.exchange(&post(id, large)).await?;
    anyhow::ensure!(response.status == 200 && response.complete, "{}: {}", response.status, response.text());
    anyhow::ensure!(response.text() == id, "the answer to another request: {}", response.text());
    if response.headers.has_token("connection", "close") {
        *connection = None;
    }
    Ok(())
}

/// Clients that all send a request, and all wait for the answer. Every other one sends no body: the gateway takes a
/// connection for such a request at once, and for another only when it has looked at everything that came meanwhile.
struct Clients {
    connections: Vec<RawConnection>,
}

impl Clients {
    async fn open(gateway: SocketAddr) -> Self {
        let mut connections = Vec::new();
        for _ in 0..LANES {
            connections.push(RawConnection::open(gateway).await.expect("the gateway listens"));
        }
        Self { connections }
    }

    async fn exchange_all(&mut self, name: &str) {
        self.send_all(name).await;
        self.receive_all(name).await;
    }

    async fn send_all(&mut self, name: &str) {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            let id = format!("{name}-{number}");
            let get = RawRequest::get("/score").header(ID_HEADER, &id);
            let request = if number % 2 == 0 { get } else { post(&id, false) };
            connection.send(&request.to_bytes()).await.expect("the gateway has room for it");
        }
    }

    async fn receive_all(&mut self, name: &str) {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            let response = connection.response("GET").await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let text = response.text();
            assert_eq!((response.status, text), (200, format!("{name}-{number}")));
        }
    }
}
