//! The compiled router: from the head of a request to what is done with it. Pure: random numbers come in, addresses are
//! left to whoever sends. Everything that can be known before a request is known here: [`compile`] cannot fail, and
//! [`Router::decide`] only looks up.
//!
//! The reading order is the order of a request: host, then matcher, then split, then header operations and rewrite.

mod assignment;
mod backend;
mod compile;
mod cors;
mod decide;
mod delegates;
mod destination_rules;
mod fault;
mod hash;
mod header_operations;
mod host_map;
mod hosts;
mod identity;
mod known;
mod listeners;
mod matcher;
mod mirror;
mod origin;
mod path;
mod policy;
mod redirect;
mod request;
mod retry;
mod rewrite;
mod rule;
mod service_entries;
mod services;
mod slip;
mod split;
#[cfg(test)]
mod testing;
mod tickets;
mod warning;

pub use assignment::{Assigned, Assignment};
pub use backend::{
    Backend, BackendId, BackendPolicy, EndpointSource, Http2Policy, HttpVersion, Limits, Missing, Outliers, Workload,
};
pub use compile::{Act, Hosted, Placed, full_hosts, hosted};
pub use cors::{CompiledCors, CorsAnswer};
pub use decide::{Answer, Decision, Draws, Forward, LocalAnswer};
pub use delegates::{Delegates, NoDelegate};
pub use destination_rules::DestinationRules;
pub use fault::{Injected, inject};
pub use header_operations::{FormatContext, HeaderChangeList, HeaderValueSource};
pub use identity::Identity;
pub use listeners::{PortKind, TlsServer};
pub use mirror::MirrorTarget;
pub use origin::Origin;
pub use path::{PathRefusal, normalise_path};
pub use policy::{Policy, RescuePlan, Role, ShadowPlan};
pub use redirect::{CompiledRedirect, Redirection};
pub use request::{Peer, RequestHead, Transport};
pub use retry::{Failure, RetryPolicy};
pub use rule::{Route, Rule, RuleAction};
pub use service_entries::{DescribedService, ServiceEntries};
pub use split::{Replaced, Split, Target, Ticket};
pub use tickets::{LARGEST_BLOCK, Tickets};
pub use warning::{Notice, Warning};

use crate::documents::{Document, Override};
use compile::Compiled;
use hosts::VirtualHost;
use listeners::{Listeners, PortTable};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// The compiled form of all documents. Immutable; one request sees exactly one of them.
#[derive(Debug, Default)]
pub struct Router {
    listeners: Listeners,
    rules: Vec<Arc<Rule>>,
    backends: Vec<Backend>,
    weights: Vec<BackendWeight>,
    references: Vec<Warning>,
    notices: Vec<Notice>,
}

/// What a rule gives to one backend; destinations that come to the same backend count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendWeight {
    /// The rule, as [`Origin`] is written.
    pub route: String,
    /// The backend, as [`Target::name`] is written.
    pub backend: String,
    /// The sum of the weights in effect.
    pub weight: u64,
}

/// Compiles all documents of a routes file, as this gateway sees them.
pub fn compile(documents: &[Document], identity: &Identity) -> Router {
    let Compiled { listeners, rules, backends, warnings, notices } = compile::compile(documents, identity);
    let mut router = Router { listeners, rules, backends, weights: Vec::new(), references: warnings, notices };
    router.weights = weights(&router);
    router
}

impl Router {
    /// Decides on a request: the most specific host, then its rules in order, then what the rule does. For a request that
    /// is forwarded nothing is allocated, unless its host has capitals or a rule matches a header whose lines are joined.
    pub fn decide(&self, request: &RequestHead<'_>, draws: Draws<'_>) -> Decision<'_> {
        let table = self.listeners.table(request.port, request.transport);
        let host = table.and_then(|table| table.find(request.authority));
        host.map_or(Decision::NoRoute, |host| Decision::at(host, request, draws))
    }

    /// New tickets for this table, which is published under `revision`. `nonce` is another for each process: what comes in
    /// pairs would else meet the same target at two gateways.
    pub fn tickets(&self, revision: &str, nonce: u64) -> Tickets {
        let policies = self.rules.iter().filter_map(|rule| rule.policy.as_ref());
        let policies = policies.map(|policy| (policy.index, policy.name.as_str(), policy.salt.as_str()));
        Tickets::new(policies, revision, nonce)
    }

    /// How connections to a port begin.
    pub fn port_kind(&self, port: u16) -> PortKind {
        self.listeners.kind(port)
    }

    /// The TLS server for a server name (lower case): the most specific host wins. None: the handshake is refused.
    pub fn tls_server(&self, port: u16, server_name: Option<&str>) -> Option<&TlsServer> {
        self.listeners.by_port()?.get(&port)?.tls_server(server_name)
    }

    /// Every TLS server, for those who load certificates ahead of the first handshake.
    pub fn tls_servers(&self) -> impl Iterator<Item = &TlsServer> {
        self.listeners.by_port().into_iter().flat_map(BTreeMap::values).flat_map(PortTable::tls_servers)
    }

    /// The ports of Gateway documents that something is served on; none where no Gateway document exists.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let ports = self.listeners.by_port().into_iter().flatten();
        ports.filter(|(_, table)| table.is_served()).map(|(port, _)| *port)
    }

    /// The backends that the splits name, by [`BackendId`].
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// What was left out, perhaps on purpose: Gateways for other gateways, VirtualServices of none, and what is not exported
    /// to the gateway's namespace.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What is doubtful: names that lead nowhere, and each destination that some request can come to and that cannot be
    /// served as the documents stand.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        let targets = self.splits().flat_map(|(_, split)| split.targets());
        let mirrors = self.rules.iter().flat_map(|rule| &rule.mirrors);
        let shadows = self.rules.iter().filter_map(|rule| Some(&rule.policy.as_ref()?.shadow.as_ref()?.target));
        let mirrors = mirrors.chain(shadows).map(|mirror| &mirror.warning);
        let of_destinations = targets.map(|target| &target.warning).chain(mirrors);
        let of_destinations = of_destinations.flatten().map(Box::as_ref);
        let mut told = HashSet::new();
        self.references.iter().chain(of_destinations).filter(move |warning| told.insert(*warning))
    }

    /// Why requests for the host may find no rule.
    pub(crate) fn unserved(&self, host: &str) -> impl Iterator<Item = String> {
        let about_hosts = |warning: &&Warning| !matches!(warning.kind, "DestinationRule" | "SplitPolicy");
        let warnings = self.references.iter().filter(about_hosts);
        let of_host = move |notice: &&Notice| notice.hosts.iter().any(|pattern| pattern.matches(host));
        let notices = self.notices.iter().filter(of_host).map(|notice| format!("{notice}; {}", notice.advice));
        notices.chain(warnings.map(ToString::to_string))
    }

    /// Who may pick a version of a request's host.
    pub(crate) fn pinning(&self, request: &RequestHead<'_>) -> impl Iterator<Item = &Override> {
        let table = self.listeners.table(request.port, request.transport);
        table.and_then(|table| table.find(request.authority)).into_iter().flat_map(VirtualHost::pinning)
    }

    /// The rules that some request can reach, once each however many hosts and ports lead to them.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Their splits, each with its rule.
    pub fn splits(&self) -> impl Iterator<Item = (&Origin, &Split)> {
        self.rules.iter().filter_map(|rule| match &rule.action {
            RuleAction::Forward(split) => Some((&rule.origin, split)),
            RuleAction::Redirect(_) | RuleAction::DirectResponse(_) => None,
        })
    }

    /// Every rule's weight for each of its backends, each pair once: what a gauge is set to.
    pub fn weights(&self) -> &[BackendWeight] {
        &self.weights
    }
}

fn weights(router: &Router) -> Vec<BackendWeight> {
    let (mut weights, mut route, mut targets) = (Vec::new(), String::new(), Vec::new());
    // A rule that several delegate to is there as often, with the same weights, and so is one that a port makes another.
    let mut told = HashSet::new();
    for (origin, split) in router.splits() {
        route.clear();
        // Writing to a string does not fail.
        let _ = write!(route, "{origin}");
        targets.clear();
        targets.extend(split.targets().iter().filter(|target| !told.contains(&(route.clone(), target.name.as_str()))));
        targets.sort_by_key(|target| target.name.as_str());
        told.extend(targets.iter().map(|target| (route.clone(), target.name.as_str())));
        weights.extend(targets.chunk_by(|one, other| one.name == other.name).map(|same| BackendWeight {
            route: route.clone(),
            backend: same[0].name.clone(),
            weight: same.iter().map(|target| u64::from(target.weight)).sum(),
        }));
    }
    weights
}
