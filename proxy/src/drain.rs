//! How the gateway ends without losing a request, in phases that only move forward. Everything that has to act on one
//! waits for it here.

use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// All is as usual.
    Serving,
    /// Not ready any more, but still accepting: whoever sends connections here has not heard of it yet. Responses ask
    /// clients to close.
    Leaving,
    /// No longer accepting; HTTP/2 connections are told to go.
    Draining,
    /// HTTP/1 connections that have had no request since are closed, too.
    ClosingIdle,
    /// Whatever is left is cut.
    Ended,
}

/// The phase, to be read by every request and waited for by every connection.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    /// The same as a number, which a request reads without a lock.
    number: AtomicU8,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), number: AtomicU8::new(Phase::Serving as u8) }
    }

    pub(crate) fn advance(&self, to: Phase) {
        self.number.fetch_max(to as u8, Ordering::Relaxed);
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The phase there is, and each from now on as it is reached; some may be passed over.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        let mut phases = self.phase.subscribe();
        // Whoever asks late has missed what came before.
        phases.mark_changed();
        phases
    }

    /// Whether responses ask clients to close.
    pub(crate) fn is_leaving(&self) -> bool {
        self.number.load(Ordering::Relaxed) >= Phase::Leaving as u8
    }

    pub(crate) async fn draining(&self) {
        // The sender lives as long as `self`, so this does not fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= Phase::Draining).await;
    }
}
