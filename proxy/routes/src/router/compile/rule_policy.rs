//! The SplitPolicy of a rule, compiled for its split: names of destinations become targets, and parts of the hashes their
//! owners.

use super::rules::RuleCompiler;
use crate::documents::{AssignBy, Destination, Destinations, Retries, Shadow, SplitPolicy};
use crate::ledger;
use crate::router::assignment::{Assignment, Sticky};
use crate::router::known::complete;
use crate::router::mirror::MirrorTarget;
use crate::router::origin::Origin;
use crate::router::policy::{Policy, RescuePlan, ShadowPlan};
use crate::router::retry::RetryPolicy;
use crate::router::services::Resolved;
use crate::router::split::{Split, Target};
use crate::router::tickets::LARGEST_BLOCK;
use crate::router::warning::{Warning, listed};
use std::sync::Arc;

/// The rule, and the port where it makes a difference.
type At<'o> = (&'o Origin, Option<u16>);

impl<'d> RuleCompiler<'d> {
    /// The policy of a rule, made for its split.
    pub(super) fn policy(&mut self, at: At<'_>, destinations: &Destinations, split: &Split) -> Option<Arc<Policy>> {
        let (index, document) = self.policies.of(at.0)?;
        let candidate = document.candidate.as_ref().map(|to| self.candidate(to, document, at, destinations));
        if document.rescue.is_some() {
            let reason = "the gateway rescues nothing yet".to_owned();
            self.policies.warn(document, "spec.rescue", reason, "leave it out".to_owned());
        }
        let is_candidate = |target: &&Target| candidate.as_ref() == Some(&target.name);
        let policy = Policy {
            name: document.metadata.full_name(),
            salt: document.salt.clone(),
            index,
            assign: self.assignment((index, document), at, destinations, (split, candidate.as_deref())),
            candidate_share: split
                .targets()
                .iter()
                .filter(is_candidate)
                .map(|target| split.share(target))
                .fold(0.0, |sum, share| sum + share),
            pinning: document.pinning.clone(),
            shadow: document.shadow.as_ref().map(|shadow| Arc::new(self.shadow(shadow, document, at, destinations))),
            rescue: document.rescue.as_ref().map(|rescue| RescuePlan {
                on: RetryPolicy::compile(Some(&Retries::once(rescue.on.clone()))),
                budget: rescue.budget,
            }),
            candidate,
        };
        Some(Arc::new(policy))
    }

    /// The name of the target that is on trial.
    fn candidate(
        &mut self,
        to: &Destination,
        document: &'d SplitPolicy,
        at: At<'_>,
        destinations: &Destinations,
    ) -> String {
        let meant = meant_by(to, at.0, destinations);
        let name = self.resolve(meant.unwrap_or(to), at.0, at.1).name;
        if meant.is_none() {
            let all = destinations.as_slice().iter();
            let names: Vec<String> = all.map(|one| self.resolve(&one.destination, at.0, at.1).name).collect();
            let known = listed(names.iter().map(String::as_str));
            let reason = format!("the rule {} has no destination {name}, only {known}", at.0);
            let advice = "name one of them, with its port where they share a host".to_owned();
            self.policies.warn(document, "spec.candidate", reason, advice);
        }
        name
    }

    fn assignment(
        &mut self,
        (index, document): (usize, &'d SplitPolicy),
        at: At<'_>,
        destinations: &Destinations,
        (split, candidate): (&Split, Option<&str>),
    ) -> Assignment {
        let key = match &document.assign.by {
            AssignBy::Request => None,
            AssignBy::Key(key) => Some(key),
        };
        let sticky = key.map(|key| {
            let targets = split.targets();
            let mut weights: Vec<(usize, u32)> = targets.iter().map(|target| target.weight).enumerate().collect();
            // The candidate's hashes are those below its share.
            weights.sort_by_key(|(position, _)| Some(targets[*position].name.as_str()) != candidate);
            let ledger = document.assign.ledger.iter().map(|part| {
                let owner = self.resolve(meant_by(&part.to, at.0, destinations).unwrap_or(&part.to), at.0, at.1).name;
                (part.from, targets.iter().position(|target| target.name == owner).unwrap_or(usize::MAX))
            });
            Sticky::new(key.clone(), &document.salt, ledger::next(&ledger.collect::<Vec<_>>(), &weights))
        });
        let assignment = Assignment::new(index, split, sticky);
        if assignment.block_size().is_none() {
            let reason = format!(
                "each request of the rule {} draws for itself: for an exact split the weights, divided by what divides \
                 them all, add up to more than {LARGEST_BLOCK}",
                at.0
            );
            self.policies.warn(document, "spec.assign", reason, "write coarser weights".to_owned());
        }
        assignment
    }

    fn shadow(
        &mut self,
        shadow: &Shadow,
        document: &'d SplitPolicy,
        at: At<'_>,
        destinations: &Destinations,
    ) -> ShadowPlan {
        let (field, to) = match (&shadow.to, &document.candidate) {
            (Some(to), _) => ("spec.shadow.to", to),
            // The parser lets no candidate be missing.
            (None, candidate) => {
                ("spec.candidate", candidate.as_ref().unwrap_or(&destinations.as_slice()[0].destination))
            }
        };
        let to = meant_by(to, at.0, destinations).unwrap_or(to);
        let Resolved { name, backend, lack } = self.resolve(to, at.0, at.1);
        let warning = lack.map(|lack| {
            let place = format!("{field}{}", lack.field);
            let reason = format!("nothing is compared: {}", lack.reason);
            Box::new(Warning::of_document(("SplitPolicy", &document.metadata), place, reason, lack.advice))
        });
        ShadowPlan {
            target: MirrorTarget { backend, name, warning, percent: shadow.percent },
            noise: shadow.noise,
            methods: shadow.methods.clone(),
            max_body_bytes: shadow.max_body_bytes,
            max_in_flight: shadow.max_in_flight,
            timeout: shadow.timeout,
            compare: shadow.compare.clone(),
            keep_worst: shadow.keep_worst,
            redact: shadow.redact.clone(),
            drop_headers: shadow.drop_headers.clone(),
        }
    }
}

/// The destination of the rule that a policy names: by host and subset, and by the port where it names one.
fn meant_by<'t>(to: &Destination, rule: &Origin, destinations: &'t Destinations) -> Option<&'t Destination> {
    let host = |it: &Destination| complete(&it.host, &rule.namespace);
    let same =
        |it: &&Destination| host(it) == host(to) && it.subset == to.subset && (to.port.is_none() || it.port == to.port);
    let mut all = destinations.as_slice().iter().map(|weighted| &weighted.destination).filter(same);
    // Of several it is none.
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
