//! Any request is decided on, in one way however often it is asked and in whichever order the documents stand; what is
//! forwarded goes to a destination that they name.

#![no_main]

#[path = "../../tests/second_opinion/cases.rs"]
#[expect(dead_code, reason = "only the documents are asked for")]
mod cases;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use turnout_routes::documents::{Action, Document, Scheme};
use turnout_routes::router::{
    Decision, Draws, Identity, LocalAnswer, RequestHead, Router, Transport, compile, normalise_path,
};
use turnout_routes::{Source, parse};

/// Which documents, and what is asked of them.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    seed: u8,
    is_on_81: bool,
    is_https: bool,
    method: Word<'a>,
    authority: Word<'a>,
    path: [Word<'a>; 3],
    query: Option<Word<'a>>,
    headers: Vec<(u8, &'a [u8])>,
    draw: u64,
}

/// What the documents have, or anything.
#[derive(Debug)]
struct Word<'a>(&'a str);

const WORDS: [&str; 28] = [
    "",
    "/",
    "/a",
    "/b",
    "/ab",
    "/A",
    "GET",
    "POST",
    "a.example.com",
    "b.example.com",
    "x.b.example.com",
    "-x.example.com",
    ":80",
    "x=1",
    "&x",
    "x",
    "1",
    "2",
    "http://",
    "*",
    "..",
    "%2f",
    "%61",
    "\\",
    ";",
    "#",
    "//",
    "[::1]",
];

impl<'a> Arbitrary<'a> for Word<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        match WORDS.get(usize::from(u8::arbitrary(input)?)) {
            Some(word) => Ok(Self(word)),
            None => <&str>::arbitrary(input).map(Self),
        }
    }
}

/// The documents of a seed.
struct Served {
    router: Router,
    /// From the last document to the first.
    reversed: Router,
    /// Hosts and subsets.
    destinations: HashSet<(String, Option<String>)>,
}

impl Served {
    fn of(seed: u8) -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let text = cases::case(1).new_tree(&mut runner).expect("a case").current().documents;
        let parsed = parse(&[Source { name: "seed", bytes: text.as_bytes() }]);
        let mut documents = parsed.unwrap_or_else(|problems| panic!("{problems}\n{text}")).documents;
        let labels = [("istio".to_owned(), "ingressgateway".to_owned())].into();
        let identity = Identity { labels, namespace: "istio-system".to_owned() };
        let router = compile(&documents, &identity);
        documents.reverse();
        let reversed = compile(&documents, &identity);
        Self { router, reversed, destinations: documents.iter().flat_map(destinations).collect() }
    }
}

fn destinations(document: &Document) -> Vec<(String, Option<String>)> {
    let Document::VirtualService(document) = document else { return Vec::new() };
    let mut found = Vec::new();
    for rule in &document.http {
        let Action::Forward(forward) = &rule.action else { continue };
        for part in forward.destinations.as_slice() {
            let host = &part.destination.host;
            let is_short = !host.contains('.');
            let whole = if is_short {
                format!("{host}.{}.svc.cluster.local", document.metadata.namespace)
            } else {
                host.clone()
            };
            found.push((whole, part.destination.subset.clone()));
        }
    }
    found
}

/// What counts of a decision.
fn said(decision: &Decision<'_>) -> String {
    let rule = decision.route().map(|route| route.rule.origin.in_full());
    let what = match decision {
        Decision::NoRoute => "no route".to_owned(),
        Decision::ToHttps(redirection) => format!("{redirection:?}"),
        Decision::Forward(forward) => format!("{} of {}", forward.target.name, forward.split.targets().len()),
        Decision::Answer(answer) => match &answer.content {
            LocalAnswer::Redirect(redirection) => format!("{redirection:?}"),
            LocalAnswer::Direct(direct) => format!("{direct:?}"),
        },
    };
    format!("{rule:?}: {what}")
}

fn decide(served: &Served, case: &Case<'_>) {
    let target: String = case.path.iter().map(|word| word.0).collect();
    let Ok(path) = normalise_path(&target) else { return };
    assert_eq!(normalise_path(&path).as_deref(), Ok(&*path), "normalised twice");
    let names = ["x-a", "x-b", "accept", "host"].map(HeaderName::from_static);
    let headers = case
        .headers
        .iter()
        .filter_map(|(name, value)| Some((names[usize::from(name % 4)].clone(), HeaderValue::from_bytes(value).ok()?)));
    let headers: HeaderMap = headers.take(16).collect();
    let head = RequestHead {
        port: if case.is_on_81 { 81 } else { 80 },
        transport: Transport::Plain,
        scheme: if case.is_https { Scheme::Https } else { Scheme::Http },
        method: case.method.0,
        authority: case.authority.0,
        path: &path,
        query: case.query.as_ref().map(|word| word.0),
        headers: &headers,
        peer: None,
    };
    let draws = Draws::random(case.draw);
    let decision = served.router.decide(&head, draws);
    assert_eq!(said(&decision), said(&served.router.decide(&head, draws)), "asked again");
    assert_eq!(said(&decision), said(&served.reversed.decide(&head, draws)), "the documents the other way round");
    let Decision::Forward(forward) = &decision else { return };

    let (place, subset) = match forward.target.name.split_once('/') {
        Some((place, subset)) => (place, Some(subset.to_owned())),
        None => (forward.target.name.as_str(), None),
    };
    let host = place.split_once(':').map_or(place, |(host, _)| host);
    assert!(served.destinations.contains(&(host.to_owned(), subset)), "{}", forward.target.name);
    assert!(forward.target.backend.as_ref().ok().is_none_or(|id| id.0 < served.router.backends().len()));
    let rewritten = forward.route.rewrite(&path, head.query);
    assert!(rewritten.is_none_or(|rewritten| !rewritten.is_empty()));
}

fuzz_target!(|case: Case<'_>| {
    thread_local!(static SERVED: RefCell<HashMap<u8, Served>> = RefCell::default());
    SERVED.with_borrow_mut(|all| decide(all.entry(case.seed).or_insert_with(|| Served::of(case.seed)), &case));
});
