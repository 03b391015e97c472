//! Who gets which destination of a rule with a SplitPolicy. The vectors in `vectors/assignment.json` are another
//! implementation's: what is fixed there is fixed for all gateways.
//!
//! Before it, in the environment, `TURNOUT_SLOW=1` or `=full` assigns a million keys in place of 20,000.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use turnout_routes::documents::{Document, Scheme};
use turnout_routes::router::{
    Assigned, Decision, Draws, Forward, Identity, Peer, RequestHead, Role, Router, Tickets, Transport, compile,
};
use turnout_routes::{Source, ledger, parse};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The smallest number of all those that are drawn for half of the requests.
const HALF: u64 = 1 << 63;

/// A rule with these weights, `b` on trial, and what a policy says besides.
fn documents(weights: &[u32], policy: &str) -> Vec<Document> {
    let mut text =
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}, spec: {hosts: [model], http: [
        {match: [{headers: {x-version: {exact: b}}}], route: [{destination: {host: b, port: {number: 1}}}]},
        {match: [{withoutHeaders: {x-version: {}}, uri: {exact: /without}}], directResponse: {status: 201}},
        {name: split, route: ["
            .to_owned();
    for (name, weight) in NAMES.iter().zip(weights) {
        // Writing to a string does not fail.
        let _ = write!(text, "{{destination: {{host: {name}, port: {{number: 1}}}}, weight: {weight}}}, ");
    }
    text += "]}]}}\n";
    if !policy.is_empty() {
        let _ = write!(
            text,
            "---\n{{apiVersion: turnout.dev/v1alpha1, kind: SplitPolicy, metadata: {{name: p}}, \
             spec: {{route: {{virtualService: v, http: split}}, {policy}}}}}\n"
        );
    }
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}")).documents
}

fn router(weights: &[u32], policy: &str) -> Router {
    compile(&documents(weights, policy), &Identity::default())
}

/// What a request carries: header lines, and from where it comes.
#[derive(Clone, Copy, Default)]
struct Carried<'c> {
    lines: &'c [(&'static str, &'c str)],
    query: Option<&'c str>,
    peer: Option<(&'c str, bool)>,
}

/// Asks with the split's random number, and says something of what it came to.
fn ask<R>(router: &Router, carried: Carried<'_>, draws: Draws<'_>, of: impl Fn(&Forward<'_>) -> R) -> R {
    let mut headers = HeaderMap::new();
    for (name, value) in carried.lines {
        headers.append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    let peer = carried.peer.map(|(address, is_trusted)| Peer { address: address.parse().expect("one"), is_trusted });
    let request = RequestHead {
        port: 80,
        transport: Transport::Plain,
        scheme: Scheme::Http,
        method: "POST",
        authority: "model",
        path: "/score",
        query: carried.query,
        headers: &headers,
        peer,
    };
    match router.decide(&request, draws) {
        Decision::Forward(forward) => of(&forward),
        other => panic!("{other:?}"),
    }
}

fn name(forward: &Forward<'_>) -> String {
    let (name, _) = forward.target.name.split_once('.').expect("a service of the cluster");
    name.to_owned()
}

/// How many of so many requests in turn each destination gets.
fn counts(router: &Router, tickets: &Tickets, requests: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        // Where the ticket decides, this number does not.
        *counts.entry(ask(router, Carried::default(), Draws { split: 0, tickets }, name)).or_default() += 1;
    }
    counts
}

#[test]
fn ten_requests_at_half_and_half_are_five_and_five() {
    let router = router(&[50, 50], "candidate: {host: b}");
    for nonce in 0..100 {
        let tickets = router.tickets("r", nonce);
        assert_eq!(counts(&router, &tickets, 10).into_values().collect::<Vec<_>>(), [5, 5], "{nonce}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
    })]
    #[test]
    fn over_any_aligned_block_the_split_is_exact(
        weights in prop::collection::vec(0_u32..=20, 2..=5), factor in 1_u32..=9, nonce in any::<u64>(), blocks in 1_u64..4
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let scaled: Vec<u32> = weights.iter().map(|weight| weight * factor).collect();
        let router = router(&scaled, "assign: {by: request}");
        let policy = router.rules().iter().find_map(|rule| rule.policy.as_ref()).expect("a policy");
        let size = policy.assign.block_size().expect("a block");
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        prop_assert_eq!(total % size, 0);
        let tickets = router.tickets("r", nonce);
        for _ in 0..blocks {
            let expected = NAMES.iter().zip(&weights).filter(|(_, weight)| **weight > 0);
            let expected = expected.map(|(name, weight)| ((*name).to_owned(), u64::from(*weight) * size / total));
            prop_assert_eq!(counts(&router, &tickets, size), expected.collect::<BTreeMap<_, _>>());
        }
    }

    #[test]
    fn a_ledger_is_exact_and_moves_as_little_as_can_be(
        steps in prop::collection::vec(prop::collection::vec(0_u32..=20, 4), 1..=8)
    ) {
        let mut parts: Vec<(u64, usize)> = Vec::new();
        let mut before = [0; 4];
        for weights in steps.iter().filter(|weights| weights.iter().any(|weight| *weight > 0)) {
            let weights: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
            let next = ledger::next(&parts, &weights);
            let owned = owned(&next);
            let total: u128 = weights.iter().map(|(_, weight)| u128::from(*weight)).sum();
            for (arm, weight) in &weights {
                // To within one hash.
                prop_assert!((owned[*arm] * total).abs_diff(u128::from(*weight) << 64) <= total, "{:?}", next);
            }
            if !parts.is_empty() {
                let grown: u128 = owned.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).sum();
                prop_assert_eq!(moved(&parts, &next), grown);
            }
            prop_assert_eq!(&ledger::next(&next, &weights), &next);
            (parts, before) = (next, owned);
        }
    }
}

/// How many hashes each of four arms owns.
fn owned(parts: &[(u64, usize)]) -> [u128; 4] {
    let mut owned = [0; 4];
    let ends = parts.iter().skip(1).map(|(from, _)| u128::from(*from)).chain([1 << 64]);
    for ((from, arm), to) in parts.iter().zip(ends) {
        owned[*arm] += to - u128::from(*from);
    }
    owned
}

/// How many hashes have another owner.
fn moved(before: &[(u64, usize)], after: &[(u64, usize)]) -> u128 {
    let borders: BTreeSet<u64> = before.iter().chain(after).map(|(from, _)| *from).collect();
    let owner = |parts: &[(u64, usize)], hash| parts[parts.partition_point(|(from, _)| *from <= hash) - 1].1;
    let ends = borders.iter().skip(1).map(|from| u128::from(*from)).chain([1 << 64]);
    let parts = borders.iter().zip(ends).filter(|(from, _)| owner(before, **from) != owner(after, **from));
    parts.map(|(from, to)| to - u128::from(*from)).sum()
}

#[test]
fn a_table_without_a_policy_draws_as_before() {
    let (plain, governed) = (router(&[75, 25], ""), router(&[75, 25], "assign: {by: request}"));
    let tickets = plain.tickets("r", 0);
    for random in [0, HALF, HALF / 2 * 3 - 1, HALF / 2 * 3, u64::MAX] {
        let of = |forward: &Forward<'_>| (name(forward), forward.assigned, forward.role());
        let drawn = ask(&plain, Carried::default(), Draws { split: random, tickets: &tickets }, of);
        assert_eq!(drawn, ask(&plain, Carried::default(), Draws::random(random), of));
        // Without tickets, as one who explains asks.
        assert_eq!(drawn, ask(&governed, Carried::default(), Draws::random(random), of));
        assert_eq!((drawn.1, drawn.2), (Assigned::Weights, Role::Unknown));
    }
}

#[test]
fn too_many_places_for_a_block_are_drawn() {
    let router = router(&[1000, 1], "assign: {by: request}");
    let tickets = router.tickets("r", 0);
    let how = ask(&router, Carried::default(), Draws { split: 0, tickets: &tickets }, |forward| forward.assigned);
    assert_eq!(how, Assigned::Weights);
    let warnings: Vec<String> = router.warnings().map(ToString::to_string).collect();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("SplitPolicy default/p: spec.assign: each request of the rule default/v"), "{warning}");
}

/// How many keys are assigned.
fn keys() -> usize {
    if std::env::var_os("TURNOUT_SLOW").is_some() { 1_000_000 } else { 20_000 }
}

/// The destination of each key, by its number.
fn assigned(router: &Router, keys: usize) -> Vec<usize> {
    let own = |key: usize| {
        let user = format!("user-{key}");
        let carried = Carried { lines: &[("x-user", user.as_str())], ..Carried::default() };
        let (name, how) = ask(router, carried, Draws::random(0), |forward| (name(forward), forward.assigned));
        assert_eq!(how, Assigned::Sticky);
        NAMES.iter().position(|known| *known == name).expect("one of them")
    };
    (0..keys).map(own).collect()
}

#[test]
fn a_change_of_two_weights_moves_those_who_must() {
    let keys = keys();
    let of = |weights: &[u32]| assigned(&router(weights, "candidate: {host: b}, assign: {by: {header: x-user}}"), keys);
    let stages = [[100, 0], [90, 10], [50, 50], [3, 1], [1, 9], [0, 100]];
    let stages: Vec<Vec<usize>> = stages.iter().map(|weights| of(weights)).collect();
    let candidates = |stage: &[usize]| stage.iter().filter(|target| **target == 1).count();
    for two in stages.windows(2) {
        let moved = two[0].iter().zip(&two[1]).filter(|(before, after)| before != after).count();
        assert_eq!(moved, candidates(&two[1]).abs_diff(candidates(&two[0])), "somebody moved who need not have");
    }
    assert_eq!((candidates(&stages[0]), candidates(&stages[5])), (0, keys), "weight 0 evicts");
    // About half of them, to within five standard deviations of as many coins.
    assert!(candidates(&stages[2]).abs_diff(keys / 2).pow(2) < keys * 25 / 4, "{}", candidates(&stages[2]));
}

#[test]
fn replicas_and_reordered_documents_assign_alike() {
    let policy = "candidate: {host: b}, salt: u/1, assign: {by: {header: x-user}}";
    let other = router(&[70, 30], policy);
    assert_eq!(assigned(&router(&[70, 30], policy), 1000), assigned(&other, 1000));
    let mut turned = documents(&[70, 30], policy);
    turned.reverse();
    assert_eq!(assigned(&compile(&turned, &Identity::default()), 1000), assigned(&other, 1000));
    let anew = router(&[70, 30], &policy.replace("u/1", "u/2"));
    assert_ne!(assigned(&anew, 1000), assigned(&other, 1000), "another salt");
}

/// `spec.assign` with a ledger.
fn with_ledger(parts: &[(u64, usize)]) -> String {
    let part = |(from, arm): &(u64, usize)| format!("{{from: \"{from:016x}\", to: {{host: {}}}}}", NAMES[*arm]);
    let ledger: Vec<String> = parts.iter().map(part).collect();
    format!("assign: {{by: {{header: x-user}}, ledger: [{}]}}", ledger.join(", "))
}

#[test]
fn a_published_ledger_moves_as_few_of_three() {
    let keys = keys() / 10;
    let weights = |weights: [u32; 3]| weights.into_iter().enumerate().collect::<Vec<(usize, u32)>>();
    let first = ledger::next(&[], &weights([60, 20, 20]));
    let second = ledger::next(&first, &weights([20, 20, 60]));
    let before = assigned(&router(&[60, 20, 20], &with_ledger(&first)), keys);
    let after = assigned(&router(&[20, 20, 60], &with_ledger(&second)), keys);
    // From the first to the third, and nobody else.
    let moves: BTreeSet<_> = before.iter().zip(&after).filter(|(from, to)| from != to).collect();
    assert_eq!(moves, BTreeSet::from([(&0, &2)]));
    // A gateway that gets the new weights before the new ledger says the same.
    assert_eq!(assigned(&router(&[20, 20, 60], &with_ledger(&first)), keys), after);
    // Whoever has no weight any more is no owner, whatever the ledger says.
    let evicted = assigned(&router(&[40, 60, 0], &with_ledger(&first)), keys);
    assert!(!evicted.contains(&2));
    let stayed = before.iter().zip(&evicted).filter(|(from, to)| from == to && **to == 0).count();
    assert_eq!(stayed, evicted.iter().filter(|target| **target == 0).count(), "it shrank, and got nobody");
}

#[test]
fn each_kind_of_key_is_found_or_the_request_is_dealt() {
    let check = |by: &str, carried: Carried<'_>, sticky: bool| {
        let router = router(&[50, 50], &format!("assign: {{by: {{{by}}}}}"));
        let tickets = router.tickets("r", 0);
        let how = ask(&router, carried, Draws { split: 7, tickets: &tickets }, |forward| forward.assigned);
        assert_eq!(how, if sticky { Assigned::Sticky } else { Assigned::Block }, "{by}");
    };
    let none = Carried::default();
    let lines = |lines| Carried { lines, ..none };
    check("header: x-user", lines(&[("x-user", "anna")]), true);
    check("header: x-user", lines(&[("x-user", "")]), false);
    check("header: x-user", none, false);
    check("query: user", Carried { query: Some("a=b&user=anna"), ..none }, true);
    check("query: user", Carried { query: Some("users=anna&user="), ..none }, false);
    check("query: user", none, false);
    check("cookie: user", lines(&[("cookie", "a=b; user=\"anna\"")]), true);
    check("address: true", Carried { peer: Some(("10.0.0.1", false)), ..none }, true);
    check("address: true", none, false);
}

#[test]
fn the_clients_address_is_what_a_trusted_proxy_says() {
    let router = router(&[50, 50], "assign: {by: {address: true}}");
    let of = |address: &str, trusted: bool, told: &str| {
        let lines = [("x-forwarded-for", told)];
        let carried = Carried { lines: &lines, query: None, peer: Some((address, trusted)) };
        ask(&router, carried, Draws::random(0), name)
    };
    let of_client = |last: u8| of(&format!("192.0.2.{last}"), false, "");
    let (one, other) =
        (1..=u8::MAX).find_map(|last| (of_client(last) != of_client(0)).then_some((0, last))).expect("two");
    let [mine, others] = [one, other].map(|last| format!("192.0.2.{last}"));
    assert_eq!(of("10.0.0.1", true, &format!("{others}, {mine}")), of_client(one), "the last, which the proxy saw");
    assert_eq!(of(&mine, false, &others), of_client(one), "anybody may say anything");
    assert_eq!(of(&format!("::ffff:{mine}"), false, ""), of_client(one));
    assert_eq!(of("10.0.0.1", true, &format!("{others}, {mine}:4321")), of_client(one), "with a port");
    for (told, expected) in [("192.0.2.1", Assigned::Sticky), ("192.0.2.1, unknown", Assigned::Weights)] {
        let lines = [("x-forwarded-for", told)];
        let carried = Carried { lines: &lines, query: None, peer: Some(("10.0.0.1", true)) };
        let assigned = ask(&router, carried, Draws::random(0), |forward| forward.assigned);
        assert_eq!(assigned, expected, "{told}: the proxy is no client");
    }
}

#[test]
fn a_client_without_a_cookie_gets_one_that_keeps_it() {
    let policy = "candidate: {host: b}, assign: {by: {cookie: {name: t, ttl: 1h, attributes: [{name: Secure}]}}}";
    let before = router(&[90, 10], policy);
    let mut moved = 0;
    for draw in (0..1000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let (first, line) = ask(&before, Carried::default(), Draws::random(draw), |forward| {
            assert_eq!(forward.assigned, Assigned::NewCookie(draw));
            let policy = forward.route.rule.policy.as_ref().expect("a policy");
            (name(forward), policy.assign.set_cookie(draw).expect("a cookie"))
        });
        assert_eq!(line, format!("t={draw:016x}; Path=/; Max-Age=3600; Secure; HttpOnly"));
        let (value, _) = line.split_once(';').expect("attributes");
        let lines = [("cookie", value)];
        let carried = Carried { lines: &lines, ..Carried::default() };
        let again =
            |router: &Router| ask(router, carried, Draws::random(!draw), |forward| (name(forward), forward.assigned));
        assert_eq!(again(&before), (first.clone(), Assigned::Sticky));
        // A later weight moves nobody back.
        let (later, _) = again(&router(&[50, 50], policy));
        assert!(first != "b" || later == "b");
        moved += usize::from(first != later);
    }
    assert!((300..500).contains(&moved), "{moved} of about 400");
}

#[test]
fn a_version_is_picked_from_where_it_may_be() {
    let check = |policy: &str, carried: Carried<'_>, picked: bool| {
        let router = router(&[100, 0], policy);
        let to = ask(&router, carried, Draws::random(0), name);
        assert_eq!(to == "b", picked, "{policy}");
    };
    let lines = [("x-version", "b")];
    let from = |peer| Carried { lines: &lines, query: None, peer: Some((peer, false)) };
    let inside = "override: {header: X-Version, from: [10.0.0.0/8, '2001:db8::/32', 192.0.2.7]}";
    check("", from("192.0.2.1"), true);
    check("override: {header: x-version}", from("192.0.2.1"), true);
    check(inside, from("192.0.2.1"), false);
    for peer in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.7"] {
        check(inside, from(peer), true);
    }
    // Whoever only asks is nowhere.
    check(inside, Carried { lines: &lines, ..Carried::default() }, true);
    check("override: {header: x-other, from: [10.0.0.0/8]}", from("192.0.2.1"), true);
    let told = [("x-version", "b"), ("x-forwarded-for", "10.1.2.3")];
    let behind = |trusted| Carried { lines: &told, query: None, peer: Some(("192.0.2.1", trusted)) };
    check(inside, behind(true), true);
    check(inside, behind(false), false);
    // What a proxy inside says of its clients counts, and not itself.
    for (told, picked) in [
        ("10.1.2.3:4321", true),
        ("[2001:db8::1]:4321", true),
        ("198.51.100.1:4321", false),
        ("[2001:db9::1]:4321", false),
        ("10.1.2.3, unknown", false),
        ("", false),
    ] {
        let told = [("x-version", "b"), ("x-forwarded-for", told)];
        let carried = Carried { lines: &told, query: None, peer: Some(("10.0.0.1", true)) };
        check(inside, carried, picked);
        check("override: {header: x-version}", carried, true);
    }
    check(inside, Carried { lines: &lines, query: None, peer: Some(("10.0.0.1", true)) }, true);
}

#[test]
fn a_header_that_counts_for_nothing_is_not_there() {
    let router = router(&[100, 0], "override: {header: x-version, from: [10.0.0.0/8]}");
    let mut headers = HeaderMap::new();
    headers.insert("x-version", HeaderValue::from_static("b"));
    let answered = |address: &str| {
        let address: IpAddr = address.parse().expect("an address");
        let request = RequestHead {
            port: 80,
            transport: Transport::Plain,
            scheme: Scheme::Http,
            method: "POST",
            authority: "model",
            path: "/without",
            query: None,
            headers: &headers,
            peer: Some(Peer { address, is_trusted: false }),
        };
        matches!(router.decide(&request, Draws::random(0)), Decision::Answer(_))
    };
    assert!(answered("192.0.2.1") && !answered("10.0.0.1"));
}

fn role(forward: &Forward<'_>) -> Role {
    forward.role()
}

#[test]
fn a_target_has_the_role_that_the_policy_gives_it() {
    let check = |policy: &str, expected: [Role; 2]| {
        let router = router(&[50, 50], policy);
        let of = |random| ask(&router, Carried::default(), Draws::random(random), role);
        assert_eq!([of(0), of(HALF)], expected, "{policy}");
    };
    check("", [Role::Unknown; 2]);
    check("salt: a", [Role::Unknown; 2]);
    check("candidate: {host: b}", [Role::Stable, Role::Candidate]);
    check("candidate: {host: a, port: {number: 1}}", [Role::Candidate, Role::Stable]);
    let share = |weights: &[u32]| {
        let router = router(weights, "candidate: {host: b}");
        router.rules().iter().find_map(|rule| rule.policy.as_ref()).expect("a policy").candidate_share.to_string()
    };
    assert_eq!([share(&[75, 25]), share(&[100, 0]), share(&[0, 3])], ["0.25", "0", "1"]);
}
