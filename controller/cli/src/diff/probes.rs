//! The requests that the conditions of documents name. Each condition is met once; what a condition leaves open stays
//! at its plainest (GET, no headers), so that a probe shows the effect of that condition alone.

use super::sample;
use std::collections::BTreeSet;
use std::fmt;
use turnout_routes::documents::{
    Action, Document, HeaderSelector, HttpRule, Match, ServerTransport, ValueMatch, VirtualService,
};
use turnout_routes::explain::Inquiry;
use turnout_routes::router::{Delegates, full_hosts};

/// A port of a Gateway, and whether it is for TLS. Without Gateway documents all ports are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    number: u16,
    is_tls: bool,
}

const ANY_PORT: Port = Port { number: 80, is_tls: false };

/// A request that is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Probe {
    port: Port,
    host: String,
    path: String,
    query: Vec<String>,
    method: String,
    headers: Vec<String>,
}

/// The probes of one or several sets of documents, each once.
#[derive(Default)]
pub(super) struct Probes {
    pub(super) probes: BTreeSet<Probe>,
    /// The conditions that no text was found for, each with its place.
    pub(super) not_probed: Vec<String>,
}

impl Probes {
    /// Adds the probes of one set of documents, as a gateway in the namespace has it.
    pub(super) fn add(&mut self, documents: &[Document], namespace: &str) {
        let services = documents.iter().filter_map(|document| match document {
            Document::VirtualService(service) => Some(service),
            _ => None,
        });
        let delegates = Delegates::new(services.clone());
        for service in services.filter(|service| service.export_to.reaches(namespace)) {
            for port in ports(documents, service) {
                self.add_service(&delegates, service, port);
            }
        }
    }

    fn add_service(&mut self, delegates: &Delegates<'_>, service: &VirtualService, port: Port) {
        // A short host is served as it is written without a Gateway, and in full at one.
        let hosts: BTreeSet<_> = service.hosts.iter().chain(&full_hosts(service)).map(sample::host).collect();
        for host in hosts {
            let root = Probe::root(port, host);
            for (rule, http) in service.http.iter().enumerate() {
                let met = self.add_rule((service, rule, http), &root);
                let Action::Delegate(delegate) = &http.action else { continue };
                if let Ok(target) = delegates.target(&service.metadata.namespace, delegate) {
                    let rules = target.http.iter().enumerate();
                    for ((rule, http), root) in rules.flat_map(|rule| met.iter().map(move |root| (rule, root))) {
                        self.add_rule((target, rule, http), root);
                    }
                }
            }
            self.probes.insert(root);
        }
    }

    /// Gives the probes that meet the rule.
    fn add_rule(&mut self, (service, rule, http): (&VirtualService, usize, &HttpRule), root: &Probe) -> Vec<Probe> {
        let metadata = &service.metadata;
        let mut met = Vec::new();
        for (index, condition) in http.matches.iter().enumerate() {
            let place = format!("{}/{} spec.http[{rule}].match[{index}]", metadata.namespace, metadata.name);
            met.extend(self.add_match(condition, root, &place));
        }
        if http.matches.is_empty() { vec![root.clone()] } else { met }
    }

    /// Gives the probes that meet the whole of it.
    fn add_match(&mut self, condition: &Match, root: &Probe, place: &str) -> Vec<Probe> {
        if condition.port.is_some_and(|port| port != root.port.number) {
            return Vec::new();
        }
        let mut probes = vec![root.clone()];
        if let Some(uri) = &condition.uri {
            let paths = self.found(sample::texts(uri), place, "uri");
            let paths = paths.into_iter().filter(|path| path.starts_with('/'));
            probes = paths.map(|path| Probe { path, ..root.clone() }).collect();
            self.probes.extend(probes.iter().cloned());
        }
        for (name, (selector, value)) in &condition.without_headers {
            for value in self.found(sample::values(value), place, &format!("withoutHeaders.{name}")) {
                let with = probes.iter().map(|probe| probe.with_header(selector, &value));
                self.probes.extend(with.collect::<Vec<_>>());
            }
        }
        let mut vary = |texts: Vec<String>, field: &str, change: &dyn Fn(&Probe, &str) -> Probe| {
            let texts = self.found(texts, place, field);
            let changed = |probe: &Probe| texts.iter().map(|text| change(probe, text)).collect::<Vec<_>>();
            probes = probes.iter().flat_map(changed).collect();
        };
        if let Some(ValueMatch::Value(method)) = &condition.method {
            let set = |probe: &Probe, method: &str| Probe { method: method.to_owned(), ..probe.clone() };
            vary(sample::texts(method), "method", &set);
        }
        if let Some(ValueMatch::Value(authority)) = &condition.authority {
            let set = |probe: &Probe, authority: &str| Probe { host: authority.to_owned(), ..probe.clone() };
            vary(sample::texts(authority), "authority", &set);
        }
        for (name, (selector, value)) in &condition.headers {
            vary(sample::values(value), &format!("headers.{name}"), &|probe, value| probe.with_header(selector, value));
        }
        for (name, value) in &condition.query_params {
            let set = |probe: &Probe, value: &str| probe.with_parameter(name, value);
            vary(sample::values(value), &format!("queryParams.{name}"), &set);
        }
        self.probes.extend(probes.iter().cloned());
        probes
    }

    /// The texts for a condition, remembering it if there is none.
    fn found(&mut self, texts: Vec<String>, place: &str, field: &str) -> Vec<String> {
        let condition = format!("{place}.{field}");
        if texts.is_empty() && !self.not_probed.contains(&condition) {
            self.not_probed.push(condition);
        }
        texts
    }
}

/// The ports of the Gateways that serve it; without Gateway documents, any.
fn ports(documents: &[Document], service: &VirtualService) -> BTreeSet<Port> {
    let mut gateways = documents
        .iter()
        .filter_map(|document| match document {
            Document::Gateway(gateway) => Some(gateway),
            _ => None,
        })
        .peekable();
    if gateways.peek().is_none() {
        return BTreeSet::from([ANY_PORT]);
    }
    gateways
        .filter(|gateway| gateway.is_among(&service.gateways))
        .flat_map(|gateway| &gateway.servers)
        .map(|server| {
            let is_tls = matches!(server.transport, ServerTransport::Tls { .. });
            Port { number: server.port, is_tls }
        })
        .collect()
}

impl Probe {
    fn root(port: Port, host: String) -> Self {
        let (path, method) = ("/".to_owned(), "GET".to_owned());
        Self { port, host, path, query: Vec::new(), method, headers: Vec::new() }
    }

    fn with_header(&self, selector: &HeaderSelector, value: &str) -> Self {
        let mut probe = self.clone();
        match selector {
            HeaderSelector::Authority => value.clone_into(&mut probe.host),
            HeaderSelector::Name(name) => probe.headers.push(format!("{name}: {value}")),
        }
        probe
    }

    fn with_parameter(&self, name: &str, value: &str) -> Self {
        let mut probe = self.clone();
        probe.query.push(format!("{name}={value}"));
        probe
    }

    fn url(&self) -> String {
        let scheme = if self.port.is_tls { "https" } else { "http" };
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query.join("&")) };
        format!("{scheme}://{}{}{query}", self.host, self.path)
    }

    /// The inquiry; none if its texts make no request, as a path with a space.
    pub(super) fn inquiry(&self) -> Option<Inquiry> {
        let headers = self.headers.iter().map(String::as_str);
        let inquiry = Inquiry::new(&self.method, &self.url(), headers).ok()?;
        Some(inquiry.on_port(self.port.number))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url())?;
        let default = if self.port.is_tls { 443 } else { 80 };
        if self.port.number != default {
            write!(f, " on port {}", self.port.number)?;
        }
        self.headers.iter().try_for_each(|header| write!(f, " -H '{header}'"))
    }
}
