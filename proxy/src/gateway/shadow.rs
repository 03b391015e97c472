//! Asking the candidate beside the live request (`shadow` of a SplitPolicy): a copy of a request that stable answers goes to
//! the candidate, and what both answer is compared. What becomes of a copy changes nothing for its request: it has a task of
//! its own, and is dropped and counted rather than waited for.
//!
//! Both answers must be comparable as they come, so a copy asks for an answer that is not compressed; a live answer that is
//! compressed is passed over. For the same reason stable, asked once more, gets the candidate's copy to the byte.
//!
//! Both are judged alike, or of two equal models one would seem to fail more often: by one try, and within one time, the
//! smaller of the plan's and the rule's. Who has begun to answer by then has not failed, however long the rest takes.

mod live;

pub(super) use live::Tee;

use super::copies::{Patience, Unanswered, ask};
use super::deadline::deadline;
use super::headers::SHADOW;
use crate::evidence::{Outcome, SharedEpoch, count};
use crate::pairs::{Pair, Pairs, Reply, Request, Skipped, Terms};
use crate::random::Random;
use crate::snapshot::Snapshot;
use crate::upstream::{Asked, BrokenAnswer, Outgoing, SendError, UpstreamBody, WorkerUpstream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use live::Coming;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use turnout_routes::router::{Failure, Policy, Rule, ShadowPlan};
use turnout_verdict::evidence::Shadow as Counts;

/// How long a scoring function ran, in milliseconds (Azure Machine Learning's inference server).
const MODEL_TIME: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One worker's shadows.
pub(super) struct Shadows {
    pairs: Arc<Pairs>,
    /// Those that count, of all tables that are in use.
    all: RefCell<Vec<Weak<Shadow>>>,
}

/// One worker's side of one policy's shadow, in one table.
pub(super) struct Shadow {
    plan: Arc<ShadowPlan>,
    terms: Arc<Terms>,
    epoch: Arc<SharedEpoch>,
    /// None: it is nowhere.
    candidate: Option<Rc<WorkerUpstream>>,
    pairs: Arc<Pairs>,
    /// Since it was last added up.
    counts: RefCell<Counts>,
}

/// A copy on its way.
struct Shadowing {
    shadow: Rc<Shadow>,
    stable: Rc<WorkerUpstream>,
    candidate: Rc<WorkerUpstream>,
    copy: Outgoing,
    /// For stable, once more.
    again: Option<Outgoing>,
    live: Coming,
    patience: Patience,
    request: Request,
    place: OwnedSemaphorePermit,
}

/// What was answered to a copy.
struct Answered {
    /// None: it is not the candidate's doing.
    outcome: Option<Outcome>,
    /// By the model's own word.
    took: Option<Duration>,
    reply: Result<Reply, Skipped>,
}

impl Shadows {
    pub(super) fn new(pairs: &Arc<Pairs>) -> Self {
        Self { pairs: Arc::clone(pairs), all: RefCell::default() }
    }

    /// This worker's side of the shadows that a table's policies have, by the index of the policy.
    pub(super) fn of(&self, shared: &Snapshot, upstreams: &[Rc<WorkerUpstream>]) -> Vec<Option<Rc<Shadow>>> {
        let mut shadows = vec![None; shared.evidence.len()];
        for policy in shared.router.rules().iter().filter_map(|rule| rule.policy.as_ref()) {
            let epoch = shared.evidence.get(policy.index).and_then(Option::as_ref);
            if let Some((plan, epoch)) = policy.shadow.as_ref().zip(epoch) {
                shadows[policy.index].get_or_insert_with(|| self.one((policy, plan), epoch, upstreams));
            }
        }
        shadows
    }

    fn one(
        &self,
        (policy, plan): (&Policy, &Arc<ShadowPlan>),
        epoch: &Arc<SharedEpoch>,
        upstreams: &[Rc<WorkerUpstream>],
    ) -> Rc<Shadow> {
        let shadow = Rc::new(Shadow {
            plan: Arc::clone(plan),
            terms: self.pairs.terms(policy, plan),
            epoch: Arc::clone(epoch),
            candidate: plan.target.backend.ok().map(|backend| Rc::clone(&upstreams[backend.0])),
            pairs: Arc::clone(&self.pairs),
            counts: RefCell::default(),
        });
        self.all.borrow_mut().push(Rc::downgrade(&shadow));
        shadow
    }

    /// Adds up what was counted.
    pub(super) fn flush(&self) {
        self.all.borrow_mut().retain(|shadow| shadow.upgrade().inspect(|shadow| shadow.flush()).is_some());
    }
}

impl Shadow {
    /// Sends a copy of a request that is about to be sent to stable, if the dice choose it and nothing is against it. What
    /// comes back wants to be told of the live answer.
    pub(super) fn begin(
        self: &Rc<Self>,
        stable: &Rc<WorkerUpstream>,
        outgoing: &Outgoing,
        rule: &Rule,
        random: &Random,
    ) -> Option<Box<Tee>> {
        let is_copy = outgoing.head().is_some_and(|head| head.headers.contains_key(SHADOW));
        if is_copy || !self.plan.target.percent.includes(random.next_u64()) {
            return None;
        }
        match self.prepare(stable, outgoing, rule, random) {
            Ok((shadowing, tee)) => {
                tokio::task::spawn_local(shadowing.run());
                Some(tee)
            }
            Err(skipped) => {
                self.skip(skipped);
                None
            }
        }
    }

    fn prepare(
        self: &Rc<Self>,
        stable: &Rc<WorkerUpstream>,
        outgoing: &Outgoing,
        rule: &Rule,
        random: &Random,
    ) -> Result<(Shadowing, Box<Tee>), Skipped> {
        let head = outgoing.head().filter(|head| self.plan.methods.contains(&head.method)).ok_or(Skipped::Method)?;
        if outgoing.asks_for != Asked::Answer {
            return Err(Skipped::Grpc);
        }
        let candidate = self.candidate.as_ref().filter(|candidate| candidate.has_endpoints());
        let candidate = candidate.map(Rc::clone).ok_or(Skipped::NoEndpoints)?;
        let place = Arc::clone(&self.terms.places).try_acquire_owned().map_err(|_| Skipped::InFlight)?;
        let copy = self.copy(outgoing)?;
        let asks_again = self.plan.noise.includes(random.next_u64());
        let again = asks_again.then(|| self.copy(outgoing)).transpose()?;
        let (tee, live) = Tee::new(&self.pairs.room, self.terms.largest_answer);
        let request = Request {
            id: head.headers.get(REQUEST_ID).cloned(),
            method: head.method.clone(),
            path: head.target.path().to_owned(),
        };
        let (shadow, stable) = (Rc::clone(self), Rc::clone(stable));
        let whole = rule.timeout.map_or(self.plan.timeout, |timeout| timeout.min(self.plan.timeout));
        let patience = Patience { whole, head: rule.retry.per_try_timeout };
        Ok((Shadowing { shadow, stable, candidate, copy, again, live, patience, request, place }, tee))
    }

    fn copy(&self, outgoing: &Outgoing) -> Result<Outgoing, Skipped> {
        let body = outgoing.body.copy(&self.pairs.room, self.plan.max_body_bytes).map_err(Skipped::of_request)?;
        let mut copy = outgoing.copy(body).ok_or(Skipped::RequestIncomplete)?;
        if let Some(headers) = copy.headers_mut() {
            self.plan.drop_headers.iter().for_each(|name| drop(headers.remove(name)));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            headers.insert(SHADOW, HeaderValue::from_static("1"));
        }
        Ok(copy)
    }

    /// What the candidate answers, counted, and whether it has failed; none where it is not to blame.
    async fn ask_candidate(
        &self,
        candidate: &WorkerUpstream,
        copy: Outgoing,
        patience: Patience,
    ) -> (Option<bool>, Result<Reply, Skipped>) {
        let began = Instant::now();
        let by_head = Cell::new(Outcome::Timeout);
        let read = |answer: Response<UpstreamBody>| {
            by_head.set(Outcome::of_answer(answer.status(), answer.headers()));
            self.read(answer)
        };
        let answered = ask(candidate, copy, &[], patience, read).await;
        let is_late = matches!(answered, Err(Unanswered::Timeout));
        let Answered { outcome, took, reply } = match answered {
            Ok(answered) => answered,
            Err(Unanswered::Body(incomplete)) => return (None, Err(Skipped::of_request(incomplete))),
            Err(Unanswered::Failed(error)) => {
                let outcome = match error {
                    SendError::Failed(Failure::PerTryTimeout) => Some(Outcome::Timeout),
                    SendError::Failed(_) => Some(Outcome::Gateway),
                    _ => None,
                };
                Answered { outcome, took: None, reply: Err(Skipped::of_failure(error)) }
            }
            Err(Unanswered::Timeout) => {
                Answered { outcome: Some(Outcome::Timeout), took: None, reply: Err(Skipped::Timeout) }
            }
        };
        let Some(outcome) = outcome else { return (None, reply) };
        count(&mut self.counts.borrow_mut().candidate, outcome, took.unwrap_or_else(|| began.elapsed()));
        let outcome = if is_late { by_head.get() } else { outcome };
        (Some(outcome != Outcome::Answered), reply)
    }

    /// What stable answers to the candidate's request, if it can, from elsewhere than the live answer.
    async fn ask_again(
        &self,
        stable: &WorkerUpstream,
        copy: Outgoing,
        patience: Patience,
        live: Option<SocketAddr>,
    ) -> Option<Reply> {
        let answered = ask(stable, copy, live.as_slice(), patience, |answer| self.read(answer)).await;
        answered.ok()?.reply.ok()
    }

    /// Reads an answer, as far as it may be compared.
    async fn read(&self, answer: Response<UpstreamBody>) -> Answered {
        let (head, mut body) = answer.into_parts();
        let mut outcome = Outcome::of_answer(head.status, &head.headers);
        let took = model_time(&head.headers);
        let mut reply = Reply::new(head.status, &head.headers, &self.pairs.room, self.terms.largest_answer);
        let reply = loop {
            match body.frame().await {
                None => break reply.whole(),
                Some(Ok(frame)) => {
                    if let Err(skipped) = frame.data_ref().map_or(Ok(()), |piece| reply.push(piece)) {
                        break Err(skipped);
                    }
                }
                Some(Err(BrokenAnswer)) => {
                    outcome = if outcome == Outcome::Answered { Outcome::Gateway } else { outcome };
                    break Err(Skipped::AnswerIncomplete);
                }
            }
        };
        Answered { outcome: Some(outcome), took, reply }
    }

    fn count_failures(&self, candidate: Option<bool>, stable: Option<bool>) {
        let counts = &mut *self.counts.borrow_mut();
        match (candidate, stable) {
            (Some(true), Some(false)) => counts.only_candidate_failed += 1,
            (Some(false), Some(true)) => counts.only_stable_failed += 1,
            _ => {}
        }
    }

    /// Whether a copy takes nothing of a backend's limits that those who are waited for might need.
    fn is_spare(&self, upstream: &WorkerUpstream) -> bool {
        let under_way = u64::from(self.plan.max_in_flight).saturating_sub(self.terms.places.available_permits() as u64);
        upstream.has_room_to_spare(under_way)
    }

    fn skip(&self, skipped: Skipped) {
        self.terms.skip(skipped);
        let skipped_so_far = &mut self.counts.borrow_mut().skipped;
        match skipped_so_far.get_mut(skipped.as_str()) {
            Some(count) => *count += 1,
            None => drop(skipped_so_far.insert(skipped.as_str().to_owned(), 1)),
        }
    }

    fn flush(&self) {
        let counted = self.counts.take();
        if counted != Counts::default() {
            self.epoch.shadow(|shadow| shadow.add(&counted));
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Shadowing {
    async fn run(self) {
        let Self { shadow, stable, candidate, copy, again, live, patience, request, place } = self;
        if !shadow.is_spare(&candidate) {
            return shadow.skip(Skipped::Busy);
        }
        shadow.counts.borrow_mut().copies += 1;
        let live = live.within(deadline(&copy.body, patience.whole));
        let (answered, live) = tokio::join!(shadow.ask_candidate(&candidate, copy, patience), live);
        let (has_failed, reply) = answered;
        shadow.count_failures(has_failed, live.has_failed);
        let gathered = reply.and_then(|candidate| Ok((candidate, live.reply?)));
        let (candidate, live_reply) = match gathered {
            Ok(gathered) => gathered,
            Err(skipped) => return shadow.skip(skipped),
        };
        let again = match again {
            Some(again) if shadow.is_spare(&stable) => shadow.ask_again(&stable, again, patience, live.endpoint).await,
            _ => None,
        };
        let (terms, epoch) = (Arc::clone(&shadow.terms), Arc::clone(&shadow.epoch));
        let pair = Pair { terms, epoch, request, live: live_reply, candidate, again, _place: place };
        if let Err(skipped) = shadow.pairs.compare(pair) {
            shadow.skip(skipped);
        }
    }
}

/// How long the model says that it took.
fn model_time(headers: &HeaderMap) -> Option<Duration> {
    let ms: f64 = headers.get(MODEL_TIME)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(ms / 1000.0).ok()
}
