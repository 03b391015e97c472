//! What goes on with managed workloads whatever the stage is: what somebody else changed is put right, and templates that
//! nothing needs any more go.

use super::{
    ApiError, Found, WorkloadError, Workloads, as_read, deployment, is_leaving, is_owned, template_revision, title,
    unless_missing,
};
use crate::kube_api::list;
use crate::names::{REVISION, ROLLOUT};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use turnout_rollout::{Backend, RolloutSpec, RolloutStatus};

impl Workloads<'_> {
    /// Sees to both backends, and to the templates that are stored. Returns whether a backend was written.
    pub async fn tend(&self, status: &RolloutStatus) -> Result<bool, WorkloadError> {
        let selector = format!("{ROLLOUT}={}", self.rollout.metadata.name);
        let namespace = &self.rollout.metadata.namespace;
        let mut stored = list(&self.stored(), namespace, &ListParams::default().labels(&selector)).await?;
        stored.retain(|stored| is_owned(&stored.metadata, self.owner_uid));
        let mut changed = false;
        for backend in Backend::BOTH {
            changed |= self.put_right(backend, &stored).await?;
        }
        self.forget_templates(status, &stored).await?;
        Ok(changed)
    }

    /// A Deployment says which revision it is made of, and a revision has one template: whatever else its pods are told to
    /// run, they would be taken for that revision.
    async fn put_right(&self, backend: Backend, stored: &[ControllerRevision]) -> Result<bool, WorkloadError> {
        let Found::Owned(live) = self.find(backend) else { return Ok(false) };
        let revision = live.labels().get(REVISION).filter(|_| !is_leaving(live));
        let is_its = |stored: &&ControllerRevision| stored.labels().get(REVISION) == revision;
        let template = stored.iter().find(is_its).and_then(|stored| stored.data.as_ref());
        let (Some(revision), Some(template), Ok(selector)) = (revision, template, self.selector(backend)) else {
            return Ok(false);
        };
        let wanted = deployment(self.rollout, self.owner_uid, backend, revision, &template.0, &selector)?;
        let Some(next) = deployment::changed(live, wanted) else { return Ok(false) };
        let is_put_right = self.replace(&next).await?;
        if is_put_right {
            tracing::warn!("{} was changed by somebody else and is put right", title(live));
        }
        Ok(is_put_right)
    }

    /// Removes the stored templates of revisions that neither the status nor the spec names any more. A former leader that
    /// comes late does no harm: what was stored since is of a later generation than the rollout that it has read.
    async fn forget_templates(
        &self,
        status: &RolloutStatus,
        stored: &[ControllerRevision],
    ) -> Result<(), WorkloadError> {
        let RolloutSpec { revision, template, .. } = &self.rollout.spec;
        let wanted = [revision.clone(), template.as_ref().map(template_revision)];
        let is_wanted = |revision: &String| wanted.iter().flatten().any(|wanted| wanted == revision);
        let is_kept = |revision: &String| status.is_in_use(revision) || is_wanted(revision);
        let generation = self.rollout.metadata.generation.unwrap_or(0);
        for stored in stored {
            if stored.labels().get(REVISION).is_some_and(is_kept) || stored.revision >= generation {
                continue;
            }
            let parameters = DeleteParams::background().preconditions(as_read(&stored.metadata));
            let name = stored.name_any();
            let place = format!("controllerrevisions {}/{name}", self.rollout.metadata.namespace);
            let deleted = self.stored().delete(&name, &parameters).await.map_err(ApiError::of("delete", place));
            unless_missing(deleted.map(|_| ()))?;
        }
        Ok(())
    }
}
