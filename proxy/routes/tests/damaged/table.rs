//! Damaged routes files, each with the one place that a reader must name: document, field path and line. Most are made
//! from [`ROUTES`], which is good, by one change. Depends on nothing but std, so that any test can include it.

/// One damaged file and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct DamagedFile {
    /// Unique.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// As `VirtualService abtesting/scoring`; empty if the file cannot be read at all.
    pub(crate) document: &'static str,
    /// As `spec.http[2].route[0].weight`; empty for the whole document.
    pub(crate) path: String,
    pub(crate) line: usize,
    /// A piece of the message.
    pub(crate) message: String,
}

/// A good routes file: the sample's documents, with every kind of rule that the gateway has.
pub(crate) const ROUTES: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: abtest-gateway
  namespace: abtesting
spec:
  selector: {istio: ingressgateway}
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts: ['*']
  - port:
      number: 443
      name: https
      protocol: HTTPS
    hosts: ['*.example.com', ./b.example.org]
    tls:
      mode: SIMPLE
      credentialName: scoring-cert
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: scoring
  namespace: abtesting
  labels: {app: model}
spec:
  hosts: [scoring.example.com]
  gateways: [abtest-gateway]
  http:
  - name: blue
    match:
    - uri:
        prefix: /score
      headers:
        x-api-version:
          exact: blue
    route:
    - destination:
        host: model-svc-blue
        port:
          number: 5001
    timeout: 5s
    retries:
      attempts: 2
      perTryTimeout: 1s
      retryOn: 5xx,503
  - match:
    - uri: {regex: '/v[0-9]+'}
      method: {exact: POST}
      queryParams: {trial: {exact: 'true'}}
      port: 80
    route:
    - destination: {host: model-svc-green, subset: v1}
    rewrite:
      uri: /new
    headers:
      request:
        set: {x-model: green}
        add: {x-trace: '%REQ(x-request-id)%'}
        remove: [x-debug]
  - match:
    - uri: {prefix: /old}
    redirect:
      uri: /score
      redirectCode: 302
  - match:
    - uri: {exact: /status}
    directResponse:
      status: 200
      body: {string: fine}
  - route:
    - destination: {host: model-svc-green}
      weight: 60
    - destination: {host: model-svc-blue}
      weight: 40
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: green
  namespace: abtesting
spec:
  host: model-svc-green
  trafficPolicy:
    connectionPool:
      tcp: {connectTimeout: 3s}
      http: {maxRequestsPerConnection: 1}
    loadBalancer: {simple: LEAST_REQUEST}
  subsets:
  - name: v1
    labels: {version: v1}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: green
  namespace: abtesting
spec:
  hosts: [model-svc-green.abtesting.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - number: 5001
    name: http
    protocol: HTTP
  endpoints:
  - address: 10.0.0.1
    ports:
      http: 8080
    labels: {version: v1}
";

const GATEWAY: &str = "Gateway abtesting/abtest-gateway";
const SCORING: &str = "VirtualService abtesting/scoring";
const RULE: &str = "DestinationRule abtesting/green";
const ENTRY: &str = "ServiceEntry abtesting/green";

/// Marks, in a replacement, the line of the problem. Without it, it is the replacement's first line.
const HERE: &str = "<here>";

/// Every damaged file: at least 200.
pub(crate) fn damaged_files() -> Vec<DamagedFile> {
    let mut files = unreadable_files();
    files.extend(unreadable_yaml());
    files.extend(truncated_files());
    files.extend(bad_frames());
    files.extend(bad_numbers());
    files.extend(bad_texts());
    files.extend(unknown_fields());
    files.extend(bad_policies());
    for (document, edits) in [
        (GATEWAY, GATEWAY_EDITS),
        (SCORING, MATCH_EDITS),
        (SCORING, ACTION_EDITS),
        (RULE, RULE_EDITS),
        (ENTRY, ENTRY_EDITS),
    ] {
        files.extend(edits.iter().map(|(old, new, path, message)| edit(document, old, new, path, message)));
    }
    files
}

/// What is replaced, by what, the path of the problem, a piece of its message.
type Edit = (&'static str, &'static str, &'static str, &'static str);

/// [`ROUTES`] with the one occurrence of `old` replaced.
fn edit(document: &'static str, old: &str, new: &str, path: &str, message: &str) -> DamagedFile {
    assert_eq!(ROUTES.matches(old).count(), 1, "{old:?} is there once");
    let (before, after) = ROUTES.split_once(old).unwrap_or_default();
    let marked = format!("{before}{}{after}", if new.contains(HERE) { new.to_owned() } else { format!("{HERE}{new}") });
    let (above, _) = marked.split_once(HERE).unwrap_or_default();
    DamagedFile {
        name: format!("{document}: {old:?} becomes {new:?}"),
        line: above.matches('\n').count() + 1,
        bytes: marked.replacen(HERE, "", 1).into_bytes(),
        document,
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

fn whole(name: &str, bytes: impl Into<Vec<u8>>, line: usize, message: &str) -> DamagedFile {
    DamagedFile {
        name: name.to_owned(),
        bytes: bytes.into(),
        document: "",
        path: String::new(),
        line,
        message: message.to_owned(),
    }
}

/// Not text, not YAML at all, or past a limit.
fn unreadable_files() -> Vec<DamagedFile> {
    let with_bytes_after_line_9 = |bytes: &[u8]| {
        let at = ROUTES.match_indices('\n').nth(8).map_or(0, |(at, _)| at);
        [&ROUTES.as_bytes()[..at], bytes, &ROUTES.as_bytes()[at..]].concat()
    };
    let padded = |length: usize| format!("{ROUTES}#{}", " ".repeat(length - ROUTES.len() - 1));
    vec![
        whole("empty", "", 1, "holds no documents"),
        whole("only blanks", " \n\n", 1, "holds no documents"),
        whole("only comments", "# a\n# b\n", 1, "holds no documents"),
        whole("only separators", "---\n---\n", 1, "holds no documents"),
        whole("only null", "null\n---\n~\n", 1, "holds no documents"),
        whole("one byte past 1 MiB", padded(1024 * 1024 + 1), 1, "more than 1048576 bytes"),
        whole("2 MiB of zeros", vec![0; 2 * 1024 * 1024], 1, "more than 1048576 bytes"),
        whole("a NUL byte", with_bytes_after_line_9(b" \0"), 9, "a NUL byte"),
        whole("a NUL byte at the end", format!("{ROUTES}\0"), ROUTES.lines().count() + 1, "a NUL byte"),
        whole("a byte that is not UTF-8", with_bytes_after_line_9(b" # \xff"), 9, "not UTF-8"),
        whole("half a character", with_bytes_after_line_9("# ä".as_bytes().split_at(3).0), 9, "not UTF-8"),
        whole("a surrogate", with_bytes_after_line_9(b" # \xed\xa0\x80"), 9, "not UTF-8"),
        whole("UTF-16", ROUTES.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(), 1, "a NUL byte"),
        whole("latin 1", with_bytes_after_line_9(b" # \xe4"), 9, "not UTF-8"),
        whole("random", [0x8b, 0x1f, 0x08, 0x00], 1, "not UTF-8"),
    ]
}

/// Text that is not YAML, or YAML that no route document needs.
fn unreadable_yaml() -> Vec<DamagedFile> {
    let deep = |depth: usize| format!("# deep\n{}{}\n", "[".repeat(depth), "]".repeat(depth));
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n";
    let text_bomb = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(1000), "*a, ".repeat(2000));
    let mut files = vec![
        whole("an alias bomb", bomb, 5, "more than 100000 values"),
        whole("a bomb of text", text_bomb, 2, "more than 1048576 bytes of text"),
        whole("too many values", format!("[{}]", "1, ".repeat(100_001)), 1, "more than 100000 values"),
        whole("65 brackets", deep(65), 2, "nested more than 64 deep"),
        whole("100000 brackets", "[".repeat(100_000), 1, "nested more than 64 deep"),
        whole("100000 dashes", "- ".repeat(100_000), 1, "nested more than 64 deep"),
        whole("100000 braces", "{a: ".repeat(100_000), 1, "nested more than 64 deep"),
        whole("an alias inside of itself", "a: &a\n  b: *a\n", 2, "inside of what it refers to"),
        whole("an unknown alias", "a: 1\nb: *a\n", 2, "not valid YAML"),
        whole("a list as a key", "a: 1\n? [b]\n: c\n", 2, "a key must be text"),
        whole("a mapping as a key", "{a: 1}: b\n", 1, "a key must be text"),
        whole("prose", "this is: not: yaml\n", 1, "not valid YAML"),
        whole("HTML", "<html>\n<body>: a: b\n", 2, "not valid YAML"),
        whole("a page of JSON that ends early", "{\"apiVersion\": \"networking.istio.io/v1\",\n", 1, "not valid YAML"),
    ];
    let edits: [(&str, &str, &str); 16] = [
        ("      number: 80\n", "\t<here>number: 80\n", "not valid YAML"),
        (
            "  hosts: [scoring.example.com]\n  gateways",
            "  hosts: [scoring.example.com\n<here>  gateways",
            "not valid YAML",
        ),
        ("  hosts: [scoring.example.com]", "  hosts: scoring.example.com]: x", "not valid YAML"),
        ("{app: model}\nspec", "{app: model\n<here>spec", "not valid YAML"),
        ("{app: model}", "{app: model}}", "not valid YAML"),
        ("exact: blue", "exact: 'blue", "not valid YAML"),
        ("exact: blue", "exact: \"\\q\"", "not valid YAML"),
        ("exact: blue", "exact: %blue", "not valid YAML"),
        ("exact: blue", "exact: @blue", "not valid YAML"),
        ("exact: blue", "exact: `blue`", "not valid YAML"),
        ("exact: blue", "exact: !!str blue", "YAML tags (!) are not supported"),
        ("exact: blue", "exact: !secret blue", "YAML tags (!) are not supported"),
        ("exact: blue", "exact: !!binary YQ==", "YAML tags (!) are not supported"),
        ("    timeout: 5s", "   timeout: 5s", "not valid YAML"),
        ("    timeout: 5s", "     timeout: 5s", "not valid YAML"),
        ("    timeout: 5s\n    retries", "    timeout 5s\n<here>    retries", "not valid YAML"),
    ];
    for (old, new, message) in edits {
        files.push(edit("", old, new, "", message));
    }
    files
}

/// [`ROUTES`] cut off after a text: what is left may be YAML, but then something is missing.
fn truncated_files() -> Vec<DamagedFile> {
    let cuts: [(&str, &'static str, &str, usize, &str); 16] = [
        ("apiVersion: networking.istio.io/v1\n", "document 1", "kind", 1, "required"),
        ("apiVersion: networking.ist", "document 1", "kind", 1, "required"),
        ("kind: Gateway\n", "Gateway (document 1)", "metadata", 1, "required"),
        ("  namespace: abtesting\nspec:\n", GATEWAY, "spec", 6, "is empty"),
        ("  selector: {istio: ingressgateway}\n", GATEWAY, "spec.servers", 6, "required"),
        ("  selector: {istio: ing", "", "", 7, "not valid YAML"),
        ("  servers:\n", GATEWAY, "spec.servers", 8, "is empty"),
        ("      protocol: HTTP\n", GATEWAY, "spec.servers[0].hosts", 9, "required"),
        ("    hosts: ['*.exa", "", "", 18, "not valid YAML"),
        ("      mode: SIMPLE\n", GATEWAY, "spec.servers[1].tls", 19, "requires a server certificate"),
        ("  gateways: [abtest-gateway]\n", SCORING, "spec.http", 29, "at least one rule"),
        ("    timeout: 5s\n    retries:\n", SCORING, "spec.http[0].retries", 46, "is empty"),
        ("          exact: blue\n", SCORING, "spec.http[0]", 33, "one of route, redirect and directResponse"),
        (
            "        host: model-svc-blue\n        port:\n",
            SCORING,
            "spec.http[0].route[0].destination.port",
            43,
            "is empty",
        ),
        ("      weight: 60\n    - destination: {host: model-sv", "", "", 77, "not valid YAML"),
        ("  resolution: STATIC\n  ports:\n", ENTRY, "spec.ports", 105, "is empty"),
    ];
    let mut files = Vec::new();
    for (last, document, path, line, message) in cuts {
        let end = ROUTES.find(last).map_or(0, |at| at + last.len());
        files.push(DamagedFile {
            name: format!("cut off after {last:?}"),
            bytes: ROUTES.as_bytes()[..end].to_vec(),
            document,
            path: path.to_owned(),
            line,
            message: message.to_owned(),
        });
    }
    files
}

/// The frame of a document: its version, kind and metadata, and what it has beside them.
fn bad_frames() -> Vec<DamagedFile> {
    let mut files: Vec<_> =
        FRAME_EDITS.iter().map(|(document, old, new, path, message)| edit(document, old, new, path, message)).collect();
    files.extend(own_documents());
    files
}

const KIND: &str = "kind: VirtualService\nmetadata:\n  name: scoring\n  namespace: abtesting\n  labels: {app: model}\n";
const FRAME: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: scoring\n";
const NAME: &str = "  name: scoring\n";
/// Changes of what the scoring document calls itself: how it is called then, what is replaced, by what, path, message.
const FRAME_EDITS: [(&str, &str, &str, &str, &str); 19] = [
    ("EnvoyFilter default/a", KIND, "kind: EnvoyFilter\nmetadata: {name: a}\n", "kind", "\"EnvoyFilter\" is not known"),
    ("List default/a", KIND, "kind: List\nmetadata: {name: a}\n", "kind", "a List is not a document"),
    ("virtualservice default/a", KIND, "kind: virtualservice\nmetadata: {name: a}\n", "kind", "is not known"),
    ("document 2", KIND, "kind: [VirtualService]\nmetadata: {name: a}\n", "kind", "a list is not a text"),
    ("5 default/a", KIND, "kind: 5\nmetadata: {name: a}\n", "kind", "5 without quotes is a number"),
    (
        "VirtualService (document 2)",
        KIND,
        "kind: VirtualService\n<here>metadata: []\n",
        "metadata",
        "a list is not a mapping",
    ),
    ("VirtualService (document 2)", KIND, "kind: VirtualService\n<here>metadata: {}\n", "metadata.name", "required"),
    ("document 2", FRAME, "<here>apiVersion: networking.istio.io/v1\nmetadata:\n  name: scoring\n", "kind", "required"),
    (
        "VirtualService abtesting/scoring",
        FRAME,
        "<here>kind: VirtualService\nmetadata:\n  name: scoring\n",
        "apiVersion",
        "required",
    ),
    ("VirtualService abtesting/Scoring", NAME, "  name: Scoring\n", "metadata.name", "is not a name of Kubernetes"),
    ("VirtualService abtesting/a_b", NAME, "  name: a_b\n", "metadata.name", "is not a name of Kubernetes"),
    ("VirtualService abtesting/", NAME, "  name: ''\n", "metadata.name", "is not a name of Kubernetes"),
    ("VirtualService abtesting/5", NAME, "  name: 5\n", "metadata.name", "5 without quotes is a number"),
    ("VirtualService abtesting/yes", NAME, "  name: yes\n", "metadata.name", "yes without quotes is a boolean"),
    ("VirtualService (document 2)", NAME, "  name:\n", "metadata.name", "is empty"),
    (SCORING, NAME, "  name: scoring\n<here>  name: scoring\n", "metadata.name", "there twice, first on line 26"),
    (SCORING, NAME, "  name: scoring\n<here>  clusterName: a\n", "metadata.clusterName", "unknown field"),
    (SCORING, NAME, "  name: scoring\n<here>  creationTimestamp: now\n", "metadata.creationTimestamp", "not a time"),
    (SCORING, NAME, "  name: scoring\n<here>  annotations: {a: b, a: c}\n", "metadata.annotations.a", "there twice"),
];

/// Documents that are not made from [`ROUTES`].
fn own_documents() -> Vec<DamagedFile> {
    let policy = "apiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\nmetadata: {name: a}\nspec: {}\n";
    let rollout = policy.replace("SplitPolicy", "ModelRollout");
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {}\n";
    let twice_delegated = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n\
                           spec: {http: [{delegate: {name: b}}]}\n";
    let no_name = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n\
                   spec: {resolution: DNS, hosts: ['*.a']}\n";
    let other = "apiVersion: networking.istoi.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {}\n";
    let newer = "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}\nspec: {}\n";
    let twice = format!("{ROUTES}---\n{}", ROUTES.split("---\n").next().unwrap_or_default());
    let and_a_text = format!("{ROUTES}---\nhello\n");
    let and_a_field = format!("{ROUTES}data: {{}}\n");
    let below = ROUTES.lines().count() + 1;
    let rows: [(&str, &'static str, &str, usize, &str); 14] = [
        (policy, "SplitPolicy default/a", "spec.route", 4, "required"),
        (&rollout, "ModelRollout default/a", "kind", 2, "\"ModelRollout\" is not known"),
        (route, "HTTPRoute default/a", "kind", 2, "\"HTTPRoute\" is not known"),
        (twice_delegated, "VirtualService default/a", "spec.http[0].delegate", 4, "without hosts cannot delegate"),
        (no_name, "ServiceEntry default/a", "spec.hosts", 4, "a host with a wildcard has no address"),
        (other, "VirtualService default/a", "apiVersion", 1, "\"networking.istoi.io/v1\" is not known"),
        (newer, "Gateway default/a", "apiVersion", 1, "\"networking.istio.io/v2\" is not known"),
        ("hello\n", "document 1", "", 1, "\"hello\" is not a mapping"),
        ("5\n", "document 1", "", 1, "\"5\" is not a mapping"),
        ("- a\n- b\n", "document 1", "", 1, "a list is not a mapping"),
        ("apiVersion: networking.istio.io/v1\n", "document 1", "kind", 1, "required"),
        (&twice, GATEWAY, "", below + 1, "there twice, first in routes.yaml:1"),
        (&and_a_text, "document 5", "", below + 1, "\"hello\" is not a mapping"),
        (&and_a_field, ENTRY, "data", below, "unknown field"),
    ];
    let file = |(text, document, path, line, message): (&str, &'static str, &str, usize, &str)| DamagedFile {
        name: format!("{document}: {message}"),
        bytes: text.as_bytes().to_vec(),
        document,
        path: path.to_owned(),
        line,
        message: message.to_owned(),
    };
    rows.into_iter().map(file).collect()
}

/// Every number, with every way to get it wrong.
fn bad_numbers() -> Vec<DamagedFile> {
    // The line that it is on, in two parts around it; its path; the least and the greatest allowed.
    let numbers: [(&'static str, &str, &str, &str, i64, i64); 9] = [
        (GATEWAY, "      number: ", "80", "spec.servers[0].port.number", 1, 65_535),
        (SCORING, "          number: ", "5001", "spec.http[0].route[0].destination.port.number", 1, 65_535),
        (SCORING, "      attempts: ", "2", "spec.http[0].retries.attempts", 0, 2_147_483_647),
        (SCORING, "      port: ", "80", "spec.http[1].match[0].port", 0, 65_535),
        (SCORING, "      status: ", "200", "spec.http[3].directResponse.status", 200, 599),
        (SCORING, "      weight: ", "60", "spec.http[4].route[0].weight", 0, 2_147_483_647),
        (SCORING, "      weight: ", "40", "spec.http[4].route[1].weight", 0, 2_147_483_647),
        (ENTRY, "  - number: ", "5001", "spec.ports[0].number", 1, 65_535),
        (ENTRY, "      http: ", "8080", "spec.endpoints[0].ports.http", 1, 65_535),
    ];
    let mut files = Vec::new();
    for (document, field, good, path, least, greatest) in numbers {
        let (below, above) = ((least - 1).to_string(), (greatest + 1).to_string());
        let values = [
            (below.as_str(), format!("{below} is below {least}")),
            (above.as_str(), format!("{above} is above {greatest}")),
            ("-2147483649", format!("-2147483649 is below {least}")),
            ("99999999999999999999999999", format!("99999999999999999999999999 is above {greatest}")),
            ("33.3", "\"33.3\" is not a whole number".to_owned()),
            ("1e2", "\"1e2\" is not a whole number".to_owned()),
            ("0x50", "\"0x50\" is not a whole number".to_owned()),
            ("'250'", "\"250\" is a text".to_owned()),
            ("many", "\"many\" is not a number".to_owned()),
            ("[250]", "a list is not a number".to_owned()),
            ("~", "is empty".to_owned()),
        ];
        for (value, message) in values {
            let (old, new) = (format!("\n{field}{good}\n"), format!("\n{HERE}{field}{value}\n"));
            files.push(edit(document, &old, &new, path, &message));
        }
    }
    files
}

/// Every kind of text, with every way not to be one.
fn bad_texts() -> Vec<DamagedFile> {
    let texts: [(&'static str, &str, &str, &str); 9] = [
        (GATEWAY, "      name: ", "http", "spec.servers[0].port.name"),
        (SCORING, "  - name: ", "blue", "spec.http[0].name"),
        (SCORING, "        prefix: ", "/score", "spec.http[0].match[0].uri.prefix"),
        (SCORING, "          exact: ", "blue", "spec.http[0].match[0].headers.x-api-version.exact"),
        (SCORING, "        host: ", "model-svc-blue", "spec.http[0].route[0].destination.host"),
        (SCORING, "      uri: ", "/new", "spec.http[1].rewrite.uri"),
        (SCORING, "      uri: ", "/score", "spec.http[2].redirect.uri"),
        (RULE, "  host: ", "model-svc-green", "spec.host"),
        (RULE, "  - name: ", "v1", "spec.subsets[0].name"),
    ];
    let values = [
        ("yes", "yes without quotes is a boolean"),
        ("1.5", "1.5 without quotes is a number"),
        ("[a]", "a list is not a text"),
        ("{a: b}", "a mapping is not a text"),
        ("", "is empty"),
    ];
    let mut files = Vec::new();
    for (document, field, good, path) in texts {
        for (value, message) in values {
            let (old, new) = (format!("\n{field}{good}\n"), format!("\n{HERE}{field}{value}\n"));
            files.push(edit(document, &old, &new, path, message));
        }
    }
    files
}

/// A field that nobody knows, at every level, and one that would merge others in.
fn unknown_fields() -> Vec<DamagedFile> {
    // The line above it, its indentation, its path without its name.
    let places: [(&'static str, &str, usize, &str); 22] = [
        (GATEWAY, "  selector: {istio: ingressgateway}\n", 2, "spec"),
        (GATEWAY, "    hosts: ['*']\n", 4, "spec.servers[0]"),
        (GATEWAY, "      number: 80\n", 6, "spec.servers[0].port"),
        (GATEWAY, "      mode: SIMPLE\n", 6, "spec.servers[1].tls"),
        (SCORING, "  gateways: [abtest-gateway]\n", 2, "spec"),
        (SCORING, "    timeout: 5s\n", 4, "spec.http[0]"),
        (SCORING, "        prefix: /score\n", 8, "spec.http[0].match[0].uri"),
        (SCORING, "          exact: blue\n", 10, "spec.http[0].match[0].headers.x-api-version"),
        (SCORING, "        host: model-svc-blue\n", 8, "spec.http[0].route[0].destination"),
        (SCORING, "          number: 5001\n", 10, "spec.http[0].route[0].destination.port"),
        (SCORING, "      attempts: 2\n", 6, "spec.http[0].retries"),
        (SCORING, "      method: {exact: POST}\n", 6, "spec.http[1].match[0]"),
        (SCORING, "      uri: /new\n", 6, "spec.http[1].rewrite"),
        (SCORING, "        set: {x-model: green}\n", 8, "spec.http[1].headers.request"),
        (SCORING, "      redirectCode: 302\n", 6, "spec.http[2].redirect"),
        (SCORING, "      status: 200\n", 6, "spec.http[3].directResponse"),
        (SCORING, "      weight: 60\n", 6, "spec.http[4].route[0]"),
        (RULE, "  host: model-svc-green\n", 2, "spec"),
        (RULE, "      tcp: {connectTimeout: 3s}\n", 6, "spec.trafficPolicy.connectionPool"),
        (RULE, "  - name: v1\n", 4, "spec.subsets[0]"),
        (ENTRY, "  resolution: STATIC\n", 2, "spec"),
        (ENTRY, "  - address: 10.0.0.1\n", 4, "spec.endpoints[0]"),
    ];
    let mut files = Vec::new();
    for (document, above, columns, path) in places {
        let indentation = " ".repeat(columns);
        let unknown = format!("{above}{HERE}{indentation}novelty: 1\n");
        files.push(edit(document, above, &unknown, &format!("{path}.novelty"), "unknown field"));
        let merged = format!("{above}{HERE}{indentation}<<: {{}}\n");
        files.push(edit(document, above, &merged, &format!("{path}[\"<<\"]"), "merge keys (<<) are not supported"));
    }
    files
}

const GATEWAY_EDITS: &[Edit] = &[
    (
        "  name: abtest-gateway",
        "  name: abtest-gateway\n<here>  labels: {a: b c}",
        "metadata.labels.a",
        "not the value of a label",
    ),
    ("  selector: {istio: ingressgateway}", "  selector: a", "spec.selector", "\"a\" is not a mapping"),
    (
        "  selector: {istio: ingressgateway}",
        "  selector: {istio: 1}",
        "spec.selector.istio",
        "1 without quotes is a number",
    ),
    ("  - port:\n      number: 80\n", "  - <here>port:\n", "spec.servers[0].port.number", "required"),
    ("    hosts: ['*']", "    hosts: '*'", "spec.servers[0].hosts", "\"*\" is not a list"),
    ("    hosts: ['*']", "    hosts: []", "spec.servers[0].hosts", "at least one host"),
    ("    hosts: ['*']", "    hosts: ['']", "spec.servers[0].hosts[0]", "must not be empty"),
    ("    hosts: ['*']", "    hosts: [scoring]", "spec.servers[0].hosts[0]", "is a short name"),
    ("    hosts: ['*']", "    hosts: ['*x.example.com']", "spec.servers[0].hosts[0]", "is not a whole label"),
    ("    hosts: ['*']", "    hosts: [a.*.com]", "spec.servers[0].hosts[0]", "\"*\" is not a label"),
    ("    hosts: ['*']", "    hosts: [a b/c.com]", "spec.servers[0].hosts[0]", "\"a b\" is not a namespace"),
    ("    hosts: ['*']", "    hosts: ['a.com:80']", "spec.servers[0].hosts[0]", "\"com:80\" is not a label"),
    ("      protocol: HTTP\n", "      protocol: HTTPX\n", "spec.servers[0].port.protocol", "is not a protocol"),
    ("      protocol: HTTP\n", "      protocol: UDP\n", "spec.servers[0].port.protocol", "\"UDP\" is not supported"),
    (
        "      protocol: HTTP\n",
        "      protocol: HTTP\n<here>      targetPort: 8080\n",
        "spec.servers[0].port.targetPort",
        "no meaning",
    ),
    ("    hosts: ['*']", "    hosts: ['*']\n    tls: {<here>mode: SIMPLE}", "spec.servers[0].tls.mode", "clear text"),
    (
        "    hosts: ['*']",
        "    hosts: ['*']\n<here>    bind: 0.0.0.0",
        "spec.servers[0].bind",
        "not supported by the gateway",
    ),
    (
        "  - port:\n      number: 443\n      name: https",
        "  - <here>port:\n      number: 443\n      name: http",
        "spec.servers[1]",
        "a second port called",
    ),
    (
        "      protocol: HTTPS",
        "      protocol: HTTPS\n      targetPort: 0\n<here>      name: https",
        "spec.servers[1].port.name",
        "there twice",
    ),
    ("      mode: SIMPLE", "      mode: STRICT", "spec.servers[1].tls.mode", "\"STRICT\" is not known"),
    (
        "      credentialName: scoring-cert",
        "      credentialName: ../key",
        "spec.servers[1].tls.credentialName",
        "is not a name",
    ),
    (
        "      mode: SIMPLE\n",
        "      mode: SIMPLE\n<here>      maxProtocolVersion: TLSV1_0\n",
        "spec.servers[1].tls.maxProtocolVersion",
        "TLSV1_0 is not supported",
    ),
    (
        "      mode: SIMPLE\n",
        "      mode: SIMPLE\n<here>      cipherSuites: [AES128-SHA]\n",
        "spec.servers[1].tls.cipherSuites",
        "not supported",
    ),
    (
        "    tls:\n      mode: SIMPLE\n",
        "<here>    tls:\n      mode: SIMPLE\n      privateKey: /key\n",
        "spec.servers[1].tls",
        "both credentialName and files",
    ),
];

const MATCH_EDITS: &[Edit] = &[
    ("  hosts: [scoring.example.com]", "  hosts: a", "spec.hosts", "\"a\" is not a list"),
    (
        "  hosts: [scoring.example.com]\n",
        "  hosts: []\n<here>",
        "spec.gateways",
        "without hosts it is a delegate, which has no gateways",
    ),
    ("  hosts: [scoring.example.com]", "  hosts: [a.com, '*.com']", "spec.hosts[1]", "for the same hosts"),
    ("  hosts: [scoring.example.com]", "  hosts: [A.com, a.com]", "spec.hosts[1]", "for the same hosts"),
    ("  hosts: [scoring.example.com]", "  hosts: [a..com]", "spec.hosts[0]", "\"\" is not a label"),
    ("  hosts: [scoring.example.com]", "  hosts: ['http://a.com']", "spec.hosts[0]", "is not a label"),
    ("  hosts: [scoring.example.com]", "  hosts: [10.0.0.300]", "spec.hosts[0]", "its last label is a number"),
    (
        "  hosts: [scoring.example.com]\n  gateways: [abtest-gateway]",
        "  hosts: ['*']",
        "spec.hosts[0]",
        "needs gateways",
    ),
    ("  gateways: [abtest-gateway]", "  gateways: [a b]", "spec.gateways[0]", "is not the name of a Gateway"),
    ("  gateways: [abtest-gateway]", "  gateways: [a/b/c]", "spec.gateways[0]", "is not the name of a Gateway"),
    ("  gateways: [abtest-gateway]", "  gateways: {a: b}", "spec.gateways", "a mapping is not a list"),
    ("  gateways: [abtest-gateway]", "  exportTo: '*'", "spec.exportTo", "\"*\" is not a list"),
    ("  gateways: [abtest-gateway]", "  exportTo: [a b]", "spec.exportTo[0]", "\"a b\" is not a namespace"),
    ("  gateways: [abtest-gateway]", "  exportTo: ['~']", "spec.exportTo[0]", "\"~\" is not a namespace"),
    ("  gateways: [abtest-gateway]", "  exportTo: [., abtesting]", "spec.exportTo[1]", "abtesting is there twice"),
    ("  gateways: [abtest-gateway]", "  exportTo: [a, '*']", "spec.exportTo", "* leaves nothing to say to others"),
    ("  gateways: [abtest-gateway]", "  tcp: {}", "spec.tcp", "a mapping is not a list"),
    ("  gateways: [abtest-gateway]", "  tls: [a]", "spec.tls[0]", "\"a\" is not a mapping"),
    (
        "  hosts: [scoring.example.com]\n  gateways: [abtest-gateway]\n",
        "  tcp: [{route: []}]\n",
        "spec.tcp",
        "without hosts it is a delegate, which has http rules alone",
    ),
    (
        "    - uri:\n        prefix: /score",
        "    - <here>uri:\n        prefix: /score\n        exact: /a",
        "spec.http[0].match[0].uri",
        "only one of",
    ),
    ("        prefix: /score", "        regex: '[a-'", "spec.http[0].match[0].uri.regex", "missing closing ]"),
    ("        prefix: /score", "        regex: '(?!x)'", "spec.http[0].match[0].uri.regex", "look-around"),
    ("        prefix: /score", "        regex: '*'", "spec.http[0].match[0].uri.regex", "nothing to repeat"),
    ("        prefix: /score", "        regex: ''", "spec.http[0].match[0].uri.regex", "must not be empty"),
    ("        prefix: /score", "        regex: '(a)\\1'", "spec.http[0].match[0].uri.regex", "back-references"),
    ("        prefix: /score", "        regex: 'a{1001}'", "spec.http[0].match[0].uri.regex", "more than 1000 times"),
    ("        prefix: /score", "        regex: '\\pL{999}'", "spec.http[0].match[0].uri.regex", "too large"),
    (
        "          exact: blue",
        "          prefix: ''",
        "spec.http[0].match[0].headers.x-api-version.prefix",
        "must not be empty",
    ),
    (
        "        x-api-version:",
        "        x api:",
        "spec.http[0].match[0].headers[\"x api\"]",
        "is not the name of a header",
    ),
    ("        x-api-version:", "        '':", "spec.http[0].match[0].headers[\"\"]", "must not be empty"),
    (
        "        x-api-version:",
        "        ':path':",
        "spec.http[0].match[0].headers[\":path\"]",
        "not supported by the gateway",
    ),
    (
        "        x-api-version:",
        "        '@request.auth.claims.a':",
        "spec.http[0].match[0].headers[\"@request.auth.claims.a\"]",
        "not supported",
    ),
    ("        x-api-version:", "        no:", "spec.http[0].match[0].headers.no", "no without quotes is a boolean"),
    ("      method: {exact: POST}", "      method: POST", "spec.http[1].match[0].method", "\"POST\" is not a mapping"),
    ("      method: {exact: POST}", "      method: {is: POST}", "spec.http[1].match[0].method.is", "unknown field"),
    (
        "      method: {exact: POST}",
        "      method: {regex: '('}",
        "spec.http[1].match[0].method.regex",
        "missing closing )",
    ),
    (
        "      method: {exact: POST}",
        "      ignoreUriCase: 'yes'",
        "spec.http[1].match[0].ignoreUriCase",
        "neither true nor false",
    ),
    (
        "      method: {exact: POST}",
        "      sourceLabels: {a: b c}",
        "spec.http[1].match[0].sourceLabels.a",
        "value of a label",
    ),
    (
        "      method: {exact: POST}",
        "      sourceNamespace: a b",
        "spec.http[1].match[0].sourceNamespace",
        "is not a namespace",
    ),
    (
        "      method: {exact: POST}",
        "      gateways: [a b]",
        "spec.http[1].match[0].gateways[0]",
        "is not the name of a Gateway",
    ),
    ("{trial: {exact: 'true'}}", "{trial: 'true'}", "spec.http[1].match[0].queryParams.trial", "is not a mapping"),
    (
        "{trial: {exact: 'true'}}",
        "{trial: {exact: true}}",
        "spec.http[1].match[0].queryParams.trial.exact",
        "is a boolean",
    ),
];

const ACTION_EDITS: &[Edit] = &[
    (
        "        host: model-svc-blue\n",
        "        host: a b\n",
        "spec.http[0].route[0].destination.host",
        "is not a host name",
    ),
    (
        "        host: model-svc-blue\n",
        "        host: '*'\n",
        "spec.http[0].route[0].destination.host",
        "no destination",
    ),
    (
        "        host: model-svc-blue\n",
        "        host: ''\n",
        "spec.http[0].route[0].destination.host",
        "must not be empty",
    ),
    (
        "        port:\n          number: 5001\n",
        "        port: 5001\n",
        "spec.http[0].route[0].destination.port",
        "is not a mapping",
    ),
    (
        "        port:\n          number: 5001\n",
        "        port: {}\n",
        "spec.http[0].route[0].destination.port.number",
        "required",
    ),
    ("    timeout: 5s", "    timeout: 5", "spec.http[0].timeout", "\"5\" is not a duration"),
    ("    timeout: 5s", "    timeout: 5 s", "spec.http[0].timeout", "\"5 s\" is not a duration"),
    ("    timeout: 5s", "    timeout: 0s", "spec.http[0].timeout", "shorter than 1 ms"),
    ("    timeout: 5s", "    timeout: -5s", "spec.http[0].timeout", "shorter than 1 ms"),
    ("    timeout: 5s", "    timeout: 100us", "spec.http[0].timeout", "shorter than 1 ms"),
    ("    timeout: 5s", "    timeout: 1.0005s", "spec.http[0].timeout", "finer than milliseconds"),
    ("    timeout: 5s", "    timeout: 9999999h", "spec.http[0].timeout", "is not a duration"),
    ("    timeout: 5s", "    timeout: [5s]", "spec.http[0].timeout", "a list is not a duration"),
    ("    timeout: 5s", "    fault: {}", "spec.http[0].fault", "neither a delay nor an abort"),
    (
        "    timeout: 5s",
        "    fault: {abort: {httpStatus: 700}}",
        "spec.http[0].fault.abort.httpStatus",
        "700 is above 600",
    ),
    (
        "    timeout: 5s",
        "    fault: {abort: {httpStatus: 500, grpcStatus: INTERNAL}}",
        "spec.http[0].fault.abort",
        "httpStatus and grpcStatus exclude each other",
    ),
    (
        "    timeout: 5s",
        "    fault: {abort: {grpcStatus: BROKEN}}",
        "spec.http[0].fault.abort.grpcStatus",
        "\"BROKEN\" is no status of gRPC",
    ),
    (
        "    timeout: 5s",
        "    fault: {abort: {httpStatus: 500, http2Error: x}}",
        "spec.http[0].fault.abort.http2Error",
        "not supported by the gateway",
    ),
    (
        "    timeout: 5s",
        "    fault: {delay: {fixedDelay: 0s}}",
        "spec.http[0].fault.delay.fixedDelay",
        "0s is shorter than 1 ms",
    ),
    (
        "    timeout: 5s",
        "    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}",
        "spec.http[0].fault.delay.percentage.value",
        "is not 0 and below 0.0001",
    ),
    (
        "    timeout: 5s",
        "    fault: {delay: {fixedDelay: 1s, percentage: {value: x}}}",
        "spec.http[0].fault.delay.percentage.value",
        "\"x\" is not a number",
    ),
    (
        "    timeout: 5s",
        "    mirrors: [{percentage: {value: 101}, destination: {host: a}}]",
        "spec.http[0].mirrors[0].percentage.value",
        "101 is above 100",
    ),
    (
        "    timeout: 5s",
        "    mirrors: [{percentage: {value: -1}, destination: {host: a}}]",
        "spec.http[0].mirrors[0].percentage.value",
        "-1 is below 0",
    ),
    ("    timeout: 5s", "    mirrors: [{}]", "spec.http[0].mirrors[0].destination", "required"),
    (
        "    timeout: 5s",
        "    mirror: {host: a}\n    <here>mirror_percent: 101",
        "spec.http[0].mirror_percent",
        "101 is above 100",
    ),
    (
        "    timeout: 5s",
        "    corsPolicy: {allowOrigins: [{exact: ''}]}",
        "spec.http[0].corsPolicy.allowOrigins[0]",
        "an empty origin matches nothing",
    ),
    (
        "    timeout: 5s",
        "    corsPolicy: {allowOrigins: [{}]}",
        "spec.http[0].corsPolicy.allowOrigins[0]",
        "no kind of match",
    ),
    (
        "    timeout: 5s",
        "    corsPolicy: {allowMethods: [get]}",
        "spec.http[0].corsPolicy.allowMethods[0]",
        "\"get\" is not a method",
    ),
    (
        "    timeout: 5s",
        "    corsPolicy: {maxAge: 1500ms}",
        "spec.http[0].corsPolicy.maxAge",
        "1500ms is finer than seconds",
    ),
    (
        "    timeout: 5s",
        "    corsPolicy: {unmatchedPreflights: DROP}",
        "spec.http[0].corsPolicy.unmatchedPreflights",
        "\"DROP\" is not known",
    ),
    (
        "    route:\n    - destination:\n        host: model-svc-blue\n",
        "    delegate: {name: a}\n<here>    route:\n    - destination:\n        host: model-svc-blue\n",
        "spec.http[0].route",
        "delegate excludes route",
    ),
    (
        "    redirect:\n      uri: /score\n",
        "    delegate: {name: a}\n<here>    redirect:\n      uri: /score\n",
        "spec.http[2].redirect",
        "delegate excludes redirect",
    ),
    (
        "    redirect:\n      uri: /score\n      redirectCode: 302\n",
        "    delegate: {}\n",
        "spec.http[2].delegate.name",
        "required",
    ),
    (
        "    redirect:\n      uri: /score\n      redirectCode: 302\n",
        "    delegate: {name: a b}\n",
        "spec.http[2].delegate.name",
        "is not a name of Kubernetes",
    ),
    (
        "    redirect:\n      uri: /score\n      redirectCode: 302\n",
        "    delegate: {name: a, namespace: a.b}\n",
        "spec.http[2].delegate.namespace",
        "is not a namespace of Kubernetes",
    ),
    (
        "    redirect:\n      uri: /score\n      redirectCode: 302\n",
        "    delegate: {name: a, subset: b}\n",
        "spec.http[2].delegate.subset",
        "unknown field",
    ),
    ("    timeout: 5s", "    Timeout: 5s", "spec.http[0].Timeout", "unknown field"),
    (
        "      perTryTimeout: 1s",
        "      perTryTimeout: soon",
        "spec.http[0].retries.perTryTimeout",
        "\"soon\" is not a duration",
    ),
    ("      perTryTimeout: 1s", "      backoff: 0s", "spec.http[0].retries.backoff", "shorter than 1 ms"),
    (
        "      perTryTimeout: 1s",
        "      retryRemoteLocalities: true",
        "spec.http[0].retries.retryRemoteLocalities",
        "not supported",
    ),
    (
        "      perTryTimeout: 1s",
        "      retryIgnorePreviousHosts: 1",
        "spec.http[0].retries.retryIgnorePreviousHosts",
        "neither true nor false",
    ),
    ("      retryOn: 5xx,503", "      retryOn: sometimes", "spec.http[0].retries.retryOn", "\"sometimes\" is neither"),
    ("      retryOn: 5xx,503", "      retryOn: 5xx, 503", "spec.http[0].retries.retryOn", "\" 503\" is neither"),
    ("      retryOn: 5xx,503", "      retryOn: 5xx,", "spec.http[0].retries.retryOn", "\"\" is neither"),
    ("      retryOn: 5xx,503", "      retryOn: '999'", "spec.http[0].retries.retryOn", "\"999\" is neither"),
    (
        "    retries:\n      attempts: 2\n",
        "<here>    retries:\n",
        "spec.http[0].retries",
        "mean nothing without attempts",
    ),
    (
        "    - destination: {host: model-svc-green, subset: v1}",
        "    - {}",
        "spec.http[1].route[0].destination",
        "required",
    ),
    (
        "    - destination: {host: model-svc-green, subset: v1}",
        "    - {destination: [a]}",
        "spec.http[1].route[0].destination",
        "a list is not",
    ),
    (
        "{host: model-svc-green, subset: v1}",
        "{host: a, subset: v 1}",
        "spec.http[1].route[0].destination.subset",
        "name of a subset",
    ),
    (
        "    route:\n    - destination: {host: model-svc-green, subset: v1}",
        "    route: []",
        "spec.http[1].route",
        "at least one destination",
    ),
    (
        "    rewrite:\n      uri: /new",
        "<here>    rewrite:\n      uri: ''",
        "spec.http[1].rewrite",
        "one of uri, uriRegexRewrite and authority",
    ),
    ("      uri: /new", "      uri: /a b", "spec.http[1].rewrite.uri", "a URL must not hold"),
    ("      uri: /new", "      uri: /ä", "spec.http[1].rewrite.uri", "a URL must not hold"),
    ("      uri: /new", "      authority: a b", "spec.http[1].rewrite.authority", "is not an authority"),
    (
        "      uri: /new",
        "      uriRegexRewrite: {match: '(', rewrite: a}",
        "spec.http[1].rewrite.uriRegexRewrite.match",
        "missing closing )",
    ),
    (
        "      uri: /new",
        "      uriRegexRewrite: {match: a, rewrite: '\\1'}",
        "spec.http[1].rewrite.uriRegexRewrite.rewrite",
        "the pattern has 0",
    ),
    (
        "      uri: /new",
        "      uriRegexRewrite: {match: a}",
        "spec.http[1].rewrite.uriRegexRewrite.rewrite",
        "required",
    ),
    (
        "    rewrite:\n      uri: /new",
        "<here>    rewrite:\n      uri: /new\n      uriRegexRewrite: {match: a, rewrite: b}",
        "spec.http[1].rewrite",
        "exclude each other",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x model: green}",
        "spec.http[1].headers.request.set[\"x model\"]",
        "name of a header",
    ),
    (
        "        set: {x-model: green}",
        "        set: {'': green}",
        "spec.http[1].headers.request.set[\"\"]",
        "must not be empty",
    ),
    (
        "        set: {x-model: green}",
        "        set: {':path': /}",
        "spec.http[1].headers.request.set[\":path\"]",
        "pseudo-header",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x-model: 1}",
        "spec.http[1].headers.request.set.x-model",
        "is a number",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x-model: 100%}",
        "spec.http[1].headers.request.set.x-model",
        "a lone %",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x-model: '%HOST%'}",
        "spec.http[1].headers.request.set.x-model",
        "\"%HOST%\" is not supported",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x-model: \"a\\nb\"}",
        "spec.http[1].headers.request.set.x-model",
        "control character",
    ),
    (
        "        set: {x-model: green}",
        "        set: {x-model: a, X-Model: b}",
        "spec.http[1].headers.request.set.X-Model",
        "there twice",
    ),
    (
        "        set: {x-model: green}",
        "        set: [x-model]",
        "spec.http[1].headers.request.set",
        "a list is not a mapping",
    ),
    (
        "        remove: [x-debug]",
        "        remove: [Host]",
        "spec.http[1].headers.request.remove[0]",
        "cannot be removed",
    ),
    (
        "        remove: [x-debug]",
        "        remove: [':path']",
        "spec.http[1].headers.request.remove[0]",
        "pseudo-header",
    ),
    ("        remove: [x-debug]", "        remove: x-debug", "spec.http[1].headers.request.remove", "is not a list"),
    (
        "    headers:\n      request:\n",
        "    headers:\n      response: {set: {<here>host: a}}\n      request:\n",
        "spec.http[1].headers.response.set.host",
        "no authority",
    ),
    (
        "  - match:\n    - uri: {prefix: /old}\n    redirect:\n",
        "  - <here>match:\n    - uri: {prefix: /old}\n    route: [{destination: {host: a}}]\n    redirect:\n",
        "spec.http[2]",
        "route and redirect exclude each other",
    ),
    ("    redirect:\n", "    rewrite: {uri: /a}\n    redirect:\n", "spec.http[2].rewrite", "redirect excludes rewrite"),
    (
        "      redirectCode: 302",
        "      redirectCode: 200",
        "spec.http[2].redirect.redirectCode",
        "is not the status of a redirect",
    ),
    ("      redirectCode: 302", "      scheme: ftp", "spec.http[2].redirect.scheme", "\"ftp\" is not a scheme"),
    (
        "      redirectCode: 302",
        "      derivePort: FROM_HOME",
        "spec.http[2].redirect.derivePort",
        "\"FROM_HOME\" is not known",
    ),
    (
        "    redirect:\n      uri: /score\n      redirectCode: 302\n",
        "    redirect: {}\n",
        "spec.http[2].redirect",
        "is required",
    ),
    (
        "    redirect:\n      uri: /score\n",
        "<here>    redirect:\n      uri: /score\n      prefixRewrite: /a\n",
        "spec.http[2].redirect",
        "uri and prefixRewrite exclude",
    ),
    (
        "    redirect:\n      uri: /score\n",
        "<here>    redirect:\n      port: 80\n      derivePort: FROM_REQUEST_PORT\n",
        "spec.http[2].redirect",
        "port and derivePort exclude",
    ),
    (
        "    - uri: {prefix: /old}\n    redirect:\n      uri: /score\n",
        "    - uri: {exact: /old}\n    redirect:\n<here>      prefixRewrite: /score\n",
        "spec.http[2].redirect.prefixRewrite",
        "by prefix",
    ),
    (
        "    directResponse:\n      status: 200\n",
        "<here>    directResponse:\n",
        "spec.http[3].directResponse.status",
        "required",
    ),
    ("      body: {string: fine}", "      body: fine", "spec.http[3].directResponse.body", "\"fine\" is not a mapping"),
    ("      body: {string: fine}", "      body: {bytes: '*'}", "spec.http[3].directResponse.body.bytes", "not base64"),
    (
        "      body: {string: fine}",
        "      body: {string: a, bytes: YQ==}",
        "spec.http[3].directResponse.body",
        "exclude each other",
    ),
    (
        "  - route:\n    - destination: {host: model-svc-green}\n      weight: 60\n    - destination: {host: model-svc-blue}\n      weight: 40\n",
        "  - name: nothing\n",
        "spec.http[4]",
        "one of route, redirect and directResponse",
    ),
];

const RULE_EDITS: &[Edit] = &[
    ("spec:\n  host: model-svc-green\n", "<here>spec:\n", "spec.host", "required"),
    ("  host: model-svc-green\n", "  host: a b\n", "spec.host", "is not a host name"),
    ("  host: model-svc-green\n", "  host: a\n<here>  exportTo: ['~']\n", "spec.exportTo[0]", "is not a namespace"),
    (
        "  host: model-svc-green\n",
        "  host: a\n<here>  workloadSelector: {labels: {}}\n",
        "spec.workloadSelector.labels",
        "unknown field",
    ),
    (
        "  host: model-svc-green\n",
        "  host: a\n  workloadSelector: {matchLabels: {a: b}}\n<here>  exportTo: ['*']\n",
        "spec.exportTo",
        "is for its own namespace alone",
    ),
    (
        "    labels: {version: v1}\n---",
        "    trafficPolicy: {tls: {mode: BEST}}\n---",
        "spec.subsets[0].trafficPolicy.tls.mode",
        "\"BEST\" is not known",
    ),
    (
        "    labels: {version: v1}\n---",
        "    labels: {version: v 1}\n---",
        "spec.subsets[0].labels.version",
        "is not the value of a label",
    ),
    (
        "    labels: {version: v1}\n---",
        "    trafficPolicy: {}\n---",
        "spec.subsets[0].trafficPolicy",
        "at least one field",
    ),
    ("    labels: {version: v1}\n---", "  - <here>name: v1\n---", "spec.subsets[1]", "a second subset called v1"),
    ("  - name: v1\n", "  - name: v 1\n", "spec.subsets[0].name", "is not the name of a subset"),
];

/// Of `trafficPolicy` a field that is wrong, where below it, and what is said of it.
const POLICY_EDITS: &[(&str, &str, &str)] = &[
    ("connectionPool: {}", "connectionPool", "at least one field"),
    ("connectionPool: {tcp: 3s}", "connectionPool.tcp", "is not a mapping"),
    ("connectionPool: {tcp: {connectTimeout: 3}}", "connectionPool.tcp.connectTimeout", "not a duration"),
    ("connectionPool: {tcp: {connectTimeout: 0s}}", "connectionPool.tcp.connectTimeout", "shorter than 1 ms"),
    ("connectionPool: {tcp: {maxConnections: -1}}", "connectionPool.tcp.maxConnections", "-1 is below 0"),
    ("connectionPool: {tcp: {idleTimeout: -1s}}", "connectionPool.tcp.idleTimeout", "shorter than 1 ms"),
    ("connectionPool: {tcp: {tcpKeepalive: {time: 0s}}}", "connectionPool.tcp.tcpKeepalive.time", "shorter than 1 ms"),
    ("connectionPool: {tcp: {tcpKeepalive: {count: 3}}}", "connectionPool.tcp.tcpKeepalive.count", "unknown field"),
    (
        "connectionPool: {http: {maxRequestsPerConnection: -1}}",
        "connectionPool.http.maxRequestsPerConnection",
        "-1 is below 0",
    ),
    ("connectionPool: {http: {idleTimeout: never}}", "connectionPool.http.idleTimeout", "not a duration"),
    ("connectionPool: {http: {h2UpgradePolicy: ALWAYS}}", "connectionPool.http.h2UpgradePolicy", "is not known"),
    (
        "connectionPool: {http: {useClientProtocol: 1}}",
        "connectionPool.http.useClientProtocol",
        "neither true nor false",
    ),
    ("connectionPool: {http: {maxConcurrentStreams: -5}}", "connectionPool.http.maxConcurrentStreams", "-5 is below 0"),
    (
        "connectionPool: {http: {http2KeepAlive: {interval: 0s}}}",
        "connectionPool.http.http2KeepAlive.interval",
        "shorter than 1 ms",
    ),
    ("loadBalancer: {simple: PASSTHROUGH}", "loadBalancer.simple", "PASSTHROUGH is not supported"),
    ("loadBalancer: {simple: BEST}", "loadBalancer.simple", "\"BEST\" is not known"),
    ("loadBalancer: {simple: RANDOM, consistentHash: {}}", "loadBalancer", "exclude each other"),
    (
        "loadBalancer: {localityLbSetting: {failoverPriority: [a]}}",
        "loadBalancer.localityLbSetting.failoverPriority",
        "not supported",
    ),
    (
        "loadBalancer: {consistentHash: {httpHeaderName: a b}}",
        "loadBalancer.consistentHash.httpHeaderName",
        "not the name of a header",
    ),
    (
        "loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: true}}",
        "loadBalancer.consistentHash",
        "more than one of what is to be hashed",
    ),
    (
        "loadBalancer: {consistentHash: {ringHash: {}, maglev: {tableSize: 3}}}",
        "loadBalancer.consistentHash.ringHash",
        "more than one table",
    ),
    ("loadBalancer: {consistentHash: {maglev: {}}}", "loadBalancer.consistentHash.maglev.tableSize", "required"),
    (
        "loadBalancer: {consistentHash: {maglev: {tableSize: 1000}}}",
        "loadBalancer.consistentHash.maglev.tableSize",
        "1000 is not a prime number",
    ),
    (
        "loadBalancer: {consistentHash: {maglev: {tableSize: 5000011}}}",
        "loadBalancer.consistentHash.maglev.tableSize",
        "above 5000010",
    ),
    (
        "loadBalancer: {consistentHash: {ringHash: {minimumRingSize: 8388609}}}",
        "loadBalancer.consistentHash.ringHash.minimumRingSize",
        "above 8388608",
    ),
    ("loadBalancer: {consistentHash: {httpCookie: {}}}", "loadBalancer.consistentHash.httpCookie.name", "required"),
    (
        "loadBalancer: {consistentHash: {httpCookie: {name: a=b}}}",
        "loadBalancer.consistentHash.httpCookie.name",
        "is not the name of a cookie",
    ),
    (
        "loadBalancer: {consistentHash: {httpCookie: {name: a, path: /;b}}}",
        "loadBalancer.consistentHash.httpCookie.path",
        "cannot be in a cookie",
    ),
    (
        "loadBalancer: {consistentHash: {httpCookie: {name: a, attributes: [{name: b}, {name: b}]}}}",
        "loadBalancer.consistentHash.httpCookie.attributes[1].name",
        "a second attribute",
    ),
    ("loadBalancer: {warmup: {minimumPercent: 5}}", "loadBalancer.warmup.duration", "required"),
    (
        "loadBalancer: {warmup: {duration: 1s, minimumPercent: 101}}",
        "loadBalancer.warmup.minimumPercent",
        "101 is above 100",
    ),
    ("loadBalancer: {warmup: {duration: 1s, aggression: 0}}", "loadBalancer.warmup.aggression", "0 is no aggression"),
    ("outlierDetection: {interval: 0s}", "outlierDetection.interval", "shorter than 1 ms"),
    ("outlierDetection: {consecutive5xxErrors: -1}", "outlierDetection.consecutive5xxErrors", "-1 is below 0"),
    ("outlierDetection: {maxEjectionPercent: 101}", "outlierDetection.maxEjectionPercent", "101 is above 100"),
    ("outlierDetection: {minHealthPercent: -1}", "outlierDetection.minHealthPercent", "-1 is below 0"),
    (
        "outlierDetection: {consecutiveLocalOriginFailures: 3}",
        "outlierDetection",
        "without splitExternalLocalOriginErrors",
    ),
    (
        "outlierDetection: {outlierDetectionHttpErrorCodes: ['5xx']}",
        "outlierDetection.outlierDetectionHttpErrorCodes",
        "not supported",
    ),
    ("tls: DISABLE", "tls", "is not a mapping"),
    ("tls: {mode: disable}", "tls.mode", "\"disable\" is not known"),
    ("tls: {mode: MUTUAL}", "tls", "requires a client certificate"),
    ("tls: {mode: MUTUAL, clientCertificate: /a}", "tls", "requires a private key"),
    ("tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}", "tls", "both credentialName and files"),
    ("tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}", "tls", "insecureSkipVerify leaves nothing"),
    ("tls: {mode: SIMPLE, caCrl: /a}", "tls.caCrl", "not supported"),
    ("tls: {mode: SIMPLE, sni: '*.example.com'}", "tls.sni", "is not a host name"),
    ("tls: {mode: SIMPLE, credentialName: a, caCertificates: system}", "tls", "both credentialName and files"),
    ("tls: {mode: SIMPLE, credentialName: A}", "tls.credentialName", "is not a name of Kubernetes"),
    ("portLevelSettings: {}", "portLevelSettings", "is not a list"),
    ("portLevelSettings: [{tls: {}}]", "portLevelSettings[0].port", "required"),
    ("portLevelSettings: [{port: {}, tls: {}}]", "portLevelSettings[0].port.number", "required"),
    ("portLevelSettings: [{port: {number: 0}, tls: {}}]", "portLevelSettings[0].port.number", "0 is below 1"),
    ("portLevelSettings: [{port: {number: 80}}]", "portLevelSettings[0]", "at least one field"),
    (
        "portLevelSettings: [{port: {number: 80}, connectionPool: {}}]",
        "portLevelSettings[0].connectionPool",
        "at least one field",
    ),
    ("retryBudget: {percent: {value: 20}}", "retryBudget.percent", "is not a number"),
    ("retryBudget: {percent: 101}", "retryBudget.percent", "101 is above 100"),
    ("retryBudget: {budgetInterval: 1s}", "retryBudget.budgetInterval", "not supported"),
    ("tunnel: {}", "tunnel", "not supported"),
    ("proxyProtocol: {}", "proxyProtocol", "not supported"),
];

/// [`ROUTES`] with another policy.
fn bad_policies() -> Vec<DamagedFile> {
    let old = "    loadBalancer: {simple: LEAST_REQUEST}";
    let pool = "    connectionPool:\n      tcp: {connectTimeout: 3s}\n      http: {maxRequestsPerConnection: 1}\n";
    let edited = POLICY_EDITS.iter().map(|(field, path, message)| {
        edit(RULE, &format!("{pool}{old}"), &format!("    {field}"), &format!("spec.trafficPolicy.{path}"), message)
    });
    edited.collect()
}

const ENTRY_EDITS: &[Edit] = &[
    ("[model-svc-green.abtesting.svc.cluster.local]", "[]", "spec.hosts", "at least one host"),
    ("[model-svc-green.abtesting.svc.cluster.local]", "['*']", "spec.hosts[0]", "every host is no service"),
    ("[model-svc-green.abtesting.svc.cluster.local]", "[10.0.0.1]", "spec.hosts[0]", "its last label is a number"),
    (
        "[model-svc-green.abtesting.svc.cluster.local]",
        "[a.b]\n<here>  exportTo: ['~', a]",
        "spec.exportTo",
        "~ leaves nothing to say to others",
    ),
    (
        "  resolution: STATIC\n  ports:\n  - number: 5001\n    name: http\n    protocol: HTTP\n  endpoints:\n",
        "  resolution: NONE\n  ports:\n  - number: 5001\n    name: http\n    protocol: HTTP\n<here>  endpoints:\n",
        "spec.endpoints",
        "resolution NONE has no endpoints",
    ),
    (
        "  - address: 10.0.0.1",
        "  - address: 10.0.0.1\n<here>    locality: a",
        "spec.endpoints[0].locality",
        "not supported by the gateway",
    ),
    (
        "[model-svc-green.abtesting.svc.cluster.local]",
        "[a.b]\n<here>  workloadSelector: {}",
        "spec.workloadSelector",
        "not supported",
    ),
    ("  location: MESH_INTERNAL", "  location: HERE", "spec.location", "\"HERE\" is not known"),
    ("  resolution: STATIC", "  resolution: DNS_ROUND_ROBIN", "spec.resolution", "DNS_ROUND_ROBIN is not supported"),
    ("  resolution: STATIC", "  resolution: MAGIC", "spec.resolution", "\"MAGIC\" is not known"),
    ("  - number: 5001\n    name: http\n", "  - <here>number: 5001\n", "spec.ports[0].name", "required"),
    (
        "  - number: 5001\n    name: http\n",
        "  - number: 5001\n<here>    name: a b\n",
        "spec.ports[0].name",
        "is not the name of a port",
    ),
    (
        "    protocol: HTTP\n  endpoints",
        "    protocol: UDP\n  endpoints",
        "spec.ports[0].protocol",
        "\"UDP\" is not supported",
    ),
    (
        "    protocol: HTTP\n  endpoints",
        "    protocol: HTTPX\n  endpoints",
        "spec.ports[0].protocol",
        "\"HTTPX\" is not a protocol",
    ),
    (
        "    protocol: HTTP\n  endpoints",
        "    protocol: HTTP\n  - <here>{number: 5001, name: b, protocol: HTTP}\n  endpoints",
        "spec.ports[1]",
        "a second port with the number",
    ),
    (
        "    protocol: HTTP\n  endpoints",
        "    protocol: HTTP\n  - <here>{number: 1, name: http, protocol: HTTP}\n  endpoints",
        "spec.ports[1]",
        "a second port called",
    ),
    ("  - address: 10.0.0.1\n    ports", "  - <here>ports", "spec.endpoints[0].address", "required"),
    ("  - address: 10.0.0.1", "  - address: model.example.com", "spec.endpoints[0].address", "is not an IP address"),
    ("  - address: 10.0.0.1", "  - address: 10.0.0.300", "spec.endpoints[0].address", "is not an IP address"),
    ("  - address: 10.0.0.1", "  - address: unix:///a", "spec.endpoints[0].address", "is not supported by the gateway"),
    (
        "  - address: 10.0.0.1",
        "  - address: 10.0.0.1\n<here>    weight: -5",
        "spec.endpoints[0].weight",
        "-5 is below 0",
    ),
    ("      http: 8080", "      grpc: 8080", "spec.endpoints[0].ports.grpc", "no port called \"grpc\""),
    ("    ports:\n      http: 8080", "    ports: [8080]", "spec.endpoints[0].ports", "a list is not a mapping"),
];
