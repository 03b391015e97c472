//! Tables that come and go, and what becomes of their upstreams.

use super::{Prepared, Registry};
use crate::testing::{rule, workload};
use crate::upstream::dns::test_server::{Answer, TestServer};
use crate::upstream::in_flight::WorkerCounters;
use crate::upstream::{Resolver, Upstream};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{Backend, BackendPolicy, EndpointSource};

const NAME: &str = "model.default.svc.cluster.local";

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn backend(host: &str, endpoints: &[EndpointAddress]) -> Backend {
    let source = |address: &EndpointAddress| EndpointSource {
        address: address.clone(),
        port: 80,
        weight: 1,
        workload: workload(host),
    };
    Backend {
        host: host.into(),
        port: 80,
        subset: None,
        policy: BackendPolicy::default(),
        endpoints: endpoints.iter().map(source).collect(),
        workload: workload(host),
    }
}

fn at(host: &str, last: &[u8]) -> Backend {
    backend(host, &last.iter().map(|last| EndpointAddress::Ip(ip(*last))).collect::<Vec<_>>())
}

fn named(host: &str, name: &str) -> Backend {
    backend(host, &[EndpointAddress::Name(name.into())])
}

/// The last octets of an upstream's endpoints.
fn endpoints(upstream: &Upstream) -> Vec<u8> {
    let state = upstream.state();
    let octets = state.endpoints.as_slice().iter().map(|endpoint| match endpoint.address.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    });
    octets.collect()
}

/// A registry that asks nobody: nothing listens there.
fn registry() -> Registry {
    Registry::new(Resolver::new(Some(([127, 0, 0, 1], 9).into())))
}

async fn with_server() -> (TestServer, Registry) {
    let server = TestServer::start().await.expect("loopback has free ports");
    let registry = Registry::new(Resolver::new(Some(server.address)));
    (server, registry)
}

async fn warm_and_commit(prepared: Prepared) -> Vec<Arc<Upstream>> {
    prepared.warmed().await;
    prepared.commit()
}

#[tokio::test]
async fn a_table_changes_living_upstreams_when_it_is_committed_and_not_before() {
    let registry = registry();
    let old = registry.prepare(&[at("blue", &[1, 2])]).commit();
    let changed = Backend {
        policy: BackendPolicy { max_requests_per_connection: 7, ..old[0].state().policy.clone() },
        ..at("blue", &[2, 3])
    };
    let limit = || old[0].state().policy.max_requests_per_connection;

    drop(registry.prepare(std::slice::from_ref(&changed)));
    assert_eq!((endpoints(&old[0]), limit()), (vec![1, 2], 0), "a table that is dropped changes nothing");

    let prepared = registry.prepare(&[changed, at("green", &[9])]);
    assert_eq!((endpoints(&old[0]), limit()), (vec![1, 2], 0), "nor does one that waits");
    let new = prepared.commit();
    assert!(Arc::ptr_eq(&old[0], &new[0]));
    assert_eq!((endpoints(&old[0]), limit()), (vec![2, 3], 7));
    assert_eq!(endpoints(&new[1]), [9]);
}

#[tokio::test]
async fn endpoints_survive_a_table_and_what_has_not_changed_is_not_stored() {
    let registry = registry();
    let upstreams = registry.prepare(&[at("blue", &[1, 2])]).commit();
    let first = Arc::clone(&upstreams[0].state());
    registry.prepare(&[at("blue", &[1, 2])]).commit();
    assert!(Arc::ptr_eq(&first, &upstreams[0].state()));
    registry.prepare(&[at("blue", &[2, 3])]).commit();
    let second = Arc::clone(&upstreams[0].state());
    assert!(Arc::ptr_eq(&first.endpoints.as_slice()[1], &second.endpoints.as_slice()[0]));
    assert!(first.endpoints.as_slice()[0].is_retired());
}

#[tokio::test]
async fn an_upstream_that_no_table_names_lives_until_its_last_request_is_over() {
    let registry = registry();
    let living =
        || registry.living().iter().map(|upstream| (upstream.name.clone(), upstream.in_flight())).collect::<Vec<_>>();
    let request = {
        let upstreams = registry.prepare(&[at("blue", &[1])]).commit();
        let counter = WorkerCounters::default().of(&rule("split"), &upstreams[0].in_flight, |_| unreachable!());
        counter.add();
        (Arc::clone(&upstreams[0]), counter)
    };
    let _green = registry.prepare(&[]).commit();
    assert_eq!(living(), [("blue:80".to_owned(), 1)]);
    assert!(Arc::ptr_eq(&registry.busy_besides(&[])[0], &request.0));
    assert_eq!(registry.busy_besides(&[Arc::clone(&request.0)]).len(), 0, "a table that names it tells it itself");
    let back = registry.prepare(&[at("blue", &[1])]).commit();
    assert!(Arc::ptr_eq(&back[0], &request.0), "a table that names it again finds it");
    drop(back);
    request.1.sub();
    assert_eq!(registry.busy_besides(&[]).len(), 0);
    assert_eq!(living(), [("blue:80".to_owned(), 0)]);
    drop(request);
    assert_eq!(living(), []);
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_all_upstreams_of_it() {
    let (server, registry) = with_server().await;
    server.say(NAME, &Answer::Addresses(vec![ip(1), ip(2)], 30));
    let backends: Vec<Backend> = (0..20).map(|number| named(&format!("model-{number}"), NAME)).collect();
    let upstreams = warm_and_commit(registry.prepare(&backends)).await;
    assert!(upstreams.iter().all(|upstream| endpoints(upstream) == [1, 2]));
    let next = warm_and_commit(registry.prepare(&[named("other", NAME)])).await;
    assert_eq!(endpoints(&next[0]), [1, 2]);
    assert_eq!(server.asked(NAME).len(), 1);
}

#[tokio::test]
async fn an_answer_without_a_time_to_live_is_followed_and_stored_only_when_it_changes() {
    let (server, registry) = with_server().await;
    server.say(NAME, &Answer::Addresses(vec![ip(2), ip(1)], 0));
    let upstreams = warm_and_commit(registry.prepare(&[named("blue", NAME), named("green", NAME)])).await;
    let first = Arc::clone(&upstreams[0].state());
    server.say(NAME, &Answer::Addresses(vec![ip(1), ip(2)], 0));
    // The second answer has been taken by the time of the third question.
    server.was_asked(NAME, 3).await;
    assert!(Arc::ptr_eq(&first, &upstreams[0].state()), "the same addresses in another order are no change");
    server.say(NAME, &Answer::Addresses(vec![ip(3)], 0));
    server.was_asked(NAME, 5).await;
    assert!(upstreams.iter().all(|upstream| endpoints(upstream) == [3]));
}

#[tokio::test]
async fn a_name_without_an_answer_keeps_no_others_away_and_is_followed_when_it_has_one() {
    let (server, registry) = with_server().await;
    server.say(NAME, &Answer::Failure);
    let both = backend("blue", &[EndpointAddress::Ip(ip(1)), EndpointAddress::Name(NAME.into())]);
    let upstreams = registry.prepare(&[both]).commit();
    assert_eq!(endpoints(&upstreams[0]), [1], "committed before there was an answer");
    server.say(NAME, &Answer::Addresses(vec![ip(2)], 0));
    let asked = server.asked(NAME).len();
    server.was_asked(NAME, asked + 2).await;
    assert_eq!(endpoints(&upstreams[0]), [1, 2]);
}

#[tokio::test]
async fn a_name_that_no_upstream_needs_is_looked_up_no_more() {
    let (server, registry) = with_server().await;
    let other = "other.default.svc.cluster.local";
    for name in [NAME, other] {
        server.say(name, &Answer::Addresses(vec![ip(1)], 0));
    }
    let upstreams = warm_and_commit(registry.prepare(&[named("blue", NAME), named("green", other)])).await;
    let blue = Arc::clone(&upstreams[0]);
    drop(upstreams);
    // Blue moves to addresses, green goes: nobody needs either name.
    let _kept = registry.prepare(&[at("blue", &[1]), named("third", "third")]).commit();
    let asked = (server.asked(NAME).len(), server.asked(other).len());
    server.was_asked("third", 4).await;
    assert_eq!((server.asked(NAME).len(), server.asked(other).len()), asked);
    assert_eq!(endpoints(&blue), [1]);
}

#[tokio::test(start_paused = true)]
async fn who_newly_has_weight_is_awaited_for_a_while() {
    let registry = registry();
    let upstream = &registry.prepare(&[at("blue", &[])]).commit()[0];
    assert!(!upstream.is_awaited(), "nobody gave it weight");
    upstream.await_addresses();
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(upstream.is_awaited());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!upstream.is_awaited(), "a name that does not exist loses its share in the end");
}
