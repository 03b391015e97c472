//! What Istio's gateway does with one request, read off the documents anew for each: slow and plain, in the order in which
//! istiod builds Envoy's tables (`buildGatewayHTTPRouteConfig`, `BuildHTTPRoutesForVirtualService`) and Envoy walks them.
//! It shares no code with the router and reads the documents with another YAML reader, so that what both say is not one
//! misunderstanding.

mod delegation;
mod destination;
mod exports;
mod headers;
mod matching;
mod path;

use super::cases::Request;
use delegation::{Rule, VirtualService};
pub(crate) use destination::{Place, Reach};
pub(crate) use headers::Lines;
use matching::Asked;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The gateway that is asked: its labels, and its namespace, which is Istio's root namespace, too.
pub(crate) const LABELS: [(&str, &str); 1] = [("istio", "ingressgateway")];
pub(crate) const NAMESPACE: &str = "istio-system";
/// Whatever the backend answers has these headers.
pub(crate) const ANSWERED: [(&str, &str); 2] = [("x-a", "backend"), ("x-b", "backend")];

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// 400: the path cannot be normalised.
    BadPath,
    /// 404.
    NoRoute,
    /// By a rule, or because its host is served by TLS alone.
    Redirect {
        rule: Option<String>,
        status: u64,
        location: String,
        response: Lines,
    },
    Direct {
        rule: String,
        status: u64,
        body: String,
        response: Lines,
    },
    /// One of the choices, as often as its weight says.
    Forward {
        rule: String,
        path: String,
        choices: Vec<Choice>,
    },
}

/// One destination, and what a request that goes there becomes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) weight: u64,
    pub(crate) place: Place,
    pub(crate) authority: String,
    pub(crate) request: Lines,
    pub(crate) response: Lines,
}

/// Each kind from the oldest on; of one age by name, then by namespace (`sortConfigByCreationTime`). Of VirtualServices
/// and ServiceEntries only what is exported to the gateway's namespace.
pub(crate) struct Documents {
    gateways: Vec<Value>,
    virtual_services: Vec<VirtualService>,
    destination_rules: Vec<Value>,
    service_entries: Vec<Value>,
}

/// What one host is answered with.
#[derive(Default)]
struct VirtualHost<'d> {
    routes: Vec<Route<'d>>,
    https_only: bool,
}

/// A rule under one of its `match` entries.
#[derive(Clone, Copy)]
struct Route<'d> {
    rule: &'d Rule,
    entry: Option<&'d Value>,
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn namespace(document: &Value) -> &str {
    document["metadata"]["namespace"].as_str().unwrap_or("default")
}

impl Documents {
    pub(crate) fn read(yaml: &str) -> Self {
        let read = |document| Value::deserialize(document).expect("YAML that has the shape of JSON");
        let mut all: Vec<Value> = serde_yaml::Deserializer::from_str(yaml).map(read).collect();
        all.sort_by_key(|document| {
            let metadata = &document["metadata"];
            [text(&metadata["creationTimestamp"]), text(&metadata["name"]), namespace(document)].map(str::to_owned)
        });
        let of =
            |kind: &str| -> Vec<Value> { all.iter().filter(|document| document["kind"] == kind).cloned().collect() };
        let mut service_entries = of("ServiceEntry");
        service_entries.retain(|entry| exports::has(entry, NAMESPACE));
        Self {
            gateways: of("Gateway"),
            virtual_services: delegation::merged(&of("VirtualService")),
            destination_rules: of("DestinationRule"),
            service_entries,
        }
    }

    pub(crate) fn answer(&self, request: &Request) -> Verdict {
        let Some(asked) = Asked::new(request) else { return Verdict::BadPath };
        let hosts = self.virtual_hosts(request.port);
        let Some(host) = most_specific(&hosts, request.authority).filter(|_| asked.path != "*") else {
            return Verdict::NoRoute;
        };
        if host.https_only {
            // `createSslRedirectPath`, which keeps the port.
            let location = format!("https://{}{}", request.authority, asked.path_and_query);
            return Verdict::Redirect { rule: None, status: 301, location, response: Lines::new() };
        }
        // `SortVHostRoutes`
        let (catch_all, narrow): (Vec<&Route<'_>>, Vec<_>) = host.routes.iter().partition(|route| route.is_catch_all());
        let matching = narrow.into_iter().chain(catch_all).find(|route| asked.matches(route.entry));
        matching.map_or(Verdict::NoRoute, |route| self.act(route, &asked))
    }

    fn virtual_hosts(&self, port: u16) -> BTreeMap<String, VirtualHost<'_>> {
        let mut found: BTreeMap<String, VirtualHost<'_>> = BTreeMap::new();
        for (gateway, hosts, redirects) in self.servers(port) {
            let gateway_name = format!("{}/{}", namespace(gateway), text(&gateway["metadata"]["name"]));
            for owner in &self.virtual_services {
                if !has_text(&owner.spec["gateways"], &gateway_name) {
                    continue;
                }
                // A document whose rules are all for others makes no host: a wider one may serve the request.
                let routes = routes(owner, &gateway_name, port);
                let shared = if routes.is_empty() { Vec::new() } else { shared_hosts(&hosts, owner) };
                for host in shared {
                    let host = found.entry(host).or_default();
                    host.routes.extend(&routes);
                    host.https_only |= redirects;
                }
            }
            // The namespace stays in the names of such hosts, and then no request has them.
            for host in hosts.iter().filter(|_| redirects) {
                found.entry(host.clone()).or_default().https_only = true;
            }
        }
        found
    }

    /// The servers of our Gateways on a port, with their hosts and whether they redirect to https (`mergeGateways`, which
    /// drops the second of two that redirect one host; the gateway keeps it).
    fn servers(&self, port: u16) -> Vec<(&Value, Vec<String>, bool)> {
        let mut servers = Vec::new();
        for gateway in &self.gateways {
            if !has_labels(&gateway["spec"]["selector"], |name, value| LABELS.contains(&(name, value))) {
                continue;
            }
            for server in list(&gateway["spec"]["servers"]) {
                if server["port"]["number"] != port {
                    continue;
                }
                let hosts: Vec<String> =
                    list(&server["hosts"]).iter().map(|host| sanitized(text(host), gateway)).collect();
                servers.push((gateway, hosts, server["tls"]["httpsRedirect"] == true));
            }
        }
        servers
    }

    fn act(&self, route: &Route<'_>, asked: &Asked<'_>) -> Verdict {
        let Rule { origin: name, fields: rule, .. } = route.rule;
        let name = name.clone();
        let own_response = |status: u64| {
            let mut response = Lines::new();
            headers::change(&mut response, &[&rule["headers"]["response"]], &asked.lines(), status);
            response
        };
        if let redirect @ Value::Object(_) = &rule["redirect"] {
            let status = redirect["redirectCode"].as_u64().unwrap_or(301);
            let location = asked.redirected(redirect, route.entry);
            return Verdict::Redirect { rule: Some(name), status, location, response: own_response(status) };
        }
        if let direct @ Value::Object(_) = &rule["directResponse"] {
            let status = direct["status"].as_u64().expect("a status");
            let body = text(&direct["body"]["string"]).to_owned();
            return Verdict::Direct { rule: name, status, body, response: own_response(status) };
        }
        let path = path::rewritten(&rule["rewrite"], &asked.path_and_query, asked.matched(route.entry));
        let destinations = list(&rule["route"]);
        let weighted = |part: &&Value| destinations.len() == 1 || part["weight"].as_u64().unwrap_or(0) > 0;
        let choice = |part: &Value| self.choice(route, part, destinations.len() > 1, asked);
        Verdict::Forward { rule: name, path, choices: destinations.iter().filter(weighted).map(choice).collect() }
    }

    /// `is_split`: several destinations stand in the document, whatever their weights.
    fn choice(&self, route: &Route<'_>, part: &Value, is_split: bool, asked: &Asked<'_>) -> Choice {
        let (of_rule, of_part) = (&route.rule.fields["headers"], &part["headers"]);
        let mut request = asked.lines();
        let mut response: Lines = ANSWERED.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        if is_split {
            headers::change(&mut request, &[&of_part["request"]], &[], 0);
            headers::change(&mut request, &[&of_rule["request"]], &[], 0);
            headers::change(&mut response, &[&of_part["response"]], &request, 200);
            headers::change(&mut response, &[&of_rule["response"]], &request, 200);
        } else {
            headers::change(&mut request, &[&of_rule["request"], &of_part["request"]], &[], 0);
            headers::change(&mut response, &[&of_rule["response"], &of_part["response"]], &request, 200);
        }
        let rewritten =
            Some(text(&route.rule.fields["rewrite"]["authority"])).filter(|authority| !authority.is_empty());
        let authority =
            rewritten.or(headers::authority(&of_rule["request"])).or(headers::authority(&of_part["request"]));
        Choice {
            weight: part["weight"].as_u64().unwrap_or(0).max(1),
            place: self.place(&part["destination"], &route.rule.namespace, asked.request.port),
            authority: authority.unwrap_or(asked.request.authority).to_owned(),
            request,
            response,
        }
    }
}

/// All of the labels that are asked for are there.
fn has_labels(asked: &Value, is_there: impl Fn(&str, &str) -> bool) -> bool {
    asked.as_object().is_none_or(|labels| labels.iter().all(|(name, value)| is_there(name, text(value))))
}

/// `sanitizeServerHostNamespace`
fn sanitized(host: &str, gateway: &Value) -> String {
    match host.split_once('/') {
        Some((".", host)) => format!("{}/{host}", namespace(gateway)),
        Some(("*", host)) => host.to_owned(),
        _ => host.to_owned(),
    }
}

fn has_text(texts: &Value, asked: &str) -> bool {
    list(texts).iter().any(|text| text == asked)
}

/// The narrower of each two hosts one of which covers the other (`Names.Intersection`). A short name is one of a service.
fn shared_hosts(hosts: &[String], owner: &VirtualService) -> Vec<String> {
    let covers = |wide: &str, narrow: &str| match wide.strip_prefix('*') {
        Some(suffix) => narrow.ends_with(suffix) && (!narrow.starts_with('*') || narrow.len() >= wide.len()),
        None => wide == narrow,
    };
    let mut shared = Vec::new();
    for host in hosts {
        let host = match host.split_once('/') {
            Some((scope, host)) if scope == owner.namespace => host,
            Some(_) => continue,
            None => host,
        };
        for other in list(&owner.spec["hosts"]) {
            let other = destination::full_name(text(other), &owner.namespace);
            let narrower = if covers(&other, host) { host } else { other.as_str() };
            if (covers(&other, host) || covers(host, &other)) && !shared.iter().any(|known| known == narrower) {
                shared.push(narrower.to_owned());
            }
        }
    }
    shared
}

/// The exact host, else the longest wildcard, else `*`; neither case nor port counts.
fn most_specific<'h, 'd>(hosts: &'h BTreeMap<String, VirtualHost<'d>>, authority: &str) -> Option<&'h VirtualHost<'d>> {
    let asked = authority.to_ascii_lowercase();
    let asked = asked.rsplit_once(':').map_or(asked.as_str(), |(host, _)| host);
    let fits = |host: &&String| match host.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => asked.len() > suffix.len() && asked.ends_with(suffix),
        None => *host == asked,
    };
    let widest_first = hosts.keys().filter(fits).max_by_key(|host| (!host.starts_with('*'), host.len()))?;
    hosts.get(widest_first)
}

/// The routes of a document by one Gateway on one port, up to the first that takes everything.
fn routes<'d>(owner: &'d VirtualService, gateway_name: &str, port: u16) -> Vec<Route<'d>> {
    let mut routes = Vec::new();
    for rule in &owner.rules {
        let route = |entry| Route { rule, entry };
        let entries = list(&rule.fields["match"]);
        let own = entries.iter().filter(|entry| is_for_us(entry, gateway_name, port)).map(|entry| route(Some(entry)));
        let everything = entries.is_empty().then(|| route(None));
        for route in own.chain(everything) {
            routes.push(route);
            if route.is_catch_all() {
                return routes;
            }
        }
    }
    routes
}

/// Where Gateways are named, labels and namespace are not looked at (`sourceMatchHTTP`).
fn is_for_us(entry: &Value, gateway_name: &str, port: u16) -> bool {
    let is_port = entry["port"].as_u64().is_none_or(|number| number == 0 || number == u64::from(port));
    let is_source = if list(&entry["gateways"]).is_empty() {
        let is_namespace = matches!(text(&entry["sourceNamespace"]), "" | NAMESPACE);
        is_namespace && has_labels(&entry["sourceLabels"], |name, value| LABELS.contains(&(name, value)))
    } else {
        has_text(&entry["gateways"], gateway_name)
    };
    is_port && is_source
}

impl Route<'_> {
    /// `IsCatchAllRoute`: also a condition that always holds is a condition.
    fn is_catch_all(&self) -> bool {
        let Some(entry) = self.entry else { return true };
        let is_every_path = match &entry["uri"] {
            Value::Object(uri) if !uri.is_empty() => entry["uri"]["prefix"] == "/" || entry["uri"]["regex"] == ".*",
            _ => true,
        };
        let conditions = ["method", "authority", "scheme"].iter().all(|field| entry[field] == Value::Null);
        let maps = ["headers", "withoutHeaders", "queryParams"];
        is_every_path
            && conditions
            && maps.iter().all(|field| entry[field].as_object().is_none_or(serde_json::Map::is_empty))
    }
}
