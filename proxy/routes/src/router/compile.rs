//! From validated documents to the router. Cannot fail: what is wrong was found by the parser, and what is missing
//! around the documents becomes an answer to the requests that meet it.

use super::header_operations::HeaderChangeList;
use super::hosts::{HostTable, VirtualHost};
use super::listeners::{Listeners, PortTable};
use super::matcher::Matcher;
use super::redirect::CompiledRedirect;
use super::retry::RetryPolicy;
use super::rewrite::CompiledRewrite;
use super::services::{Services, age_order};
use super::split::{Split, Target};
use super::{Origin, Route, Router, Rule, RuleAction, TlsServer};
use crate::documents::{
    Action, Document, Forward, Gateway, GatewayRef, HeaderChanges, HostPattern, HttpRule, Match, NamespaceScope,
    PathRewrite, Server, ServerTransport, VirtualService, WeightedDestination,
};
use http::HeaderValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the gateway is, as documents see it.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Compared with `Gateway.selector` and `sourceLabels`.
    pub labels: BTreeMap<String, String>,
    /// Compared with `sourceNamespace`; DestinationRules in it come first.
    pub namespace: String,
}

impl Identity {
    fn carries(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// Compiles all documents of a routes file.
pub fn compile(documents: &[Document], identity: &Identity) -> Router {
    let mut compiler = Compiler {
        identity,
        services: Services::new(documents, &identity.namespace),
        virtual_services: sorted(documents, |document| match document {
            Document::VirtualService(virtual_service) => Some(virtual_service),
            _ => None,
        }),
        notices: Vec::new(),
    };
    let gateways: Vec<&Gateway> = sorted(documents, |document| match document {
        Document::Gateway(gateway) => Some(gateway),
        _ => None,
    });
    let listeners = if gateways.is_empty() { compiler.whole() } else { compiler.by_port(&gateways) };
    Router { listeners, notices: compiler.notices, backends: compiler.services.into_backends() }
}

fn sorted<'d, T: HasMetadata>(documents: &'d [Document], select: impl Fn(&'d Document) -> Option<&'d T>) -> Vec<&'d T> {
    let mut selected: Vec<&T> = documents.iter().filter_map(select).collect();
    selected.sort_by_key(|document| age_order(document.metadata()));
    selected
}

trait HasMetadata {
    fn metadata(&self) -> &crate::documents::Metadata;
}

impl HasMetadata for Gateway {
    fn metadata(&self) -> &crate::documents::Metadata {
        &self.metadata
    }
}

impl HasMetadata for VirtualService {
    fn metadata(&self) -> &crate::documents::Metadata {
        &self.metadata
    }
}

struct Compiler<'d> {
    identity: &'d Identity,
    services: Services<'d>,
    /// Oldest first.
    virtual_services: Vec<&'d VirtualService>,
    notices: Vec<String>,
}

/// The hosts of one listener while they are collected: for each the VirtualServices that serve it, oldest first.
type HostPlan<'d> = BTreeMap<HostPattern, Vec<(&'d VirtualService, Binding<'d>)>>;

/// Through which Gateway a VirtualService is served; none where no Gateway document exists.
type Binding<'d> = Option<&'d Gateway>;

impl<'d> Compiler<'d> {
    /// Without a Gateway document every VirtualService is served, whichever Gateways it names.
    fn whole(&mut self) -> Listeners {
        let mut plan = HostPlan::new();
        for virtual_service in &self.virtual_services {
            for host in &virtual_service.hosts {
                plan.entry(host.clone()).or_default().push((virtual_service, None));
            }
        }
        Listeners::Whole(self.host_table(plan, None, false))
    }

    fn by_port(&mut self, gateways: &[&'d Gateway]) -> Listeners {
        let mut ports: BTreeMap<u16, PortTable> = BTreeMap::new();
        let mut plain: BTreeMap<u16, Vec<(&Gateway, &Server)>> = BTreeMap::new();
        for gateway in gateways {
            if !self.identity.carries(&gateway.selector) {
                let name = format!("{}/{}", gateway.metadata.namespace, gateway.metadata.name);
                self.notices.push(format!("Gateway {name} selects other labels than this gateway has: left out"));
                continue;
            }
            for server in &gateway.servers {
                match &server.transport {
                    ServerTransport::Plain { .. } => plain.entry(server.port).or_default().push((gateway, server)),
                    ServerTransport::Tls { .. } => {
                        let server = self.tls_server(gateway, server);
                        ports.entry(server.0).or_default().tls.push(server.1);
                    }
                }
            }
        }
        for (port, servers) in plain {
            ports.entry(port).or_default().plain = Some(self.plain_table(port, &servers));
        }
        self.note_unbound(gateways);
        Listeners::ByPort(ports)
    }

    fn tls_server(&mut self, gateway: &'d Gateway, server: &'d Server) -> (u16, TlsServer) {
        let ServerTransport::Tls { credential, client_auth, min_version, max_version } = &server.transport else {
            unreachable!("called for TLS servers only");
        };
        let mut plan = HostPlan::new();
        self.plan_server(&mut plan, gateway, server);
        let compiled = TlsServer {
            hosts: server.hosts.iter().map(|host| host.host.clone()).collect(),
            credential: credential.clone(),
            client_auth: *client_auth,
            min_version: *min_version,
            max_version: *max_version,
            table: self.host_table(plan, Some(server.port), false),
        };
        (server.port, compiled)
    }

    fn plain_table(&mut self, port: u16, servers: &[(&'d Gateway, &'d Server)]) -> HostTable {
        let (mut plan, mut redirected) = (HostPlan::new(), HostPlan::new());
        for (gateway, server) in servers {
            let https_redirect = matches!(server.transport, ServerTransport::Plain { https_redirect: true });
            self.plan_server(if https_redirect { &mut redirected } else { &mut plan }, gateway, server);
        }
        let mut table = self.host_table(redirected, Some(port), true);
        self.fill(&mut table, plan, Some(port), false);
        table
    }

    /// Adds the hosts that a server and the VirtualServices bound to its Gateway have in common.
    fn plan_server(&self, plan: &mut HostPlan<'d>, gateway: &'d Gateway, server: &'d Server) {
        for virtual_service in &self.virtual_services {
            if !refers_to(&virtual_service.gateways, gateway) {
                continue;
            }
            for server_host in &server.hosts {
                if !in_scope(&server_host.namespace, gateway, virtual_service) {
                    continue;
                }
                for host in virtual_service.hosts.iter().filter_map(|host| server_host.host.intersect(host)) {
                    let planned = plan.entry(host.clone()).or_default();
                    if !planned.iter().any(|(known, binding)| {
                        std::ptr::eq(*known, *virtual_service) && binding.is_some_and(|b| std::ptr::eq(b, gateway))
                    }) {
                        planned.push((virtual_service, Some(gateway)));
                    }
                }
            }
        }
    }

    fn note_unbound(&mut self, gateways: &[&Gateway]) {
        for virtual_service in &self.virtual_services {
            let bound = gateways.iter().any(|gateway| refers_to(&virtual_service.gateways, gateway));
            if !bound {
                let metadata = &virtual_service.metadata;
                let name = format!("{}/{}", metadata.namespace, metadata.name);
                self.notices.push(format!("VirtualService {name} names none of the Gateways here: not served"));
            }
        }
    }

    /// `port` is known where Gateway documents name one; else each request brings its own.
    fn host_table(&mut self, plan: HostPlan<'d>, port: Option<u16>, https_redirect: bool) -> HostTable {
        let mut table = HostTable::default();
        self.fill(&mut table, plan, port, https_redirect);
        table
    }

    fn fill(&mut self, table: &mut HostTable, plan: HostPlan<'d>, port: Option<u16>, https_redirect: bool) {
        for (host, virtual_services) in plan {
            let several = virtual_services.len() > 1;
            let mut routes: Vec<Route> =
                virtual_services.iter().flat_map(|(vs, via)| self.routes(vs, *via, port)).collect();
            if several {
                // The sort is stable: only the catch-alls move, behind everything else.
                routes.sort_by_key(|route| route.matcher.is_catch_all());
            }
            table.insert(&host, VirtualHost { https_redirect, routes });
        }
    }

    /// The routes of one VirtualService; what comes after a catch-all can never match and is left out, as in Istio.
    fn routes(&mut self, virtual_service: &VirtualService, via: Binding<'_>, port: Option<u16>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (index, http) in virtual_service.http.iter().enumerate() {
            let rule = Arc::new(self.rule(virtual_service, index, http));
            let path_rewrite = match &http.action {
                Action::Forward(forward) => forward.rewrite.path.clone(),
                Action::Redirect(_) | Action::DirectResponse(_) => None,
            };
            let everything = [Match::default()];
            let entries = if http.matches.is_empty() { &everything[..] } else { &http.matches[..] };
            for entry in entries.iter().filter(|entry| self.applies_here(entry, via, port)) {
                let matcher = Matcher::compile(entry, port);
                let last = matcher.is_catch_all();
                let rewrite = CompiledRewrite::new(path_rewrite.clone(), prefix_len(path_rewrite.as_ref(), &matcher));
                routes.push(Route { matcher, rewrite, rule: Arc::clone(&rule) });
                if last {
                    return routes;
                }
            }
        }
        routes
    }

    /// Decides the conditions of a match that are about the gateway and not about the request.
    fn applies_here(&self, entry: &Match, via: Binding<'_>, port: Option<u16>) -> bool {
        let here = port.is_none() || entry.port.is_none() || entry.port == port;
        here && self.identity.carries(&entry.source_labels)
            && entry.source_namespace.as_ref().is_none_or(|namespace| *namespace == self.identity.namespace)
            && match via {
                Some(gateway) => entry.gateways.is_empty() || refers_to(&entry.gateways, gateway),
                None => entry.gateways.is_empty() || entry.gateways.iter().any(|gateway| *gateway != GatewayRef::Mesh),
            }
    }

    fn rule(&mut self, virtual_service: &VirtualService, index: usize, http: &HttpRule) -> Rule {
        let metadata = &virtual_service.metadata;
        Rule {
            origin: Origin {
                namespace: metadata.namespace.clone(),
                virtual_service: metadata.name.clone(),
                http: index,
                name: http.name.clone(),
            },
            action: match &http.action {
                Action::Forward(forward) => RuleAction::Forward(self.split(http, forward, &metadata.namespace)),
                Action::Redirect(redirect) => RuleAction::Redirect(CompiledRedirect::new(redirect.clone())),
                Action::DirectResponse(response) => RuleAction::DirectResponse(response.clone()),
            },
            timeout: http.timeout,
            retry: RetryPolicy::compile(http.retries.as_ref()),
            local_response_headers: HeaderChangeList::merged(&http.headers.response, &HeaderChanges::default()),
        }
    }

    fn split(&mut self, http: &HttpRule, forward: &Forward, namespace: &str) -> Split {
        let destinations = forward.destinations.as_slice();
        let combine = if destinations.len() == 1 { HeaderChangeList::merged } else { HeaderChangeList::layered };
        let targets = destinations.iter().map(|weighted| {
            let (host, backend) = self.services.resolve(&weighted.destination, namespace);
            Target {
                backend,
                host,
                weight: weighted.weight,
                authority: authority(http, forward, weighted),
                request_headers: combine(&http.headers.request, &weighted.headers.request),
                response_headers: combine(&http.headers.response, &weighted.headers.response),
            }
        });
        Split::new(targets.collect())
    }
}

/// The Host to send: the rule's rewrite, else what its header operations set, else what the destination's set. Sent as it
/// is written: Istio expands no format in it.
fn authority(http: &HttpRule, forward: &Forward, weighted: &WeightedDestination) -> Option<HeaderValue> {
    let set = || http.headers.request.authority.as_ref().or(weighted.headers.request.authority.as_ref());
    let authority = match &forward.rewrite.authority {
        Some(rewritten) => rewritten.as_str(),
        None => set()?.source(),
    };
    HeaderValue::from_str(authority).ok().filter(|value| !value.is_empty())
}

/// How much of the path the new one replaces.
fn prefix_len(rewrite: Option<&PathRewrite>, matcher: &Matcher) -> usize {
    match rewrite {
        Some(PathRewrite::Matched(_)) => matcher.path_prefix_len(),
        Some(PathRewrite::Regex(_)) | None => 0,
    }
}

fn refers_to(references: &[GatewayRef], gateway: &Gateway) -> bool {
    references.iter().any(|reference| match reference {
        GatewayRef::Mesh => false,
        GatewayRef::Named { namespace, name } => {
            *namespace == gateway.metadata.namespace && *name == gateway.metadata.name
        }
    })
}

fn in_scope(scope: &NamespaceScope, gateway: &Gateway, virtual_service: &VirtualService) -> bool {
    match scope {
        NamespaceScope::Any => true,
        NamespaceScope::Own => virtual_service.metadata.namespace == gateway.metadata.namespace,
        NamespaceScope::Named(namespace) => virtual_service.metadata.namespace == *namespace,
    }
}
