//! Endpoints by DNS: all addresses of a name, changed answers, names that do not exist, servers that fail, and tables
//! that wait for the first answers to the names in them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use turnout_tests::bed::{Bed, KEY, PORT, service, virtual_service};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::dns::{Answer, DnsServer};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;

const LONG: Duration = Duration::from_secs(15);

/// Backends on one port of several loopback addresses, as the pods of a headless Service are.
struct Pods {
    backends: Backends,
    port: u16,
}

impl Pods {
    /// Starts `pod-2` on 127.0.0.2 and so on. All must have the same port, so another is tried where one is taken.
    async fn start(last: &[u8]) -> anyhow::Result<Self> {
        let mut problem = None;
        for _ in 0..20 {
            let mut backends = Backends::start().await?;
            let port = backends.address("green").port();
            match start_pods(&mut backends, last, port).await {
                Ok(()) => return Ok(Self { backends, port }),
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.map_or_else(|| anyhow::anyhow!("no port was tried"), Into::into))
    }
}

async fn start_pods(backends: &mut Backends, last: &[u8], port: u16) -> std::io::Result<()> {
    for last in last {
        let address = SocketAddr::from((ip(*last), port));
        backends.start_at(&format!("pod-{last}"), address).await?;
    }
    Ok(())
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

fn addresses(last: &[u8], ttl: u32) -> Answer {
    Answer::Addresses(last.iter().map(|last| ip(*last)).collect(), ttl)
}

/// A ServiceEntry whose endpoints are names; none means the service's own.
fn dns_service(name: &str, port: u16, endpoints: &[&str]) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|endpoint| format!("{{address: {endpoint}, ports: {{http: {port}}}}}")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  hosts: [{name}.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: DNS\n  \
         ports: [{{number: 5001, name: http, protocol: HTTP, targetPort: {port}}}]\n  endpoints: [{}]\n---\n",
        endpoints.join(", ")
    )
}

fn to(host: &str) -> String {
    virtual_service(&format!("- route: [{{destination: {{host: {host}, port: {{number: 5001}}}}}}]"))
}

async fn start(backends: Backends, dns: &DnsServer, documents: &str) -> anyhow::Result<Bed> {
    Bed::over(backends, documents, &[PORT], &["--dns-server", &dns.address().to_string()]).await
}

/// The backends that answer `count` requests over one connection; every one must be served.
async fn served_by(bed: &Bed, count: usize) -> anyhow::Result<BTreeSet<String>> {
    let mut connection = bed.open().await?;
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let response = connection.exchange(&RawRequest::get("/")).await?;
        ensure!(response.status == 200, "{} {}", response.status, response.text());
        names.extend(response.backend().map(str::to_owned));
    }
    Ok(names)
}

fn pods(last: &[u8]) -> BTreeSet<String> {
    last.iter().map(|last| format!("pod-{last}")).collect()
}

/// Waits until the gateway knows so many endpoints.
async fn endpoints(bed: &Bed, expected: u32) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let seen = bed.count("turnout_upstream_endpoints", &[]).await?;
        ensure!((seen - f64::from(expected)).abs() < 0.5, "{seen} endpoints, not {expected}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_address_of_a_headless_name_is_used() -> anyhow::Result<()> {
    let pods_started = Pods::start(&[2, 3, 4]).await?;
    let dns = DnsServer::start().await?;
    dns.say("model-headless.default.svc.cluster.local", addresses(&[2, 3, 4], 30));
    let service = dns_service("model", pods_started.port, &["model-headless.default.svc.cluster.local"]);
    let bed = start(pods_started.backends, &dns, &format!("{service}{}", to("model"))).await?;
    endpoints(&bed, 3).await?;
    // One of 10^14 runs misses one of three.
    assert_eq!(served_by(&bed, 80).await?, pods(&[2, 3, 4]));
    assert_eq!(
        dns.asked("model.default.svc.cluster.local"),
        0,
        "the endpoints' names are asked for, not the service's"
    );
    Ok(())
}

#[tokio::test]
async fn names_come_from_the_entry_the_service_or_the_destination() -> anyhow::Result<()> {
    let started = Pods::start(&[2, 3]).await?;
    let (port, name) = (started.port, "model.default.svc.cluster.local");
    let dns = DnsServer::start().await?;
    dns.say(name, addresses(&[2], 30));
    dns.say("one.example.com", addresses(&[2], 30));
    dns.say("two.example.com", addresses(&[3], 30));
    let mixed = dns_service("model", port, &["one.example.com", "Two.Example.COM", "127.0.0.1"]);
    let direct = format!("- route: [{{destination: {{host: {name}, port: {{number: {port}}}}}}}]");
    let table = [
        (dns_service("model", port, &[]) + &to("model"), pods(&[2])),
        (dns_service("model", port, &["two.example.com"]) + &to("model"), pods(&[3])),
        (mixed + &to("model"), &pods(&[2, 3]) | &BTreeSet::from(["green".to_owned()])),
        // Without a ServiceEntry the destination itself is looked up, with the port that it names.
        (virtual_service(&direct), pods(&[2])),
    ];
    let mut bed = start(started.backends, &dns, &table[0].0).await?;
    for (index, (documents, expected)) in table.iter().enumerate() {
        if index > 0 {
            bed.publish(documents).await?;
        }
        assert_eq!(served_by(&bed, 80).await?, *expected, "row {index}");
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_answer_is_taken_up_and_a_gone_address_gets_nothing_more() -> anyhow::Result<()> {
    let started = Pods::start(&[2, 3, 4]).await?;
    let dns = DnsServer::start().await?;
    dns.say("model.default.svc.cluster.local", addresses(&[2, 3], 1));
    let documents = dns_service("model", started.port, &[]) + &to("model");
    let bed = start(started.backends, &dns, &documents).await?;
    assert_eq!(served_by(&bed, 80).await?, pods(&[2, 3]));
    dns.say("model.default.svc.cluster.local", addresses(&[3, 4], 1));
    // Requests go on all the while, and none fails.
    eventually(LONG, || async {
        let seen = served_by(&bed, 40).await?;
        ensure!(seen == pods(&[3, 4]), "{seen:?}");
        Ok(())
    })
    .await?;
    bed.backends.clear();
    assert_eq!(served_by(&bed, 200).await?, pods(&[3, 4]));
    assert!(bed.backends.received().iter().all(|request| request.backend != "pod-2"));
    Ok(())
}

#[tokio::test]
async fn no_such_name_and_no_address_are_no_endpoints() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    let name = "model.default.svc.cluster.local";
    let documents = dns_service("model", started.port, &[]) + &to("model");
    let bed = start(started.backends, &dns, &documents).await?;
    let absent = async |why: &str| {
        eventually(LONG, || async {
            let response = bed.send(&RawRequest::get("/")).await?;
            let seen = (response.status, response.header("x-turnout-reason").map(str::to_owned));
            ensure!(seen == (503, Some("backend_absent".to_owned())), "{why}: {seen:?}");
            Ok(())
        })
        .await
    };
    absent("never existed").await?;
    let said = |bed: &Bed| bed.gateway.log().matches("DNS knows no address of this name").count();
    assert_eq!(said(&bed), 1, "{}", bed.gateway.log());
    for gone in [Answer::NoSuchName, addresses(&[], 1)] {
        dns.say(name, addresses(&[2], 1));
        eventually(LONG, || async { served_by(&bed, 3).await }).await?;
        dns.say(name, gone.clone());
        absent(&format!("{gone:?}")).await?;
    }
    assert_eq!(said(&bed), 1, "a name that goes is none that never was: {}", bed.gateway.log());
    Ok(())
}

/// That it looks like a slip is a hint, and it loses its share as any name that DNS does not know: so it is in Istio.
#[tokio::test]
async fn a_name_that_does_not_exist_loses_its_share() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    dns.say("scoring-stable.default.svc.cluster.local", addresses(&[2], 1));
    let to = |service: &str, port: u16| format!("destination: {{host: {service}, port: {{number: {port}}}}}");
    let (stable, new) = (to("scoring-stable", 5001), to("scoring-stabel", started.port));
    let documents = dns_service("scoring-stable", started.port, &[])
        + &virtual_service(&format!("- route: [{{{stable}, weight: 1}}, {{{new}, weight: 1}}]"));
    let bed = start(started.backends, &dns, &documents).await?;
    endpoints(&bed, 1).await?;
    let revision = bed.gateway.status("/revision").await?.json()?;
    ensure!(revision["warnings"].to_string().contains("did you mean"), "{revision}");
    let mut seen = BTreeSet::new();
    // One of 10^17 runs misses one of the two.
    for _ in 0..60 {
        let response = bed.send(&RawRequest::get("/")).await?;
        seen.insert((response.status, response.header("x-turnout-reason").map(str::to_owned)));
    }
    assert_eq!(seen, BTreeSet::from([(200, None), (503, Some("backend_absent".to_owned()))]));
    Ok(())
}

/// A driver gives weight to pods that are ready before DNS has them.
#[tokio::test]
async fn weight_that_is_new_goes_to_those_who_have_an_address() -> anyhow::Result<()> {
    let started = Pods::start(&[2, 3, 4]).await?;
    let dns = DnsServer::start().await?;
    let name = |service: &str| format!("{service}.default.svc.cluster.local");
    let services = ["one", "two", "new"].map(|service| dns_service(service, started.port, &[])).concat();
    let to = |service: &str| format!("destination: {{host: {service}, port: {{number: 5001}}}}");
    let split = |[one, two, new]: [u32; 3]| {
        let route = [("one", one), ("two", two), ("new", new)];
        let route = route.map(|(service, weight)| format!("{{{}, weight: {weight}}}", to(service))).join(", ");
        let pin = format!("- match: [{{uri: {{exact: /pin}}}}]\n  route: [{{{}}}]", to("new"));
        services.clone() + &virtual_service(&format!("{pin}\n- route: [{route}]"))
    };
    dns.say(&name("one"), addresses(&[2], 1));
    dns.say(&name("two"), addresses(&[3], 1));
    dns.say(&name("new"), Answer::NoSuchName);
    let mut bed = start(started.backends, &dns, &split([1, 1, 0])).await?;
    endpoints(&bed, 2).await?;
    bed.publish(&split([1, 1, 98])).await?;
    // One of 10^12 runs misses one of two.
    assert_eq!(served_by(&bed, 40).await?, pods(&[2, 3]));
    let pinned = bed.send(&RawRequest::get("/pin")).await?;
    assert_eq!((pinned.status, pinned.header("x-turnout-reason")), (503, Some("backend_absent")), "a pin has no other");

    // Who has no weight gets nothing in another's place.
    bed.publish(&split([0, 0, 100])).await?;
    let alone = bed.send(&RawRequest::get("/")).await?;
    assert_eq!((alone.status, alone.header("x-turnout-reason")), (503, Some("backend_absent")));

    bed.publish(&split([0, 1, 99])).await?;
    assert_eq!(served_by(&bed, 10).await?, pods(&[3]));
    dns.say(&name("new"), addresses(&[4], 1));
    eventually(LONG, || async {
        let seen = served_by(&bed, 10).await?;
        ensure!(seen.contains("pod-4"), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_fails_leaves_the_last_answer() -> anyhow::Result<()> {
    keeps_the_last_answer(Answer::Failure).await
}

#[tokio::test]
async fn a_server_that_is_silent_leaves_the_last_answer() -> anyhow::Result<()> {
    keeps_the_last_answer(Answer::Silence).await
}

async fn keeps_the_last_answer(trouble: Answer) -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    let name = "model.default.svc.cluster.local";
    dns.say(name, addresses(&[2], 1));
    let documents = dns_service("model", started.port, &[]) + &to("model");
    let bed = start(started.backends, &dns, &documents).await?;
    assert_eq!(served_by(&bed, 3).await?, pods(&[2]));
    dns.say(name, trouble);
    // A look-up goes wrong, and requests are served all the while and after it.
    eventually(LONG, || async {
        served_by(&bed, 3).await?;
        ensure!(bed.gateway.log().contains("look-up failed"), "no look-up has failed yet");
        Ok(())
    })
    .await?;
    assert_eq!(served_by(&bed, 10).await?, pods(&[2]));
    Ok(())
}

#[tokio::test]
async fn a_failing_name_takes_no_endpoints_from_the_others_of_its_service() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    dns.say("good.example.com", addresses(&[2], 1));
    dns.say("bad.example.com", Answer::Failure);
    let documents = dns_service("model", started.port, &["good.example.com", "bad.example.com"]) + &to("model");
    let bed = start(started.backends, &dns, &documents).await?;
    assert_eq!(served_by(&bed, 10).await?, pods(&[2]));
    Ok(())
}

#[tokio::test]
async fn a_table_with_a_new_name_serves_once_the_name_is_answered_for() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    let name = "model.default.svc.cluster.local";
    dns.say(name, Answer::Silence);
    let green = service("green", &[started.backends.address("green")]);
    let both = format!("{green}{}", dns_service("model", started.port, &[]));
    let mut bed = start(started.backends, &dns, &format!("{both}{}", to("green"))).await?;
    assert_eq!(served_by(&bed, 3).await?, BTreeSet::from(["green".to_owned()]));

    bed.routes.swap(&[(KEY, format!("{both}{}", to("model")).as_bytes())])?;
    let mut connection = bed.open().await?;
    let asked = || async { if dns.asked(name) > 0 { Ok(()) } else { Err("the name has not been asked for") } };
    eventually(LONG, asked).await?;
    assert_eq!(ask(&mut connection).await?, "green", "the old table serves while the new one waits");
    dns.say(name, addresses(&[2], 30));
    eventually(LONG, || {
        let asking = served_by(&bed, 5);
        async {
            let seen = asking.await?;
            ensure!(seen == pods(&[2]), "{seen:?}");
            Ok(())
        }
    })
    .await?;
    let failed = bed.count("istio_requests_total", &[("response_code", "503")]).await?;
    assert!(failed < 0.5, "{failed} requests failed across the swap");
    Ok(())
}

#[tokio::test]
async fn a_name_that_no_table_has_is_asked_for_no_more() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    let (gone, kept) = ("model.default.svc.cluster.local", "other.default.svc.cluster.local");
    dns.say(gone, addresses(&[2], 1));
    dns.say(kept, addresses(&[2], 1));
    let (model, other) = (dns_service("model", started.port, &[]), dns_service("other", started.port, &[]));
    let mut bed = start(started.backends, &dns, &format!("{model}{}", to("model"))).await?;
    // A connection that outlives the table keeps nothing of it alive.
    let mut connection = bed.open().await?;
    ask(&mut connection).await?;
    bed.publish(&format!("{other}{}", to("other"))).await?;
    ask(&mut connection).await?;

    // Both are asked for about once a second, so the one that goes on tells the time.
    let rounds = |from: usize| {
        let dns = &dns;
        eventually(LONG, move || async move {
            let asked = dns.asked(kept);
            ensure!(asked >= from + 6, "asked {asked} times");
            Ok(())
        })
    };
    rounds(dns.asked(kept)).await?;
    let asked = dns.asked(gone);
    rounds(dns.asked(kept)).await?;
    assert_eq!(dns.asked(gone), asked);
    ask(&mut connection).await?;
    Ok(())
}

/// Sends a request that must be served, and says by which backend it was.
async fn ask(connection: &mut RawConnection) -> anyhow::Result<String> {
    let response = connection.exchange(&RawRequest::get("/")).await?;
    ensure!(response.status == 200, "{} {}", response.status, response.text());
    response.backend().map(str::to_owned).context("no backend answered")
}

#[tokio::test]
async fn names_without_an_answer_hold_a_table_up_once_and_not_once_each() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let dns = DnsServer::start().await?;
    let mut documents = service("green", &[backends.address("green")]);
    let mut rules = String::new();
    for number in 0..15 {
        let name = format!("silent-{number}");
        dns.say(&format!("{name}.default.svc.cluster.local"), Answer::Silence);
        documents.push_str(&dns_service(&name, 5001, &[]));
        let rule = "- match: [{uri: {prefix: /NAME}}]\n  route: [{destination: {host: NAME}}]\n";
        rules.push_str(&rule.replace("NAME", &name));
    }
    rules.push_str("- route: [{destination: {host: green}}]");
    documents.push_str(&virtual_service(&rules));
    // Within the time that any gateway has to become ready, which is less than the sum of all names.
    let bed = start(backends, &dns, &documents).await?;
    assert_eq!(served_by(&bed, 3).await?, BTreeSet::from(["green".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn a_dead_address_among_good_ones_fails_no_request() -> anyhow::Result<()> {
    let started = Pods::start(&[2]).await?;
    let dns = DnsServer::start().await?;
    // Nothing listens on 127.0.0.9: a pod that is gone while DNS still lists it.
    dns.say("model.default.svc.cluster.local", addresses(&[2, 9], 30));
    let documents = dns_service("model", started.port, &[]) + &to("model");
    let bed = start(started.backends, &dns, &documents).await?;
    assert_eq!(served_by(&bed, 100).await?, pods(&[2]));
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_udp_is_asked_for_again_over_tcp() -> anyhow::Result<()> {
    for count in [120, 200] {
        let last: Vec<u8> = (2..2 + count).collect();
        let started = Pods::start(&last).await?;
        let dns = DnsServer::start().await?;
        let name = "model.default.svc.cluster.local";
        dns.say(name, addresses(&last, 1));
        let documents = dns_service("model", started.port, &[]) + &to("model");
        let bed = start(started.backends, &dns, &documents).await?;
        endpoints(&bed, u32::from(count)).await?;
        assert!(dns.asked_over_tcp(name) > 0);
        let seen = served_by(&bed, 400).await?;
        // One of 10^13 runs sees fewer than 60 of 120.
        assert!(seen.len() > 60 && seen.is_subset(&pods(&last)), "{} of {count}: {seen:?}", seen.len());
        // What fits into UDP again is taken from there.
        dns.say(name, addresses(&[2], 1));
        endpoints(&bed, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_is_not_asked_for_by_every_request() -> anyhow::Result<()> {
    let started = Pods::start(&[2, 3]).await?;
    let dns = DnsServer::start().await?;
    let name = "model.default.svc.cluster.local";
    dns.say(name, addresses(&[2], 0));
    let bed = start(started.backends, &dns, &(dns_service("model", started.port, &[]) + &to("model"))).await?;
    assert_eq!(served_by(&bed, 1000).await?, pods(&[2]));
    let asked = dns.asked(name);
    assert!(asked < 100, "asked {asked} times for 1000 requests");
    dns.say(name, addresses(&[3], 0));
    eventually(LONG, || async {
        let seen = served_by(&bed, 5).await?;
        ensure!(seen == pods(&[3]), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_services_of_one_name_both_follow_its_answer() -> anyhow::Result<()> {
    let started = Pods::start(&[2, 3]).await?;
    let dns = DnsServer::start().await?;
    dns.say("shared.example.com", addresses(&[2], 1));
    let one = dns_service("one", started.port, &["shared.example.com"]);
    let two = dns_service("two", started.port, &["shared.example.com"]);
    let rules = "- match: [{uri: {prefix: /one}}]\n  route: [{destination: {host: one}}]\n- route: [{destination: {host: two}}]";
    let bed = start(started.backends, &dns, &format!("{one}{two}{}", virtual_service(rules))).await?;
    for last in [2, 3] {
        dns.say("shared.example.com", addresses(&[last], 1));
        eventually(LONG, || async {
            let mut seen = Vec::new();
            for path in ["/one", "/two"] {
                seen.extend(bed.send(&RawRequest::get(path)).await?.backend().map(str::to_owned));
            }
            ensure!(seen == [format!("pod-{last}"), format!("pod-{last}")], "{seen:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
