//! Values that a schema describes, made from the schema alone: with every field or only with those that must be there.

use super::validator;
use serde_json::{Map, Value, json};

/// Texts for the patterns that there are.
const TEXTS: [&str; 4] = ["Blue_50", "10m", "https://a.example/allow", "v2"];

/// Which value to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    /// Which value of each enumeration, counted from 0 and beginning anew behind its end.
    pub(crate) variant: usize,
    /// Leave out what may be left out.
    pub(crate) only_required: bool,
}

impl Example {
    /// A value of that schema.
    pub(crate) fn of(self, schema: &Value) -> Value {
        if let Some(values) = schema["enum"].as_array() {
            return values[self.variant % values.len()].clone();
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema),
            Some("array") => json!([self.of(&schema["items"])]),
            Some("boolean") => json!(true),
            Some("number") => json!(schema.get("maximum").and_then(Value::as_f64).unwrap_or(7.5)),
            Some("integer") => schema.get("maximum").cloned().unwrap_or(json!(7)),
            Some("string") if schema["format"] == "date-time" => json!("2026-01-31T23:59:59Z"),
            Some("string") => {
                let text = TEXTS.into_iter().find(|text| validator::problems(schema, &json!(text)).is_empty());
                json!(text.expect("a text for every pattern"))
            }
            kind => panic!("no example of type {kind:?}"),
        }
    }

    fn object(self, schema: &Value) -> Value {
        let is_required = |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
        let properties = schema["properties"].as_object().into_iter().flatten();
        let fields = properties.filter(|(name, _)| !self.only_required || is_required(name));
        Value::Object(fields.map(|(name, property)| (name.clone(), self.of(property))).collect::<Map<_, _>>())
    }
}
