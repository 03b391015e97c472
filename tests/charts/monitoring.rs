//! Alerts and monitors: only where the cluster knows their kinds, and only about metrics that there are.

use crate::cases::{
    AZURE_PROMETHEUS, PROMETHEUS, Rendering, chart, documents, list, rendering, renderings, root, text, title,
};
use crate::helm::Helm;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

fn alerts(rendering: &Rendering) -> Vec<(String, String)> {
    let rules = rendering.of_kind("PrometheusRule").flat_map(|rule| list(rule, "/spec/groups"));
    let rules = rules.flat_map(|group| list(group, "/rules"));
    rules.map(|rule| (text(rule, "/alert").to_owned(), text(rule, "/expr").to_owned())).collect()
}

/// The groups of the objects of a kind.
fn groups<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a str> {
    objects.iter().filter(|object| object["kind"] == kind).map(|object| text(object, "/apiVersion")).collect()
}

#[test]
fn monitors_and_alerts_appear_where_their_kinds_are_known() {
    for rendering in renderings() {
        let found = ["ServiceMonitor", "PrometheusRule"].map(|kind| groups(&rendering.objects, kind));
        let expected: [&[&str]; 2] = match rendering.case {
            "prometheus" => [&[PROMETHEUS; 2], &[PROMETHEUS]],
            "aks" => [&[AZURE_PROMETHEUS; 2], &[]],
            _ => [&[], &[]],
        };
        assert_eq!(found, expected, "{}", rendering.case);
    }
    let Some(helm) = Helm::find("monitors_and_alerts_appear_where_their_kinds_are_known") else { return };
    let both = helm.template(&chart(), &["--api-versions", PROMETHEUS, "--api-versions", AZURE_PROMETHEUS]);
    let both = documents(&both.unwrap());
    let expected = [PROMETHEUS, PROMETHEUS, AZURE_PROMETHEUS, AZURE_PROMETHEUS];
    assert_eq!(groups(&both, "ServiceMonitor"), expected, "a cluster may have both");
}

/// Azure asks for them in every monitor.
#[test]
fn monitors_of_azure_name_its_limits() {
    let limits = |case: &str| -> Vec<Value> {
        let rendering = rendering(case);
        let limits = |monitor: &Value| {
            json!(
                ["labelLimit", "labelNameLengthLimit", "labelValueLengthLimit"]
                    .map(|limit| monitor["spec"][limit].clone())
            )
        };
        rendering.of_kind("ServiceMonitor").map(limits).collect()
    };
    assert_eq!(limits("aks"), [json!([63, 511, 1023]), json!([63, 511, 1023])]);
    assert_eq!(limits("prometheus"), [json!([null, null, null]), json!([null, null, null])]);
}

/// The default opens the metrics to both: Azure's scrapes from kube-system.
#[test]
fn whoever_scrapes_is_let_in() {
    let rendering = rendering("default");
    let policies: Vec<&Value> = rendering.of_kind("NetworkPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        let sources = list(policy, "/spec/ingress").iter().flat_map(|rule| list(rule, "/from"));
        let namespaces: Vec<&Value> =
            sources.filter_map(|source| source.pointer("/namespaceSelector/matchExpressions/0/values")).collect();
        assert_eq!(namespaces, [&json!(["monitoring", "kube-system"])], "{}", title(policy));
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
}

/// It is the file itself, not a text that helm has taken for a template.
#[test]
fn the_dashboard_is_the_file_under_the_label_of_grafanas_sidecar() {
    let Some(helm) = Helm::find("the_dashboard_is_the_file_under_the_label_of_grafanas_sidecar") else { return };
    let render = |enabled: &str| {
        let enabled = format!("monitoring.dashboard.enabled={enabled}");
        let rendered = helm.template(&chart(), &["--set", &enabled]).unwrap();
        let mut objects = documents(&rendered);
        objects.retain(|object| object["metadata"]["name"] == "turnout-dashboard");
        objects
    };
    assert_eq!(render("false").len(), 0);
    let [object] = <[Value; 1]>::try_from(render("true")).unwrap();
    assert_eq!(object["metadata"]["labels"]["grafana_dashboard"], "1");
    let file = fs::read_to_string(chart().join("files/dashboard.json")).unwrap();
    assert_eq!(object["data"], json!({"turnout.json": file}));
}

#[test]
fn a_monitor_finds_one_service_and_its_port() {
    for rendering in ["prometheus", "aks"].map(rendering) {
        rendering.of_kind("ServiceMonitor").for_each(|monitor| check_monitor(&rendering, monitor));
    }
}

fn check_monitor(rendering: &Rendering, monitor: &Value) {
    let wanted = monitor.pointer("/spec/selector/matchLabels").unwrap().as_object().unwrap();
    let matching: Vec<_> = rendering
        .of_kind("Service")
        .filter(|service| wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value))
        .collect();
    assert_eq!(matching.len(), 1, "{}", text(monitor, "/metadata/name"));
    let port = monitor.pointer("/spec/endpoints/0/port").unwrap();
    assert!(list(matching[0], "/spec/ports").iter().any(|offered| offered["name"] == *port));
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
