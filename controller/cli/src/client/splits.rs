//! The splits of a gateway: which rule gives which weight to which backend, and what each backend has there.
//! [`GatewayReport`] answers for a backend that is known; here they are all listed.

use serde::Serialize;
use std::collections::BTreeMap;
use turnout_rollout::GatewayReport;

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
    pub(crate) weight: u32,
    /// How many endpoints the gateway knows of, and the requests that it has in flight there: of the backend in all rules.
    pub(crate) endpoints: u32,
    pub(crate) in_flight: u64,
}

/// Lists all of them, in the order of the documents' names and the rules' positions.
pub(crate) fn list(report: &GatewayReport) -> Vec<Split> {
    let mut splits: BTreeMap<(String, u64, String), Vec<Share>> = BTreeMap::new();
    for backend in report.backends() {
        for given in &backend.weights {
            splits.entry(place_of(&given.route)).or_default().push(Share {
                backend: backend.backend.clone(),
                weight: given.weight,
                endpoints: backend.endpoints,
                in_flight: backend.in_flight.iter().map(|sent| sent.requests).sum(),
            });
        }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::json;

    #[test]
    fn splits_are_listed_in_the_order_of_the_rules_with_what_each_backend_has() {
        let (tenth, second) = ("ns/model spec.http[10] (a \"name\")", "ns/model spec.http[2]");
        let page = json!({"revision": null, "backends": [
            {"backend": "green:5001", "endpoints": 1, "endpointsDigest": 1, "inFlight": [],
             "weights": [{"route": tenth, "weight": 80}]},
            {"backend": "blue:5001", "endpoints": 3, "endpointsDigest": 2,
             "inFlight": [{"route": tenth, "byWeight": true, "requests": 1}, {"route": second, "byWeight": true, "requests": 3}],
             "weights": [{"route": tenth, "weight": 20}, {"route": second, "weight": 100}]},
        ]});
        let report = GatewayReport::parse("g".to_owned(), b"{}", page.to_string().as_bytes()).unwrap();
        let splits = list(&report);
        let routes: Vec<&str> = splits.iter().map(|split| split.route.as_str()).collect();
        assert_eq!(routes, [second, tenth]);
        let blue = Share { backend: "blue:5001".to_owned(), weight: 20, endpoints: 3, in_flight: 4 };
        assert_eq!(splits[1].shares[0], blue);
        assert_eq!(splits[1].shares[1].weight, 80);
    }
}
