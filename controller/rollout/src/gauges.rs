//! The gauges of a gateway that a driver reads: weights, endpoints and requests in flight of each backend, from the text
//! format of Prometheus.

use std::collections::BTreeMap;

/// How a gateway calls a backend: `host:port` or `host:port/subset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendName<'a> {
    /// In full and in lower case.
    pub host: &'a str,
    /// The service's port; any, if none.
    pub port: Option<u16>,
    /// The subset; the whole service, if none.
    pub subset: Option<&'a str>,
}

/// What a gateway said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gauges(Vec<Sample>);

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    gauge: String,
    labels: BTreeMap<String, String>,
    value: u64,
}

impl Gauges {
    /// Reads the text; what is no gauge of interest is read over.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_line).collect())
    }

    /// The largest weight that a backend has in any route that `is_meant`.
    pub(crate) fn weight(&self, backend: &BackendName<'_>, is_meant: impl Fn(&str) -> bool) -> u64 {
        let of_route = |sample: &&Sample| sample.labels.get("route").is_some_and(|route| is_meant(route));
        self.of("turnout_weight", backend).filter(of_route).map(|sample| sample.value).max().unwrap_or(0)
    }

    pub(crate) fn endpoints(&self, backend: &BackendName<'_>) -> u64 {
        self.sum("turnout_upstream_endpoints", backend)
    }

    /// Whether it knows exactly the endpoints with this digest, wherever it knows the backend; older gateways do not say.
    pub(crate) fn knows(&self, backend: &BackendName<'_>, digest: u64) -> bool {
        self.of("turnout_upstream_endpoints_digest", backend).all(|sample| sample.value == digest)
    }

    pub(crate) fn in_flight(&self, backend: &BackendName<'_>) -> u64 {
        self.sum("turnout_requests_in_flight", backend)
    }

    fn sum(&self, gauge: &'static str, backend: &BackendName<'_>) -> u64 {
        self.of(gauge, backend).fold(0, |sum, sample| sum.saturating_add(sample.value))
    }

    fn of(&self, gauge: &'static str, backend: &BackendName<'_>) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| {
            sample.gauge == gauge && sample.labels.get("backend").is_some_and(|name| backend.is_called(name))
        })
    }
}

impl BackendName<'_> {
    fn is_called(&self, name: &str) -> bool {
        let (address, subset) = match name.split_once('/') {
            Some((address, subset)) => (address, Some(subset)),
            None => (name, None),
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        host == self.host && subset == self.subset && self.port.is_none_or(|wanted| port == wanted.to_string())
    }
}

/// `name{label="value",...} 12`.
fn parse_line(line: &str) -> Option<Sample> {
    let (gauge, rest) = line.split_once('{').filter(|(gauge, _)| gauge.starts_with("turnout_"))?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let value: f64 = value.trim().parse().ok()?;
    // A gauge that is no count is not one of these.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and far below 2^53")]
    let value = (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)?;
    Some(Sample { gauge: gauge.to_owned(), labels: parse_labels(labels)?, value })
}

fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_end_matches(',');
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &quoted[end + 1..];
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_others_where_their_digest_differs() {
        let name = |subset| BackendName { host: "model.ns.svc.cluster.local", port: None, subset };
        let text = |digest: u64| {
            format!("turnout_upstream_endpoints_digest{{backend=\"model.ns.svc.cluster.local:80\"}} {digest}\n")
        };
        let gauges = Gauges::parse(&text(7));
        assert!(gauges.knows(&name(None), 7));
        assert!(!gauges.knows(&name(None), 8));
        assert!(gauges.knows(&name(Some("v2")), 8), "nothing is said of it");
        // As a float would be written that large.
        assert!(Gauges::parse(&text((1 << 48) - 1)).knows(&name(None), (1 << 48) - 1));
    }

    const TEXT: &str = r#"# HELP turnout_weight Weights in effect.
turnout_weight{backend="g:5001",route="ns/model spec.http[2] (split \"x\")"} 50
turnout_weight{backend="g:5001",route="ns/model spec.http[1]"} 100
turnout_upstream_endpoints{backend="g:5001"} 2
turnout_requests_in_flight{backend="g:5001"} 3
turnout_requests_in_flight{backend="g:5002"} 4
turnout_requests_in_flight{backend="g:5001/v1"} 5
turnout_routes_rejected 0
other{le="+Inf"} 1.5
"#;

    #[test]
    fn gauges_are_found_by_backend_and_route() {
        let gauges = Gauges::parse(TEXT);
        let check = |port, subset, expected: (u64, u64)| {
            let name = BackendName { host: "g", port, subset };
            assert_eq!((gauges.endpoints(&name), gauges.in_flight(&name)), expected, "{port:?} {subset:?}");
        };
        check(Some(5001), None, (2, 3));
        check(Some(5002), None, (0, 4));
        check(None, None, (2, 7));
        check(None, Some("v1"), (0, 5));
        check(Some(1), None, (0, 0));
        let name = BackendName { host: "g", port: None, subset: None };
        assert_eq!(gauges.weight(&name, |route| route == "ns/model spec.http[2] (split \"x\")"), 50);
        assert_eq!(gauges.weight(&name, |route| route == "ns/model spec.http[0]"), 0);
        assert_eq!(gauges.weight(&name, |_| true), 100);
    }

    #[test]
    fn damaged_lines_are_read_over() {
        let name = BackendName { host: "g", port: None, subset: None };
        for line in [
            "turnout_requests_in_flight",
            "turnout_requests_in_flight{",
            "turnout_requests_in_flight{} 1",
            "turnout_requests_in_flight{backend=\"g:1\"}",
            "turnout_requests_in_flight{backend=\"g:1} 1",
            "turnout_requests_in_flight{backend} 1",
            "turnout_requests_in_flight{backend=\"g:1\"} -1",
            "turnout_requests_in_flight{backend=\"g:1\"} 0.5",
            "turnout_requests_in_flight{backend=\"g:1\"} NaN",
            "turnout_requests_in_flight{backend=\"g:1\"} x",
            "turnout_requests_in_flight{backend=\"\\",
        ] {
            assert_eq!(Gauges::parse(line).in_flight(&name), 0, "{line}");
        }
        assert_eq!(Gauges::parse("turnout_requests_in_flight{backend=\"g:1\",} 1").in_flight(&name), 1);
    }
}
