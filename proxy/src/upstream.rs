//! Upstreams: what a reload must not forget. The registry outlives every route snapshot and is keyed by destination;
//! snapshots name upstreams, upstreams hold their endpoints (which have a life of their own, by DNS) and their counters.
//! An upstream lives as long as a snapshot names it or a request uses it. Connections are not here but per worker, in
//! `pool`.

mod dns;
mod endpoint;
mod pool;

pub(crate) use dns::Resolver;
pub(crate) use endpoint::{Endpoint, EndpointSet};
pub(crate) use pool::{Lease, LeaseError, SendFailure, WorkerUpstream, WorkerUpstreams};

use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::watch;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{Backend, EndpointSource};

/// All upstreams of the process, by the name of their backend (`host:port` or `host:port/subset`). They are only
/// remembered here, so that one that no table names goes with the last request to it.
pub(crate) struct Registry {
    resolver: Arc<Resolver>,
    known: Mutex<HashMap<String, Weak<Upstream>>>,
}

/// One backend: its endpoints and what is counted of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Tells upstreams apart without comparing names.
    pub(crate) id: u64,
    pub(crate) name: String,
    endpoints: ArcSwap<EndpointSet>,
    /// Where the endpoints come from, by the newest table. A change wakes the look-up of names.
    sources: watch::Sender<Vec<EndpointSource>>,
    /// Whether every name has been answered for once.
    warm: watch::Sender<bool>,
    in_flight: AtomicU64,
}

impl Registry {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver: Arc::new(resolver), known: Mutex::default() }
    }

    /// The upstreams of a table's backends, in their order: those that live with their new endpoints, the others made
    /// anew. Must run inside the control runtime.
    pub(crate) fn update(&self, backends: &[Backend]) -> Vec<Arc<Upstream>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let upstreams = backends.iter().map(|backend| {
            let name = backend.to_string();
            let upstream = match known.get(&name).and_then(Weak::upgrade) {
                Some(upstream) => {
                    upstream.use_sources(&backend.endpoints);
                    upstream
                }
                None => Upstream::start(backend, &self.resolver),
            };
            known.insert(name, Arc::downgrade(&upstream));
            upstream
        });
        let upstreams = upstreams.collect();
        known.retain(|_, upstream| upstream.strong_count() > 0);
        upstreams
    }

    /// Every upstream that lives, whether the table that serves names it or not.
    pub(crate) fn living(&self) -> Vec<Arc<Upstream>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(Weak::upgrade).collect()
    }
}

impl Upstream {
    fn start(backend: &Backend, resolver: &Arc<Resolver>) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let upstream = Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: backend.to_string(),
            endpoints: ArcSwap::default(),
            sources: watch::Sender::new(Vec::new()),
            warm: watch::Sender::new(false),
            in_flight: AtomicU64::new(0),
        });
        upstream.use_sources(&backend.endpoints);
        tokio::spawn(dns::keep_resolved(Arc::downgrade(&upstream), upstream.sources.subscribe(), Arc::clone(resolver)));
        upstream
    }

    fn use_sources(&self, sources: &[EndpointSource]) {
        let changed = self.sources.send_if_modified(|current| {
            let changed = current.as_slice() != sources;
            if changed {
                sources.clone_into(current);
            }
            changed
        });
        // Without names there is nothing to wait for: the endpoints change together with the table.
        let needs_dns = sources.iter().any(|source| matches!(source.address, EndpointAddress::Name(_)));
        if !needs_dns {
            self.use_endpoints(EndpointSet::from_sources(sources, |_| Vec::new()));
        } else if changed {
            self.warm.send_replace(false);
        }
    }

    fn use_endpoints(&self, endpoints: EndpointSet) {
        // Only the control thread changes endpoints, so nothing comes between the load and the store.
        let current = self.endpoints.load_full();
        self.endpoints.store(Arc::new(endpoints.keeping(&current)));
        self.warm.send_replace(true);
    }

    /// Returns when every name of the upstream has been answered for: a table is published only once its backends can be
    /// used.
    pub(crate) async fn warmed(&self) {
        // The sender lives as long as `self`, so this does not fail.
        let _ = self.warm.subscribe().wait_for(|warm| *warm).await;
    }

    pub(crate) fn endpoints(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.endpoints.load()
    }

    /// Requests that were given to this backend and whose exchange with it has not ended: sent, or yet to be.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts a request as in flight at its upstream until it is dropped. Each request has one, from the choice of its
/// backend to the end of the backend's answer, whatever it waits for in between and however often it is tried.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Upstream>);

impl InFlight {
    pub(crate) fn at(upstream: &Arc<Upstream>) -> Self {
        upstream.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(upstream))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
