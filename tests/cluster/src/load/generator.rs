//! The process that sends load: a [`turnout_bench::Load`] as a line of JSON on standard input describes it, with a
//! report as a line of JSON on standard output for each further line, and a last one when standard input ends.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use turnout_bench::{Answer, FailureKind, Label, Load, Pace, Report, Total, Variant, VariantReport};

use super::{KindReport, LAP, LoadReport, LoadSpec, RequestKind, ToldBy, WAIT_FOR};
use crate::lines;

/// What a response counts as that does not tell who gave it.
const NOBODY: &str = "none";

/// Runs until standard input ends, or the load does.
pub(crate) async fn run() -> Result<()> {
    let mut orders = lines::standard_input();
    let spec = orders.recv().await.context("there is no load on standard input")?;
    let spec: LoadSpec = serde_json::from_str(&spec).context("standard input holds no load")?;
    let run = load(&spec)?.start().context("cannot start the load")?;
    let handle = run.handle();
    print(&report(&spec, &Report::default()))?;
    while let Some(order) = orders.recv().await {
        if let Some(count) = order.strip_prefix(WAIT_FOR) {
            handle.wait_for_requests(count.parse().context("no number of requests")?).await;
        }
        let account = if order == LAP { handle.lap() } else { handle.report() };
        print(&report(&spec, &account))?;
    }
    handle.stop();
    print(&report(&spec, &run.report().await))
}

fn print(report: &LoadReport) -> Result<()> {
    let mut stdout = stdout();
    writeln!(stdout, "{}", serde_json::to_string(report)?).context("nobody reads the report")?;
    stdout.flush().context("nobody reads the report")
}

fn load(spec: &LoadSpec) -> Result<Load> {
    let variants = spec.kinds.iter().map(variant).collect::<Result<_>>()?;
    let mut load = Load::new(spec.target, Total::UntilStopped { max_requests: spec.max_requests }, variants);
    load.connections = spec.connections;
    load.max_duration = Duration::from_secs(spec.max_seconds);
    load.timeout = Duration::from_secs(spec.timeout_seconds);
    if let Some(requests_per_second) = spec.requests_per_second {
        load.pace = Pace::OpenLoop { requests_per_second };
    }
    load.label = match &spec.told_by {
        ToldBy::Model => Label::By(Arc::new(model)),
        ToldBy::Header(name) => Label::Header(HeaderName::from_str(name).context("no header has such a name")?),
    };
    Ok(load)
}

fn variant(kind: &RequestKind) -> Result<Variant> {
    let path = PathAndQuery::from_str(&kind.path).with_context(|| format!("no path: {}", kind.path))?;
    let mut variant = match &kind.body {
        Some(body) => Variant::post_json(&kind.name, path, body.clone()),
        None => Variant::get(&kind.name, path),
    };
    variant.share = kind.share;
    if let Some(host) = &kind.host {
        variant.authority = Some(Authority::from_str(host).with_context(|| format!("no host: {host}"))?);
    }
    for (name, value) in &kind.headers {
        variant = variant.with_header(HeaderName::from_str(name)?, HeaderValue::from_str(value)?);
    }
    Ok(variant)
}

fn model(answer: &Answer<'_>) -> Option<String> {
    let body: Value = serde_json::from_slice(answer.body).ok()?;
    let name = if body.is_object() { &body["model"] } else { &body };
    name.as_str().map(str::to_owned)
}

fn report(spec: &LoadSpec, account: &Report) -> LoadReport {
    let total = account.total();
    let mut report = LoadReport {
        sent: total.requests,
        failed: total.failed(),
        statuses: total.statuses.clone(),
        errors: total.failures.iter().map(|(kind, count)| (word(*kind), *count)).collect(),
        first_failures: account.first_failures.clone(),
        connections_opened: account.connections_opened,
        seconds: account.elapsed.as_secs_f64(),
        latency_p50_us: total.latency.p50_us(),
        latency_p99_us: total.latency.quantile_us(0.99),
        latency_max_us: total.latency.max_us(),
        ended: account.ended.map(|ended| format!("{ended:?}")),
        ..LoadReport::default()
    };
    for kind in &spec.kinds {
        let Some(counted) = account.variant(&kind.name) else { continue };
        match &kind.pinned_to {
            Some(backend) => report.pins_wrong += answered_by_others(counted, backend),
            None => add(&mut report.by_backend, &counted.answers),
        }
        report.kinds.insert(kind.name.clone(), kind_report(counted));
    }
    report
}

fn kind_report(counted: &VariantReport) -> KindReport {
    KindReport {
        sent: counted.requests,
        failed: counted.failed(),
        by_backend: counted.answers.clone(),
        statuses: counted.statuses.clone(),
    }
}

fn answered_by_others(counted: &VariantReport, backend: &str) -> u64 {
    let others = counted.answers.iter().filter(|(who, _)| *who != backend && *who != NOBODY);
    others.map(|(_, count)| count).sum()
}

fn add(sum: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (who, count) in counts {
        *sum.entry(who.clone()).or_default() += count;
    }
}

fn word(kind: FailureKind) -> String {
    kind.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers every request as blue.
    fn blue_server() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                let head = "HTTP/1.1 200 OK\r\nx-served-by: blue\r\nconnection: close\r\ncontent-length: 13\r\n\r\n";
                stream.write_all(format!("{head}\"New Model B\"").as_bytes()).unwrap();
            }
        });
        address
    }

    async fn counted(spec: &LoadSpec) -> LoadReport {
        let spec: LoadSpec = serde_json::from_str(&serde_json::to_string(spec).unwrap()).unwrap();
        report(&spec, &load(&spec).unwrap().start().unwrap().report().await)
    }

    #[tokio::test]
    async fn an_answer_of_somebody_else_is_a_wrong_pin() {
        let mut spec = LoadSpec::new(blue_server()).with(RequestKind::split().share(2));
        spec = spec.with(RequestKind::pinned("green", "x-api-version", "green"));
        spec = spec.with(RequestKind::pinned("blue", "x-api-version", "blue"));
        (spec.max_requests, spec.connections) = (40, 1);
        let report = counted(&spec).await;
        assert_eq!((report.sent, report.failed, report.pins_wrong), (40, 0, 10), "{report:?}");
        assert_eq!(report.by_backend, BTreeMap::from([("blue".to_owned(), 20)]));
        assert_eq!(report.kinds["pinned blue"].by_backend, BTreeMap::from([("blue".to_owned(), 10)]));
        assert_eq!(report.statuses, BTreeMap::from([(200, 40)]));
    }

    #[tokio::test]
    async fn the_model_is_read_from_the_body() {
        let mut spec = LoadSpec::new(blue_server()).with(RequestKind::split());
        (spec.max_requests, spec.told_by) = (4, ToldBy::Model);
        assert_eq!(counted(&spec).await.by_backend, BTreeMap::from([("New Model B".to_owned(), 4)]));
    }

    #[tokio::test]
    async fn refused_connections_are_failures_and_no_wrong_pins() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut spec = LoadSpec::new(closed).with(RequestKind::pinned("blue", "x-api-version", "blue"));
        spec.max_requests = 3;
        let report = counted(&spec).await;
        assert_eq!((report.sent, report.failed, report.pins_wrong), (3, 3, 0));
        assert_eq!(report.errors, BTreeMap::from([("refused".to_owned(), 3)]));
    }
}
