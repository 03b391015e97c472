//! Makes a failing history short: whatever can be left out, so that it still breaks the same law, is.

use super::History;
use super::run::{Failure, live};

/// So many shorter ones are tried.
const TRIES: usize = 400;

/// The shortest history found, and how it fails, with its trace.
pub(crate) fn shrink(history: &History, failure: &Failure) -> (History, Failure) {
    let law = failure.broken.law;
    let fails = |history: &History| live(history, false).err().filter(|failure| failure.broken.law == law);
    let mut shortest = history.clone();
    if let Some(step) = failure.step {
        shortest.steps.truncate(step + 1);
    }
    let (mut tries, mut size) = (0, shortest.steps.len().max(1));
    while size > 0 && tries < TRIES {
        let mut start = 0;
        while start < shortest.steps.len() && tries < TRIES {
            let mut shorter = shortest.clone();
            shorter.steps.drain(start..(start + size).min(shorter.steps.len()));
            tries += 1;
            if fails(&shorter).is_some() {
                shortest = shorter;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    let failure = live(&shortest, true).err();
    match failure {
        Some(failure) => (shortest, failure),
        None => (history.clone(), live(history, true).expect_err("it failed before")),
    }
}
