//! What a destination comes to: a backend, how connections to it are kept, where its endpoints are, and what metrics call
//! all of it.

use crate::documents::{Balancing, EndpointAddress, Http2KeepAlive, RetryBudget, TcpKeepalive, TlsOrigination, Warmup};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Index into [`super::Router::backends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendId(pub usize);

/// A service's port, or a subset of it: what a destination names.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The service, completed.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// The subset, if the destination names one.
    pub subset: Option<String>,
    /// How it is used.
    pub policy: BackendPolicy,
    /// Where its endpoints are; none at all is a backend without endpoints.
    pub endpoints: Vec<EndpointSource>,
    /// What metrics call it while no endpoint is chosen.
    pub workload: Arc<Workload>,
}

impl Backend {
    /// As Istio calls it where headers name it.
    pub(super) fn cluster(&self) -> String {
        let subset = self.subset.as_deref().unwrap_or_default();
        format!("outbound|{}|{subset}|{};", self.port, self.host)
    }
}

impl std::fmt::Display for Backend {
    /// As Envoy names clusters, shorter: `host:port` or `host:port/subset`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        self.subset.as_ref().map_or(Ok(()), |subset| write!(f, "/{subset}"))
    }
}

/// How a backend is used.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendPolicy {
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// How long a connection without a request is kept; none: as the gateway's setting says.
    pub idle_timeout: Option<Duration>,
    /// After which a connection is given no further request.
    pub max_connection_age: Option<Duration>,
    /// 0 is without limit.
    pub max_requests_per_connection: u32,
    /// Probes of connections over which nothing comes.
    pub keepalive: Option<TcpKeepalive>,
    /// How much may be asked of it at a time.
    pub limits: Limits,
    /// Which endpoint gets a request.
    pub balancing: Balancing,
    /// How the share of a new endpoint grows.
    pub warmup: Option<Warmup>,
    /// When endpoints are left out.
    pub outliers: Option<Outliers>,
    /// Else plain text is spoken.
    pub tls: Option<Arc<TlsOrigination>>,
    /// Which HTTP is spoken.
    pub version: HttpVersion,
    /// Of connections over HTTP/2.
    pub http2: Http2Policy,
}

/// Which HTTP a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in plain text without asking first.
    Http2,
    /// What the client speaks.
    Clients,
}

/// How HTTP/2 is used; what is not set is the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2Policy {
    /// Requests at a time on one connection.
    pub max_streams: Option<u32>,
    /// Pings on every connection.
    pub pings: Option<Http2KeepAlive>,
}

/// How much may be asked of a backend at a time, by all workers together; what has no limit is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Connections. One to each endpoint each worker may have in any case.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Requests in flight.
    pub requests: Option<u32>,
    /// Retries in flight.
    pub retries: Option<u32>,
    /// The same in relation to the requests in flight, instead of `retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// When endpoints are left out, with the defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// 5xx in a row; 0 is never.
    pub server_errors: u32,
    /// 502, 503 and 504 in a row; 0 is never.
    pub gateway_errors: u32,
    /// Failures without an answer in a row, where they do not count among the errors.
    pub local_failures: Option<u32>,
    /// After so long without another ejection the next one is shorter.
    pub interval: Duration,
    /// For how long, times the ejections before.
    pub base_ejection_time: Duration,
    /// No more of the endpoints are left out at a time.
    pub max_ejection_percent: u8,
    /// Where fewer are left, nobody is left out.
    pub min_health_percent: u8,
}

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for BackendPolicy {
    /// Istio's.
    fn default() -> Self {
        Self {
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            idle_timeout: None,
            max_connection_age: None,
            max_requests_per_connection: 0,
            keepalive: None,
            limits: Limits::default(),
            balancing: Balancing::LeastRequest,
            warmup: None,
            outliers: None,
            tls: None,
            version: HttpVersion::Http1,
            http2: Http2Policy::default(),
        }
    }
}

/// One endpoint, or a name that stands for several.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSource {
    /// An address, or a name to look up.
    pub address: EndpointAddress,
    /// The port there.
    pub port: u16,
    /// Its share among the others; each address of a name has it.
    pub weight: u32,
    /// What metrics call it.
    pub workload: Arc<Workload>,
}

/// The names that metrics give to where a request went (Istio's standard labels); `unknown` where nothing says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The service, completed.
    pub service: String,
    /// The service's own name: the first label of a cluster name, else all of it.
    pub service_name: String,
    /// The service's namespace.
    pub namespace: String,
    /// The workload: the endpoint's label `workload`, else `app`, else the service's name.
    pub workload: String,
    /// The endpoint's label `app`, else the service's name.
    pub app: String,
    /// The endpoint's label `version`.
    pub version: String,
}

/// Why a destination has no backend (Envoy's flag NC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Nothing says where the service is.
    #[error("no ServiceEntry has the service, and a look-up by name needs a port")]
    Service,
    /// The ServiceEntry has no such port.
    #[error("the ServiceEntry has no such port")]
    Port,
    /// The service has several ports and the destination names none.
    #[error("the service has several ports and the destination names none")]
    PortNotGiven,
    /// No DestinationRule has the subset.
    #[error("no DestinationRule has the subset")]
    Subset,
}

/// Where nothing says it.
pub(super) const UNKNOWN: &str = "unknown";

impl EndpointSource {
    pub(super) fn new(address: EndpointAddress, port: u16, workload: Workload) -> Self {
        Self { address, port, weight: 1, workload: Arc::new(workload) }
    }
}

/// `model.abtesting.svc.cluster.local` is in `abtesting`.
pub(super) fn cluster_namespace(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    (rest == "svc" || rest.starts_with("svc.")).then_some(namespace)
}

pub(super) struct ServiceName<'a> {
    pub(super) host: &'a str,
    pub(super) namespace: &'a str,
}

impl ServiceName<'_> {
    /// Of a request that no pod was there for: Kiali asks for those by the unknown workload of a known service.
    pub(super) fn nobody(&self) -> Workload {
        let unknown = || UNKNOWN.to_owned();
        Workload { workload: unknown(), app: unknown(), version: unknown(), ..self.workload(&BTreeMap::new()) }
    }

    pub(super) fn workload(&self, labels: &BTreeMap<String, String>) -> Workload {
        let service_name = match cluster_namespace(self.host) {
            Some(_) => self.host.split('.').next().unwrap_or(self.host),
            None => self.host,
        };
        let label = |key: &str| labels.get(key).cloned();
        Workload {
            service: self.host.to_owned(),
            service_name: service_name.to_owned(),
            namespace: self.namespace.to_owned(),
            workload: label("workload").or_else(|| label("app")).unwrap_or_else(|| service_name.to_owned()),
            app: label("app").unwrap_or_else(|| service_name.to_owned()),
            version: label("version").unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }
}
