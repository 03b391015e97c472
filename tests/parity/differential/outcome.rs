//! What came of a request, as a text: without what no two gateways say alike, and what is different on purpose.

use std::collections::{BTreeMap, BTreeSet};

use turnout_tests::echo::Received;
use turnout_tests::wire::HeaderLines;

use crate::exchange::Exchange;

/// How often each outcome was seen.
pub(crate) type Outcomes = BTreeMap<String, u32>;

/// Statuses with which only the gateway itself answers where no backend did: rules answer with others.
const OWN: [u16; 5] = [400, 403, 404, 429, 503];

/// Headers of an own answer, which is JSON here and plain text there.
const OF_OWN_ANSWERS: &[&str] = &["content-length", "content-type", "x-turnout-reason"];

/// Headers of a backend's answer, which has in it what the backend was asked.
const OF_ECHOES: &[&str] = &["content-length"];

/// Headers of what is sent again: Envoy takes what has passed from the time that is left.
const OF_RETRIES: &[&str] = &["x-envoy-expected-rq-timeout-ms"];

/// Headers that are not compared: a connection may outlive a request that was answered before its end, and the gateway
/// takes part in no trace.
const IGNORED: [&str; 2] = ["connection", "x-envoy-decorator-operation"];

/// A header whose lines Envoy makes one.
const JOINED: &str = "accept";

/// Headers that need to be there, with whatever value.
const MASKED: [&str; 5] =
    ["date", "x-envoy-external-address", "x-envoy-upstream-service-time", "x-forwarded-for", "x-request-id"];

pub(crate) fn outcome(exchange: &Exchange, received: &[Received]) -> String {
    let mut lines = Vec::new();
    match &exchange.answer {
        Err(failure) => lines.push(failure.clone()),
        Ok(answer) => {
            let backend = answer.backend();
            let own = backend.is_none() && OWN.contains(&answer.status);
            lines.push(format!("{} by {}", answer.status, backend.unwrap_or("the gateway")));
            let ignored = if own {
                OF_OWN_ANSWERS
            } else if backend.is_some() {
                OF_ECHOES
            } else {
                &[]
            };
            add_headers(&mut lines, '<', &answer.headers, ignored);
            if backend.is_none() && !own {
                lines.push(format!("< {:?}", answer.text()));
            }
        }
    }
    if let Some(last) = received.last() {
        lines.push(format!("> {} {} after {} others", last.method, last.target, received.len() - 1));
        add_headers(&mut lines, '>', &last.headers, if received.len() > 1 { OF_RETRIES } else { &[] });
        lines.push(format!("> {:?}", last.body_text()));
    }
    lines.join("\n")
}

fn add_headers(lines: &mut Vec<String>, direction: char, headers: &HeaderLines, ignored: &[&str]) {
    let lower = headers.0.iter().map(|(name, value)| (name.to_lowercase(), value.as_str()));
    let is_compared = |name: &str| !ignored.contains(&name) && !IGNORED.contains(&name);
    let mut compared: Vec<(String, String)> = Vec::new();
    for (name, value) in lower.filter(|(name, _)| is_compared(name)) {
        match compared.iter_mut().find(|(own, _)| *own == name && name == JOINED) {
            Some((_, own)) if value.is_empty() || own.is_empty() => own.push_str(value),
            Some((_, own)) => *own = format!("{own},{value}"),
            None => compared.push((name, value.to_owned())),
        }
    }
    compared.sort_by(|(one, _), (other, _)| one.cmp(other));
    let line = |(name, value): (String, String)| {
        let value = if MASKED.contains(&name.as_str()) { "..." } else { &value };
        format!("{direction} {name}: {value}")
    };
    lines.extend(compared.into_iter().map(line));
}

/// Whether one's share of an outcome is so many standard deviations away from the other's.
pub(crate) fn differ([want, got]: &[Outcomes; 2], deviations: f64) -> bool {
    let total = |outcomes: &Outcomes| f64::from(outcomes.values().sum::<u32>());
    let (all_wanted, all_got) = (total(want), total(got));
    let names: BTreeSet<_> = want.keys().chain(got.keys()).collect();
    names.into_iter().any(|name| {
        let count = |outcomes: &Outcomes| f64::from(outcomes.get(name).copied().unwrap_or_default());
        let (wanted, got) = (count(want), count(got));
        let share = (wanted + got) / (all_wanted + all_got);
        let deviation = (share * (1.0 - share) * (1.0 / all_wanted + 1.0 / all_got)).sqrt();
        (wanted / all_wanted - got / all_got).abs() > deviations * deviation
    })
}
