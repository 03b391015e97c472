//! What the demo found: a line for each stage, the verdict, and the same as JSON. The verdict looks at counts alone;
//! how long something took is told and never judged.

use super::tally::{Counts, Pinned};
use crate::output::thousands;
use serde_json::{Value, json};
use turnout_bench::Report;
use turnout_rollout::Weights;

/// How far a split may be from what is wanted, in standard errors.
const STANDARD_ERRORS: f64 = 4.0;

/// The heading of the lines.
pub(super) const HEADING: &str = "\
stage         wanted       seen        requests   pinned to      confirmed     p50       p99     failed
              green/blue   green/blue             green   blue   after";

/// How long the gateway took to confirm a stage's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// The weights were in effect already.
    Unchanged,
    /// So many microseconds after the swap.
    After(u128),
    /// Later than could be timed.
    Late,
}

/// What one stage showed.
#[derive(Debug)]
pub(super) struct StageResult {
    pub(super) name: String,
    pub(super) wanted: Weights,
    pub(super) counts: Counts,
    pub(super) confirmed: Confirmed,
    /// Requests that failed while it was entered, or in it.
    pub(super) failed: u64,
    /// Whether requests were pinned to blue.
    pub(super) has_pinned_blue: bool,
}

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) stages: Vec<StageResult>,
    /// The status for a request that is pinned to a blue which is gone.
    pub(super) absent_blue: Option<u16>,
}

impl StageResult {
    /// In one line.
    pub(super) fn line(&self) -> String {
        let Counts { green, blue, .. } = self.counts;
        let split = green + blue;
        let wanted = format!("{}/{}", self.wanted.green, self.wanted.blue);
        let seen = format!("{:.1}/{:.1}", percent(green, split), percent(blue, split));
        let confirmed = match self.confirmed {
            Confirmed::Unchanged => "as before".to_owned(),
            Confirmed::After(micros) => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
            Confirmed::Late => "> 1 s".to_owned(),
        };
        let pinned_blue = if self.has_pinned_blue { hits(self.counts.pinned_blue) } else { "–".to_owned() };
        format!(
            "{:<12}  {wanted:<10}   {seen:<10}  {:>8}   {:<5}   {pinned_blue:<5}  {confirmed:<9}  {:>8}  {:>8}  {:>6}",
            self.name,
            thousands(self.counts.latencies_us.len() as u64),
            hits(self.counts.pinned_green),
            millis(self.counts.percentile_us(50)),
            millis(self.counts.percentile_us(99)),
            self.failed,
        )
    }

    /// What does not hold.
    fn problems(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut problems = Vec::new();
        let mut add = |problem: String| problems.push(format!("{}: {problem}", self.name));
        let (n, total) = (counts.green + counts.blue, self.wanted.green + self.wanted.blue);
        if !is_within(counts.green, n, f64::from(self.wanted.green) / f64::from(total)) {
            add(format!(
                "green answered {} of {n}, {}/{} was wanted",
                counts.green, self.wanted.green, self.wanted.blue
            ));
        }
        let pins = [("green", counts.pinned_green, true), ("blue", counts.pinned_blue, self.has_pinned_blue)];
        for (backend, pinned, is_sent) in pins {
            if pinned.hits != pinned.requests || (is_sent && pinned.requests == 0) {
                add(format!("{} of {} requests pinned to {backend} reached it", pinned.hits, pinned.requests));
            }
        }
        if counts.wrong > 0 {
            add(format!("{} answers were not those of the model that should serve", counts.wrong));
        }
        problems
    }

    fn to_json(&self) -> Value {
        let counts = &self.counts;
        let pinned = |pinned: Pinned| json!({ "requests": pinned.requests, "hits": pinned.hits });
        json!({
            "stage": self.name,
            "wanted": self.wanted,
            "seen": { "green": counts.green, "blue": counts.blue },
            "requests": counts.latencies_us.len(),
            "pinned": { "green": pinned(counts.pinned_green), "blue": pinned(counts.pinned_blue) },
            "wrong_answers": counts.wrong,
            "weights_changed": self.confirmed != Confirmed::Unchanged,
            "confirmed_us": match self.confirmed { Confirmed::After(micros) => json!(micros), _ => Value::Null },
            "latency_us": { "p50": counts.percentile_us(50), "p99": counts.percentile_us(99) },
            "failed": self.failed,
        })
    }
}

impl Outcome {
    /// What does not hold; empty if all does.
    pub(super) fn problems(&self, load: &Report) -> Vec<String> {
        let mut problems: Vec<String> = self.stages.iter().flat_map(StageResult::problems).collect();
        if load.failed() > 0 {
            problems.push(format!("{} requests failed: {}", load.failed(), load.first_failures.join("; ")));
        }
        if self.absent_blue != Some(503) {
            let status = self.absent_blue.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
            problems.push(format!("a request pinned to a blue that is gone got {status}, 503 was wanted"));
        }
        problems
    }

    /// Everything as one document.
    pub(super) fn to_json(&self, load: &Report, seconds: f64) -> Value {
        let problems = self.problems(load);
        json!({
            "held": problems.is_empty(),
            "problems": problems,
            "requests": load.requests(),
            "failed": load.failed(),
            "elapsed_seconds": seconds,
            "stages": self.stages.iter().map(StageResult::to_json).collect::<Vec<_>>(),
            "pinned_to_absent_blue": self.absent_blue,
        })
    }

    /// The last line.
    pub(super) fn verdict(&self, load: &Report, seconds: f64) -> String {
        let problems = self.problems(load);
        let requests = thousands(load.requests());
        if problems.is_empty() {
            return format!(
                "All held: {requests} requests in {seconds:.1} s, 0 failed; every split within {STANDARD_ERRORS} standard \
                 errors of its weights, every pinned request at its backend, every stage confirmed."
            );
        }
        format!("NOT held, of {requests} requests in {seconds:.1} s:\n  {}", problems.join("\n  "))
    }
}

/// Whether `hits` of `n` are as near to the share as chance leaves them; shares of 0 and 1 are exact.
#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
fn is_within(hits: u64, n: u64, share: f64) -> bool {
    let (hits, n) = (hits as f64, n as f64);
    n > 0.0 && (hits - n * share).abs() <= STANDARD_ERRORS * (n * share * (1.0 - share)).sqrt()
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn hits(pinned: Pinned) -> String {
    let percent = percent(pinned.hits, pinned.requests);
    // Nothing but all of them is 100 %.
    if pinned.hits == pinned.requests { format!("{percent:.0} %") } else { format!("{:.1} %", percent.min(99.9)) }
}

fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(green: u64, blue: u64, wanted: Weights) -> StageResult {
        let pinned = Pinned { requests: 10, hits: 10 };
        let counts = Counts { green, blue, pinned_green: pinned, pinned_blue: pinned, ..Counts::default() };
        let confirmed = Confirmed::After(12_345);
        StageResult { name: "Blue_50".to_owned(), wanted, counts, confirmed, failed: 0, has_pinned_blue: true }
    }

    #[test]
    fn a_split_holds_within_four_standard_errors_and_the_ends_are_exact() {
        let check = |green, blue, wanted: (u32, u32), holds: bool| {
            let wanted = Weights { green: wanted.0, blue: wanted.1 };
            assert_eq!(result(green, blue, wanted).problems().is_empty(), holds, "{green}/{blue} for {wanted}");
        };
        check(800, 800, (50, 50), true);
        check(880, 720, (50, 50), true);
        check(881, 719, (50, 50), false);
        check(1600, 0, (100, 0), true);
        check(1599, 1, (100, 0), false);
        check(0, 1600, (0, 100), true);
        check(1, 1599, (0, 100), false);
        check(0, 0, (0, 100), false);
    }

    #[test]
    fn one_pinned_request_elsewhere_or_one_wrong_answer_does_not_hold() {
        let mut missed = result(800, 800, Weights { green: 50, blue: 50 });
        missed.counts.pinned_blue.hits = 9;
        assert_eq!(missed.problems(), ["Blue_50: 9 of 10 requests pinned to blue reached it"]);
        let mut wrong = result(800, 800, Weights { green: 50, blue: 50 });
        wrong.counts.wrong = 1;
        assert_eq!(wrong.problems(), ["Blue_50: 1 answers were not those of the model that should serve"]);
    }

    #[test]
    fn a_stage_is_one_line_below_the_heading() {
        let line = result(790, 810, Weights { green: 50, blue: 50 }).line();
        assert_eq!(
            line,
            "Blue_50       50/50        49.4/50.6          0   100 %   100 %  12.3 ms     0.00 ms   0.00 ms       0"
        );
    }
}
