//! A compiled rule, and the routes that lead to it.

use super::cors::CompiledCors;
use super::header_operations::HeaderChangeList;
use super::matcher::Matcher;
use super::mirror::MirrorTarget;
use super::origin::Origin;
use super::policy::Policy;
use super::redirect::CompiledRedirect;
use super::retry::RetryPolicy;
use super::rewrite::CompiledRewrite;
use super::split::Split;
use crate::documents::{DirectResponse, Fault};
use std::sync::Arc;
use std::time::Duration;

/// One way to match a rule, with what depends on how it matched. A rule with three `match` entries is three routes.
#[derive(Debug)]
pub struct Route {
    pub(super) matcher: Matcher,
    pub(super) rewrite: CompiledRewrite,
    /// The rule itself, shared between its routes.
    pub rule: Arc<Rule>,
}

impl Route {
    /// The path and query to send, if the rule rewrites the path.
    pub fn rewrite(&self, path: &str, query: Option<&str>) -> Option<String> {
        self.rewrite.apply(path, query)
    }
}

/// A compiled http rule.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands in the documents.
    pub origin: Origin,
    /// What happens.
    pub action: RuleAction,
    /// The limit for the whole answer.
    pub timeout: Option<Duration>,
    /// When and how often a failed try is made again.
    pub retry: RetryPolicy,
    /// What is done to a request before it is forwarded, to see how clients take it.
    pub fault: Option<Fault>,
    /// Which pages of other origins may read what a backend answers.
    pub cors: Option<Box<CompiledCors>>,
    /// Where copies of the requests go that are forwarded.
    pub mirrors: Vec<MirrorTarget>,
    /// What a SplitPolicy says of it.
    pub policy: Option<Arc<Policy>>,
    /// For answers that the gateway makes itself while it acts for this rule.
    pub local_response_headers: HeaderChangeList,
}

/// What a compiled rule does.
#[derive(Debug)]
pub enum RuleAction {
    /// Sends the request to one target of the split.
    Forward(Split),
    /// Answers with a redirect.
    Redirect(CompiledRedirect),
    /// Answers with a fixed response.
    DirectResponse(DirectResponse),
}
