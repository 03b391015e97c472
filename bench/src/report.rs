//! The account of a run: what was sent, what came back, who answered, what failed and how long it took.
//!
//! Invariant: in every variant, `requests` is the number of complete responses (the sum of `statuses`) plus the failures of every
//! kind but `bad_status`, whose responses are complete.

mod latency;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::failure::FailureKind;

pub use latency::Latency;

/// How many failures a report describes in full.
const MAX_DESCRIBED_FAILURES: usize = 5;

/// How many labels a variant tells apart; further ones count as `other`.
const MAX_LABELS: usize = 64;

/// The account of a run, or of a part of one.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry per variant, in the order of the load.
    pub variants: Vec<VariantReport>,
    /// How many connections were opened: more than were asked for means that the server closed some.
    pub connections_opened: u64,
    /// How many of them resumed a TLS session.
    pub connections_resumed: u64,
    /// From the start (of the run, or of the lap) to the end of the last request, or until the report was taken.
    pub elapsed: Duration,
    /// Why the run ended; none while it goes on.
    pub ended: Option<Ended>,
    /// The first few failures in full.
    pub first_failures: Vec<String>,
}

/// Why a run ended. Of two merged reports the later in this order stays.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All requests were sent.
    Complete,
    /// It was stopped.
    Stopped,
    /// It was to be stopped, and reached its limit of requests first.
    RequestLimit,
    /// It reached its limit of time first.
    TimeLimit,
}

/// The account of one kind of request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VariantReport {
    /// Its name.
    pub name: String,
    /// How many were sent and have finished, well or badly.
    pub requests: u64,
    /// How many complete responses had each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many complete responses had each label.
    pub answers: BTreeMap<String, u64>,
    /// How many requests failed in each way.
    pub failures: BTreeMap<FailureKind, u64>,
    /// How long complete responses of any status took.
    #[serde(rename = "latency_us")]
    pub latency: Latency,
}

impl Report {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let variants = names.map(VariantReport::new).collect();
        Self { variants, ..Self::default() }
    }

    /// All variants as one, named `total`.
    pub fn total(&self) -> VariantReport {
        let mut total = VariantReport::new("total");
        for variant in &self.variants {
            total.merge(variant);
        }
        total
    }

    /// The variant of this name.
    pub fn variant(&self, name: &str) -> Option<&VariantReport> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// How many requests were sent and have finished, well or badly.
    pub fn requests(&self) -> u64 {
        self.variants.iter().map(|variant| variant.requests).sum()
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.variants.iter().map(VariantReport::failed).sum()
    }

    /// Requests a second, over the whole time.
    pub fn requests_per_second(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of requests stays far below 2^52")]
        let requests = self.requests() as f64;
        requests / self.elapsed.as_secs_f64()
    }

    /// Adds the account of another run. Variants are the same if their names are; the elapsed time is the longer one.
    pub fn merge(&mut self, other: &Self) {
        for variant in &other.variants {
            match self.variants.iter_mut().find(|known| known.name == variant.name) {
                Some(known) => known.merge(variant),
                None => self.variants.push(variant.clone()),
            }
        }
        self.connections_opened += other.connections_opened;
        self.connections_resumed += other.connections_resumed;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.ended = self.ended.max(other.ended);
        let room = MAX_DESCRIBED_FAILURES.saturating_sub(self.first_failures.len());
        self.first_failures.extend(other.first_failures.iter().take(room).cloned());
    }

    /// A complete response, whether its status is expected or not.
    pub(crate) fn record_answer(&mut self, variant: usize, status: u16, label: Option<&str>, latency: Duration) {
        self.count_request(variant);
        let variant = &mut self.variants[variant];
        *variant.statuses.entry(status).or_default() += 1;
        variant.latency.record(latency);
        if let Some(label) = label {
            add_label(&mut variant.answers, label, 1);
        }
    }

    /// A request has finished.
    pub(crate) fn count_request(&mut self, variant: usize) {
        self.variants[variant].requests += 1;
    }

    /// A request that was counted has failed.
    pub(crate) fn record_failure(&mut self, variant: usize, kind: FailureKind, detail: &str) {
        let variant = &mut self.variants[variant];
        *variant.failures.entry(kind).or_default() += 1;
        if self.first_failures.len() < MAX_DESCRIBED_FAILURES {
            self.first_failures.push(format!("{}: {kind}: {detail}", variant.name));
        }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Report", 8)?;
        fields.serialize_field("ended", &self.ended)?;
        fields.serialize_field("elapsed_seconds", &self.elapsed.as_secs_f64())?;
        fields.serialize_field("requests_per_second", &self.requests_per_second())?;
        fields.serialize_field("connections_opened", &self.connections_opened)?;
        fields.serialize_field("failed", &self.failed())?;
        fields.serialize_field("first_failures", &self.first_failures)?;
        fields.serialize_field("total", &self.total())?;
        fields.serialize_field("variants", &self.variants)?;
        fields.end()
    }
}

impl VariantReport {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How many complete responses had this label.
    pub fn answered_by(&self, label: &str) -> u64 {
        self.answers.get(label).copied().unwrap_or(0)
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (label, count) in &other.answers {
            add_label(&mut self.answers, label, *count);
        }
        for (kind, count) in &other.failures {
            *self.failures.entry(*kind).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }
}

/// Copies the label only the first time it is seen.
fn add_label(answers: &mut BTreeMap<String, u64>, label: &str, count: u64) {
    if let Some(known) = answers.get_mut(label) {
        *known += count;
        return;
    }
    let label = if answers.len() < MAX_LABELS { label } else { "other" };
    *answers.entry(label.to_owned()).or_default() += count;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn report(label: &str, latency_us: u64) -> Report {
        let mut report = Report::new(["first", "second"].into_iter());
        report.record_answer(0, 200, Some(label), Duration::from_micros(latency_us));
        report.count_request(1);
        report.record_failure(1, FailureKind::Reset, "by the server");
        report
    }

    #[test]
    fn merging_adds_every_count() {
        let mut merged = report("green", 10);
        merged.merge(&report("blue", 90));
        let total = merged.total();
        assert_eq!((merged.requests(), merged.failed()), (4, 2));
        assert_eq!(total.statuses, BTreeMap::from([(200, 2)]));
        assert_eq!((total.answered_by("green"), total.answered_by("blue"), total.answered_by("red")), (1, 1, 0));
        assert_eq!(total.failures, BTreeMap::from([(FailureKind::Reset, 2)]));
        assert_eq!((total.latency.count(), total.latency.max_us()), (2, 90));
        assert_eq!(merged.first_failures, ["second: reset: by the server"; 2]);
    }

    #[test]
    fn merging_another_mix_keeps_its_variants() {
        let mut merged = report("green", 10);
        let mut other = Report::new(["third"].into_iter());
        other.count_request(0);
        other.ended = Some(Ended::Stopped);
        merged.merge(&other);
        assert_eq!(merged.variant("third").unwrap().requests, 1);
        assert_eq!(merged.ended, Some(Ended::Stopped));
    }

    #[test]
    fn labels_beyond_the_limit_count_as_other() {
        let mut report = Report::new(["only"].into_iter());
        for number in 0..100 {
            report.record_answer(0, 200, Some(&format!("label {number}")), Duration::ZERO);
        }
        assert_eq!(report.variants[0].answers.len(), MAX_LABELS + 1);
        assert_eq!(report.variants[0].answered_by("other"), 36);
    }

    #[test]
    fn only_the_first_failures_are_described() {
        let mut report = Report::new(["only"].into_iter());
        for number in 0..100 {
            report.record_failure(0, FailureKind::Closed, &number.to_string());
        }
        assert_eq!(report.failed(), 100);
        assert_eq!(report.first_failures.len(), MAX_DESCRIBED_FAILURES);
        assert_eq!(report.first_failures[4], "only: closed before a response: 4");
    }

    #[test]
    fn json_has_the_totals_and_each_variant() {
        let json = serde_json::to_value(report("green", 10)).unwrap();
        assert_eq!(json["ended"], serde_json::Value::Null);
        assert_eq!(json["failed"], 1);
        assert_eq!(json["total"]["requests"], 2);
        assert_eq!(json["total"]["failures"]["reset"], 1);
        assert_eq!(json["variants"][0]["name"], "first");
        assert_eq!(json["variants"][0]["statuses"]["200"], 1);
        assert_eq!(json["variants"][0]["answers"]["green"], 1);
        let latency = serde_json::json!({ "count": 1, "p50": 10, "p90": 10, "p99": 10, "max": 10 });
        assert_eq!(json["variants"][0]["latency_us"], latency);
        assert_eq!(json["variants"][1]["latency_us"]["max"], 0);
    }
}
