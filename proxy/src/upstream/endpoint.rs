//! Endpoints: the socket addresses of an upstream at one time. They outlive the set that holds them, so that what is known
//! of one survives a change of the others.

use super::clock::clock_ms;
use super::health::Health;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{EndpointSource, Workload};

/// How long an endpoint is avoided after a connection to it failed.
const AVOIDED_FOR: Duration = Duration::from_secs(5);

/// One socket address of an upstream. Its counters are shared by all workers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    pub(crate) workload: Arc<Workload>,
    /// When it came to be known.
    pub(super) since: Instant,
    pub(super) health: Health,
    /// Milliseconds on [`clock_ms`]; 0 is never.
    avoided_until_ms: AtomicU64,
    /// No set holds it any more: connections to it are not kept.
    retired: AtomicBool,
}

/// The endpoints of an upstream at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    /// The share of each; none where all have the same.
    weights: Vec<u32>,
}

impl EndpointSet {
    /// The endpoints that the sources stand for; names are looked up by `resolve`. An address that is named twice counts
    /// once, with the weight that it has first.
    pub(crate) fn from_sources(sources: &[EndpointSource], resolve: impl Fn(&str) -> Vec<IpAddr>) -> Self {
        let mut set = Self::default();
        let mut seen = HashSet::new();
        for source in sources {
            let addresses = match &source.address {
                EndpointAddress::Ip(address) => vec![*address],
                EndpointAddress::Name(name) => resolve(name),
            };
            for address in addresses {
                let address = SocketAddr::new(address, source.port);
                if seen.insert(address) {
                    set.endpoints.push(Arc::new(Endpoint::new(address, &source.workload)));
                    set.weights.push(source.weight);
                }
            }
        }
        if set.weights.windows(2).all(|two| two[0] == two[1]) {
            set.weights.clear();
        }
        set
    }

    /// Endpoints of one workload on these ports of loopback.
    #[cfg(test)]
    pub(crate) fn at_ports(ports: &[u16]) -> Self {
        let workload = crate::testing::workload("blue");
        let address = EndpointAddress::Ip(IpAddr::from([127, 0, 0, 1]));
        let source = |port: &u16| EndpointSource {
            address: address.clone(),
            port: *port,
            weight: 1,
            workload: Arc::clone(&workload),
        };
        Self::from_sources(&ports.iter().map(source).collect::<Vec<_>>(), |_| Vec::new())
    }

    /// The same with these weights.
    #[cfg(test)]
    pub(super) fn weighing(self, weights: &[u32]) -> Self {
        Self { weights: weights.to_vec(), ..self }
    }

    /// Takes over from the older set the endpoints that are in both, with their counters and connections, and retires
    /// the others.
    pub(crate) fn keeping(mut self, older: &Self) -> Self {
        let mut dropped: HashMap<SocketAddr, &Arc<Endpoint>> =
            older.endpoints.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        for endpoint in &mut self.endpoints {
            if let Entry::Occupied(old) = dropped.entry(endpoint.address)
                && old.get().workload == endpoint.workload
            {
                *endpoint = Arc::clone(old.remove());
            }
        }
        for old in dropped.into_values() {
            old.retired.store(true, Ordering::Relaxed);
        }
        self
    }

    /// Whether these are the same endpoints, in the same order, with the same weights.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.weights == other.weights
            && self.endpoints.len() == other.endpoints.len()
            && self.endpoints.iter().zip(&other.endpoints).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    pub(crate) fn as_slice(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(super) fn is_weighted(&self) -> bool {
        !self.weights.is_empty()
    }

    /// The share of the endpoint at this place.
    pub(super) fn weight(&self, place: usize) -> u32 {
        self.weights.get(place).copied().unwrap_or(1)
    }
}

impl Endpoint {
    fn new(address: SocketAddr, workload: &Arc<Workload>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            workload: Arc::clone(workload),
            since: Instant::now(),
            health: Health::default(),
            avoided_until_ms: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    pub(super) fn is_preferred(&self) -> bool {
        let until = self.avoided_until_ms.load(Ordering::Relaxed);
        until == 0 || until <= clock_ms()
    }

    /// A connection could not be made.
    pub(crate) fn avoid_for_a_while(&self) {
        let until = clock_ms() + u64::try_from(AVOIDED_FOR.as_millis()).unwrap_or(u64::MAX / 2);
        self.avoided_until_ms.store(until, Ordering::Relaxed);
    }

    /// A connection was made.
    pub(crate) fn prefer_again(&self) {
        if self.avoided_until_ms.load(Ordering::Relaxed) != 0 {
            self.avoided_until_ms.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_a_change_of_the_set() {
        let old = EndpointSet::at_ports(&[1, 2]);
        let new = EndpointSet::at_ports(&[2, 3]).keeping(&old);
        assert!(Arc::ptr_eq(&old.as_slice()[1], &new.as_slice()[0]));
        assert!(old.as_slice()[0].is_retired());
        assert!(!new.as_slice()[0].is_retired());
        let back = EndpointSet::at_ports(&[1]).keeping(&new);
        assert!(!Arc::ptr_eq(&old.as_slice()[0], &back.as_slice()[0]), "a retired endpoint does not come back");
    }
}
