//! Names by which Gateways and VirtualServices find one another and that lead nowhere: a Gateway, a label of the gateway, a
//! host of both. Nothing of it is an error: what is named may be another gateway's, in another file, or known to the cluster
//! alone. So a name that is not here is a warning only where another one is that it misspells, or where that other one is
//! left without use. Destinations are looked at where they are resolved.

use super::delegation::full_hosts;
use super::in_scope;
use crate::documents::{
    Gateway, GatewayRef, HostPattern, Metadata, NamespaceScope, Server, ServerHost, VirtualService,
};
use crate::router::identity::Identity;
use crate::router::slip::Slips;
use crate::router::warning::{Notice, Warning, listed};

/// What there is to say.
#[derive(Default)]
pub(super) struct Told {
    pub(super) warnings: Vec<Warning>,
    pub(super) notices: Vec<Notice>,
}

/// Looks at all Gateways and VirtualServices.
pub(super) fn check(gateways: &[&Gateway], virtual_services: &[&VirtualService], identity: &Identity) -> Told {
    let names = gateways.iter().map(|gateway| gateway.metadata.full_name()).collect();
    let mut checker = Checker { gateways, names, identity, slips: Slips::new(), told: Told::default() };
    // Without a Gateway document every VirtualService is served, whichever Gateways it names.
    if !gateways.is_empty() {
        let any_is_ours = gateways.iter().any(|gateway| identity.carries(&gateway.selector));
        for gateway in gateways {
            checker.selector(gateway, any_is_ours);
        }
        let idle = gateways.iter().any(|gateway| {
            let is_own = identity.carries(&gateway.selector) && gateway.servers.iter().any(Server::is_served);
            is_own && !virtual_services.iter().any(|it| gateway.is_among(&it.gateways))
        });
        // Of one without rules for HTTP all has been said.
        for virtual_service in virtual_services.iter().filter(|it| !it.http.is_empty()) {
            checker.gateways(virtual_service, idle);
            checker.hosts(virtual_service);
        }
    }
    checker.told
}

struct Checker<'d> {
    gateways: &'d [&'d Gateway],
    /// Theirs, with their namespaces.
    names: Vec<String>,
    identity: &'d Identity,
    slips: Slips,
    told: Told,
}

impl Checker<'_> {
    /// A Gateway for other labels is another gateway's, unless they are misspelt or this one is left without any.
    fn selector(&mut self, gateway: &Gateway, any_is_ours: bool) {
        let Identity { labels, .. } = self.identity;
        if self.identity.carries(&gateway.selector) {
            return;
        }
        let lacking = gateway.selector.iter().filter(|(key, value)| labels.get(*key) != Some(*value));
        let meant = lacking.clone().find_map(|(key, value)| {
            let written = label((key, value));
            let own: Vec<String> = labels.iter().map(label).collect();
            self.slips.meant(&written, own.iter().map(String::as_str)).map(str::to_owned)
        });
        let reason = format!(
            "left out: this gateway does not have the label {}, only {}",
            listed(lacking.map(label)),
            listed(labels.iter().map(label)),
        );
        match meant {
            Some(meant) => self.warn(gateway, "spec.selector".to_owned(), reason, format!("did you mean {meant}?")),
            None if !any_is_ours => {
                let advice = "select labels that it has, or start it with these".to_owned();
                self.warn(gateway, "spec.selector".to_owned(), reason, advice);
            }
            None => {
                let advice = "select labels that it has".to_owned();
                self.told.notices.push(Notice::new(gateway.named(), reason, advice));
            }
        }
    }

    /// `idle`: a Gateway of this gateway is bound to by nothing.
    fn gateways(&mut self, virtual_service: &VirtualService, idle: bool) {
        let own = &virtual_service.gateways;
        // Without hosts it is bound by those that delegate to it.
        let is_delegate = virtual_service.hosts.is_empty();
        let is_bound = is_delegate || self.gateways.iter().any(|gateway| gateway.is_among(own));
        let mut said = false;
        for (position, reference) in own.iter().enumerate() {
            if let Some((reason, advice)) = self.misspelt_gateway(reference, virtual_service, is_bound) {
                let path = format!("spec.gateways[{position}]");
                let reason = if is_bound { reason } else { format!("not served: {reason}") };
                self.warn(virtual_service, path, reason, advice);
                said = true;
            }
        }
        for (rule, entry, reference) in gateways_of_matches(virtual_service) {
            if own.contains(reference) {
                continue;
            }
            if let Some((reason, advice)) = self.misspelt_gateway(reference, virtual_service, true) {
                let path = format!("spec.http[{rule}].match[{entry}].gateways");
                self.warn(virtual_service, path, format!("never matches: {reason}"), advice);
            }
        }
        if is_bound || said {
            return;
        }
        let known = self.known();
        let reason = match own.as_slice() {
            [] => format!("not served: it names no Gateway; there is {known}"),
            _ => format!("not served: it names none of the Gateways here; there is {known}"),
        };
        if idle && !own.contains(&GatewayRef::Mesh) {
            let path = if own.is_empty() { "spec" } else { "spec.gateways" };
            self.warn(virtual_service, path.to_owned(), reason, "write it under spec.gateways".to_owned());
        } else {
            let advice = "name a Gateway that is there under spec.gateways".to_owned();
            self.told.notices.push(Notice::of_virtual_service(virtual_service, reason, advice));
        }
    }

    /// A Gateway that is not here, beside one that was meant: a slip, or, where the document is bound to no other, the
    /// same name in another namespace.
    fn misspelt_gateway(
        &self,
        reference: &GatewayRef,
        virtual_service: &VirtualService,
        is_bound: bool,
    ) -> Option<(String, String)> {
        let GatewayRef::Named { namespace, name } = reference else { return None };
        if self.gateways.iter().any(|gateway| gateway.is_among(std::slice::from_ref(reference))) {
            return None;
        }
        let written = format!("{namespace}/{name}");
        let names = self.names.iter().map(String::as_str);
        let same_name = |full: &&str| !is_bound && full.split_once('/').is_some_and(|(_, known)| known == name);
        let meant = self.slips.meant(&written, names.clone()).or_else(|| names.clone().find(same_name))?;
        let own_namespace = format!("{}/", virtual_service.metadata.namespace);
        let meant = meant.strip_prefix(&own_namespace).unwrap_or(meant);
        Some((format!("no Gateway {written} is here, only {}", self.known()), format!("did you mean {meant}?")))
    }

    /// A VirtualService is served for the hosts that its Gateways have, too.
    fn hosts(&mut self, virtual_service: &VirtualService) {
        let gateways = self.gateways;
        let bound = gateways.iter().filter(|gateway| gateway.is_among(&virtual_service.gateways));
        let own = bound.filter(|gateway| self.identity.carries(&gateway.selector));
        let open = own.flat_map(|gateway| served_hosts(gateway).map(|it| (*gateway, it)));
        let open: Vec<_> = open.collect();
        let is_served = |host| {
            let mut here = open.iter().filter(|(gateway, open)| in_scope(&open.namespace, gateway, virtual_service));
            here.any(|(_, open)| open.host.intersect(host).is_some())
        };
        let hosts = full_hosts(virtual_service);
        let unserved = hosts.iter().enumerate().filter(|(_, host)| !is_served(host));
        let unserved: Vec<_> = unserved.collect();
        if open.is_empty() || unserved.is_empty() {
            return;
        }
        let known = listed(open.iter().map(|(gateway, open)| match &open.namespace {
            NamespaceScope::Any => open.host.to_string(),
            NamespaceScope::Own => format!("{}/{}", gateway.metadata.namespace, open.host),
            NamespaceScope::Named(namespace) => format!("{namespace}/{}", open.host),
        }));
        let reason = |host| format!("not served for {host}: its Gateways have only {known}");
        let mut said = false;
        for (position, host) in &unserved {
            let names = open.iter().filter_map(|(_, open)| exact(&open.host));
            if let Some(meant) = exact(host).and_then(|host| self.slips.meant(host, names)) {
                let path = format!("spec.hosts[{position}]");
                self.warn(virtual_service, path, reason(host.to_string()), format!("did you mean {meant}?"));
                said = true;
            }
        }
        let none_is_served = unserved.len() == virtual_service.hosts.len();
        if none_is_served && !said && !virtual_service.gateways.contains(&GatewayRef::Mesh) {
            let hosts = listed(unserved.iter().map(|(_, host)| host.to_string()));
            let advice = "write hosts that both have, of a namespace that the Gateway takes".to_owned();
            self.warn(virtual_service, "spec.hosts".to_owned(), reason(hosts), advice);
        }
    }

    fn known(&self) -> String {
        listed(self.names.iter().map(String::as_str))
    }

    fn warn(&mut self, document: &impl Named, path: String, reason: String, advice: String) {
        self.told.warnings.push(Warning::of_document(document.named(), path, reason, advice));
    }
}

/// A document of one kind.
trait Named {
    fn named(&self) -> (&'static str, &Metadata);
}

impl Named for Gateway {
    fn named(&self) -> (&'static str, &Metadata) {
        ("Gateway", &self.metadata)
    }
}

impl Named for VirtualService {
    fn named(&self) -> (&'static str, &Metadata) {
        ("VirtualService", &self.metadata)
    }
}

fn served_hosts(gateway: &Gateway) -> impl Iterator<Item = &ServerHost> {
    gateway.servers.iter().filter(|server| server.is_served()).flat_map(|server| &server.hosts)
}

/// Each with the positions of its rule and its match.
fn gateways_of_matches(virtual_service: &VirtualService) -> impl Iterator<Item = (usize, usize, &GatewayRef)> {
    virtual_service.http.iter().enumerate().flat_map(|(rule, http)| {
        let matches = http.matches.iter().enumerate();
        matches.flat_map(move |(entry, it)| it.gateways.iter().map(move |reference| (rule, entry, reference)))
    })
}

fn exact(host: &HostPattern) -> Option<&str> {
    match host {
        HostPattern::Exact(name) => Some(name),
        HostPattern::Suffix(_) | HostPattern::Any => None,
    }
}

fn label((key, value): (&String, &String)) -> String {
    format!("{key}={value}")
}
