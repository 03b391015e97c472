//! Headers that belong to one connection (RFC 9110, 7.6.1), or say how a message is framed, which each side does anew.

use http::{HeaderMap, HeaderName};

/// See the module. `te` and `trailer` are not among them: whoever writes the message knows whether trailers can follow.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What may stand behind a body: nothing of framing or routing, and nothing that says who somebody is (RFC 9110, 6.5.1).
pub(crate) fn may_trail(name: &str) -> bool {
    !is_hop_by_hop(name)
        && !matches!(
            name,
            "host"
                | "content-length"
                | "content-encoding"
                | "content-type"
                | "te"
                | "trailer"
                | "authorization"
                | "cookie"
                | "set-cookie"
                | "expect"
                | "forwarded"
                | "x-real-ip"
                | "x-api-version"
                | "x-request-id"
        )
        && !["x-forwarded-", "x-envoy-", "x-turnout-"].iter().any(|prefix| name.starts_with(prefix))
}

/// One look at each name is cheaper than asking the map for every name that might be there; most messages have none.
pub(crate) fn remove_if(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| goes(name.as_str())) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}
