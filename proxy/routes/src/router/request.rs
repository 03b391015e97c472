//! What the router is asked with: the head of a request, and how it came.

use crate::documents::Scheme;
use http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

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

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Nowhere: it is only asked about.
    Nobody,
    /// From behind a trusted proxy that says of it what cannot be read. The proxy's own address would stand for all of its
    /// clients.
    Unreadable,
    At(IpAddr),
}

impl RequestHead<'_> {
    /// The client; behind a trusted proxy the one that the proxy saw.
    pub(super) fn client(&self) -> Client {
        let Some(peer) = self.peer else { return Client::Nobody };
        let mut lines = self.headers.get_all(FORWARDED_FOR).iter();
        match lines.next_back().filter(|_| peer.is_trusted) {
            None => Client::At(peer.address),
            // The proxy has put it behind what it was told itself.
            Some(line) => {
                let last = line.to_str().ok().and_then(|line| line.rsplit(',').next());
                last.and_then(|last| address(last.trim())).map_or(Client::Unreadable, Client::At)
            }
        }
    }
}

/// Some proxies write a port behind it.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
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
    fn an_address_is_read_with_and_without_its_port() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(address(text), expected.map(|it| it.parse().expect("an address")), "{text}");
        };
        for text in ["192.0.2.1", "192.0.2.1:4321"] {
            check(text, Some("192.0.2.1"));
        }
        for text in ["2001:db8::1", "[2001:db8::1]:4321"] {
            check(text, Some("2001:db8::1"));
        }
        for text in ["", "unknown", "_hidden", "192.0.2.1:", "192.0.2.1:http", "[2001:db8::1", "192.0.2"] {
            check(text, None);
        }
    }

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
