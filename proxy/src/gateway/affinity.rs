//! Which requests are the same to a consistent hash: what the policy names is hashed as the backend will see it, once the
//! rule has done its part. A cookie that a client has not got yet is given to it with the answer.

use super::request::Inbound;
use crate::upstream::{Outgoing, OutgoingHead, hash, hash_of_all};
use http::header::{COOKIE, HeaderMap};
use http::{HeaderName, HeaderValue};
use turnout_routes::documents::{HashCookie, HashKey};
use turnout_routes::router::Forward;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The hash of a request that is about to be sent; none if it has nothing of what is to be hashed.
pub(super) fn affinity(key: &HashKey, inbound: &mut Inbound, outgoing: &Outgoing) -> Option<u64> {
    let OutgoingHead { target, headers, .. } = outgoing.head()?;
    match key {
        HashKey::Header(name) => of_lines(headers, name),
        HashKey::Query(name) => of_query(target.query()?, name),
        HashKey::SourceIp => Some(hash(source_ip(inbound, headers).as_bytes())),
        HashKey::Cookie(cookie) => of_cookie(headers, &cookie.name).or_else(|| {
            let ttl = cookie.ttl?;
            // The same for all requests of a connection whose client keeps no cookies.
            let value = hash(inbound.client.peer.to_string().as_bytes());
            let line = set_cookie(cookie, value, ttl.as_secs());
            inbound.intervention.get_or_insert_default().of_endpoint = HeaderValue::try_from(line).ok();
            Some(hash(format!("{value:016x}").as_bytes()))
        }),
    }
}

/// Gives the client the cookie by whose number it was assigned.
pub(super) fn give_cookie(forward: &Forward<'_>, number: u64, inbound: &mut Inbound) {
    let line = forward.route.rule.policy.as_ref().and_then(|policy| policy.assign.set_cookie(number));
    inbound.intervention.get_or_insert_default().of_target = line.and_then(|line| HeaderValue::try_from(line).ok());
}

/// Several lines are one value, whatever their order.
fn of_lines(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.sort_unstable();
    (!lines.is_empty()).then(|| hash_of_all(&lines))
}

/// As it is written: nothing is decoded.
fn of_query(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| hash(value.as_bytes()))
}

/// A cookie without a value is none.
fn of_cookie(headers: &HeaderMap, name: &str) -> Option<u64> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (key == name.as_bytes() && !unquoted.is_empty()).then_some(unquoted)
    });
    values.next().map(hash)
}

/// The client's address; behind a trusted proxy the one that the proxy saw.
fn source_ip(inbound: &Inbound, headers: &HeaderMap) -> String {
    let peer = inbound.client.peer.ip().to_string();
    if !inbound.trusted {
        return peer;
    }
    // The last is the proxy itself.
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    hops.iter().rev().nth(1).map_or(peer, |hop| (*hop).to_owned())
}

/// In Envoy's words. Its attributes come in the order in which they are written.
fn set_cookie(cookie: &HashCookie, value: u64, max_age: u64) -> String {
    let age = Some(("Max-Age", max_age.to_string())).filter(|_| max_age > 0);
    let path = Some(("Path", cookie.path.clone())).filter(|(_, path)| !path.is_empty());
    let others = cookie.attributes.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let attributes = age.into_iter().chain(path).chain(others).chain([("HttpOnly", String::new())]);
    let attributes = attributes.map(|(name, value)| match value.as_str() {
        "" => format!("; {name}"),
        value => format!("; {name}={value}"),
    });
    format!("{}=\"{value:016x}\"{}", cookie.name, attributes.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        lines.collect()
    }

    fn cookies(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_header_is_hashed_whatever_the_order_of_its_lines() {
        let name = HeaderName::from_static("x-user");
        let of = |lines: &[&'static str]| {
            let mut headers = headers(&[]);
            for line in lines {
                headers.append(&name, HeaderValue::from_static(line));
            }
            of_lines(&headers, &name)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["anna"]), Some(hash(b"anna")));
        assert_eq!(of(&["anna", "bert"]), of(&["bert", "anna"]));
        assert_ne!(of(&["anna", "bert"]), of(&["anna"]));
    }

    #[test]
    fn of_a_query_the_first_of_the_name_is_hashed_as_it_is_written() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(of_query(query, "user"), expected.map(|value| hash(value.as_bytes())), "{query}");
        };
        check("user=anna", Some("anna"));
        check("a=b&user=an%61&user=bert", Some("an%61"));
        check("users=anna&user", Some(""));
        check("users=anna", None);
    }

    #[test]
    fn a_cookie_is_found_among_others_and_without_its_quotes() {
        let check = |lines: &[&'static str], expected: Option<&str>| {
            assert_eq!(of_cookie(&cookies(lines), "user"), expected.map(|value| hash(value.as_bytes())), "{lines:?}");
        };
        check(&["user=abc"], Some("abc"));
        check(&["a=b; user=\"abc\"; c=d"], Some("abc"));
        check(&["a=b", "user=abc"], Some("abc"));
        check(&["user=", "user=x"], Some("x"));
        check(&["users=abc", "user"], None);
    }

    #[test]
    fn a_cookie_that_is_set_says_what_the_policy_says() {
        let cookie = |path: &str, attributes: &[(&str, &str)]| HashCookie {
            name: "user".into(),
            path: path.into(),
            ttl: None,
            attributes: attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        let check = |cookie: &HashCookie, max_age: u64, expected: &str| {
            assert_eq!(set_cookie(cookie, 0xab, max_age), format!("user=\"00000000000000ab\"{expected}; HttpOnly"));
        };
        check(&cookie("", &[]), 0, "");
        check(&cookie("/p", &[]), 60, "; Max-Age=60; Path=/p");
        check(&cookie("", &[("Secure", ""), ("SameSite", "Lax")]), 0, "; Secure; SameSite=Lax");
    }
}
