//! Looking a name up, off the request path: all its addresses, and how long they are good for. "No such name" and "no
//! address" mean no endpoints; a server that fails or is silent means nothing, and the last answer of that address
//! family stays.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bounds of the time between two look-ups of a name, whatever its time to live.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_secs(30);
/// After a failure, and for a name that does not exist.
const RETRY: Duration = Duration::from_secs(1);
/// For one question to one server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions on the way over one TCP connection: both families of all names that may be looked up at the same time.
const MAX_QUESTIONS: usize = 256;

/// Answers to look-ups.
pub(crate) struct Resolver(Option<TokioResolver>);

/// What was last known of a name. The families are asked for, and fail, apart from each other.
#[derive(Debug, Default)]
pub(super) struct Known {
    ipv4: Family,
    ipv6: Family,
    /// Whether a server has answered, if only that there is no such name.
    answered: bool,
}

#[derive(Debug, Default)]
struct Family {
    addresses: Vec<IpAddr>,
    /// Whether the last look-up failed: said once, not every second.
    failing: bool,
}

impl Known {
    /// In order, and IPv4 if there is any, so that a pod with both is one endpoint.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        if self.ipv4.addresses.is_empty() { &self.ipv6.addresses } else { &self.ipv4.addresses }
    }
}

impl Resolver {
    /// Asks `server`, or the servers of the system. A system without any resolves nothing, which is no error as long
    /// as the routes name addresses only.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        let builder = match server {
            Some(server) => {
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server(server)]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let built = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = QUERY_TIMEOUT;
            options.attempts = 2;
            options.max_active_requests = MAX_QUESTIONS;
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
    pub(super) async fn look_up(&self, name: &str, known: &mut Known) -> Duration {
        let (ipv4, ipv6) = tokio::join!(
            self.look_up_family(name, RecordType::A, &mut known.ipv4),
            self.look_up_family(name, RecordType::AAAA, &mut known.ipv6),
        );
        if !known.answered && !known.ipv4.failing && !known.ipv6.failing && self.0.is_some() {
            known.answered = true;
            // Probably a slip. That a name goes later on, as that of a Service without pods does, is told where it is kept.
            if known.addresses().is_empty() {
                tracing::warn!(name, "DNS knows no address of this name: its backend has no endpoints");
            }
        }
        // An address family that a name does not have is no reason to ask again sooner than for the one that it has.
        if known.addresses().is_empty() { RETRY } else { ipv4.min(ipv6) }
    }

    async fn look_up_family(&self, name: &str, family: RecordType, known: &mut Family) -> Duration {
        let Some(resolver) = &self.0 else { return RETRY };
        // The trailing dot keeps the search list of resolv.conf out: documents name hosts in full.
        let answer = resolver.lookup(format!("{name}."), family).await;
        let failed_before = std::mem::take(&mut known.failing);
        match answer {
            Ok(found) => {
                let records = found.answers();
                let addresses: BTreeSet<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
                known.addresses = addresses.into_iter().collect();
                let ttl_seconds = records.iter().map(|record| record.ttl).min().unwrap_or_default();
                Duration::from_secs(ttl_seconds.into()).clamp(SHORTEST_REFRESH, LONGEST_REFRESH)
            }
            Err(error) if means_no_endpoints(&error) => {
                known.addresses.clear();
                LONGEST_REFRESH
            }
            Err(error) => {
                known.failing = true;
                if !failed_before {
                    tracing::warn!(name, %family, %error, "look-up failed: the last answer stays");
                }
                RETRY
            }
        }
    }
}

/// Asked over UDP, and over TCP where the answer does not fit: a headless Service of a hundred pods (RFC 7766, 5).
fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn means_no_endpoints(error: &NetError) -> bool {
    error.is_nx_domain() || error.is_no_records_found()
}

#[cfg(test)]
pub(super) mod test_server;
#[cfg(test)]
mod tests;
