//! Looking names up, off the request path: all addresses of a name, again when the answer's time to live is over. "No
//! such name" and "no address" mean no endpoints; a server that fails or is silent means nothing, and the last answer
//! of that address family stays.

use super::{EndpointSet, Upstream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::EndpointSource;

/// Bounds of the time between two look-ups of a name, whatever its time to live.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_secs(30);
/// After a failure, and for a name that does not exist.
const RETRY: Duration = Duration::from_secs(1);
/// For one question to one server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers to look-ups.
pub(crate) struct Resolver(Option<TokioResolver>);

/// What was last known of a name. The families are asked for, and fail, apart from each other.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    ipv4: Vec<IpAddr>,
    ipv6: Vec<IpAddr>,
}

impl Known {
    /// IPv4 if there is any, so that a pod with both is one endpoint.
    fn addresses(&self) -> &[IpAddr] {
        if self.ipv4.is_empty() { &self.ipv6 } else { &self.ipv4 }
    }
}

impl Resolver {
    /// Asks `server`, or the servers of the system. A system without any resolves nothing, which is no error as long
    /// as the routes name addresses only.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        let builder = match server {
            Some(server) => {
                let mut connection = ConnectionConfig::udp();
                connection.port = server.port();
                let name_server = NameServerConfig::new(server.ip(), true, vec![connection]);
                let resolver_config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
                Ok(TokioResolver::builder_with_config(resolver_config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let built = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = QUERY_TIMEOUT;
            options.attempts = 2;
            // Every answer is used for its time to live and then asked for again: a cache would only serve stale ones.
            options.cache_size = 0;
            builder.build()
        });
        match built {
            Ok(resolver) => Self(Some(resolver)),
            Err(error) => {
                tracing::warn!(%error, "no DNS server is configured: names will not resolve");
                Self(None)
            }
        }
    }

    /// Looks up both families of a name and says how long the answers are good for. A family that does not answer keeps
    /// what is known of it.
    async fn look_up(&self, name: &str, known: &mut Known) -> Duration {
        let (ipv4, ipv6) = tokio::join!(
            self.look_up_family(name, RecordType::A, &mut known.ipv4),
            self.look_up_family(name, RecordType::AAAA, &mut known.ipv6),
        );
        // An address family that a name does not have is no reason to ask again sooner than for the one that it has.
        if known.addresses().is_empty() { RETRY } else { ipv4.min(ipv6) }
    }

    async fn look_up_family(&self, name: &str, family: RecordType, known: &mut Vec<IpAddr>) -> Duration {
        let Some(resolver) = &self.0 else { return RETRY };
        // The trailing dot keeps the search list of resolv.conf out: documents name hosts in full.
        match resolver.lookup(format!("{name}."), family).await {
            Ok(found) => {
                let addresses: BTreeSet<IpAddr> =
                    found.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                *known = addresses.into_iter().collect();
                let ttl = found.valid_until().saturating_duration_since(Instant::now());
                ttl.clamp(SHORTEST_REFRESH, LONGEST_REFRESH)
            }
            Err(error) if means_no_endpoints(&error) => {
                known.clear();
                LONGEST_REFRESH
            }
            Err(error) => {
                tracing::warn!(name, %family, %error, "look-up failed: the last answer stays");
                RETRY
            }
        }
    }
}

fn means_no_endpoints(error: &NetError) -> bool {
    error.is_nx_domain() || error.is_no_records_found()
}

/// Keeps an upstream's endpoints as its sources say, until the upstream is gone.
pub(super) async fn keep_resolved(
    upstream: Weak<Upstream>,
    mut sources: watch::Receiver<Vec<EndpointSource>>,
    resolver: Arc<Resolver>,
) {
    let mut known: HashMap<String, Known> = HashMap::new();
    loop {
        let current = sources.borrow_and_update().clone();
        let names = names(&current);
        if names.is_empty() {
            if sources.changed().await.is_err() {
                return;
            }
            continue;
        }
        let refresh = look_up_all(&names, &mut known, &resolver).await;
        let Some(upstream) = upstream.upgrade() else { return };
        // Sources that changed meanwhile are looked up in the next round; these answers are not for them.
        if !sources.has_changed().unwrap_or(false) {
            let resolve = |name: &str| known.get(name).map(|known| known.addresses().to_vec()).unwrap_or_default();
            upstream.use_endpoints(EndpointSet::from_sources(&current, resolve));
        }
        drop(upstream);
        let changed = tokio::time::timeout(refresh, sources.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}

fn names(sources: &[EndpointSource]) -> BTreeSet<String> {
    let names = sources.iter().filter_map(|source| match &source.address {
        EndpointAddress::Name(name) => Some(name.clone()),
        EndpointAddress::Ip(_) => None,
    });
    names.collect()
}

/// Looks up every name and returns when the first answer is over.
async fn look_up_all(names: &BTreeSet<String>, known: &mut HashMap<String, Known>, resolver: &Resolver) -> Duration {
    known.retain(|name, _| names.contains(name));
    let mut refresh = LONGEST_REFRESH;
    for name in names {
        let entry = known.entry(name.clone()).or_default();
        let before = entry.clone();
        refresh = refresh.min(resolver.look_up(name, entry).await);
        if *entry != before {
            tracing::info!(name, addresses = ?entry.addresses(), "resolved");
        }
    }
    refresh
}
