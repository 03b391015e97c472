//! What Kubernetes says of an object, as far as routing and publishing need it.

use super::host::is_label;
use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use serde_json::Value;
use std::collections::BTreeMap;

/// What `kubectl get -o yaml` prints besides, and what decides nothing here.
const READ_OVER: [&str; 9] = [
    "annotations",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The metadata that is kept: annotations, status and managed fields are read over, since they would change the
/// revision of a routes file without changing a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The object's name.
    pub name: String,
    /// The object's namespace; `default` where the document names none.
    pub namespace: String,
    /// RFC 3339, UTC, as Kubernetes writes it; of two VirtualServices for one host the older goes first. None counts as
    /// oldest.
    pub creation_timestamp: Option<String>,
    /// Labels, kept for those who select by them.
    pub labels: BTreeMap<String, String>,
}

/// The namespace of a document that names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

impl Metadata {
    /// Istio's order among objects of one kind: by age, then by name, then by namespace. No time counts as oldest; RFC
    /// 3339 in UTC sorts as text.
    pub(crate) fn age_order(&self) -> (&str, &str, &str) {
        (self.creation_timestamp.as_deref().unwrap_or_default(), &self.name, &self.namespace)
    }

    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let name = object.required("name").and_then(|item| name(&item));
        let namespace = object.field("namespace", namespace);
        // `kubectl create --dry-run -o yaml` prints `creationTimestamp: null`.
        let creation_timestamp = match object.optional("creationTimestamp") {
            Some(item) if !item.is_null() => timestamp(&item).map(Some),
            _ => Ok(None),
        };
        let labels = object.field_or_default("labels", labels);
        object.read_over(&READ_OVER);
        object.finish();
        Ok(Self {
            name: name?,
            namespace: namespace?.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            creation_timestamp: creation_timestamp?,
            labels: labels?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("name", self.name.as_str())
            .field("namespace", self.namespace.as_str())
            .some("creationTimestamp", self.creation_timestamp.as_deref())
            .map("labels", &self.labels)
            .into()
    }
}

/// A name as Kubernetes has it: labels in lower case with dots between them.
pub(super) fn name(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    let is_lower_label = |label: &str| is_label(label) && label == label.to_ascii_lowercase();
    if text.len() <= 253 && text.split('.').all(is_lower_label) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a name of Kubernetes", quoted(text));
    Err(item
        .advise(message, "write at most 253 lower-case letters, digits, - and ., and a letter or digit at both ends"))
}

/// A namespace as Kubernetes has it.
pub(super) fn namespace(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    if is_label(text) && text == text.to_ascii_lowercase() {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a namespace of Kubernetes", quoted(text));
    Err(item.advise(message, "write at most 63 lower-case letters, digits and inner -"))
}

fn timestamp(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    if is_timestamp(text) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a time in UTC", quoted(text));
    Err(item.advise(message, "write it as Kubernetes does, such as 2026-01-31T12:00:00Z, or leave it out"))
}

/// `YYYY-MM-DDThh:mm:ssZ`, so that the order of the texts is the order of the times.
fn is_timestamp(text: &str) -> bool {
    let shape = b"0000-00-00T00:00:00Z";
    let has_shape = text.len() == shape.len()
        && text.bytes().zip(shape).all(|(b, wanted)| if *wanted == b'0' { b.is_ascii_digit() } else { b == *wanted });
    if !has_shape {
        return false;
    }
    let number = |at: usize, len: usize| text[at..at + len].parse().unwrap_or(u32::MAX);
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day) && number(11, 2) < 24 && number(14, 2) < 60 && number(17, 2) < 60
}

/// Labels as Istio checks them: keys as `[prefix/]name`, values of the same letters or empty.
pub(super) fn labels(item: &Item<'_>) -> Decoded<BTreeMap<String, String>> {
    Ok(item.each_entry(label)?.into_iter().collect())
}

fn label(key: &str, item: &Item<'_>) -> Decoded<(String, String)> {
    let value = item.string()?;
    if !is_label_key(key) {
        let message = format!("{} is not the key of a label", quoted(key));
        return Err(
            item.advise(message, "write letters, digits and inner -, _ and ., after an optional domain and a /")
        );
    }
    if !(value.is_empty() || is_qualified(value)) {
        let message = format!("{} is not the value of a label", quoted(value));
        return Err(item.advise(message, "write letters, digits, -, _ and ., and a letter or digit at both ends"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, name)) if prefix.len() <= 253 && prefix.split('.').all(is_label) => name,
        Some(_) => return false,
    };
    name.len() <= 63 && is_qualified(name)
}

fn is_qualified(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_that_kubernetes_writes() {
        let check = |text: &str, expected: bool| assert_eq!(is_timestamp(text), expected, "{text}");
        check("2026-01-31T12:00:00Z", true);
        check("2024-02-29T23:59:59Z", true);
        check("2026-02-29T00:00:00Z", false);
        check("2026-13-01T00:00:00Z", false);
        check("2026-00-01T00:00:00Z", false);
        check("2026-04-31T00:00:00Z", false);
        check("2026-01-31T24:00:00Z", false);
        check("2026-01-31T12:00:00+00:00", false);
        check("2026-01-31T12:00:00.5Z", false);
        check("2026-01-31", false);
        check("", false);
    }

    #[test]
    fn label_keys_are_those_of_kubernetes() {
        let check = |key: &str, expected: bool| assert_eq!(is_label_key(key), expected, "{key}");
        check("app", true);
        check("app.kubernetes.io/name", true);
        check("model_version", true);
        check("", false);
        check("/name", false);
        check("a/", false);
        check("a b", false);
        check("-a", false);
        check("bad_prefix/name", false);
    }
}
