//! What the user says of the values in answers: by how much numbers may differ, and what is not to be compared at all.

use std::collections::BTreeMap;
use thiserror::Error;

/// How a value, and all that is beneath it, is compared. Of several that speak for a value the one with the longest path
/// decides; of equally long ones the one that has a name where the other has `*`, at the first place where they differ; of
/// equal ones the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// JSON pointer (RFC 6901), in which `*` stands for each element of an array or member of an object. Empty: the whole
    /// answer.
    pub path: String,
    /// What kind of value it is.
    pub kind: Kind,
    /// Numbers may differ by so much. With neither this nor `rel`, both are as without a rule; with one, the other is 0.
    pub abs: Option<f64>,
    /// Numbers may differ by this part of the larger one.
    pub rel: Option<f64>,
}

/// What a rule takes a value for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that may differ a little.
    Number,
    /// A label: equal or not, digits and all.
    Class,
    /// An array whose order does not matter: a multiset, so that one element more or less is a difference, yet no schema
    /// change. Rules for what is within its elements do not count.
    Set,
    /// Whatever it is, missing or not.
    Ignore,
}

/// The rules of a policy, ready to compare by.
#[derive(Clone, Debug, Default)]
pub struct Rules(Branch);

/// A path that is no JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no JSON pointer: it is empty or begins with a slash, and a ~ in a name is written ~0, a slash ~1")]
pub struct BadPath(pub String);

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Any,
    Name(String),
}

/// The rules whose paths begin alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    how: Option<How>,
    names: BTreeMap<String, Branch>,
    any: Option<Box<Branch>>,
}

/// How the values at a path are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) kind: Kind,
    pub(super) tolerance: Tolerance,
    /// Of the bias.
    pub(super) scale: f64,
}

/// By how much numbers that agree may differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    abs: f64,
    rel: f64,
}

impl Rules {
    /// Of a policy's list.
    pub fn new(rules: &[Rule]) -> Result<Self, BadPath> {
        let mut root = Branch::default();
        for rule in rules {
            let mut branch = &mut root;
            for step in steps(&rule.path)? {
                branch = match step {
                    Step::Any => branch.any.get_or_insert_default(),
                    Step::Name(name) => branch.names.entry(name).or_default(),
                };
            }
            branch.how = Some(How::of(rule));
        }
        Ok(Self(root))
    }

    pub(super) fn root(&self) -> &Branch {
        &self.0
    }
}

/// The steps of a path.
pub(super) fn steps(path: &str) -> Result<Vec<Step>, BadPath> {
    let bad = || BadPath(path.to_owned());
    let Some(names) = path.strip_prefix('/') else {
        return if path.is_empty() { Ok(Vec::new()) } else { Err(bad()) };
    };
    let step = |name: &str| match name {
        "*" => Ok(Step::Any),
        _ if name.split('~').skip(1).all(|rest| rest.starts_with(['0', '1'])) => {
            Ok(Step::Name(name.replace("~1", "/").replace("~0", "~")))
        }
        _ => Err(bad()),
    };
    names.split('/').map(step).collect()
}

/// A name as a step of a path.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Branch {
    pub(super) fn how(&self) -> Option<How> {
        self.how
    }

    pub(super) fn named(&self, name: &str) -> Option<&Self> {
        self.names.get(name)
    }

    pub(super) fn any(&self) -> Option<&Self> {
        self.any.as_deref()
    }

    /// No rule has a path that goes on.
    pub(super) fn is_last(&self) -> bool {
        self.names.is_empty() && self.any.is_none()
    }

    /// Whether elements of an array have rules of their own.
    pub(super) fn names_elements(&self) -> bool {
        self.names.keys().any(|name| name.bytes().all(|digit| digit.is_ascii_digit()))
    }
}

impl How {
    pub(super) const WITHOUT_A_RULE: Self =
        Self { kind: Kind::Number, tolerance: Tolerance { abs: 1e-6, rel: 1e-4 }, scale: 0.0 };

    fn of(rule: &Rule) -> Self {
        let tolerance = match (rule.kind, rule.abs, rule.rel) {
            (Kind::Class, _, _) => Tolerance { abs: 0.0, rel: 0.0 },
            (_, None, None) => Self::WITHOUT_A_RULE.tolerance,
            // The maximum of a number and what is none is the number.
            (_, abs, rel) => Tolerance { abs: abs.unwrap_or(0.0).max(0.0), rel: rel.unwrap_or(0.0).max(0.0) },
        };
        // A bias of a tenth of the scale is what is usually asked about: with this scale it is the tolerance.
        let scale = rule.abs.filter(|_| rule.kind == Kind::Number).map_or(0.0, |abs| 10.0 * abs.max(0.0));
        let scale = if scale.is_finite() { scale } else { 0.0 };
        Self { kind: rule.kind, tolerance, scale }
    }
}

impl Tolerance {
    /// Nothing but the same number will do.
    pub(super) fn is_exact(self) -> bool {
        self.abs == 0.0 && self.rel == 0.0
    }

    /// What is not finite agrees with its like only.
    #[expect(clippy::float_cmp, reason = "infinities, and what has to be the same")]
    pub(super) fn agree(self, live: f64, other: f64) -> bool {
        if live == other || live.is_nan() && other.is_nan() {
            return true;
        }
        if self.is_exact() || !live.is_finite() || !other.is_finite() {
            return false;
        }
        let larger = live.abs().max(other.abs());
        // 0.54 and 0.53 are 0.01 apart for whoever reads them, but not quite so in binary.
        let rounding = 2.0 * f64::EPSILON * larger;
        (live - other).abs() <= self.abs.max(self.rel * larger) + rounding
    }
}
