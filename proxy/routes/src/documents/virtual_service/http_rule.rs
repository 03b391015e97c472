//! One of the ordered rules: which requests it is for, what happens to them, and in which time.

use super::cors::Cors;
use super::delegate::Delegate;
use super::direct_response::DirectResponse;
use super::fault::Fault;
use super::forward::{Forward, WeightedDestination, decode_destinations};
use super::mirror::Mirror;
use super::redirect::Redirect;
use super::request_match::Match;
use super::retries::Retries;
use super::rewrite::Rewrite;
use crate::decode::{Decoded, Item, Object, Reported};
use crate::documents::header_changes::HeaderOperations;
use crate::encode::{Fields, duration};
use serde_json::{Value, json};
use std::time::Duration;

/// One of the ordered rules.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// For people and for rollouts that name the rule they govern.
    pub name: Option<String>,
    /// Any of them suffices; none matches every request.
    pub matches: Vec<Match>,
    /// What happens with the request.
    pub action: Action,
    /// On request and response, whatever the destination. None: those of a rule that delegates to this one.
    pub headers: Option<HeaderOperations>,
    /// For the whole answer, all tries included, in whole milliseconds; none is without limit.
    pub timeout: Option<Duration>,
    /// None: Istio's default policy.
    pub retries: Option<Retries>,
    /// Which pages of other origins may read the answers; heeded where requests are forwarded, as in Istio.
    pub cors: Option<Cors>,
    /// Where copies of the requests go that are forwarded.
    pub mirrors: Vec<Mirror>,
}

/// What a rule does: exactly one of `route`, `redirect` and `directResponse`, or `delegate`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `route`, with `rewrite` and `fault`.
    Forward(Forward),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    DirectResponse(DirectResponse),
    /// `delegate`. Only in a VirtualService with hosts.
    Delegate(Delegate),
}

impl HttpRule {
    pub(super) fn decode(item: &Item<'_>, own_namespace: &str) -> Decoded<Self> {
        let mut object = item.object()?;
        let name = object.field_or_default("name", Item::filled);
        let matches = object.field_or_default("match", |item| item.each(|item| Match::decode(item, own_namespace)));
        let action = match object.optional("delegate") {
            Some(item) => Delegate::decode(&item, &mut object, own_namespace).map(Action::Delegate),
            None => Action::decode(item, &mut object, matches.as_deref().unwrap_or_default()),
        };
        let answers = matches!(action, Ok(Action::Redirect(_) | Action::DirectResponse(_)));
        let headers = if answers { HeaderOperations::decode_of_answer } else { HeaderOperations::decode };
        let headers = object.field("headers", headers);
        let timeout = object.field("timeout", Item::duration);
        let retries = object.field("retries", Retries::decode);
        for name in ["corsPolicy", "mirror", "mirrors"].into_iter().filter(|_| answers) {
            if let Some(item) = object.optional(name) {
                item.warn("does nothing where a rule answers itself", "leave it out, or let a backend answer");
            }
        }
        let cors = object.field("corsPolicy", Cors::decode);
        let mirrors = Mirror::decode_all(item, &mut object);
        object.finish();
        let rule = Self {
            name: name?.map(str::to_owned),
            matches: matches?,
            action: action?,
            headers: headers?,
            timeout: timeout?,
            retries: retries?,
            cors: cors?,
            mirrors: mirrors?,
        };
        rule.check_authority(item)?;
        Ok(rule)
    }

    /// Istio lets a rule change the authority in one place only.
    fn check_authority(&self, item: &Item<'_>) -> Result<(), Reported> {
        let rewrite = match &self.action {
            Action::Forward(forward) => &forward.rewrite,
            Action::Delegate(delegate) => &delegate.rewrite,
            Action::Redirect(_) | Action::DirectResponse(_) => return Ok(()),
        };
        let set = self.headers.as_ref().and_then(|headers| headers.request.authority.as_ref());
        if rewrite.authority.is_none() || set.is_none() {
            return Ok(());
        }
        Err(item.advise("rewrite.authority and headers.request both set the authority", "leave one of them out"))
    }

    pub(super) fn encode(&self) -> Value {
        let fields =
            Fields::new().some("name", self.name.as_deref()).list("match", self.matches.iter().map(Match::encode));
        self.action
            .encode(fields)
            .some("headers", self.headers.as_ref().map(|headers| headers.encode().unwrap_or(json!({}))))
            .some("timeout", self.timeout.map(duration))
            .some("retries", self.retries.as_ref().map(Retries::encode))
            .some("corsPolicy", self.cors.as_ref().map(Cors::encode))
            .list("mirrors", self.mirrors.iter().map(Mirror::encode))
            .into()
    }
}

impl Action {
    /// Exactly one of the three must be there.
    fn decode(rule: &Item<'_>, object: &mut Object<'_>, matches: &[Match]) -> Decoded<Self> {
        let route = object.optional("route");
        let redirect = object.optional("redirect");
        let direct_response = object.optional("directResponse");
        let [rewrite, fault] = ["rewrite", "fault"].map(|name| object.optional(name));
        let given: Vec<&str> = [("route", &route), ("redirect", &redirect), ("directResponse", &direct_response)]
            .into_iter()
            .filter_map(|(name, item)| item.as_ref().map(|_| name))
            .collect();
        let conflict = match given.as_slice() {
            [_] => None,
            [] => Some(rule.error("one of route, redirect and directResponse is required")),
            [first, second, ..] => Some(rule.error(format!("{first} and {second} exclude each other"))),
        };
        let rewritten = rewrite.as_ref().map(Rewrite::decode).transpose();
        let faulty = fault.as_ref().map(Fault::decode).transpose();
        let only_forwarded = [("rewrite", &rewrite), ("fault", &fault)].into_iter();
        let misplaced: Vec<_> = only_forwarded
            .filter(|_| route.is_none() && !given.is_empty())
            .filter_map(|(name, item)| Some(item.as_ref()?.error(format!("{} excludes {name}", given[0]))))
            .collect();
        let forward = route.map(|item| decode_destinations(&item)).transpose();
        let redirect = redirect.map(|item| Redirect::decode(&item, matches)).transpose();
        let direct_response = direct_response.map(|item| DirectResponse::decode(&item)).transpose();
        if let Some(reported) = conflict.or(misplaced.into_iter().next()) {
            return Err(reported);
        }
        match (forward?, redirect?, direct_response?) {
            (Some(destinations), ..) => {
                let rewrite = rewritten?.unwrap_or_default();
                Ok(Self::Forward(Forward { destinations, rewrite, fault: faulty? }))
            }
            (_, Some(redirect), _) => Ok(Self::Redirect(redirect)),
            (_, _, Some(direct_response)) => Ok(Self::DirectResponse(direct_response)),
            (None, None, None) => Err(rule.error("one of route, redirect and directResponse is required")),
        }
    }

    fn encode(&self, fields: Fields) -> Fields {
        match self {
            Self::Forward(forward) => fields
                .list("route", forward.destinations.as_slice().iter().map(WeightedDestination::encode))
                .some("rewrite", forward.rewrite.encode())
                .some("fault", forward.fault.as_ref().map(Fault::encode)),
            Self::Redirect(redirect) => fields.field("redirect", redirect.encode()),
            Self::DirectResponse(direct_response) => fields.field("directResponse", direct_response.encode()),
            Self::Delegate(delegate) => delegate.encode(fields),
        }
    }
}
