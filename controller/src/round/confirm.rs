//! Whether gateways have what was published, and the nudge for those that do not.

use super::{Controller, Decided, Round, WAITING};
use crate::gateways::{self, Gateway};
use crate::published::PublishedRoutes;
use std::time::Duration;
use turnout_rollout::Obstacle;

/// How often gateways are asked whether they have what was just published.
const CONFIRM_TICK: Duration = Duration::from_millis(20);
/// A gateway that does not follow is nudged again after so many seconds.
const NUDGE_SECONDS: u64 = 2;

impl Controller {
    /// Nudges the gateways that have not what is published, and waits a moment for them.
    pub(super) async fn bring_to_gateways(
        &mut self,
        published: &PublishedRoutes,
        gateways: &[Gateway],
        round: &mut Round,
    ) {
        let Some(revision) = &published.revision else { return };
        let behind: Vec<&Gateway> = gateways.iter().filter(|it| !it.terminating && !it.has(revision)).collect();
        if behind.is_empty() {
            self.nudge_failure = None;
            return;
        }
        round.pause = round.pause.min(WAITING);
        let now = (self.clock)();
        let is_due = self
            .nudged
            .as_ref()
            .is_none_or(|(nudged, at)| nudged != revision || now.seconds_since(*at) >= NUDGE_SECONDS);
        if !is_due {
            return;
        }
        self.nudges += 1;
        self.nudged = Some((revision.clone(), now));
        self.telemetry.nudged();
        let pods: Vec<String> = behind.iter().map(|gateway| gateway.pod.clone()).collect();
        let value = format!("{revision}-{}-{}", now.0, self.nudges);
        let nudged = gateways::nudge(&self.client, &self.settings, &pods, &value).await;
        self.nudge_failure = nudged.err().map(|error| slow(&error.obstacle()));
        if self.have_taken_up(&behind, revision).await {
            round.pause = Duration::ZERO;
        }
    }

    /// Without the nudge gateways follow too, only late: that is said as long as they have not.
    pub(super) fn tell_of_nudge(&mut self, decided: &[Decided], round: &mut Round) {
        if let Some(failure) = self.nudge_failure.clone() {
            self.hold_all(decided, &failure, round);
        }
    }

    pub(super) async fn have_taken_up(&self, gateways: &[&Gateway], revision: &str) -> bool {
        let started = tokio::time::Instant::now();
        for gateway in gateways {
            while !gateways::has_taken_up(&*self.outbound, gateway.status, revision).await {
                if started.elapsed() >= self.confirm_patience {
                    return false;
                }
                tokio::time::sleep(CONFIRM_TICK).await;
            }
        }
        true
    }
}

pub(super) fn slow(failure: &Obstacle) -> Obstacle {
    let message = format!(
        "gateways take up routes only when kubelet looks by itself, which takes a minute or two: {}",
        failure.message
    );
    Obstacle { reason: failure.reason, message }
}
