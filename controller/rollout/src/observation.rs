//! What a driver saw before it asks for a decision: the time, the backends, the gateways, and what is published. How it
//! saw that (files and sockets, or the Kubernetes API) is no business of this crate.

use crate::identity::Fingerprint;
use crate::render::RouteSelectionError;
use crate::timestamp::Timestamp;
use crate::weights::{Backend, Weights};
use std::collections::BTreeMap;
use turnout_verdict::evidence::Epoch;

/// Everything that a decision depends on, besides the rollout itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The driver's clock.
    pub now: Timestamp,
    /// The weights that the documents themselves give to the rule, or why the rule cannot be found:
    /// [`route_weights`](crate::route_weights) of the documents.
    pub route: Result<Weights, RouteSelectionError>,
    /// What is published; none before the first time. In Istio mode, what the cluster's VirtualService has.
    pub published: Option<Published>,
    /// Green.
    pub green: BackendObservation,
    /// Blue.
    pub blue: BackendObservation,
    /// Every live gateway; none in Istio mode. One that serves and cannot be read has no `active` revision.
    pub gateways: Vec<GatewayObservation>,
    /// Managed workloads: the revision of `spec.template`.
    pub template_revision: Option<String>,
    /// What kept the driver, the last time, from doing what was decided.
    pub obstacle: Option<Obstacle>,
    /// What webhooks answered last, by the question's id.
    pub replies: BTreeMap<String, Reply>,
    /// What gateways have counted of the candidate that the status has; nothing where no evidence is wanted.
    pub evidence: Vec<Gathered>,
}

/// What one process of a gateway has counted of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// What people call the gateway.
    pub gateway: String,
    /// Tells the process from those that the gateway was before.
    pub instance: String,
    /// It has just said it; else it said it some time ago, and says nothing more.
    pub is_current: bool,
    /// What it has counted since it began.
    pub epochs: Vec<Epoch>,
}

/// What a webhook answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// With a status code, and a text in one line.
    Answer {
        /// The code.
        status: u16,
        /// The text; empty if there was none.
        text: String,
    },
    /// Nothing, and why.
    None(String),
}

/// What keeps a driver from doing what was decided, such as a missing right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In one word.
    pub reason: &'static str,
    /// In one line, with what to do.
    pub message: String,
}

/// What gateways are to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its revision, as gateways report it.
    pub revision: String,
    /// The weights of the rollout's rule in it: [`route_weights`](crate::route_weights) of the published documents.
    pub weights: Weights,
}

/// A backend as its owner sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendObservation {
    /// It is there, ready or not.
    pub exists: bool,
    /// How many of its endpoints are ready.
    pub ready_endpoints: u32,
    /// The revision that *all* of its ready endpoints serve; none while it cannot be told or differs between them:
    /// [`identify`](crate::identify).
    pub revision: Option<String>,
    /// What its pods run, where they carry no label.
    pub runs: Option<Fingerprint>,
    /// Why the revision is not known, or is not the one that is wanted.
    pub doubt: Option<String>,
    /// It has fewer ready endpoints than it is to have. That keeps nobody from going back to it, only from going on.
    pub short: bool,
    /// How many pods its Deployment is to have; none where nothing says that.
    pub replicas: Option<u32>,
    /// The driver has warmed what it serves at present. Not asked for without `spec.warmUp`.
    pub warmed: bool,
}

impl BackendObservation {
    /// It has a ready endpoint.
    pub fn is_ready(&self) -> bool {
        self.ready_endpoints > 0
    }

    /// It is ready, and all that is ready serves `revision`.
    pub fn serves(&self, revision: &str) -> bool {
        self.is_ready() && self.revision.as_deref() == Some(revision)
    }

    /// It serves `revision`, with as many endpoints as it is to have.
    pub fn is_complete_with(&self, revision: &str) -> bool {
        self.serves(revision) && !self.short
    }
}

/// A gateway as it reports itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayObservation {
    /// What people call it, as its pod's name.
    pub id: String,
    /// It takes new connections. One that does not may still have requests in flight, and confirms nothing.
    pub serving: bool,
    /// It said what follows. Of one that did not nothing is known, neither weights nor requests in flight.
    pub answers: bool,
    /// The revision that all of its workers have.
    pub active: Option<String>,
    /// The revision that it refuses.
    pub rejected: Option<Rejection>,
    /// Green at this gateway.
    pub green: Load,
    /// Blue at this gateway.
    pub blue: Load,
}

/// A revision that a gateway refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which.
    pub revision: String,
    /// Why, as the gateway says it.
    pub reason: String,
}

/// A backend at one gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The weight that it has there.
    pub weight: u32,
    /// How many endpoints the gateway knows of.
    pub endpoints: u32,
    /// How many requests it has sent there and not yet finished.
    pub in_flight: u64,
    /// How many of them a weight of the rollout's rule sent there; the others asked for the backend by name.
    pub in_flight_by_split: u64,
}

impl Observation {
    /// One of the backends.
    pub fn backend(&self, backend: Backend) -> &BackendObservation {
        match backend {
            Backend::Green => &self.green,
            Backend::Blue => &self.blue,
        }
    }
}

impl GatewayObservation {
    /// One of the backends at this gateway.
    pub fn load(&self, backend: Backend) -> Load {
        match backend {
            Backend::Green => self.green,
            Backend::Blue => self.blue,
        }
    }

    /// The same, to be corrected.
    pub fn load_mut(&mut self, backend: Backend) -> &mut Load {
        match backend {
            Backend::Green => &mut self.green,
            Backend::Blue => &mut self.blue,
        }
    }
}
