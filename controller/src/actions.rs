//! What a decision asks for besides weights: warming a backend, and making and removing managed workloads. Each action
//! is decided again until its effect is seen, so doing it twice does no harm. Warming goes on beside the rounds (`warm_up`).

use crate::backends::BackendView;
use crate::outbound::Outbound;
use crate::rollouts::RolloutObject;
use crate::view::View;
use crate::warm_up::{Target, WarmUps};
use crate::workloads::{self, WorkloadError, Workloads};
use kube::Client;
use std::sync::Arc;
use turnout_rollout::{Action, Backend, ModelRollout, Obstacle, Workload};

/// The actions of one rollout.
pub struct Work<'a> {
    pub(crate) client: &'a Client,
    pub(crate) outbound: &'a Arc<dyn Outbound>,
    pub(crate) warm_ups: &'a mut WarmUps,
    pub(crate) view: &'a View,
    pub(crate) rollout: &'a RolloutObject,
    pub(crate) backends: &'a [BackendView; 2],
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Something is different from what was observed.
    pub changed: bool,
    /// What failed.
    pub obstacle: Option<Obstacle>,
}

impl Done {
    /// That somebody else wrote meanwhile is a reason to look again, not an obstacle.
    fn take(&mut self, result: Result<bool, WorkloadError>) {
        match result {
            Ok(changed) => self.changed |= changed,
            Err(error) if error.is_conflict() => self.changed = true,
            Err(error) => self.obstacle = Some(obstacle(&error)),
        }
    }
}

/// As a condition tells it.
pub fn obstacle(error: &WorkloadError) -> Obstacle {
    Obstacle { reason: error.reason(), message: error.to_string() }
}

impl Work<'_> {
    /// Does them in their order.
    pub async fn perform(&mut self, actions: &[Action]) -> Done {
        let mut done = Done { obstacle: self.warm_up(actions), ..Done::default() };
        for action in actions {
            done.take(self.workloads().perform(action).await);
        }
        if self.rollout.rollout.spec.workload == Workload::Managed {
            done.take(self.workloads().scale().await);
            let kept = self.workloads().forget_templates(&self.rollout.rollout.status).await;
            done.take(kept.map(|()| false));
        }
        done
    }

    fn workloads(&self) -> Workloads<'_> {
        Workloads::new(self.client, self.view, self.rollout)
    }

    /// Whoever is not named in an action is not wanted any more.
    fn warm_up(&mut self, actions: &[Action]) -> Option<Obstacle> {
        let Some(warm_up) = &self.rollout.rollout.spec.warm_up else {
            self.warm_ups.stop(&self.rollout.uid());
            return None;
        };
        let backends = self.backends;
        let wanted = actions.iter().filter_map(|action| match action {
            Action::WarmUp { backend } => Some(*backend),
            Action::Deploy { .. } | Action::Scale { .. } | Action::Remove { .. } => None,
        });
        let pods = wanted.flat_map(|backend| {
            let ready = &backends[usize::from(backend == Backend::Blue)].ready;
            ready.iter().map(move |ready| Target { backend, uid: &ready.uid, address: ready.address })
        });
        self.warm_ups.warm(&self.rollout.uid(), warm_up, pods, self.outbound)
    }
}

/// Managed: the revision of the template; none of one from which no backend can be made.
pub fn template_revision(rollout: &ModelRollout) -> Option<String> {
    let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
    workloads::parse_template(template).ok()?;
    Some(workloads::template_revision(template))
}
