//! Every flag in a rendering is one that its program has, with a value that it takes: the programs' own definitions of
//! their command lines are asked.

use crate::cases::{NAMESPACE, chart, rendering, renderings};
use clap::{CommandFactory as _, Parser};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use turnout_controller::settings::{DocumentSource, Settings};

/// Flags of the gateway that the chart sets from other values.
const OWN_FLAGS: [&str; 10] = [
    "admin",
    "credentials",
    "drain-timeout-ms",
    "labels",
    "listen",
    "namespace",
    "routes",
    "shutdown-delay-ms",
    "status",
    "workload",
];
/// And those that make no sense in a pod, whose ports are known beforehand and whose routes come from a ConfigMap.
const UNUSED_FLAGS: [&str; 2] = ["addresses-file", "max-routes-bytes"];

/// As the controller's `run` and `cleanup` take them.
#[derive(Parser)]
struct Controller {
    #[command(flatten)]
    settings: Settings,
    #[arg(long)]
    log: String,
    #[arg(long)]
    log_format: String,
}

#[test]
fn the_gateway_takes_its_flags() {
    for rendering in renderings() {
        let Some(gateway) = rendering.pod("gateway") else { continue };
        let arguments = [vec!["turnout-proxy"], gateway.arguments()].concat();
        let parsed = turnout_proxy::Arguments::try_parse_from(arguments)
            .unwrap_or_else(|error| panic!("{}: {error}", rendering.case));
        // The directories are in the pod alone; whatever else is wrong with a value is reported beside them.
        let problems = parsed.into_settings().unwrap_err().to_string();
        for problem in problems.lines() {
            let is_directory = ["--routes: `/etc/turnout/routes`", "--credentials: `/credentials`"];
            assert!(is_directory.iter().any(|known| problem.starts_with(known)), "{}: {problem}", rendering.case);
        }
    }
}

#[test]
fn every_setting_of_the_gateway_has_a_value() {
    let command = turnout_proxy::Arguments::command();
    let flags: BTreeSet<String> = command.get_arguments().filter_map(|a| a.get_long().map(str::to_owned)).collect();
    let schema: Value = serde_json::from_slice(&fs::read(chart().join("values.schema.json")).unwrap()).unwrap();
    let settings = schema.pointer("/properties/gateway/properties/settings/properties").unwrap().as_object().unwrap();
    let mut named: BTreeSet<String> = settings.keys().map(|name| kebab(name)).collect();
    named.extend(OWN_FLAGS.map(str::to_owned));
    named.extend(UNUSED_FLAGS.map(str::to_owned));
    let real = flags.into_iter().filter(|flag| !["help", "version"].contains(&flag.as_str()));
    assert_eq!(named, real.collect());
}

/// As the chart turns a value's name into a flag.
fn kebab(name: &str) -> String {
    let dashed = |letter: char| {
        if letter.is_ascii_uppercase() { format!("-{}", letter.to_ascii_lowercase()) } else { letter.to_string() }
    };
    name.chars().map(dashed).collect()
}

#[test]
fn settings_reach_the_gateway_as_they_are_written() {
    let rendering = rendering("aks");
    let gateway = rendering.pod("gateway").unwrap();
    assert_eq!(gateway.flag("max-body-bytes"), ["104857600"], "a large number without an exponent");
    assert_eq!(gateway.flag("max-http2-streams"), ["250"]);
    assert_eq!(gateway.flag("trusted-proxies"), ["10.0.0.0/8"]);
    assert_eq!(gateway.flag("max-headers"), ["64"], "from extraArgs");
    assert!(gateway.arguments().contains(&"--envoy-headers"));
    assert_eq!(gateway.flag("drain-timeout-ms"), ["120000"]);
}

#[test]
fn the_controller_takes_its_flags() {
    let parse = |case: &str, arguments: &[&str]| {
        let arguments = [&["turnout-controller"], arguments].concat();
        Controller::try_parse_from(arguments).unwrap_or_else(|error| panic!("{case}: {error}"))
    };
    for rendering in renderings() {
        let controller = rendering.pod("controller").unwrap();
        let (verb, flags) = controller.arguments().split_first().map(|(verb, flags)| (*verb, flags.to_vec())).unwrap();
        assert_eq!(verb, "run");
        let parsed = parse(rendering.case, &flags);
        assert_eq!(parsed.settings.has_gateway(), rendering.pod("gateway").is_some(), "{}", rendering.case);
        assert_eq!((parsed.log.as_str(), parsed.log_format.as_str()), ("info", "json"));
        let Some(cleanup) = rendering.pod("cleanup") else { continue };
        let (verb, flags) = cleanup.arguments().split_first().map(|(verb, flags)| (*verb, flags.to_vec())).unwrap();
        assert_eq!(verb, "cleanup");
        let same = parse(rendering.case, &flags).settings;
        assert_eq!(same.namespaces, parsed.settings.namespaces, "{}", rendering.case);
        assert_eq!(same.lease, parsed.settings.lease, "{}", rendering.case);
        assert_eq!(same.documents, parsed.settings.documents, "{}", rendering.case);
    }
    let two = rendering("two-namespaces");
    let settings = parse("two-namespaces", &two.pod("controller").unwrap().arguments()[1..]).settings;
    assert_eq!(settings.namespaces, ["abtesting", "forecasting"]);
    assert_eq!(settings.documents, DocumentSource::ConfigMap("scoring-documents".to_owned()));
}

#[test]
fn the_test_sends_a_request_for_each_version() {
    let rendering = rendering("tls");
    let test = rendering.pod("test").unwrap();
    assert_eq!(test.arguments()[0], "probe");
    assert_eq!(test.flag("url"), [format!("http://turnout-gateway.{NAMESPACE}:80/score")]);
    assert!(test.arguments().contains(&"--expect-pins"));
    assert_eq!(test.flag("host"), ["scoring.example.com"]);
    assert_eq!(test.flag("body"), [r#"{"data": [[1, 2, 3, 4]]}"#]);
}
