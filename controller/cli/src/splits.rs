//! The splits of a gateway as its `/metrics` tell them, in the text format of Prometheus: which rule gives which weight to
//! which backend, and what each backend has there. [`GatewayReport`](turnout_rollout::GatewayReport) answers for a
//! backend that is known; here they are all listed.

use serde::Serialize;
use std::collections::BTreeMap;

/// A rule of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Split {
    /// Where it stands in the documents, as `abtesting/model spec.http[2] (name)`.
    pub(crate) route: String,
    /// What each backend gets of it, in the order of their names. A backend with weight 0 is none of them.
    pub(crate) shares: Vec<Share>,
}

/// A backend in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Share {
    /// `host:port` or `host:port/subset`.
    pub(crate) backend: String,
    pub(crate) weight: u64,
    /// How many endpoints the gateway knows of, and the requests that it has in flight there: of the backend in all rules.
    pub(crate) endpoints: u64,
    pub(crate) in_flight: u64,
}

/// Reads all of them, in the order of the documents' names and the rules' positions.
pub(crate) fn read(metrics: &str) -> Vec<Split> {
    let samples: Vec<Sample<'_>> = metrics.lines().filter_map(read_line).collect();
    let of_backend = |name: &str, backend: &str| {
        let is_it = |sample: &&Sample<'_>| sample.name == name && sample.label("backend") == Some(backend);
        samples.iter().filter(is_it).map(|sample| sample.value).sum()
    };
    let mut splits: BTreeMap<(String, u64, String), Vec<Share>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name == "turnout_weight") {
        let (Some(route), Some(backend)) = (sample.label("route"), sample.label("backend")) else { continue };
        splits.entry(place_of(route)).or_default().push(Share {
            backend: backend.to_owned(),
            weight: sample.value,
            endpoints: of_backend("turnout_upstream_endpoints", backend),
            in_flight: of_backend("turnout_requests_in_flight", backend),
        });
    }
    let finish = |((_, _, route), mut shares): (_, Vec<Share>)| {
        shares.sort_by(|one, other| one.backend.cmp(&other.backend));
        Split { route, shares }
    };
    splits.into_iter().map(finish).collect()
}

/// By document, then by position as a number, so that rule 10 follows rule 9.
fn place_of(route: &str) -> (String, u64, String) {
    let (document, rest) = route.split_once(" spec.http[").unwrap_or((route, ""));
    let position = rest.split(']').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (document.to_owned(), position, route.to_owned())
}

/// One line.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: u64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// Reads `name{label="value",...} 12`; every other line is nothing.
fn read_line(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_once('{')?;
    let (mut rest, value) = rest.rsplit_once("} ")?;
    let mut labels = Vec::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let (value, after) = unquote(quoted)?;
        labels.push((label.trim_start_matches(','), value));
        rest = after;
    }
    Some(Sample { name, labels, value: value.trim().parse().ok()? })
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((text, &quoted[end + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            (_, other) => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# HELP turnout_weight Weights in effect.
turnout_weight{backend="green.ns.svc.cluster.local:5001",route="ns/model spec.http[10] (a \"name\")"} 80
turnout_weight{backend="blue.ns.svc.cluster.local:5001",route="ns/model spec.http[10] (a \"name\")"} 20
turnout_weight{backend="blue.ns.svc.cluster.local:5001",route="ns/model spec.http[2]"} 1
turnout_upstream_endpoints{backend="blue.ns.svc.cluster.local:5001"} 3
turnout_requests_in_flight{backend="blue.ns.svc.cluster.local:5001"} 4
turnout_routes_rejected 0
turnout_weight{backend="half
other{le="+Inf"} 1.5
"#;

    #[test]
    fn splits_are_listed_in_the_order_of_the_rules_with_what_each_backend_has() {
        let splits = read(METRICS);
        let routes: Vec<&str> = splits.iter().map(|split| split.route.as_str()).collect();
        assert_eq!(routes, ["ns/model spec.http[2]", "ns/model spec.http[10] (a \"name\")"]);
        let blue =
            Share { backend: "blue.ns.svc.cluster.local:5001".to_owned(), weight: 20, endpoints: 3, in_flight: 4 };
        assert_eq!(splits[1].shares[0], blue);
        assert_eq!(splits[1].shares[1].weight, 80);
    }
}
