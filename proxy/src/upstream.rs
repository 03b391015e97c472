//! Upstreams: what a reload must not forget. The [`Registry`] outlives every route snapshot and is keyed by destination;
//! snapshots name upstreams, upstreams hold their endpoints (which have a life of their own, by DNS), their policy and
//! what is counted of them. An upstream lives as long as a snapshot names it or a request uses it. Connections are not
//! here but per worker, in `pool`.

mod balance;
mod body;
mod clock;
mod connect;
mod dns;
mod dress;
mod endpoint;
mod gate;
mod hash_table;
mod health;
mod http1;
mod http2;
mod in_flight;
mod keep;
mod lease;
mod limits;
mod names;
mod outgoing;
mod outliers;
mod pool;
mod registry;
mod stream;
mod target_io;
#[cfg(test)]
pub(crate) mod test_backend;
mod watched_io;

pub(crate) use body::{BrokenAnswer, UpstreamBody};
pub(crate) use dns::Resolver;
pub(crate) use endpoint::{Endpoint, EndpointSet};
pub(crate) use hash_table::{hash, hash_of_all};
pub(crate) use limits::Place;
pub(crate) use outgoing::{Asked, Outgoing, OutgoingHead};
pub(crate) use pool::{InFlight, SendError, WorkerUpstream, WorkerUpstreams};
pub(crate) use registry::Registry;

use arc_swap::ArcSwap;
use clock::clock_ms;
use hash_table::HashTable;
use in_flight::Counters;
use limits::Usage;
use names::{Follower, Name};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use turnout_routes::address_digest;
use turnout_routes::documents::Balancing;
use turnout_routes::router::{BackendPolicy, EndpointSource};

/// One backend: its endpoints, how it is to be used, and what is counted of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Tells upstreams apart without comparing names.
    pub(crate) id: u64,
    pub(crate) name: String,
    state: ArcSwap<UpstreamState>,
    usage: Usage,
    /// What the state is made from. Held while it is made, so that two who do it do not cross.
    plan: Mutex<Plan>,
    /// Held while it is decided whether one endpoint more is ejected.
    ejecting: Mutex<()>,
    in_flight: Counters,
    /// Until then it is not held against it that DNS has no address of it; on [`clock_ms`], 0 is never.
    awaited_until_ms: AtomicU64,
}

/// A cluster's DNS server goes on for up to half a minute to say that a name has no address, and is asked every second.
/// Meanwhile pods are ready, and somebody who looks at them alone gives them weight.
const AWAITED_FOR: Duration = Duration::from_secs(32);

/// What a request needs to know of an upstream. Stored anew only when something in it has changed, so a worker that
/// sees the same one has nothing to do.
#[derive(Debug)]
pub(crate) struct UpstreamState {
    pub(crate) endpoints: EndpointSet,
    pub(crate) policy: BackendPolicy,
    /// For a policy that chooses by hash.
    table: Option<HashTable>,
}

/// What a table says of an upstream, with the names that it needs looked up.
#[derive(Debug)]
struct Plan {
    sources: Vec<EndpointSource>,
    names: HashMap<String, Arc<Name>>,
    policy: BackendPolicy,
}

impl Upstream {
    /// An upstream that no table has said anything about but its policy: it has no endpoints.
    fn new(name: String, policy: BackendPolicy) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name,
            state: ArcSwap::from_pointee(UpstreamState::new(EndpointSet::default(), policy.clone())),
            usage: Usage::default(),
            plan: Mutex::new(Plan { sources: Vec::new(), names: HashMap::new(), policy }),
            ejecting: Mutex::default(),
            in_flight: Counters::default(),
            awaited_until_ms: AtomicU64::new(0),
        })
    }

    /// Is from now on as the plan says: at once, and again whenever one of its names has another answer.
    fn adopt(self: &Arc<Self>, plan: Plan) {
        let upstream = Arc::downgrade(self);
        for name in plan.names.values() {
            name.tell(Weak::clone(&upstream) as Weak<dyn Follower>);
        }
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        self.name_answered();
    }

    pub(crate) fn state(&self) -> arc_swap::Guard<Arc<UpstreamState>> {
        self.state.load()
    }

    /// It has weight that it had not before.
    pub(crate) fn await_addresses(&self) {
        let until = clock_ms() + u64::try_from(AWAITED_FOR.as_millis()).unwrap_or(u64::MAX / 2);
        self.awaited_until_ms.store(until, Ordering::Relaxed);
    }

    pub(crate) fn is_awaited(&self) -> bool {
        let until = self.awaited_until_ms.load(Ordering::Relaxed);
        until != 0 && clock_ms() < until
    }

    /// Requests that were given to this backend and whose exchange with it has not ended: sent, or yet to be.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.sum()
    }

    /// The same by the rule that sent them, as its origin is written; rules that have none are left out.
    pub(crate) fn in_flight_by_route(&self) -> BTreeMap<(String, bool), u64> {
        self.in_flight.by_route()
    }
}

impl UpstreamState {
    fn new(endpoints: EndpointSet, policy: BackendPolicy) -> Self {
        let table = match &policy.balancing {
            Balancing::Hash(hash) => Some(HashTable::new(hash.table, &endpoints)),
            Balancing::LeastRequest | Balancing::RoundRobin | Balancing::Random => None,
        };
        Self { endpoints, policy, table }
    }

    /// Which addresses its endpoints have: the same number for the same set.
    pub(crate) fn address_digest(&self) -> u64 {
        address_digest(self.endpoints.as_slice().iter().map(|endpoint| endpoint.address.ip()))
    }
}

impl Follower for Upstream {
    fn name_answered(&self) {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.state.load();
        let endpoints = EndpointSet::from_sources(&plan.sources, |name| plan.addresses(name));
        let endpoints = endpoints.keeping(&current.endpoints);
        if !endpoints.is_same(&current.endpoints) || plan.policy != current.policy {
            self.state.store(Arc::new(UpstreamState::new(endpoints, plan.policy.clone())));
        }
    }
}

impl Plan {
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.names.get(name).map(|name| name.addresses()).unwrap_or_default()
    }
}
