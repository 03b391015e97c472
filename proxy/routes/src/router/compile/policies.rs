//! SplitPolicies and the rules that they govern. A policy that leads nowhere is left out and told: the rule serves without
//! it, as the VirtualService says.

use crate::documents::{Action, Document, HttpRule, SplitPolicy, VirtualService};
use crate::router::origin::Origin;
use crate::router::slip::Slips;
use crate::router::warning::{Warning, listed};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Those that count.
#[derive(Default)]
pub(super) struct Policies<'d> {
    /// By namespace, VirtualService and position of the rule; each with its index among all of them.
    by_rule: BTreeMap<(&'d str, &'d str, usize), (usize, &'d SplitPolicy)>,
    warnings: Vec<Warning>,
}

/// Why a policy governs nothing: the field, the reason and what to do.
type Idle = (&'static str, String, String);

impl<'d> Policies<'d> {
    pub(super) fn new(documents: &'d [Document]) -> Self {
        let (mut policies, mut services) = (Vec::<&SplitPolicy>::new(), BTreeMap::new());
        for document in documents {
            match document {
                Document::SplitPolicy(policy) => policies.push(policy),
                Document::VirtualService(service) => {
                    services.insert((service.metadata.namespace.as_str(), service.metadata.name.as_str()), service);
                }
                Document::Gateway(_) | Document::DestinationRule(_) | Document::ServiceEntry(_) => {}
            }
        }
        policies.sort_by_key(|policy| policy.metadata.age_order());
        let (mut known, slips) = (Self::default(), Slips::new());
        for policy in policies {
            if let Err((field, reason, advice)) = known.attach(policy, &services, &slips) {
                known.warn(policy, field, format!("left out: {reason}"), advice);
            }
        }
        known
    }

    /// The policy of a rule, with its index.
    pub(super) fn of(&self, rule: &Origin) -> Option<(usize, &'d SplitPolicy)> {
        self.by_rule.get(&(rule.namespace.as_str(), rule.virtual_service.as_str(), rule.http)).copied()
    }

    pub(super) fn warn(&mut self, policy: &SplitPolicy, field: &str, reason: String, advice: String) {
        let document = ("SplitPolicy", &policy.metadata);
        self.warnings.push(Warning::of_document(document, field.to_owned(), reason, advice));
    }

    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    fn attach(
        &mut self,
        policy: &'d SplitPolicy,
        services: &BTreeMap<(&'d str, &'d str), &'d VirtualService>,
        slips: &Slips,
    ) -> Result<(), Idle> {
        let (namespace, name) = (policy.metadata.namespace.as_str(), policy.route.virtual_service.as_str());
        let Some(service) = services.get(&(namespace, name)).copied() else {
            let names = services.keys().filter(|(other, _)| *other == namespace).map(|(_, name)| *name);
            let reason = format!("there is no VirtualService {namespace}/{name}");
            let advice = meant(slips, name, names).unwrap_or_else(|| "add it, or correct the name".to_owned());
            return Err(("spec.route.virtualService", reason, advice));
        };
        let place = rule_of(policy, service, slips)?;
        let index = self.by_rule.len();
        match self.by_rule.entry((namespace, service.metadata.name.as_str(), place)) {
            Entry::Vacant(free) => {
                free.insert((index, policy));
            }
            Entry::Occupied(taken) => {
                let other = taken.get().1.metadata.full_name();
                let rule = Origin::new(&service.metadata, place, &service.http[place]);
                let reason = format!("SplitPolicy {other} counts for the rule {rule}");
                return Err(("spec.route", reason, "leave one of them out".to_owned()));
            }
        }
        Ok(())
    }
}

/// The position of the rule that a policy names.
fn rule_of(policy: &SplitPolicy, service: &VirtualService, slips: &Slips) -> Result<usize, Idle> {
    let full_name = service.metadata.full_name();
    let Some(name) = policy.route.http.as_deref() else { return only_split(service) };
    let named = |rule: &&HttpRule| rule.name.as_deref() == Some(name);
    let idle = |reason, advice: &str| Err(("spec.route.http", reason, advice.to_owned()));
    let Some(place) = service.http.iter().position(|rule| named(&rule)) else {
        let names = service.http.iter().filter_map(|rule| rule.name.as_deref());
        let reason = format!("VirtualService {full_name} has no http rule {name}, only {}", listed(names.clone()));
        let advice = meant(slips, name, names).unwrap_or_else(|| "correct the name, or give it to a rule".to_owned());
        return idle(reason, &advice);
    };
    if service.http.iter().filter(named).count() > 1 {
        let reason = format!("several http rules of VirtualService {full_name} are called {name}");
        return idle(reason, "give each a name of its own");
    }
    match &service.http[place].action {
        Action::Forward(_) => Ok(place),
        Action::Delegate(to) => {
            let reason = format!("the rule {name} leaves its requests to VirtualService {}/{}", to.namespace, to.name);
            idle(reason, "write a policy for the rule there")
        }
        Action::Redirect(_) | Action::DirectResponse(_) => {
            idle(format!("the rule {name} sends no request to a destination"), "name a rule that does")
        }
    }
}

/// The only rule with two destinations.
fn only_split(service: &VirtualService) -> Result<usize, Idle> {
    let splits = service.http.iter().enumerate().filter(|(_, rule)| match &rule.action {
        Action::Forward(forward) => forward.destinations.as_slice().len() == 2,
        Action::Delegate(_) | Action::Redirect(_) | Action::DirectResponse(_) => false,
    });
    let splits: Vec<usize> = splits.map(|(place, _)| place).collect();
    match splits.as_slice() {
        [place] => Ok(*place),
        several => {
            let name = service.metadata.full_name();
            let reason = format!("{} http rules of VirtualService {name} have two destinations", several.len());
            Err(("spec.route", reason, "name a rule in spec.route.http".to_owned()))
        }
    }
}

fn meant<'n>(slips: &Slips, written: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    slips.meant(written, names).map(|meant| format!("did you mean {meant}?"))
}
