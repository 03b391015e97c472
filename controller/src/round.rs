//! One round: look, decide, write. It is level-triggered, so it may be killed between any two requests; whoever comes
//! next goes on. What it remembers is only what spares somebody a wait or a repetition.
//!
//! The order of the writes is the order of what others may rely on: a rollout's status first, since pipelines act on what
//! it calls safe to remove; then what the gateways mount; then the actions, each of which the machine decides only once
//! gateways report what was published before. Every write goes over what was read (`resourceVersion`, `test`,
//! preconditions), so that of two replicas that both believe to lead only one gets through.

mod confirm;
mod decide;
mod obstacles;
mod publish;
mod statuses;

use crate::actions;
use crate::backends::BackendView;
use crate::documents::Verdict;
use crate::events::Events;
use crate::namespaces::Readers;
use crate::object_status;
use crate::outbound::Outbound;
use crate::rollouts::{RolloutObject, reference};
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use crate::view::View;
use crate::warm_up::WarmUps;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use turnout_rollout::{
    Action, Backend, Decision, Departure, Mode, ModelRollout, Obstacle, Severity, Timestamp, WaitReason, Weights,
};

/// The driver's clock, in whole seconds.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// When nothing calls for a look.
const IDLE: Duration = Duration::from_secs(15);
/// While something is awaited that no watch tells of: what gateways report.
const WAITING: Duration = Duration::from_millis(500);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// For how long a round waits until gateways have what it published, before other things get a turn.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);

/// The controller: everything that a round needs.
pub struct Controller {
    client: Client,
    settings: Settings,
    outbound: Arc<dyn Outbound>,
    clock: Clock,
    events: Events,
    telemetry: Telemetry,
    confirm_patience: Duration,
    /// What goes on beside the rounds.
    warm_ups: WarmUps,
    /// What kept it, by rollout, from doing what was decided.
    obstacles: BTreeMap<String, Obstacle>,
    /// The patches of weights that were refused in the last round: of which rollout, over which version of the object.
    refused: BTreeSet<(String, Option<String>)>,
    /// Since when gateways have other endpoints than those that are ready, by rollout and backend.
    outdated: BTreeMap<(String, Backend), Timestamp>,
    /// The namespaces that are being read.
    readers: Readers,
    /// The rollouts of each namespace, when it was read last, that govern a rule of another one.
    met: BTreeMap<String, Vec<ModelRollout>>,
    /// Until when, and after how many seconds, no status is written that the API server was slow to take, by rollout.
    slow: BTreeMap<String, (Timestamp, u64)>,
    /// What was nudged for last, when, and how often there was a nudge at all.
    nudged: Option<(String, Timestamp)>,
    nudges: u64,
    /// Why the last nudge failed.
    nudge_failure: Option<Obstacle>,
    /// What the registry said last.
    notices: Vec<String>,
}

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How long the next may wait, unless something is heard before.
    pub pause: Duration,
    /// What failed.
    pub problems: Vec<String>,
    /// The release is being uninstalled: there will be nothing to do any more.
    pub uninstalling: bool,
}

/// A rollout, and what is to become of it.
struct Decided {
    rollout: RolloutObject,
    /// With the rule and the backends that it is decided on: those of its spec, or those that it governed last.
    fitted: ModelRollout,
    backends: [BackendView; 2],
    published: Option<Weights>,
    outcome: Outcome,
    /// The status was written, or need not be: what was decided may be done.
    stored: bool,
}

enum Outcome {
    Goes(Box<Decision>),
    Departs(Departure),
}

impl Controller {
    /// A controller that has seen nothing yet.
    pub fn new(client: Client, settings: Settings, outbound: Arc<dyn Outbound>, clock: Clock) -> Self {
        let events = Events::new(client.clone(), &settings.identity);
        Self {
            client,
            settings,
            outbound,
            clock,
            events,
            telemetry: Telemetry::default(),
            confirm_patience: CONFIRM_PATIENCE,
            warm_ups: WarmUps::default(),
            obstacles: BTreeMap::new(),
            refused: BTreeSet::new(),
            outdated: BTreeMap::new(),
            readers: Readers::default(),
            met: BTreeMap::new(),
            slow: BTreeMap::new(),
            nudged: None,
            nudges: 0,
            nudge_failure: None,
            notices: Vec::new(),
        }
    }

    /// Counts into these metrics.
    #[must_use]
    pub fn with_telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// Waits so long within a round until gateways have what it has just published; zero leaves that to the next round.
    #[must_use]
    pub fn with_confirm_patience(self, confirm_patience: Duration) -> Self {
        Self { confirm_patience, ..self }
    }

    /// One round.
    pub async fn round(&mut self) -> Round {
        self.warm_ups.collect((self.clock)());
        let read = View::read(&self.client, &self.settings, &*self.outbound, &mut self.readers).await;
        let mut view = match read {
            Ok(view) => view,
            Err(error) => return self.cannot_look(&error).await,
        };
        if view.published.is_uninstalling() {
            return Round { pause: IDLE, uninstalling: true, ..Round::default() };
        }
        let mut round = Round { pause: IDLE, ..Round::default() };
        obstacles::tell_of_unreadable(&view, &mut round);
        self.remember(&view);
        let fitted = decide::fit_rollouts(&mut view, &self.met);
        let mut decided = self.decide(&view, fitted);
        let were_kept = !std::mem::take(&mut self.obstacles).is_empty();
        self.write_statuses(&view, &mut decided, &mut round).await;
        self.tell_apart(&mut view, &mut round).await;
        let published = self.publish(&view, &decided, &mut round).await;
        self.patch_istio(&view, &decided, &mut round).await;
        self.bring_to_gateways(&published, &view.gateways, &mut round).await;
        self.tell_of_nudge(&decided, &mut round);
        self.act(&view, &mut decided, &mut round).await;
        self.tell_objects(&view.documents.verdicts, &mut round).await;
        self.telemetry.record(&view, decided.iter().map(|one| &one.rollout.rollout));
        if were_kept && self.obstacles.is_empty() {
            round.pause = Duration::ZERO;
        }
        round.pause = round.pause.min(self.pause_of(&decided));
        round
    }

    async fn act(&mut self, view: &View, decided: &mut [Decided], round: &mut Round) {
        let may_change = !decided.iter().any(Decided::changes_workloads) || self.is_newest(view, decided, round).await;
        let mut present = BTreeSet::new();
        for one in decided.iter_mut() {
            present.extend(one.backends.iter().flat_map(|backend| &backend.ready).map(|ready| ready.uid.clone()));
            if !one.stored {
                continue;
            }
            match &one.outcome {
                Outcome::Departs(Departure { done: true, .. }) if one.rollout.has_finalizer() => {
                    if let Err(error) = one.rollout.set_finalizer(&self.client, false).await {
                        self.failed(&one.rollout, &error, round);
                    }
                    round.pause = Duration::ZERO;
                }
                Outcome::Departs(_) => self.warm_ups.stop(&one.rollout.uid()),
                Outcome::Goes(_) if one.changes_workloads() && !may_change => {}
                Outcome::Goes(decision) => {
                    let mut work = actions::Work {
                        client: &self.client,
                        outbound: &self.outbound,
                        warm_ups: &mut self.warm_ups,
                        view,
                        rollout: &one.rollout,
                        backends: &one.backends,
                    };
                    let done = work.perform(&decision.actions).await;
                    if done.changed {
                        round.pause = Duration::ZERO;
                    }
                    if let Some(obstacle) = done.obstacle {
                        self.hold(&one.rollout, &obstacle, round);
                    }
                }
            }
        }
        self.warm_ups.keep(&present);
    }

    async fn tell_objects(&self, verdicts: &[Verdict], round: &mut Round) {
        for verdict in verdicts {
            match object_status::write(&self.client, verdict, (self.clock)()).await {
                Ok(false) => {}
                Ok(true) => {
                    let about = reference(&verdict.object);
                    match &verdict.problem {
                        Some(problem) => self.events.tell(&about, Severity::Warning, "Refused", problem).await,
                        None => self.events.tell(&about, Severity::Normal, "Accepted", "the routes take it").await,
                    }
                }
                Err(error) if error.is_conflict() => round.pause = Duration::ZERO,
                Err(error) => round.problems.push(error.to_string()),
            }
        }
    }

    fn pause_of(&self, decided: &[Decided]) -> Duration {
        let now = (self.clock)();
        let pause = |one: &Decided| match &one.outcome {
            Outcome::Departs(_) => WAITING,
            Outcome::Goes(decision) => match decision.wait() {
                None => IDLE,
                Some(wait) => match wait.reason {
                    WaitReason::Confirmation
                    | WaitReason::EndpointsSeen
                    | WaitReason::Drain
                    | WaitReason::WarmUp
                    | WaitReason::Removal => WAITING,
                    _ => {
                        wait.until.map_or(IDLE, |until| Duration::from_secs(until.seconds_since(now).max(1)).min(IDLE))
                    }
                },
            },
        };
        decided.iter().map(pause).min().unwrap_or(IDLE)
    }
}

impl Decided {
    fn is_in_gateway_mode(&self) -> bool {
        self.rollout.rollout.spec.mode == Mode::Gateway
    }

    /// What follows from the decision makes, changes or removes a workload.
    fn changes_workloads(&self) -> bool {
        let Outcome::Goes(decision) = &self.outcome else { return false };
        self.stored && decision.actions.iter().any(|action| !matches!(action, Action::WarmUp { .. }))
    }

    /// The weights to publish for its rule. A decision that could not be written down is none: what is published stays.
    fn governs(&self) -> Option<(&ModelRollout, Weights)> {
        let decided = match &self.outcome {
            Outcome::Goes(decision) => decision.weights,
            Outcome::Departs(departure) => departure.weights,
        };
        let weights = if self.stored { decided } else { self.published };
        weights.filter(|_| self.is_in_gateway_mode()).map(|weights| (&self.fitted, weights))
    }

    /// It has weights, but neither those decided may be published, nor are there former ones to keep.
    fn is_uncertain(&self) -> bool {
        let has_weights = match &self.outcome {
            Outcome::Goes(decision) => decision.weights.is_some(),
            Outcome::Departs(departure) => departure.weights.is_some(),
        };
        self.is_in_gateway_mode() && has_weights && !self.stored && self.published.is_none()
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("settings", &self.settings).finish_non_exhaustive()
    }
}
