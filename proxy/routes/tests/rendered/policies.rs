//! Strategies for SplitPolicies.

use super::{duration, host_name, label, metadata, port, text};
use http::{HeaderName, Method};
use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use turnout_routes::documents::*;

pub(super) fn split_policy() -> impl Strategy<Value = SplitPolicy> {
    let route = (label(), of(name())).prop_map(|(virtual_service, http)| PolicyRoute { virtual_service, http });
    let salt = prop_oneof!["[!-~]{0,8}", Just("no".to_owned()), Just("1e3".to_owned())];
    // Boxed: a test's stack has no room for all strategies one in another.
    let (to, shadow) = (destination().boxed(), shadow().boxed());
    (metadata(), route, salt, of(to), assign(), of(pinning()), of(shadow), of(rescue())).prop_map(
        |(metadata, route, salt, candidate, assign, pinning, shadow, rescue)| SplitPolicy {
            metadata,
            route,
            salt,
            shadow: shadow.filter(|_| candidate.is_some()).map(Box::new),
            rescue: rescue.filter(|_| candidate.is_some()),
            candidate,
            assign,
            pinning,
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    text().prop_filter("an empty name is none", |name| !name.is_empty())
}

fn destination() -> impl Strategy<Value = Destination> {
    (host_name(), of(label()), of(port())).prop_map(|(host, subset, port)| Destination { host, subset, port })
}

fn header() -> impl Strategy<Value = HeaderName> {
    select(["x-a", "no", "1"].map(HeaderName::from_static).to_vec())
}

fn percent() -> impl Strategy<Value = Percent> {
    (0..=1_000_000u32).prop_map(Percent::of_millionths)
}

fn assign() -> impl Strategy<Value = Assign> {
    let cookie = (label(), prop_oneof![Just("/".to_owned()), "/[a-z]{1,4}"], of(duration()))
        .prop_map(|(name, path, ttl)| HashCookie { name, path, ttl, attributes: Vec::new() });
    let key = prop_oneof![
        header().prop_map(HashKey::Header),
        name().prop_map(HashKey::Query),
        Just(HashKey::SourceIp),
        cookie.prop_map(HashKey::Cookie),
    ];
    let ledger = (btree_set(1..=u64::MAX, 0..3), vec(destination(), 4)).prop_map(|(borders, owners)| {
        let borders = borders.into_iter();
        [0].into_iter().chain(borders).zip(owners).map(|(from, to)| Interval { from, to }).collect::<Vec<_>>()
    });
    let sticky = (key.prop_map(AssignBy::Key), prop_oneof![Just(Vec::new()), ledger]);
    prop_oneof![Just(Assign::default()), sticky.prop_map(|(by, ledger)| Assign { by, ledger })]
}

fn pinning() -> impl Strategy<Value = Override> {
    let networks = ["10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32"].map(|net| net.parse().expect("a network"));
    (header(), of(vec(select(networks.to_vec()), 1..3))).prop_map(|(header, from)| Override { header, from })
}

fn shadow() -> impl Strategy<Value = Shadow> {
    let pointer = || prop_oneof!["(/[a-z*]{0,3}){0,2}", Just("/a~1b/~0".to_owned())];
    let kind = select(vec![CompareKind::Class, CompareKind::Set, CompareKind::Ignore]);
    let number = (of(0.0..1e9f64), of(0.0..1.0f64));
    let rule = prop_oneof![
        (pointer(), number).prop_map(|(path, (abs, rel))| CompareRule { path, kind: CompareKind::Number, abs, rel }),
        (pointer(), kind).prop_map(|(path, kind)| CompareRule { path, kind, abs: None, rel: None }),
    ];
    let limits = (1..=104_857_600u64, 1..=10_000u32, duration());
    let methods = vec(select(vec![Method::GET, Method::POST, Method::from_bytes(b"M-SEARCH").expect("one")]), 1..3);
    let kept = (0..=100usize, vec(pointer(), 0..3), vec(header(), 0..3));
    (of(destination()), percent(), percent(), methods, limits, vec(rule, 0..3), kept).prop_map(
        |(to, percent, noise, methods, (max_body_bytes, max_in_flight, timeout), compare, kept)| {
            let (keep_worst, redact, drop_headers) = kept;
            Shadow {
                to,
                percent,
                noise,
                methods,
                max_body_bytes,
                max_in_flight,
                timeout,
                compare,
                keep_worst,
                redact,
                drop_headers,
            }
        },
    )
}

fn rescue() -> impl Strategy<Value = Rescue> {
    let conditions = vec![
        RetryCondition::ServerError,
        RetryCondition::GatewayError,
        RetryCondition::Reset,
        RetryCondition::ConnectFailure,
        RetryCondition::RefusedStream,
    ];
    (btree_set(select(conditions), 1..4), percent()).prop_map(|(on, budget)| Rescue { on, budget })
}
