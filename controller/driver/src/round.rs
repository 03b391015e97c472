//! One round, and how long the next may wait.

use crate::evidence::Pages;
use crate::outbound::Outbound;
use crate::site::{BackendView, Look, RETRY, Round, Site, Subject, View};
use crate::warm_up::{Target, WarmUps};
use crate::webhooks::Webhooks;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use turnout_rollout::{
    Action, Backend, Decision, Departure, Event, Mode, ModelRollout, Next, Obstacle, Severity, Timestamp, WaitReason,
    Weights,
};

/// The driver's clock, in whole seconds.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// When nothing calls for a look.
const IDLE: Duration = Duration::from_secs(15);
/// While something is awaited that nobody tells of: what gateways report.
pub(crate) const WAITING: Duration = Duration::from_millis(500);
/// While what gateways count may decide at any moment.
const JUDGING: Duration = Duration::from_secs(1);
/// For how long a round waits until gateways have what it published, before other things get a turn.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);

/// The driver of a site: everything that a round needs.
pub struct Driver<S: Site> {
    pub(crate) site: S,
    pub(crate) outbound: Arc<dyn Outbound>,
    clock: Clock,
    /// When the round began: what it finds may be no younger.
    pub(crate) now: Timestamp,
    /// When it had looked, which can take long.
    pub(crate) looked: Timestamp,
    pub(crate) confirm_patience: Duration,
    /// What goes on beside the rounds.
    pub(crate) warm_ups: WarmUps,
    pub(crate) webhooks: Webhooks,
    pub(crate) pages: Pages,
    /// What kept it, by rollout, from doing what was decided.
    pub(crate) obstacles: BTreeMap<String, Obstacle>,
    /// Since when gateways have other endpoints than those that are ready, by rollout and backend.
    pub(crate) outdated: BTreeMap<(String, Backend), Timestamp>,
    /// What was nudged for last, when, and how often there was a nudge at all.
    pub(crate) nudged: Option<(String, Timestamp)>,
    pub(crate) nudges: u64,
    /// Why the last nudge failed.
    pub(crate) nudge_failure: Option<Obstacle>,
    /// What was told last of rollouts that are gone.
    departing: BTreeMap<String, String>,
}

/// A rollout, and what is to become of it.
pub(crate) struct Decided<R> {
    pub(crate) rollout: R,
    /// With the rule and the backends that it is decided on: those of its spec, or those that it governed last.
    pub(crate) fitted: ModelRollout,
    pub(crate) backends: [BackendView; 2],
    pub(crate) published: Option<Weights>,
    pub(crate) outcome: Outcome,
    /// The status was written, or need not be, or there is none any more: what was decided may be done.
    pub(crate) stored: bool,
    /// Its namespace is no longer as it was read: what is published of its rule stays.
    pub(crate) is_outdated: bool,
}

pub(crate) enum Outcome {
    Goes(Box<Decision>),
    Departs(Departure),
}

impl<S: Site> Driver<S> {
    /// A driver that has seen nothing yet.
    pub fn new(site: S, outbound: Arc<dyn Outbound>, clock: Clock) -> Self {
        Self {
            site,
            outbound,
            now: clock(),
            looked: clock(),
            clock,
            confirm_patience: CONFIRM_PATIENCE,
            warm_ups: WarmUps::default(),
            webhooks: Webhooks::default(),
            pages: Pages::default(),
            obstacles: BTreeMap::new(),
            outdated: BTreeMap::new(),
            nudged: None,
            nudges: 0,
            nudge_failure: None,
            departing: BTreeMap::new(),
        }
    }

    /// Waits so long within a round until gateways have what it has just published; zero leaves that to the next round.
    #[must_use]
    pub fn with_confirm_patience(self, confirm_patience: Duration) -> Self {
        Self { confirm_patience, ..self }
    }

    /// The site.
    pub fn site_mut(&mut self) -> &mut S {
        &mut self.site
    }

    /// One round.
    pub async fn round(&mut self) -> Round {
        self.now = (self.clock)();
        self.warm_ups.collect(self.now);
        self.webhooks.collect(self.now);
        let mut round = Round { pause: IDLE, ..Round::default() };
        let looked = self.site.look(self.now, &mut round).await;
        self.looked = (self.clock)();
        let mut view = match looked {
            Look::Seen(view) => view,
            Look::Over => return Round { over: true, ..round },
            Look::Failed(obstacle, rollouts) => {
                round.pause = RETRY;
                round.problems.insert(0, obstacle.message.clone());
                self.obstacles.extend(rollouts.into_iter().map(|key| (key, obstacle.clone())));
                return round;
            }
        };
        let mut decided = self.decide(&mut view).await;
        let were_kept = !std::mem::take(&mut self.obstacles).is_empty();
        self.write_statuses(&view, &mut decided, &mut round).await;
        self.site.tell_apart(&mut view, &mut round).await;
        let revision = self.publish(&mut view, &mut decided, &mut round).await;
        self.set_elsewhere(&view, &decided, &mut round).await;
        self.bring_to_gateways(revision.as_deref(), view.gateways(), &decided, &mut round).await;
        self.act(&view, &mut decided, &mut round).await;
        self.tell(&decided).await;
        self.site.finish(&view, &rollouts(&decided), &mut round).await;
        if were_kept && self.obstacles.is_empty() {
            round.pause = Duration::ZERO;
        }
        round.pause = round.pause.min(self.pause_of(&decided));
        round
    }

    async fn act(&mut self, view: &S::View, decided: &mut [Decided<S::Rollout>], round: &mut Round) {
        let outdated = self.outdated(view, decided, round).await;
        let mut present = BTreeMap::new();
        for one in decided {
            let ready = one.backends.iter().flat_map(|backend| &backend.ready).map(|ready| ready.uid.clone());
            present.insert(one.rollout.key(), ready.collect());
            if !one.stored {
                continue;
            }
            match &one.outcome {
                Outcome::Departs(departure) => {
                    self.warm_ups.stop(&one.rollout.key());
                    self.webhooks.stop(&one.rollout.key());
                    if departure.next == Next::Nothing && !one.is_outdated && self.site.let_go(&one.rollout) {
                        round.pause = Duration::ZERO;
                    }
                }
                Outcome::Goes(_) if one.changes_workloads() && outdated.contains(one.namespace()) => {}
                Outcome::Goes(decision) => {
                    let questions = decision.actions.iter().filter_map(|action| match action {
                        Action::Ask(question) => Some(question),
                        _ => None,
                    });
                    self.webhooks.ask(&one.rollout.key(), one.namespace(), questions, &self.outbound);
                    let failed = self.warm_up(one, &decision.actions);
                    let done = self.site.act(view, &one.rollout, &decision.actions).await;
                    if done.changed {
                        round.pause = Duration::ZERO;
                    }
                    if let Some(obstacle) = done.obstacle.or(failed) {
                        self.hold(&one.rollout, &obstacle, round);
                    }
                }
            }
        }
        let is_whole = view.is_whole();
        self.warm_ups.keep(&present, is_whole);
        self.webhooks.keep(|rollout| present.contains_key(rollout) || !is_whole);
    }

    /// What happened is told last: nothing waits for who hears of it.
    async fn tell(&mut self, decided: &[Decided<S::Rollout>]) {
        let mut told = Vec::new();
        let departing = self.departing(decided);
        for one in decided.iter().filter(|one| one.stored) {
            let events = match &one.outcome {
                Outcome::Goes(decision) => decision.events.as_slice(),
                Outcome::Departs(_) => departing.get(&one.rollout.key()).map(std::slice::from_ref).unwrap_or_default(),
            };
            told.extend(events.iter().map(|event| (&one.rollout, event)));
        }
        if !told.is_empty() {
            self.site.tell(&told).await;
        }
    }

    /// What is new of rollouts that are gone and wait for somebody: they have no status that could say it.
    fn departing(&mut self, decided: &[Decided<S::Rollout>]) -> BTreeMap<String, Event> {
        let former = std::mem::take(&mut self.departing);
        let mut news = BTreeMap::new();
        for one in decided {
            let Outcome::Departs(Departure { next: Next::Somebody, message, .. }) = &one.outcome else { continue };
            let key = one.rollout.key();
            if former.get(&key) != Some(message) {
                let event = Event { severity: Severity::Warning, reason: "Deleted", message: message.clone() };
                news.insert(key.clone(), event);
            }
            self.departing.insert(key, message.clone());
        }
        news
    }

    /// The namespaces where workloads are to be changed and what was read may be no longer so.
    async fn outdated(
        &mut self,
        view: &S::View,
        decided: &[Decided<S::Rollout>],
        round: &mut Round,
    ) -> BTreeSet<String> {
        let changing = decided.iter().filter(|one| one.changes_workloads());
        let namespaces: BTreeSet<&str> = changing.map(Decided::namespace).collect();
        if namespaces.is_empty() {
            return BTreeSet::new();
        }
        let outdated = self.site.outdated(view, &rollouts(decided), &namespaces).await;
        self.tell_outdated(decided, &outdated, round);
        outdated.into_iter().map(|refused| refused.namespace).collect()
    }

    /// Whoever is not named in an action is not wanted warm any more.
    fn warm_up(&mut self, one: &Decided<S::Rollout>, actions: &[Action]) -> Option<Obstacle> {
        let key = one.rollout.key();
        let Some(warm_up) = &one.rollout.rollout().spec.warm_up else {
            self.warm_ups.stop(&key);
            return None;
        };
        let wanted = actions.iter().filter_map(|action| match action {
            Action::WarmUp { backend } => Some(*backend),
            Action::Deploy { .. } | Action::Scale { .. } | Action::Ask(_) | Action::Remove { .. } => None,
        });
        let endpoints = wanted.flat_map(|backend| {
            let ready = &BackendView::of(&one.backends, backend).ready;
            ready.iter().map(move |ready| Target { backend, uid: &ready.uid, address: ready.address })
        });
        self.warm_ups.warm(&key, warm_up, endpoints, &self.outbound)
    }

    fn pause_of(&self, decided: &[Decided<S::Rollout>]) -> Duration {
        let now = self.now;
        let pause = |one: &Decided<S::Rollout>| match &one.outcome {
            Outcome::Departs(Departure { next: Next::Somebody, .. }) => IDLE,
            Outcome::Departs(_) => WAITING,
            Outcome::Goes(decision) => {
                let longest = if decision.status.is_judged() { JUDGING } else { IDLE };
                match decision.wait() {
                    None => longest,
                    Some(wait) => match wait.reason {
                        WaitReason::Confirmation
                        | WaitReason::EndpointsSeen
                        | WaitReason::Drain
                        | WaitReason::WarmUp
                        | WaitReason::Removal => WAITING,
                        _ => wait
                            .until
                            .map_or(longest, |until| Duration::from_secs(until.seconds_since(now).max(1)).min(longest)),
                    },
                }
            }
        };
        let webhook = |one: &Decided<S::Rollout>| self.webhooks.pause(&one.rollout.key(), WAITING);
        decided.iter().map(|one| webhook(one).unwrap_or(IDLE).min(pause(one))).min().unwrap_or(IDLE)
    }
}

/// The rollouts as they were written.
pub(crate) fn rollouts<R>(decided: &[Decided<R>]) -> Vec<&R> {
    decided.iter().map(|one| &one.rollout).collect()
}

impl<R: Subject> Decided<R> {
    pub(crate) fn is_in_gateway_mode(&self) -> bool {
        self.rollout.rollout().spec.mode == Mode::Gateway
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.rollout.rollout().metadata.namespace
    }

    /// What follows from the decision makes, changes or removes a workload.
    fn changes_workloads(&self) -> bool {
        let Outcome::Goes(decision) = &self.outcome else { return false };
        self.stored && decision.actions.iter().any(|action| !matches!(action, Action::WarmUp { .. } | Action::Ask(_)))
    }

    fn decided_weights(&self) -> Option<Weights> {
        match &self.outcome {
            Outcome::Goes(decision) => decision.weights,
            Outcome::Departs(departure) => departure.weights,
        }
    }

    /// The rollout at the position to publish, with the weights for its rule. A decision that could not be written down is
    /// none: what is published stays.
    pub(crate) fn governs(&self) -> Option<(Cow<'_, ModelRollout>, Weights)> {
        let counts = self.stored && !self.is_outdated;
        let weights = if counts { self.decided_weights() } else { self.published };
        let rollout = match &self.outcome {
            Outcome::Goes(decision) if counts && self.fitted.wants_policy() => {
                Cow::Owned(ModelRollout { status: decision.status.clone(), ..self.fitted.clone() })
            }
            _ => Cow::Borrowed(&self.fitted),
        };
        weights.filter(|_| self.is_in_gateway_mode()).map(|weights| (rollout, weights))
    }

    /// Its rule has other weights in the cluster's document than those that were decided: until these are written there,
    /// and read, its VirtualService stays as it is published.
    pub(crate) fn is_behind(&self) -> bool {
        let written = self.published.filter(|_| !self.is_in_gateway_mode());
        written.is_some_and(|written| self.decided_weights().is_some_and(|decided| decided != written))
    }

    /// It has weights, but neither those decided may be published, nor are there former ones to keep; or it was decided on
    /// what is no longer so: its VirtualService stays as it is published.
    pub(crate) fn is_uncertain(&self) -> bool {
        let is_undecided = self.decided_weights().is_some() && !self.stored && self.published.is_none();
        self.is_in_gateway_mode() && (is_undecided || self.is_outdated)
    }
}

impl<S: Site> std::fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
