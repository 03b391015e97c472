//! Where a redirect leads: the rules that Envoy's `newUri` was observed to follow.

use super::request::{RequestHead, without_port};
use super::rewrite::replace_prefix;
use crate::documents::{Redirect, RedirectPath, RedirectPort, Scheme};
use http::StatusCode;

/// Where a client is sent instead.
#[derive(Debug)]
pub struct Redirection {
    /// One of 3xx.
    pub status: StatusCode,
    /// An absolute URL.
    pub location: String,
}

/// A redirect, ready to be answered with.
#[derive(Debug)]
pub struct CompiledRedirect {
    redirect: Redirect,
}

impl CompiledRedirect {
    pub(super) fn new(redirect: Redirect) -> Self {
        Self { redirect }
    }

    /// What `httpsRedirect` of a Gateway server stands for.
    pub(super) fn to_https() -> Self {
        let (status, scheme) = (StatusCode::MOVED_PERMANENTLY, Some(Scheme::Https));
        Self::new(Redirect { status, scheme, path: None, authority: None, port: None })
    }

    /// Where it sends this request; `prefix_len` is how much of the path a prefix takes the place of.
    pub(super) fn apply(&self, request: &RequestHead<'_>, prefix_len: usize) -> Redirection {
        Redirection { status: self.redirect.status, location: self.location(request, prefix_len) }
    }

    fn location(&self, request: &RequestHead<'_>, prefix_len: usize) -> String {
        let from = request.scheme;
        let scheme = self.redirect.scheme.unwrap_or(from);
        let mut location = String::from(scheme.as_str());
        location.push_str("://");
        self.push_authority(&mut location, request, from, scheme);
        let path = match &self.redirect.path {
            None => request.path.to_owned(),
            Some(RedirectPath::Prefix(replacement)) => replace_prefix(request.path, prefix_len, replacement),
            Some(RedirectPath::Whole(uri)) if uri.starts_with('/') => uri.clone(),
            Some(RedirectPath::Whole(uri)) => format!("/{uri}"),
        };
        location.push_str(&path);
        // A query in the new path takes the place of the request's.
        if let Some(query) = request.query.filter(|_| !path.contains('?')) {
            location.push('?');
            location.push_str(query);
        }
        location
    }

    /// The new authority, else the request's, of which the port is replaced if one is given, and dropped if the scheme
    /// changes and it is the old scheme's default.
    fn push_authority(&self, location: &mut String, request: &RequestHead<'_>, from: Scheme, to: Scheme) {
        let authority = self.redirect.authority.as_deref().unwrap_or(request.authority);
        let host = without_port(authority);
        let own_port = authority.get(host.len() + 1..).unwrap_or("");
        location.push_str(host);
        let port = match self.redirect.port {
            Some(RedirectPort::Number(port)) if port != to.default_port() => Some(port.to_string()),
            Some(RedirectPort::Listener) => Some(request.port.to_string()),
            Some(RedirectPort::Number(_) | RedirectPort::ProtocolDefault) | None => {
                let is_dropped = own_port.is_empty() || (from != to && own_port == from.default_port().to_string());
                (!is_dropped).then(|| own_port.to_owned())
            }
        };
        if let Some(port) = port {
            location.push(':');
            location.push_str(&port);
        }
    }
}
