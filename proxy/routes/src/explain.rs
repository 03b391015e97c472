//! Where a request would go, and why: what the admin port and `turnout explain` say.

use crate::decode::one_of;
use crate::documents::{AbortWith, HashKey, Override, Percent, Scheme};
use crate::encode::duration;
use crate::router::{
    Decision, Draws, LocalAnswer, Policy, PortKind, Redirection, RequestHead, Route, Router, Rule, Split, Target,
    Transport, Warning, normalise_path,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;

/// Warnings that one explanation repeats.
const MAX_WARNINGS: usize = 10;

/// A request that is asked about, and not sent.
#[derive(Clone, Debug)]
pub struct Inquiry {
    method: Method,
    authority: String,
    path: String,
    query: Option<String>,
    scheme: Scheme,
    port: u16,
    headers: HeaderMap,
}

/// What is wrong with an inquiry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// Not a method.
    #[error("`{0}` is not a method")]
    Method(String),
    /// Not a URL, or its path would be refused.
    #[error("`{0}` is not a URL: {1}")]
    Url(String, String),
    /// Not `name: value`.
    #[error("`{0}` is not `name: value`")]
    Header(String),
}

/// Where a request would go.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Explanation {
    /// To one of these backends.
    Forward {
        /// The rule, as `namespace/name spec.http[i]`, with what delegates to it.
        route: String,
        /// The path and query that the backend gets.
        target: String,
        /// In the document's order; shares add up to 1.
        backends: Vec<Share>,
        /// What else happens to some of the requests, a sentence each: faults, copies, and what a SplitPolicy says.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also: Vec<String>,
    },
    /// A redirect of a rule, or of a server that is for TLS only.
    Redirect {
        /// The rule; none for `httpsRedirect`.
        route: Option<String>,
        /// The status.
        status: u16,
        /// Where it leads.
        location: String,
    },
    /// A fixed answer.
    DirectResponse {
        /// The rule.
        route: String,
        /// The status.
        status: u16,
    },
    /// 404: no host, or none of the host's rules, matches.
    NoRoute {
        /// What in the documents may be the reason.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
}

/// A backend's share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// `host:port` or `host:port/subset`.
    pub backend: String,
    /// 0 to 1.
    pub share: f64,
    /// Why its requests get 503, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// What to add or to write instead, where that is so or may be so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Inquiry {
    /// A request for `url`, which may be a path alone; each header is `name: value`. The Gateway port is the URL's, else
    /// its scheme's default.
    pub fn new<'h>(method: &str, url: &str, headers: impl IntoIterator<Item = &'h str>) -> Result<Self, InquiryError> {
        let bad_url = |why: &dyn std::fmt::Display| InquiryError::Url(url.to_owned(), why.to_string());
        let method = method.parse().map_err(|_| InquiryError::Method(method.to_owned()))?;
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad_url(&error))?;
        let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        let path = normalise_path(uri.path()).map_err(|error| bad_url(&error))?.into_owned();
        let mut lines = HeaderMap::new();
        for header in headers {
            let bad = || InquiryError::Header(header.to_owned());
            let (name, value) = header.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            lines.append(name, HeaderValue::from_str(value.trim()).map_err(|_| bad())?);
        }
        let host = lines.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let authority = uri.authority().map(ToString::to_string).or(host).unwrap_or_else(|| "localhost".to_owned());
        let port = uri.port_u16().unwrap_or(scheme.default_port());
        Ok(Self { method, authority, path, query: uri.query().map(str::to_owned), scheme, port, headers: lines })
    }

    /// Asks about the only Gateway port there is, if there is one alone: a port-forward or a listener has another.
    #[must_use]
    pub fn on_only_port(self, router: &Router) -> Self {
        let mut ports = router.ports();
        match (ports.next(), ports.next()) {
            (Some(only), None) => self.on_port(only),
            _ => self,
        }
    }

    /// Asks about another Gateway port than the URL's.
    #[must_use]
    pub fn on_port(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

/// Explains where the router sends a request. A URL with `https` on a port in clear text is one whose TLS a proxy in front
/// of the gateway has ended.
pub fn explain(router: &Router, inquiry: &Inquiry) -> Explanation {
    let host = inquiry.authority.rsplit_once(':').map_or(inquiry.authority.as_str(), |(host, _)| host).to_lowercase();
    let clear = inquiry.scheme == Scheme::Http || router.port_kind(inquiry.port) == PortKind::Plain;
    let request = RequestHead {
        port: inquiry.port,
        transport: if clear { Transport::Plain } else { Transport::Tls { server_name: Some(&host) } },
        scheme: inquiry.scheme,
        method: inquiry.method.as_str(),
        authority: &inquiry.authority,
        path: &inquiry.path,
        query: inquiry.query.as_deref(),
        headers: &inquiry.headers,
        peer: None,
    };
    let redirect =
        |route, to: Redirection| Explanation::Redirect { route, status: to.status.as_u16(), location: to.location };
    // Whichever target is drawn, the split that it is drawn from is the same.
    match router.decide(&request, Draws::random(0)) {
        Decision::NoRoute => Explanation::NoRoute { warnings: router.unserved(&host).take(MAX_WARNINGS).collect() },
        Decision::ToHttps(to) => redirect(None, to),
        Decision::Answer(answer) => {
            let route = answer.route.rule.origin.in_full();
            match answer.content {
                LocalAnswer::Redirect(to) => redirect(Some(route), to),
                LocalAnswer::Direct(direct) => Explanation::DirectResponse { route, status: direct.status.as_u16() },
            }
        }
        Decision::Forward(forward) => Explanation::Forward {
            route: forward.route.rule.origin.in_full(),
            target: target(forward.route, &request),
            backends: shares(forward.split),
            also: also(&forward.route.rule).chain(pinning(router, &request)).collect(),
        },
    }
}

fn also(rule: &Rule) -> impl Iterator<Item = String> {
    let share = |percent: Percent| format!("{} % of the requests", percent.value());
    let fault = rule.fault.as_ref();
    let delay = fault.and_then(|fault| fault.delay.as_ref()).and_then(|delay| Some((delay.fixed?, delay.percent)));
    let abort = fault.and_then(|fault| fault.abort.as_ref()).and_then(|abort| Some((abort.with?, abort.percent)));
    let delay = delay.map(|(fixed, percent)| format!("{} wait {} before", share(percent), duration(fixed)));
    let abort = abort.map(|(with, percent)| match with {
        AbortWith::Http(status) => format!("{} are answered {} by the gateway", share(percent), status.as_u16()),
        AbortWith::Grpc(number) => format!("{} are answered gRPC status {number} by the gateway", share(percent)),
    });
    let mirrors = rule.mirrors.iter().map(move |mirror| {
        let lack = mirror.warning.as_ref().map(|warning| format!(" ({})", warning.reason)).unwrap_or_default();
        format!("copies of {} go to {}{lack}", share(mirror.percent), mirror.name)
    });
    let policy = rule.policy.iter().flat_map(|policy| of_policy(policy));
    delay.into_iter().chain(abort).chain(mirrors).chain(policy)
}

fn of_policy(policy: &Policy) -> impl Iterator<Item = String> {
    let name = &policy.name;
    let key = policy.assign.key().map(|key| match key {
        HashKey::Header(header) => format!("the header {header}"),
        HashKey::Query(parameter) => format!("the query parameter {parameter}"),
        HashKey::SourceIp => "the client's address".to_owned(),
        HashKey::Cookie(cookie) => format!("the cookie {}", cookie.name),
    });
    let block = policy.assign.block_size().map_or("drawn for each".to_owned(), |size| format!("exact over {size}"));
    let assigned = match key {
        Some(key) => format!("who gets which is decided by {key}, for the others {block} (SplitPolicy {name})"),
        None => format!("the split is {block} (SplitPolicy {name})"),
    };
    let shadow = policy.shadow.as_ref().map(|shadow| {
        let lack = shadow.target.warning.as_ref().map(|it| format!(" ({})", it.reason)).unwrap_or_default();
        let percent = shadow.target.percent.value();
        let methods = shadow.methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let name = &shadow.target.name;
        format!("{percent} % of what stable gets by {methods} is answered by {name} as well, and compared{lack}")
    });
    [assigned].into_iter().chain(shadow)
}

/// From where the header counts that the request has.
fn pinning(router: &Router, request: &RequestHead<'_>) -> impl Iterator<Item = String> {
    let own = router.pinning(request).filter(|it| request.headers.contains_key(&it.header));
    own.map(|Override { header, from }| {
        let from: Vec<String> = from.iter().flatten().map(ToString::to_string).collect();
        format!("{header} counts for requests from {} alone", one_of(from.iter().map(String::as_str)))
    })
}

/// The path and query that a backend gets.
fn target(route: &Route, request: &RequestHead<'_>) -> String {
    route.rewrite(request.path, request.query).unwrap_or_else(|| match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    })
}

fn shares(split: &Split) -> Vec<Share> {
    let share = |target: &Target| {
        let warning = target.warning.as_deref();
        let advice = |warning: &Warning| {
            let Warning { reason, advice, .. } = warning;
            if warning.gets_503 { advice.clone() } else { format!("{reason}; {advice}") }
        };
        Share {
            backend: target.name.clone(),
            share: split.share(target),
            missing: warning.filter(|warning| warning.gets_503).map(|warning| warning.reason.clone()),
            advice: warning.map(advice),
        }
    };
    split.targets().iter().map(share).collect()
}
