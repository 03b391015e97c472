//! What an API server checks of an object by its structural schema and by the rules about the form of a text, and the
//! defaults that it fills in. It knows the keywords that a structural schema may have and no other, so that a schema with
//! another fails here.

use regex::Regex;
use serde_json::Value;

/// Keywords that say nothing about one value, or only to an API server.
const SILENT: [&str; 7] = [
    "default",
    "description",
    "format",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// All that is wrong with the value: the field and, behind a colon, what an API server says of it.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(schema, value, "", &mut problems);
    problems
}

fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    for (keyword, operand) in schema.as_object().unwrap() {
        if let Some(problem) = violation(keyword, operand, value, path) {
            problems.push(problem);
        }
    }
    if let Some(fields) = value.as_object() {
        let known = schema["properties"].as_object();
        let keeps_unknown = schema["x-kubernetes-preserve-unknown-fields"] == true || path == "metadata";
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.and_then(|known| known.get(name)) {
                Some(property) => check(property, value, &path, problems),
                None if keeps_unknown => {}
                None => problems.push(format!("unknown field {path}")),
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{path}[{index}]"), problems);
    }
    problems.extend(duplicate(schema, value, path));
    problems.extend(malformed(schema, value, path));
}

/// A text that a rule about its form refuses.
fn malformed(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let mut rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rule = rules.find(|rule| form(rule).is_some_and(|form| !form.is_match(value.as_str().unwrap())))?;
    Some(format!("{path}: {}", rule["message"].as_str().unwrap()))
}

/// What a text must match, of a rule that says nothing else.
pub(crate) fn form(rule: &Value) -> Option<Regex> {
    let pattern = rule["rule"].as_str()?.strip_prefix("self.matches('")?.strip_suffix("')")?;
    Some(Regex::new(pattern).unwrap())
}

fn violation(keyword: &str, operand: &Value, value: &Value, path: &str) -> Option<String> {
    let text = value.as_str().unwrap_or_default();
    let length = text.chars().count() as u64;
    let (holds, problem) = match keyword {
        "type" => (has_type(operand.as_str().unwrap(), value), format!("{path} must be of type {operand}")),
        "enum" => {
            let values = operand.as_array().unwrap();
            let list = values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            (values.contains(value), format!("{path}: Unsupported value: {value}: supported values: {list}"))
        }
        "minimum" => (
            value.as_f64().is_none_or(|value| value >= operand.as_f64().unwrap()),
            format!("{path}: should be greater than or equal to {operand}"),
        ),
        "maximum" => (
            value.as_f64().is_none_or(|value| value <= operand.as_f64().unwrap()),
            format!("{path}: should be less than or equal to {operand}"),
        ),
        "minLength" => {
            (length >= operand.as_u64().unwrap(), format!("{path}: should be at least {operand} chars long"))
        }
        "maxLength" => {
            (length <= operand.as_u64().unwrap(), format!("{path}: Too long: may not be more than {operand} bytes"))
        }
        "pattern" => {
            let pattern = operand.as_str().unwrap();
            (Regex::new(pattern).unwrap().is_match(text), format!("{path}: should match '{pattern}'"))
        }
        "maxItems" => {
            let items = value.as_array().map_or(0, Vec::len) as u64;
            (items <= operand.as_u64().unwrap(), format!("{path}: Too many: must have at most {operand} items"))
        }
        "required" => {
            let mut names = operand.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            let missing = names.find(|&name| value.get(name).is_none());
            (missing.is_none(), format!("{path}.{}: Required value", missing.unwrap_or_default()))
        }
        "properties" | "items" => return None,
        keyword if SILENT.contains(&keyword) => return None,
        keyword => panic!("{path}: no structural schema has {keyword}"),
    };
    (!holds).then_some(problem)
}

fn has_type(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        kind => panic!("no field has the type {kind}"),
    }
}

/// Two entries of a list that has keys, with the same one.
fn duplicate(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let key = schema["x-kubernetes-list-map-keys"][0].as_str()?;
    let items = value.as_array()?;
    let index = (1..items.len()).find(|&index| items[..index].iter().any(|item| item[key] == items[index][key]))?;
    Some(format!("{path}[{index}]: Duplicate value: {{\"{key}\":{}}}", items[index][key]))
}

/// Sets every absent field that has a default, in every object that is there.
pub(crate) fn fill_defaults(schema: &Value, value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(default) = property.get("default") {
                fields.entry(name.clone()).or_insert_with(|| default.clone());
            }
            if let Some(field) = fields.get_mut(name) {
                fill_defaults(property, field);
            }
        }
    }
    if let Some(items) = value.as_array_mut() {
        for item in items {
            fill_defaults(&schema["items"], item);
        }
    }
}

/// The length of the longest enumeration.
pub(crate) fn most_values(schema: &Value) -> usize {
    let own = schema["enum"].as_array().map_or(1, Vec::len);
    let properties = schema["properties"].as_object().into_iter().flatten().map(|(_, property)| most_values(property));
    let items = schema.get("items").map(most_values);
    properties.chain(items).fold(own, usize::max)
}
