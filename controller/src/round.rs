//! One round: look, decide, write. It is level-triggered and remembers nothing that it could not look up again, so it
//! may be killed between any two requests; whoever comes next goes on.
//!
//! The order of the writes is the order of what others may rely on: a rollout's status first, since pipelines act on what
//! it calls safe to remove; then what the gateways mount; then the actions, each of which the machine decides only once
//! gateways report what was published before. Every write goes over what was read (`resourceVersion`, `test`,
//! preconditions), so that of two replicas that both believe to lead only one gets through.

use crate::actions;
use crate::backends::{self, BackendView};
use crate::documents::{Verdict, freeze};
use crate::events::Events;
use crate::gateways::{self, Gateway};
use crate::istio;
use crate::kube_api::{ApiError, title};
use crate::namespaces::Readers;
use crate::object_status;
use crate::outbound::Outbound;
use crate::published::{PublishedRoutes, fence};
use crate::rollouts::{RolloutObject, Rollouts, reference};
use crate::settings::{RegistryKind, Settings};
use crate::telemetry::Telemetry;
use crate::twins;
use crate::view::View;
use crate::warm_up::WarmUps;
use crate::workloads::{Workloads, parse_template};
use kube::Client;
use kube::api::DynamicObject;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use turnout_rollout::{
    Action, Backend, ConditionStatus, ConditionType, Decision, Departure, Fitted, Mode, ModelRollout, Observation,
    Obstacle, Published, Registry, RenderError, RolloutStatus, RouteSelectionError, Severity, Timestamp, WaitReason,
    Weights, Workload, decide, depart, fit, hold, publish, route_weights,
};
use turnout_routes::documents::Document;

/// The driver's clock, in whole seconds.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A gateway whose endpoints differ from those that are ready for longer has them from elsewhere: no DNS answer is as old.
/// AKS keeps one for 30 seconds.
const DNS_SECONDS: u64 = 60;
/// When nothing calls for a look.
const IDLE: Duration = Duration::from_secs(15);
/// While something is awaited that no watch tells of: what gateways report.
const WAITING: Duration = Duration::from_millis(500);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often gateways are asked whether they have what was just published, and for how long before other things get a
/// turn.
const CONFIRM_TICK: Duration = Duration::from_millis(20);
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);
/// A gateway that does not follow is nudged again after so many seconds.
const NUDGE_SECONDS: u64 = 2;
/// How long the others wait for the status of one rollout to be written, and for how long at most it is then left alone,
/// in seconds.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_WAIT_SECONDS: u64 = 60;

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
    /// The rollouts that each namespace had when it was read last.
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
        tell_of_unreadable(&view, &mut round);
        self.remember(&view);
        let fitted = fit_rollouts(&mut view, &self.met);
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

    /// What could not be read is said in every rollout that can be; what was decided before stays as it is.
    async fn cannot_look(&mut self, error: &ApiError) -> Round {
        let mut round = Round { pause: RETRY, problems: vec![error.to_string()], ..Round::default() };
        let Ok(rollouts) = Rollouts::read(&self.client, &self.settings.namespaces).await else { return round };
        let obstacle = error.obstacle();
        for mut one in rollouts.readable {
            self.tell_obstacle(&mut one, &obstacle, &mut round).await;
            self.obstacles.insert(one.uid(), obstacle.clone());
        }
        round
    }

    /// Says in the status what keeps the rollout from being decided on.
    async fn tell_obstacle(&mut self, one: &mut RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        let mut status = one.rollout.status.clone();
        let (kind, now) = (ConditionType::Operational, (self.clock)());
        status.set_condition(kind, ConditionStatus::False, obstacle.reason, obstacle.message.clone(), now);
        let problem = match self.write_in_time(one, &status).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(slow) => Some(slow.message),
        };
        round.problems.extend(problem);
        self.telemetry.is_kept_from(&one.rollout);
    }

    /// Rollouts of namespaces that cannot be read are told so, and keep what is published of their rules. One that is
    /// being deleted where the controller has no rights goes with its namespace, whose Roles went first.
    async fn tell_apart(&mut self, view: &mut View, round: &mut Round) {
        for (name, obstacle) in view.dark.iter().chain(&view.frozen) {
            round.problems.push(format!("namespace {name} stays as it is published: {}", obstacle.message));
            round.pause = round.pause.min(RETRY);
        }
        for (one, obstacle) in &mut view.apart {
            if one.is_deleted() && obstacle.reason == "Forbidden" {
                if one.has_finalizer()
                    && let Err(error) = one.set_finalizer(&self.client, false).await
                {
                    round.problems.push(error.to_string());
                }
                continue;
            }
            self.tell_obstacle(one, obstacle, round).await;
        }
    }

    /// Which rollouts there are: what they govern stays published while their namespace cannot be read.
    fn remember(&mut self, view: &View) {
        for namespace in &view.listed {
            let readable = view.rollouts.readable.iter().chain(view.apart.iter().map(|(one, _)| one));
            let here = readable.map(|one| &one.rollout).filter(|rollout| rollout.metadata.namespace == *namespace);
            self.met.insert(namespace.clone(), here.cloned().collect());
        }
        self.met.retain(|namespace, _| self.settings.governs(namespace));
        let uids: BTreeSet<String> = view.rollouts.readable.iter().map(RolloutObject::uid).collect();
        self.slow.retain(|uid, _| uids.contains(uid));
    }

    /// Writes a status, unless that takes so long that others would wait for it: then it is left alone for a while.
    /// Returns whether anything was written.
    async fn write_in_time(
        &mut self,
        one: &mut RolloutObject,
        status: &RolloutStatus,
    ) -> Result<Result<bool, ApiError>, Obstacle> {
        let (uid, now) = (one.uid(), (self.clock)());
        let message = format!("modelrollouts/status {}: the API server takes long to answer", one.rollout.id());
        let slow = Obstacle { reason: "ApiFailure", message };
        let former = self.slow.get(&uid).copied();
        if former.is_some_and(|(until, _)| now < until) {
            return Err(slow);
        }
        if let Ok(written) = tokio::time::timeout(WRITE_PATIENCE, write_status(&self.client, one, status)).await {
            self.slow.remove(&uid);
            return Ok(written);
        }
        let seconds = former.map_or(1, |(_, seconds)| (seconds * 2).min(LONGEST_WAIT_SECONDS));
        self.slow.insert(uid, (now.plus(seconds), seconds));
        Err(slow)
    }

    fn decide(&mut self, view: &View, fitted: Vec<Fitted>) -> Vec<Decided> {
        let mut decided = Vec::new();
        for (one, Fitted { rollout, route }) in view.rollouts.readable.iter().zip(fitted) {
            let fitted = RolloutObject { object: one.object.clone(), rollout };
            let backends = Backend::BOTH.map(|backend| self.look_at(view, &fitted, backend));
            let mut observed = self.observe(view, &fitted, route, &backends);
            for (backend, found) in Backend::BOTH.into_iter().zip(&backends) {
                self.discount_outdated(view, &fitted, backend, found, &mut observed);
            }
            let outcome = if one.is_deleted() {
                Outcome::Departs(self.depart(&fitted, &observed))
            } else {
                Outcome::Goes(Box::new(decide(&fitted.rollout, &observed)))
            };
            let published = observed.published.map(|published| published.weights);
            let (rollout, fitted) = (one.clone(), fitted.rollout);
            decided.push(Decided { rollout, fitted, backends, published, outcome, stored: false });
        }
        self.outdated.retain(|(uid, _), _| decided.iter().any(|one| one.rollout.uid() == *uid));
        decided
    }

    /// A managed backend is there as long as its Deployment is, with or without pods.
    fn look_at(&self, view: &View, one: &RolloutObject, backend: Backend) -> BackendView {
        let mut found = BackendView::of(view, &one.rollout, backend);
        if one.rollout.spec.workload == Workload::Managed {
            found.exists |= Workloads::new(&self.client, view, one).exists(backend);
        }
        found
    }

    /// In Istio mode the weights stand in the user's own VirtualService, and stay there.
    fn depart(&self, one: &RolloutObject, observed: &Observation) -> Departure {
        match one.rollout.spec.mode {
            Mode::Gateway if self.settings.has_gateway() => depart(&one.rollout, observed),
            _ => Departure { weights: None, done: true, message: "deleted".to_owned() },
        }
    }

    fn observe(
        &self,
        view: &View,
        one: &RolloutObject,
        route: Result<Weights, RouteSelectionError>,
        backends: &[BackendView; 2],
    ) -> Observation {
        let rollout = &one.rollout;
        let (published, gateways) = match rollout.spec.mode {
            Mode::Istio => (istio::published(view, rollout), Vec::new()),
            Mode::Gateway => {
                let weights = route_weights(&view.published.documents, rollout).ok();
                let revision = view.published.revision.clone();
                let published = weights.zip(revision).map(|(weights, revision)| Published { revision, weights });
                let gateways = view.gateways.iter().map(|it| it.observe(&view.published.documents, rollout)).collect();
                (published, gateways)
            }
        };
        let [green, blue] = backends::observe(rollout, &backends[0], &backends[1], self.warm_ups.warmed());
        Observation {
            now: (self.clock)(),
            route,
            published,
            green,
            blue,
            gateways,
            template_revision: actions::template_revision(rollout),
            obstacle: self
                .obstacles
                .get(&one.uid())
                .cloned()
                .or_else(|| self.lacks_gateway(rollout))
                .or_else(|| lacks_documents(view, rollout))
                .or_else(|| lacks_template(rollout)),
        }
    }

    /// DNS answers lag behind: a gateway that knows only endpoints that have gone knows none, as far as new weight goes.
    fn discount_outdated(
        &mut self,
        view: &View,
        one: &RolloutObject,
        backend: Backend,
        found: &BackendView,
        observed: &mut Observation,
    ) {
        let (rollout, key) = (&one.rollout, (one.uid(), backend));
        let is_looked_up = rollout.spec.mode == Mode::Gateway && self.settings.registry == RegistryKind::Twins;
        let digest = found.digest();
        let outdated: Vec<&Gateway> =
            view.gateways.iter().filter(|gateway| gateway.has_others(rollout, backend, digest)).collect();
        if !is_looked_up || outdated.is_empty() {
            self.outdated.remove(&key);
            return;
        }
        let since = *self.outdated.entry(key).or_insert(observed.now);
        if observed.now.seconds_since(since) >= DNS_SECONDS {
            return;
        }
        for gateway in observed.gateways.iter_mut().filter(|one| outdated.iter().any(|other| other.pod == one.id)) {
            gateway.load_mut(backend).endpoints = 0;
        }
    }

    fn lacks_gateway(&self, rollout: &ModelRollout) -> Option<Obstacle> {
        let is_lacking = rollout.spec.mode == Mode::Gateway && !self.settings.has_gateway();
        is_lacking.then(|| Obstacle {
            reason: "NoGateway",
            message: "this controller publishes for no gateway: install one, or use spec.mode: Istio".to_owned(),
        })
    }

    async fn write_statuses(&mut self, view: &View, decided: &mut [Decided], round: &mut Round) {
        for one in decided {
            let mut next = one.rollout.rollout.status.clone();
            let mut events = Vec::new();
            match &one.outcome {
                Outcome::Goes(decision) => {
                    next = decision.status.clone();
                    events.clone_from(&decision.events);
                }
                Outcome::Departs(departure) => {
                    next.message.clone_from(&departure.message);
                    // The document may give weight to what was called safe to remove.
                    next.safe_to_remove.clear();
                    next.waiting = None;
                    let (kind, now) = (ConditionType::Progressing, (self.clock)());
                    next.set_condition(kind, ConditionStatus::False, "Deleted", departure.message.clone(), now);
                }
            }
            let about = one.rollout.reference();
            if let Err(obstacle) = self.keep_template(view, &one.rollout, &next).await {
                self.hold(&one.rollout, &obstacle, round);
                continue;
            }
            match self.write_in_time(&mut one.rollout, &next).await {
                Ok(Ok(changed)) => {
                    one.stored = true;
                    if changed {
                        round.pause = Duration::ZERO;
                    }
                }
                Ok(Err(error)) => self.failed(&one.rollout, &error, round),
                Err(obstacle) => self.hold(&one.rollout, &obstacle, round),
            }
            for event in events.iter().filter(|_| one.stored) {
                self.events.tell(&about, event.severity, event.reason, &event.message).await;
            }
        }
    }

    async fn keep_template(&self, view: &View, one: &RolloutObject, next: &RolloutStatus) -> Result<(), Obstacle> {
        if one.rollout.spec.workload == Workload::External {
            return Ok(());
        }
        let kept = Workloads::new(&self.client, view, one).keep_template(next).await;
        kept.map_err(|error| actions::obstacle(&error))
    }

    /// Publishes what was decided, if that differs from what is published. Returns what is published then.
    async fn publish(&mut self, view: &View, decided: &[Decided], round: &mut Round) -> PublishedRoutes {
        let current = view.published.clone();
        let cannot_hold = |(object, _): &(DynamicObject, String)| RolloutObject::former(object).is_none();
        let is_uncertain =
            view.rollouts.unreadable.iter().any(cannot_hold) || decided.iter().any(Decided::is_uncertain);
        if !self.settings.has_gateway() || is_uncertain {
            return current;
        }
        let registry = twins::registry(view, self.settings.registry);
        let mut documents = registry.join(&view.documents.documents);
        let refused = twins::apply(&self.client, &self.settings, view, &registry).await;
        for (namespace, error) in &refused {
            self.failed_in(decided, namespace, error, round);
        }
        // What gateways know goes on, with other weights if need be: they must not look up what is not there.
        freeze(&mut documents, &current.documents, |name| view.is_frozen(name) || refused.contains_key(name));
        self.tell_notices(&registry.notices);
        // Gateways refuse a text without documents, so the last one that they took stays.
        if documents.is_empty() {
            return current;
        }
        let text = match publish_governed(&documents, decided) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("{error}; until then changes of documents wait, and weights move as decided");
                self.hold_all(decided, &Obstacle { reason: "NotPublishable", message }, round);
                match publish_governed(&current.documents, decided) {
                    Ok(text) => text,
                    Err(_) => return current,
                }
            }
        };
        let mut fenced = as_written(view, decided);
        fenced.readable.retain(|one| one.rollout.spec.mode == Mode::Gateway);
        let fence = fence(&fenced);
        if current.is(&text, &fence) {
            self.tidy_twins(view, &registry, round).await;
            return current;
        }
        if !self.is_newest(view, decided, round).await {
            return current;
        }
        match current.replace(&self.client, &self.settings, &text, fence).await {
            Ok(published) => {
                if published.revision != current.revision {
                    self.telemetry.published();
                }
                round.pause = Duration::ZERO;
                published
            }
            Err(error) => {
                self.all_failed(decided, &error, round);
                current
            }
        }
    }

    /// Reads the rollouts once more before anything follows from what they say: a list may be older than what another
    /// replica has done, or lack a rollout, and a status that need not be written proves nothing.
    async fn is_newest(&mut self, view: &View, decided: &[Decided], round: &mut Round) -> bool {
        match Rollouts::read(&self.client, &view.listed).await {
            Ok(rollouts) => {
                let is_newest = rollouts.versions() == as_written(view, decided).versions();
                if !is_newest {
                    tracing::info!("looking again: a rollout has changed");
                    round.pause = Duration::ZERO;
                }
                is_newest
            }
            Err(error) => {
                self.all_failed(decided, &error, round);
                false
            }
        }
    }

    /// A gateway that has older routes may still look a twin up.
    async fn tidy_twins(&self, view: &View, registry: &Registry, round: &mut Round) {
        let revision = view.published.revision.as_deref().unwrap_or_default();
        if view.gateways.iter().all(|gateway| gateway.has(revision))
            && let Err(error) = twins::remove_others(&self.client, view, registry).await
        {
            round.problems.push(error.to_string());
        }
    }

    /// Says what will not work, once.
    fn tell_notices(&mut self, notices: &[String]) {
        for notice in notices.iter().filter(|notice| !self.notices.contains(notice)) {
            tracing::warn!("{notice}");
        }
        self.notices = notices.to_vec();
    }

    async fn patch_istio(&mut self, view: &View, decided: &[Decided], round: &mut Round) {
        let refused_before = std::mem::take(&mut self.refused);
        for one in decided.iter().filter(|one| one.stored && !one.is_in_gateway_mode()) {
            let Outcome::Goes(decision) = &one.outcome else { continue };
            let Some(weights) = decision.weights else { continue };
            match istio::patch(&self.client, view, &one.rollout.rollout, weights).await {
                Ok(true) => round.pause = Duration::ZERO,
                Ok(false) => {}
                Err(error) if error.is_unprocessable() => {
                    let refused = (one.rollout.uid(), istio::resource_version(view, &one.rollout.rollout));
                    // Somebody changed the rule in between: look again, decide again. Where nobody did, a policy refuses.
                    if refused_before.contains(&refused) {
                        self.failed(&one.rollout, &error, round);
                    } else {
                        tracing::info!(rollout = one.rollout.rollout.id(), "planned anew: {error}");
                        round.pause = Duration::ZERO;
                    }
                    self.refused.insert(refused);
                }
                Err(error) => self.failed(&one.rollout, &error, round),
            }
        }
    }

    /// Nudges the gateways that have not what is published, and waits a moment for them.
    async fn bring_to_gateways(&mut self, published: &PublishedRoutes, gateways: &[Gateway], round: &mut Round) {
        let Some(revision) = &published.revision else { return };
        let behind: Vec<&Gateway> = gateways.iter().filter(|it| !it.terminating && !it.has(revision)).collect();
        if behind.is_empty() {
            self.nudge_failure = None;
            return;
        }
        round.pause = round.pause.min(WAITING);
        let now = (self.clock)();
        let is_due = self
            .nudged
            .as_ref()
            .is_none_or(|(nudged, at)| nudged != revision || now.seconds_since(*at) >= NUDGE_SECONDS);
        if !is_due {
            return;
        }
        self.nudges += 1;
        self.nudged = Some((revision.clone(), now));
        self.telemetry.nudged();
        let pods: Vec<String> = behind.iter().map(|gateway| gateway.pod.clone()).collect();
        let value = format!("{revision}-{}-{}", now.0, self.nudges);
        let nudged = gateways::nudge(&self.client, &self.settings, &pods, &value).await;
        self.nudge_failure = nudged.err().map(|error| slow(&error.obstacle()));
        if self.have_taken_up(&behind, revision).await {
            round.pause = Duration::ZERO;
        }
    }

    /// Without the nudge gateways follow too, only late: that is said as long as they have not.
    fn tell_of_nudge(&mut self, decided: &[Decided], round: &mut Round) {
        if let Some(failure) = self.nudge_failure.clone() {
            self.hold_all(decided, &failure, round);
        }
    }

    async fn have_taken_up(&self, gateways: &[&Gateway], revision: &str) -> bool {
        let started = tokio::time::Instant::now();
        for gateway in gateways {
            while !gateways::has_taken_up(&*self.outbound, gateway.status, revision).await {
                if started.elapsed() >= self.confirm_patience {
                    return false;
                }
                tokio::time::sleep(CONFIRM_TICK).await;
            }
        }
        true
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

    /// A write did not get through. A conflict is no obstacle: somebody else wrote, so look again.
    fn failed(&mut self, one: &RolloutObject, error: &ApiError, round: &mut Round) {
        if error.is_conflict() || error.is_missing() {
            tracing::info!(rollout = one.rollout.id(), "looking again: {error}");
            round.pause = Duration::ZERO;
            return;
        }
        self.hold(one, &error.obstacle(), round);
    }

    fn all_failed(&mut self, decided: &[Decided], error: &ApiError, round: &mut Round) {
        if error.is_conflict() {
            tracing::info!("looking again: {error}");
            round.pause = Duration::ZERO;
            return;
        }
        self.hold_all(decided, &error.obstacle(), round);
    }

    /// A write in a namespace did not get through: that keeps nobody elsewhere.
    fn failed_in(&mut self, decided: &[Decided], namespace: &str, error: &ApiError, round: &mut Round) {
        for one in decided.iter().filter(|one| one.is_in_gateway_mode() && one.fitted.route_namespace() == namespace) {
            self.failed(&one.rollout, error, round);
        }
        if error.is_conflict() {
            round.pause = Duration::ZERO;
        } else {
            round.problems.push(error.to_string());
            round.pause = round.pause.min(RETRY);
        }
    }

    fn hold_all(&mut self, decided: &[Decided], obstacle: &Obstacle, round: &mut Round) {
        for one in decided.iter().filter(|one| one.is_in_gateway_mode()) {
            self.obstacles.insert(one.rollout.uid(), obstacle.clone());
        }
        round.problems.push(obstacle.message.clone());
        round.pause = round.pause.min(RETRY);
    }

    fn hold(&mut self, one: &RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        self.obstacles.insert(one.uid(), obstacle.clone());
        round.problems.push(format!("{}: {}", one.rollout.id(), obstacle.message));
        round.pause = round.pause.min(RETRY);
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

fn tell_of_unreadable(view: &View, round: &mut Round) {
    for (object, problem) in &view.rollouts.unreadable {
        let message = if RolloutObject::former(object).is_some() {
            "its rule stays as it is published"
        } else {
            "nothing is published meanwhile"
        };
        round.problems.push(format!("{} cannot be read, and {message}: {problem}", title(object)));
    }
    if let Some(problem) = view.documents.problems.first() {
        tracing::debug!(count = view.documents.problems.len(), "documents are refused, the first: {problem}");
    }
}

/// Finds the rule of each rollout, in the order in which they were read: of two with the same rule the older one governs
/// it. Where one does not fit the documents, these take the form back that is published.
fn fit_rollouts(view: &mut View, met: &BTreeMap<String, Vec<ModelRollout>>) -> Vec<Fitted> {
    let is_held = |one: &&RolloutObject| one.rollout.spec.mode == Mode::Gateway && !one.is_deleted();
    let held: Vec<&ModelRollout> = view.rollouts.readable.iter().filter(is_held).map(|one| &one.rollout).collect();
    let (documents, published) = (&mut view.documents.documents, &view.published.documents);
    for former in view.rollouts.unreadable.iter().filter_map(|(object, _)| RolloutObject::former(object)) {
        hold(documents, published, &former);
    }
    let unlisted = met.iter().filter(|(namespace, _)| !view.listed.contains(namespace)).flat_map(|(_, met)| met);
    for rollout in unlisted.chain(view.apart.iter().map(|(one, _)| &one.rollout)) {
        hold(documents, published, rollout);
    }
    let mut fitted = fit(documents, published, &held).into_iter().peekable();
    let mut patched = BTreeMap::new();
    let mut fit_one = |one: &RolloutObject| {
        let rollout = one.rollout.clone();
        match rollout.spec.mode {
            Mode::Istio => Fitted { route: istio::claim(view, &rollout, &mut patched), rollout },
            // One that goes gives its rule back to the document.
            Mode::Gateway => fitted
                .next_if(|next| next.rollout.id() == rollout.id())
                .unwrap_or_else(|| Fitted { route: route_weights(&view.documents.documents, &rollout), rollout }),
        }
    };
    view.rollouts.readable.iter().map(&mut fit_one).collect()
}

/// Writes a status that differs from the one that was read, and sees to the finalizer before.
async fn write_status(client: &Client, one: &mut RolloutObject, next: &RolloutStatus) -> Result<bool, ApiError> {
    if one.needs_finalizer() {
        one.set_finalizer(client, true).await?;
    }
    if *next == one.rollout.status {
        return Ok(false);
    }
    one.write_status(client, next).await?;
    Ok(true)
}

/// The rollouts in the versions that were written over those that were read.
fn as_written(view: &View, decided: &[Decided]) -> Rollouts {
    let apart = view.apart.iter().map(|(one, _)| one);
    let readable = decided.iter().map(|one| &one.rollout).chain(apart).cloned().collect();
    Rollouts { readable, unreadable: view.rollouts.unreadable.clone() }
}

/// The text with the weights that were decided.
fn publish_governed(documents: &[Document], decided: &[Decided]) -> Result<String, RenderError> {
    let governed = decided.iter().filter_map(Decided::governs);
    let governed: Vec<_> = governed.filter(|(one, _)| route_weights(documents, one).is_ok()).collect();
    publish(documents, &governed)
}

fn lacks_documents(view: &View, rollout: &ModelRollout) -> Option<Obstacle> {
    let in_gateway_mode = rollout.spec.mode == Mode::Gateway;
    let of_namespace = view.frozen.get(rollout.route_namespace());
    let Obstacle { reason, message } =
        view.documents.unreadable.as_ref().or(of_namespace).filter(|_| in_gateway_mode)?;
    let message = format!("{message}; the documents that are published stay until then");
    Some(Obstacle { reason, message })
}

fn slow(failure: &Obstacle) -> Obstacle {
    let message = format!(
        "gateways take up routes only when kubelet looks by itself, which takes a minute or two: {}",
        failure.message
    );
    Obstacle { reason: failure.reason, message }
}

/// A template from which no backend can be made is said before one is to be made of it.
fn lacks_template(rollout: &ModelRollout) -> Option<Obstacle> {
    let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
    let problems = parse_template(template).err()?;
    Some(Obstacle { reason: "InvalidTemplate", message: problems.to_string() })
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("settings", &self.settings).finish_non_exhaustive()
    }
}
