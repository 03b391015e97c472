//! The schema of each chart refuses whatever the chart does not know, at every level, and its values file tells of all
//! that it knows.

use crate::cases::{CHARTS, chart_of, no_faults};
use crate::helm::Helm;
use serde_json::{Map, Value};
use std::fs;

/// Objects of Kubernetes that are passed on as they are, by the ends of their paths; the API server checks them.
const PASSED_ON: [&str; 14] = [
    "global",
    "affinity.nodeAffinity",
    "affinity.podAffinity",
    "affinity.podAntiAffinity",
    "extraEnv[].valueFrom",
    "env[].valueFrom",
    "rollout.spec.template",
    "webhook.metadata",
    "behavior.scaleUp",
    "behavior.scaleDown",
    "gatewayExtraEgress[].to[]",
    "gatewayExtraEgress[].ports[]",
    "controllerExtraEgress[].to[]",
    "controllerExtraEgress[].ports[]",
];

fn schema(chart: &str) -> Value {
    serde_json::from_slice(&fs::read(chart_of(chart).join("values.schema.json")).unwrap()).unwrap()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Calls `visit` with every schema of an object, and the path of the values that it is for.
fn walk(root: &Value, schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Map<String, Value>)) {
    let schema = resolve(root, schema);
    let Some(fields) = schema.as_object() else { return };
    if fields.get("type").is_some_and(|kind| kind == "object") {
        visit(path, fields);
    }
    for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(root, property, &join(path, name), visit);
    }
    if let Some(items) = fields.get("items") {
        walk(root, items, &format!("{path}[]"), visit);
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    reference.map_or(schema, |reference| root.pointer(reference.trim_start_matches('#')).unwrap())
}

/// Takes the name of a chart, and what [`walk`] has.
type Visit<'a> = dyn FnMut(&'static str, &str, &Map<String, Value>) + 'a;

/// [`walk`] from the top of each chart's schema.
fn walk_all(visit: &mut Visit<'_>) {
    for chart in CHARTS {
        let root = schema(chart);
        walk(&root, &root, "", &mut |path, fields| visit(chart, path, fields));
    }
}

#[test]
fn every_object_of_the_schema_is_closed() {
    let mut faults = Vec::new();
    walk_all(&mut |chart, path, fields| {
        let closed = match fields.get("additionalProperties") {
            Some(Value::Bool(more)) => !more,
            Some(Value::Object(values)) => !values.is_empty(),
            _ => false,
        };
        if !closed && !PASSED_ON.iter().any(|known| path.ends_with(known)) {
            faults.push(format!("{chart}: {path}: takes anything"));
        }
    });
    no_faults(&faults);
}

#[test]
fn a_misspelt_value_is_refused_wherever_it_stands() {
    let Some(helm) = Helm::find("a_misspelt_value_is_refused_wherever_it_stands") else { return };
    let mut places = Vec::new();
    walk_all(&mut |chart, path, fields| {
        let is_map = fields.contains_key("patternProperties");
        if !path.contains("[]") && !is_map && fields.contains_key("properties") {
            places.push((chart, path.to_owned()));
        }
    });
    for expected in [("turnout", "gateway.image"), ("abtest-model", "deployment.image"), ("abtest-istio", "weight")] {
        assert!(places.iter().any(|(chart, path)| (*chart, path.as_str()) == expected), "{places:?}");
    }
    for (chart, place) in places {
        let value = format!("{}=1", join(&place, "misspelt"));
        let refusal = helm.template(&chart_of(chart), &["--set", &value]).expect_err(&value);
        assert!(refusal.contains("'misspelt' not allowed"), "{value}: {refusal}");
        assert!(refusal.contains(&format!("'/{}'", place.replace('.', "/"))) || place.is_empty(), "{value}: {refusal}");
    }
}

#[test]
fn every_value_stands_in_the_values_file_with_a_comment_above() {
    let text = |chart| fs::read_to_string(chart_of(chart).join("values.yaml")).unwrap();
    let mut faults = Vec::new();
    walk_all(&mut |chart, path, fields| {
        let text = text(chart);
        let of_others = ["[]", "affinity", "behavior", "rollout.spec"];
        if of_others.iter().any(|part| path.contains(part)) {
            return;
        }
        for name in fields.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
            let stands = text.lines().any(|line| line.trim_start_matches([' ', '#']).starts_with(&format!("{name}:")));
            // It is Helm that sets this one, and this one is refused.
            if !stands && name != "global" && name != "severity" {
                faults.push(format!("{chart}: {}: is not in values.yaml", join(path, name)));
            }
        }
    });
    no_faults(&faults);
    assert!(CHARTS.iter().all(|chart| text(chart).lines().all(|line| line.len() <= 120)), "a line is too long to read");
}

#[test]
fn the_values_of_each_chart_are_those_that_its_schema_requires() {
    let mut faults = Vec::new();
    for chart in CHARTS {
        let values = fs::read_to_string(chart_of(chart).join("values.yaml")).unwrap();
        let schema = schema(chart);
        compare(&serde_yaml::from_str(&values).unwrap(), &schema, &schema, "", &mut faults);
    }
    no_faults(&faults);
}

/// Every name in the values is one of the schema's, and cannot be taken away: templates would read it in vain. What the
/// chart leaves to the gateway's own default may be absent.
fn compare(values: &Value, schema: &Value, root: &Value, path: &str, faults: &mut Vec<String>) {
    let schema = resolve(root, schema);
    let Some(properties) = schema.get("properties") else { return };
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_free = path == "gateway.settings" || path.ends_with(".resources");
    for (name, value) in values.as_object().into_iter().flatten() {
        let place = join(path, name);
        if !is_free && !value.is_null() && !required.iter().any(|known| known == name) {
            faults.push(format!("{place}: may be taken away"));
        }
        match properties.get(name) {
            Some(property) => compare(value, property, root, &place, faults),
            None => faults.push(format!("{place}: is not in the schema")),
        }
    }
}
