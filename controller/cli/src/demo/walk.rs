//! The walk through the stages, by the same commands that people use: it changes the rollout's spec, waits until the
//! status says that the stage is confirmed and its work is done, and only then counts requests as that stage's.

use super::progress::Progress;
use super::report::{Confirmed, Outcome, StageResult};
use super::tally::Tally;
use super::traffic::{API_VERSION, Traffic};
use crate::client::directory::Directory;
use crate::client::http::{self, Call};
use crate::local::answer_of;
use crate::local::sample::{FIRST_REVISION, ROLLOUT, SECOND_REVISION};
use crate::local::site::Notice;
use anyhow::{Context as _, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use turnout_rollout::{Backend, Phase, RollbackRequest, RolloutStatus, STAGE_TABLE, Stage, Target, Weights};

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(5);
/// What a rollback's line is called.
const ROLLBACK: &str = "Rollback";
/// Of the requests of a stage so many are sent when blue is gone: one in this many.
const LAST_SHARE: usize = 4;

/// A walk under way.
pub(super) struct Walk<'a> {
    pub(super) directory: Directory,
    pub(super) gateway: SocketAddr,
    pub(super) tally: Arc<Tally>,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) may_remove_blue: Arc<AtomicBool>,
    pub(super) requests: usize,
    pub(super) progress: &'a Progress,
    /// The weights that were measured last; the documents give everything to green.
    pub(super) weights: Weights,
}

impl Walk<'_> {
    /// Goes through the stages, or back at one of them, and removes blue.
    pub(super) async fn run(&mut self, traffic: &mut Traffic, rollback_at: Option<Stage>) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        for stage in STAGE_TABLE.map(|row| row.stage) {
            let failed = traffic.report().failed();
            self.progress.say(format!("{stage}: on the way"));
            self.go_to(stage)?;
            self.wait_until(|status| is_at(status, stage)).await.with_context(|| format!("{stage} was not reached"))?;
            let green = if stage.replaces_green() { SECOND_REVISION } else { FIRST_REVISION };
            let mut result =
                self.measure(stage.to_string(), stage.weights(), [green, SECOND_REVISION], self.requests).await;
            result.failed = traffic.report().failed() - failed;
            self.show(result, &mut outcome)?;
            if rollback_at == Some(stage) {
                self.go_back(traffic, &mut outcome).await?;
                break;
            }
        }
        self.remove_blue(traffic, &mut outcome).await?;
        Ok(outcome)
    }

    fn go_to(&self, stage: Stage) -> anyhow::Result<()> {
        self.directory.edit_rollout(ROLLOUT, |rollout| {
            if stage == Stage::BLUE_0 {
                rollout.start(SECOND_REVISION, Some(stage))?;
            } else {
                rollout.promote(Some(stage), false)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Rolls back, and checks that everything goes to the stable model. What is complete is rolled out the other way
    /// round.
    async fn go_back(&mut self, traffic: &Traffic, outcome: &mut Outcome) -> anyhow::Result<()> {
        let failed = traffic.report().failed();
        self.progress.say(format!("{ROLLBACK}: on the way"));
        let (_, request) = self.directory.edit_rollout(ROLLOUT, |rollout| Ok(rollout.roll_back()?))?;
        let is_new = matches!(request, RollbackRequest::AsNewRollout { .. });
        let is_back = |status: &RolloutStatus| {
            if is_new {
                status.stable_revision.as_deref() == Some(FIRST_REVISION) && is_at(status, Stage::Green100)
            } else {
                status.stage == Some(Target::Rollback) && status.moving_to.is_none()
            }
        };
        self.wait_until(is_back).await.context("the rollback did not come to its end")?;
        let blue = if is_new { FIRST_REVISION } else { SECOND_REVISION };
        let weights = Weights::all(Backend::Green);
        let mut result = self.measure(ROLLBACK.to_owned(), weights, [FIRST_REVISION, blue], self.requests).await;
        result.failed = traffic.report().failed() - failed;
        self.show(result, outcome)
    }

    /// The end: nobody asks for blue, blue drains and goes, and whoever asks for it then is told so.
    async fn remove_blue(&mut self, traffic: &mut Traffic, outcome: &mut Outcome) -> anyhow::Result<()> {
        let failed = traffic.report().failed();
        self.progress.say("blue: draining".to_owned());
        traffic.leave_blue().await?;
        self.may_remove_blue.store(true, Ordering::Relaxed);
        let is_gone = |status: &RolloutStatus| {
            matches!(status.phase, Phase::Complete | Phase::RolledBack) && status.safe_to_remove.is_empty()
        };
        self.wait_until(is_gone).await.context("blue was not removed")?;
        let status = self.directory.read_status(ROLLOUT)?;
        let stable = status.stable_revision.unwrap_or_default();
        let weights = Weights::all(Backend::Green);
        let requests = self.requests.div_ceil(LAST_SHARE);
        let mut result = self.measure("blue removed".to_owned(), weights, [&stable, ""], requests).await;
        result.has_pinned_blue = false;
        result.failed = traffic.report().failed() - failed;
        let address = self.gateway.to_string();
        let call = Call { address: &address, path: "/score", body: Some("{}"), header: Some((API_VERSION, "blue")) };
        outcome.absent_blue = Some(http::send(&call).await?.0.as_u16());
        self.show(result, outcome)
    }

    /// Counts requests as this stage's until there are enough.
    async fn measure(&mut self, name: String, wanted: Weights, revisions: [&str; 2], requests: usize) -> StageResult {
        let confirmed = self.confirmation(wanted);
        let window = self.tally.open(revisions.map(answer_of));
        loop {
            let answers = self.tally.answers(window);
            self.progress.say(format!("{name}: {answers} of {requests} requests"));
            if answers >= requests {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.tally.close(window);
        let counts = self.tally.counts(window);
        StageResult { name, wanted, counts, confirmed, failed: 0, has_pinned_blue: true }
    }

    /// How long the gateway took for these weights, from what the driver told since the last time.
    fn confirmation(&mut self, wanted: Weights) -> Confirmed {
        let mut confirmed = if wanted == self.weights { Confirmed::Unchanged } else { Confirmed::Late };
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Confirmed { after, weights } = notice
                && weights.contains(&wanted)
                && confirmed == Confirmed::Late
            {
                confirmed = Confirmed::After(after.as_micros());
            }
        }
        self.weights = wanted;
        confirmed
    }

    fn show(&self, result: StageResult, outcome: &mut Outcome) -> anyhow::Result<()> {
        self.progress.print(&result.line())?;
        outcome.stages.push(result);
        Ok(())
    }

    async fn wait_until(&self, is_so: impl Fn(&RolloutStatus) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        loop {
            let rollout = self.directory.read_rollout(ROLLOUT)?;
            if rollout.status.observed_generation == rollout.metadata.generation && is_so(&rollout.status) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} {}", rollout.status.message, self.directory.problems().join("; "));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The stage is confirmed, and what is to be done in it is done: it waits for its target alone.
fn is_at(status: &RolloutStatus, stage: Stage) -> bool {
    let is_done = status.phase == Phase::Holding || stage == Stage::Green100;
    status.stage == Some(Target::Stage(stage)) && status.moving_to.is_none() && is_done
}
