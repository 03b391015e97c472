//! The compiled router: from the head of a request to what is done with it. Pure: random numbers come in, addresses are
//! left to whoever sends. Everything that can be known before a request is known here: [`compile`] cannot fail, and
//! [`Router::decide`] only looks up.
//!
//! The reading order is the order of a request: host, then matcher, then split, then header operations and rewrite.

mod backend;
mod compile;
mod decide;
mod header_operations;
mod hosts;
mod listeners;
mod matcher;
mod path;
mod redirect;
mod request;
mod retry;
mod rewrite;
mod rule;
mod services;
mod split;

pub use backend::{Backend, BackendId, BackendPolicy, EndpointSource, Missing, Workload};
pub use compile::{Identity, compile};
pub use decide::{Answer, Decision, Draws, Forward, LocalAnswer, Redirection};
pub use header_operations::{FormatContext, HeaderChangeList, HeaderValueSource};
pub use listeners::{PortKind, TlsServer};
pub use path::{PathRefusal, normalise_path};
pub use redirect::CompiledRedirect;
pub use request::{RequestHead, Transport};
pub use retry::{Failure, RetryPolicy};
pub use rule::{Origin, Route, Rule, RuleAction};
pub use split::{Split, Target, Ticket};

use hosts::HostTable;
use listeners::Listeners;
use std::collections::BTreeMap;

/// The compiled form of all documents. Immutable; one request sees exactly one of them.
#[derive(Debug, Default)]
pub struct Router {
    listeners: Listeners,
    backends: Vec<Backend>,
    notices: Vec<String>,
}

impl Router {
    /// How connections to a port begin.
    pub fn port_kind(&self, port: u16) -> PortKind {
        self.listeners.kind(port)
    }

    /// The TLS server for a server name (lower case): the most specific host wins. None: the handshake is refused.
    pub fn tls_server(&self, port: u16, server_name: Option<&str>) -> Option<&TlsServer> {
        self.listeners.tls_server(port, server_name)
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
