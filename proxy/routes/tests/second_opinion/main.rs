//! A second opinion on routing: what the compiled router decides on is compared with what a slow interpreter, made from the
//! descriptions of Istio and Envoy, makes of the same documents and the same request. The pairs are always the same.
//!
//! `cargo test --test second_opinion` compares 20,000 pairs; before it, in the environment, `TURNOUT_SLOW=1` or `=full`
//! compares a million, and `TURNOUT_PAIRS=500` as many as it says. A pair that differs is printed made small.

mod cases;
mod interpreter;

use cases::{Case, Request};
use http::{HeaderMap, HeaderName, HeaderValue};
use interpreter::{ANSWERED, Choice, Documents, LABELS, Lines, NAMESPACE, Place, Reach, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use turnout_routes::documents::{EndpointAddress, Scheme, Variable};
use turnout_routes::router::{
    Decision, Draws, FormatContext, Forward, HeaderChangeList, Identity, LocalAnswer, RequestHead, Router, Target,
    Transport, compile, normalise_path,
};
use turnout_routes::{Source, parse};

/// At most so many requests are asked of one set of documents: to read them takes longer than to ask.
const REQUESTS: usize = 39;
const REQUESTS_ON_AVERAGE: u32 = 20;

/// How many pairs are compared: that of the environment, else the usual number.
fn pairs() -> u32 {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("TURNOUT_PAIRS is no number: {text}"));
    let usual = if std::env::var_os("TURNOUT_SLOW").is_some() { 1_000_000 } else { 20_000 };
    std::env::var("TURNOUT_PAIRS").map_or(usual, number)
}

#[test]
fn the_router_and_the_interpreter_decide_alike() {
    let seen = RefCell::new(BTreeMap::new());
    let sets = pairs().div_ceil(REQUESTS_ON_AVERAGE);
    let config = Config { cases: sets, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    match runner.run(&cases::case(REQUESTS), |case| compare(&case, &seen)) {
        Ok(()) => {}
        // The whole of the case is in the reason.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(aborted) => panic!("{aborted}"),
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let all: u32 = seen.values().sum();
    assert!(
        seen.len() == 7 && seen.values().all(|count| *count > all / 50),
        "of some kind there was next to nothing: {seen:?}"
    );
}

fn compare(case: &Case, seen: &RefCell<BTreeMap<&'static str, u32>>) -> Result<(), TestCaseError> {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: case.documents.as_bytes() }]);
    let parsed = parsed.map_err(|problems| TestCaseError::fail(format!("refused:\n{problems}\n{}", case.documents)))?;
    let labels = LABELS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let router = compile(&parsed.documents, &Identity { labels: labels.into(), namespace: NAMESPACE.to_owned() });
    let documents = Documents::read(&case.documents);
    for request in &case.requests {
        let decided = sorted(decided(&router, request));
        let expected = sorted(on_purpose(documents.answer(request), &decided, request));
        *seen.borrow_mut().entry(kind(&expected)).or_default() += 1;
        let asked = serde_json::to_string(request).expect("JSON");
        prop_assert_eq!(decided, expected, "router and interpreter on {} with\n{}", asked, case.documents);
    }
    Ok(())
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::BadPath => "bad path",
        Verdict::NoRoute => "no route",
        Verdict::Redirect { .. } => "redirect",
        Verdict::Direct { .. } => "direct response",
        Verdict::Forward { rule, .. } if rule.contains("delegated") => "delegated",
        Verdict::Forward { choices, .. } if choices.len() > 1 => "split",
        Verdict::Forward { .. } => "forward",
    }
}

/// What the gateway does otherwise than Istio: its README tells of paths and of names that are looked up.
fn on_purpose(mut expected: Verdict, decided: &Verdict, request: &Request) -> Verdict {
    // Dots behind an escaped slash, and escapes behind escapes.
    let path = request.path.split(['?', '#']).next().unwrap_or_default();
    if ["..%2f", "..%5C", "%%36"].iter().any(|hidden| path.contains(hidden)) {
        return Verdict::BadPath;
    }
    let (Verdict::Forward { choices, .. }, Verdict::Forward { choices: decided, .. }) = (&mut expected, decided) else {
        return expected;
    };
    for (Choice { place, .. }, decided) in choices.iter_mut().zip(decided) {
        // A service that no document has is looked up in DNS, if there is a port to ask.
        if place.reach == Reach::UnknownService {
            place.reach = decided.place.reach.clone();
        }
    }
    expected
}

/// Among headers of other names the order does not count.
fn sorted(mut verdict: Verdict) -> Verdict {
    let sort = |lines: &mut Lines| lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    match &mut verdict {
        Verdict::Redirect { response, .. } | Verdict::Direct { response, .. } => sort(response),
        Verdict::Forward { choices, .. } => {
            for choice in choices {
                sort(&mut choice.request);
                sort(&mut choice.response);
            }
        }
        Verdict::BadPath | Verdict::NoRoute => {}
    }
    verdict
}

fn header_map<'l>(lines: impl IntoIterator<Item = (&'l str, &'l str)>) -> HeaderMap {
    let parsed =
        |(name, value): (&str, &str)| Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?));
    lines.into_iter().map(|line| parsed(line).expect("a header")).collect()
}

fn lines(headers: &HeaderMap) -> Lines {
    let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The router's decision, in the interpreter's words.
fn decided(router: &Router, request: &Request) -> Verdict {
    let target = request.path.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if path == "*" {
        return Verdict::NoRoute;
    }
    let Ok(path) = normalise_path(path) else { return Verdict::BadPath };
    let headers = header_map(request.headers.iter().copied());
    let head = RequestHead {
        port: request.port,
        transport: Transport::Plain,
        scheme: Scheme::Http,
        method: request.method,
        authority: request.authority,
        path: &path,
        query,
        headers: &headers,
        peer: None,
    };
    let decision = router.decide(&head, Draws::random(0));
    let rule = decision.route().map(|route| route.rule.origin.in_full());
    let own_response = |status: u16| {
        let route = decision.route().expect("a rule");
        changed(&route.rule.local_response_headers, HeaderMap::new(), status, Some(&headers))
    };
    match &decision {
        Decision::NoRoute => Verdict::NoRoute,
        Decision::ToHttps(redirection) => {
            let (status, location) = (redirection.status.as_u16().into(), redirection.location.clone());
            Verdict::Redirect { rule: None, status, location, response: Lines::new() }
        }
        Decision::Answer(answer) => match &answer.content {
            LocalAnswer::Redirect(redirection) => {
                let (status, location) = (redirection.status.as_u16(), redirection.location.clone());
                let response = lines(&own_response(status));
                Verdict::Redirect { rule, status: status.into(), location, response }
            }
            LocalAnswer::Direct(direct) => {
                let (status, body) = (direct.status.as_u16(), String::from_utf8_lossy(&direct.body).into_owned());
                let response = lines(&own_response(status));
                Verdict::Direct { rule: rule.expect("a rule"), status: status.into(), body, response }
            }
        },
        Decision::Forward(forward) => {
            check_tickets(router, &head, forward);
            let as_it_came = || query.map_or(path.clone().into_owned(), |query| format!("{path}?{query}"));
            let path = forward.route.rewrite(&path, query).unwrap_or_else(as_it_came);
            let choices = forward.split.targets().iter().map(|target| choice(router, target, &headers, request));
            Verdict::Forward { rule: rule.expect("a rule"), path, choices: choices.collect() }
        }
    }
}

fn choice(router: &Router, target: &Target, headers: &HeaderMap, request: &Request) -> Choice {
    let of_request = changed(&target.request_headers, headers.clone(), 0, None);
    let response = changed(&target.response_headers, header_map(ANSWERED), 200, Some(&of_request));
    let reach = match target.backend {
        Ok(id) => {
            let endpoints = router.backends()[id.0].endpoints.iter().map(|endpoint| match &endpoint.address {
                EndpointAddress::Ip(ip) => (ip.to_string(), endpoint.port.into()),
                EndpointAddress::Name(name) => (name.clone(), endpoint.port.into()),
            });
            Reach::Endpoints(endpoints.collect())
        }
        Err(_) => Reach::NoCluster,
    };
    let authority = target.authority.as_ref().map(|authority| authority.to_str().expect("text").to_owned());
    Choice {
        weight: target.weight.into(),
        place: Place { name: target.name.clone(), reach },
        authority: authority.unwrap_or_else(|| request.authority.to_owned()),
        request: lines(&of_request),
        response: lines(&response),
    }
}

fn changed(list: &HeaderChangeList, mut headers: HeaderMap, status: u16, asked: Option<&HeaderMap>) -> HeaderMap {
    list.apply(&mut headers, &Context { status, asked });
    headers
}

struct Context<'h> {
    status: u16,
    asked: Option<&'h HeaderMap>,
}

impl FormatContext for Context<'_> {
    fn request_headers(&self) -> Option<&HeaderMap> {
        self.asked
    }

    fn append(&self, variable: Variable, to: &mut Vec<u8>) {
        match variable {
            Variable::Protocol => to.extend_from_slice(b"HTTP/1.1"),
            Variable::ResponseCode => to.extend_from_slice(self.status.to_string().as_bytes()),
            other => panic!("no case has {other:?}"),
        }
    }
}

/// Each target owns as many tickets as its weight says, in the document's order, and a draw finds its ticket's owner.
fn check_tickets(router: &Router, head: &RequestHead<'_>, forward: &Forward<'_>) {
    let owner = |number: u64| std::ptr::from_ref(forward.split.pick(forward.split.ticket(number).expect("a ticket")));
    let (mut first, all) = (0, forward.split.tickets());
    for target in forward.split.targets() {
        let last = first + u64::from(target.weight) - 1;
        assert_eq!([owner(first), owner(last)], [std::ptr::from_ref(target); 2], "{}", target.name);
        // The least number that is drawn as the first of its tickets.
        let draw =
            u64::try_from(((u128::from(first) << 64).div_ceil(u128::from(all))).min(u64::MAX.into())).expect("a draw");
        let Decision::Forward(drawn) = router.decide(head, Draws::random(draw)) else { panic!("not forwarded") };
        assert!(std::ptr::eq(drawn.target, target), "{}: drawn {}", target.name, drawn.target.name);
        first = last + 1;
    }
    assert_eq!(first, all);
}
