//! The vocabulary of the encoders: [`Fields`] are put together in the order in which they are written.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// The fields of a mapping, in the order in which they are written; what is not set is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Left out if it is empty.
    pub(crate) fn list<T: Into<Value>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        let values: Vec<Value> = values.map(Into::into).collect();
        self.some(name, (!values.is_empty()).then_some(values))
    }

    /// Left out if it is empty.
    pub(crate) fn map(self, name: &str, values: &BTreeMap<String, String>) -> Self {
        let fields = values.iter().fold(Self::new(), |fields, (key, value)| fields.field(key, value.as_str()));
        self.some(name, fields.into_filled())
    }

    /// None without any field.
    pub(crate) fn into_filled(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}

/// A duration in Go's notation; the model has whole milliseconds only.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        milliseconds if milliseconds % 1000 == 0 => format!("{}s", milliseconds / 1000),
        milliseconds => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_or_milliseconds() {
        let check = |milliseconds: u64, expected: &str| {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        };
        check(1, "1ms");
        check(1000, "1s");
        check(1500, "1500ms");
        check(90_000, "90s");
    }
}
