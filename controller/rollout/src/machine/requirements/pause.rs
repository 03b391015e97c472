//! A pause is over so many seconds after its stage was reached.

use crate::machine::Draft;
use crate::resource::{Leave, Plan, Requirement, RequirementState, duration};
use crate::stage::{Stage, Target};
use crate::timestamp::Timestamp;

impl Draft<'_> {
    pub(super) fn pause(&self, seconds: u64, stage: Stage) -> (RequirementState, String) {
        let pause = duration(seconds);
        match self.status.stage_since.map(|since| since.plus(seconds)) {
            Some(until) if self.observed.now < until => {
                (RequirementState::Waiting, format!("pausing {pause} after {stage} was reached, until {until}"))
            }
            _ => (RequirementState::Open, format!("{pause} are over")),
        }
    }

    /// When the first pause is over that is still waited for.
    pub(in crate::machine) fn end_of_pause(&self) -> Option<Timestamp> {
        let plan = Plan::of(self.rollout).ok()?;
        let (since, stage) = (self.status.stage_since?, self.status.stage.and_then(Target::stage)?);
        let Leave::When(required) = plan.leave(stage) else { return None };
        let ends = required.iter().zip(&self.status.requirements).filter_map(|(one, stands)| match one {
            Requirement::Pause { seconds } if stands.state == RequirementState::Waiting => Some(since.plus(*seconds)),
            Requirement::Pause { .. } | Requirement::Approval | Requirement::Webhook(_) | Requirement::Evidence(_) => {
                None
            }
        });
        ends.min()
    }
}
