//! What a decision asks for besides weights: warming a backend, and making and removing managed workloads. Each action
//! is decided again until its effect is seen, so doing it twice does no harm.

use crate::backends::{BackendView, ReadyEndpoint};
use crate::outbound::{Call, Outbound};
use crate::rollouts::RolloutObject;
use crate::view::View;
use crate::workloads::{self, WorkloadError, Workloads};
use futures::future::join_all;
use kube::Client;
use turnout_rollout::{Action, Backend, ModelRollout, Obstacle, Workload};

/// The actions of one rollout.
pub struct Work<'a> {
    pub(crate) client: &'a Client,
    pub(crate) outbound: &'a dyn Outbound,
    pub(crate) view: &'a View,
    pub(crate) rollout: &'a RolloutObject,
    pub(crate) backends: &'a [BackendView; 2],
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The pods that were warmed.
    pub warmed: Vec<String>,
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
    pub async fn perform(&self, actions: &[Action]) -> Done {
        let mut done = Done::default();
        for action in actions {
            match action {
                Action::WarmUp { backend } => self.warm_up(*backend, &mut done).await,
                Action::Deploy { .. } | Action::Remove { .. } => done.take(self.workloads().perform(action).await),
            }
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

    async fn warm_up(&self, backend: Backend, done: &mut Done) {
        let ready = &self.backends[usize::from(backend == Backend::Blue)].ready;
        let warmed = join_all(ready.iter().map(|endpoint| self.warm(endpoint))).await;
        for (endpoint, result) in ready.iter().zip(warmed) {
            match result {
                Ok(()) => done.warmed.push(endpoint.uid.clone()),
                Err(problem) => {
                    let message = format!("{backend} cannot be warmed: {problem}");
                    done.obstacle = Some(Obstacle { reason: "WarmUpFailed", message });
                }
            }
        }
        done.changed = done.warmed.len() == ready.len();
    }

    /// Sends one pod everything that it is to be warmed with, one request after the other.
    async fn warm(&self, endpoint: &ReadyEndpoint) -> Result<(), String> {
        let Some(warm_up) = &self.rollout.rollout.spec.warm_up else { return Ok(()) };
        for _ in 0..warm_up.requests {
            let call = Call { address: endpoint.address, path: warm_up.path.clone(), body: warm_up.body.clone() };
            let answer = self.outbound.send(call).await.map_err(|error| error.to_string())?;
            if !(200..300).contains(&answer.status) {
                return Err(format!("{} answers {} to {}", endpoint.address, answer.status, warm_up.path));
            }
        }
        Ok(())
    }
}

/// Managed: the revision of the template.
pub fn template_revision(rollout: &ModelRollout) -> Option<String> {
    let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
    Some(workloads::template_revision(template))
}
