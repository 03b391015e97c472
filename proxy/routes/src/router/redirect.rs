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

impl Redirection {
    /// What `httpsRedirect` of a Gateway server stands for: only the scheme is another. A rule's redirect drops the port
    /// of the old scheme, this one drops none (Envoy's `createSslRedirectPath`).
    pub(super) fn to_https(request: &RequestHead<'_>) -> Self {
        let mut location = format!("https://{}{}", request.authority, request.path);
        if let Some(query) = request.query {
            location.push('?');
            location.push_str(query);
        }
        Self { status: StatusCode::MOVED_PERMANENTLY, location }
    }
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
        let (path, has_query) = match &self.redirect.path {
            None => (request.path.to_owned(), false),
            Some(RedirectPath::Prefix(replacement)) => (replace_prefix(request.path, prefix_len, replacement), false),
            Some(RedirectPath::Whole(uri)) if uri.starts_with('/') => (uri.clone(), uri.contains('?')),
            Some(RedirectPath::Whole(uri)) => (format!("/{uri}"), uri.contains('?')),
        };
        location.push_str(&path);
        // A query in a new path takes the place of the request's; one in a new prefix stands before it, as in a rewrite.
        if let Some(query) = request.query.filter(|_| !has_query) {
            location.push('?');
            location.push_str(query);
        }
        location
    }

    /// The new authority, else the request's, of which the port is replaced if one is given that is not the scheme's
    /// default. That of the request is dropped if the scheme changes and it is the old scheme's default.
    fn push_authority(&self, location: &mut String, request: &RequestHead<'_>, from: Scheme, to: Scheme) {
        let authority = self.redirect.authority.as_deref().unwrap_or(request.authority);
        let host = without_port(authority);
        let own_port = authority.get(host.len() + 1..).unwrap_or("");
        location.push_str(host);
        let given = match self.redirect.port {
            Some(RedirectPort::Number(port)) => Some(port),
            Some(RedirectPort::Listener) => Some(request.port),
            Some(RedirectPort::ProtocolDefault) | None => None,
        };
        let given = given.filter(|port| *port != to.default_port()).map(|port| port.to_string());
        let is_dropped = self.redirect.authority.is_none() && from != to && own_port == from.default_port().to_string();
        let port = given.as_deref().unwrap_or(if is_dropped { "" } else { own_port });
        if !port.is_empty() {
            location.push(':');
            location.push_str(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Action;
    use crate::router::testing::{head, rule};
    use http::HeaderMap;

    #[test]
    fn to_https_only_the_scheme_is_another() {
        for (request, expected) in [
            ("http://h/a?x=1", "https://h/a?x=1"),
            ("http://h:80/a", "https://h:80/a"),
            ("http://H:8080/", "https://H:8080/"),
        ] {
            let (headers, line) = (HeaderMap::new(), format!("GET {request}"));
            let to = Redirection::to_https(&head(&line, &headers));
            assert_eq!((to.status.as_u16(), to.location.as_str()), (301, expected));
        }
    }

    #[test]
    fn a_redirect_changes_what_it_names_and_keeps_the_rest() {
        let check_on = |port: u16, fields: &str, request: &str, expected: &str| {
            let rule = rule(&format!("match: [{{uri: {{prefix: /a}}}}], redirect: {{{fields}}}"));
            let Action::Redirect(redirect) = rule.action else { panic!("{fields}: no redirect") };
            let (headers, line) = (HeaderMap::new(), format!("GET {request}"));
            let to = CompiledRedirect::new(redirect).apply(&RequestHead { port, ..head(&line, &headers) }, "/a".len());
            assert_eq!(format!("{} {}", to.status.as_u16(), to.location), expected, "{fields}: {request}");
        };
        let check = |fields: &str, request: &str, expected: &str| check_on(8080, fields, request, expected);
        check("uri: /new", "http://h/a?x=1", "301 http://h/new?x=1");
        check("uri: new", "http://h/a", "301 http://h/new");
        check("uri: '/new?y=2'", "http://h/a?x=1", "301 http://h/new?y=2");
        check("prefixRewrite: /b", "http://h/a/c?x=1", "301 http://h/b/c?x=1");
        check("prefixRewrite: '/b?y=2'", "http://h/a?x=1", "301 http://h/b?y=2?x=1");
        check("authority: n, redirectCode: 308", "http://h:81/a", "308 http://n/a");
        check("authority: 'n:82'", "https://h/a", "301 https://n:82/a");
        check("authority: 'n:80', scheme: https", "http://h/a", "301 https://n:80/a");
        check("scheme: https", "http://h/a", "301 https://h/a");
        check("scheme: https", "http://h:80/a", "301 https://h/a");
        check("scheme: https", "http://h:8080/a", "301 https://h:8080/a");
        check("scheme: http", "https://h:443/a", "301 http://h/a");
        check("scheme: https", "https://h:443/a", "301 https://h:443/a");
        check("port: 81", "http://h:8080/a", "301 http://h:81/a");
        check("port: 80", "http://h:8080/a", "301 http://h:8080/a");
        check("port: 443, scheme: https", "http://h/a", "301 https://h/a");
        check("derivePort: FROM_REQUEST_PORT", "http://h/a", "301 http://h:8080/a");
        check_on(80, "derivePort: FROM_REQUEST_PORT", "http://h/a", "301 http://h/a");
        check_on(80, "derivePort: FROM_REQUEST_PORT", "http://h:8080/a", "301 http://h:8080/a");
        check_on(80, "derivePort: FROM_REQUEST_PORT, scheme: https", "http://h/a", "301 https://h:80/a");
        check("derivePort: FROM_PROTOCOL_DEFAULT, scheme: https", "http://h:80/a", "301 https://h/a");
        check("port: 81", "http://[::1]:8080/a", "301 http://[::1]:81/a");
    }
}
