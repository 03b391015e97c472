//! From validated documents to the router: which hosts each listener serves, and by which VirtualServices. Cannot fail:
//! what is wrong was found by the parser, and what is missing around the documents becomes an answer to the requests that
//! meet it.

mod delegation;
mod idle_rules;
mod merged_matches;
mod policies;
mod references;
mod rule_policy;
mod rules;

use super::backend::Backend;
use super::hosts::{HostTable, VirtualHost};
use super::identity::Identity;
use super::listeners::{Listeners, PortTable, TlsServer};
use super::rule::Rule;
use super::service_entries::ServiceEntries;
use super::warning::{Notice, Warning};
use crate::documents::{
    Document, Gateway, HostPattern, NamespaceScope, Server, ServerHost, ServerTransport, VirtualService,
};
use delegation::Placement;
pub use delegation::{Act, Hosted, Placed, full_hosts};
use references::Told;
use rules::{RuleCompiler, Served};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a router is made of.
pub(super) struct Compiled {
    pub(super) listeners: Listeners,
    /// Those that some request can reach.
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) backends: Vec<Backend>,
    /// Names that lead nowhere.
    pub(super) warnings: Vec<Warning>,
    pub(super) notices: Vec<Notice>,
}

/// Compiles all documents of a routes file.
pub(super) fn compile(documents: &[Document], identity: &Identity) -> Compiled {
    let own_namespace = identity.namespace.as_str();
    let (gateways, virtual_services) = in_order(documents, own_namespace);
    let own: Vec<&Gateway> = gateways.iter().copied().filter(|it| identity.carries(&it.selector)).collect();
    let is_bound = |it: &VirtualService| gateways.is_empty() || own.iter().any(|one| one.is_among(&it.gateways));
    let is_seen = |it: &VirtualService| it.hosts.is_empty() || it.export_to.reaches(own_namespace);
    let Placement { hosted, warnings: left_out, notices: of_delegates } =
        delegation::place(&virtual_services, |it| is_seen(it) && is_bound(it));
    let seen: Vec<&VirtualService> = virtual_services.into_iter().filter(|it| is_seen(it)).collect();
    let Told { mut warnings, mut notices } = references::check(&gateways, &seen, identity);
    let entries = ServiceEntries::new(documents, own_namespace);
    warnings.extend(idle_rules::check(documents, &entries, own_namespace));
    warnings.extend(left_out);
    let hidden = documents.iter().filter_map(|it| Notice::hidden(it, own_namespace, &entries));
    notices.extend(hidden.chain(of_delegates));
    let rules = RuleCompiler::new(documents, identity);
    let mut compiler = Compiler { identity, hosted: &hosted, rules };
    let listeners = if gateways.is_empty() { compiler.whole() } else { compiler.by_port(&gateways) };
    let (rules, backends, of_policies) = compiler.rules.finish();
    warnings.extend(of_policies);
    Compiled { listeners, rules, backends, warnings, notices }
}

/// The VirtualServices with hosts that gateways of a namespace may serve, whatever their labels are, with their rules.
pub fn hosted<'d>(documents: &'d [Document], namespace: &str) -> Vec<Hosted<'d>> {
    let (gateways, virtual_services) = in_order(documents, namespace);
    let is_bound = |it: &VirtualService| gateways.is_empty() || gateways.iter().any(|one| one.is_among(&it.gateways));
    delegation::place(&virtual_services, |it| it.export_to.reaches(namespace) && is_bound(it)).hosted
}

/// The Gateways and the VirtualServices, each in the order in which they count.
fn in_order<'d>(documents: &'d [Document], own_namespace: &str) -> (Vec<&'d Gateway>, Vec<&'d VirtualService>) {
    let (mut gateways, mut virtual_services) = (Vec::new(), Vec::new());
    for document in documents {
        match document {
            Document::Gateway(gateway) => gateways.push(gateway),
            Document::VirtualService(virtual_service) => virtual_services.push(virtual_service),
            Document::DestinationRule(_) | Document::ServiceEntry(_) | Document::SplitPolicy(_) => {}
        }
    }
    gateways.sort_by_key(|gateway| gateway.metadata.age_order());
    virtual_services.sort_by_key(|it| (export_order(it, own_namespace), it.metadata.age_order()));
    (gateways, virtual_services)
}

/// As in Istio, what is for fewer namespaces goes first: for its own alone, then for some.
fn export_order(document: &VirtualService, own_namespace: &str) -> u8 {
    match document.metadata.namespace == own_namespace {
        _ if document.export_to.is_everywhere() => 2,
        true => 0,
        false => 1,
    }
}

struct Compiler<'d> {
    identity: &'d Identity,
    /// The VirtualServices in the order in which they count: for fewer namespaces first, then older.
    hosted: &'d [Hosted<'d>],
    rules: RuleCompiler<'d>,
}

/// The hosts of one listener while they are collected.
type HostPlan<'d> = BTreeMap<HostPattern, PlannedHost<'d>>;

#[derive(Default)]
struct PlannedHost<'d> {
    https_redirect: bool,
    /// In the order in which they count.
    served: Vec<Served<'d>>,
}

impl<'d> Compiler<'d> {
    /// Without a Gateway document every VirtualService is served, whichever Gateways it names, and a short host as it is
    /// written, too.
    fn whole(&mut self) -> Listeners {
        let mut plan = HostPlan::new();
        for (number, service) in self.hosted.iter().enumerate() {
            let hosts: BTreeSet<&HostPattern> = service.document.hosts.iter().chain(&service.hosts).collect();
            for host in hosts {
                plan.entry(host.clone()).or_default().served.push(Served { number, service, via: None });
            }
        }
        Listeners::Whole(self.host_table(plan, None))
    }

    fn by_port(&mut self, gateways: &[&'d Gateway]) -> Listeners {
        let mut ports: BTreeMap<u16, PortTable> = BTreeMap::new();
        let mut plain: BTreeMap<u16, HostPlan<'d>> = BTreeMap::new();
        for (number, gateway) in gateways.iter().enumerate() {
            if !self.identity.carries(&gateway.selector) {
                continue;
            }
            for server in &gateway.servers {
                match &server.transport {
                    ServerTransport::Plain { https_redirect } => {
                        let plan = plain.entry(server.port).or_default();
                        self.plan_server(plan, (number, gateway), server, *https_redirect);
                    }
                    ServerTransport::Unserved { .. } if server.is_for_tls() => {
                        ports.entry(server.port).or_default().turn_away(&server.hosts);
                    }
                    ServerTransport::Unserved { .. } => {}
                    ServerTransport::Tls { credential, client_auth, min_version, max_version, cipher_suites } => {
                        let mut plan = HostPlan::new();
                        self.plan_server(&mut plan, (number, gateway), server, false);
                        ports.entry(server.port).or_default().add_tls(TlsServer {
                            hosts: server.hosts.iter().map(|host| host.host.clone()).collect(),
                            credential: credential.clone(),
                            client_auth: *client_auth,
                            min_version: *min_version,
                            max_version: *max_version,
                            cipher_suites: cipher_suites.clone(),
                            table: self.host_table(plan, Some(server.port)),
                        });
                    }
                }
            }
        }
        for (port, plan) in plain {
            ports.entry(port).or_default().plain = Some(self.host_table(plan, Some(port)));
        }
        Listeners::ByPort(ports)
    }

    /// Adds the hosts that a server and the VirtualServices bound to its Gateway have in common. A VirtualService whose
    /// rules are all for other ports, Gateways or sources adds none, so that a wider host may serve the requests, as in
    /// Istio. A redirect to HTTPS is for all hosts of its server, whatever another server says of them, and without a
    /// namespace before them routes or none (observed on Istio).
    fn plan_server(
        &mut self,
        plan: &mut HostPlan<'d>,
        via: (usize, &'d Gateway),
        server: &'d Server,
        https_redirect: bool,
    ) {
        let gateway = via.1;
        for (number, service) in self.hosted.iter().enumerate() {
            let document = service.document;
            if !gateway.is_among(&document.gateways) {
                continue;
            }
            let own = server.hosts.iter().filter(|host| in_scope(&host.namespace, gateway, document));
            let in_common = |own: &'d ServerHost| service.hosts.iter().filter_map(|host| own.host.intersect(host));
            let hosts: Vec<&HostPattern> = own.flat_map(in_common).collect();
            let served = Served { number, service, via: Some(via) };
            if hosts.is_empty() || self.rules.routes(&served, Some(server.port)).is_empty() {
                continue;
            }
            for host in hosts {
                let planned = plan.entry(host.clone()).or_default();
                planned.https_redirect |= https_redirect;
                if !planned.served.iter().any(|known| known.key() == served.key()) {
                    planned.served.push(served);
                }
            }
        }
        // Istio takes a host with a namespace as it is written there, and so no request for it.
        for host in server.hosts.iter().filter(|host| https_redirect && host.namespace == NamespaceScope::Any) {
            plan.entry(host.host.clone()).or_default().https_redirect = true;
        }
    }

    /// `port` is known where Gateway documents name one; else each request brings its own.
    fn host_table(&mut self, plan: HostPlan<'d>, port: Option<u16>) -> HostTable {
        let mut table = HostTable::default();
        for (host, PlannedHost { https_redirect, served }) in plan {
            let routes = served.iter().map(|served| self.rules.routes(served, port));
            let services: Vec<_> = routes.filter(|routes| !routes.is_empty()).collect();
            if services.is_empty() && !https_redirect {
                // As in Istio, a wider host may take it.
                continue;
            }
            table.entry(host, || VirtualHost { https_redirect, services });
        }
        table
    }
}

fn in_scope(scope: &NamespaceScope, gateway: &Gateway, virtual_service: &VirtualService) -> bool {
    match scope {
        NamespaceScope::Any => true,
        NamespaceScope::Own => virtual_service.metadata.namespace == gateway.metadata.namespace,
        NamespaceScope::Named(namespace) => virtual_service.metadata.namespace == *namespace,
    }
}
