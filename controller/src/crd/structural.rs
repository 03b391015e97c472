//! From the JSON schema of a type to a structural one, as Kubernetes wants it: every value has one type, nothing stands
//! in `anyOf` or `oneOf`, and null is no value of its own, since an absent field says the same. What is not known here
//! stays as it is; a test refuses keywords that Kubernetes does not take.

use serde_json::{Map, Value, json};

/// Only writers of the status set its fields, and they set all of them.
pub(super) fn without_defaults(mut schema: Value) -> Value {
    visit(&mut schema, &|schema| {
        schema.remove("default");
    });
    schema
}

/// The structural form of what `schemars` makes of a type.
pub(super) fn from_json_schema(mut schema: Value) -> Value {
    visit(&mut schema, &|schema| {
        schema.remove("title");
        // Unknown fields are pruned, or refused where a client asks for that, and need no keyword.
        schema.remove("additionalProperties");
        drop_null(schema);
        collect_variants(schema);
        bound_numbers(schema);
    });
    schema
}

/// Rewrites a schema and then all that it holds.
fn visit(schema: &mut Value, rewrite: &impl Fn(&mut Map<String, Value>)) {
    let Value::Object(schema) = schema else {
        return;
    };
    rewrite(schema);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|property| visit(property, rewrite));
    }
    if let Some(items) = schema.get_mut("items") {
        visit(items, rewrite);
    }
}

/// An optional field is absent or has a value.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = types.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    let Some(Value::Array(mut choices)) = schema.remove("anyOf") else {
        return;
    };
    choices.retain(|choice| *choice != json!({"type": "null"}));
    match <[Value; 1]>::try_from(choices) {
        Ok([Value::Object(only)]) => {
            for (keyword, value) in only {
                schema.entry(keyword).or_insert(value);
            }
        }
        Ok([only]) => panic!("{only} is the schema of an optional value"),
        Err(choices) => panic!("a field has several schemas, which no structural schema can: {choices:?}"),
    }
}

/// The variants of an enumeration become its values, and their texts a part of the field's.
fn collect_variants(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return;
    };
    let mut text = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut values = Vec::new();
    for variant in variants {
        let Some(value) = variant.get("const") else {
            panic!("an enumeration of texts has variants with a text each: {variant}");
        };
        if let (Some(name), Some(meaning)) = (value.as_str(), variant["description"].as_str()) {
            text = format!("{text}\n`{name}`: {meaning}");
        }
        values.push(value.clone());
    }
    schema.insert("description".to_owned(), json!(text.trim_start()));
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(values));
}

/// Kubernetes knows signed numbers only.
fn bound_numbers(schema: &mut Map<String, Value>) {
    let (format, maximum) = match schema.get("format").and_then(Value::as_str) {
        Some("uint16") => ("int32", Some(u64::from(u16::MAX))),
        Some("uint32") => ("int64", Some(u64::from(u32::MAX))),
        Some("uint64") => ("int64", None),
        _ => return,
    };
    schema.insert("format".to_owned(), json!(format));
    if let Some(maximum) = maximum {
        schema.insert("maximum".to_owned(), json!(maximum));
    }
}
