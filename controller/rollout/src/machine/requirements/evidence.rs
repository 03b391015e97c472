//! What gateways have counted shows it, or shows the opposite, or neither yet. All evidence of the candidate is judged each
//! time, whichever stage it is of, so that the error rate is that of the whole rollout and not of each stage.
//!
//! Evidence that is against the candidate counts at once, and from any gateway; evidence for it only with that of all. What
//! was shown once stays shown, at each later stage, too: where the candidate answers everything nothing could show it again.
//! What is not decided is told anew every few seconds, since each status that is written wakes
//! those who watch it.

use super::SKIPPED;
use crate::duration::write_roughly;
use crate::machine::{Draft, Severity};
use crate::observation::Gathered;
use crate::policy::{is_tried, on_trial};
use crate::resource::{
    EvidenceKind, EvidenceRequirement, EvidenceStatus, Leave, Plan, Requirement, RequirementState, RequirementStatus,
    Shown, duration,
};
use crate::stage::{Stage, Target};
use turnout_verdict::evidence::Epoch;
use turnout_verdict::judge::{Decision, Finding, Requirements, Verdict, judge};

/// So often it is written down what was counted, as long as nothing follows from it.
const INTERVAL_SECONDS: u64 = 5;
/// How a requirement stands where there is nothing to compare with.
const NO_STABLE: &str = "there is no stable revision to compare with";
/// So many sentences are told of one requirement.
const SENTENCES: usize = 3;

/// What there is to judge by.
pub(in crate::machine) enum Evidence {
    /// No stage wants any, or no candidate is tried.
    Unwanted,
    /// The very first rollout: nothing serves beside the candidate, and nothing is to. What gateways have counted of that,
    /// where a stage asks how often it fails.
    First(Option<Box<Counted>>),
    /// What serves beside the candidate is not known, and why.
    Unknown(String),
    /// What gateways have counted.
    Counted(Box<Counted>),
}

/// What was counted, as it is judged.
pub(in crate::machine) struct Counted {
    evidence: EvidenceStatus,
    total: Vec<Epoch>,
    /// A gateway of which nothing is known, or that there is none.
    missing: Option<String>,
    is_shadowed: bool,
    is_due: bool,
}

/// How a requirement stands.
pub(super) struct Stands {
    pub(super) state: RequirementState,
    pub(super) message: String,
    pub(super) overdue: bool,
}

impl Draft<'_> {
    /// Adds up what was counted, where a stage wants it and something serves beside the candidate.
    pub(in crate::machine) fn count(&self, plan: &Plan) -> Evidence {
        if plan.evidence().next().is_none() || !is_tried(&self.status) {
            return Evidence::Unwanted;
        }
        match on_trial(&self.status) {
            Some(candidate) => Evidence::Counted(Box::new(self.add_up(plan, self.rollout.salt_of(candidate)))),
            None => self.without_stable(plan),
        }
    }

    /// The very first rollout finds no green at all, or makes it. A green that is there, and of which it cannot be told what
    /// it serves, is the stable one, and is waited for.
    fn without_stable(&self, plan: &Plan) -> Evidence {
        let green = &self.observed.green;
        if !green.exists || self.status.position().and_then(Target::stage).is_some_and(Stage::replaces_green) {
            let candidate = self.status.candidate.as_ref();
            let candidate = candidate.filter(|_| plan.evidence().any(|one| one.kind == EvidenceKind::Absolute));
            return Evidence::First(candidate.map(|it| Box::new(self.add_up(plan, self.rollout.salt_of(it)))));
        }
        let instead = match green.ready_endpoints {
            0 => "it has no ready endpoints".to_owned(),
            ready => format!("what its {ready} ready endpoints serve is not known"),
        };
        let doubt = green.doubt.as_ref().map(|doubt| format!(" ({doubt})")).unwrap_or_default();
        Evidence::Unknown(format!("waiting for green to say which revision is the stable one: {instead}{doubt}"))
    }

    fn add_up(&self, plan: &Plan, salt: String) -> Counted {
        let now = self.observed.now;
        let written = self.before.evidence.clone().filter(|written| written.salt == salt);
        let is_due = written.as_ref().and_then(|it| it.at).is_none_or(|at| now.seconds_since(at) >= INTERVAL_SECONDS);
        let mut evidence =
            written.unwrap_or_else(|| EvidenceStatus { salt, since: Some(now), ..EvidenceStatus::default() });
        evidence.take_in(self.seen());
        let is_seen = |id: &str| self.seen().iter().any(|page| page.is_current && page.gateway == *id);
        let mut serving = self.observed.gateways.iter().filter(|gateway| gateway.serving).peekable();
        let missing = match serving.peek() {
            None => Some("waiting for a gateway that is live".to_owned()),
            Some(_) => serving
                .find(|gateway| !is_seen(&gateway.id))
                .map(|gateway| format!("waiting for what {} has counted, which says nothing", gateway.id)),
        };
        let stage = self.status.position().and_then(Target::stage);
        let is_shadowed = stage.is_some_and(|stage| plan.shadow(stage).is_some());
        Counted { total: evidence.total(), evidence, missing, is_shadowed, is_due }
    }

    /// What gateways said of another candidate is none of this one's.
    fn seen(&self) -> &[Gathered] {
        if self.before.candidate == self.status.candidate { &self.observed.evidence } else { &[] }
    }

    /// Writes down what was counted, if it is time or something follows from it.
    pub(in crate::machine) fn keep(&mut self, evidence: Evidence) {
        let (Evidence::Counted(counted) | Evidence::First(Some(counted))) = evidence else {
            self.status.evidence = None;
            return;
        };
        let Counted { mut evidence, is_due, .. } = *counted;
        let states = |all: &[RequirementStatus]| all.iter().map(|one| one.state).collect::<Vec<_>>();
        let written = self.before.evidence.as_ref();
        let is_new = written.is_none_or(|it| it.salt != evidence.salt || it.judge.latency != evidence.judge.latency)
            || written.is_some_and(|it| it.shown != evidence.shown)
            || states(&self.before.requirements) != states(&self.status.requirements);
        if (is_due || is_new) && written != Some(&evidence) {
            let is_there = |id: &str| self.observed.gateways.iter().any(|gateway| gateway.id == id);
            evidence.bound(self.seen(), is_there);
            evidence.at = Some(self.observed.now);
            self.status.evidence = Some(evidence);
        }
    }

    /// How each of these stands; nothing where no candidate is tried.
    pub(super) fn judge(
        &self,
        own: &[&EvidenceRequirement],
        plan: &Plan,
        stage: Stage,
        evidence: &mut Evidence,
    ) -> Vec<Stands> {
        match evidence {
            Evidence::Unwanted => Vec::new(),
            Evidence::First(None) => own.iter().map(|_| first()).collect(),
            Evidence::First(Some(counted)) => {
                let stand = |one: &&EvidenceRequirement| match one.kind {
                    EvidenceKind::Absolute => {
                        let verdicts = counted.verdicts(&[*one], plan);
                        self.conclude(&[*one], &verdicts, stage, counted).pop().unwrap_or_else(first)
                    }
                    EvidenceKind::Verdict | EvidenceKind::Comparison => first(),
                };
                own.iter().map(stand).collect()
            }
            Evidence::Unknown(why) => own.iter().map(|one| self.waits(one, why.clone())).collect(),
            Evidence::Counted(counted) => {
                let verdicts = counted.verdicts(own, plan);
                self.conclude(own, &verdicts, stage, counted)
            }
        }
    }

    /// What is shown not to hold of what the stage asks for; or of what others do, of each kind once, where it asks for none.
    pub(super) fn refuted(&self, plan: &Plan, stage: Stage, evidence: &mut Evidence) -> Vec<RequirementStatus> {
        let mut asked: Vec<&EvidenceRequirement> = match plan.leave(stage) {
            Leave::When(required) => Requirement::evidence(required).collect(),
            Leave::WhenPromoted => Vec::new(),
        };
        if asked.is_empty() {
            let first = |kind| plan.evidence().find(|one| one.kind == kind);
            asked = EvidenceKind::ALL.into_iter().filter_map(first).collect();
        }
        let judged = self.judge(&asked, plan, stage, evidence);
        let failed = asked.iter().zip(judged).filter(|(_, stands)| stands.state == RequirementState::Failed);
        let status = |(one, Stands { state, message, overdue }): (&&EvidenceRequirement, Stands)| RequirementStatus {
            requirement: one.kind.to_string(),
            digest: Some(one.digest.clone()),
            state,
            message,
            overdue,
        };
        failed.map(status).collect()
    }

    fn conclude(
        &self,
        own: &[&EvidenceRequirement],
        verdicts: &[Verdict],
        stage: Stage,
        counted: &Counted,
    ) -> Vec<Stands> {
        let failed = |finding: &&Finding| finding.decision == Decision::RollBack;
        let of = |one: &EvidenceRequirement, verdict: &Verdict| -> Vec<Finding> {
            verdict.findings.iter().filter(|finding| one.kind.is_about(&finding.subject)).cloned().collect()
        };
        let mut findings: Vec<Vec<Finding>> = own.iter().zip(verdicts).map(|(one, verdict)| of(one, verdict)).collect();
        // What an earlier stage has asked for is shown not to hold: the first that is asked for here stands for it.
        if let (Some(first), Some(verdict)) = (findings.first(), verdicts.first())
            && verdict.decision == Decision::RollBack
            && !findings.iter().flatten().any(|finding| failed(&finding))
        {
            let others = verdict.findings.iter().filter(failed).cloned();
            let joined = others.chain(first.iter().cloned()).collect();
            findings[0] = joined;
        }
        let stand =
            |(one, findings): (&&EvidenceRequirement, Vec<Finding>)| self.stands(one, &findings, stage, counted);
        own.iter().zip(findings).map(stand).collect()
    }

    fn stands(&self, one: &EvidenceRequirement, findings: &[Finding], stage: Stage, counted: &Counted) -> Stands {
        let that = |decision: Decision| {
            let those = findings.iter().filter(|finding| finding.decision == decision);
            sentences(&those.collect::<Vec<_>>())
        };
        let decided = |state, message| Stands { state, message, overdue: false };
        if let Some(refuted) = self.refuted_before(&one.digest) {
            return decided(RequirementState::Failed, refuted.message.clone());
        }
        if findings.iter().any(|finding| finding.decision == Decision::RollBack) {
            return decided(RequirementState::Failed, that(Decision::RollBack));
        }
        if let Some(shown) = counted.evidence.shown.iter().find(|shown| shown.digest == one.digest) {
            return decided(RequirementState::Open, shown.message.clone());
        }
        let is_shown = findings.iter().all(|finding| finding.decision == Decision::Promote);
        let mut message = match &counted.missing {
            None if is_shown => return decided(RequirementState::Open, that(Decision::Promote)),
            Some(missing) if is_shown => format!("{missing}: {}", that(Decision::Promote)),
            _ => that(Decision::Inconclusive),
        };
        let overdue = self.is_overdue(one);
        let former = self.former(&one.digest).filter(|former| former.state == RequirementState::Waiting);
        if let Some(former) = former.filter(|former| former.overdue == overdue && !counted.is_due) {
            return Stands { state: former.state, message: former.message.clone(), overdue };
        }
        let is_fed = one.kind.is_fed(stage, counted.is_shadowed);
        if !is_fed && !is_shown {
            message =
                format!("nothing comes at {stage} that could show it, skip it or roll back: {}", so_far(findings));
        }
        if overdue {
            let longer = counted
                .longer(findings)
                .filter(|_| is_fed)
                .map(|it| format!(", about {it} more at this rate"))
                .unwrap_or_default();
            message = format!("{message}; not decided after {} at {stage}{longer}", duration(one.deadline_seconds));
        }
        Stands { state: RequirementState::Waiting, message, overdue }
    }

    /// Keeps what is shown here, of what any stage asks for.
    pub(super) fn remember_shown(&self, plan: &Plan, evidence: &mut Evidence) {
        let (Evidence::Counted(counted) | Evidence::First(Some(counted))) = evidence else { return };
        let shown = &mut counted.evidence.shown;
        shown.retain(|known| plan.evidence().any(|one| one.digest == known.digest));
        let is_open = |one: &&RequirementStatus| {
            one.state == RequirementState::Open && ![SKIPPED, NO_STABLE].contains(&one.message.as_str())
        };
        for one in self.status.requirements.iter().filter(is_open) {
            let Some(digest) = one.digest.clone().filter(|digest| plan.evidence().any(|one| one.digest == *digest))
            else {
                continue;
            };
            if !shown.iter().any(|known| known.digest == digest) {
                shown.push(Shown { digest, message: one.message.clone() });
            }
        }
    }

    /// Until somebody skips it, wherever the candidate is by then.
    fn refuted_before(&self, digest: &str) -> Option<&RequirementStatus> {
        let mut all = self.before.requirements.iter().filter(|_| self.before.candidate == self.status.candidate);
        all.find(|one| one.state == RequirementState::Failed && one.digest.as_deref() == Some(digest))
    }

    fn waits(&self, one: &EvidenceRequirement, message: String) -> Stands {
        Stands { state: RequirementState::Waiting, message, overdue: self.is_overdue(one) }
    }

    fn is_overdue(&self, one: &EvidenceRequirement) -> bool {
        let deadline = self.status.stage_since.map(|since| since.plus(one.deadline_seconds));
        deadline.is_some_and(|deadline| self.observed.now >= deadline)
    }

    /// Tells what evidence has decided, and what it has not in time.
    pub(super) fn tell_evidence(&mut self, required: &[Requirement], stage: Stage) {
        let mut news = Vec::new();
        for (one, stands) in required.iter().zip(&self.status.requirements) {
            let Requirement::Evidence(evidence) = one else { continue };
            let former = self.former(&evidence.digest);
            let was = |state: RequirementState| former.is_some_and(|former| former.state == state);
            let is_shown = stands.state == RequirementState::Open && stands.message != SKIPPED;
            if is_shown && !was(RequirementState::Open) {
                news.push((Severity::Normal, "RequirementFulfilled", stands.message.clone()));
            }
            if stands.overdue && !former.is_some_and(|former| former.overdue) {
                news.push((Severity::Warning, "Inconclusive", stands.message.clone()));
            }
        }
        for (severity, reason, message) in news {
            self.tell(severity, reason, format!("{stage}: {message}"));
        }
    }
}

impl Counted {
    /// One for each, of all evidence and all that any stage asks for: the weights by which a candidate fails are those of
    /// the rollout, and the bounds those of the stage.
    fn verdicts(&mut self, own: &[&EvidenceRequirement], plan: &Plan) -> Vec<Verdict> {
        let mut all = Requirements::default();
        let mut alpha = None;
        for one in own.iter().copied().chain(plan.evidence()) {
            let wanted = &one.wanted;
            if wanted.failures.is_some() || wanted.latency.is_some() {
                alpha = alpha.or(Some(wanted.alpha));
            }
            all.failures = all.failures.or_else(|| wanted.failures.clone());
            all.latency = all.latency.or_else(|| wanted.latency.clone());
            all.absolute = all.absolute.or_else(|| wanted.absolute.clone());
            all.comparison = all.comparison.or_else(|| wanted.comparison.clone());
        }
        all.alpha = alpha.unwrap_or(all.alpha);
        let state = &mut self.evidence.judge;
        let verdict = |one: &&EvidenceRequirement| {
            let all = Requirements { minimum: one.wanted.minimum, ..all.clone() };
            judge(&all, state, &self.total)
        };
        own.iter().map(verdict).collect()
    }

    /// How long what is missing takes, if requests come as they did.
    fn longer(&self, findings: &[Finding]) -> Option<String> {
        let took = self.evidence.at?.seconds_since(self.evidence.since?);
        let open = findings.iter().filter(|finding| finding.decision == Decision::Inconclusive);
        let longer = open.map(|finding| {
            let seen = finding.candidate_samples.saturating_add(finding.stable_samples);
            finding.to_go?.saturating_mul(took).checked_div(seen)
        });
        longer.collect::<Option<Vec<u64>>>()?.into_iter().max().filter(|it| *it > 0).map(write_roughly)
    }
}

/// The very first rollout has no other model beside it, and nothing to go back to. That is no evidence and is not kept.
fn first() -> Stands {
    Stands { state: RequirementState::Open, message: NO_STABLE.to_owned(), overdue: false }
}

/// What was seen and what is wanted, without how many more requests or pairs would decide it.
fn so_far(findings: &[Finding]) -> String {
    let open = findings.iter().filter(|finding| finding.decision == Decision::Inconclusive);
    let sentences = open.take(SENTENCES).map(|finding| {
        let sentence = finding.to_string();
        sentence.rsplit_once("; ").map_or(sentence.clone(), |(seen, _)| seen.to_owned())
    });
    sentences.collect::<Vec<_>>().join("; ")
}

fn sentences(findings: &[&Finding]) -> String {
    let mut sentences: Vec<String> = findings.iter().take(SENTENCES).map(ToString::to_string).collect();
    if findings.len() > SENTENCES {
        sentences.push(format!("and {} more", findings.len() - SENTENCES));
    }
    sentences.join("; ")
}
