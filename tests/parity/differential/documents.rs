//! What the second opinion asks of the router, made into what can be asked over sockets: endpoints are echo backends, and
//! rules do more than to decide. What is known to differ on purpose does not come.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::cases::{self, object, of, rarely, sometimes, word};

/// Documents, and what is asked of them.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// YAML with the placeholders of case files.
    pub(crate) documents: String,
    pub(crate) requests: Vec<Asked>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The Gateway's port.
    pub(crate) port: u16,
    /// As in case files.
    pub(crate) send: Value,
}

pub(crate) fn case(requests: usize) -> impl Strategy<Value = Case> {
    let on_top = (
        prop::bool::weighted(0.8),
        vec(more(), 6),
        vec(weighted(0.15, export()), 6),
        vec(weighted(0.2, delegation()), 3),
    );
    (cases::documents(), on_top, vec(request(), 1..=requests)).prop_map(
        |(mut documents, (is_tame, more, exports, delegations), requests)| {
            if is_tame {
                reach(&mut documents);
            }
            let rules = documents.iter_mut().flat_map(rules_of);
            rules.zip(more.iter().cycle()).for_each(|(rule, more)| add(rule, more));
            delegate(&mut documents, &delegations);
            for (document, export) in documents.iter_mut().zip(exports.iter().cycle()) {
                if let (Some(export), true) = (export, document["kind"] != "Gateway") {
                    document["spec"]["exportTo"] = export.clone();
                }
            }
            documents.iter_mut().for_each(serve);
            // A share of what nobody knows goes elsewhere on purpose.
            let hides =
                |document: &Value| document["kind"] == "ServiceEntry" && document["spec"]["exportTo"] != Value::Null;
            if documents.iter().any(hides) {
                let rules = documents.iter_mut().flat_map(rules_of);
                rules.filter_map(|rule| rule.get_mut("route")?.as_array_mut()).for_each(|parts| parts.truncate(1));
            }
            let is_served = |asked: &Asked| documents.iter().any(|document| serves(document, asked.port));
            let requests = requests.into_iter().filter(|asked| is_served(asked) && is_well_formed(asked)).collect();
            let documents: Vec<_> = documents.iter().map(|it| serde_yaml::to_string(it).expect("YAML")).collect();
            Case { documents: documents.join("---\n"), requests }
        },
    )
}

/// Has more requests reach a backend: no Gateway, port or subset is named that is not there, and what matches no rule is
/// forwarded.
fn reach(documents: &mut [Value]) {
    let is_gateway = |document: &&Value| document["kind"] == "Gateway";
    let reference = |name: &Value| format!("{}/{}", text(&name["namespace"]), text(&name["name"]));
    let gateways = documents.iter().filter(is_gateway).map(|gateway| reference(&gateway["metadata"]));
    let gateways: Vec<_> = gateways.collect();
    let rules = documents.iter().filter(|document| document["kind"] == "DestinationRule");
    let subsets: Vec<_> = rules.filter_map(|rule| rule["spec"]["subsets"].as_array()).flatten().collect();
    let subsets: Vec<_> = subsets.into_iter().map(|subset| subset["name"].clone()).collect();
    for document in documents.iter_mut().filter(|document| document["kind"] == "VirtualService") {
        document["spec"]["gateways"] = json!(gateways);
        for part in rules_of(document).filter_map(|rule| rule.get_mut("route")?.as_array_mut()).flatten() {
            let destination = part["destination"].as_object_mut().expect("a destination");
            destination.retain(|field, value| match field.as_str() {
                "port" => value["number"] == 5001,
                "subset" => subsets.contains(value),
                _ => true,
            });
        }
        let rules = document["spec"]["http"].as_array_mut().expect("rules");
        rules.push(json!({"route": [{"destination": {"host": "k.default.svc.cluster.local"}}]}));
    }
}

/// Takes `uri: {}` out of matches that are to be narrowed: Istio takes it for one that goes together with none.
fn ask_something(rule: &mut Value) {
    for entry in rule.get_mut("match").and_then(Value::as_array_mut).into_iter().flatten() {
        entry.as_object_mut().expect("a match").retain(|field, value| field != "uri" || *value != json!({}));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rules_of(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let rules = document["kind"] == "VirtualService";
    let rules = rules.then(|| document["spec"]["http"].as_array_mut()).flatten();
    rules.into_iter().flatten()
}

/// Fields of a rule that the router only passes on.
fn more() -> impl Strategy<Value = Value> {
    let fault = of("[{abort: {httpStatus: 507, percentage: {value: 100}}}, {abort: {httpStatus: 420}},
        {abort: {httpStatus: 418, percentage: {value: 100}}}, {abort: {httpStatus: 503, percentage: {value: 0}}}]");
    let retries = of("[{attempts: 0}, {attempts: 1, retryOn: 5xx}, {attempts: 2, retryOn: '503'},
        {attempts: 2, retryOn: 'gateway-error,connect-failure', perTryTimeout: 9s}, {attempts: 3, perTryTimeout: 8s}]");
    (rarely(fault), sometimes(cors()), sometimes(retries), rarely(of("[10s, 12.5s, 1m]"))).prop_map(
        |(fault, cors, retries, timeout)| {
            object([("fault", fault), ("corsPolicy", cors), ("retries", retries), ("timeout", timeout)])
        },
    )
}

fn cors() -> impl Strategy<Value = Value> {
    let origins =
        of("[[{exact: 'https://a.test'}], [{prefix: 'https://'}], [{regex: '.*'}, {exact: 'x'}], [{exact: '*'}],
        [{regex: 'https://[bc]\\.test'}]]");
    let lists = (
        sometimes(of("[[GET], [GET, POST], ['*']]")),
        sometimes(of("[[x-a], [x-a, X-B], ['*']]")),
        sometimes(of("[[x-a], [x-a, X-B], ['*']]")),
    );
    let more = (rarely(of("[24h, 1m30s]")), sometimes(of("[true, false]")), sometimes(of("[IGNORE, FORWARD]")));
    (origins, lists, more).prop_map(|(origins, (methods, headers, exposed), (age, credentials, unmatched))| {
        object([
            ("allowOrigins", Some(origins)),
            ("allowMethods", methods),
            ("allowHeaders", headers),
            ("exposeHeaders", exposed),
            ("maxAge", age),
            ("allowCredentials", credentials),
            ("unmatchedPreflights", unmatched),
        ])
    })
}

fn export() -> impl Strategy<Value = Value> {
    of("[['*'], ['.'], [istio-system], [default], [other], [default, other]]")
}

fn add(rule: &mut Value, more: &Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        if field != "fault" || rule["route"] != Value::Null {
            rule[field] = value.clone();
        }
    }
}

/// The rule that hands others on, but for its `delegate`, and the namespace of the document that has them.
fn delegation() -> impl Strategy<Value = (Value, &'static str)> {
    let rule = (vec(cases::entry(), 0..=1), rarely(more())).prop_map(|(entries, more)| {
        let mut rule = object([("match", Some(json!(entries)).filter(|_| !entries.is_empty()))]);
        for (field, value) in more.unwrap_or_default().as_object().into_iter().flatten() {
            rule[field] = value.clone();
        }
        rule
    });
    (rule, word("default default other"))
}

/// Takes the first rules of some VirtualServices into documents of their own.
fn delegate(documents: &mut Vec<Value>, delegations: &[Option<(Value, &'static str)>]) {
    let roots = documents.iter_mut().filter(|document| document["kind"] == "VirtualService");
    let mut children = Vec::new();
    for (root, (rule, namespace)) in roots.zip(delegations).filter_map(|(root, it)| Some((root, it.as_ref()?))) {
        let name = format!("of-{}", text(&root["metadata"]["name"]));
        let rules = root["spec"]["http"].as_array_mut().expect("rules");
        let own = rules.split_off(rules.len().div_ceil(2));
        let mut rule = rule.clone();
        rules.iter_mut().chain([&mut rule]).for_each(ask_something);
        rule["delegate"] = json!({"name": name, "namespace": namespace});
        let mut child = root.clone();
        child["metadata"] = json!({"name": name, "namespace": namespace});
        if let Some(Value::Object(spec)) = child.get_mut("spec") {
            spec.retain(|field, _| field == "http");
        }
        root["spec"]["http"] = std::iter::once(rule).chain(own).collect();
        children.push(child);
    }
    documents.extend(children);
}

/// Makes a document one that can be served here, and by both alike.
fn serve(document: &mut Value) {
    match document["kind"].as_str() {
        Some("ServiceEntry") => {
            let host = document["spec"]["hosts"][0].clone();
            // Each has its own at every endpoint.
            let ports = document["spec"]["ports"].as_array_mut().into_iter().flatten();
            let names = ports.filter_map(|port| {
                port.as_object_mut()?.remove("targetPort");
                port["name"].as_str()
            });
            let names: Vec<_> = names.collect();
            let of = |version: &str, backend: &str| {
                let port = |name: &&str| ((*name).to_owned(), format!("${{{backend}_{}}}", name.to_uppercase()).into());
                let ports: Map<String, Value> = names.iter().map(port).collect();
                json!({"address": "127.0.0.1", "labels": {"v": version}, "ports": ports})
            };
            let endpoints = match host.as_str() {
                Some("m.default.svc.cluster.local") => json!([of("1", "GREEN"), of("2", "BLUE")]),
                Some("k.default.svc.cluster.local") => json!([of("1", "RED")]),
                _ => json!([of("2", "GREY")]),
            };
            document["spec"]["endpoints"] = endpoints;
        }
        Some("Gateway") => {
            for server in document["spec"]["servers"].as_array_mut().into_iter().flatten() {
                let is_of_a_namespace = server["hosts"]
                    .as_array()
                    .is_some_and(|hosts| hosts.iter().filter_map(Value::as_str).any(|host| host.contains('/')));
                if is_of_a_namespace {
                    server.as_object_mut().expect("a server").remove("tls");
                }
            }
        }
        _ => rules_of(document).for_each(plain),
    }
}

fn plain(rule: &mut Value) {
    answer_plainly(rule);
    let Some(parts) = rule.get_mut("route").and_then(Value::as_array_mut) else { return };
    let is_split = parts.len() > 1;
    for part in parts {
        answer_plainly(part);
        let destination = &mut part["destination"];
        if destination["port"] == Value::Null {
            destination["port"] = json!({"number": 5001});
        }
        // Others would be looked for in DNS.
        let known = match destination["host"].as_str() {
            Some("nobody" | "k.default") if !is_split => "k",
            Some("nobody" | "k.default" | "k") if is_split => "k.default.svc.cluster.local",
            Some("m") if is_split => "m.default.svc.cluster.local",
            _ => continue,
        };
        destination["host"] = known.into();
    }
}

/// Has headers of answers say nothing of the request.
fn answer_plainly(part: &mut Value) {
    for field in ["/headers/response/set", "/headers/response/add"] {
        for value in part.pointer_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            if value.as_str().is_some_and(|value| value.contains("%REQ(")) {
                *value = "2".into();
            }
        }
    }
}

/// Whether this document has the gateway listen at a port.
fn serves(document: &Value, port: u16) -> bool {
    let selector = &document["spec"]["selector"];
    let selected = selector.get("istio").is_none_or(|label| label == "ingressgateway");
    let servers = document["spec"]["servers"].as_array().into_iter().flatten();
    document["kind"] == "Gateway" && selected && servers.into_iter().any(|server| server["port"]["number"] == port)
}

/// Not what the gateway refuses on purpose: dots behind an escaped slash, or behind one that a rewrite puts before an `a`,
/// escapes behind escapes, and what is no target.
fn is_well_formed(asked: &Asked) -> bool {
    let path = text(&asked.send["path"]);
    !["..%2f", "..%5C", "%%36", "/..a"].iter().any(|hidden| path.contains(hidden)) && !path.starts_with('*')
}

fn request() -> impl Strategy<Value = Asked> {
    let echo = of("[[], [], [], [[x-echo, 'header=x-a:backend; header=X-B:backend']], [[x-echo, 'status=503']],
        [[x-echo, 'status=503; first=1']], [[x-echo, 'status=404; body=gone']], [[x-echo, 'header=access-control-allow-origin:x']]]");
    let origin = sometimes(of(
        "[[[origin, 'https://a.test']], [[origin, 'https://b.test']], [[origin, 'http://a.test']], [[origin, x]]]",
    ));
    let preflight = rarely(of("[[[access-control-request-method, POST]],
        [[access-control-request-method, PUT], [access-control-request-headers, 'x-a,x-c']]]"));
    (cases::request(), echo, origin, preflight, select(vec!["", "abc"])).prop_map(
        |(request, echo, origin, preflight, body)| {
            let mut lines: Vec<Value> = request.headers.iter().map(|(name, value)| json!([name, value])).collect();
            let method = match (&preflight, request.method) {
                (Some(_), _) => "OPTIONS",
                (None, "get") => "PUT",
                (None, method) => method,
            };
            for more in [Some(echo), origin, preflight].into_iter().flatten() {
                lines.extend(more.as_array().into_iter().flatten().cloned());
            }
            let mut send =
                json!({"method": method, "path": request.path, "authority": request.authority, "headers": lines});
            if method == "POST" {
                send["body"] = body.into();
            }
            Asked { port: request.port, send }
        },
    )
}
