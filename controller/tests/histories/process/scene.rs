//! Two replicas on one world. Requests wait on their wires, as in histories; here they are delivered as they come, unless
//! the scene says what becomes of them.

use crate::api::Request;
use crate::api::refusal::Refusal;
use crate::api::store::Key;
use crate::history::respond;
use crate::wire::{Letter, Wire};
use crate::world::cast::{App, MODEL_PORT, MODELS, SYSTEM, published};
use crate::world::{Beginning, Happening, Model, World};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnout_controller::cleanup::{self, CleanupError};
use turnout_controller::client::Limited;
use turnout_controller::heart::Heart;
use turnout_controller::lease::Leadership;
use turnout_controller::replica::Replica;
use turnout_controller::settings::Settings;
use turnout_controller::telemetry::Telemetry;
use turnout_driver::outbound::{Answer, Call, Outbound, OutboundError, Post, Posting};
use turnout_rollout::{RolloutStatus, Timestamp, Weights};

/// What becomes of a request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// Nobody ever answers.
    Hangs,
    /// It is done after a while, if whoever asked still waits.
    Slow(Duration),
    Reset,
    Forbidden,
}

/// By the replica and what it asks for, as `List services abtesting/`.
type Rule = Box<dyn Fn(usize, &str) -> Fate>;

/// The seat of whoever uninstalls.
const UNINSTALLER: usize = 2;
/// How often the wires are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(20);

pub(super) struct Scene {
    world: RefCell<World>,
    seats: [Seat; 3],
    rule: RefCell<Rule>,
    /// Of each replica, what it asked for but the lease and watches.
    requests: [Cell<usize>; 3],
    /// Requests that hang.
    hanging: RefCell<Vec<Letter>>,
    /// Requests that are done later, with who asked and when that is.
    slow: RefCell<Vec<(Instant, usize, Letter)>>,
    has_gateway: Cell<bool>,
    /// Namespaces that are governed besides the models' own.
    others: RefCell<Vec<String>>,
    /// What else the release is told.
    told: Cell<fn(&mut Settings)>,
}

/// Where a replica runs.
#[derive(Default)]
struct Seat {
    wire: Wire,
    clock_panics: Arc<AtomicBool>,
    pods_hang: Arc<AtomicBool>,
    models_hang: Arc<AtomicBool>,
}

/// A replica that runs.
pub(super) struct Running {
    pub(super) heart: Arc<Heart>,
    telemetry: Telemetry,
    stop: Arc<Notify>,
    task: RefCell<Option<JoinHandle<anyhow::Result<()>>>>,
}

impl Running {
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    pub(super) fn failed_rounds(&self) -> u64 {
        let text = self.telemetry.text();
        let line =
            text.lines().find_map(|line| line.strip_prefix("turnout_controller_rounds_total{result=\"failed\"} "));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// How its process ended.
    pub(super) async fn ended(&self) -> anyhow::Result<()> {
        let task = self.task.borrow_mut().take().expect("it is asked once");
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").expect("only tasks of its own panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl Scene {
    /// With so many models.
    pub(super) fn of(models: usize) -> Self {
        let warm_up = json!({"warmUp": {"path": "/score", "requests": 2}});
        let model = Model { spec: warm_up, green: Some(1), labelled: true, brings_services: false };
        Self::with(vec![model; models])
    }

    /// With these.
    pub(super) fn with(models: Vec<Model>) -> Self {
        let models = App::ALL.into_iter().zip(models).collect();
        let beginning = Beginning { objects: true, twins: true, gateways: 1, models };
        Self {
            world: RefCell::new(World::new(beginning)),
            seats: <[Seat; 3]>::default(),
            rule: RefCell::new(Box::new(|_, _| Fate::Done)),
            requests: Default::default(),
            hanging: RefCell::default(),
            slow: RefCell::default(),
            has_gateway: Cell::new(true),
            others: RefCell::default(),
            told: Cell::new(|_| {}),
        }
    }

    /// Delivers what is on the wires, for ever.
    pub(super) async fn serve(&self) {
        loop {
            for from in 0..self.seats.len() {
                while let Some(letter) = self.seats[from].wire.take(0) {
                    self.deliver(from, letter);
                }
            }
            let is_due = |(at, ..): &mut (Instant, usize, Letter)| *at <= Instant::now();
            let due: Vec<_> = self.slow.borrow_mut().extract_if(.., is_due).collect();
            for (_, from, letter) in due.into_iter().filter(|(.., letter)| letter.is_awaited()) {
                self.deliver_by(&|_, _| Fate::Done, from, letter);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn deliver(&self, from: usize, letter: Letter) {
        self.deliver_by(&*self.rule.borrow(), from, letter);
    }

    fn deliver_by(&self, rule: &dyn Fn(usize, &str) -> Fate, from: usize, letter: Letter) {
        let mut world = self.world.borrow_mut();
        match letter {
            Letter::Pod { call, reply } => {
                let refused = || OutboundError::Connect(call.address, io::ErrorKind::ConnectionRefused.into());
                let _ = reply.send(world.answer(&call).ok_or_else(refused));
            }
            Letter::Api { head, body, reply } => {
                let request = Request::read(&head, &body);
                let line = request.as_ref().map_or_else(|_| "a watch".to_owned(), Request::line);
                if request.is_ok() && !line.contains(" leases ") {
                    self.requests[from].update(|count| count + 1);
                }
                match rule(from, &line) {
                    Fate::Slow(takes) => {
                        self.slow.borrow_mut().push((Instant::now() + takes, from, Letter::Api { head, body, reply }));
                    }
                    Fate::Hangs => self.hanging.borrow_mut().push(Letter::Api { head, body, reply }),
                    Fate::Forbidden => {
                        let refusal = Refusal::new(403, "Forbidden", "a right is missing");
                        let _ = reply.send(Ok(respond(refusal.code, &refusal.to_status())));
                    }
                    Fate::Reset => drop(reply.send(Err(io::ErrorKind::ConnectionReset.into()))),
                    Fate::Done => {
                        let now = world.store.revision();
                        let done = request.and_then(|request| request.execute(&mut world.store, now));
                        let answer = done.map_or_else(
                            |refusal| respond(refusal.code, &refusal.to_status()),
                            |accepted| respond(accepted.code, &accepted.body),
                        );
                        let _ = reply.send(Ok(answer));
                        world.gateways_follow();
                    }
                }
            }
        }
    }

    /// The first leads, and the second stands by.
    pub(super) async fn start_both(&self) -> [Running; 2] {
        let first = self.start(0);
        self.until("the first leads", || first.heart.is_leading()).await;
        let second = self.start(1);
        self.until("the second stands by", || second.heart.is_ready()).await;
        self.until_rounds_go_on(0).await;
        assert!(!second.heart.is_leading());
        [first, second]
    }

    fn start(&self, number: usize) -> Running {
        let seat = &self.seats[number];
        let (client, settings) = (|| self.client(number), self.settings(number));
        let (all, models) = (seat.pods_hang.clone(), seat.models_hang.clone());
        let outbound = Pods { wire: seat.wire.clone(), all, models };
        let (started, panics) = (Instant::now(), seat.clock_panics.clone());
        let clock = move || {
            assert!(!panics.load(Ordering::Relaxed), "the test wants a panic");
            Timestamp(1_767_225_600 + started.elapsed().as_secs())
        };
        let replica = Replica::new([client(), client()], settings, Arc::new(outbound), Arc::new(clock));
        let (heart, telemetry, stop) = (replica.heart.clone(), replica.telemetry.clone(), Arc::new(Notify::new()));
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let stop = async move {
                told.notified().await;
                Ok(())
            };
            replica.run(stop).await
        });
        Running { heart, telemetry, stop, task: RefCell::new(Some(task)) }
    }

    fn client(&self, number: usize) -> kube::Client {
        kube::Client::new(Limited(self.seats[number].wire.clone()), "default")
    }

    fn settings(&self, number: usize) -> Settings {
        let mut settings = self.world.borrow().settings();
        settings.namespaces.extend(self.others.borrow().iter().cloned());
        settings.identity = format!("controller-{number}");
        settings.gateway_service = settings.gateway_service.filter(|_| self.has_gateway.get());
        (self.told.get())(&mut settings);
        settings
    }

    /// What `helm uninstall` runs, to its end.
    pub(super) async fn clean_up(&self) -> Result<Vec<String>, CleanupError> {
        self.clean_up_of(&[MODELS]).await
    }

    /// As long as these namespaces are governed.
    pub(super) async fn clean_up_of(&self, namespaces: &[&str]) -> Result<Vec<String>, CleanupError> {
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        let settings = Settings { namespaces, ..self.settings(UNINSTALLER) };
        cleanup::run(&self.client(UNINSTALLER), &settings).await
    }

    /// One that does nothing but to hold the lease.
    pub(super) fn uninstaller(&self) -> Leadership {
        Leadership::new(self.client(UNINSTALLER), &self.settings(UNINSTALLER)).of_uninstaller()
    }

    pub(super) fn governs_too(&self, namespace: &str) {
        self.others.borrow_mut().push(namespace.to_owned());
    }

    pub(super) fn is_told(&self, what: fn(&mut Settings)) {
        self.told.set(what);
    }

    pub(super) fn put(&self, key: &Key, object: Value) {
        self.world.borrow_mut().store.put(key, object);
    }

    pub(super) fn has_gateway(&self, has: bool) {
        self.has_gateway.set(has);
    }

    pub(super) fn fate(&self, rule: impl Fn(usize, &str) -> Fate + 'static) {
        *self.rule.borrow_mut() = Box::new(rule);
    }

    pub(super) fn clock_panics(&self, of: usize, panics: bool) {
        self.seats[of].clock_panics.store(panics, Ordering::Relaxed);
    }

    pub(super) fn pods_hang(&self, of: usize, hang: bool) {
        self.seats[of].pods_hang.store(hang, Ordering::Relaxed);
    }

    /// Both replicas' requests to models are never answered.
    pub(super) fn models_hang(&self, hang: bool) {
        self.seats.iter().for_each(|seat| seat.models_hang.store(hang, Ordering::Relaxed));
    }

    /// Things go on around the controllers.
    pub(super) fn happens(&self, happening: &Happening) {
        self.world.borrow_mut().happens(happening).expect("it breaks no law");
    }

    /// Waits until the condition holds.
    pub(super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}");
            tokio::time::sleep(TICK).await;
        }
    }

    pub(super) async fn pause(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    pub(super) async fn minutes(&self, minutes: u64) {
        tokio::time::sleep(Duration::from_mins(minutes)).await;
    }

    /// The replica asks for enough that it must have begun a round.
    pub(super) async fn until_rounds_go_on(&self, of: usize) {
        let before = self.requests_of(of);
        self.until("rounds go on", || self.requests_of(of) > before + 30).await;
    }

    pub(super) fn requests_of(&self, replica: usize) -> usize {
        self.requests[replica].get()
    }

    pub(super) fn status(&self) -> RolloutStatus {
        self.world.borrow().status(App(0))
    }

    /// Those that are published of its rule.
    pub(super) fn weights(&self) -> Option<Weights> {
        self.world.borrow().weights(App(0))
    }

    pub(super) fn object(&self, key: &Key) -> Option<Arc<Value>> {
        self.world.borrow().store.get(key).cloned()
    }

    pub(super) fn edit(&self, key: &Key, edit: impl FnOnce(&mut Value)) {
        self.world.borrow_mut().store.edit(key, edit);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.world.borrow_mut().store.remove(key);
    }

    /// The chart makes the published ConfigMap, empty.
    pub(super) fn put_routes(&self) {
        self.world.borrow_mut().store.put(&published(), json!({"metadata": {}}));
    }

    /// To whom the objects of a kind belong.
    pub(super) fn owners(&self, plural: &'static str) -> Vec<Option<String>> {
        let all = self.world.borrow().model_objects(plural).into_iter();
        all.map(|(_, object)| object["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_owned)).collect()
    }

    /// Who has the lease.
    pub(super) fn holder(&self) -> Option<String> {
        let lease = self.object(&Key::new("leases", SYSTEM, "turnout-controller"))?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }
}

/// What answers requests to pods, if anything does.
struct Pods {
    wire: Wire,
    all: Arc<AtomicBool>,
    models: Arc<AtomicBool>,
}

impl Outbound for Pods {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, OutboundError>> {
        let is_model = call.address.port() == MODEL_PORT;
        let hangs = self.all.load(Ordering::Relaxed) || (is_model && self.models.load(Ordering::Relaxed));
        if hangs { Box::pin(std::future::pending()) } else { self.wire.send(call) }
    }

    fn post(&self, post: Post) -> Posting<'_> {
        Outbound::post(&self.wire, post)
    }
}
