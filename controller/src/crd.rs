//! The CustomResourceDefinition of a `ModelRollout`, made from the types that the state machine reads: what the API server
//! accepts is what the controller understands. `structural` turns their JSON schema into one that Kubernetes takes,
//! `limits` bounds every field that users write, and `rules` says what a schema cannot.
//!
//! The chart's copy is the output of [`yaml`], word for word; a test compares them.

mod limits;
mod rules;
mod structural;

use crate::names::{GROUP, KIND, PLURAL, VERSION};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use turnout_rollout::{RolloutSpec, RolloutStatus};

/// The longest name of a rollout: with `-green` behind it, it is still a label's value.
pub const MAX_NAME_LENGTH: usize = 57;

/// The longest name of an http rule, and of most objects.
pub const LONGEST_HTTP_NAME: usize = 253;

const HEADER: &str = "\
# Generated from the types of the controller; do not edit. After a change of those types write it anew with
#   cargo run -p turnout-controller -- crd > charts/turnout/files/modelrollout-crd.yaml
";

/// The definition as a file, with a line that says how it is made.
pub fn yaml() -> String {
    let body = serde_yaml::to_string(&custom_resource_definition()).expect("every JSON value can be written as YAML");
    format!("{HEADER}{body}")
}

/// Whole numbers without a point, as Helm writes them, so that what is rendered is what is here.
fn write_whole(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(write_whole),
        Value::Array(items) => items.iter_mut().for_each(write_whole),
        Value::Number(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "what is not the same afterwards stays as it is")]
            let whole = number.as_f64().map(|float| float as i64);
            #[expect(clippy::cast_precision_loss, reason = "likewise")]
            if let Some(whole) = whole.filter(|whole| number.is_f64() && number.as_f64() == Some(*whole as f64)) {
                *number = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The definition, an `apiextensions.k8s.io/v1` object.
pub fn custom_resource_definition() -> Value {
    let mut definition = definition();
    write_whole(&mut definition);
    definition
}

fn definition() -> Value {
    let singular = KIND.to_lowercase();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{PLURAL}.{GROUP}"),
            // Without the definition every rollout would go, and with a managed one its pods.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": singular,
                "shortNames": ["mr"],
                "categories": ["turnout"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": printer_columns(),
                "schema": {"openAPIV3Schema": schema()},
            }],
        },
    })
}

/// What `kubectl get` shows: how far a rollout is, and with `-o wide` why it is not further.
fn printer_columns() -> Value {
    let column = |name, kind, path, description| -> Value {
        json!({"name": name, "type": kind, "jsonPath": path, "description": description})
    };
    let mut message = column("Message", "string", ".status.message", "What goes on and why.");
    message["priority"] = json!(1);
    json!([
        column("Stage", "string", ".status.stage", "The stage that every live gateway has confirmed."),
        column("Target", "string", ".spec.target", "How far the rollout may go; to the end, if empty."),
        column("Green", "integer", ".status.weights.green", "Green's weight in effect."),
        column("Blue", "integer", ".status.weights.blue", "Blue's weight in effect."),
        column("Phase", "string", ".status.phase", "What goes on, in one word."),
        column(
            "Revision",
            "string",
            ".status.candidate.revision",
            "The revision that is rolled out, or was rolled back."
        ),
        column("Stable", "string", ".status.stableRevision", "The revision that went through all stages last."),
        column("Age", "date", ".metadata.creationTimestamp", "Since when the rollout is there."),
        message,
    ])
}

fn schema() -> Value {
    let mut schema = json!({
        "type": "object",
        "description": "One model's rollouts, one after the other: green and blue, the http rule that splits requests \
            between them, and the stages that a new revision passes on its way.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": MAX_NAME_LENGTH}},
            },
            "spec": schema_of::<RolloutSpec>(),
            "status": structural::without_defaults(schema_of::<RolloutStatus>()),
        },
    });
    limits::add(&mut schema);
    rules::add(&mut schema);
    schema
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    structural::from_json_schema(settings.into_generator().into_root_schema_for::<T>().to_value())
}

/// The schema of a field: names joined by dots, `[]` for the entries of a list, nothing for the whole object.
fn field<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    let pointer = path.split('.').filter(|part| !part.is_empty()).fold(String::new(), |pointer, part| {
        let name = part.trim_end_matches("[]");
        let items = if part.ends_with("[]") { "/items" } else { "" };
        format!("{pointer}/properties/{name}{items}")
    });
    schema.pointer_mut(&pointer).unwrap_or_else(|| panic!("the schema has a field {path}"))
}

/// Adds keywords to the schema of a field, and replaces those that it has.
fn extend(schema: &mut Value, path: &str, keywords: Value) {
    let (Some(field), Value::Object(keywords)) = (field(schema, path).as_object_mut(), keywords) else {
        panic!("the schema of {path} and what is added to it are objects");
    };
    field.extend(keywords);
}
