//! Strategies for whole documents: everything that the model can hold, with texts that readers of YAML like to take for
//! something else.

mod policies;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;
use turnout_routes::documents::*;

/// One to six documents, sorted, no two of one kind, namespace and name.
pub(crate) fn documents() -> impl Strategy<Value = Vec<Document>> {
    let document = prop_oneof![
        4 => virtual_service().prop_map(Document::VirtualService),
        1 => gateway().prop_map(Document::Gateway),
        1 => destination_rule().prop_map(Document::DestinationRule),
        1 => service_entry().prop_map(Document::ServiceEntry),
        1 => policies::split_policy().prop_map(Document::SplitPolicy),
    ];
    vec(document, 1..=6).prop_map(|documents| {
        let key = |document: &Document| {
            let metadata = document.metadata();
            (document.kind(), metadata.namespace.clone(), metadata.name.clone())
        };
        documents
            .into_iter()
            .map(|document| (key(&document), document))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect()
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let times = ["2026-01-31T12:00:00Z", "1999-12-31T23:59:59Z"].map(str::to_owned).to_vec();
    (label(), label(), of(select(times)), labels()).prop_map(|(name, namespace, creation_timestamp, labels)| Metadata {
        name,
        namespace,
        creation_timestamp,
        labels,
    })
}

/// A label of RFC 1123: some are words or numbers to readers of YAML.
fn label() -> impl Strategy<Value = String> {
    let odd = ["y", "no", "on", "null", "1", "1e3", "0x1f", "1-2", "2026-01-31"].map(str::to_owned).to_vec();
    prop_oneof!["[a-z]([a-z0-9-]{0,6}[a-z0-9])?", select(odd)]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![label(), "[a-z]{1,4}\\.io/x[A-Za-z_.]{1,4}x", Just("a_b".to_owned())];
    let value = prop_oneof![label(), Just(String::new()), Just("1.5".to_owned())];
    btree_map(key, value, 0..3)
}

/// Any text.
fn text() -> impl Strategy<Value = String> {
    let odd =
        ["", "~", "yes", "a: b", "- a", "#", "{}", "a\nb\n", " a ", "\t", "\u{0}", "\u{7f}", "\u{85}\u{a0}", "ä😀"];
    prop_oneof![
        select(odd.map(str::to_owned).to_vec()),
        ".{0,8}",
        any::<String>().prop_map(|s| s.chars().take(8).collect())
    ]
}

/// A text that can stand in a URL.
fn url_part() -> impl Strategy<Value = String> {
    prop_oneof!["/[!-~]{0,8}", Just("/v2?k=v".to_owned()), Just("~".to_owned())]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![1..5_000u64, (1..5_000u64).prop_map(|seconds| seconds * 1000)].prop_map(Duration::from_millis)
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn host_name() -> impl Strategy<Value = String> {
    prop_oneof![label().prop_map(|label| format!("{label}.example.com")), Just("model".to_owned())]
}

fn gateway() -> impl Strategy<Value = Gateway> {
    let host = prop_oneof![host("a").prop_map(|host| (NamespaceScope::Any, host)), (scope(), host("b"))];
    let server = (port(), vec(host, 1..3), transport()).prop_map(|(port, hosts, (protocol, transport))| Server {
        port,
        port_name: String::new(),
        protocol,
        hosts: hosts.into_iter().map(|(namespace, host)| ServerHost { namespace, host }).collect(),
        transport,
    });
    (metadata(), btree_map(text(), text(), 0..3), vec(server, 1..4)).prop_map(|(metadata, selector, servers)| {
        let named = |(index, server): (usize, Server)| Server { port_name: format!("http-{index}"), ..server };
        Gateway { metadata, selector, servers: servers.into_iter().enumerate().map(named).collect() }
    })
}

fn scope() -> impl Strategy<Value = NamespaceScope> {
    prop_oneof![Just(NamespaceScope::Own), label().prop_map(NamespaceScope::Named)]
}

/// A host, or all hosts, of a domain.
fn host(domain: &'static str) -> impl Strategy<Value = HostPattern> {
    let texts = [format!("{domain}.example.com"), format!("*.{domain}.example.com")];
    select(texts.to_vec()).prop_map(|text| HostPattern::parse(&text).expect("a host"))
}

fn transport() -> impl Strategy<Value = (String, ServerTransport)> {
    let protocols = ["HTTP", "http", "HTTP2", "GRPC", "GRPC-WEB"].map(str::to_owned).to_vec();
    let plain = any::<bool>().prop_map(|https_redirect| ServerTransport::Plain { https_redirect });
    let client_auth = select(vec![ClientAuth::None, ClientAuth::Optional, ClientAuth::Required]);
    let version = || select(vec![TlsVersion::V1_2, TlsVersion::V1_3]);
    let suites = vec(select(vec![CipherSuite::RsaAes128Gcm, CipherSuite::EcdsaChaCha20]), 0..2);
    let tls = (credential(), client_auth, version(), version(), suites).prop_map(
        |(credential, client_auth, min_version, max_version, cipher_suites)| {
            let client_auth = match credential {
                Credential::Files { ca: None, .. } => ClientAuth::None,
                _ => client_auth,
            };
            ServerTransport::Tls { credential, client_auth, min_version, max_version, cipher_suites }
        },
    );
    let settings =
        [Some(serde_json::json!({"mode": "PASSTHROUGH"})), Some(serde_json::json!({"mode": "ISTIO_MUTUAL"}))];
    let passed = select(settings.to_vec()).prop_map(|tls| ServerTransport::Unserved { tls });
    let raw =
        select(vec![None, Some(serde_json::json!({"mode": "SIMPLE", "credentialName": "1", "x": [1, true, "no"]}))])
            .prop_map(|tls| ServerTransport::Unserved { tls });
    prop_oneof![
        4 => (select(protocols), plain),
        4 => (Just("HTTPS".to_owned()), tls),
        1 => (Just("https".to_owned()), passed),
        1 => (select(vec!["TLS".to_owned(), "tcp".to_owned(), "Mongo".to_owned()]), raw),
    ]
}

fn credential() -> impl Strategy<Value = Credential> {
    let path = || "/[a-z]{1,4}";
    prop_oneof![
        label().prop_map(Credential::Named),
        (path(), path(), of(path())).prop_map(|(certificate, key, ca)| Credential::Files { certificate, key, ca }),
    ]
}

fn destination_rule() -> impl Strategy<Value = DestinationRule> {
    let host = prop_oneof![host_name(), Just("*.example.com".to_owned())];
    let subset = (labels(), policy());
    let selector = of(labels());
    (metadata(), host, policy().prop_map(Box::new), btree_map(label(), subset, 0..3), export_to(), selector).prop_map(
        |(metadata, host, policy, subsets, export_to, selector)| {
            let subsets = subsets.into_iter().map(|(name, (labels, policy))| Subset { name, labels, policy });
            let export_to = if selector.is_some() { ExportTo::default() } else { export_to };
            DestinationRule { metadata, host, policy, subsets: subsets.collect(), export_to, selector }
        },
    )
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    let budget = (of((0..=1_000_000u32).prop_map(Percent::of_millionths)), of(count()))
        .prop_map(|(percent, min_concurrency)| RetryBudget { percent, min_concurrency });
    let ports = vec((port(), port_policy().prop_filter("says something", |one| *one != PortPolicy::default())), 0..3);
    (port_policy(), ports, of(budget)).prop_map(|(of_every_port, ports, retry_budget)| TrafficPolicy {
        of_every_port,
        ports,
        retry_budget,
    })
}

fn port_policy() -> impl Strategy<Value = PortPolicy> {
    // In boxes, since all of them together do not fit into the stack of a test.
    let (pool, balancer) = (connection_pool().boxed(), load_balancer().boxed());
    (of(pool), of(balancer), of(outlier_detection()), of(client_tls())).prop_map(
        |(connection_pool, load_balancer, outlier_detection, tls)| PortPolicy {
            connection_pool,
            load_balancer,
            outlier_detection,
            tls,
        },
    )
}

fn count() -> impl Strategy<Value = u32> {
    1..=2_147_483_647u32
}

/// Boxed: a test's stack has no room for all strategies one in another.
fn connection_pool() -> BoxedStrategy<ConnectionPool> {
    let keepalive = (of(count()), of(duration()), of(duration())).prop_map(|(probes, time, interval)| TcpKeepalive {
        probes,
        time,
        interval,
    });
    let tcp_idle = prop_oneof![duration(), Just(Duration::ZERO)];
    let tcp = (of(count()), of(duration()), of(keepalive), of(duration()), of(tcp_idle));
    let http = (of(count()), of(count()), of(count()), of(count()), of(duration()));
    let upgrade = select(vec![H2Upgrade::Default, H2Upgrade::Upgrade, H2Upgrade::DoNotUpgrade]);
    let pings = (of(duration()), of(duration())).prop_map(|(interval, timeout)| Http2KeepAlive { interval, timeout });
    let http2 = (of(upgrade), any::<bool>(), of(count()), of(pings));
    (tcp, http, http2)
        .prop_map(|(tcp, http, http2)| {
            let (upgrade, use_client_protocol, max_streams, pings) = http2;
            let (max_connections, connect_timeout, keepalive, max_connection_age, tcp_idle_timeout) = tcp;
            let (max_pending, max_requests, max_requests_per_connection, max_retries, idle_timeout) = http;
            ConnectionPool {
                max_connections,
                connect_timeout,
                keepalive,
                max_connection_age,
                tcp_idle_timeout,
                max_pending,
                max_requests,
                max_requests_per_connection,
                max_retries,
                idle_timeout,
                upgrade,
                use_client_protocol,
                max_streams,
                pings,
            }
        })
        .boxed()
}

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    let cookie =
        (label(), prop_oneof![Just(String::new()), "/[a-z]{1,4}"], of(duration()), btree_map(label(), label(), 0..3))
            .prop_map(|(name, path, ttl, attributes)| HashCookie {
                name,
                path,
                ttl,
                attributes: attributes.into_iter().collect(),
            });
    let key = prop_oneof![
        select(["x-a", "no", "1"].map(HeaderName::from_static).to_vec()).prop_map(HashKey::Header),
        label().prop_map(HashKey::Query),
        Just(HashKey::SourceIp),
        cookie.prop_map(HashKey::Cookie),
    ];
    let table = prop_oneof![
        (1..5000u32).prop_map(|minimum_size| HashTable::Ring { minimum_size }),
        select(vec![2u32, 3, 1021, 65_537]).prop_map(|size| HashTable::Maglev { size }),
    ];
    let hash = (of(key), table).prop_map(|(key, table)| Balancing::Hash(ConsistentHash { key, table }));
    let plain = vec![Balancing::LeastRequest, Balancing::RoundRobin, Balancing::Random];
    let warmup = (duration(), 0.0..=100.0f64, 0.1..10.0f64)
        .prop_map(|(duration, minimum_percent, aggression)| Warmup { duration, minimum_percent, aggression });
    (prop_oneof![select(plain), hash], of(warmup)).prop_map(|(balancing, warmup)| LoadBalancer { balancing, warmup })
}

fn outlier_detection() -> impl Strategy<Value = OutlierDetection> {
    let failures = || of(any::<u32>());
    (
        (failures(), failures(), any::<bool>(), failures()),
        (of(duration()), of(duration()), of(1..=100u8), of(1..=100u8)),
    )
        .prop_map(|((server_errors, gateway_errors, split, local), (interval, base, max_ejection, min_health))| {
            OutlierDetection {
                server_errors,
                gateway_errors,
                split_local_failures: split,
                local_failures: local.filter(|failures| split || *failures == 0),
                interval,
                base_ejection_time: base,
                max_ejection_percent: max_ejection,
                min_health_percent: min_health,
            }
        })
}

fn client_tls() -> impl Strategy<Value = ClientTls> {
    let path = || "/[a-z]{1,4}";
    let certificate = prop_oneof![
        (path(), path()).prop_map(|(certificate, key)| ClientCertificate::Files { certificate, key }),
        (label(), any::<bool>()).prop_map(|(name, mutual)| ClientCertificate::Named { name, mutual }),
    ];
    let trust = (of(path()), any::<bool>(), of(host_name()), vec(label(), 0..3));
    let origination = (of(certificate), trust).prop_map(|(certificate, (ca, accepts_any, sni, names))| {
        let is_named = matches!(certificate, Some(ClientCertificate::Named { .. }));
        let is_simply_named = matches!(certificate, Some(ClientCertificate::Named { mutual: false, .. }));
        let accepts_any = accepts_any && !is_simply_named;
        let ca = ca.filter(|_| !is_named && !accepts_any);
        let subject_alt_names = if accepts_any { Vec::new() } else { names };
        ClientTls::Originate(TlsOrigination { certificate, ca, accepts_any, sni, subject_alt_names })
    });
    prop_oneof![select(vec![ClientTls::Disable, ClientTls::IstioMutual]), origination]
}

fn export_to() -> impl Strategy<Value = ExportTo> {
    let everywhere = select(vec![BTreeSet::new(), BTreeSet::from(["*".to_owned()])]);
    prop_oneof![everywhere, btree_set(label(), 1..3)].prop_map(|written| ExportTo::new(written, ""))
}

/// What is kept as it is written.
fn raw() -> impl Strategy<Value = serde_json::Value> {
    let routes = [
        serde_json::json!([{"match": [{"port": 443, "sniHosts": ["a.example.com"]}], "route": [{"destination": {"host": "y"}}]}]),
        serde_json::json!([{"route": [{"destination": {"host": "1"}, "weight": 1.5}], "on": true, "no": null, "x": ["", -1, {}, []]}]),
    ];
    select(routes.to_vec())
}

fn service_entry() -> impl Strategy<Value = ServiceEntry> {
    let protocol = select(vec![
        Protocol::Http,
        Protocol::Http2,
        Protocol::Grpc,
        Protocol::GrpcWeb,
        Protocol::Https,
        Protocol::Tls,
        Protocol::Tcp,
        Protocol::Mongo,
        Protocol::MySql,
        Protocol::Redis,
    ]);
    let ports =
        btree_map(port(), (of(port()), protocol), 0..3).prop_map(|ports| {
            let port = |(index, (number, (target_port, protocol))): (usize, (u16, (Option<u16>, Protocol)))| {
                ServicePort { number, name: format!("http-{index}"), protocol, target_port }
            };
            ports.into_iter().enumerate().map(port).collect::<Vec<_>>()
        });
    ports.prop_flat_map(|ports| {
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        let nowhere = ExportTo::new(BTreeSet::from(["~".to_owned()]), "");
        let names_of_others = (vec(text(), 0..2), prop_oneof![4 => export_to(), 1 => Just(nowhere)]);
        (metadata(), vec(host_name(), 1..3), Just(ports), any::<bool>(), resolution(names), names_of_others).prop_map(
            |(metadata, hosts, ports, internal, resolution, (subject_alt_names, export_to))| ServiceEntry {
                metadata,
                hosts,
                ports,
                internal,
                resolution,
                subject_alt_names,
                export_to,
            },
        )
    })
}

fn resolution(port_names: Vec<String>) -> impl Strategy<Value = Resolution> {
    let ip = || any::<std::net::IpAddr>().prop_map(EndpointAddress::Ip);
    let named = prop_oneof![host_name().prop_map(EndpointAddress::Name), ip()];
    let endpoints = |address: BoxedStrategy<EndpointAddress>, port_names: Vec<String>| {
        let ports = if port_names.is_empty() {
            Just(BTreeMap::new()).boxed()
        } else {
            btree_map(select(port_names), port(), 0..3).boxed()
        };
        vec((address, ports, labels(), any::<u32>()), 0..3).prop_map(|endpoints| {
            let endpoint = |(address, ports, labels, weight)| ServiceEndpoint {
                address,
                ports,
                labels,
                weight: NonZeroU32::new(weight),
            };
            endpoints.into_iter().map(endpoint).collect::<Vec<_>>()
        })
    };
    prop_oneof![
        endpoints(ip().boxed(), port_names.clone()).prop_map(Resolution::Static),
        endpoints(named.boxed(), port_names).prop_map(Resolution::Dns),
        Just(Resolution::None),
    ]
}

fn virtual_service() -> impl Strategy<Value = VirtualService> {
    let hosts = prop_oneof![
        (host("a"), of(host("b"))).prop_map(|(first, second)| [Some(first), second].into_iter().flatten().collect()),
        Just(vec![HostPattern::Any]),
        Just(vec![HostPattern::Suffix("-x.example.com".to_owned()), HostPattern::Exact("::1".to_owned())]),
    ];
    let others = (export_to(), of(raw()), of(raw()), any::<bool>());
    (metadata(), hosts, vec(gateway_ref(), 0..3), vec(rule(), 1..5), others).prop_map(
        |(metadata, hosts, gateways, mut http, (export_to, tcp, tls, no_http)): (_, Vec<_>, Vec<_>, Vec<_>, _)| {
            let gateways = if hosts == [HostPattern::Any] {
                vec![GatewayRef::Named { namespace: "a".to_owned(), name: "b".to_owned() }]
            } else {
                gateways
            };
            // What is delegated to has neither hosts nor what delegates.
            if http.len() % 2 == 0 && http.iter().all(|rule| !matches!(rule.action, Action::Delegate(_))) {
                let (hosts, gateways) = (Vec::new(), Vec::new());
                return VirtualService { metadata, hosts, gateways, http, export_to, tcp: None, tls: None };
            }
            if no_http && (tcp.is_some() || tls.is_some()) {
                http.clear();
            }
            VirtualService { metadata, hosts, gateways, http, export_to, tcp, tls }
        },
    )
}

fn gateway_ref() -> impl Strategy<Value = GatewayRef> {
    let named = (label(), label()).prop_map(|(namespace, name)| GatewayRef::Named { namespace, name });
    prop_oneof![Just(GatewayRef::Mesh), named]
}

fn rule() -> impl Strategy<Value = HttpRule> {
    let name = of(text().prop_filter("an empty name is none", |name| !name.is_empty()));
    let others = (of(duration()), of(retries()), of(cors()), vec(mirror(), 0..3));
    (name, vec(request_match(), 0..3), action(), of(header_operations()), others).prop_map(
        |(name, mut matches, action, mut headers, (timeout, retries, cors, mirrors))| {
            match &action {
                Action::Redirect(redirect) if matches!(redirect.path, Some(RedirectPath::Prefix(_))) => {
                    matches.retain(|entry| matches!(entry.uri, None | Some(StringMatch::Prefix(_))));
                }
                Action::Forward(Forward { rewrite, .. }) | Action::Delegate(Delegate { rewrite, .. }) => {
                    if let Some(headers) = headers.as_mut().filter(|_| rewrite.authority.is_some()) {
                        headers.request.authority = None;
                    }
                }
                _ => {}
            }
            HttpRule { name, matches, action, headers, timeout, retries, cors, mirrors }
        },
    )
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    let patterns = ["a|b", "/v[0-9]+", ".*", r"\d\Q.\E", "yes", "(?i)x"];
    prop_oneof![
        text().prop_map(StringMatch::Exact),
        text().prop_map(|text| StringMatch::Prefix(format!("/{text}"))),
        select(patterns.to_vec()).prop_map(|source| StringMatch::Regex(Pattern::new(source).expect("a pattern"))),
    ]
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![Just(ValueMatch::Present), string_match().prop_map(ValueMatch::Value)]
}

fn header_matches() -> impl Strategy<Value = BTreeMap<String, (HeaderSelector, ValueMatch)>> {
    let key = prop_oneof!["[A-Za-z!~_-]{1,6}", Just("host".to_owned()), Just(":authority".to_owned())];
    btree_map(key, value_match(), 0..3).prop_map(|headers| {
        let selected = |(key, value): (String, ValueMatch)| {
            let selector = if key.eq_ignore_ascii_case("host") || key == ":authority" {
                HeaderSelector::Authority
            } else {
                HeaderSelector::Name(HeaderName::from_bytes(key.as_bytes()).expect("the name of a header"))
            };
            (key, (selector, value))
        };
        headers.into_iter().map(selected).collect()
    })
}

fn request_match() -> impl Strategy<Value = Match> {
    let name = of(text().prop_filter("an empty name is none", |name| !name.is_empty()));
    let texts = (of(string_match()), of(value_match()), of(value_match()), of(value_match()));
    let maps = (header_matches(), header_matches(), btree_map(text(), value_match(), 0..3));
    let others = (of(port()), vec(gateway_ref(), 0..2), labels(), of(label()), any::<bool>());
    (name, texts, maps, others).prop_map(
        |(name, (uri, scheme, method, authority), (headers, without_headers, query_params), others)| {
            let (port, gateways, source_labels, source_namespace, ignore_uri_case) = others;
            Match {
                name,
                uri,
                ignore_uri_case,
                scheme,
                method,
                authority,
                headers,
                without_headers,
                query_params,
                port,
                gateways,
                source_labels,
                source_namespace,
            }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let body = || prop_oneof![text().prop_map(Bytes::from), vec(any::<u8>(), 0..8).prop_map(Bytes::from)];
    let direct_response =
        || (200..=599u16, body()).prop_map(|(code, body)| DirectResponse { status: status(code), body });
    let delegate = (label(), label(), rewrite(), of(fault()), of(direct_response())).prop_map(
        |(namespace, name, rewrite, fault, direct_response)| Delegate {
            namespace,
            name,
            rewrite,
            fault,
            direct_response,
        },
    );
    prop_oneof![
        4 => (destinations(), rewrite(), of(fault()))
            .prop_map(|(destinations, rewrite, fault)| Action::Forward(Forward { destinations, rewrite, fault })),
        1 => redirect().prop_map(Action::Redirect),
        1 => direct_response().prop_map(Action::DirectResponse),
        1 => delegate.prop_map(Action::Delegate),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let with = of(prop_oneof![
        (200..=600u16).prop_map(|code| AbortWith::Http(status(code))),
        (0..17u8).prop_map(AbortWith::Grpc),
    ]);
    let delay = (of(duration()), percent()).prop_map(|(fixed, percent)| Delay { fixed, percent });
    let abort = (with, percent()).prop_map(|(with, percent)| Abort { with, percent });
    (delay, abort, 0..3).prop_map(|(delay, abort, which)| Fault {
        delay: (which != 0).then_some(delay),
        abort: (which != 1).then_some(abort),
    })
}

fn percent() -> impl Strategy<Value = Percent> {
    (0..=1_000_000u32).prop_map(Percent::of_millionths)
}

fn cors() -> impl Strategy<Value = Cors> {
    let origin = string_match().prop_filter("no empty origin", |origin| *origin != StringMatch::Exact(String::new()));
    let methods = select(["*", "GET", "POST"].map(str::to_owned).to_vec());
    let headers = || vec(prop_oneof!["[a-z-]{1,6}", Just("*".to_owned())], 0..3);
    let unmatched = prop_oneof![Just(UnmatchedPreflights::Forward), Just(UnmatchedPreflights::Ignore)];
    let lists = (vec(origin, 0..3), vec(methods, 0..3), headers(), headers());
    (lists, of(1..100_000u64), of(any::<bool>()), unmatched).prop_map(
        |(
            (allow_origins, allow_methods, allow_headers, expose_headers),
            age,
            allow_credentials,
            unmatched_preflights,
        )| Cors {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age: age.map(Duration::from_secs),
            allow_credentials,
            unmatched_preflights,
        },
    )
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

fn destination() -> impl Strategy<Value = Destination> {
    (host_name(), of(label()), of(port())).prop_map(|(host, subset, port)| Destination { host, subset, port })
}

fn mirror() -> impl Strategy<Value = Mirror> {
    (destination(), percent()).prop_map(|(destination, percent)| Mirror { destination, percent })
}

fn destinations() -> impl Strategy<Value = Destinations> {
    let weighted = (destination(), 0..=2_147_483_647u32, header_operations())
        .prop_map(|(destination, weight, headers)| WeightedDestination { destination, weight, headers });
    vec(weighted, 1..4).prop_map(|mut destinations| {
        if destinations.iter().all(|destination| destination.weight == 0) {
            destinations[0].weight = 1;
        }
        Destinations::new(destinations).expect("a split")
    })
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let regex = select(vec![("a", "b"), ("^/v([0-9]+)/(.*)$", r"/\2/\1"), ("$", r"\\\0")]).prop_map(
        |(pattern, replacement)| PathRewrite::Regex(RegexRewrite::new(pattern, replacement).expect("a rewrite")),
    );
    let authority = select(vec!["new.example.com", "10.0.0.1:80"]).prop_map(|text| text.parse().expect("an authority"));
    (of(prop_oneof![url_part().prop_map(PathRewrite::Matched), regex]), of(authority))
        .prop_map(|(path, authority)| Rewrite { path, authority })
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let path = prop_oneof![url_part().prop_map(RedirectPath::Whole), url_part().prop_map(RedirectPath::Prefix)];
    let port = prop_oneof![
        port().prop_map(RedirectPort::Number),
        Just(RedirectPort::ProtocolDefault),
        Just(RedirectPort::Listener),
    ];
    let scheme = select(vec![Scheme::Http, Scheme::Https]);
    (300..=399u16, of(path), of("[!-~]{1,8}"), scheme, of(port)).prop_map(|(code, path, authority, scheme, port)| {
        let scheme = (path.is_none() && authority.is_none() || code % 2 == 0).then_some(scheme);
        Redirect { status: status(code), path, authority, scheme, port }
    })
}

fn retries() -> impl Strategy<Value = Retries> {
    let on = (1..=2_147_483_647u32, of(duration()), conditions(), of(duration()), of(any::<bool>())).prop_map(
        |(attempts, per_try_timeout, retry_on, backoff, ignore_previous_hosts)| Retries::On {
            attempts: NonZeroU32::new(attempts).expect("above 0"),
            per_try_timeout,
            retry_on,
            backoff,
            ignore_previous_hosts,
        },
    );
    prop_oneof![1 => Just(Retries::Off), 4 => on]
}

fn conditions() -> impl Strategy<Value = BTreeSet<RetryCondition>> {
    let all = [
        RetryCondition::ServerError,
        RetryCondition::GatewayError,
        RetryCondition::Reset,
        RetryCondition::ResetBeforeRequest,
        RetryCondition::ConnectFailure,
        RetryCondition::RefusedStream,
        RetryCondition::Retriable4xx,
        RetryCondition::RetriableStatusCodes,
        RetryCondition::EnvoyRatelimited,
        RetryCondition::RetriableHeaders,
        RetryCondition::Http3PostConnectFailure,
        RetryCondition::Grpc(1),
        RetryCondition::Grpc(4),
        RetryCondition::Grpc(8),
        RetryCondition::Grpc(13),
        RetryCondition::Grpc(14),
        RetryCondition::Status(429),
        RetryCondition::Status(503),
    ];
    btree_set(select(all.to_vec()), 0..4)
}

fn header_operations() -> impl Strategy<Value = HeaderOperations> {
    let request = (of(Just("new.example.com").prop_map(format)), header_changes())
        .prop_map(|(authority, changes)| HeaderChanges { authority, ..changes });
    (request, header_changes()).prop_map(|(request, response)| HeaderOperations { request, response })
}

fn header_changes() -> impl Strategy<Value = HeaderChanges> {
    let names = ["x-a", "no", "x-b", "content-type", "~", "1"].map(HeaderName::from_static).to_vec();
    let values = ["", "yes", "1", "a b", "100%%", "%REQ(x-c)%/%PROTOCOL%", "%RESPONSE_CODE%", "\tä", "\"\\"];
    let headers = || {
        let name = select(names.clone()).prop_map(HeaderKey);
        btree_map(name, select(values.to_vec()).prop_map(format), 0..3)
    };
    (headers(), headers(), vec(select(names.clone()), 0..3)).prop_map(|(set, add, remove)| HeaderChanges {
        authority: None,
        set,
        add,
        remove,
    })
}

fn format(source: &str) -> HeaderFormat {
    HeaderFormat::parse(source).expect("a format")
}
