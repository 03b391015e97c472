//! The state machine: from a rollout and what was observed to the weights in effect, the next status, and what is to be
//! done. It is level-triggered: it asks where things are and never what happened, so a driver may crash between any two
//! steps, lose everything but the status that it wrote last, and ask again.
//!
//! One decision makes at most one step; a driver asks again at once while the status changes. `candidate` says what is
//! rolled out and whether it goes back, `forward` and `backward` go the way, `requirements` says how what a stage requires
//! stands, `confirm` what is in effect, `drain` what has been answered, and `report` writes the status.

mod backward;
mod candidate;
mod confirm;
mod depart;
mod drain;
mod forward;
mod report;
mod requirements;

#[cfg(test)]
mod tests;

pub use depart::{Departure, Next, depart};

use crate::observation::Observation;
use crate::render::RouteSelectionError;
use crate::resource::{
    ModelRollout, Plan, RolloutSpec, RolloutStatus, Transition, WaitReason, Waiting, Webhook, Workload,
};
use crate::stage::{Stage, Target};
use crate::weights::{Availability, Backend, Weights, in_effect};
use serde_json::Value;

/// What follows from an observation. A driver first writes the status, then publishes the weights, then does the actions
/// in their order; it may crash anywhere between. The status comes first because others act on it: what it calls safe to
/// remove must not be given weight behind its back.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The weights to publish for the rollout's rule, again if need be; none if it governs no rule, or none yet.
    pub weights: Option<Weights>,
    /// The next status.
    pub status: RolloutStatus,
    /// What else is to be done. Everything here is idempotent and is decided again until its effect is observed.
    pub actions: Vec<Action>,
    /// What people should hear of. Each is decided once.
    pub events: Vec<Event>,
}

impl Decision {
    /// What the rollout waits for, if it does.
    pub fn wait(&self) -> Option<&Waiting> {
        self.status.waiting.as_ref()
    }
}

/// What a driver does besides publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the backend the requests of `spec.warmUp`, and report it as warmed once they succeed.
    WarmUp {
        /// Which.
        backend: Backend,
    },
    /// Managed: make the backend serve the revision, from its stored template. It is absent, or idle, or serves it
    /// already; in the very first rollout it may also be a green that has weight and is updated in place.
    Deploy {
        /// Which.
        backend: Backend,
        /// What it is to serve: the candidate, or the stable one that is restored.
        revision: String,
    },
    /// Managed, where the spec names no number: give the backend this many pods, as many as the other one has.
    Scale {
        /// Which.
        backend: Backend,
        /// How many.
        replicas: u32,
    },
    /// Ask a webhook, and report what it answers. One that is asked already is not asked twice.
    Ask(Question),
    /// Managed: remove the backend. It has no weight at any gateway and no requests in flight.
    Remove {
        /// Which.
        backend: Backend,
    },
}

/// A question to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Tells it from that of another stage, attempt or revision: an answer that comes late counts for nothing else.
    pub id: String,
    /// Whom to ask.
    pub webhook: Webhook,
    /// What to send.
    pub body: Value,
}

/// Something that people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it needs attention.
    pub severity: Severity,
    /// What, in one word.
    pub reason: &'static str,
    /// What, in one line.
    pub message: String,
}

/// Whether an event needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It is as it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What to do next for a rollout, given what was observed.
pub fn decide(rollout: &ModelRollout, observed: &Observation) -> Decision {
    let mut draft = Draft::new(rollout, observed);
    match (Plan::of(rollout), &observed.route) {
        (Err(invalid), _) => draft.hold_on(WaitReason::ValidSpec, invalid.to_string(), None),
        (Ok(plan), Err(error)) => draft.hold_on(WaitReason::Route, error.to_string(), Some(&plan)),
        (Ok(plan), Ok(_)) => {
            draft.status.governs = Some(rollout.governs());
            draft.name_revision();
            draft.choose_candidate(&plan);
            let mut evidence = draft.count(&plan);
            draft.report_requirements(&plan, &mut evidence);
            draft.keep(evidence);
            draft.choose_direction(plan.target());
            draft.keep_workloads();
            draft.advance(&plan);
        }
    }
    draft.finish()
}

/// A decision in the making.
struct Draft<'a> {
    rollout: &'a ModelRollout,
    spec: &'a RolloutSpec,
    /// As it was written, but that nothing in it is later than now.
    before: RolloutStatus,
    observed: &'a Observation,
    status: RolloutStatus,
    actions: Vec<Action>,
    events: Vec<Event>,
    wait: Option<(WaitReason, String)>,
    /// Why the spec, or what it names of the documents, cannot be worked with.
    refusal: Option<(WaitReason, String)>,
    /// Why what the spec asks for is not done at all.
    note: Option<String>,
    /// What a backend that drains still has to answer, in numbers.
    left: Option<String>,
    /// An end is reached, and nothing is left to tidy up.
    done: bool,
}

impl<'a> Draft<'a> {
    fn new(rollout: &'a ModelRollout, observed: &'a Observation) -> Self {
        let mut before = rollout.status.clone();
        before.set_back_to(observed.now);
        let mut status = before.clone();
        status.safe_to_remove.clear();
        status.requirements.clear();
        Self {
            rollout,
            spec: &rollout.spec,
            before,
            observed,
            status,
            actions: Vec::new(),
            events: Vec::new(),
            wait: None,
            refusal: None,
            note: None,
            left: None,
            done: false,
        }
    }

    /// What is wanted cannot be read from the spec and the documents. The weights stay, and the laws of the weights go on;
    /// going back needs nothing but what is published, so that is still done; and so is what a plan asks of evidence.
    fn hold_on(&mut self, reason: WaitReason, problem: String, plan: Option<&Plan>) {
        self.refusal = Some((reason, problem.clone()));
        if self.status.moving_to.is_none() {
            // What was decided of this stay still counts once the spec can be read again.
            self.status.requirements.clone_from(&self.before.requirements);
        }
        if self.governs() {
            if let Some(plan) = plan {
                let mut evidence = self.count(plan);
                self.report_refuted(plan, &mut evidence);
                self.keep(evidence);
            }
            self.choose_direction(self.spec.target);
        }
        if !self.goes_back() {
            return self.wait_for(reason, &problem);
        }
        self.note = Some(problem);
        if self.status.moving_to.is_some() { self.go_back() } else { self.tidy_up() }
    }

    /// The rule that is published has the weights of this rollout: it fits the spec, or it is held.
    fn governs(&self) -> bool {
        match self.observed.route {
            Ok(_) => true,
            Err(RouteSelectionError::AlreadyGoverned { .. }) => false,
            Err(_) => self.observed.published.is_some(),
        }
    }

    /// A rollback is under way, or has been made.
    fn goes_back(&self) -> bool {
        self.governs() && self.status.position() == Some(Target::Rollback)
    }

    fn advance(&mut self, plan: &Plan) {
        match (self.status.moving_to, self.status.stage) {
            (Some(Target::Rollback), _) => self.go_back(),
            (Some(Target::Stage(stage)), _) => self.enter(stage),
            (None, Some(Target::Rollback | Target::Stage(Stage::Green100))) => self.tidy_up(),
            (None, Some(Target::Stage(stage))) => self.leave(plan, stage),
            (None, None) => {}
        }
    }

    /// The weights that the position wants.
    fn wanted_weights(&self) -> Option<Weights> {
        match (self.status.moving_to, self.status.position()?) {
            (_, Target::Stage(stage)) => Some(stage.weights()),
            (Some(_), Target::Rollback) => Some(self.weights_back()),
            (None, Target::Rollback) => Some(Weights::all(Backend::Green)),
        }
    }

    /// The weights that are to be in effect.
    fn weights(&self) -> Option<Weights> {
        let wanted = self.wanted_weights()?;
        Some(in_effect(wanted, self.availability(Backend::Green), self.availability(Backend::Blue)))
    }

    fn availability(&self, backend: Backend) -> Availability {
        let has_weight = self.observed.published.as_ref().is_some_and(|published| published.weights.of(backend) > 0);
        if !self.observed.backend(backend).is_ready() {
            Availability::Absent
        } else if has_weight || self.had_weight(backend) || self.blind_gateway(backend).is_none() {
            Availability::Usable
        } else {
            Availability::Unseen
        }
    }

    /// It had weight under another name. Gateways look the new one up before they take the routes that name it, so until
    /// then the old ones serve, and nothing calls for moving the weight.
    fn had_weight(&self, backend: Backend) -> bool {
        let is_renamed = self.before.governs.as_ref().is_some_and(|former| *former != self.rollout.governs());
        let had_weight = self.before.weights.is_some_and(|weights| weights.of(backend) > 0);
        is_renamed && self.observed.published.is_none() && had_weight
    }

    /// A live gateway that knows no endpoint of the backend.
    fn blind_gateway(&self, backend: Backend) -> Option<&'a str> {
        let mut gateways = self.observed.gateways.iter().filter(|gateway| gateway.serving);
        gateways.find(|gateway| gateway.load(backend).endpoints == 0).map(|gateway| gateway.id.as_str())
    }

    /// The rollout has not moved since the status was written.
    fn is_same_place(&self) -> bool {
        self.before.stage == self.status.stage
            && self.before.moving_to == self.status.moving_to
            && self.before.candidate == self.status.candidate
    }

    /// Managed: a backend that the position needs, and that somebody deleted or that was never there, is made.
    fn keep_workloads(&mut self) {
        if self.spec.workload == Workload::External {
            return;
        }
        for backend in Backend::BOTH {
            if !self.observed.backend(backend).exists
                && let Some(revision) = self.assigned_revision(backend)
            {
                self.actions.push(Action::Deploy { backend, revision });
            }
        }
    }

    /// What a backend serves at this position; none if it need not be there, or is just being replaced.
    fn assigned_revision(&self, backend: Backend) -> Option<String> {
        let candidate = self.status.candidate.as_ref().map(|candidate| candidate.revision.clone());
        let stable = self.status.stable_revision.clone();
        match (backend, self.status.position()?) {
            (Backend::Green, Target::Stage(Stage::Blue(_)) | Target::Rollback) => stable,
            (Backend::Green, Target::Stage(Stage::Green100)) => candidate.or(stable),
            (Backend::Blue, Target::Stage(Stage::Blue(_) | Stage::BlueGreen)) => candidate,
            // While green is restored blue is all that serves.
            (Backend::Blue, Target::Rollback) => {
                candidate.filter(|_| self.weights_back() == Weights::all(Backend::Blue))
            }
            (Backend::Green, Target::Stage(Stage::BlueGreen)) | (Backend::Blue, Target::Stage(Stage::Green100)) => None,
        }
    }

    /// Makes an idle backend serve another revision, or says that it may be replaced.
    fn replace(&mut self, backend: Backend, revision: &str) {
        match self.spec.workload {
            Workload::External => self.status.safe_to_remove.push(backend),
            Workload::Managed => {
                let action = Action::Deploy { backend, revision: revision.to_owned() };
                if !self.actions.contains(&action) {
                    self.actions.push(action);
                }
            }
        }
    }

    /// Managed: a backend that is to get weight has no fewer pods than the one that loses it. An autoscaler takes pods away
    /// where there are no requests, and nobody gives any to a backend that is new. Returns how many it is to have, if more.
    fn scale_up(&mut self, backend: Backend) -> Option<u32> {
        let is_ours = self.spec.workload == Workload::Managed && self.spec.replicas.is_none();
        let (own, other) = (self.observed.backend(backend).replicas, self.observed.backend(backend.other()).replicas);
        let replicas = other.filter(|other| is_ours && own.is_some_and(|own| own < *other))?;
        self.actions.push(Action::Scale { backend, replicas });
        Some(replicas)
    }

    /// Every live gateway has the weights of `target`.
    fn reach(&mut self, target: Target, confirmed_by: Vec<String>) {
        let reason = match (&self.status.rollback, target) {
            (Some(rollback), Target::Rollback) => match &rollback.failure {
                Some(failure) => format!("{}: {failure}", rollback.reason),
                None => rollback.reason.to_string(),
            },
            _ if confirmed_by.is_empty() => "the weights have settled".to_owned(),
            _ => "every live gateway has its weights".to_owned(),
        };
        let revision = self.status.candidate.as_ref().map(|candidate| candidate.revision.clone());
        self.status.remember(Transition {
            from: self.status.stage,
            to: target,
            at: self.observed.now,
            revision,
            routes_revision: self.observed.published.as_ref().map(|published| published.revision.clone()),
            confirmed_by,
            reason,
        });
        self.status.stage = Some(target);
        self.status.stage_since = Some(self.observed.now);
        self.status.moving_to = None;
        self.tell(Severity::Normal, "StageReached", format!("{target} is reached"));
        if target == Target::Stage(Stage::Green100)
            && let Some(candidate) = self.status.candidate.take()
        {
            self.status.previous_revision = self.status.stable_revision.replace(candidate.revision);
        }
    }

    fn wait_for(&mut self, reason: WaitReason, text: &str) {
        self.wait = Some((reason, text.to_owned()));
    }

    fn tell(&mut self, severity: Severity, reason: &'static str, message: String) {
        self.events.push(Event { severity, reason, message });
    }
}
