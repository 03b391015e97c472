//! What the router is asked with: the head of a request, and how it came.

use crate::documents::Scheme;
use http::{HeaderMap, HeaderName};
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request is routed by. The path is normalised ([`super::normalise_path`]) and without its query.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The port number of the Gateway server, or the listener's where no Gateway document names it.
    pub port: u16,
    /// How the request came.
    pub transport: Transport<'a>,
    /// The scheme that the client asked by. It is the transport's unless a trusted proxy in front of the gateway ended
    /// TLS and says so.
    pub scheme: Scheme,
    /// The method, as it came.
    pub method: &'a str,
    /// Host or `:authority`, as it came.
    pub authority: &'a str,
    /// The normalised path.
    pub path: &'a str,
    /// What follows `?`, not decoded.
    pub query: Option<&'a str>,
    /// The headers that are left for matching.
    pub headers: &'a HeaderMap,
    /// Who sent it. None: it is only asked about.
    pub peer: Option<Peer>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether its word about its own clients counts.
    pub is_trusted: bool,
}

impl RequestHead<'_> {
    /// The client's address; behind a trusted proxy the one that the proxy saw.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let peer = self.peer?;
        // The proxy has put it behind what it was told itself.
        let told = || {
            let line = self.headers.get_all(FORWARDED_FOR).iter().next_back()?;
            line.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
        };
        peer.is_trusted.then(told).flatten().or(Some(peer.address))
    }
}

/// How a connection reached the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// Clear text.
    Plain,
    /// TLS that the gateway terminated, with the server name that the client asked for.
    Tls {
        /// In lower case.
        server_name: Option<&'a str>,
    },
}

impl Transport<'_> {
    /// The scheme of a URL that leads here.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Plain => Scheme::Http,
            Self::Tls { .. } => Scheme::Https,
        }
    }
}

/// `a.example.com:80` to `a.example.com`, `[::1]:80` to `[::1]`.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon)
            if authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) && !authority[colon..].contains(']') =>
        {
            &authority[..colon]
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_cut_off_whatever_the_host_is() {
        let check = |authority, expected| assert_eq!(without_port(authority), expected, "{authority}");
        check("a.example.com", "a.example.com");
        check("a.example.com:8080", "a.example.com");
        check("[::1]", "[::1]");
        check("[::1]:8080", "[::1]");
        check("a:", "a");
        check("", "");
    }
}
