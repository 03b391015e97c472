//! The case files: what to configure, what to send and what a real Istio answered. `cases/README.md` is their format.
//!
//! A field that is not known here is an error, so that no expectation is passed over in silence.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::Context as _;
use regex::{Captures, Regex};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::expectation::Expectation;

/// What the placeholders of a case stand for, by name: `GATEWAY`, `GREEN`, ...
pub(crate) type Placeholders = BTreeMap<&'static str, String>;

/// One case file.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) cases: Vec<Case>,
}

/// One case, with its placeholders still in place.
#[derive(Debug)]
pub(crate) struct Case {
    /// `family/case`
    pub(crate) name: String,
    /// The documents, joined as in one file.
    pub(crate) documents: String,
    requests: Vec<Value>,
}

/// One entry of a case's requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) send: Send,
    pub(crate) expect: Expectation,
}

/// What the client sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    #[serde(default = "default_method")]
    pub(crate) method: String,
    #[serde(default = "default_path")]
    pub(crate) path: String,
    /// The Host header; none if it is null.
    #[serde(default = "default_authority")]
    pub(crate) authority: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) body: String,
    /// That many `x` in place of a body.
    pub(crate) body_size: Option<usize>,
    #[serde(default)]
    pub(crate) chunked: bool,
    #[serde(default)]
    pub(crate) trailers: Vec<(String, String)>,
    /// The version in the request line, or `h2`.
    #[serde(default = "default_version")]
    pub(crate) http: String,
    /// The literal bytes of the request, in place of all that.
    pub(crate) raw: Option<String>,
    #[serde(default = "default_port")]
    pub(crate) port: String,
    pub(crate) tls: Option<Tls>,
    /// The server's name in the handshake.
    pub(crate) sni: Option<String>,
    /// Asks for a tunnel, and says something through it.
    #[serde(default)]
    pub(crate) websocket: bool,
    #[serde(default)]
    pub(crate) close: bool,
    /// Here the connection's end is watched wherever it is expected, or not.
    #[serde(rename = "check_close")]
    _check_close: Option<IgnoredAny>,
    #[serde(default = "default_count")]
    pub(crate) count: usize,
    /// How many connections share the `count` requests.
    pub(crate) concurrency: Option<usize>,
    /// Whether the requests of a `count` share connections.
    pub(crate) keepalive: Option<bool>,
    /// Seconds before each request of a `count`.
    #[serde(default)]
    pub(crate) pause: f64,
    /// A header that has another value in each request of a `count`.
    pub(crate) vary_header: Option<String>,
    /// A query parameter that has another value in each request of a `count`.
    pub(crate) vary_query: Option<String>,
    /// Seconds before it.
    #[serde(default)]
    pub(crate) wait: f64,
    /// Seconds for copies to arrive; here they are waited for until none comes any more.
    #[serde(rename = "settle")]
    _settle: Option<IgnoredAny>,
}

/// Whether there is TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Tls {
    Plainly(bool),
    With(TlsWith),
}

/// TLS that not every client speaks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsWith {
    /// The name of the client's certificate.
    pub(crate) cert: Option<String>,
    /// The newest version of the client.
    pub(crate) max: Option<String>,
}

impl Tls {
    pub(crate) fn with(&self) -> Option<TlsWith> {
        match self {
            Self::Plainly(is) => is.then(TlsWith::default),
            Self::With(with) => Some(with.clone()),
        }
    }
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_path() -> String {
    "/".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn default_authority() -> Option<String> {
    Some("scoring.example.com".to_owned())
}

fn default_version() -> String {
    "1.1".to_owned()
}

fn default_port() -> String {
    "GATEWAY".to_owned()
}

fn default_count() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyFile {
    family: String,
    #[serde(default)]
    fragments: BTreeMap<String, String>,
    cases: Vec<CaseInFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseInFile {
    name: String,
    #[serde(rename = "note")]
    _note: Option<IgnoredAny>,
    #[serde(default, rename = "use")]
    fragments: Vec<String>,
    /// Here gateways say when they are ready.
    #[serde(rename = "wait_port")]
    _wait_port: Option<IgnoredAny>,
    #[serde(default)]
    documents: String,
    requests: Vec<Value>,
}

impl Family {
    /// Reads `cases/NAME.yaml`.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("parity/cases");
        let file = directory.join(name).with_extension("yaml");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: FamilyFile = serde_yaml::from_str(text)?;
        let mut cases = Vec::new();
        for case in file.cases {
            let name = format!("{}/{}", file.family, case.name);
            let mut documents = Vec::new();
            for fragment in &case.fragments {
                let text = file.fragments.get(fragment);
                documents.push(text.with_context(|| format!("{name}: no fragment {fragment:?}"))?.trim());
            }
            documents.push(case.documents.trim());
            documents.retain(|document| !document.is_empty());
            let documents = documents.join("\n---\n") + "\n";
            cases.push(Case { name, documents, requests: case.requests });
        }
        Ok(Self { cases })
    }
}

impl Case {
    /// Whether its documents have this placeholder.
    pub(crate) fn names(&self, placeholder: &str) -> bool {
        self.documents.contains(&format!("${{{placeholder}}}"))
    }

    /// The documents with every placeholder filled in.
    pub(crate) fn documents(&self, placeholders: &Placeholders) -> String {
        fill_in(&self.documents, placeholders)
    }

    /// The requests with every placeholder filled in.
    pub(crate) fn requests(&self, placeholders: &Placeholders) -> anyhow::Result<Vec<Request>> {
        let mut requests = Vec::new();
        for (index, request) in self.requests.iter().enumerate() {
            let mut request = request.clone();
            fill_in_everywhere(&mut request, placeholders);
            let request = serde_json::from_value(request);
            requests.push(request.with_context(|| format!("{} request {}", self.name, index + 1))?);
        }
        Ok(requests)
    }
}

fn fill_in_everywhere(value: &mut Value, placeholders: &Placeholders) {
    match value {
        Value::String(text) => *text = fill_in(text, placeholders),
        Value::Array(values) => values.iter_mut().for_each(|value| fill_in_everywhere(value, placeholders)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill_in_everywhere(value, placeholders)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces `${NAME}`, and `${REPEAT:c:n}` by n times c. A name that is not known stays as it is.
pub(crate) fn fill_in(text: &str, placeholders: &Placeholders) -> String {
    static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\$\{(?:REPEAT:(?<character>.):(?<times>[0-9]+)|(?<name>[A-Z0-9_]+))\}").expect("a good pattern")
    });
    let replaced = PLACEHOLDER.replace_all(text, |found: &Captures<'_>| {
        if let (Some(character), Some(times)) = (found.name("character"), found.name("times")) {
            return character.as_str().repeat(times.as_str().parse().expect("digits make a number"));
        }
        let value = found.name("name").and_then(|name| placeholders.get(name.as_str()));
        value.cloned().unwrap_or_else(|| found[0].to_owned())
    });
    replaced.into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Family, Placeholders, fill_in};

    #[test]
    fn placeholders_are_filled_in() {
        let placeholders = Placeholders::from([("GREEN", "5001".to_owned())]);
        let table = [
            ("http: ${GREEN}}", "http: 5001}"),
            ("${REPEAT:x:3}${REPEAT:::2}", "xxx::"),
            ("${OTHER} ${green} $GREEN ${", "${OTHER} ${green} $GREEN ${"),
        ];
        for (text, expected) in table {
            assert_eq!(fill_in(text, &placeholders), expected);
        }
    }

    #[test]
    fn fragments_come_before_the_documents_of_a_case() {
        let text = "family: f\nfragments: {a: 'A: ${P}', b: 'B: 1'}\ncases:\n\
                    - {name: c, use: [b, a], documents: 'C: 1', requests: [{send: {path: '/${P}'}, expect: {status: 200}}]}\n\
                    - {name: d, requests: []}\n";
        let family = Family::parse(text).expect("the file is good");
        let placeholders = Placeholders::from([("P", "7".to_owned())]);
        assert_eq!(family.cases[0].documents(&placeholders), "B: 1\n---\nA: 7\n---\nC: 1\n");
        assert_eq!(family.cases[1].documents(&placeholders), "\n");
        let requests = family.cases[0].requests(&placeholders).expect("the requests are good");
        assert_eq!((requests[0].send.path.as_str(), requests[0].send.method.as_str()), ("/7", "GET"));
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        for (send, expect) in [("{pathh: /}", "{}"), ("{quic: true}", "{}"), ("{}", "{statsu: 200}")] {
            let text = format!("family: f\ncases: [{{name: c, requests: [{{send: {send}, expect: {expect}}}]}}]\n");
            let family = Family::parse(&text).expect("the file is good");
            let refused = family.cases[0].requests(&Placeholders::new());
            let message = format!("{:#}", refused.expect_err("there is an unknown field"));
            assert!(message.starts_with("f/c request 1: unknown field"), "{message}");
        }
    }
}
