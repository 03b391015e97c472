//! Rules in their places: those of each VirtualService with hosts, and where one of them delegates, those of the
//! VirtualService that it names, as Istio's pilot merges the two (`MergeHTTPRoutes`). What leads nowhere is left out, as
//! there, and told.

use super::merged_matches::narrowed;
use crate::documents::{
    Action, Cors, Delegate, Destinations, DirectResponse, Fault, HeaderOperations, HostPattern, HttpRule, Match,
    Mirror, Redirect, Retries, Rewrite, VirtualService,
};
use crate::router::delegates::{Delegates, Name, NoDelegate, name};
use crate::router::known::complete;
use crate::router::origin::Origin;
use crate::router::slip::Slips;
use crate::router::warning::{Notice, Warning, export_advice};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A VirtualService with hosts.
#[derive(Debug)]
pub struct Hosted<'d> {
    /// The VirtualService.
    pub document: &'d VirtualService,
    /// Its hosts in full.
    pub hosts: Vec<HostPattern>,
    /// In the order in which they are asked.
    pub rules: Vec<Placed<'d>>,
}

/// A rule as it is served: nothing of it is left to another.
#[derive(Debug)]
pub struct Placed<'d> {
    /// Where it is written: names in it count there.
    pub origin: Origin,
    /// With those of what delegates to it.
    pub matches: Cow<'d, [Match]>,
    /// What it does.
    pub act: Act<'d>,
    pub(super) headers: &'d HeaderOperations,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<&'d Retries>,
    pub(super) cors: Option<&'d Cors>,
    /// Sent where it forwards.
    pub mirrors: &'d [Mirror],
    /// Where the mirrors are written.
    pub mirrors_of: Origin,
}

/// What a rule does.
#[derive(Clone, Copy, Debug)]
pub enum Act<'d> {
    /// To one of the destinations.
    Forward {
        /// Where to.
        destinations: &'d Destinations,
        /// Before that.
        rewrite: &'d Rewrite,
        /// In its place.
        fault: Option<&'d Fault>,
    },
    /// Elsewhere.
    Redirect(&'d Redirect),
    /// Nowhere.
    DirectResponse(&'d DirectResponse),
}

/// All rules in their places, and what there is to say about those that are left out.
#[derive(Default)]
pub(super) struct Placement<'d> {
    pub(super) hosted: Vec<Hosted<'d>>,
    pub(super) warnings: Vec<Warning>,
    pub(super) notices: Vec<Notice>,
}

/// Puts the rules of those VirtualServices with hosts in their places that the gateway serves. Of what others delegate to
/// nothing is wrong; it is not this gateway's.
pub(super) fn place<'d>(
    documents: &[&'d VirtualService],
    is_served: impl Fn(&VirtualService) -> bool,
) -> Placement<'d> {
    let delegates = Delegates::new(documents.iter().copied());
    let mut placer = Placer {
        names: delegates.without_hosts().map(|it| it.metadata.full_name()).collect(),
        delegates,
        fates: BTreeMap::new(),
        slips: Slips::new(),
        placement: Placement::default(),
    };
    for document in documents.iter().copied().filter(|document| !document.hosts.is_empty()) {
        if is_served(document) {
            let rules = placer.rules(document);
            placer.placement.hosted.push(Hosted { document, hosts: full_hosts(document), rules });
        } else {
            placer.leave_to_others(document);
        }
    }
    placer.tell_of_delegates();
    placer.placement
}

/// What becomes of a VirtualService without hosts, the best last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate<'d> {
    /// Only what the gateway does not serve delegates to it.
    OfOthers,
    /// Rules of this namespace delegate to it that it is not exported to.
    NotExported(&'d str),
    Served,
}

/// As at Istio's gateways a short name is one of the namespace's services.
pub fn full_hosts(document: &VirtualService) -> Vec<HostPattern> {
    let full = |host: &HostPattern| match host {
        HostPattern::Exact(name) => HostPattern::Exact(complete(name, &document.metadata.namespace)),
        HostPattern::Any | HostPattern::Suffix(_) => host.clone(),
    };
    document.hosts.iter().map(full).collect()
}

struct Placer<'d> {
    delegates: Delegates<'d>,
    /// Of those without hosts, with their namespaces: written once, however many rules miss theirs.
    names: Vec<String>,
    /// Of those that some rule delegates to.
    fates: BTreeMap<Name<'d>, Fate<'d>>,
    slips: Slips,
    placement: Placement<'d>,
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

    fn leave_to_others(&mut self, document: &'d VirtualService) {
        for rule in &document.http {
            if let Action::Delegate(to) = &rule.action {
                self.fates.entry((&to.namespace, &to.name)).or_insert(Fate::OfOthers);
            }
        }
    }

    /// The VirtualService that is delegated to, or a warning that there is none.
    fn target(&mut self, from: &'d VirtualService, index: usize, to: &'d Delegate) -> Option<&'d VirtualService> {
        let full = format!("{}/{}", to.namespace, to.name);
        let own_namespace = from.metadata.namespace.as_str();
        let target = self.delegates.target(own_namespace, to);
        let fate = if target.is_ok() { Fate::Served } else { Fate::NotExported(own_namespace) };
        let known = self.fates.entry((&to.namespace, &to.name)).or_insert(Fate::OfOthers);
        if *known < fate {
            *known = fate;
        }
        let (reason, advice) = match target {
            Ok(target) => return Some(target),
            Err(NoDelegate::NotExported) => {
                let reason = format!("VirtualService {full} is not exported to the namespace {own_namespace}");
                (reason, export_advice(own_namespace))
            }
            Err(NoDelegate::HasHosts) => {
                let reason = format!("VirtualService {full} has hosts of its own, so no rule can delegate to it");
                (reason, "leave its hosts and gateways out".to_owned())
            }
            Err(NoDelegate::Missing) => {
                let advice = match self.slips.meant(&full, self.names.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "add it, without hosts, or leave the rule out".to_owned(),
                };
                (format!("there is no VirtualService {full}"), advice)
            }
        };
        self.warn(from, format!("spec.http[{index}].delegate"), format!("left out: {reason}"), advice);
        None
    }

    /// Says which of those without hosts are not served.
    fn tell_of_delegates(&mut self) {
        let documents: Vec<&VirtualService> = self.delegates.without_hosts().collect();
        for document in documents {
            let (reason, advice) = match self.fates.get(&name(document)) {
                Some(Fate::Served) => continue,
                Some(Fate::NotExported(namespace)) => {
                    let reason =
                        format!("it is not exported to the namespace {namespace}, of which a rule delegates to it");
                    (reason, export_advice(namespace))
                }
                Some(Fate::OfOthers) => (
                    "only VirtualServices that are not served delegate to it".to_owned(),
                    "delegate to it by one that is served".to_owned(),
                ),
                None => {
                    let reason = "not served: it has no hosts, and no rule delegates to it".to_owned();
                    let advice = "write spec.hosts, or a rule that delegates to it".to_owned();
                    self.warn(document, "spec".to_owned(), reason, advice);
                    continue;
                }
            };
            let notice = Notice::of_virtual_service(document, format!("not served: {reason}"), advice);
            self.placement.notices.push(notice);
        }
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
        self.placement.warnings.push(Warning::of_document(
            ("VirtualService", &document.metadata),
            path,
            reason,
            advice,
        ));
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
