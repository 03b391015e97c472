//! A load under way: the lanes, the account that they share, and the handle that watches and stops them.
//!
//! Invariants: every request that was begun is in the account exactly once; after the end of the run (the last turn, a stop, the
//! time limit) no lane begins another.

use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::alarm::Alarm;
use super::connection::Slot;
use super::lane::Lane;
use super::turns::{Turn, Turns};
use super::{Load, Pace, Total};
use crate::failure::{Failure, FailureKind};
use crate::report::{Ended, Report};

/// A load that has been started. Dropping it drops its connections, whatever is in flight.
#[derive(Debug)]
pub struct Run {
    handle: Handle,
    supervisor: JoinHandle<()>,
}

/// Watches and stops a run, from any task or thread, as often as wanted.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Run {
    pub(super) fn start(load: Load, requests: Vec<Request<Full<Bytes>>>) -> io::Result<Self> {
        let alarm = match load.pace {
            Pace::ClosedLoop => None,
            Pace::OpenLoop { .. } => Some(Alarm::new()?.into()),
        };
        let shared = Arc::new(Shared::new(load, requests, alarm));
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Ok(Self { handle: Handle { shared }, supervisor })
    }

    /// A handle to watch and stop this run.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end of the run and returns the account of all of it, laps included. A panic of
    /// [`Load::on_response`] or of a label comes out here.
    pub async fn report(mut self) -> Report {
        if let Err(error) = (&mut self.supervisor).await
            && error.is_panic()
        {
            resume_unwind(error.into_panic());
        }
        self.handle.report()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Handle {
    /// Begins no more requests; those in flight finish, and then the run ends.
    pub fn stop(&self) {
        self.shared.end(Ended::Stopped);
    }

    /// The account so far, of everything that has finished.
    pub fn report(&self) -> Report {
        let ledger = self.shared.ledger();
        let mut report = ledger.earlier_laps.clone();
        report.merge(&ledger.lap);
        report.elapsed = ledger.finished_at.unwrap_or_else(Instant::now) - self.shared.started;
        report.ended = ledger.ended;
        report
    }

    /// The account of what has finished since the previous call, or since the start: one stage of a rollout, for example.
    pub fn lap(&self) -> Report {
        let mut ledger = self.shared.ledger();
        let now = ledger.finished_at.unwrap_or_else(Instant::now);
        let mut lap = std::mem::replace(&mut ledger.lap, empty_report(&self.shared.load));
        ledger.earlier_laps.merge(&lap);
        lap.elapsed = now - ledger.lap_started_at;
        lap.ended = ledger.ended;
        ledger.lap_started_at = now;
        lap
    }

    /// How many requests have finished so far, well or badly.
    pub fn requests(&self) -> u64 {
        self.shared.ledger().requests()
    }

    /// Waits until at least `count` requests have finished, or the run has.
    pub async fn wait_for_requests(&self, count: u64) {
        loop {
            let mut recorded = pin!(self.shared.recorded.notified());
            recorded.as_mut().enable();
            if self.shared.ledger().has_reached(count) {
                return;
            }
            recorded.await;
        }
    }
}

/// Runs the lanes to their end, and calls the end when the time is up. A panic in a lane comes out as a panic of this task.
async fn supervise(shared: Arc<Shared>) {
    let mut lanes = JoinSet::new();
    for _ in 0..shared.load.connections {
        let slot = Arc::new(Slot::new(&shared.load));
        for _ in 0..shared.load.lanes_per_connection() {
            lanes.spawn(Lane::new(Arc::clone(&shared), Arc::clone(&slot)).run());
        }
    }
    let mut time_is_up = pin!(tokio::time::sleep(shared.load.max_duration));
    let mut is_limited = true;
    loop {
        tokio::select! {
            () = &mut time_is_up, if is_limited => {
                is_limited = false;
                shared.end(Ended::TimeLimit);
            }
            lane = lanes.join_next() => match lane {
                Some(Ok(())) => {}
                Some(Err(error)) if error.is_panic() => {
                    shared.finish(Ended::Stopped);
                    resume_unwind(error.into_panic());
                }
                Some(Err(_cancelled)) => {}
                None => break,
            }
        }
    }
    shared.finish(match shared.load.total {
        Total::Requests(_) => Ended::Complete,
        Total::UntilStopped { .. } => Ended::RequestLimit,
    });
}

/// What the lanes of a run share.
pub(super) struct Shared {
    pub(super) load: Load,
    /// The request of each variant, ready to be cloned and sent.
    pub(super) requests: Vec<Request<Full<Bytes>>>,
    pub(super) started: Instant,
    pub(super) keeps_bodies: bool,
    turns: Mutex<Turns>,
    /// Of an open loop: wakes the lane whose turn is next.
    pub(super) alarm: Option<tokio::sync::Mutex<Alarm>>,
    ledger: Mutex<Ledger>,
    /// Why no more requests begin, once that is so.
    ending: watch::Sender<Option<Ended>>,
    /// Notified whenever an outcome is recorded.
    recorded: Notify,
}

#[derive(Debug)]
struct Ledger {
    lap: Report,
    earlier_laps: Report,
    lap_started_at: Instant,
    finished_at: Option<Instant>,
    ended: Option<Ended>,
}

impl Ledger {
    fn requests(&self) -> u64 {
        self.lap.requests() + self.earlier_laps.requests()
    }

    fn has_reached(&self, count: u64) -> bool {
        self.requests() >= count || self.ended.is_some()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("target", &self.load.target)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn new(load: Load, requests: Vec<Request<Full<Bytes>>>, alarm: Option<tokio::sync::Mutex<Alarm>>) -> Self {
        let started = Instant::now();
        let ledger = Ledger {
            lap: empty_report(&load),
            earlier_laps: empty_report(&load),
            lap_started_at: started,
            finished_at: None,
            ended: None,
        };
        Self {
            requests,
            started,
            keeps_bodies: load.on_response.is_some() || load.label.needs_body(),
            turns: Mutex::new(Turns::new(&load)),
            alarm,
            ledger: Mutex::new(ledger),
            ending: watch::Sender::new(None),
            recorded: Notify::new(),
            load,
        }
    }

    pub(super) fn take_turn(&self) -> Option<Turn> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Waits until no more requests begin.
    pub(super) fn ending(&self) -> impl Future<Output = ()> + use<> {
        let mut ending = self.ending.subscribe();
        async move {
            // It cannot fail before the sender is gone, and the lane that waits keeps the sender alive.
            let _ = ending.wait_for(Option::is_some).await;
        }
    }

    pub(super) fn count_connection(&self, resumed: bool) {
        let mut ledger = self.ledger();
        ledger.lap.connections_opened += 1;
        ledger.lap.connections_resumed += u64::from(resumed);
    }

    pub(super) fn record_answer(&self, variant: usize, status: StatusCode, label: Option<&str>, latency: Duration) {
        let is_expected = self.load.variants[variant].expected.contains(&status.as_u16());
        let mut ledger = self.ledger();
        ledger.lap.record_answer(variant, status.as_u16(), label, latency);
        if !is_expected {
            ledger.lap.record_failure(variant, FailureKind::BadStatus, &format!("the status is {status}"));
        }
        drop(ledger);
        self.recorded.notify_waiters();
    }

    pub(super) fn record_failure(&self, variant: usize, failure: &Failure) {
        let mut ledger = self.ledger();
        ledger.lap.count_request(variant);
        ledger.lap.record_failure(variant, failure.kind, &failure.detail);
        drop(ledger);
        self.recorded.notify_waiters();
    }

    /// The first reason to end stays.
    fn end(&self, why: Ended) {
        self.ending.send_if_modified(|ending| {
            let is_first = ending.is_none();
            ending.get_or_insert(why);
            is_first
        });
    }

    fn finish(&self, why: Ended) {
        self.end(why);
        let mut ledger = self.ledger();
        ledger.finished_at = Some(Instant::now());
        ledger.ended = *self.ending.borrow();
        drop(ledger);
        self.recorded.notify_waiters();
    }

    /// A panic while the account was open leaves counts, never a broken structure, so its poison means nothing here.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty_report(load: &Load) -> Report {
    Report::new(load.variants.iter().map(|variant| variant.name.as_str()))
}
