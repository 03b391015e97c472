//! Lives a history: rounds of one or two controllers against the API, request by request, with everything that comes
//! between. Time is tokio's paused clock, so nothing waits and every run of a history is the same.

use super::{Disturbance, Ending, Fault, History, Step, Trip};
use crate::api::refusal::Refusal;
use crate::api::{Request, Verb};
use crate::laws::{Broken, Checked, Facts, Laws, Seen, Window, check_claims, law};
use crate::wire::{Letter, Wire};
use crate::world::bar::Barred;
use crate::world::cast::App;
use crate::world::{Happening, World};
use bytes::Bytes;
use http_body_util::Full;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use turnout_controller::client::Limited;
use turnout_controller::telemetry::Telemetry;
use turnout_controller::{Controller, controller};
use turnout_driver::outbound::{Answer, Outbound, OutboundError};
use turnout_driver::{Clock, Round};
use turnout_rollout::Timestamp;

/// No round sends so many requests.
const MOST_REQUESTS: usize = 2000;
/// How often nothing may move before a round counts as stuck.
const MOST_IDLE_STEPS: usize = 2000;

/// How a history failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) broken: Broken,
    /// The step at which it did; none in the calm after the last one.
    pub(crate) step: Option<usize>,
    /// What happened, if that was asked for.
    pub(crate) trace: Vec<String>,
}

type RoundFuture = Pin<Box<dyn Future<Output = (Controller, Round)>>>;

/// One of the two controllers.
struct Seat {
    wire: Wire,
    clock: Clock,
    idle: Option<Controller>,
    round: Option<RoundFuture>,
    /// Requests that nobody answers as long as their namespace hangs.
    held: Vec<Letter>,
    /// The round that comes may be told what was true before it began.
    is_late: bool,
    window: Window,
    /// Every request of the round was done.
    is_undisturbed: bool,
}

/// A history that is being lived.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) laws: Laws,
    seats: [Seat; 2],
    now: Arc<AtomicU64>,
    trace: Option<Vec<String>>,
    /// Requests that would change something, since the last trip began.
    pub(super) writes: Vec<String>,
}

/// Lives the history, and what follows when all is calm again.
pub(crate) fn live(history: &History, traced: bool) -> Result<Seen, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime needs nothing");
    let lived = std::panic::AssertUnwindSafe(|| runtime.block_on(live_through(history, traced)));
    std::panic::catch_unwind(lived).unwrap_or_else(|_| {
        let broken = Broken { law: "nothing panics", detail: "see above".to_owned() };
        Err(Failure { broken, step: None, trace: Vec::new() })
    })
}

async fn live_through(history: &History, traced: bool) -> Result<Seen, Failure> {
    let mut run = Run::new(history, traced);
    for (index, step) in history.steps.iter().enumerate() {
        if let Err(broken) = run.step(step).await {
            return Err(run.failure(broken, Some(index)));
        }
    }
    match run.calm_down().await {
        Ok(()) => Ok(run.laws.seen),
        Err(broken) => Err(run.failure(broken, None)),
    }
}

impl Run {
    fn new(history: &History, traced: bool) -> Self {
        let world = World::new(history.beginning.clone());
        let now = Arc::new(AtomicU64::new(world.store.now.0));
        let seats = [0, history.skew_seconds].map(|skew| Seat::new(&now, skew));
        let laws = Laws::new(history.skew_seconds.unsigned_abs());
        Self { world, laws, seats, now, trace: traced.then(Vec::new), writes: Vec::new() }
    }

    fn failure(&mut self, broken: Broken, step: Option<usize>) -> Failure {
        Failure { broken, step, trace: self.trace.take().unwrap_or_default() }
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    async fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Round(trip) => self.trip(trip).await,
            Step::World(happening) => self.happens(happening),
        }
    }

    pub(super) fn happens(&mut self, happening: &Happening) -> Checked {
        self.tell(|| format!("{happening:?}"));
        let result = self.world.happens(happening);
        self.now.store(self.world.store.now.0, Ordering::Relaxed);
        result?;
        if matches!(happening, Happening::Bar(..)) {
            self.seats.iter_mut().for_each(Seat::send_held);
        }
        self.note();
        check_claims(&self.world)
    }

    /// Rounds that are under way may see what is true now.
    fn note(&mut self) {
        if self.seats.iter().all(|seat| seat.round.is_none()) {
            return;
        }
        let facts = Rc::new(Facts::of(&self.world));
        for seat in self.seats.iter_mut().filter(|seat| seat.round.is_some()) {
            seat.window.note(&facts);
        }
    }

    /// The process is gone, and with it what it remembered and had sent.
    pub(super) fn kill(&mut self, controller: usize) {
        let seat = &mut self.seats[controller];
        (seat.round, seat.idle) = (None, None);
        seat.held.clear();
        while seat.wire.take(0).is_some() {}
    }

    pub(super) async fn trip(&mut self, trip: &Trip) -> Checked {
        self.begin(trip.controller);
        let mut lost = 0;
        for request in 0..MOST_REQUESTS {
            if !self.await_request(trip.controller).await? {
                return Ok(());
            }
            match trip.ending {
                Ending::Sleep { request: last } if request >= last => {
                    self.laws.seen.count("sleeps");
                    self.tell(|| format!("  {} sleeps", trip.controller));
                    return Ok(());
                }
                Ending::SleepBefore(plural) if self.seats[trip.controller].wire.writes(plural) => {
                    self.laws.seen.count("sleeps before a write");
                    self.tell(|| format!("  {} sleeps before it writes {plural}", trip.controller));
                    return Ok(());
                }
                Ending::Crash { request: last, after_effect } if request >= last => {
                    return self.crash(trip, after_effect);
                }
                _ => {}
            }
            let fault = self.fault(trip, request, &mut lost);
            let writes = self.writes.len();
            self.seats[trip.controller].is_undisturbed &= fault.is_none();
            self.deliver(trip.controller, trip.shuffle, fault)?;
            for (_, disturbance) in trip.disturbances.iter().filter(|(at, _)| *at == request) {
                if let Disturbance::Happening(happening) = disturbance {
                    self.happens(happening)?;
                }
            }
            if trip.gateways_follow && self.writes.len() > writes {
                self.world.gateways_follow();
                self.note();
            }
        }
        law(false, "a round ends", || format!("{MOST_REQUESTS} requests were not enough"))
    }

    fn crash(&mut self, trip: &Trip, after_effect: bool) -> Checked {
        self.laws.seen.count("crashes");
        if after_effect {
            self.deliver(trip.controller, trip.shuffle, Some(Fault::LostAfter))?;
        }
        self.tell(|| format!("  {} crashes", trip.controller));
        self.kill(trip.controller);
        Ok(())
    }

    fn begin(&mut self, controller: usize) {
        let facts = Rc::new(Facts::of(&self.world));
        self.writes.clear();
        let seat = &mut self.seats[controller];
        if seat.round.is_some() {
            seat.window.note(&facts);
            seat.window.has_slept = true;
            self.tell(|| format!("round of {controller} goes on"));
            return;
        }
        let mut idle = seat.idle.take().unwrap_or_else(|| seat.controller(&self.world));
        if seat.is_late {
            seat.window.note(&facts);
        } else {
            seat.window = Window::begin(facts, self.world.store.now.0);
        }
        seat.is_late = !seat.held.is_empty();
        seat.is_undisturbed = true;
        seat.round = Some(Box::pin(async move {
            let round = idle.round().await;
            (idle, round)
        }));
        self.tell(|| format!("round of {controller}"));
    }

    /// Lets the controller work until it waits for an answer. False: its round is over, and what goes on beside rounds
    /// waits for nothing either.
    async fn await_request(&mut self, controller: usize) -> Result<bool, Broken> {
        for idle in 0..MOST_IDLE_STEPS {
            // What is waited for soon is; what hangs takes seconds.
            let step = Duration::from_millis(if idle < 50 { 1 } else { 50 });
            let seat = &mut self.seats[controller];
            let Some(round) = &mut seat.round else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                return Ok(self.seats[controller].wire.waiting() > 0);
            };
            // The sleep ends only when nothing else can run.
            let ended = tokio::select! {
                biased;
                ended = round => Some(ended),
                () = tokio::time::sleep(step) => None,
            };
            if let Some((idle, round)) = ended {
                (seat.round, seat.idle) = (None, Some(idle));
                if seat.is_undisturbed && seat.wire.waiting() == 0 {
                    self.laws.round_ended_undisturbed();
                }
                self.tell(|| format!("  ended: {round:?}"));
                continue;
            }
            if seat.wire.waiting() > 0 {
                return Ok(true);
            }
        }
        Err(Broken { law: "a round ends", detail: "it waits for nothing".to_owned() })
    }

    fn fault(&mut self, trip: &Trip, request: usize, lost: &mut usize) -> Option<Fault> {
        let mut fault = None;
        for (_, disturbance) in trip.disturbances.iter().filter(|(at, _)| *at == request) {
            match disturbance {
                Disturbance::Fault(chosen) => fault = Some(*chosen),
                Disturbance::Partition(requests) => {
                    self.laws.seen.count("partitions");
                    *lost = *requests;
                }
                Disturbance::Happening(_) => {}
            }
        }
        if *lost > 0 {
            *lost -= 1;
            return Some(Fault::LostBefore);
        }
        fault
    }

    /// Delivers one request, and its answer.
    fn deliver(&mut self, controller: usize, shuffle: usize, fault: Option<Fault>) -> Checked {
        match self.seats[controller].wire.take(shuffle) {
            None => Ok(()),
            Some(Letter::Pod { call, reply }) => {
                let answer = match fault {
                    Some(Fault::LostBefore | Fault::LostAfter) => {
                        Err(OutboundError::TimedOut(call.address, call.timeout))
                    }
                    Some(Fault::Refused(status)) => Ok(Answer { status, body: Bytes::new() }),
                    _ => self
                        .world
                        .answer(&call)
                        .ok_or_else(|| OutboundError::Connect(call.address, io::ErrorKind::ConnectionRefused.into())),
                };
                let told = answer.as_ref().map(|answer| answer.status).map_err(ToString::to_string);
                if told != Ok(200) || fault.is_some() {
                    self.tell(|| format!("  {controller} asks {}{}: {told:?}", call.address, call.path));
                }
                // Whoever asked may be gone.
                let _ = reply.send(answer);
                Ok(())
            }
            Some(Letter::Api { head, body, reply }) if self.is_held(&head, &body) => {
                self.laws.seen.count("requests held");
                self.tell(|| format!("  {controller} {} {}: held", head.method, head.uri));
                let seat = &mut self.seats[controller];
                seat.is_late = true;
                seat.is_undisturbed = false;
                seat.held.push(Letter::Api { head, body, reply });
                Ok(())
            }
            Some(Letter::Api { head, body, reply }) => {
                let (answer, checked) = self.answer(controller, &head, &body, fault);
                let _ = reply.send(answer);
                checked
            }
        }
    }

    fn is_held(&self, head: &http::request::Parts, body: &Bytes) -> bool {
        let barred = |request: Request| self.world.barred(request.namespace.as_deref(), request.kind.plural);
        Request::read(head, body).ok().and_then(barred) == Some(Barred::Held)
    }

    fn answer(
        &mut self,
        controller: usize,
        head: &http::request::Parts,
        body: &Bytes,
        fault: Option<Fault>,
    ) -> (io::Result<http::Response<Full<Bytes>>>, Checked) {
        let request = match Request::read(head, body) {
            Ok(request) => request,
            Err(refusal) => {
                self.tell(|| format!("  {controller} {} {}: {refusal:?}", head.method, head.uri));
                return (Ok(respond(refusal.code, &refusal.to_status())), Ok(()));
            }
        };
        let line = request.line();
        if request.verb.writes() {
            self.writes.push(line.clone());
        }
        match fault {
            Some(Fault::LostBefore) => {
                self.tell(|| format!("  {controller} {line}: lost before"));
                return (Err(io::ErrorKind::ConnectionReset.into()), Ok(()));
            }
            Some(Fault::Refused(code)) => {
                self.laws.seen.count("faults");
                self.tell(|| format!("  {controller} {line}: answered {code}"));
                let refusal = refused(&request, code);
                return (Ok(respond(code, &refusal.to_status())), Ok(()));
            }
            _ => {}
        }
        if self.world.barred(request.namespace.as_deref(), request.kind.plural).is_some() {
            self.seats[controller].is_undisturbed = false;
            self.laws.seen.count("requests forbidden");
            let refusal = Refusal::forbidden(request.kind, &request.name);
            return (Ok(respond(refusal.code, &refusal.to_status())), Ok(()));
        }
        self.execute(controller, &request, fault)
    }

    /// It gets through, and may lose its answer.
    fn execute(
        &mut self,
        controller: usize,
        request: &Request,
        fault: Option<Fault>,
    ) -> (io::Result<http::Response<Full<Bytes>>>, Checked) {
        let as_of = self.as_of(controller, request, fault);
        let result = request.execute(&mut self.world.store, as_of);
        let told = result.as_ref().map(|accepted| accepted.code);
        if request.verb.writes() || told.is_err() || fault.is_some() {
            self.tell(|| format!("  {controller} {}: {told:?}, {fault:?}", request.line()));
        }
        let (response, checked) = match result {
            Err(refusal) => {
                self.seats[controller].is_undisturbed = false;
                self.laws.seen.count(if refusal.code == 409 { "conflicts" } else { "refusals" });
                (respond(refusal.code, &refusal.to_status()), Ok(()))
            }
            Ok(accepted) => {
                self.remember_rule(controller, request, &accepted.body);
                let checked = match &accepted.effect {
                    Some(effect) => {
                        self.tell(|| crate::trace::effect(effect));
                        let checked = self.laws.check_write(&mut self.world, &self.seats[controller].window, effect);
                        self.note();
                        checked
                    }
                    None => Ok(()),
                };
                (respond(accepted.code, &accepted.body), checked)
            }
        };
        if fault == Some(Fault::LostAfter) {
            self.laws.seen.count("lost answers");
            return (Err(io::ErrorKind::ConnectionReset.into()), checked);
        }
        (Ok(response), checked)
    }

    /// What a controller reads of a rule is what it may write over.
    fn remember_rule(&mut self, controller: usize, request: &Request, answer: &serde_json::Value) {
        let is_it = |app: &App| Some(app.namespace()) == request.namespace.as_deref() && app.name() == request.name;
        let app = self.world.apps().into_iter().find(is_it);
        if let Some(app) = app.filter(|_| request.verb == Verb::Get && request.kind.plural == "virtualservices") {
            self.seats[controller].window.rules.insert(app, answer.clone());
        }
    }

    fn as_of(&mut self, controller: usize, request: &Request, fault: Option<Fault>) -> u64 {
        let now = self.world.store.revision();
        let Some(Fault::Stale(changes)) = fault.filter(|_| matches!(request.verb, Verb::Get | Verb::List)) else {
            return now;
        };
        let revision = self.world.store.revision_before_changes(request.kind.plural, changes);
        if revision < now {
            self.laws.seen.count("stale reads");
            self.seats[controller].window.stale.insert(request.kind.plural);
        }
        revision
    }
}

impl Seat {
    fn new(now: &Arc<AtomicU64>, skew: i64) -> Self {
        let now = Arc::clone(now);
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed).saturating_add_signed(skew)));
        Self {
            wire: Wire::default(),
            clock,
            idle: None,
            round: None,
            held: Vec::new(),
            is_late: false,
            window: Window::default(),
            is_undisturbed: true,
        }
    }

    /// Their namespaces answer again, or refuse.
    fn send_held(&mut self) {
        self.held.drain(..).for_each(|letter| self.wire.post(letter));
    }

    fn controller(&self, world: &World) -> Controller {
        let outbound: Arc<dyn Outbound> = Arc::new(self.wire.clone());
        let client = kube::Client::new(Limited(self.wire.clone()), "default");
        let clock = Arc::clone(&self.clock);
        controller(client, world.settings(), outbound, clock, Telemetry::default())
            .with_confirm_patience(Duration::ZERO)
    }
}

fn refused(request: &Request, code: u16) -> Refusal {
    match code {
        403 => Refusal::forbidden(request.kind, &request.name),
        404 => Refusal::not_found(request.kind, &request.name),
        409 => Refusal::modified(request.kind, &request.name),
        410 => Refusal::expired(),
        422 => Refusal::patch_does_not_apply(),
        429 => Refusal::too_many_requests(),
        503 => Refusal::unavailable(),
        _ => Refusal::internal(),
    }
}

pub(crate) fn respond(code: u16, body: &serde_json::Value) -> http::Response<Full<Bytes>> {
    let bytes = Bytes::from(serde_json::to_vec(body).expect("JSON is written"));
    let mut response = http::Response::new(Full::new(bytes));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("the codes of the cast");
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    if code == 429 {
        response.headers_mut().insert("retry-after", http::HeaderValue::from_static("1"));
    }
    response
}
