//! Whether a `match` entry is for a request (`TranslateRouteMatch`, and Envoy's matchers).

use super::path::{self, location};
use super::{Lines, text};
use crate::cases::Request;
use regex::Regex;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

/// The headers of those that requests have here whose lines Envoy joins.
const JOINED: &str = "accept";

/// A request whose path is normalised.
pub(crate) struct Asked<'r> {
    pub(crate) request: &'r Request,
    pub(crate) path_and_query: String,
    pub(crate) path: String,
}

impl<'r> Asked<'r> {
    pub(crate) fn new(request: &'r Request) -> Option<Self> {
        let path_and_query = path::normalised(&request.path)?;
        let path = path_and_query.split('?').next()?.to_owned();
        Some(Self { request, path_and_query, path })
    }

    pub(crate) fn lines(&self) -> Lines {
        self.request.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    pub(crate) fn matches(&self, entry: Option<&Value>) -> bool {
        let Some(entry) = entry else { return self.path.starts_with('/') };
        let holds = |field: &str, value: &str| is_presence(&entry[field]) || holds(&entry[field], value);
        let all = |field: &str, check: &dyn Fn(&str, &Value) -> bool| {
            entry[field].as_object().is_none_or(|map| map.iter().all(|(name, condition)| check(name, condition)))
        };
        self.matches_path(entry)
            && holds("method", self.request.method)
            && holds("authority", self.request.authority)
            && holds("scheme", "http")
            && all("headers", &|name, condition| {
                let values = self.values(name);
                if is_presence(condition) {
                    !values.is_empty()
                } else {
                    values.iter().any(|value| self::holds(condition, value))
                }
            })
            && all("withoutHeaders", &|name, condition| {
                let mut values = self.values(name);
                if is_presence(condition) {
                    return values.is_empty();
                }
                if values.is_empty() {
                    values.push(String::new());
                }
                !values.iter().any(|value| self::holds(condition, value))
            })
            && all("queryParams", &|name, condition| {
                let value = self.parameter(name);
                value.is_some_and(|value| is_presence(condition) || self::holds(condition, value))
            })
    }

    fn matches_path(&self, entry: &Value) -> bool {
        let (uri, folds) = (&entry["uri"], entry["ignoreUriCase"] == true);
        let fold = |text: &str| if folds { text.to_ascii_lowercase() } else { text.to_owned() };
        let path = fold(&self.path);
        if let Some(exact) = uri["exact"].as_str() {
            path == fold(exact)
        } else if let Some(regex) = uri["regex"].as_str() {
            whole(regex, &self.path)
        } else {
            path.starts_with(&fold(uri["prefix"].as_str().unwrap_or("/")))
        }
    }

    /// The values of a header, one for each line.
    fn values(&self, name: &str) -> Vec<String> {
        let name = name.to_ascii_lowercase();
        if name == "host" || name == ":authority" {
            return vec![self.request.authority.to_owned()];
        }
        let lines = self.request.headers.iter().filter(|(line, _)| *line == name);
        let values: Vec<String> = lines.map(|(_, value)| (*value).to_owned()).collect();
        if name != JOINED || values.is_empty() {
            return values;
        }
        vec![values.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join(",")]
    }

    /// The first of that name, as it is written.
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path_and_query.split_once('?')?;
        let mut parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        parameters.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// How much of the path `uri` has matched: that is what a rewrite replaces.
    pub(crate) fn matched(&self, entry: Option<&Value>) -> usize {
        let uri = entry.map_or(&Value::Null, |entry| &entry["uri"]);
        match uri["prefix"].as_str() {
            Some(prefix) => prefix.len(),
            None if is_presence(uri) => "/".len(),
            None => self.path.len(),
        }
    }

    /// The location of a rule's redirect (`ApplyRedirect`).
    pub(crate) fn redirected(&self, redirect: &Value, entry: Option<&Value>) -> String {
        let (_, query) = self.path_and_query.split_at(self.path.len());
        let target = match (redirect["uri"].as_str(), redirect["prefixRewrite"].as_str()) {
            (Some(uri), _) if uri.contains('?') => uri.to_owned(),
            (Some(uri), _) => format!("{uri}{query}"),
            (_, Some(prefix)) => format!("{prefix}{}", &self.path_and_query[self.matched(entry)..]),
            _ => self.path_and_query.clone(),
        };
        let port = match text(&redirect["derivePort"]) {
            "FROM_REQUEST_PORT" => Some(u64::from(self.request.port)),
            _ => redirect["port"].as_u64(),
        };
        let scheme = redirect["scheme"].as_str().unwrap_or("http");
        let port = port.filter(|port| !matches!((*port, scheme), (80, "http") | (443, "https")));
        location(scheme, redirect["authority"].as_str(), port, &target, self.request.authority)
    }
}

/// No kind of condition. Under `withoutHeaders` the expression `*` says the same.
fn is_presence(condition: &Value) -> bool {
    condition.as_object().is_none_or(serde_json::Map::is_empty) || condition["regex"] == "*"
}

fn holds(condition: &Value, value: &str) -> bool {
    match (condition["exact"].as_str(), condition["prefix"].as_str(), condition["regex"].as_str()) {
        (Some(exact), ..) => value == exact,
        (_, Some(prefix), _) => value.starts_with(prefix),
        (.., regex) => regex.is_some_and(|regex| whole(regex, value)),
    }
}

/// Whether the whole text matches.
fn whole(expression: &str, text: &str) -> bool {
    with_regex(&format!(r"\A(?:{expression})\z"), |regex| regex.is_match(text))
}

/// Compiled once a thread: most of the time went there.
pub(crate) fn with_regex<T>(expression: &str, work: impl FnOnce(&Regex) -> T) -> T {
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || Regex::new(expression).expect("an expression");
        work(compiled.entry(expression.to_owned()).or_insert_with(compile))
    })
}
