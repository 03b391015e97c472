//! From the rules of VirtualServices to routes. Each rule is compiled once, and the routes of a VirtualService once for
//! each server that serves it, however many hosts it has: all of them share what is made here.

use super::delegation::{Act, Hosted, Placed};
use super::policies::Policies;
use crate::documents::{
    Destination, Destinations, Document, Gateway, GatewayRef, HeaderChanges, HeaderFormat, Match, Override,
    PathRewrite, Rewrite,
};
use crate::router::backend::Backend;
use crate::router::cors::CompiledCors;
use crate::router::header_operations::HeaderChangeList;
use crate::router::hosts::Routes;
use crate::router::identity::Identity;
use crate::router::matcher::Matcher;
use crate::router::mirror::MirrorTarget;
use crate::router::origin::Origin;
use crate::router::redirect::CompiledRedirect;
use crate::router::retry::RetryPolicy;
use crate::router::rewrite::CompiledRewrite;
use crate::router::rule::{Route, Rule, RuleAction};
use crate::router::services::{Resolved, Services};
use crate::router::split::{Replaced, Split, Target};
use crate::router::warning::{Lack, Warning};
use http::HeaderValue;
use http::uri::Authority;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A VirtualService as it is served through one Gateway, or where no Gateway document exists, through none.
#[derive(Clone, Copy)]
pub(super) struct Served<'d> {
    /// Among the VirtualServices.
    pub(super) number: usize,
    pub(super) service: &'d Hosted<'d>,
    /// With its number among the Gateways.
    pub(super) via: Option<(usize, &'d Gateway)>,
}

/// The number of the VirtualService, and that of the Gateway.
type ServedKey = (usize, Option<usize>);

impl Served<'_> {
    pub(super) fn key(&self) -> ServedKey {
        (self.number, self.via.map(|(number, _)| number))
    }
}

/// Compiles rules, and keeps what it has made.
pub(super) struct RuleCompiler<'d> {
    identity: &'d Identity,
    services: Services<'d>,
    pub(super) policies: Policies<'d>,
    /// By VirtualService, position in it, and the port where that makes a difference.
    rules: BTreeMap<(usize, usize, Option<u16>), Arc<Rule>>,
    /// By VirtualService, Gateway and port.
    routes: HashMap<(ServedKey, Option<u16>), Arc<Routes>>,
}

impl<'d> RuleCompiler<'d> {
    pub(super) fn new(documents: &'d [Document], identity: &'d Identity) -> Self {
        let services = Services::new(documents, identity);
        let policies = Policies::new(documents);
        Self { identity, services, policies, rules: BTreeMap::new(), routes: HashMap::new() }
    }

    /// The rules that some route leads to, in the order of their documents, the backends that they name, and what is doubtful
    /// about their policies.
    pub(super) fn finish(self) -> (Vec<Arc<Rule>>, Vec<Backend>, Vec<Warning>) {
        (self.rules.into_values().collect(), self.services.into_backends(), self.policies.into_warnings())
    }

    /// The routes of one VirtualService; what comes after a catch-all can never match and is left out, as in Istio.
    pub(super) fn routes(&mut self, served: &Served<'d>, port: Option<u16>) -> Arc<Routes> {
        let key = (served.key(), port);
        if let Some(known) = self.routes.get(&key) {
            return Arc::clone(known);
        }
        let made = Arc::new(self.make_routes(served, port));
        self.routes.insert(key, Arc::clone(&made));
        made
    }

    fn make_routes(&mut self, served: &Served<'d>, port: Option<u16>) -> Routes {
        let rules = &served.service.rules;
        let pinning = self.pinning(rules);
        let mut routes = Routes { specific: Vec::with_capacity(rules.len()), catch_all: None, pinning };
        let everything = [Match::default()];
        'rules: for (index, placed) in rules.iter().enumerate() {
            let entries = if placed.matches.is_empty() { &everything[..] } else { &placed.matches[..] };
            for entry in entries {
                if !self.applies_here(entry, served.via.map(|(_, gateway)| gateway), port) {
                    continue;
                }
                let matcher = Matcher::compile(entry, port);
                let is_catch_all = matcher.is_catch_all();
                let rewrite = CompiledRewrite::new(path_rewrite(placed), matcher.path_prefix_len());
                let route = Route { matcher, rewrite, rule: self.rule_at((served.number, index), placed, port) };
                if is_catch_all {
                    routes.catch_all = Some(route);
                    break 'rules;
                }
                routes.specific.push(route);
            }
        }
        routes
    }

    /// Who may pick a version by the headers that rules of these match.
    fn pinning(&self, rules: &[Placed<'_>]) -> Vec<Override> {
        let mut pinning: Vec<Override> = Vec::new();
        for own in rules.iter().filter_map(|placed| self.policies.of(&placed.origin)?.1.pinning.as_ref()) {
            if own.from.is_some() && !pinning.contains(own) {
                pinning.push(own.clone());
            }
        }
        pinning
    }

    /// The rule, made once, but where it depends on the port.
    fn rule_at(&mut self, (number, index): (usize, usize), placed: &Placed<'_>, port: Option<u16>) -> Arc<Rule> {
        let port = port.filter(|port| self.depends_on(*port, placed));
        if let Some(known) = self.rules.get(&(number, index, port)) {
            return Arc::clone(known);
        }
        let made = Arc::new(self.rule(placed, port));
        self.rules.insert((number, index, port), Arc::clone(&made));
        made
    }

    /// Whether a destination of the rule is another one because of the port.
    fn depends_on(&self, port: u16, placed: &Placed<'_>) -> bool {
        let Act::Forward { destinations, .. } = placed.act else { return false };
        let is_other =
            |to, origin: &Origin| matches!(self.services.at(Some(port), to, &origin.namespace), Cow::Owned(_));
        let policy = self.policies.of(&placed.origin).map(|(_, policy)| policy);
        let shadow = policy.and_then(|policy| policy.shadow.as_ref()).and_then(|shadow| shadow.to.as_ref());
        let of_policy = policy.and_then(|policy| policy.candidate.as_ref()).into_iter().chain(shadow);
        let of_rule = destinations.as_slice().iter().map(|weighted| &weighted.destination);
        of_rule.chain(of_policy).any(|to| is_other(to, &placed.origin))
            || placed.mirrors.iter().any(|mirror| is_other(&mirror.destination, &placed.mirrors_of))
    }

    pub(super) fn resolve(&mut self, to: &Destination, origin: &Origin, port: Option<u16>) -> Resolved {
        let to = self.services.at(port, to, &origin.namespace);
        self.services.resolve(&to, &origin.namespace)
    }

    /// Decides the conditions of a match that are about the gateway and not about the request. Where Gateways are named,
    /// Istio looks at no labels and at no namespace.
    fn applies_here(&self, entry: &Match, via: Option<&Gateway>, port: Option<u16>) -> bool {
        let here = port.is_none() || entry.port.is_none() || entry.port == port;
        here && match via {
            _ if entry.gateways.is_empty() => {
                let namespace = entry.source_namespace.as_ref();
                self.identity.carries(&entry.source_labels)
                    && namespace.is_none_or(|namespace| *namespace == self.identity.namespace)
            }
            Some(gateway) => gateway.is_among(&entry.gateways),
            None => entry.gateways.iter().any(|gateway| *gateway != GatewayRef::Mesh),
        }
    }

    fn rule(&mut self, placed: &Placed<'_>, port: Option<u16>) -> Rule {
        let mut policy = None;
        let (action, fault, cors, mirrors) = match placed.act {
            Act::Forward { destinations, rewrite, fault } => {
                let mirrors = self.mirrors(placed, port);
                let cors = placed.cors.map(|cors| Box::new(CompiledCors::new(cors)));
                let split = self.split(placed, port, destinations, rewrite);
                policy = self.policy((&placed.origin, port), destinations, &split);
                (RuleAction::Forward(split), fault.cloned(), cors, mirrors)
            }
            Act::Redirect(to) => (RuleAction::Redirect(CompiledRedirect::new(to.clone())), None, None, Vec::new()),
            Act::DirectResponse(answer) => (RuleAction::DirectResponse(answer.clone()), None, None, Vec::new()),
        };
        Rule {
            origin: placed.origin.clone(),
            action,
            timeout: placed.timeout,
            fault,
            cors,
            mirrors,
            policy,
            retry: RetryPolicy::compile(placed.retries),
            local_response_headers: HeaderChangeList::merged(&placed.headers.response, &HeaderChanges::default())
                .for_backend(None),
        }
    }

    fn split(
        &mut self,
        placed: &Placed<'_>,
        port: Option<u16>,
        destinations: &Destinations,
        rewrite: &Rewrite,
    ) -> Split {
        let Placed { origin, headers, .. } = placed;
        let destinations = destinations.as_slice();
        let is_split = destinations.len() > 1;
        let combine = if is_split { HeaderChangeList::layered } else { HeaderChangeList::merged };
        let targets = destinations.iter().enumerate().map(|(position, weighted)| {
            let Resolved { name, backend, lack } = self.resolve(&weighted.destination, origin, port);
            let found = self.services.found(backend);
            let of_rule = authority_of_rule(placed, rewrite);
            let of_target = weighted.headers.request.authority.as_ref().and_then(|set| authority(set.source()));
            let replaced = match (&of_rule, &of_target) {
                (Some(_), Some(own)) if is_split => Replaced::Destinations(own.clone()),
                (None, Some(_)) if is_split => Replaced::Untold,
                _ => Replaced::Clients,
            };
            Target {
                backend,
                name,
                warning: lack
                    .map(|lack| Warning::of_destination(origin, &format!("route[{position}].destination"), lack)),
                weight: weighted.weight,
                authority: of_rule.or(of_target),
                replaced,
                request_headers: combine(&headers.request, &weighted.headers.request).for_backend(found),
                response_headers: combine(&headers.response, &weighted.headers.response).for_backend(found),
            }
        });
        Split::new(targets.collect())
    }

    fn mirrors(&mut self, placed: &Placed<'_>, port: Option<u16>) -> Vec<MirrorTarget> {
        let origin = &placed.mirrors_of;
        let mirrors = placed.mirrors.iter().enumerate().map(|(position, mirror)| {
            let Resolved { name, backend, lack } = self.resolve(&mirror.destination, origin, port);
            // Nobody waits for the answer.
            let lack = lack.map(|lack| Lack { gets_503: false, ..lack });
            let place = format!("mirrors[{position}].destination");
            let warning = lack.map(|lack| Warning::of_destination(origin, &place, lack));
            MirrorTarget { backend, name, warning, percent: mirror.percent }
        });
        mirrors.collect()
    }
}

fn path_rewrite(placed: &Placed<'_>) -> Option<PathRewrite> {
    match placed.act {
        Act::Forward { rewrite, .. } => rewrite.path.clone(),
        Act::Redirect(_) | Act::DirectResponse(_) => None,
    }
}

/// The Host that a rule has sent: its rewrite, else what its header operations set.
fn authority_of_rule(placed: &Placed<'_>, rewrite: &Rewrite) -> Option<HeaderValue> {
    let set = || placed.headers.request.authority.as_ref().map(HeaderFormat::source);
    rewrite.authority.as_ref().map(Authority::as_str).or_else(set).and_then(authority)
}

/// A Host, as it is written: Istio expands no format in it.
fn authority(written: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(written).ok().filter(|value| !value.is_empty())
}
