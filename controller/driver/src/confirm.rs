//! Whether gateways have what was published, and the nudge for those that do not.

use crate::gateway::{Gateway, has_taken_up};
use crate::round::{Decided, Driver, WAITING};
use crate::site::{Round, Site};
use std::time::Duration;
use turnout_rollout::Weights;

/// How soon gateways are asked whether they have what was just published, and how often at most after that: those of this
/// machine follow at once, those of a cluster when kubelet has brought them the routes.
const CONFIRM_TICKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];
/// A gateway that does not follow is nudged again after so many seconds.
const NUDGE_SECONDS: u64 = 2;

impl<S: Site> Driver<S> {
    /// Nudges the gateways that have not what is published, and waits a moment for them. Without the nudge they follow too,
    /// only late: that is said as long as they have not.
    pub(crate) async fn bring_to_gateways(
        &mut self,
        revision: Option<&str>,
        gateways: &[Gateway],
        decided: &[Decided<S::Rollout>],
        round: &mut Round,
    ) {
        if let Some(revision) = revision {
            let behind: Vec<&Gateway> = gateways.iter().filter(|it| !it.terminating && !it.has(revision)).collect();
            if behind.is_empty() {
                self.nudge_failure = None;
            } else {
                self.bring(revision, &behind, decided, round).await;
            }
        }
        if let Some(failure) = self.nudge_failure.clone() {
            self.hold_all(decided, &failure, round);
        }
    }

    async fn bring(&mut self, revision: &str, behind: &[&Gateway], decided: &[Decided<S::Rollout>], round: &mut Round) {
        round.pause = round.pause.min(WAITING);
        let now = self.now;
        let is_due = self
            .nudged
            .as_ref()
            .is_none_or(|(nudged, at)| nudged != revision || now.seconds_since(*at) >= NUDGE_SECONDS);
        if !is_due {
            return;
        }
        self.nudges += 1;
        self.nudged = Some((revision.to_owned(), now));
        let value = format!("{revision}-{}-{}", now.0, self.nudges);
        self.nudge_failure = self.site.nudge(behind, &value).await.err();
        if self.have_taken_up(behind, revision).await {
            round.pause = Duration::ZERO;
            let weights: Vec<Weights> =
                decided.iter().filter_map(Decided::governs).map(|(_, weights)| weights).collect();
            self.site.confirmed(&weights);
        }
    }

    async fn have_taken_up(&self, gateways: &[&Gateway], revision: &str) -> bool {
        let started = tokio::time::Instant::now();
        let [mut tick, longest] = CONFIRM_TICKS;
        for gateway in gateways {
            while !has_taken_up(&*self.outbound, gateway.status, revision).await {
                if started.elapsed() >= self.confirm_patience {
                    return false;
                }
                tokio::time::sleep(tick).await;
                tick = (tick * 5 / 4).min(longest);
            }
        }
        true
    }
}
