//! Compares an observation with an expectation, field by field, and names every difference.
//!
//! A time has only a lower bound here: how long a busy machine takes says nothing about the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::Regex;
use serde::Serialize;
use turnout_tests::client::RawResponse;
use turnout_tests::echo::{Received, TlsSeen};
use turnout_tests::wire::{HeaderLines, latin1};

use crate::certificates;
use crate::exchange::Exchange;
use crate::expectation::{Count, Expectation, Lines, Mirrored, Nullable, Text};
use crate::observation::Observation;

/// Backends that receive copies only.
const MIRRORS: [&str; 2] = ["mirror", "mirror2"];

/// How many standard deviations of a fair draw a share may be away, if the tolerance of the case is less: a gateway that
/// draws well is then wrong once in a million checks.
const DEVIATIONS: f64 = 5.0;

/// Longer values are cut in messages.
const SHOWN: usize = 300;

/// One field that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) field: String,
    pub(crate) want: String,
    pub(crate) got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, want, got } = self;
        write!(formatter, "{field}: want {want}, got {got}")
    }
}

/// Every difference, in the order of the fields.
pub(crate) fn compare(expect: &Expectation, seen: &Observation) -> Vec<Difference> {
    let mut differences = Differences::default();
    compare_answer(expect, seen, &mut differences);
    compare_request(expect, seen, &mut differences);
    compare_attempts(expect, seen, &mut differences);
    compare_copies(expect, seen, &mut differences);
    compare_statuses(expect, seen, &mut differences);
    compare_backends(expect, seen, &mut differences);
    differences.0
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, field: impl Into<String>, want: impl Serialize, got: impl Serialize) {
        self.0.push(Difference { field: field.into(), want: shown(want), got: shown(got) });
    }

    /// Compares a value that is perhaps expected with one that perhaps was seen.
    fn equal<T: Serialize + PartialEq>(&mut self, field: &str, want: Option<T>, got: Option<T>) {
        if want.is_some() && want != got {
            self.add(field, want, got);
        }
    }
}

fn shown(value: impl Serialize) -> String {
    let text = serde_json::to_string(&value).expect("expectations and observations are plain data");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What the client saw of the first (as a rule the only) request.
fn compare_answer(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let Some(exchange) = seen.exchanges.first() else {
        differences.add("count", "an exchange", None::<()>);
        return;
    };
    let answer = exchange.answer.as_ref().ok();
    if let Some(want) = expect.status {
        match &exchange.answer {
            Ok(answer) if answer.status == want => {}
            Ok(answer) => differences.add("status", want, answer.status),
            Err(failure) => differences.add("status", want, failure),
        }
    }
    if let Some(want) = expect.reset
        && want != answer.is_none()
    {
        differences.add("reset", want, answer.map(|answer| answer.status));
    }
    differences.equal("backend", expect.backend.as_deref(), answer.and_then(RawResponse::backend));
    differences.equal("version", expect.version.as_deref(), answer.map(|answer| answer.version.as_str()));
    let none = HeaderLines::default();
    let headers = answer.map_or(&none, |answer| &answer.headers);
    compare_headers("response header", &expect.response_headers, headers, differences);
    compare_body(expect, answer, differences);
    differences.equal("interim", expect.interim.clone(), answer.map(|answer| answer.interim.clone()));
    differences.equal("complete", expect.complete, answer.map(|answer| answer.complete));
    differences.equal("closed", expect.closed, exchange.closed);
    differences.equal("tunnel", expect.tunnel.as_deref(), exchange.tunnel.as_deref());
    let handshake = exchange.handshake.as_ref();
    differences.equal("cert", expect.cert.as_deref(), handshake.and_then(|handshake| handshake.certificate));
    let version = handshake.and_then(|handshake| handshake.version.as_deref());
    differences.equal("tls_version", expect.tls_version.as_deref(), version);
    differences.equal("stream_error", expect.stream_error.clone(), Some(Nullable(exchange.stream_error.clone())));
    compare_time(expect, exchange, differences);
}

fn compare_body(expect: &Expectation, answer: Option<&RawResponse>, differences: &mut Differences) {
    let body = answer.map(RawResponse::text).unwrap_or_default();
    let as_wanted = match &expect.body {
        None => true,
        Some(Text::Exact(want)) => *want == body,
        Some(Text::Pattern { re }) => matches_fully(re, &body),
    };
    if !as_wanted {
        differences.add("body", &expect.body, &body);
    }
    differences.equal("body_bytes", expect.body_bytes, answer.map(|answer| answer.body.len()));
    let line = |(name, value): &(String, String)| format!("{}: {value}", name.to_lowercase());
    let trailers = answer.map(|answer| answer.trailers.0.iter().map(line).collect::<Vec<_>>());
    differences.equal("trailers", expect.trailers.clone(), trailers);
}

fn compare_time(expect: &Expectation, exchange: &Exchange, differences: &mut Differences) {
    let elapsed_ms = exchange.elapsed.as_millis();
    if let Some((least, _)) = expect.time_ms
        && elapsed_ms < u128::from(least)
    {
        differences.add("time_ms", format!("at least {least}"), elapsed_ms.to_string());
    }
}

/// What the backend saw of the last attempt.
fn compare_request(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let last = seen.received.iter().rfind(|received| !is_mirror(received));
    let none = HeaderLines::default();
    differences.equal("path", expect.path.as_deref(), last.map(|last| last.target.as_str()));
    differences.equal("method", expect.method.as_deref(), last.map(|last| last.method.as_str()));
    differences.equal("authority", expect.authority.as_deref(), last.and_then(Received::authority));
    differences.equal("backend_version", expect.backend_version.as_deref(), last.map(|last| last.version.as_str()));
    let headers = last.map_or(&none, |last| &last.headers);
    compare_headers("request header", &expect.request_headers, headers, differences);
    differences.equal("backend_body", expect.backend_body.clone(), last.map(Received::body_text));
    differences.equal("backend_bytes", expect.backend_bytes, last.map(|last| last.body.len()));
    let trailers = last.map(|last| last.trailers.0.clone());
    differences.equal("backend_trailers", expect.backend_trailers.clone(), trailers);
    differences.equal("backend_scheme", expect.backend_scheme.as_deref(), last.and_then(|last| last.scheme.as_deref()));
    let tls = last.and_then(|last| last.tls.as_deref());
    differences.equal("backend_sni", expect.backend_sni.as_deref(), tls.and_then(|tls| tls.server_name.as_deref()));
    differences.equal("backend_alpn", expect.backend_alpn.clone(), tls.map(|tls| tls.offered.clone()));
    let certificate =
        |tls: &TlsSeen| Nullable(tls.certificate.as_deref().and_then(certificates::name_of).map(str::to_owned));
    differences.equal("backend_client_cert", expect.backend_client_cert.clone(), tls.map(certificate));
    let version = tls.and_then(|tls| tls.version.as_deref());
    differences.equal("backend_tls_version", expect.backend_tls_version.as_deref(), version);
}

/// How many attempts the backends received.
fn compare_attempts(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let attempts = seen.received.iter().filter(|received| !is_mirror(received));
    let by_backend = counted(attempts.clone().map(|received| received.backend.clone()));
    let total: usize = by_backend.values().sum();
    differences.equal("attempts", expect.attempts.clone(), Some(by_backend));
    differences.equal("attempts_total", expect.attempts_total, Some(total));

    let connections = attempts.map(|received| (&received.backend, received.connection));
    let connections = connections.collect::<BTreeSet<_>>().len();
    let as_wanted = match expect.backend_connections {
        None => true,
        Some(Count::Exact(count)) => connections == count,
        Some(Count::Range(least, most)) => (least..=most).contains(&connections),
    };
    if !as_wanted {
        let want = &expect.backend_connections;
        differences.add("backend_connections", want, connections);
    }
}

/// Which copies arrived, in no order.
fn compare_copies(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let copies = || seen.received.iter().filter(|received| is_mirror(received));
    if let Some(want) = &expect.mirrors {
        let copied = |received: &Received| Mirrored {
            backend: received.backend.clone(),
            path: received.target.clone(),
            authority: received.authority().map(str::to_owned),
            method: received.method.clone(),
        };
        let (want, got) = (want.iter().collect::<BTreeSet<_>>(), copies().map(copied).collect::<Vec<_>>());
        if want != got.iter().collect() || want.len() != got.len() {
            differences.add("mirrors", want, got);
        }
    }
    if let Some(first) = copies().next() {
        compare_headers("mirror header", &expect.mirror_headers, &first.headers, differences);
    }
    let mut sizes: Vec<usize> = copies().map(|received| received.body.len()).collect();
    sizes.sort_unstable();
    differences.equal("mirror_bytes", expect.mirror_bytes.clone(), Some(sizes));
    if let Some(want) = &expect.mirror_share {
        let counts = counted(copies().map(|received| received.backend.clone()));
        Shares::of(counts, seen).compare("mirror share of", want, |_| expect.tolerance, differences);
    }
}

/// Which statuses the requests of a `count` met.
fn compare_statuses(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let statuses = counted(seen.exchanges.iter().map(status_name));
    differences.equal("statuses", expect.statuses.clone(), Some(statuses.clone()));
    if let Some(want) = &expect.statuses_at_least {
        let count = |status| statuses.get(status).copied().unwrap_or_default();
        let enough = want.iter().all(|(status, least)| count(status) >= *least);
        if !enough || statuses.keys().any(|status| !want.contains_key(status)) {
            differences.add("statuses_at_least", want, &statuses);
        }
    }
    if let Some(want) = &expect.status_shares {
        let shares = Shares::of(statuses, seen);
        shares.compare("share of status", want, |_| expect.tolerance, differences);
    }
}

/// Which backends answered the requests of a `count`.
fn compare_backends(expect: &Expectation, seen: &Observation, differences: &mut Differences) {
    let answers = seen.exchanges.iter().filter_map(|exchange| exchange.answer.as_ref().ok());
    let backends = counted(answers.map(|answer| answer.backend().unwrap_or("none").to_owned()));
    differences.equal("distinct_backends", expect.distinct_backends, Some(backends.len()));
    if let Some(want) = expect.shares.as_ref().filter(|_| !expect.approx) {
        // All or nothing leaves nothing to chance.
        let certain = |share: f64| share <= 0.0 || share >= 1.0;
        let tolerance = |share: f64| {
            if certain(share) { 0.0 } else { expect.tolerance }
        };
        Shares::of(backends, seen).compare("share of", want, tolerance, differences);
    }
}

/// How often each name was counted, and of how many.
struct Shares {
    counts: BTreeMap<String, usize>,
    total: f64,
}

impl Shares {
    fn of(counts: BTreeMap<String, usize>, seen: &Observation) -> Self {
        Self { counts, total: as_f64(seen.exchanges.len()) }
    }

    /// Compares the share of every name that is wanted or was counted. The tolerance for a wanted share is at least
    /// what chance needs.
    fn compare(
        &self,
        field: &str,
        want: &BTreeMap<String, f64>,
        tolerance: impl Fn(f64) -> f64,
        differences: &mut Differences,
    ) {
        let names: BTreeSet<_> = want.keys().chain(self.counts.keys()).collect();
        for name in names {
            let wanted = want.get(name).copied().unwrap_or_default();
            let count = self.counts.get(name).copied().unwrap_or_default();
            let share = as_f64(count) / self.total;
            let deviation = (wanted * (1.0 - wanted) / self.total).sqrt();
            if (share - wanted).abs() > tolerance(wanted).max(DEVIATIONS * deviation) {
                differences.add(format!("{field} {name}"), wanted, share);
            }
        }
    }
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a case sends fewer requests"))
}

fn compare_headers(
    field: &str,
    want: &BTreeMap<String, Option<Lines>>,
    headers: &HeaderLines,
    differences: &mut Differences,
) {
    for (name, want) in want {
        let got = headers.values(name);
        let as_wanted = match want {
            None => got.is_empty(),
            Some(want) => !got.is_empty() && lines_match(want, &got),
        };
        if !as_wanted {
            differences.add(format!("{field} {}", name.to_lowercase()), want, got);
        }
    }
}

fn lines_match(want: &Lines, got: &[&str]) -> bool {
    match want {
        Lines::One(value) => got == [value.as_str()],
        Lines::These(values) => got == values.as_slice(),
        Lines::Pattern { re } => matches_fully(re, &got.join(",")),
        Lines::Present { any } => *any,
        Lines::Other { not } => got.join(",") != *not,
    }
}

fn matches_fully(pattern: &str, text: &str) -> bool {
    let pattern = Regex::new(&format!(r"(?s)\A(?:{pattern})\z"));
    pattern.unwrap_or_else(|error| panic!("a bad pattern in a case: {error}")).is_match(text)
}

fn is_mirror(received: &Received) -> bool {
    MIRRORS.contains(&received.backend.as_str())
}

fn status_name(exchange: &Exchange) -> String {
    exchange.answer.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string())
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
