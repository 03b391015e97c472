//! The cluster as the place where rollouts are kept: what the driver reads and writes goes through the Kubernetes API. Every
//! write goes over what was read (`resourceVersion`, `test`, preconditions), so that of two replicas that both believe to
//! lead only one gets through.

mod publish;
mod statuses;

use crate::backends;
use crate::events::Events;
use crate::gateways;
use crate::istio;
use crate::kube_api::{ApiError, title};
use crate::namespaces::Readers;
use crate::object_status;
use crate::patience::patient;
use crate::rollouts::{RolloutObject, Rollouts, reference};
use crate::settings::{RegistryKind, Settings};
use crate::telemetry::Telemetry;
use crate::view::View;
use crate::workloads::{self, Found, WorkloadError, Workloads, parse_template};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use statuses::{kept_from, write_status};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use turnout_driver::outbound::Outbound;
use turnout_driver::{
    BackendView, Clock, Done, Driver, Failure, Gateway, Inquiry, Look, Prepared, Publication, Refused, Rendered, Round,
    Site, Subject,
};
use turnout_rollout::{
    Action, Backend, Event, Mode, ModelRollout, Obstacle, RolloutStatus, Severity, Timestamp, Weights, Workload,
};

/// For how long the answer for one namespace is waited for once there is one for another.
const BEHIND_OTHERS: Duration = Duration::from_secs(1);

/// The driver of a cluster.
pub type Controller = Driver<Cluster>;

/// A cluster, and what the controller remembers of it: only what spares somebody a wait or a repetition.
pub struct Cluster {
    /// For what is read, and for what all rollouts share.
    client: Client,
    /// For what belongs to one namespace.
    patient: Client,
    settings: Settings,
    outbound: Arc<dyn Outbound>,
    events: Events,
    telemetry: Telemetry,
    now: Timestamp,
    /// The patches of weights that were refused in this round and in the last one: of which rollout, over which version of
    /// the object.
    refused: [BTreeSet<(String, Option<String>)>; 2],
    /// The namespaces that are being read.
    readers: Readers,
    inquiry: Inquiry,
    /// The rollouts, by UID, that are gone and that nothing needs any more: the next publication leaves them out.
    let_go: BTreeSet<String>,
    /// What the registry said last.
    notices: Vec<String>,
}

/// A driver of this cluster that has seen nothing yet, and counts into these metrics.
pub fn controller(
    client: Client,
    settings: Settings,
    outbound: Arc<dyn Outbound>,
    clock: Clock,
    telemetry: Telemetry,
) -> Controller {
    let patient = patient(&client, clock.clone());
    let cluster = Cluster {
        events: Events::new(patient.clone(), &settings.identity),
        client,
        patient,
        settings,
        outbound: outbound.clone(),
        telemetry,
        now: clock(),
        refused: [BTreeSet::new(), BTreeSet::new()],
        readers: Readers::default(),
        inquiry: Inquiry::default(),
        let_go: BTreeSet::new(),
        notices: Vec::new(),
    };
    Driver::new(cluster, outbound, clock)
}

impl Site for Cluster {
    type Rollout = RolloutObject;
    type View = View;

    async fn look(&mut self, now: Timestamp, round: &mut Round) -> Look<View> {
        self.now = now;
        let [refused, before] = &mut self.refused;
        *before = std::mem::take(refused);
        let Self { client, settings, outbound, readers, inquiry, let_go, .. } = self;
        match View::read(client, settings, outbound, readers, inquiry, let_go).await {
            Err(unread) => self.cannot_look(*unread, round).await,
            Ok(view) if view.published.is_uninstalling() => Look::Over,
            Ok(mut view) => {
                tell_of_unreadable(&view, round);
                view.elsewhere = istio::rules(&view, |rollout| self.settings.may_govern(rollout));
                if !view.later.is_empty() {
                    round.pause = Duration::ZERO;
                }
                Look::Seen(Box::new(view))
            }
        }
    }

    fn publishes(&self) -> bool {
        self.settings.has_gateway()
    }

    /// A managed backend is there as long as its Deployment is, with or without pods.
    async fn backends(&self, view: &View, rollout: &RolloutObject, fitted: &ModelRollout) -> [BackendView; 2] {
        let is_looked_up = self.settings.registry == RegistryKind::Twins;
        let mut both = backends::look(view, fitted, is_looked_up);
        if fitted.spec.workload == Workload::Managed {
            let (own, uid) = (view.deployments_in(&fitted.metadata.namespace), rollout.uid());
            for (backend, found) in Backend::BOTH.into_iter().zip(&mut both) {
                found.observed.exists |= matches!(Found::among(own, fitted, &uid, backend), Found::Owned(_));
            }
        }
        both
    }

    fn may_govern(&self, rollout: &ModelRollout) -> bool {
        self.settings.may_govern(rollout)
    }

    fn obstacle(&self, view: &View, fitted: &ModelRollout) -> Option<Obstacle> {
        self.lacks_gateway(fitted).or_else(|| lacks_documents(view, fitted)).or_else(|| lacks_template(fitted))
    }

    /// None of a template from which no backend can be made.
    fn template_revision(&self, rollout: &ModelRollout) -> Option<String> {
        let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
        parse_template(template).ok()?;
        Some(workloads::template_revision(template))
    }

    async fn write_status(
        &mut self,
        view: &View,
        rollout: &mut RolloutObject,
        status: &RolloutStatus,
    ) -> Result<bool, Failure> {
        if rollout.rollout.spec.workload == Workload::Managed
            && let Err(error) = Workloads::new(&self.patient, view, rollout).keep_template(status).await
        {
            let failure = workload_failure(&error);
            // Nobody may act on what was decided, but everybody should know why nothing goes on.
            if let Failure::Kept(obstacle) = &failure {
                let told = kept_from(&rollout.rollout.status, obstacle, self.now);
                write_status(&self.patient, rollout, &told).await.map_err(|error| self::failure(&error))?;
            }
            return Err(failure);
        }
        write_status(&self.patient, rollout, status).await.map_err(|error| failure(&error))
    }

    async fn tell(&mut self, told: &[(&RolloutObject, &Event)]) {
        for (rollout, event) in told {
            self.events.tell(&rollout.reference(), event.severity, event.reason, &event.message).await;
        }
    }

    async fn tell_apart(&mut self, view: &mut View, round: &mut Round) {
        self.tell_unread(view, round).await;
    }

    async fn prepare(&mut self, view: &mut View) -> Prepared {
        self.make_twins(view).await
    }

    async fn publish(
        &mut self,
        view: &View,
        rendered: &Rendered,
        rollouts: &[&RolloutObject],
        passed_over: &BTreeSet<String>,
        round: &mut Round,
    ) -> Result<Publication, Failure> {
        self.replace_published(view, rendered, rollouts, passed_over, round).await
    }

    /// In Istio mode the weights are two numbers of the user's VirtualService.
    async fn set_elsewhere(&mut self, view: &View, rollout: &RolloutObject, weights: Weights) -> Result<bool, Failure> {
        match istio::patch(&self.patient, view, &rollout.rollout, weights).await {
            Ok(changed) => Ok(changed),
            Err(error) if error.is_unprocessable() => {
                let patch = (rollout.uid(), istio::resource_version(view, &rollout.rollout));
                let [refused, before] = &mut self.refused;
                refused.insert(patch.clone());
                // Somebody changed the rule in between: look again, decide again. Where nobody did, a policy refuses.
                if before.contains(&patch) {
                    return Err(failure(&error));
                }
                Err(Failure::Overtaken(error.to_string()))
            }
            Err(error) => Err(failure(&error)),
        }
    }

    async fn nudge(&mut self, gateways: &[&Gateway], value: &str) -> Result<(), Obstacle> {
        self.telemetry.nudged();
        let pods: Vec<String> = gateways.iter().map(|gateway| gateway.id.clone()).collect();
        let nudged = gateways::nudge(&self.client, &self.settings, &pods, value).await;
        nudged.map_err(|error| {
            let failure = error.obstacle();
            let message = format!(
                "gateways take up routes only when kubelet looks by itself, which takes a minute or two: {}",
                failure.message
            );
            Obstacle { message, ..failure }
        })
    }

    /// Reads the rollouts once more before anything follows from what they say: a list may be older than what another
    /// replica has done, or lack a rollout, and a status that need not be written proves nothing.
    async fn outdated(
        &mut self,
        view: &View,
        rollouts: &[&RolloutObject],
        namespaces: &BTreeSet<&str>,
    ) -> Vec<Refused> {
        let mut reads: FuturesUnordered<_> = namespaces
            .iter()
            .map(async |namespace| {
                let read =
                    Rollouts::read(&self.client, &[(*namespace).to_owned()], self.settings.class.as_deref()).await;
                (*namespace, read)
            })
            .collect();
        let mut outdated = Vec::new();
        let mut missing = namespaces.clone();
        // The first answer has the whole deadline of a request: an API server may be slow.
        let mut patience = Duration::MAX;
        while let Ok(Some((namespace, read))) = timeout(patience, reads.next()).await {
            patience = BEHIND_OTHERS;
            missing.remove(namespace);
            let failure = match read {
                Err(error) => shared_failure(&error),
                Ok(read) if read.versions() == view.versions_in(namespace, rollouts) => continue,
                Ok(_) => Failure::Overtaken(format!("a rollout in {namespace} has changed")),
            };
            outdated.push(Refused { namespace: namespace.to_owned(), failure });
        }
        outdated.extend(missing.into_iter().map(|namespace| {
            let message = format!("the API server has not answered again for namespace {namespace}");
            let failure = Failure::Kept(Obstacle { reason: "ApiFailure", message });
            Refused { namespace: namespace.to_owned(), failure }
        }));
        outdated
    }

    /// That somebody else wrote meanwhile is a reason to look again, not an obstacle.
    async fn act(&mut self, view: &View, rollout: &RolloutObject, actions: &[Action]) -> Done {
        let mut done = Done::default();
        let mut take = |result: Result<bool, WorkloadError>| match result {
            Ok(changed) => done.changed |= changed,
            Err(error) if error.is_conflict() => done.changed = true,
            Err(error) => done.obstacle = Some(workload_obstacle(&error)),
        };
        let workloads = Workloads::new(&self.patient, view, rollout);
        for action in actions {
            take(workloads.perform(action).await);
        }
        if rollout.rollout.spec.workload == Workload::Managed {
            take(workloads.scale().await);
            take(workloads.tend(&rollout.rollout.status).await);
        }
        done
    }

    fn let_go(&mut self, rollout: &RolloutObject) -> bool {
        self.let_go.insert(rollout.uid())
    }

    async fn finish(&mut self, view: &View, rollouts: &[&RolloutObject], round: &mut Round) {
        self.tell_objects(view, round).await;
        let there = rollouts.iter().filter(|one| !one.departed);
        self.telemetry.record(view, there.map(|one| &one.rollout));
    }
}

impl Cluster {
    fn lacks_gateway(&self, rollout: &ModelRollout) -> Option<Obstacle> {
        let is_lacking = rollout.spec.mode == Mode::Gateway && !self.settings.has_gateway();
        is_lacking.then(|| Obstacle {
            reason: "NoGateway",
            message: "this controller publishes for no gateway: install one, or use spec.mode: Istio".to_owned(),
        })
    }

    async fn tell_objects(&mut self, view: &View, round: &mut Round) {
        for verdict in &view.documents.verdicts {
            match object_status::write(&self.patient, verdict, self.now).await {
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
}

impl Subject for RolloutObject {
    fn key(&self) -> String {
        self.uid()
    }

    fn rollout(&self) -> &ModelRollout {
        &self.rollout
    }

    fn is_deleted(&self) -> bool {
        self.departed
    }
}

/// A write of something that belongs to one rollout. What is gone was somebody else's doing, too.
fn failure(error: &ApiError) -> Failure {
    if error.is_missing() { Failure::Overtaken(error.to_string()) } else { shared_failure(error) }
}

/// A write of something that belongs to all. A conflict is no obstacle: somebody else wrote, so look again.
fn shared_failure(error: &ApiError) -> Failure {
    if error.is_conflict() { Failure::Overtaken(error.to_string()) } else { Failure::Kept(error.obstacle()) }
}

fn workload_failure(error: &WorkloadError) -> Failure {
    if error.is_conflict() { Failure::Overtaken(error.to_string()) } else { Failure::Kept(workload_obstacle(error)) }
}

fn workload_obstacle(error: &WorkloadError) -> Obstacle {
    Obstacle { reason: error.reason(), message: error.to_string() }
}

fn lacks_documents(view: &View, rollout: &ModelRollout) -> Option<Obstacle> {
    let in_gateway_mode = rollout.spec.mode == Mode::Gateway;
    let of_namespace = view.frozen.get(rollout.route_namespace());
    let Obstacle { reason, message } =
        view.documents.unreadable.as_ref().or(of_namespace).filter(|_| in_gateway_mode)?;
    let message = format!("{message}; the documents that are published stay until then");
    Some(Obstacle { reason, message })
}

/// A template from which no backend can be made is said before one is to be made of it.
fn lacks_template(rollout: &ModelRollout) -> Option<Obstacle> {
    let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
    let problems = parse_template(template).err()?;
    Some(Obstacle { reason: "InvalidTemplate", message: problems.to_string() })
}

fn tell_of_unreadable(view: &View, round: &mut Round) {
    for (object, problem) in &view.rollouts.unreadable {
        let message = "what it names of the routes stays as it is published";
        round.problems.push(format!("{} cannot be read, and {message}: {problem}", title(object)));
    }
    if let Some(problem) = view.documents.problems.first() {
        tracing::debug!(count = view.documents.problems.len(), "documents are refused, the first: {problem}");
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).finish_non_exhaustive()
    }
}
