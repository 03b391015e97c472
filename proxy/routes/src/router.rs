//! The compiled router: from the head of a request to what is done with it. Pure: random numbers come in, addresses are
//! left to whoever sends. Everything that can be known before a request is known here: [`compile`] cannot fail, and
//! [`Router::decide`] only looks up.
//!
//! The reading order is the order of a request: host, then matcher, then split, then header operations and rewrite.

mod compile;
mod decide;
mod header_operations;
mod hosts;
mod matcher;
mod path;
mod redirect;
mod retry;
mod rewrite;
mod services;
mod split;

pub use compile::{Identity, compile};
pub use decide::{Answer, Decision, Draws, Forward, LocalAnswer, Redirection};
pub use header_operations::{FormatContext, HeaderChangeList, HeaderValueSource};
pub use path::{PathRefusal, normalise_path};
pub use redirect::CompiledRedirect;
pub use retry::{Failure, RetryPolicy};
pub use services::{Backend, BackendId, BackendPolicy, EndpointSource, Missing, Workload};
pub use split::{Split, Target, Ticket};

use crate::documents::{ClientAuth, Credential, DirectResponse, HostPattern, Scheme, TlsVersion};
use hosts::HostTable;
use http::HeaderMap;
use matcher::Matcher;
use rewrite::CompiledRewrite;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a request is routed by. The path is normalised ([`normalise_path`]) and without its query.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The port number of the Gateway server, or the listener's where no Gateway document names it.
    pub port: u16,
    /// How the request came.
    pub transport: Transport<'a>,
    /// The scheme that the client asked by. It is the transport's unless a trusted proxy in front of the gateway ended
    /// TLS and says so.
    pub scheme: Scheme,
    /// The method, as it came.
    pub method: &'a str,
    /// Host or `:authority`, as it came.
    pub authority: &'a str,
    /// The normalised path.
    pub path: &'a str,
    /// What follows `?`, not decoded.
    pub query: Option<&'a str>,
    /// The headers that are left for matching.
    pub headers: &'a HeaderMap,
}

/// How a connection reached the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// Clear text.
    Plain,
    /// TLS that the gateway terminated, with the server name that the client asked for.
    Tls {
        /// In lower case.
        server_name: Option<&'a str>,
    },
}

impl Transport<'_> {
    /// The scheme of a URL that leads here.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Plain => Scheme::Http,
            Self::Tls { .. } => Scheme::Https,
        }
    }
}

/// The compiled form of all documents. Immutable; one request sees exactly one of them.
#[derive(Debug, Default)]
pub struct Router {
    listeners: Listeners,
    backends: Vec<Backend>,
    notices: Vec<String>,
}

/// Which host tables serve which port.
#[derive(Debug)]
enum Listeners {
    /// No Gateway document: the same hosts on every port, in clear text.
    Whole(HostTable),
    /// By `port.number` of the Gateway servers.
    ByPort(BTreeMap<u16, PortTable>),
}

impl Default for Listeners {
    fn default() -> Self {
        Self::Whole(HostTable::default())
    }
}

/// The servers of one Gateway port. Clear-text servers share one table; each TLS server has its own, so that the server
/// name of one with the Host of another is a 404, as in Istio.
#[derive(Debug, Default)]
struct PortTable {
    plain: Option<HostTable>,
    tls: Vec<TlsServer>,
}

/// A TLS server of a Gateway.
#[derive(Debug)]
pub struct TlsServer {
    /// Server names that it is for; `*` also takes clients that name none.
    pub hosts: Vec<HostPattern>,
    /// Its certificate.
    pub credential: Credential,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The oldest version accepted.
    pub min_version: TlsVersion,
    /// The newest version offered.
    pub max_version: TlsVersion,
    table: HostTable,
}

/// What a listener has to do before it reads the first request of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum PortKind {
    /// Clear text.
    Plain,
    /// TLS; the server is found by [`Router::tls_server`].
    Tls,
    /// No document names the port; requests are answered with 404.
    Unknown,
}

/// One way to match a rule, with what depends on how it matched. A rule with three `match` entries is three routes.
#[derive(Debug)]
pub struct Route {
    matcher: Matcher,
    rewrite: CompiledRewrite,
    /// The rule itself, shared between its routes.
    pub rule: Arc<Rule>,
}

/// A compiled http rule.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands in the documents.
    pub origin: Origin,
    /// What happens.
    pub action: RuleAction,
    /// The limit for the whole answer.
    pub timeout: Option<Duration>,
    /// When and how often a failed try is made again.
    pub retry: RetryPolicy,
    /// For answers that the gateway makes itself while it acts for this rule.
    pub local_response_headers: HeaderChangeList,
}

/// What a compiled rule does.
#[derive(Debug)]
pub enum RuleAction {
    /// Sends the request to one target of the split.
    Forward(Split),
    /// Answers with a redirect.
    Redirect(CompiledRedirect),
    /// Answers with a fixed response.
    DirectResponse(DirectResponse),
}

/// Where a rule stands in the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Of the VirtualService.
    pub namespace: String,
    /// Of the VirtualService.
    pub virtual_service: String,
    /// Position in `spec.http`, from 0.
    pub http: usize,
    /// The rule's own name.
    pub name: Option<String>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} spec.http[{}]", self.namespace, self.virtual_service, self.http)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl Router {
    fn table(&self, port: u16, transport: Transport<'_>) -> Option<&HostTable> {
        match (&self.listeners, transport) {
            (Listeners::Whole(table), _) => Some(table),
            (Listeners::ByPort(ports), Transport::Plain) => ports.get(&port)?.plain.as_ref(),
            (Listeners::ByPort(_), Transport::Tls { server_name }) => {
                self.tls_server(port, server_name).map(|server| &server.table)
            }
        }
    }

    /// How connections to a port begin.
    pub fn port_kind(&self, port: u16) -> PortKind {
        match &self.listeners {
            Listeners::Whole(_) => PortKind::Plain,
            Listeners::ByPort(ports) => match ports.get(&port) {
                None => PortKind::Unknown,
                Some(table) if table.plain.is_some() => PortKind::Plain,
                Some(_) => PortKind::Tls,
            },
        }
    }

    /// The TLS server for a server name (lower case): the most specific host wins. None: the handshake is refused.
    pub fn tls_server(&self, port: u16, server_name: Option<&str>) -> Option<&TlsServer> {
        let Listeners::ByPort(ports) = &self.listeners else { return None };
        let specificity = |server: &TlsServer| {
            let matching = server.hosts.iter().filter(|host| match server_name {
                Some(name) => host.matches(name),
                None => **host == HostPattern::Any,
            });
            matching.map(hosts::specificity).max()
        };
        let servers = ports.get(&port)?.tls.iter();
        servers.filter_map(|server| Some((specificity(server)?, server))).max_by_key(|(rank, _)| *rank).map(|(_, s)| s)
    }

    /// Every TLS server, for those who load certificates ahead of the first handshake.
    pub fn tls_servers(&self) -> impl Iterator<Item = &TlsServer> {
        let ports = match &self.listeners {
            Listeners::Whole(_) => None,
            Listeners::ByPort(ports) => Some(ports),
        };
        ports.into_iter().flat_map(BTreeMap::values).flat_map(|table| &table.tls)
    }

    /// The ports that Gateway documents name; none where no Gateway document exists.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let ports = match &self.listeners {
            Listeners::Whole(_) => None,
            Listeners::ByPort(ports) => Some(ports.keys().copied()),
        };
        ports.into_iter().flatten()
    }

    /// The backends that the splits name, by [`BackendId`].
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// What was left out on purpose, in words for a log: Gateways for other gateways, VirtualServices of none.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// All splits with the rule that each belongs to, once per rule; for metrics and for people.
    pub fn splits(&self) -> Vec<(&Origin, &Split)> {
        let mut seen: Vec<(&Origin, &Split)> = Vec::new();
        for rule in self.rules() {
            if let RuleAction::Forward(split) = &rule.action
                && !seen.iter().any(|(origin, _)| **origin == rule.origin)
            {
                seen.push((&rule.origin, split));
            }
        }
        seen
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let tables: Vec<&HostTable> = match &self.listeners {
            Listeners::Whole(table) => vec![table],
            Listeners::ByPort(ports) => {
                ports.values().flat_map(|port| port.plain.iter().chain(port.tls.iter().map(|s| &s.table))).collect()
            }
        };
        tables.into_iter().flat_map(HostTable::virtual_hosts).flat_map(|host| &host.routes).map(|route| &*route.rule)
    }
}

impl Route {
    /// The path and query to send, if the rule rewrites the path.
    pub fn rewrite(&self, path: &str, query: Option<&str>) -> Option<String> {
        self.rewrite.apply(path, query)
    }
}
