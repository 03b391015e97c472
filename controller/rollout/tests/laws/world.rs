//! A small world: two backends whose pods come and go, gateways that take published routes late or not at all, a
//! pipeline, users, and a driver that crashes between any two of its steps. It is told what happens next and checks the
//! laws where they count: at the gateways.

use crate::counting::{Counting, told};
use std::collections::{BTreeMap, HashSet};
use turnout_rollout::{
    Action, Backend, BackendObservation, Candidate, Decision, GatewayObservation, Leave, Load, ModelRollout,
    Observation, Plan, Published, Rejection, Reply, Requirement, RequirementState, RequirementStatus, RolloutStatus,
    Stage, Step, Target, Timestamp, WaitReason, Weights, Workload, decide,
};

/// What may happen to the world.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The driver makes a round, and crashes after so many of its steps.
    Round {
        crash_after: usize,
        gateways_follow: bool,
    },
    /// A gateway takes what is published, and looks up every name.
    GatewayFollows(usize),
    GatewayRestarts(usize),
    GatewayJoins,
    GatewayLeaves(usize),
    GatewayRefuses(usize, bool),
    /// Requests are under way at a gateway: split ones where there is weight, pinned ones anywhere.
    Requests {
        gateway: usize,
        pinned: Option<Backend>,
    },
    RequestsEnd(usize),
    /// Many requests have been answered at a gateway, some of the candidate's with a failure or none.
    Counts {
        gateway: usize,
        fails: bool,
    },
    PodsDie(Backend),
    PodsStart(Backend),
    SecondsPass(u64),
    DocumentsChange,
    SomebodyPublishes(u32),
    SomebodyReplacesBlue(u8),
    PipelineActs,
    Promote,
    PromoteTo(Stage),
    Retarget(Option<Target>),
    Pause(bool),
    RollBack,
    Start(u8),
    Revision(Option<u8>),
    Attempt,
    Steps(Vec<&'static str>),
    /// From now on it answers with this code.
    WebhookSays(u16),
}

/// What the pods of a backend do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pods {
    /// What they run; none if there are none.
    pub(crate) revision: Option<String>,
    pub(crate) ready: bool,
    warmed: bool,
}

/// Requests that are not answered yet, by how they came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Requests {
    split: u64,
    pinned: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Gateway {
    id: String,
    table: Option<Published>,
    refuses: bool,
    /// It has looked the backends up since they are ready.
    sees: [bool; 2],
    in_flight: [Requests; 2],
}

/// What the histories have shown, so that a test knows that it tested something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) reached: HashSet<String>,
    pub(crate) removed: u64,
    pub(crate) replaced: u64,
    pub(crate) weights_moved: u64,
    pub(crate) crashes: u64,
    pub(crate) approvals: u64,
    pub(crate) promotions: u64,
    pub(crate) webhooks: u64,
    pub(crate) verdicts: u64,
    pub(crate) failed_verdicts: u64,
    pub(crate) refusals: u64,
    pub(crate) pauses: u64,
    pub(crate) automatic_rollbacks: u64,
    pub(crate) superseded: u64,
}

/// The world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) rollout: ModelRollout,
    now: u64,
    published: Option<Published>,
    documents: u32,
    pods: [Pods; 2],
    gateways: Vec<Gateway>,
    next_gateway: u32,
    /// Somebody else published, and no round has seen it yet.
    drifted: bool,
    /// What people approved, ever.
    approvals: HashSet<(String, u32, String)>,
    reached_at: u64,
    webhook_says: u16,
    replies: BTreeMap<String, Reply>,
    counting: Counting,
    /// What the webhook allowed, ever.
    allowed: HashSet<(String, u32, String)>,
    pub(crate) seen: Seen,
}

type Checked = Result<(), String>;

fn law(holds: bool, broken: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(broken()) }
}

fn index(backend: Backend) -> usize {
    match backend {
        Backend::Green => 0,
        Backend::Blue => 1,
    }
}

fn revision_name(number: u8) -> String {
    format!("v{number}")
}

impl World {
    /// Two gateways with the documents' own weights, and `green` as it was found.
    pub(crate) fn new(rollout: ModelRollout, green: Option<u8>) -> Self {
        let mut world = Self {
            rollout,
            now: 1_000_000,
            published: None,
            documents: 0,
            pods: [Pods::default(), Pods::default()],
            gateways: Vec::new(),
            next_gateway: 0,
            drifted: false,
            approvals: HashSet::new(),
            reached_at: 1_000_000,
            webhook_says: 200,
            replies: BTreeMap::new(),
            counting: Counting::default(),
            allowed: HashSet::new(),
            seen: Seen::default(),
        };
        world.pods[0] = Pods { revision: green.map(revision_name), ready: green.is_some(), warmed: false };
        world.publish(Weights { green: 70, blue: 30 });
        for _ in 0..2 {
            world.join();
        }
        world
    }

    /// Lets something happen, and then checks what gateways do.
    pub(crate) fn happens(&mut self, happening: &Happening) -> Checked {
        match happening {
            Happening::Round { crash_after, gateways_follow } => self.round(*crash_after, *gateways_follow)?,
            Happening::PipelineActs => self.pipeline_acts()?,
            Happening::Promote
            | Happening::PromoteTo(_)
            | Happening::Retarget(_)
            | Happening::Pause(_)
            | Happening::RollBack
            | Happening::Start(_)
            | Happening::Revision(_)
            | Happening::Attempt
            | Happening::Steps(_)
            | Happening::WebhookSays(_) => self.somebody_steers(happening),
            Happening::PodsDie(backend) => self.set_ready(*backend, false),
            Happening::PodsStart(backend) => self.set_ready(*backend, true),
            Happening::SecondsPass(seconds) => self.now += seconds,
            Happening::DocumentsChange => {
                self.documents += 1;
                if let Some(weights) = self.published.as_ref().map(|published| published.weights) {
                    self.publish(weights);
                }
            }
            Happening::SomebodyPublishes(blue) => {
                self.publish(Weights { green: 100 - blue, blue: *blue });
                self.drifted = true;
            }
            Happening::SomebodyReplacesBlue(number) if self.pods[1].revision.is_some() => {
                self.deploy(Backend::Blue, &revision_name(*number));
            }
            Happening::GatewayJoins => self.join(),
            gateway => self.gateway_happens(gateway),
        }
        self.check_gateways()
    }

    fn gateway_happens(&mut self, happening: &Happening) {
        let count = self.gateways.len();
        let pick = |chosen: usize| chosen % count.max(1);
        match happening {
            Happening::GatewayLeaves(chosen) if count > 1 => {
                let gateway = self.gateways.remove(pick(*chosen));
                self.counting.end(&gateway.id);
            }
            Happening::GatewayFollows(chosen) => self.follow(pick(*chosen)),
            Happening::GatewayRestarts(chosen) => {
                let gateway = &mut self.gateways[pick(*chosen)];
                (gateway.table, gateway.sees, gateway.in_flight) = (None, [false; 2], Default::default());
                self.counting.begin(&gateway.id);
            }
            Happening::GatewayRefuses(chosen, refuses) => self.gateways[pick(*chosen)].refuses = *refuses,
            Happening::Requests { gateway, pinned } => self.requests_begin(pick(*gateway), *pinned),
            Happening::Counts { gateway, fails } => self.requests_are_counted(pick(*gateway), *fails),
            Happening::RequestsEnd(chosen) => self.gateways[pick(*chosen)].in_flight = Default::default(),
            _ => {}
        }
    }

    fn publish(&mut self, weights: Weights) {
        let revision = format!("routes-{}-{}-{}", self.documents, weights.green, weights.blue);
        self.published = Some(Published { revision, weights });
    }

    fn join(&mut self) {
        let id = format!("gateway-{}", self.next_gateway);
        self.next_gateway += 1;
        self.counting.begin(&id);
        self.gateways.push(Gateway {
            id,
            table: None,
            refuses: false,
            sees: [false; 2],
            in_flight: Default::default(),
        });
        self.follow(self.gateways.len() - 1);
    }

    fn follow(&mut self, chosen: usize) {
        let ready = [self.pods[0].ready, self.pods[1].ready];
        let gateway = &mut self.gateways[chosen];
        gateway.sees = ready;
        if !gateway.refuses {
            gateway.table.clone_from(&self.published);
        }
    }

    fn requests_begin(&mut self, chosen: usize, pinned: Option<Backend>) {
        for backend in Backend::BOTH {
            let gateway = &mut self.gateways[chosen];
            let has_weight = gateway.table.as_ref().is_some_and(|table| table.weights.of(backend) > 0);
            if self.pods[index(backend)].ready {
                let in_flight = &mut gateway.in_flight[index(backend)];
                in_flight.split += u64::from(has_weight);
                in_flight.pinned += u64::from(pinned == Some(backend));
            }
        }
    }

    fn requests_are_counted(&mut self, chosen: usize, fails: bool) {
        let gateway = &self.gateways[chosen];
        if let (Some((_, salt)), Some(table)) = (self.rollout.evidence_key(), &gateway.table) {
            self.counting.count(&gateway.id, &salt, table.weights, fails);
        }
    }

    fn set_ready(&mut self, backend: Backend, ready: bool) {
        let pods = &mut self.pods[index(backend)];
        pods.ready = ready && pods.revision.is_some();
        if !pods.ready {
            pods.warmed = false;
            for gateway in &mut self.gateways {
                gateway.in_flight[index(backend)] = Requests::default();
            }
        }
    }

    fn check_gateways(&self) -> Checked {
        for gateway in &self.gateways {
            let sum = gateway.table.as_ref().map_or(1, |table| table.weights.green + table.weights.blue);
            law(sum > 0, || format!("{} has no weight at all", gateway.id))?;
        }
        Ok(())
    }
}

/// The driver.
impl World {
    fn observe(&self) -> Observation {
        let route = Ok(Weights { green: 70, blue: 30 });
        let gateways = self.gateways.iter().map(|gateway| self.observe_gateway(gateway)).collect();
        Observation {
            now: Timestamp(self.now),
            route,
            published: self.published.clone(),
            green: self.observe_backend(Backend::Green),
            blue: self.observe_backend(Backend::Blue),
            gateways,
            template_revision: None,
            obstacle: None,
            replies: self.replies.clone(),
            evidence: self.rollout.evidence_key().map(|(_, salt)| self.counting.pages(&salt)).unwrap_or_default(),
        }
    }

    fn observe_backend(&self, backend: Backend) -> BackendObservation {
        let pods = &self.pods[index(backend)];
        BackendObservation {
            exists: pods.revision.is_some(),
            ready_endpoints: u32::from(pods.ready),
            revision: pods.revision.clone().filter(|_| pods.ready),
            warmed: pods.warmed,
            ..BackendObservation::default()
        }
    }

    fn observe_gateway(&self, gateway: &Gateway) -> GatewayObservation {
        let load = |backend: Backend| Load {
            weight: gateway.table.as_ref().map_or(0, |table| table.weights.of(backend)),
            endpoints: u32::from(gateway.sees[index(backend)]),
            in_flight: gateway.in_flight[index(backend)].split + gateway.in_flight[index(backend)].pinned,
            in_flight_by_split: gateway.in_flight[index(backend)].split,
        };
        let rejected = self.published.as_ref().filter(|_| gateway.refuses);
        GatewayObservation {
            id: gateway.id.clone(),
            serving: true,
            answers: true,
            active: gateway.table.as_ref().map(|table| table.revision.clone()),
            rejected: rejected
                .map(|published| Rejection { revision: published.revision.clone(), reason: "no".to_owned() }),
            green: load(Backend::Green),
            blue: load(Backend::Blue),
        }
    }

    /// Observes, decides, and then writes the status, publishes and acts, unless it crashes before.
    fn round(&mut self, crash_after: usize, gateways_follow: bool) -> Checked {
        let observed = self.observe();
        let decision = decide(&self.rollout, &observed);
        self.check_decision(&observed, &decision)?;
        let steps = 2 + decision.actions.len();
        for step in 0..steps {
            if step == crash_after {
                self.seen.crashes += 1;
                for pods in &mut self.pods {
                    pods.warmed = false;
                }
                return Ok(());
            }
            match step {
                0 => self.write_status(&decision),
                1 => self.publish_decision(&observed, &decision)?,
                action => self.act(&decision.actions[action - 2])?,
            }
            if gateways_follow {
                (0..self.gateways.len()).for_each(|gateway| self.follow(gateway));
            }
        }
        self.drifted = false;
        Ok(())
    }

    fn write_status(&mut self, decision: &Decision) {
        if decision.status.stage != self.rollout.status.stage {
            self.reached_at = self.now;
            self.seen.reached.extend(decision.status.stage.map(|stage| stage.to_string()));
        }
        self.rollout.status = decision.status.clone();
    }

    fn publish_decision(&mut self, observed: &Observation, decision: &Decision) -> Checked {
        let Some(weights) = decision.weights else {
            return Ok(());
        };
        law(weights.green + weights.blue > 0, || "a sum of 0 is published".to_owned())?;
        let former = self.published.as_ref().map(|published| published.weights);
        for backend in Backend::BOTH {
            let is_new = weights.of(backend) > 0 && former.is_none_or(|former| former.of(backend) == 0);
            let other_is_ready = observed.backend(backend.other()).is_ready();
            let feeds_nobody = is_new && !observed.backend(backend).is_ready() && other_is_ready;
            law(!feeds_nobody, || format!("{backend} gets weight and has no ready endpoints"))?;
            let other_has_weight = former.is_some_and(|former| former.of(backend.other()) > 0);
            let is_seen = self.gateways.iter().all(|gateway| gateway.sees[index(backend)]);
            let feeds_early = is_new && !is_seen && other_is_ready && other_has_weight;
            law(!feeds_early, || format!("{backend} gets weight before every gateway sees it"))?;
        }
        if former != Some(weights) {
            self.publish(weights);
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Checked {
        match action {
            Action::WarmUp { backend } => {
                let pods = &mut self.pods[index(*backend)];
                pods.warmed = pods.ready;
            }
            Action::Deploy { backend, revision } => {
                let is_other = self.pods[index(*backend)].revision.as_ref().is_some_and(|running| running != revision);
                let is_first = self.rollout.status.stable_revision.is_none() && *backend == Backend::Green;
                if is_other && !is_first {
                    self.check_idle(*backend, true)?;
                }
                self.deploy(*backend, revision);
            }
            Action::Scale { .. } => {}
            Action::Ask(question) => {
                let status = self.webhook_says;
                self.replies.insert(question.id.clone(), Reply::Answer { status, text: String::new() });
                if status == 200 {
                    let candidate = self.rollout.status.candidate.clone().ok_or("a question without a candidate")?;
                    let stage = question.body["stage"].as_str().unwrap_or_default().to_owned();
                    self.allowed.insert((candidate.revision, candidate.attempt, stage));
                }
                self.seen.refusals += u64::from(status == 403);
            }
            Action::Remove { backend } => {
                self.check_idle(*backend, true)?;
                law(self.pods[index(backend.other())].ready, || {
                    format!("{backend} is removed and nothing else serves")
                })?;
                self.seen.removed += 1;
                self.pods[index(*backend)] = Pods::default();
            }
        }
        Ok(())
    }

    fn deploy(&mut self, backend: Backend, revision: &str) {
        let pods = &mut self.pods[index(backend)];
        if pods.revision.as_deref() != Some(revision) {
            self.seen.replaced += u64::from(pods.revision.is_some());
            *pods = Pods { revision: Some(revision.to_owned()), ready: false, warmed: false };
        }
    }

    fn check_idle(&self, backend: Backend, in_flight_too: bool) -> Checked {
        for gateway in &self.gateways {
            let weight = gateway.table.as_ref().map_or(0, |table| table.weights.of(backend));
            law(weight == 0, || format!("{backend} goes and has weight {weight} at {}", gateway.id))?;
            let in_flight = gateway.in_flight[index(backend)].split;
            law(in_flight == 0 || !in_flight_too, || format!("{backend} goes and has {in_flight} requests in flight"))?;
        }
        let published = self.published.as_ref().map_or(0, |published| published.weights.of(backend));
        law(published == 0, || format!("{backend} goes and has weight {published} in what is published"))
    }
}

/// What no decision may do.
impl World {
    fn check_decision(&mut self, observed: &Observation, decision: &Decision) -> Checked {
        let before = self.rollout.status.clone();
        let after = &decision.status;
        if after.moving_to != before.moving_to
            && let Some(Target::Stage(next)) = after.moving_to
        {
            self.check_move(observed, decision, next)?;
        }
        if let (Some(stage), true) = (after.stage, after.stage != before.stage) {
            self.check_reached(stage, after)?;
        }
        if after.rollback.is_some() && before.rollback.is_none() {
            self.check_way_back(observed, decision)?;
        }
        let is_failed = |it: &RequirementStatus| it.state == RequirementState::Failed && it.requirement == "verdict";
        let fails = |status: &RolloutStatus| status.requirements.iter().any(is_failed);
        self.seen.failed_verdicts += u64::from(fails(after) && !fails(&before));
        if let (Some(known), true) = (&after.evidence, before.candidate == after.candidate) {
            // Between two times at which it is written down less is known there.
            let is_written = before.evidence.as_ref().is_none_or(|former| former.at != known.at);
            self.counting.check(known, if is_written { &observed.evidence } else { &[] })?;
        }
        let goes_back = before.rollback.is_some() && before.in_progress();
        law(!goes_back || after.rollback.is_some(), || "a rollback was given up".to_owned())?;
        law(!goes_back || after.moving_to.is_none_or(|to| to == Target::Rollback), || "a rollback went on".to_owned())?;
        if before.stable_revision.is_some() {
            law(after.stable_revision.is_some(), || "the stable revision was forgotten".to_owned())?;
        }
        let wanted = before.position().and_then(Target::stage).map(Stage::weights);
        self.seen.weights_moved += u64::from(wanted.is_some() && wanted != decision.weights);
        Ok(())
    }

    /// Begins with `next`, or goes there from the stage before it.
    fn check_move(&mut self, observed: &Observation, decision: &Decision, next: Stage) -> Checked {
        let (before, after) = (&self.rollout.status, &decision.status);
        let is_first = after.stable_revision.is_none();
        let candidate = after.candidate.clone().ok_or("a move without a candidate")?;
        if is_first && next == Stage::Green100 {
            let may = self.rollout.spec.workload == Workload::Managed || observed.green.serves(&candidate.revision);
            return law(may, || "straight to a green that does not serve the candidate".to_owned());
        }
        if after.candidate != before.candidate {
            self.seen.superseded += u64::from(before.in_progress());
            law(next == Stage::BLUE_0, || format!("a rollout begins at {next}"))?;
            let replaces_green = before.position().and_then(Target::stage).is_some_and(Stage::replaces_green);
            let between = before.in_progress() && replaces_green && before.stable_revision.is_some();
            return law(!between, || "a rollout was replaced while green was".to_owned());
        }
        let Some(Target::Stage(from)) = before.stage else {
            return Err(format!("{next} is entered from {:?}", before.stage));
        };
        let plan = Plan::of(&self.rollout).map_err(|invalid| format!("a move with an invalid spec: {invalid}"))?;
        law(plan.stages().after(from) == Some(next), || format!("{from} is followed by {next}"))?;
        law(!self.rollout.spec.paused, || "a paused rollout goes on".to_owned())?;
        for gateway in self.gateways.iter().filter(|_| !is_first) {
            let has = gateway.table.as_ref().map(|table| table.weights);
            law(has == Some(from.weights()), || format!("{from} is left and {} has {has:?}", gateway.id))?;
        }
        self.check_required(&plan, from, &candidate, observed)?;
        let fresh = if next == Stage::Green100 { Backend::Green } else { Backend::Blue };
        let serves = observed.backend(fresh).serves(&candidate.revision);
        law(serves, || format!("{next} is entered and {fresh} does not serve the candidate"))?;
        let warm = self.rollout.spec.warm_up.is_none() || observed.backend(fresh).warmed;
        law(warm || from.weights().of(fresh) > 0, || format!("{next} is entered and {fresh} is cold"))
    }

    /// All that the stage requires is fulfilled; where the spec does not say what, it was promoted, or there is a target.
    fn check_required(&mut self, plan: &Plan, from: Stage, candidate: &Candidate, observed: &Observation) -> Checked {
        let key = (candidate.revision.clone(), candidate.attempt, from.to_string());
        let is_approved = self.approvals.contains(&key);
        let is_skipped = self.rollout.spec.approval.as_ref().is_some_and(|it| it.skip_requirements && it.stage == from);
        let required = match plan.leave(from) {
            Leave::WhenPromoted => {
                self.seen.promotions += 1;
                let is_other =
                    |wanted: &String| *wanted != candidate.revision || self.rollout.spec.attempt != candidate.attempt;
                let is_next = self.rollout.wanted_revision().is_some_and(is_other);
                let may = is_approved
                    || is_skipped
                    || is_next
                    || plan.target().is_some_and(|target| target != Target::Stage(from));
                return law(may, || format!("{from} is left, and nobody promoted it"));
            }
            Leave::When(required) => required,
        };
        for one in required {
            match one {
                Requirement::Approval => {
                    self.seen.approvals += 1;
                    law(is_approved || is_skipped, || format!("{from} is left without an approval"))?;
                }
                Requirement::Webhook(_) => {
                    self.seen.webhooks += 1;
                    let is_allowed = self.allowed.contains(&key);
                    law(is_allowed || is_skipped, || format!("{from} is left, and no webhook allowed it"))?;
                }
                Requirement::Evidence(_) => {
                    let status = &self.rollout.status;
                    let is_first =
                        status.stable_revision.is_none() && (!observed.green.exists || from == Stage::BlueGreen);
                    let is_shown = status.evidence.as_ref().is_some_and(|evidence| !evidence.shown.is_empty());
                    self.seen.verdicts += u64::from(!is_skipped && !is_first);
                    let (_, failed) = told(&observed.evidence);
                    let may = failed == 0 || is_skipped || is_first || is_shown;
                    law(may, || format!("{from} is left, and {failed} have failed"))?;
                }
                Requirement::Pause { seconds } => {
                    self.seen.pauses += 1;
                    let waited = self.now - self.reached_at;
                    let is_ended = is_skipped || is_approved && !required.contains(&Requirement::Approval);
                    law(waited >= *seconds || is_ended, || format!("{from} is left after {waited} of {seconds} s"))?;
                }
            }
        }
        Ok(())
    }

    /// What is called reached is what every gateway has.
    fn check_reached(&self, stage: Target, status: &RolloutStatus) -> Checked {
        let weights = stage.stage().map_or(Weights::all(Backend::Green), Stage::weights);
        let is_first = status.stable_revision.is_none() && stage != Target::Stage(Stage::Green100);
        law(!self.gateways.is_empty(), || "reached without a gateway".to_owned())?;
        for gateway in &self.gateways {
            let has = gateway.table.as_ref().map(|table| table.weights);
            let is_current = gateway.table == self.published;
            law(is_current, || format!("{stage} is reached and {} lags", gateway.id))?;
            law(is_first || has == Some(weights), || format!("{stage} is reached and {} has {has:?}", gateway.id))?;
        }
        let ends = matches!(stage, Target::Rollback | Target::Stage(Stage::Green100));
        let serves = self.pods[0].ready && self.pods[0].revision == status.stable_revision;
        law(!ends || serves, || format!("{stage} is reached and green does not serve {:?}", status.stable_revision))
    }

    /// Until green is replaced the way back is at once.
    fn check_way_back(&mut self, observed: &Observation, decision: &Decision) -> Checked {
        let rollback = decision.status.rollback.clone().ok_or("no rollback")?;
        self.seen.automatic_rollbacks += u64::from(rollback.reason == turnout_rollout::RollbackReason::BackendLost);
        let has_weight = self.published.as_ref().is_some_and(|published| published.weights.green > 0);
        let usable = observed.green.is_ready() && (has_weight || self.gateways.iter().all(|gateway| gateway.sees[0]));
        let at_once = decision.weights == Some(Weights::all(Backend::Green));
        law(rollback.from.replaces_green() || !usable || at_once, || "the way back is not taken at once".to_owned())
    }
}

/// People and pipelines. Requests that are refused change nothing.
impl World {
    fn somebody_steers(&mut self, happening: &Happening) {
        let rollout = &mut self.rollout;
        match happening {
            Happening::Promote => drop(rollout.promote(None, false)),
            Happening::PromoteTo(stage) => drop(rollout.promote(Some(*stage), false)),
            Happening::Retarget(target) => rollout.spec.target = *target,
            Happening::Pause(true) => rollout.pause(),
            Happening::Pause(false) => rollout.resume(),
            Happening::RollBack => drop(rollout.roll_back()),
            Happening::Start(number) => drop(rollout.start(&revision_name(*number), None)),
            Happening::Revision(number) => rollout.spec.revision = number.map(revision_name),
            Happening::Attempt => rollout.spec.attempt += 1,
            Happening::Steps(stages) => change_steps(rollout, stages),
            Happening::WebhookSays(status) => self.webhook_says = *status,
            _ => {}
        }
        if let Some(approval) = &self.rollout.spec.approval {
            let key = (approval.revision.clone(), approval.attempt, approval.stage.to_string());
            self.approvals.insert(key);
        }
    }

    /// External workloads: what a pipeline does when it reads the status.
    fn pipeline_acts(&mut self) -> Checked {
        if self.rollout.spec.workload == Workload::Managed {
            return Ok(());
        }
        let status = self.rollout.status.clone();
        let stage = status.position().and_then(Target::stage);
        let waits_for = status.waiting.as_ref().map(|waiting| waiting.reason);
        if let Some(Candidate { revision, .. }) = &status.candidate {
            match stage {
                Some(Stage::BlueGreen) => self.pipeline_deploys(Backend::Green, revision)?,
                Some(Stage::Blue(_)) => self.pipeline_deploys(Backend::Blue, revision)?,
                _ => {}
            }
        }
        if let (Some(WaitReason::StableImage), Some(stable)) = (waits_for, &status.stable_revision) {
            self.pipeline_deploys(Backend::Green, stable)?;
        }
        let at_end = matches!(status.position(), Some(Target::Rollback | Target::Stage(Stage::Green100)));
        if at_end && status.safe_to_remove.contains(&Backend::Blue) && self.pods[1].revision.is_some() {
            self.pipeline_checks(Backend::Blue)?;
            self.seen.removed += 1;
            self.pods[1] = Pods::default();
        }
        Ok(())
    }

    fn pipeline_deploys(&mut self, backend: Backend, revision: &str) -> Checked {
        let is_there = self.pods[index(backend)].revision.is_some();
        let is_first = self.rollout.status.stable_revision.is_none();
        let may = self.rollout.status.safe_to_remove.contains(&backend);
        if is_there && may && self.pods[index(backend)].revision.as_deref() != Some(revision) {
            self.pipeline_checks(backend)?;
        }
        // The very first blue takes everything and is idle never: whoever replaces it does so in place.
        if !is_there || may || (is_first && backend == Backend::Blue) {
            self.deploy(backend, revision);
        }
        Ok(())
    }

    /// Pinned requests may begin after the status was written, and somebody else may have published since.
    fn pipeline_checks(&self, backend: Backend) -> Checked {
        if self.drifted { Ok(()) } else { self.check_idle(backend, false) }
    }
}

/// What a step that stays requires, stays; one that is new waits to be promoted.
fn change_steps(rollout: &mut ModelRollout, stages: &[&str]) {
    let former = rollout.spec.steps.take().unwrap_or_default();
    let step = |stage: &&str| {
        let stage = stage.parse().unwrap();
        former.iter().find(|step| step.stage == stage).cloned().unwrap_or(Step { stage, require: None, shadow: None })
    };
    rollout.spec.steps = Some(stages.iter().map(step).collect());
}

/// After the disturbances.
impl World {
    /// Everything works again, and somebody promotes. Returns how many rounds it took until nothing changed.
    pub(crate) fn calm_down(&mut self, rounds: usize) -> Result<usize, String> {
        self.rollout.spec.paused = false;
        if Plan::of(&self.rollout).is_err() {
            (self.rollout.spec.steps, self.rollout.spec.target) = (None, None);
        }
        for gateway in &mut self.gateways {
            gateway.refuses = false;
        }
        for round in 0..rounds {
            let before =
                (self.rollout.status.clone(), self.pods.clone(), self.gateways.clone(), self.published.clone());
            for backend in Backend::BOTH {
                self.happens(&Happening::PodsStart(backend))?;
            }
            for gateway in 0..self.gateways.len() {
                self.happens(&Happening::RequestsEnd(gateway))?;
                if self.rollout.status.is_judged() && !self.is_at_its_target() {
                    self.happens(&Happening::Counts { gateway, fails: false })?;
                }
            }
            self.happens(&Happening::Round { crash_after: usize::MAX, gateways_follow: true })?;
            self.happens(&Happening::PipelineActs)?;
            let waits_for = self.rollout.status.waiting.as_ref().map(|waiting| waiting.reason);
            self.happens(&Happening::WebhookSays(200))?;
            let reasons = [WaitReason::Requirements, WaitReason::Promotion, WaitReason::Failure];
            let is_held = waits_for.is_some_and(|reason| reasons.contains(&reason)) && !self.is_at_its_target();
            match waits_for {
                Some(WaitReason::Failure) => drop(self.rollout.promote(None, true)),
                // Where nothing is split nothing more can be shown.
                _ if is_held && self.waits_for_a_verdict_in_vain() => drop(self.rollout.promote(None, true)),
                _ if is_held => self.happens(&Happening::Promote)?,
                _ => {}
            }
            if waits_for == Some(WaitReason::CandidateReady) {
                self.put_blue_back();
            }
            self.happens(&Happening::SecondsPass(40))?;
            let after = (self.rollout.status.clone(), self.pods.clone(), self.gateways.clone(), self.published.clone());
            if before == after && !is_held {
                return Ok(round);
            }
        }
        Err(format!("it does not come to rest: {}", self.rollout.status.message))
    }

    fn waits_for_a_verdict_in_vain(&self) -> bool {
        let status = &self.rollout.status;
        let is_split = status.weights.is_some_and(|weights| weights.green > 0 && weights.blue > 0);
        let waits = |it: &RequirementStatus| it.state == RequirementState::Waiting && it.requirement == "verdict";
        !is_split && status.requirements.iter().any(waits)
    }

    fn is_at_its_target(&self) -> bool {
        let reached = self.rollout.status.stage.and_then(Target::stage);
        let target = self.rollout.spec.target;
        target == Some(Target::Rollback) || target.and_then(Target::stage).is_some_and(|target| reached >= Some(target))
    }

    /// Whoever replaced a blue that has weight puts it back.
    fn put_blue_back(&mut self) {
        let Some(Target::Stage(Stage::Blue(_))) = self.rollout.status.position() else {
            return;
        };
        if let (Some(candidate), true) = (self.rollout.status.candidate.clone(), self.pods[1].revision.is_some()) {
            self.deploy(Backend::Blue, &candidate.revision);
        }
    }

    /// What was wanted is what is there.
    pub(crate) fn check_end(&self) -> Checked {
        let status = &self.rollout.status;
        let spec = &self.rollout.spec;
        let wanted = spec.revision.as_ref().map(|revision| Candidate {
            revision: revision.clone(),
            attempt: spec.attempt,
            begun: status.candidate.as_ref().and_then(|it| it.begun),
        });
        let is_stable = wanted.as_ref().map(|wanted| &wanted.revision) == status.stable_revision.as_ref();
        let rolls_back = spec.target == Some(Target::Rollback);
        let nothing_new = wanted.is_none() || is_stable || rolls_back;
        law(status.moving_to.is_none(), || format!("it ends on the way: {}", status.message))?;
        let Some(stage) = status.stage else {
            return law(nothing_new, || format!("it never began: {}", status.message));
        };
        let green = &self.pods[0];
        match stage {
            Target::Rollback => {
                let was_rolled_back = status.candidate.is_some() && status.candidate == wanted;
                law(nothing_new || was_rolled_back, || format!("a new revision does not begin: {}", status.message))?;
                law(green.revision == status.stable_revision, || "green is not stable".to_owned())?;
                self.check_alone()
            }
            Target::Stage(Stage::Green100) => {
                law(nothing_new, || format!("a new revision does not begin: {}", status.message))?;
                law(green.revision == status.stable_revision, || "green is not stable".to_owned())?;
                self.check_alone()
            }
            Target::Stage(reached) => {
                let target = spec.target.unwrap_or(Target::Stage(Stage::Green100));
                let there = target.stage().is_some_and(|target| target <= reached);
                let cannot = rolls_back && status.stable_revision.is_none();
                let is_it = wanted.is_none() || status.candidate == wanted;
                law((there || cannot) && is_it, || format!("{target} is wanted: {}", status.message))
            }
        }
    }

    fn check_alone(&self) -> Checked {
        for gateway in &self.gateways {
            let weights = gateway.table.as_ref().map(|table| table.weights);
            law(weights == Some(Weights::all(Backend::Green)), || format!("{} ends with {weights:?}", gateway.id))?;
        }
        law(self.pods[1].revision.is_none(), || "blue is still there".to_owned())
    }
}
