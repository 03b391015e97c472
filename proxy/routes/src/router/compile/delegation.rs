//! Rules in their places: those of each VirtualService with hosts, and where one of them delegates, those of the
//! VirtualService that it names, as Istio's pilot merges the two (`MergeHTTPRoutes`). What leads nowhere is left out, as
//! there, and told.

use super::merged_matches::narrowed;
use crate::documents::{
    Action, Cors, Delegate, Destinations, DirectResponse, Fault, HeaderOperations, HostPattern, HttpRule, Match,
    Mirror, Redirect, Retries, Rewrite, VirtualService,
};
use crate::router::known::complete;
use crate::router::origin::Origin;
use crate::router::slip::Slips;
use crate::router::warning::Warning;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A VirtualService with hosts.
pub(super) struct Hosted<'d> {
    pub(super) document: &'d VirtualService,
    /// Its hosts in full.
    pub(super) hosts: Vec<HostPattern>,
    pub(super) rules: Vec<Placed<'d>>,
}

/// A rule as it is served: nothing of it is left to another.
pub(super) struct Placed<'d> {
    /// Where it is written: names in it count there.
    pub(super) origin: Origin,
    pub(super) matches: Cow<'d, [Match]>,
    pub(super) act: Act<'d>,
    pub(super) headers: &'d HeaderOperations,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<&'d Retries>,
    pub(super) cors: Option<&'d Cors>,
    pub(super) mirrors: &'d [Mirror],
    /// Where the mirrors are written.
    pub(super) mirrors_of: Origin,
}

/// What a rule does.
#[derive(Clone, Copy)]
pub(super) enum Act<'d> {
    Forward { destinations: &'d Destinations, rewrite: &'d Rewrite, fault: Option<&'d Fault> },
    Redirect(&'d Redirect),
    DirectResponse(&'d DirectResponse),
}

/// Puts all rules in their places; what there is to say is about those that are left out.
pub(super) fn place<'d>(documents: &[&'d VirtualService]) -> (Vec<Hosted<'d>>, Vec<Warning>) {
    let mut placer = Placer {
        documents: documents.iter().copied().map(|document| (name(document), document)).collect(),
        named: BTreeSet::new(),
        slips: Slips::new(),
        warnings: Vec::new(),
    };
    let hosted = documents.iter().copied().filter(|document| !document.hosts.is_empty());
    let hosted = hosted
        .map(|document| Hosted { document, hosts: full_hosts(document), rules: placer.rules(document) })
        .collect();
    for document in documents.iter().filter(|document| document.hosts.is_empty()) {
        if !placer.named.contains(&name(document)) {
            let reason = "not served: it has no hosts, and no rule delegates to it".to_owned();
            placer.warn(
                document,
                "spec".to_owned(),
                reason,
                "write spec.hosts, or a rule that delegates to it".to_owned(),
            );
        }
    }
    (hosted, placer.warnings)
}

/// As at Istio's gateways a short name is one of the namespace's services.
pub(super) fn full_hosts(document: &VirtualService) -> Vec<HostPattern> {
    let full = |host: &HostPattern| match host {
        HostPattern::Exact(name) => HostPattern::Exact(complete(name, &document.metadata.namespace)),
        HostPattern::Any | HostPattern::Suffix(_) => host.clone(),
    };
    document.hosts.iter().map(full).collect()
}

struct Placer<'d> {
    documents: BTreeMap<Name<'d>, &'d VirtualService>,
    /// Those that some rule delegates to.
    named: BTreeSet<Name<'d>>,
    slips: Slips,
    warnings: Vec<Warning>,
}

/// Namespace and name.
type Name<'d> = (&'d str, &'d str);

fn name(document: &VirtualService) -> Name<'_> {
    (&document.metadata.namespace, &document.metadata.name)
}

impl<'d> Placer<'d> {
    fn rules(&mut self, document: &'d VirtualService) -> Vec<Placed<'d>> {
        let mut rules = Vec::new();
        for (index, rule) in document.http.iter().enumerate() {
            let origin = Origin::new(&document.metadata, index, rule);
            match &rule.action {
                Action::Delegate(delegate) => {
                    if let Some(target) = self.target(document, index, delegate) {
                        rules.extend(self.delegated((rule, delegate, &origin), target));
                    }
                }
                Action::Forward(forward) => {
                    let (destinations, rewrite) = (&forward.destinations, &forward.rewrite);
                    let act = Act::Forward { destinations, rewrite, fault: forward.fault.as_ref() };
                    rules.push(Placed::new(rule, act, origin));
                }
                Action::Redirect(redirect) => rules.push(Placed::new(rule, Act::Redirect(redirect), origin)),
                Action::DirectResponse(answer) => rules.push(Placed::new(rule, Act::DirectResponse(answer), origin)),
            }
        }
        rules
    }

    /// The VirtualService that is delegated to, or a warning that there is none.
    fn target(&mut self, from: &VirtualService, index: usize, delegate: &'d Delegate) -> Option<&'d VirtualService> {
        let name = (delegate.namespace.as_str(), delegate.name.as_str());
        let full = format!("{}/{}", name.0, name.1);
        let target = self.documents.get(&name).copied();
        if let Some(target) = target.filter(|target| target.hosts.is_empty()) {
            self.named.insert(name);
            let own_namespace = &from.metadata.namespace;
            if target.export_to.reaches(own_namespace) {
                return Some(target);
            }
            let reason = format!("left out: VirtualService {full} is not exported to the namespace {own_namespace}");
            let advice = format!("write {own_namespace} under its spec.exportTo, or leave exportTo out");
            self.warn(from, format!("spec.http[{index}].delegate"), reason, advice);
            return None;
        }
        let (reason, advice) = if target.is_some() {
            let advice = "leave its hosts and gateways out".to_owned();
            (format!("left out: VirtualService {full} has hosts of its own, so no rule can delegate to it"), advice)
        } else {
            let known = self.documents.values().filter(|document| document.hosts.is_empty());
            let known: Vec<_> = known.map(|document| document.metadata.full_name()).collect();
            let advice = match self.slips.meant(&full, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "add it, without hosts, or leave the rule out".to_owned(),
            };
            (format!("left out: there is no VirtualService {full}"), advice)
        };
        self.warn(from, format!("spec.http[{index}].delegate"), reason, advice);
        None
    }

    /// The rules of `target` in the place of one that delegates to it.
    fn delegated(
        &mut self,
        (outer, delegate, by): (&'d HttpRule, &'d Delegate, &Origin),
        target: &'d VirtualService,
    ) -> Vec<Placed<'d>> {
        let mut rules = Vec::new();
        for (index, own) in target.http.iter().enumerate() {
            let Some(act) = delegate_act(delegate, &own.action) else { continue };
            let matches = match narrowed(&outer.matches, &own.matches) {
                Ok(matches) => matches,
                Err(position) => {
                    let reason =
                        format!("the rule is left out where {by} delegates to it: this is within none of its matches");
                    let advice = "narrow one of them; a regular expression and {} narrow nothing".to_owned();
                    self.warn(target, format!("spec.http[{index}].match[{position}]"), reason, advice);
                    continue;
                }
            };
            let origin = Origin { delegated_by: Some(by.to_string()), ..Origin::new(&target.metadata, index, own) };
            let (mirrors, mirrors_of) =
                if own.mirrors.is_empty() { (&outer.mirrors, by.clone()) } else { (&own.mirrors, origin.clone()) };
            rules.push(Placed {
                origin,
                matches,
                act,
                headers: own.headers.as_ref().or(outer.headers.as_ref()).unwrap_or(HeaderOperations::NONE),
                timeout: own.timeout.or(outer.timeout),
                retries: own.retries.as_ref().or(outer.retries.as_ref()),
                cors: own.cors.as_ref().or(outer.cors.as_ref()),
                mirrors,
                mirrors_of,
            });
        }
        rules
    }

    fn warn(&mut self, document: &VirtualService, path: String, reason: String, advice: String) {
        self.warnings.push(Warning::of_document(("VirtualService", &document.metadata), path, reason, advice));
    }
}

/// What a rule does where it stands in the place of one that delegates to it. None: it delegates itself, which no document
/// does that was parsed.
fn delegate_act<'d>(delegate: &'d Delegate, own: &'d Action) -> Option<Act<'d>> {
    match (own, &delegate.direct_response) {
        (Action::Delegate(_), _) => None,
        (Action::Redirect(redirect), _) => Some(Act::Redirect(redirect)),
        (Action::DirectResponse(answer), _) | (Action::Forward(_), Some(answer)) => Some(Act::DirectResponse(answer)),
        (Action::Forward(forward), None) => {
            let has_rewrite = forward.rewrite != Rewrite::default();
            Some(Act::Forward {
                destinations: &forward.destinations,
                rewrite: if has_rewrite { &forward.rewrite } else { &delegate.rewrite },
                fault: forward.fault.as_ref().or(delegate.fault.as_ref()),
            })
        }
    }
}

impl<'d> Placed<'d> {
    /// A rule where it is written.
    fn new(rule: &'d HttpRule, act: Act<'d>, origin: Origin) -> Self {
        Self {
            matches: Cow::Borrowed(&rule.matches),
            act,
            headers: rule.headers.as_ref().unwrap_or(HeaderOperations::NONE),
            timeout: rule.timeout,
            retries: rule.retries.as_ref(),
            cors: rule.cors.as_ref(),
            mirrors: &rule.mirrors,
            mirrors_of: origin.clone(),
            origin,
        }
    }
}
