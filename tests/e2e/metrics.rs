//! What /metrics says: what weights gave and how long backends took, more series than a worker keeps at hand, a backend that
//! is named twice, and thousands of rules, which hold nobody else up.

use anyhow::ensure;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, PORT, TO_GREEN, documents, services, virtual_service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;

const SPLIT: &str = "turnout_split_requests_total";
const GREEN: &str = "green.default.svc.cluster.local:5001";

#[tokio::test]
async fn a_backend_that_is_named_twice_has_both_weights() -> anyhow::Result<()> {
    let split = "- route:
  - {destination: {host: green}, weight: 1}
  - {destination: {host: blue}, weight: 96}
  - {destination: {host: green}, weight: 3, headers: {response: {set: {x-a: b}}}}";
    let mut bed = Bed::start(split, &[]).await?;
    for _ in 0..2 {
        let metrics = bed.gateway.metrics().await?;
        assert_eq!(metrics.sum("turnout_weight", &[("backend", GREEN)]), Some(4.0));
        assert_eq!(metrics.sum("turnout_weight", &[]), Some(100.0));
    }
    let documents = documents(&bed.backends, TO_GREEN);
    bed.publish(&documents).await?;
    assert!(bed.count("turnout_weight", &[("backend", GREEN)]).await? > 0.5);
    Ok(())
}

#[tokio::test]
async fn every_one_of_many_kinds_of_answers_is_counted() -> anyhow::Result<()> {
    let rules = "- match: [{uri: {prefix: /blue}}]\n  route: [{destination: {host: blue}}]\n- route: [{destination: {host: green}}]";
    let bed = Bed::start(rules, &["--workers", "1"]).await?;
    let mut connection = bed.open().await?;
    let kinds = || ["green", "blue"].into_iter().flat_map(|backend| (200..600_u16).map(move |code| (backend, code)));
    for round in 1..=2 {
        for (backend, code) in kinds() {
            let request = RawRequest::get(&format!("/{backend}")).header("x-echo", &format!("status={code}; body="));
            let response = connection.exchange(&request).await?;
            ensure!(response.status == code, "{response:?}");
        }
        let metrics = bed.gateway.metrics().await?;
        for (backend, code) in kinds() {
            let code = code.to_string();
            let labels = [("destination_version", backend), ("response_code", &code), ("reporter", "source")];
            let (counted, expected) = (metrics.sum("istio_requests_total", &labels), f64::from(round));
            ensure!(counted == Some(expected), "{backend} {code}: {counted:?}, not {round}");
        }
    }
    Ok(())
}

/// A rate is of two readings: what begins with its first event would hide that.
#[tokio::test]
async fn what_can_be_known_in_advance_is_counted_from_zero_on() -> anyhow::Result<()> {
    let split =
        "- name: split\n  route: [{destination: {host: green}, weight: 1}, {destination: {host: blue}, weight: 1}]";
    let bed = Bed::start(split, &[]).await?;
    let (green, route) = (("backend", GREEN), ("route", "default/scoring spec.http[0] (split)"));
    let metrics = bed.gateway.metrics().await?;
    for (backend, count) in [(GREEN, Some(0.0)), ("blue.default.svc.cluster.local:5001", Some(0.0)), ("red", None)] {
        assert_eq!(metrics.sum(SPLIT, &[("backend", backend), route]), count, "{backend}");
    }
    for (result, count) in [("published", 1.0), ("rejected", 0.0), ("unreadable", 0.0)] {
        assert_eq!(metrics.sum("turnout_reloads_total", &[("result", result)]), Some(count), "{result}");
    }
    for (reason, fault) in [("no_route", "gateway"), ("connect_failure", "upstream"), ("bad_host", "downstream")] {
        let labels = [("reason", reason), ("fault", fault)];
        assert_eq!(metrics.sum("turnout_local_answers_total", &labels), Some(0.0), "{reason}");
    }
    // A worker knows of its backends when it has routed a request, or has looked around.
    bed.send(&RawRequest::get("/")).await?;
    let metrics = bed.gateway.metrics().await?;
    for cause in ["connect_failure", "reset", "per_try_timeout", "status"] {
        assert_eq!(metrics.sum("turnout_retries_total", &[green, ("cause", cause)]), Some(0.0), "{cause}");
    }
    Ok(())
}

/// Pins are not the weights' doing, and a table that goes takes no count with it.
#[tokio::test]
async fn what_weights_gave_is_counted_by_route_and_backend_in_every_table() -> anyhow::Result<()> {
    let rules = |name: &str, green: u32| {
        let blue = 4 - green;
        format!(
            "- match: [{{headers: {{x-version: {{exact: blue}}}}}}]\n  route: [{{destination: {{host: blue}}}}]\n\
             - name: {name}\n  route:\n  - {{destination: {{host: green}}, weight: {green}}}\n  \
             - {{destination: {{host: blue}}, weight: {blue}}}"
        )
    };
    let mut bed = Bed::start(&rules("first", 1), &[]).await?;
    let (mut total, mut pinned) = (0.0, 0.0);
    let tables = [("first", 1), ("first", 4), ("second", 0), ("first", 2)];
    for (number, (name, green)) in tables.into_iter().enumerate() {
        if number > 0 {
            let next = documents(&bed.backends, &rules(name, green));
            bed.publish(&next).await?;
        }
        bed.backends.clear();
        let backends = ["green", "blue"].map(|backend| format!("{backend}.default.svc.cluster.local:5001"));
        let route = format!("default/scoring spec.http[1] ({name})");
        let mut before = Vec::new();
        for backend in &backends {
            before.push(bed.count(SPLIT, &[("backend", backend), ("route", &route)]).await?);
        }
        for _ in 0..20 {
            bed.send(&RawRequest::get("/")).await?;
            bed.send(&RawRequest::get("/").header("x-version", "blue")).await?;
        }
        (total, pinned) = (total + 20.0, pinned + 20.0);
        let came = |to: &str| {
            let received = bed.backends.received();
            let came = received.iter().filter(|one| one.backend == to && one.headers.first("x-version").is_none());
            u32::try_from(came.count()).map(f64::from)
        };
        let metrics = bed.gateway.metrics().await?;
        for ((backend, to), before) in backends.iter().zip(["green", "blue"]).zip(before) {
            let counted = metrics.sum(SPLIT, &[("backend", backend), ("route", &route)]).unwrap_or_default();
            assert_eq!((counted - before).to_string(), came(to)?.to_string(), "{name} {green}: {backend}");
        }
        assert_eq!(metrics.sum(SPLIT, &[]), Some(total));
        let all = metrics.sum("istio_requests_total", &[("reporter", "source")]);
        assert_eq!(all, Some(total + pinned));
    }
    let without = documents(&bed.backends, TO_GREEN);
    bed.publish(&without).await?;
    assert_eq!(bed.gateway.metrics().await?.sum(SPLIT, &[]), Some(total), "no rule and no blue any more");
    Ok(())
}

/// So that the difference of the two means is what the gateway takes.
#[tokio::test]
async fn time_at_the_backend_is_told_for_each_request_that_has_one_and_is_part_of_the_whole() -> anyhow::Result<()> {
    let to = |host: &str, more: &str| {
        format!("- match: [{{uri: {{prefix: /{host}}}}}]\n  route: [{{destination: {{host: {host}}}}}]\n{more}")
    };
    let rules = [
        to("green", "  retries: {attempts: 2, retryOn: 5xx}\n"),
        to("blue", "  timeout: 50ms\n"),
        to("dead", ""),
        to("empty", ""),
        "- match: [{uri: {prefix: /direct}}]\n  directResponse: {status: 418}".to_owned(),
    ];
    let bed = Bed::start(&rules.concat(), &[]).await?;
    let rows = [
        ("green", "delay=20ms", 200, 20.0),
        ("green", "delay=20ms; status=404", 404, 20.0),
        ("green", "delay=20ms; status=503", 503, 60.0),
        ("green", "close-mid-body", 200, 0.0),
        ("blue", "delay=600s", 504, 50.0),
        ("dead", "", 503, 0.0),
        ("empty", "", 503, 0.0),
        ("direct", "", 418, 0.0),
        ("none", "", 404, 0.0),
    ];
    let mut expected = BTreeMap::<&str, (f64, f64)>::new();
    for (host, asked, status, at_least_ms) in rows {
        let request = RawRequest::get(&format!("/{host}"));
        let request = if asked.is_empty() { request } else { request.header("x-echo", asked) };
        assert_eq!(bed.send(&request).await?.status, status, "{host} {asked}");
        let (count, least) = expected.entry(host).or_default();
        (*count, *least) = (*count + 1.0, *least + at_least_ms);
    }
    let metrics = bed.gateway.metrics().await?;
    for (host, (count, at_least_ms)) in expected {
        let service = format!("{host}.default.svc.cluster.local");
        let of = |family: &str, labels: &[(&str, &str)]| {
            let labels = [labels, &[("destination_service", service.as_str())]].concat();
            ["count", "sum"].map(|of| metrics.sum(&format!("{family}_milliseconds_{of}"), &labels))
        };
        let [counted, at_backend] = of("turnout_upstream_duration", &[]);
        if ["direct", "none"].contains(&host) {
            assert_eq!(counted, None, "{host}");
            continue;
        }
        let [all, whole] = of("istio_request_duration", &[("reporter", "source")]);
        assert_eq!((counted, all), (Some(count), Some(count)), "{host}");
        assert!(at_backend >= Some(at_least_ms), "{host}: {at_backend:?} of at least {at_least_ms} ms");
        assert!(at_backend <= whole, "{host}: {at_backend:?} of {whole:?}");
    }
    let all = metrics.sum("turnout_upstream_duration_milliseconds_count", &[]);
    assert_eq!(all, Some(7.0));
    Ok(())
}

/// So many rules for each of so many hosts, each host with a VirtualService of its own. As short as a rule can be written
/// that matches and forwards it is 15 values (keys count, too), so the parser's limit of 100,000 admits 6,600 of them.
fn large(backends: &Backends, hosts: usize, rules: usize) -> String {
    let mut http = String::new();
    for rule in 0..rules {
        // Writing to a string does not fail.
        let _ = writeln!(http, "- {{match: [{{uri: {{exact: /{rule}}}}}], route: [{{destination: {{host: green}}}}]}}");
    }
    let bound = virtual_service(&http);
    let (gateway, rules) = bound.split_once("---\n").unwrap_or_default();
    let of_host = |host: usize| {
        let name = format!("name: scoring-{host},");
        rules.replace("name: scoring,", &name).replace("hosts: [\"*\"]", &format!("hosts: [host-{host}.example.com]"))
    };
    let of_hosts = (0..hosts).map(of_host).collect::<Vec<_>>().join("---\n");
    format!("{}{gateway}---\n{of_hosts}", services(backends))
}

#[tokio::test]
async fn a_scrape_of_thousands_of_rules_leaves_the_other_pages_answering() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let documents = large(&backends, 100, 65);
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    let mut scraping = JoinSet::new();
    let status = bed.gateway.status_address();
    for _ in 0..4 {
        scraping.spawn(async move {
            let request = RawRequest::new("GET", "/metrics").header("Host", "a").header("Connection", "close");
            turnout_tests::client::send(status, &request).await
        });
    }
    for _ in 0..20 {
        for path in ["/livez", "/readyz", "/revision"] {
            assert_eq!(bed.gateway.status(path).await?.status, 200, "{path}");
        }
    }
    for scraped in scraping.join_all().await {
        let scraped = scraped?;
        assert_eq!((scraped.status, scraped.complete), (200, true));
        let said = scraped.text().lines().filter(|line| line.starts_with("turnout_weight{")).count();
        assert_eq!(said, 6500, "a weight of each rule");
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_page_costs_is_shown() -> anyhow::Result<()> {
    for (hosts, rules) in [(1, 1000), (1, 5000), (100, 65)] {
        let backends = Backends::start().await?;
        let documents = large(&backends, hosts, rules);
        let bed = Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await?;
        for path in ["/metrics", "/backends"] {
            bed.gateway.status(path).await?;
            let before = turnout_tests::process::cpu_ms(bed.gateway.id())?;
            let page = bed.gateway.status(path).await?;
            let spent = turnout_tests::process::cpu_ms(bed.gateway.id())? - before;
            let size = page.body.len() / 1024;
            println!("{path} of {hosts} hosts with {rules} rules each: {spent} ms of CPU, {size} KiB");
            assert!(page.complete);
        }
    }
    Ok(())
}
