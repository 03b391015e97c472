//! The one place that says what happens to a request: host, rule, and what the rule does. It is pure; whatever is left to
//! chance comes in as [`Draws`]. The gateway carries a [`Decision`] out, `explain` prints it, and neither decides.

use super::assignment::Assigned;
use super::hosts::VirtualHost;
use super::policy::Role;
use super::redirect::Redirection;
use super::request::RequestHead;
use super::rule::{Route, RuleAction};
use super::split::{Split, Target};
use super::tickets::Tickets;
use crate::documents::{DirectResponse, Scheme};

/// What is left to chance, and what is counted: all that decides beside the request and the table.
#[derive(Clone, Copy, Debug)]
pub struct Draws<'t> {
    /// Picks the target of a split; uniform over its whole range.
    pub split: u64,
    /// Pick it where a policy has the split exact.
    pub tickets: &'t Tickets,
}

impl Draws<'static> {
    /// Without tickets: what a policy has exact is drawn as well.
    pub fn random(split: u64) -> Self {
        Self { split, tickets: Tickets::NONE }
    }
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decision<'r> {
    /// A rule sends it to a target.
    Forward(Forward<'r>),
    /// A rule has the gateway answer.
    Answer(Answer<'r>),
    /// The host is served over TLS only (`httpsRedirect` of a Gateway server); no rule is asked.
    ToHttps(Redirection),
    /// No host, or none of the host's rules, matches.
    NoRoute,
}

/// A request that is sent on, and what it meets on its way.
#[derive(Debug)]
pub struct Forward<'r> {
    /// What governs it.
    pub route: &'r Route,
    /// Among which targets the choice was.
    pub split: &'r Split,
    /// Which of them it came to; it may have no backend.
    pub target: &'r Target,
    /// How it came to it.
    pub assigned: Assigned,
}

impl Forward<'_> {
    /// What the target is to the rule's policy.
    pub fn role(&self) -> Role {
        self.route.rule.policy.as_ref().map_or(Role::Unknown, |policy| policy.role(self.target))
    }
}

/// An answer for which no backend is asked.
#[derive(Debug)]
pub struct Answer<'r> {
    /// What governs the request.
    pub route: &'r Route,
    /// What is answered.
    pub content: LocalAnswer<'r>,
}

/// What a rule answers itself.
#[derive(Debug)]
pub enum LocalAnswer<'r> {
    /// Another URL.
    Redirect(Redirection),
    /// A fixed response.
    Direct(&'r DirectResponse),
}

impl<'r> Decision<'r> {
    /// What a host does with a request.
    pub(super) fn at(host: &'r VirtualHost, request: &RequestHead<'_>, draws: Draws<'_>) -> Self {
        if host.https_redirect && request.scheme == Scheme::Http {
            return Self::ToHttps(Redirection::to_https(request));
        }
        host.find(request).map_or(Self::NoRoute, |route| Self::of(route, request, draws))
    }

    fn of(route: &'r Route, request: &RequestHead<'_>, draws: Draws<'_>) -> Self {
        let content = match &route.rule.action {
            RuleAction::Forward(split) => {
                let (target, assigned) = match &route.rule.policy {
                    None => (split.pick(split.draw(draws.split)), Assigned::Weights),
                    Some(policy) => policy.assign.assign(split, request, (draws.split, draws.tickets)),
                };
                return Self::Forward(Forward { route, split, target, assigned });
            }
            RuleAction::Redirect(redirect) => {
                LocalAnswer::Redirect(redirect.apply(request, route.matcher.path_prefix_len()))
            }
            RuleAction::DirectResponse(direct) => LocalAnswer::Direct(direct),
        };
        Self::Answer(Answer { route, content })
    }

    /// What governs the request, if a rule does.
    pub fn route(&self) -> Option<&'r Route> {
        match self {
            Self::Forward(forward) => Some(forward.route),
            Self::Answer(answer) => Some(answer.route),
            Self::ToHttps(_) | Self::NoRoute => None,
        }
    }
}
