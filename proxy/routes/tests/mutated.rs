//! Whatever comes in, nothing panics: documents that were edited at random are read or refused, what is read is written and
//! read back as it was, and its router decides on any head. The texts are always the same.
//!
//! `cargo test --test mutated` edits 1,000 sets of documents; `TURNOUT_SLOW`, in the environment, makes it 100,000.

#[path = "second_opinion/cases.rs"]
#[expect(dead_code, reason = "only the documents are asked for")]
mod cases;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use turnout_routes::documents::{Scheme, Variable};
use turnout_routes::router::{
    Decision, Draws, FormatContext, Identity, RequestHead, Router, Transport, compile, normalise_path,
};
use turnout_routes::{Source, parse, render};

/// What an edit puts into a text: what means something to YAML or to a field, and what means nothing.
const PIECES: [&[u8]; 30] = [
    b"\0",
    b"\t",
    b" ",
    b"\n",
    b"\r\n",
    b"- ",
    b": ",
    b"? ",
    b"&a ",
    b"*a",
    b"!!str ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"'",
    b"\"",
    b"|\n",
    b">-\n",
    b"#",
    b"%",
    b"---\n",
    b"...\n",
    b"<<: ",
    b"99999999999999999999",
    b"-1",
    b"~",
    "\u{e9}".as_bytes(),
    "\u{feff}".as_bytes(),
    b"\xff",
];

/// At a place: how much is taken away, and what is put there: a piece, or what stands elsewhere.
#[derive(Clone, Debug)]
struct Edit {
    at: Index,
    removed: usize,
    inserted: Inserted,
}

#[derive(Clone, Debug)]
enum Inserted {
    Piece(&'static [u8]),
    Copied(Index, usize),
}

impl Edit {
    fn apply(&self, text: &mut Vec<u8>) {
        let begin = self.at.index(text.len() + 1);
        let end = text.len().min(begin + self.removed);
        let inserted = match &self.inserted {
            Inserted::Piece(piece) => piece.to_vec(),
            Inserted::Copied(from, length) => {
                text.iter().skip(from.index(text.len() + 1)).take(*length).copied().collect()
            }
        };
        text.splice(begin..end, inserted);
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let inserted = prop_oneof![
        2 => select(&PIECES[..]).prop_map(Inserted::Piece),
        1 => (any::<Index>(), 1..200usize).prop_map(|(from, length)| Inserted::Copied(from, length)),
    ];
    let removed = prop_oneof![2 => Just(0), 1 => 1..40usize];
    (any::<Index>(), removed, inserted).prop_map(|(at, removed, inserted)| Edit { at, removed, inserted })
}

/// A head of which nothing is checked.
#[derive(Clone, Debug)]
struct AnyHead {
    words: [String; 4],
    headers: Vec<(usize, Vec<u8>)>,
    draw: u64,
}

fn head() -> impl Strategy<Value = AnyHead> {
    let word = || {
        prop_oneof![
            "\\PC{0,6}",
            select(vec!["/a", "/a/b", "*", "", "GET", "a.example.com", ":", "[::1]:80"]).prop_map(str::to_owned)
        ]
    };
    let value = vec(prop_oneof![Just(b'1'), 0x20..0x7fu8, 0x80..=0xffu8], 0..4);
    ([word(), word(), word(), word()], vec((0..3usize, value), 0..4), any::<u64>())
        .prop_map(|(words, headers, draw)| AnyHead { words, headers, draw })
}

/// No value for any variable.
struct Nothing;

impl FormatContext for Nothing {
    fn request_headers(&self) -> Option<&HeaderMap> {
        None
    }

    fn append(&self, _: Variable, _: &mut Vec<u8>) {}
}

fn decide(router: &Router, head: &AnyHead) {
    let [method, authority, path, query] = &head.words;
    let names = ["x-a", "accept", "host"].map(HeaderName::from_static);
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("a value");
    let mut headers: HeaderMap = head.headers.iter().map(|(at, bytes)| (names[*at].clone(), value(bytes))).collect();
    let normalised = normalise_path(path).ok();
    let path = normalised.as_deref().unwrap_or(path);
    let (transport, scheme, query) = (Transport::Plain, Scheme::Http, Some(query.as_str()));
    let asked =
        RequestHead { port: 80, transport, scheme, method, authority, path, query, headers: &headers, peer: None };
    let decision = router.decide(&asked, Draws::random(head.draw));
    if let Decision::Forward(forward) = &decision {
        forward.route.rewrite(path, query);
        forward.target.request_headers.apply(&mut headers, &Nothing);
    }
}

#[test]
fn edited_documents_are_read_or_refused_and_any_head_is_decided_on() {
    let cases = if std::env::var_os("TURNOUT_SLOW").is_some() { 100_000 } else { 1_000 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let read = std::cell::Cell::new(0);
    let run = |(case, edits, heads): (cases::Case, Vec<Edit>, Vec<AnyHead>)| {
        let mut text = case.documents.into_bytes();
        for edit in &edits {
            edit.apply(&mut text);
        }
        let Ok(parsed) = parse(&[Source { name: "routes.yaml", bytes: &text }]) else { return Ok(()) };
        read.set(read.get() + 1);
        let written = render(&parsed.documents);
        let again = parse(&[Source { name: "written", bytes: written.as_bytes() }]);
        let again = again.map_err(|problems| TestCaseError::fail(format!("{problems}\n{written}")))?;
        prop_assert_eq!(render(&again.documents), written);
        let is_there = |document| again.documents.contains(document);
        prop_assert!(parsed.documents.iter().all(is_there), "{}", String::from_utf8_lossy(&text));
        let router = compile(&parsed.documents, &Identity::default());
        for head in &heads {
            decide(&router, head);
        }
        Ok(())
    };
    let strategy = (cases::case(1), vec(edit(), 0..=3), vec(head(), 1..=8));
    runner.run(&strategy, run).expect("nothing panics, and what is read is read back");
    println!("{} of {cases} were read", read.get());
    assert!(read.get() > cases / 10, "nearly all were refused");
}
