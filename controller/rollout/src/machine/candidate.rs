//! Which revision is rolled out, and whether it goes forward or back.

use super::{Draft, Severity};
use crate::resource::{Candidate, NamedRevision, OnBackendLoss, Plan, RollbackReason, RollbackStatus, Workload};
use crate::stage::{Stage, Target};
use crate::weights::Backend;

impl Draft<'_> {
    /// What the spec wants to be rolled out.
    fn wanted_candidate(&self) -> Option<Candidate> {
        let revision = self.status.wanted_revision(self.spec).or(self.observed.template_revision.as_ref())?;
        Some(Candidate { revision: revision.clone(), attempt: self.spec.attempt, begun: None })
    }

    /// Managed: of `spec.revision` and the template, what changed last says what is wanted. A revision alone is one whose
    /// template was stored, as a rollback after `Green_100` asks for.
    pub(super) fn name_revision(&mut self) {
        let Some(revision) = &self.spec.revision else {
            self.status.named = None;
            return;
        };
        let attempt = self.spec.attempt;
        let is_same = |named: &NamedRevision| named.revision == *revision && named.attempt == attempt;
        let before = self.status.named.take();
        // A status that is older than this field says nothing of the template of its stable revision.
        let is_known = before.is_some() || self.status.stable_revision.as_ref() != Some(revision);
        let former = before.filter(is_same);
        // A template from which nothing can be made changes nothing.
        let Some(template) = self.observed.template_revision.as_ref().filter(|_| self.spec.template.is_some()) else {
            self.status.named = former.filter(|_| self.spec.template.is_some());
            return;
        };
        let mut named = former.unwrap_or_else(|| NamedRevision {
            revision: revision.clone(),
            attempt,
            template: template.clone(),
            superseded_by: None,
            stored: revision != template && is_known && self.status.is_in_use(revision),
        });
        named.superseded_by = (named.template != *template).then(|| template.clone());
        self.note = match &named.superseded_by {
            Some(newer) => Some(format!("the template, {newer}, is newer than spec.revision {revision} and counts")),
            None if named.stored => {
                Some(format!("spec.revision {revision} keeps its stored template, until spec.template changes"))
            }
            None => None,
        };
        self.status.named = Some(named);
    }

    /// Takes up what the spec wants to be rolled out, unless what is under way must end first.
    pub(super) fn choose_candidate(&mut self, plan: &Plan) {
        let Some(wanted) = self.wanted_candidate() else {
            return;
        };
        let is_stable = self.status.stable_revision.as_ref() == Some(&wanted.revision);
        if self.status.in_progress() {
            if self.is_candidate(&wanted) {
                self.learn_stable_revision(&wanted);
                self.go_straight_to_green(&wanted);
            } else if self.status.must_end_first() {
                self.note = Some(format!("revision {} is next", wanted.revision));
            } else if !is_stable {
                self.begin(wanted);
            }
            return;
        }
        if is_stable {
            self.status.candidate = None;
        } else if self.is_candidate(&wanted) {
            // It was rolled back, and nobody has asked for another attempt.
        } else if plan.target() == Some(Target::Rollback) {
            self.note =
                Some(format!("revision {} waits, since spec.target is Rollback: start it anew", wanted.revision));
        } else {
            self.begin(wanted);
        }
    }

    fn is_candidate(&self, wanted: &Candidate) -> bool {
        self.status.candidate.as_ref().is_some_and(|candidate| candidate.is_same_try(wanted))
    }

    fn begin(&mut self, mut candidate: Candidate) {
        // No two begin at the same time, also where the clock was put back or the former one began in the same second.
        let former = self.status.candidate.as_ref().and_then(|former| former.begun);
        candidate.begun = Some(former.map_or(self.observed.now, |former| self.observed.now.max(former.plus(1))));
        let former = self.status.candidate.take_if(|_| self.status.stage != Some(Target::Rollback));
        let message = match &former {
            Some(former) => format!("revision {} takes the place of {}", candidate.revision, former.revision),
            None => format!("revision {} is rolled out", candidate.revision),
        };
        self.tell(Severity::Normal, "Started", message);
        self.status.rollback = None;
        self.status.stage = None;
        self.status.stage_since = None;
        self.status.moving_to = Some(Target::Stage(Stage::BLUE_0));
        self.meet_stable();
        // A green that this rollout's own driver is still making for the former candidate is no stable one.
        if former.is_none() || self.spec.workload == Workload::External {
            self.learn_stable_revision(&candidate);
        }
        self.go_straight_to_green(&candidate);
        self.status.candidate = Some(candidate);
    }

    /// A rollout that meets a green that serves already takes its revision as the stable one.
    fn learn_stable_revision(&mut self, candidate: &Candidate) {
        let stage = self.status.position().and_then(Target::stage);
        if self.status.stable_revision.is_some() || stage.is_some_and(Stage::replaces_green) {
            return;
        }
        let green = &self.observed.green;
        let served = green.revision.clone().filter(|revision| green.serves(revision));
        self.status.stable_revision = served.filter(|revision| *revision != candidate.revision);
        if let (Some(stable), Some(runs)) = (self.status.stable_revision.clone(), green.runs.clone()) {
            self.status.meet(&stable, &runs);
        }
    }

    /// A stable revision of which nothing is known but the name, as those were that pods without labels served before
    /// fingerprints were kept: it is what green runs when a rollout begins, and what going back means.
    fn meet_stable(&mut self) {
        let Some(stable) = self.status.stable_revision.clone() else { return };
        let is_known = self.status.known.iter().any(|known| known.revision == stable);
        if let Some(runs) = self.observed.green.runs.clone().filter(|_| !is_known) {
            self.status.meet(&stable, &runs);
        }
    }

    /// Remembers what the pods run that serve the candidate, before they get weight and as long as nothing contradicts.
    pub(super) fn meet_candidate(&mut self) {
        let Some(candidate) = &self.status.candidate else { return };
        let revision = candidate.revision.clone();
        for backend in Backend::BOTH {
            let seen = self.observed.backend(backend);
            if let Some(runs) = seen.runs.clone().filter(|_| seen.serves(&revision)) {
                self.status.meet(&revision, &runs);
            }
        }
    }

    /// Without a stable image there is nothing to compare with or to protect: green takes everything as soon as it
    /// serves the candidate. Managed workloads make it so; otherwise blue takes everything until then. At `Blue_Green`
    /// green is expected, and whoever waits there for its turn is not overtaken.
    fn go_straight_to_green(&mut self, candidate: &Candidate) {
        let green_serves_it = self.observed.green.serves(&candidate.revision);
        let is_first = self.status.stable_revision.is_none();
        let is_expected = self.status.stage == Some(Target::Stage(Stage::BlueGreen));
        if is_first && (self.spec.workload == Workload::Managed || (green_serves_it && !is_expected)) {
            self.status.moving_to = Some(Target::Stage(Stage::Green100));
        }
    }

    /// How far the rollout goes: one that a newer revision waits for goes on to its end.
    pub(super) fn target(&self, plan: &Plan) -> Option<Target> {
        match self.wanted_candidate() {
            Some(wanted) if !self.is_candidate(&wanted) => Some(Target::Stage(Stage::Green100)),
            _ => plan.target(),
        }
    }

    /// Turns the rollout back, if there is a reason to. It does not turn again.
    pub(super) fn choose_direction(&mut self, target: Option<Target>) {
        let Some(from) = self.status.position().and_then(Target::stage) else {
            return;
        };
        if !self.status.in_progress() || self.status.rollback.is_some() {
            return;
        }
        let Some(reason) = self.reason_to_go_back(target, from) else {
            return;
        };
        if self.status.stable_revision.is_none() {
            self.note = Some("there is no stable revision to roll back to".to_owned());
            return;
        }
        let failure = Some(self.failure()).filter(|_| reason == RollbackReason::RequirementFailed);
        let message = match &failure {
            Some(failure) => format!("{from}: rolling back: {reason}: {failure}"),
            None => format!("{from}: rolling back: {reason}"),
        };
        self.status.rollback = Some(RollbackStatus { from, reason, since: self.observed.now, failure });
        self.status.moving_to = Some(Target::Rollback);
        self.tell(Severity::Warning, "RollingBack", message);
    }

    fn reason_to_go_back(&self, target: Option<Target>, from: Stage) -> Option<RollbackReason> {
        let wanted = self.wanted_candidate();
        let stable = self.status.stable_revision.as_ref();
        if target == Some(Target::Rollback) {
            return Some(RollbackReason::Requested);
        }
        if wanted.is_some_and(|wanted| Some(&wanted.revision) == stable) {
            return Some(RollbackReason::RevisionWithdrawn);
        }
        if self.has_failed() && stable.is_some() {
            return Some(RollbackReason::RequirementFailed);
        }
        let blue_is_lost = from.weights().blue > 0 && !self.observed.blue.is_ready();
        let goes_back = self.spec.on_backend_loss == OnBackendLoss::Rollback && stable.is_some();
        (blue_is_lost && goes_back).then_some(RollbackReason::BackendLost)
    }
}
