//! Which upstreams there are, from one table to the next. A table takes them up in two steps, so that what it says of
//! them is in effect when the table is, and never before: it is prepared (upstreams are made, names are looked up), then
//! committed. One that is dropped in between has changed nothing.

use super::names::Names;
use super::{Plan, Resolver, Upstream};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{Backend, EndpointSource};

/// All upstreams of the process, by the name of their backend (`host:port` or `host:port/subset`). They are only
/// remembered here, so that one that no table names goes with the last request to it.
pub(crate) struct Registry {
    names: Names,
    known: Mutex<HashMap<String, Weak<Upstream>>>,
}

/// A table's upstreams, with what it is going to make of them. Meanwhile its names are looked up.
#[must_use = "a table that is not committed changes nothing"]
pub(crate) struct Prepared(Vec<(Arc<Upstream>, Plan)>);

impl Registry {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { names: Names::new(resolver), known: Mutex::default() }
    }

    /// The upstreams of a table's backends, in their order: those that live, untouched, the others made anew. Must run
    /// inside the control runtime.
    pub(crate) fn prepare(&self, backends: &[Backend]) -> Prepared {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, upstream| upstream.strong_count() > 0);
        let prepared = backends.iter().map(|backend| {
            let name = backend.to_string();
            let upstream = known.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let made = Upstream::new(name.clone(), backend.policy.clone());
                known.insert(name, Arc::downgrade(&made));
                made
            });
            (upstream, self.plan(backend))
        });
        Prepared(prepared.collect())
    }

    fn plan(&self, backend: &Backend) -> Plan {
        let names = backend.endpoints.iter().filter_map(name).map(|name| (name.to_owned(), self.names.need(name)));
        Plan { sources: backend.endpoints.clone(), names: names.collect(), policy: backend.policy.clone() }
    }

    /// What has requests in flight and is none of these.
    pub(crate) fn busy_besides(&self, these: &[Arc<Upstream>]) -> Vec<Arc<Upstream>> {
        let these: HashSet<u64> = these.iter().map(|upstream| upstream.id).collect();
        let others = self.living().into_iter().filter(|upstream| !these.contains(&upstream.id));
        others.filter(|upstream| upstream.in_flight() > 0).collect()
    }

    /// Every upstream that lives, whether the table that serves names it or not.
    fn living(&self) -> Vec<Arc<Upstream>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(Weak::upgrade).collect()
    }
}

impl Prepared {
    /// Returns when every name has been answered for: a table is published only once its backends can be used.
    pub(crate) async fn warmed(&self) {
        for name in self.0.iter().flat_map(|(_, plan)| plan.names.values()) {
            name.answered().await;
        }
    }

    /// Makes the upstreams what the table says. Right after it the table is published.
    pub(crate) fn commit(self) -> Vec<Arc<Upstream>> {
        let committed = self.0.into_iter().map(|(upstream, plan)| {
            upstream.adopt(plan);
            upstream
        });
        committed.collect()
    }
}

/// The name behind a source, if it has one.
fn name(source: &EndpointSource) -> Option<&str> {
    match &source.address {
        EndpointAddress::Name(name) => Some(name),
        EndpointAddress::Ip(_) => None,
    }
}

#[cfg(test)]
mod tests;
