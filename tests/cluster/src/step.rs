//! What a person sees while something takes long: one line for each step, with the time that it took, on stderr.

use std::time::Instant;

use anyhow::{Context as _, Result};

/// Says what is done, does it, and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("turnout-cluster: {what} ...");
    let started = Instant::now();
    let done = work().with_context(|| format!("failed: {what}"))?;
    eprintln!("turnout-cluster: {what}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}

/// Says that something is so, and how long after the start.
pub(crate) fn reached(what: &str, started: Instant) {
    eprintln!("turnout-cluster: {what} after {:.1} s", started.elapsed().as_secs_f64());
}
