//! The resolver against a server on loopback: what each kind of answer makes of what was known.

use super::test_server::{Answer, TestServer};
use super::{Known, LONGEST_REFRESH, RETRY, Resolver};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NAME: &str = "model.default.svc.cluster.local";

fn ipv4(count: u8) -> Vec<IpAddr> {
    (1..=count).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect()
}

fn ipv6() -> Vec<IpAddr> {
    vec![Ipv6Addr::LOCALHOST.into()]
}

async fn resolver() -> (TestServer, Resolver) {
    let server = TestServer::start().await.expect("loopback has free ports");
    let resolver = Resolver::new(Some(server.address));
    (server, resolver)
}

#[tokio::test]
async fn every_address_is_found_however_many_there_are() {
    // A record takes 16 bytes and a question announces that it takes 1,232, so the middle ones need EDNS, and the last TCP.
    for (count, needs_tcp) in [(1, false), (30, false), (70, false), (80, true), (120, true), (200, true)] {
        let (server, resolver) = resolver().await;
        server.say(NAME, &Answer::Addresses(ipv4(count), 5));
        let mut known = Known::default();
        resolver.look_up(NAME, &mut known).await;
        assert_eq!(known.addresses(), ipv4(count), "{count}");
        assert_eq!(server.asked(NAME).iter().any(|asked| asked.over_tcp), needs_tcp, "{count}");
    }
}

#[tokio::test]
async fn an_answer_is_good_for_its_time_to_live_within_bounds() {
    let (server, resolver) = resolver().await;
    for (ttl_seconds, expected) in [(0, 1), (1, 1), (7, 7), (30, 30), (86_400, 30)] {
        server.say(NAME, &Answer::Addresses(ipv4(2), ttl_seconds));
        let good_for = resolver.look_up(NAME, &mut Known::default()).await;
        assert_eq!(good_for, Duration::from_secs(expected), "{ttl_seconds}");
    }
}

#[tokio::test]
async fn what_an_answer_makes_of_what_was_known() {
    let addresses = |addresses: Vec<IpAddr>| Answer::Addresses(addresses, 5);
    let five = Duration::from_secs(5);
    let none = Vec::new;
    // First both families have addresses. Then this is said of IPv4, and this of IPv6.
    let table = [
        (addresses(ipv4(2)), addresses(ipv6()), ipv4(2), five),
        (Answer::Failure, Answer::Failure, ipv4(3), RETRY),
        (Answer::Failure, addresses(ipv6()), ipv4(3), RETRY),
        (Answer::NoSuchName, Answer::NoSuchName, none(), RETRY),
        (addresses(none()), addresses(none()), none(), RETRY),
        (addresses(none()), addresses(ipv6()), ipv6(), five),
        (Answer::NoSuchName, Answer::Failure, ipv6(), RETRY),
        (addresses(ipv4(2)), Answer::NoSuchName, ipv4(2), five),
    ];
    let (server, resolver) = resolver().await;
    for (row, (of_ipv4, of_ipv6, expected, good_for)) in table.into_iter().enumerate() {
        let mut known = Known::default();
        server.say(NAME, &addresses([ipv4(3), ipv6()].concat()));
        resolver.look_up(NAME, &mut known).await;
        server.say_of(NAME, false, &of_ipv4);
        server.say_of(NAME, true, &of_ipv6);
        assert_eq!(resolver.look_up(NAME, &mut known).await, good_for, "row {row}");
        assert_eq!(known.addresses(), expected, "row {row}");
    }
    assert!(RETRY < LONGEST_REFRESH, "a name that is gone is soon looked for again");
}
