//! Which answer belongs to which stage. A window is open from the moment the gateway confirmed a stage until just
//! before the next change; an answer belongs to the window in which its request was sent, whenever it arrives.

use crate::model::SERVED_BY;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use turnout_bench::Answer;
use turnout_rollout::Backend;

/// The names of the three kinds of request.
pub(super) const SPLIT: &str = "split";
pub(super) const PINNED_GREEN: &str = "pinned green";
pub(super) const PINNED_BLUE: &str = "pinned blue";

/// The answers of all windows. The load's tasks write it while the walk reads.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Vec<Window>>);

#[derive(Debug)]
struct Window {
    opened: Instant,
    closed: Option<Instant>,
    /// The bodies of green's and blue's answers.
    expected: [String; 2],
    counts: Counts,
}

/// What one window saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Requests without the header that green and blue answered.
    pub(super) green: u64,
    pub(super) blue: u64,
    pub(super) pinned_green: Pinned,
    pub(super) pinned_blue: Pinned,
    /// Answers of a model that should not be there, or of nobody.
    pub(super) wrong: u64,
    /// Of every answer.
    pub(super) latencies_us: Vec<u64>,
}

/// Requests with the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) requests: u64,
    /// Those that the backend which they name answered.
    pub(super) hits: u64,
}

impl Tally {
    /// Opens a window in which green and blue answer with these texts, and returns its number.
    pub(super) fn open(&self, expected: [String; 2]) -> usize {
        let mut windows = self.windows();
        let expected = expected.map(|text| format!("\"{text}\""));
        windows.push(Window { opened: Instant::now(), closed: None, expected, counts: Counts::default() });
        windows.len() - 1
    }

    /// What is sent from here on is no longer its own.
    pub(super) fn close(&self, window: usize) {
        if let Some(window) = self.windows().get_mut(window) {
            window.closed = Some(Instant::now());
        }
    }

    /// How many answers a window has so far.
    pub(super) fn answers(&self, window: usize) -> usize {
        self.windows().get(window).map_or(0, |window| window.counts.latencies_us.len())
    }

    /// What a window saw.
    pub(super) fn counts(&self, window: usize) -> Counts {
        self.windows().get(window).map(|window| window.counts.clone()).unwrap_or_default()
    }

    /// Counts an answer; the load itself accounts for those that are failures.
    pub(super) fn record(&self, answer: &Answer<'_>) {
        if !answer.status.is_success() {
            return;
        }
        let mut windows = self.windows();
        let holds = |window: &&mut Window| {
            window.opened <= answer.sent_at && window.closed.is_none_or(|closed| answer.sent_at < closed)
        };
        // The latest windows are the likely ones.
        if let Some(window) = windows.iter_mut().rev().find(holds) {
            window.record(answer);
        }
    }

    /// A panic while it was open leaves counts, never a broken structure.
    fn windows(&self) -> MutexGuard<'_, Vec<Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn record(&mut self, answer: &Answer<'_>) {
        let served_by = answer.headers.get(SERVED_BY).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let backend = Backend::BOTH.into_iter().find(|backend| backend.to_string() == served_by);
        let expected = match backend {
            Some(Backend::Green) => Some(&self.expected[0]),
            Some(Backend::Blue) => Some(&self.expected[1]),
            None => None,
        };
        let counts = &mut self.counts;
        if expected.is_none_or(|expected| expected.as_bytes() != answer.body.as_ref()) {
            counts.wrong += 1;
        }
        match (answer.variant, backend) {
            (PINNED_GREEN, _) => counts.pinned_green.count(backend == Some(Backend::Green)),
            (PINNED_BLUE, _) => counts.pinned_blue.count(backend == Some(Backend::Blue)),
            (_, Some(Backend::Green)) => counts.green += 1,
            (_, Some(Backend::Blue)) => counts.blue += 1,
            (_, None) => {}
        }
        let latency = answer.received_at.saturating_duration_since(answer.sent_at);
        counts.latencies_us.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Pinned {
    fn count(&mut self, is_hit: bool) {
        self.requests += 1;
        self.hits += u64::from(is_hit);
    }
}

impl Counts {
    /// The latency that this share of the answers, in percent, did not exceed, in microseconds; 0 without answers.
    pub(super) fn percentile_us(&self, percent: usize) -> u64 {
        let mut latencies = self.latencies_us.clone();
        latencies.sort_unstable();
        let rank = (latencies.len() * percent).div_ceil(100);
        latencies.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use std::time::Duration;

    fn record(tally: &Tally, variant: &str, served_by: &'static str, body: &'static str, sent_at: Instant) {
        let headers = HeaderMap::from_iter([(SERVED_BY, HeaderValue::from_static(served_by))]);
        let body = Bytes::from_static(body.as_bytes());
        let received_at = sent_at + Duration::from_micros(300);
        tally.record(&Answer { variant, sent_at, received_at, status: StatusCode::OK, headers: &headers, body: &body });
    }

    #[test]
    fn an_answer_belongs_to_the_window_in_which_its_request_was_sent() {
        let tally = Tally::default();
        let before = Instant::now();
        let first = tally.open(["A", "B"].map(str::to_owned));
        let inside = Instant::now();
        tally.close(first);
        let between = Instant::now();
        let second = tally.open(["B", "B"].map(str::to_owned));
        for (sent_at, variant) in [(before, SPLIT), (inside, SPLIT), (between, SPLIT), (inside, PINNED_GREEN)] {
            record(&tally, variant, "green", "\"A\"", sent_at);
        }
        record(&tally, PINNED_BLUE, "green", "\"A\"", inside);
        record(&tally, SPLIT, "blue", "\"A\"", Instant::now());
        let counts = tally.counts(first);
        assert_eq!((counts.green, counts.blue, counts.wrong), (1, 0, 0));
        assert_eq!(counts.pinned_green, Pinned { requests: 1, hits: 1 });
        assert_eq!(counts.pinned_blue, Pinned { requests: 1, hits: 0 });
        assert_eq!((tally.answers(first), counts.percentile_us(99)), (3, 300));
        let counts = tally.counts(second);
        assert_eq!((counts.green, counts.blue, counts.wrong), (0, 1, 1));
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let counts = Counts { latencies_us: (1..=200).rev().collect(), ..Counts::default() };
        assert_eq!((counts.percentile_us(50), counts.percentile_us(99), counts.percentile_us(100)), (100, 198, 200));
        assert_eq!(Counts::default().percentile_us(50), 0);
    }
}
