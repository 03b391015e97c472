//! Alerts and monitors: only where the cluster knows their kinds, and only about metrics that there are.

use crate::cases::{Rendering, chart, list, rendering, renderings, root, text};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;

fn alerts(rendering: &Rendering) -> Vec<(String, String)> {
    let rules = rendering.of_kind("PrometheusRule").flat_map(|rule| list(rule, "/spec/groups"));
    let rules = rules.flat_map(|group| list(group, "/rules"));
    rules.map(|rule| (text(rule, "/alert").to_owned(), text(rule, "/expr").to_owned())).collect()
}

#[test]
fn monitors_and_alerts_appear_where_their_kinds_are_known() {
    for rendering in renderings() {
        let kinds = ["ServiceMonitor", "PrometheusRule"].map(|kind| rendering.of_kind(kind).count());
        let expected = if rendering.case == "prometheus" { [2, 1] } else { [0, 0] };
        assert_eq!(kinds, expected, "{}", rendering.case);
    }
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let sources = [
        "proxy/src/telemetry/metrics.rs",
        "proxy/src/telemetry/metrics/standard.rs",
        "proxy/src/control/gauges.rs",
        "controller/src/telemetry.rs",
    ];
    let sources: String = sources.map(|source| fs::read_to_string(root().join(source)).unwrap()).concat();
    let selector = Regex::new(r"([a-z_]+)\{").unwrap();
    let mut asked = BTreeSet::new();
    for (alert, expression) in alerts(&rendering("prometheus")) {
        for found in selector.captures_iter(&expression) {
            let metric = &found[1];
            asked.insert(metric.to_owned());
            assert!(metric == "up" || sources.contains(&format!("\"{metric}\"")), "{alert}: there is no {metric}");
        }
    }
    assert!(asked.len() > 5, "{asked:?}");
}

/// A phase that is misspelt would never be met.
#[test]
fn alerts_ask_for_phases_that_there_are() {
    let definition = fs::read_to_string(chart().join("files/modelrollout-crd.yaml")).unwrap();
    let phases = Regex::new("phase=\"([^\"]+)\"").unwrap();
    let alerts = alerts(&rendering("prometheus"));
    let asked: BTreeSet<&str> = alerts
        .iter()
        .flat_map(|(_, expression)| phases.captures_iter(expression))
        .map(|found| found.extract::<1>().1[0])
        .collect();
    assert_eq!(asked, BTreeSet::from(["Invalid", "Stalled"]));
    assert!(asked.iter().all(|phase| definition.contains(&format!("- {phase}\n"))), "{asked:?}");
}

#[test]
fn alerts_ask_for_what_the_monitors_scrape() {
    let rendering = rendering("prometheus");
    let jobs: Vec<&str> = rendering.of_kind("Service").map(|service| text(service, "/metadata/name")).collect();
    let selectors = Regex::new(r#"\{[^}]*job="([^"]+)"[^}]*\}"#).unwrap();
    for (alert, expression) in alerts(&rendering) {
        let named: Vec<String> = selectors.captures_iter(&expression).map(|found| found[1].to_owned()).collect();
        assert_eq!(named.len(), expression.matches('{').count(), "{alert}: a selector names no job");
        assert!(named.iter().all(|job| jobs.contains(&job.as_str())), "{alert}: {named:?}");
    }
    for monitor in rendering.of_kind("ServiceMonitor") {
        let wanted = monitor.pointer("/spec/selector/matchLabels").unwrap().as_object().unwrap();
        let matching: Vec<_> = rendering
            .of_kind("Service")
            .filter(|service| wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value))
            .collect();
        assert_eq!(matching.len(), 1, "{}", text(monitor, "/metadata/name"));
        let port = monitor.pointer("/spec/endpoints/0/port").unwrap();
        assert!(list(matching[0], "/spec/ports").iter().any(|offered| offered["name"] == *port));
    }
}

#[test]
fn every_alert_says_what_it_means() {
    let rendering = rendering("prometheus");
    let rules = rendering.of_kind("PrometheusRule").flat_map(|rule| list(rule, "/spec/groups"));
    let names: Vec<&str> = rules
        .flat_map(|group| list(group, "/rules"))
        .map(|rule| {
            let name = text(rule, "/alert");
            assert!(!text(rule, "/annotations/summary").is_empty(), "{name}");
            assert!(!text(rule, "/annotations/description").is_empty(), "{name}");
            assert!(["warning", "critical"].contains(&text(rule, "/labels/severity")), "{name}");
            assert_eq!(text(rule, "/labels/team"), "scoring", "{name}");
            name
        })
        .collect();
    assert_eq!(
        names,
        [
            "TurnoutGatewayAbsent",
            "TurnoutRoutesRejected",
            "TurnoutGatewaysDisagree",
            "TurnoutBackendWithoutEndpoints",
            "TurnoutErrors",
            "TurnoutCertificateMissing",
            "TurnoutCertificateEnds",
            "TurnoutControllerWithoutLeader",
            "TurnoutDocumentsRefused",
            "TurnoutRolloutStalled",
            "TurnoutRollbackStalled",
            "TurnoutRolloutInvalid",
            "TurnoutRolloutObstructed",
        ]
    );
}
