//! The way forward: entering a stage means that its weights are in effect everywhere, leaving it that its work is done
//! and that what it requires is fulfilled. `Blue_0` is entered only once blue is there, ready and warm.

use super::drain::Whose;
use super::{Action, Draft, Severity};
use crate::resource::{Plan, WaitReason, Workload};
use crate::stage::{Stage, Target};
use crate::weights::Backend;

impl Draft<'_> {
    pub(super) fn enter(&mut self, stage: Stage) {
        if stage == Stage::Green100 && !self.green_is_there() {
            return;
        }
        if let Some(missing) = self.missing_endpoints(stage) {
            return self.wait_for(WaitReason::ReadyEndpoints, &missing);
        }
        match self.holds(stage) {
            Ok(confirmed_by) if stage != Stage::BLUE_0 || self.work_is_done(stage) => {
                self.reach(Target::Stage(stage), confirmed_by);
            }
            Ok(_) => {}
            Err((reason, text)) => self.wait_for(reason, &text),
        }
    }

    pub(super) fn leave(&mut self, plan: &Plan, stage: Stage) {
        if let Some(missing) = self.missing_endpoints(stage) {
            return self.wait_for(WaitReason::ReadyEndpoints, &missing);
        }
        if self.spec.paused {
            return self.wait_for(WaitReason::Resume, "paused");
        }
        if !self.work_is_done(stage) {
            return;
        }
        let Some(next) = plan.stages().after(stage) else {
            return;
        };
        let target = self.target(plan);
        if let Some(reached) = target.and_then(|target| target_reached(target, stage)) {
            return self.wait_for(WaitReason::Promotion, &reached);
        }
        if let Err((reason, text)) = self.holds(stage) {
            return self.wait_for(reason, &text);
        }
        if self.may_leave(plan, stage, target) && self.is_large_enough(stage, next) {
            self.meet_candidate();
            self.status.moving_to = Some(Target::Stage(next));
            let text = format!("publishing {}", next.weights());
            self.tell(Severity::Normal, "Promoting", format!("{stage} -> {next}: {text}"));
            self.wait_for(WaitReason::Confirmation, &text);
        }
    }

    /// Which gateways have the stage's weights, if all do. In the very first rollout blue may have those of green.
    fn holds(&self, stage: Stage) -> Result<Vec<String>, (WaitReason, String)> {
        let wanted = stage.weights();
        let weights = self.weights().unwrap_or(wanted);
        let may_differ = self.is_first() && stage != Stage::Green100;
        if weights != wanted && !may_differ {
            let text = format!("{weights} is in effect, since not every gateway sees the endpoints for {wanted}");
            return Err((WaitReason::EndpointsSeen, text));
        }
        self.confirmed(weights)
    }

    /// No image has gone through all stages yet.
    fn is_first(&self) -> bool {
        self.status.stable_revision.is_none()
    }

    fn candidate_revision(&self) -> String {
        self.status.candidate.as_ref().map(|candidate| candidate.revision.clone()).unwrap_or_default()
    }

    /// A backend that the stage gives weight to and that cannot take any. The very first rollout has no stable backend
    /// to miss: blue takes everything.
    fn missing_endpoints(&self, stage: Stage) -> Option<String> {
        let is_missed = |backend: Backend| backend == Backend::Blue || !self.is_first();
        let backend = Backend::BOTH.into_iter().find(|&backend| {
            stage.weights().of(backend) > 0 && is_missed(backend) && !self.observed.backend(backend).is_ready()
        })?;
        let weight = stage.weights().of(backend);
        Some(format!("waiting for ready endpoints of {backend}, whose weight is {weight}"))
    }

    /// Before `Green_100` is reached green serves the candidate. The very first rollout makes it: no other backend could
    /// serve meanwhile, so it is updated in place.
    fn green_is_there(&mut self) -> bool {
        let revision = self.candidate_revision();
        if self.observed.green.is_complete_with(&revision) {
            return true;
        }
        if self.is_first() && self.spec.workload == Workload::Managed {
            self.replace(Backend::Green, &revision);
        }
        self.wait_for(WaitReason::CandidateReady, &self.not_serving(Backend::Green, &revision));
        false
    }

    /// What a stage is there for, besides its weights, has happened; else it is seen to.
    fn work_is_done(&mut self, stage: Stage) -> bool {
        match stage {
            Stage::BLUE_0 => self.candidate_is_served(Backend::Blue) && self.is_fit_for_weight(Backend::Blue),
            Stage::Blue(_) => {
                let revision = self.candidate_revision();
                let is_served = self.observed.blue.is_complete_with(&revision);
                if !is_served {
                    self.wait_for(WaitReason::CandidateReady, &self.not_serving(Backend::Blue, &revision));
                }
                is_served
            }
            Stage::BlueGreen => self.candidate_is_served(Backend::Green) && self.is_fit_for_weight(Backend::Green),
            Stage::Green100 => true,
        }
    }

    /// The backend serves the candidate; else it is replaced as soon as it is idle.
    fn candidate_is_served(&mut self, backend: Backend) -> bool {
        let revision = self.candidate_revision();
        if self.observed.backend(backend).serves(&revision) {
            return self.is_complete(backend, &revision);
        }
        if self.observed.backend(backend).exists {
            if !self.is_drained(backend, Whose::OfSplit, "it is replaced") {
                return false;
            }
            self.replace(backend, &revision);
        } else if self.is_idle(backend) {
            self.replace(backend, &revision);
        }
        self.wait_for(WaitReason::CandidateReady, &self.not_serving(backend, &revision));
        false
    }

    /// It serves the revision; that some of its pods are missing is waited for.
    fn is_complete(&mut self, backend: Backend, revision: &str) -> bool {
        if !self.observed.backend(backend).short {
            return true;
        }
        self.wait_for(WaitReason::CandidateReady, &self.not_serving(backend, revision));
        false
    }

    /// A backend that had no weight is warm, and every gateway knows where it is.
    fn is_fit_for_weight(&mut self, backend: Backend) -> bool {
        if self.spec.warm_up.is_some() && !self.observed.backend(backend).warmed {
            self.actions.push(Action::WarmUp { backend });
            self.wait_for(WaitReason::WarmUp, &format!("warming up {backend}"));
            return false;
        }
        if let Some(gateway) = self.blind_gateway(backend) {
            let text = format!("waiting until every gateway sees an endpoint of {backend}: {gateway} sees none");
            self.wait_for(WaitReason::EndpointsSeen, &text);
            return false;
        }
        true
    }

    /// The backend that gets weight has as many pods as the other, and they are ready.
    fn is_large_enough(&mut self, stage: Stage, next: Stage) -> bool {
        let gains = |backend: &Backend| next.weights().share(*backend) > stage.weights().share(*backend);
        let Some(backend) = Backend::BOTH.into_iter().find(gains) else { return true };
        let Some(replicas) = self.scale_up(backend) else { return true };
        let text = format!("scaling {backend} to {replicas} pods, as many as {} has", backend.other());
        self.wait_for(WaitReason::CandidateReady, &text);
        false
    }

    /// What a backend does instead of serving the revision.
    pub(super) fn not_serving(&self, backend: Backend, revision: &str) -> String {
        let seen = self.observed.backend(backend);
        let instead = match (&seen.revision, seen.ready_endpoints) {
            _ if !seen.exists => "it does not exist".to_owned(),
            (_, 0) => "it has no ready endpoints".to_owned(),
            (Some(own), ready) if own == revision => {
                format!("its {ready} ready endpoints do, and others are not ready")
            }
            (Some(other), ready) => format!("its {ready} ready endpoints serve {other}"),
            (None, ready) => format!("what its {ready} ready endpoints serve is not known"),
        };
        let doubt = seen.doubt.as_ref().map(|doubt| format!(" ({doubt})")).unwrap_or_default();
        format!("waiting for {backend} to serve revision {revision}: {instead}{doubt}")
    }
}

/// The stage is not left, since the target does not lie behind it.
fn target_reached(target: Target, stage: Stage) -> Option<String> {
    match target {
        Target::Stage(target) if stage < target => None,
        Target::Stage(target) if stage == target => Some("it is the target: promote to go on".to_owned()),
        Target::Stage(target) => Some(format!("the target {target} lies before it: promote to go on, or roll back")),
        Target::Rollback => Some("it cannot be rolled back".to_owned()),
    }
}
