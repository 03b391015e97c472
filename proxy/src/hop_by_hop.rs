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

/// One look at each name is cheaper than asking the map for every name that might be there; most messages have none.
pub(crate) fn remove_if(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| goes(name.as_str())) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}
