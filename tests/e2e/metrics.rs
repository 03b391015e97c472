//! What /metrics says where there is much to say: more series than a worker keeps at hand, a backend that is named twice,
//! and thousands of rules, which hold nobody else up.

use anyhow::ensure;
use std::fmt::Write as _;
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, PORT, TO_GREEN, documents, services, virtual_service};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;

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
