//! What a place where rollouts are kept must be able to do, such as a cluster or a directory.

use crate::gateway::Gateway;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use turnout_rollout::{
    Action, Backend, BackendObservation, Event, ModelRollout, Obstacle, Published, RolloutStatus, RouteSelectionError,
    Timestamp, Weights,
};
use turnout_routes::documents::Document;

/// After a failure.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// A place where rollouts are kept, with the documents whose rules they govern and the gateways that serve them. Every write
/// goes over what was read: of two drivers that both believe to be alone only one gets through.
pub trait Site: Send {
    /// A rollout as the site keeps it.
    type Rollout: Subject;
    /// What one look found.
    type View: View<Rollout = Self::Rollout>;

    /// Looks. What is found there is no older than the rollouts, and what gateways report no older than the rest.
    fn look(&mut self, now: Timestamp, round: &mut Round) -> impl Future<Output = Look<Self::View>> + Send;

    /// Gateways are there to publish for.
    fn publishes(&self) -> bool {
        true
    }

    /// What stands behind green and blue; `fitted` is the rollout with the rule and the backends that it is decided on.
    fn backends(
        &self,
        view: &Self::View,
        rollout: &Self::Rollout,
        fitted: &ModelRollout,
    ) -> impl Future<Output = [BackendView; 2]> + Send;

    /// Whether a rollout may govern the rule that it names, or has to leave it to those of the rule's own namespace.
    fn may_govern(&self, _rollout: &ModelRollout) -> bool {
        true
    }

    /// What keeps a rollout from being driven, as far as the look shows.
    fn obstacle(&self, view: &Self::View, fitted: &ModelRollout) -> Option<Obstacle>;

    /// Managed workloads: the revision of the template.
    fn template_revision(&self, rollout: &ModelRollout) -> Option<String>;

    /// Writes the status if it differs from the one that was read. Returns whether it did.
    fn write_status(
        &mut self,
        view: &Self::View,
        rollout: &mut Self::Rollout,
        status: &RolloutStatus,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Tells people what happened to rollouts; it is written down.
    fn tell(&mut self, told: &[(&Self::Rollout, &Event)]) -> impl Future<Output = ()> + Send;

    /// Tells rollouts on which nothing can be decided why that is so. What is written there is written before anything is
    /// published.
    fn tell_apart(&mut self, view: &mut Self::View, round: &mut Round) -> impl Future<Output = ()> + Send;

    /// Makes what gateways must find once the documents are published, and returns these with what was made.
    fn prepare(&mut self, view: &mut Self::View) -> impl Future<Output = Prepared> + Send;

    /// Publishes a text, if it is not what is published already. `rollouts` are those of the look as they were written;
    /// those of the namespaces that are passed over have changed since, and of them the text has what is published.
    fn publish(
        &mut self,
        view: &Self::View,
        rendered: &Rendered,
        rollouts: &[&Self::Rollout],
        passed_over: &BTreeSet<String>,
        round: &mut Round,
    ) -> impl Future<Output = Result<Publication, Failure>> + Send;

    /// Gives a rule that stands [elsewhere](Elsewhere) its weights. Returns whether it had others.
    fn set_elsewhere(
        &mut self,
        view: &Self::View,
        rollout: &Self::Rollout,
        weights: Weights,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Has gateways take up at once what they would take up later.
    fn nudge(&mut self, gateways: &[&Gateway], value: &str) -> impl Future<Output = Result<(), Obstacle>> + Send;

    /// All gateways have what this round published, with these weights.
    fn confirmed(&mut self, _weights: &[Weights]) {}

    /// In which of these namespaces rollouts are no longer as they were read, or cannot be read again: asked before
    /// workloads are changed.
    fn outdated(
        &mut self,
        view: &Self::View,
        rollouts: &[&Self::Rollout],
        namespaces: &BTreeSet<&str>,
    ) -> impl Future<Output = Vec<Refused>> + Send;

    /// Makes, changes and removes workloads. Warming a backend is the driver's.
    fn act(
        &mut self,
        view: &Self::View,
        rollout: &Self::Rollout,
        actions: &[Action],
    ) -> impl Future<Output = Done> + Send;

    /// Nothing needs a deleted rollout any more. Returns whether it was known until now. Where a rollout is gone at once,
    /// there is none.
    fn let_go(&mut self, _rollout: &Self::Rollout) -> bool {
        false
    }

    /// The round is over.
    fn finish(
        &mut self,
        view: &Self::View,
        rollouts: &[&Self::Rollout],
        round: &mut Round,
    ) -> impl Future<Output = ()> + Send;
}

/// A rollout as a site keeps it.
pub trait Subject: Clone + Send + Sync {
    /// Tells it from every other one, also from one of the same name that comes later.
    fn key(&self) -> String;

    /// As the state machine knows it.
    fn rollout(&self) -> &ModelRollout;

    /// Somebody deleted it, and its rule stays until nothing needs it: there is no status to write any more.
    fn is_deleted(&self) -> bool {
        false
    }
}

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How long the next may wait, unless something is heard before.
    pub pause: Duration,
    /// What failed.
    pub problems: Vec<String>,
    /// There will be nothing to do any more.
    pub over: bool,
}

impl Round {
    /// Something failed, and is tried again soon.
    pub fn fails(&mut self, problem: String) {
        self.problems.push(problem);
        self.pause = self.pause.min(RETRY);
    }
}

/// What one look found.
pub trait View: Send + Sync {
    /// A rollout as the site keeps it.
    type Rollout: Subject;

    /// The rollouts to be decided on, the oldest first: where two govern the same rule, the older one does.
    fn rollouts(&self) -> &[Self::Rollout];

    /// The documents that are to be published, before weights.
    fn documents(&mut self) -> &mut Vec<Document>;

    /// The documents that are published.
    fn published(&self) -> &[Document];

    /// Their revision, as gateways report it; none before the first time.
    fn revision(&self) -> Option<&str>;

    /// The gateways.
    fn gateways(&self) -> &[Gateway];

    /// All rollouts are known and were decided on. Else what is remembered of others stays.
    fn is_whole(&self) -> bool {
        true
    }

    /// Rollouts on which nothing can be decided: their rules stay as they are published.
    fn held(&self) -> Vec<ModelRollout> {
        Vec::new()
    }

    /// Rollouts that cannot be read, and never could be, name these VirtualServices, by namespace and name: what they want
    /// there is not known, so that they stay as they are published.
    fn withheld(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// It may be that there are others that are not even known: nothing may be published.
    fn is_uncertain(&self) -> bool {
        false
    }

    /// A rollout's rule that stands in no document of ours.
    fn elsewhere(&self, _rollout: &Self::Rollout) -> Option<Elsewhere> {
        None
    }
}

/// A rule that stands in no document of ours but in an object that somebody else's gateways read.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Its weights, or why the rule cannot be found.
    pub route: Result<Weights, RouteSelectionError>,
    /// The same as what is published.
    pub published: Option<Published>,
}

/// What came of looking.
#[derive(Debug)]
pub enum Look<V> {
    /// This is there.
    Seen(Box<V>),
    /// It failed, also for these rollouts, by key.
    Failed(Obstacle, Vec<String>),
    /// There is nothing to do any more: what was installed goes.
    Over,
}

/// Why something did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else wrote since it was read: look again.
    Overtaken(String),
    /// It is said in the rollout until it is over.
    Kept(Obstacle),
}

/// What stands behind one backend.
#[derive(Clone, Debug, Default)]
pub struct BackendView {
    /// As the machine sees it, but for `warmed`.
    pub observed: BackendObservation,
    /// Its ready endpoints.
    pub ready: Vec<Endpoint>,
    /// Where gateways look endpoints up by themselves: the digest of those that are ready.
    pub looked_up: Option<u64>,
}

/// A ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Tells it from one that comes later at the same address.
    pub uid: String,
    /// Where it takes requests.
    pub address: SocketAddr,
}

/// What is to be published, before weights.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The documents; without any nothing is published.
    pub documents: Vec<Document>,
    /// What could not be made.
    pub refused: Vec<Refused>,
}

/// What did not get through in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub namespace: String,
    /// Why.
    pub failure: Failure,
}

/// A text for gateways.
#[derive(Debug)]
pub struct Rendered {
    /// What they read.
    pub text: String,
    /// It has all that was prepared; else some of it stays as it was published.
    pub is_whole: bool,
}

/// What came of publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// It is published already.
    Stands,
    /// It is published now, under this revision.
    Swapped(Option<String>),
    /// What was read of these is no longer so, or cannot be read again.
    Outdated(Vec<Refused>),
}

/// What came of actions.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Something is different from what was observed.
    pub changed: bool,
    /// What failed.
    pub obstacle: Option<Obstacle>,
}

impl BackendView {
    /// The backend of the two.
    pub(crate) fn of(both: &[Self; 2], backend: Backend) -> &Self {
        &both[backend.index()]
    }
}
