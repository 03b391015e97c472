//! Compares two HTTP answers to the same request, as those who read them would: values, not text.
//!
//! Order of keys, white space and how a character is escaped say nothing; of a key that comes twice the last one counts, as
//! most readers have it. JSON is known by its text, not by its content type, and may hold `NaN` and `Infinity`, which Python
//! writes. A JSON string that is itself an object or an array in JSON is read as that, since a scoring script that returns
//! `json.dumps(...)` is served so. What is no JSON is compared byte by byte.
//!
//! Whatever the answers hold, what is said of them is bounded: elements of arrays are one field (`/scores/*`), and there are at
//! most [`MAX_FIELDS`] of them. To compare takes room for some 35 bytes for each byte of both bodies at worst (arrays in
//! arrays), and no stack to speak of: what is nested deeper than 200 levels is no JSON here.

mod body;
mod equal;
mod redact;
mod rules;
mod tally;
#[cfg(test)]
mod tests;
mod walk;

pub use body::Type;
pub use redact::Redaction;
pub use rules::{BadPath, Kind, Rule, Rules};
pub use tally::tally;

use body::Body;
use std::collections::BTreeSet;
use std::fmt;
use walk::Walk;

/// The most fields that are told apart; what is beyond them is the field [`OTHERS`]. Those that rules lead to come on top.
pub const MAX_FIELDS: usize = 256;

/// The path of the field that has the status.
pub const STATUS: &str = "status";

/// The path of the field that has all values beyond [`MAX_FIELDS`].
pub const OTHERS: &str = "others";

/// What the test of failures judges is not judged here.
const FAILURES: u16 = 500;

/// The part of an HTTP answer that is compared. The body is as it was before any content-encoding.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Such as 200.
    pub status: u16,
    /// The header; its parameters are not compared.
    pub content_type: Option<&'a str>,
    /// Empty: there is none.
    pub body: &'a [u8],
}

/// What is said of two answers. It is the same whichever of them is the first, but for which side a number differs to and
/// what is added or missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Values that both have, by path.
    pub fields: Vec<Compared>,
    /// In what the answers differ before any value is looked at.
    pub schema_changes: BTreeSet<SchemaChange>,
}

/// A value that both answers have.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// JSON pointer with `*` for each element of an array; empty for the whole answer. Or [`STATUS`], or [`OTHERS`].
    pub path: String,
    /// Where there are several (elements), all of them.
    pub agrees: bool,
    /// Both numbers; where there are several, their means. None if they are none, or not finite, or compared as classes.
    pub numbers: Option<(f64, f64)>,
    /// In which units a difference of the numbers is counted, as [`Bias`](crate::evidence::Bias) has it.
    pub scale: f64,
    /// A rule's path leads to it.
    pub has_rule: bool,
}

/// Something that clients may have to be changed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchemaChange {
    /// Neither is a failure (5xx), yet they are not the same.
    Status {
        /// Of the live answer.
        live: u16,
        /// Of the other one.
        other: u16,
    },
    /// Without their parameters, in lower case.
    ContentType {
        /// Of the live answer; empty if it has none.
        live: String,
        /// Of the other one.
        other: String,
    },
    /// The live answer does not have it.
    Added(String),
    /// Only the live answer has it.
    Missing(String),
    /// An array with more elements, or fewer.
    Length(String),
    /// It is of another type.
    Retyped {
        /// Where.
        path: String,
        /// Of the live answer.
        live: Type,
        /// Of the other one.
        other: Type,
    },
}

/// Compares an answer with the live one. Bodies are looked at only if the statuses are the same and no failures: error pages
/// tell nothing of a model.
pub fn compare(live: &Answer<'_>, other: &Answer<'_>, rules: &Rules) -> Comparison {
    let mut comparison = Comparison::default();
    let same_status = live.status == other.status;
    if same_status && live.status < FAILURES {
        let (live_type, other_type) = (media_type(live.content_type), media_type(other.content_type));
        if live_type != other_type {
            comparison.schema_changes.insert(SchemaChange::ContentType { live: live_type, other: other_type });
        }
        let (live, other) = (Body::read(live.body), Body::read(other.body));
        Walk::new(rules).bodies(&live, &other).finish(&mut comparison);
    } else if live.status < FAILURES && other.status < FAILURES {
        comparison.schema_changes.insert(SchemaChange::Status { live: live.status, other: other.status });
    }
    comparison.fields.push(Compared::without_numbers(STATUS, same_status));
    comparison.fields.sort_by(|one, other| one.path.cmp(&other.path));
    comparison
}

/// Cut short, since it names what is counted and comes from a model.
fn media_type(header: Option<&str>) -> String {
    let essence = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.chars().take(100).collect::<String>().to_ascii_lowercase()
}

impl Comparison {
    /// Nobody would have to see the difference.
    pub fn agrees(&self) -> bool {
        self.schema_changes.is_empty() && self.fields.iter().all(|field| field.agrees)
    }

    /// What is said of that path, if both answers have it.
    pub fn field(&self, path: &str) -> Option<&Compared> {
        let at = self.fields.binary_search_by(|field| field.path.as_str().cmp(path)).ok()?;
        Some(&self.fields[at])
    }

    /// How bad the difference is, to keep the worst of many: a schema change counts ten, a field that differs one, and up to
    /// one more for numbers that are far apart.
    pub fn severity(&self) -> f64 {
        let fields = self.fields.iter().filter(|field| !field.agrees).map(|field| 1.0 + field.distance());
        fields.chain(self.schema_changes.iter().map(|_| 10.0)).sum()
    }
}

impl Compared {
    fn without_numbers(path: &str, agrees: bool) -> Self {
        Self { path: path.to_owned(), agrees, numbers: None, scale: 0.0, has_rule: false }
    }

    /// By how much the other's number is above the live one.
    pub fn difference(&self) -> Option<f64> {
        self.numbers.map(|(live, other)| other - live)
    }

    /// From 0 to 1: of the larger of the two numbers, by how much they differ.
    fn distance(&self) -> f64 {
        let Some((live, other)) = self.numbers else { return 0.0 };
        let larger = live.abs().max(other.abs());
        // Each divided first, since the difference of two large ones may be too large.
        if larger > 0.0 { (live / larger - other / larger).abs().min(1.0) } else { 0.0 }
    }
}

/// The name under which it is counted.
impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |path: &str| if path.is_empty() { "answer".to_owned() } else { path.to_owned() };
        let header = |value: &str| if value.is_empty() { "none".to_owned() } else { value.to_owned() };
        match self {
            Self::Status { live, other } => write!(f, "status {live} became {other}"),
            Self::ContentType { live, other } => write!(f, "content type {} became {}", header(live), header(other)),
            Self::Added(path) => write!(f, "{} added", place(path)),
            Self::Missing(path) => write!(f, "{} missing", place(path)),
            Self::Length(path) => write!(f, "{} has another length", place(path)),
            Self::Retyped { path, live, other } => write!(f, "{} {live} became {other}", place(path)),
        }
    }
}
