//! Whether the API server is reached through a proxy, decided as kubectl decides it, by the rules of Go's package
//! `golang.org/x/net/http/httpproxy`. kube's own decision holds NO_PROXY against the proxy instead of the server, and refuses a
//! list with an entry that it cannot read, such as an empty one.

use anyhow::{Context as _, ensure};
use http::Uri;
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxy for an API server: what the kubeconfig names, else what the environment does.
pub fn of(server: &Uri, proxy_url: Option<&str>) -> anyhow::Result<Option<Uri>> {
    choose(server, proxy_url, |name| std::env::var(name).ok())
}

/// As a message names it: without the password that it may hold.
pub fn title(proxy: &Uri) -> String {
    let port = proxy.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", proxy.scheme_str().unwrap_or_default(), proxy.host().unwrap_or_default())
}

fn choose(
    server: &Uri,
    proxy_url: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Uri>> {
    if let Some(url) = proxy_url.filter(|url| !url.is_empty()) {
        return read(url).context("proxy-url").map(Some);
    }
    let of_environment = |name: &str| {
        let mut names = [name.to_owned(), name.to_ascii_lowercase()].into_iter();
        names.find_map(|name| variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
    };
    // What speaks plain HTTP is on this machine: `kubectl proxy`.
    let proxy = of_environment("HTTPS_PROXY").filter(|_| server.scheme_str() == Some("https"));
    let (Some((name, url)), Some(host)) = (proxy, server.host()) else { return Ok(None) };
    let exceptions = of_environment("NO_PROXY").map(|(_, list)| list).unwrap_or_default();
    if is_reached_directly(host, server.port_u16().unwrap_or(443), &exceptions) {
        return Ok(None);
    }
    read(&url).context(name).map(Some)
}

/// A URL, or the host and port of an HTTP proxy.
fn read(text: &str) -> anyhow::Result<Uri> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // The two are one here: names are resolved by the proxy.
    let url = url.strip_prefix("socks5h://").map(|rest| format!("socks5://{rest}")).unwrap_or(url);
    let url: Uri = url.parse().context("it is not the URL of a proxy")?;
    let scheme = url.scheme_str().unwrap_or_default();
    ensure!(
        ["http", "https", "socks5"].contains(&scheme),
        "a proxy is http://, https:// or socks5://, not {scheme}://"
    );
    Ok(url)
}

/// This machine always is; others where an entry of the list says so.
fn is_reached_directly(host: &str, port: u16, exceptions: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address = address_of(&host);
    let covers = |entry: &str| {
        if entry == "*" {
            return true;
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return address.is_some_and(|address| network.contains(&address));
        }
        let (name, only_port) = split_port(entry);
        (only_port.is_empty() || only_port == port.to_string())
            && address_of(name).map_or_else(|| is_within(&host, name), |excepted| address == Some(excepted))
    };
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || exceptions.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(covers)
}

fn address_of(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `[::1]:443` and `host:443` have a port, `::1` has none.
fn split_port(entry: &str) -> (&str, &str) {
    if let Some((address, port)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, port.trim_start_matches(':'));
    }
    entry.split_once(':').filter(|(_, port)| !port.contains(':')).unwrap_or((entry, ""))
}

/// Whether a host has this name or one below it; with a dot or `*.` before the name, only one below it.
fn is_within(host: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&name);
    let below = host.strip_suffix(name.trim_start_matches('.')).is_some_and(|labels| labels.ends_with('.'));
    below || host == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, proxy_url: Option<&str>, variables: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
        let variable =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let proxy = choose(&server.parse().expect("a URL"), proxy_url, variable)?;
        Ok(proxy.map(|proxy| proxy.to_string()))
    }

    /// What NO_PROXY may hold, and whether api.corp.example is then asked directly.
    const OF_NAMES: [(&str, bool); 24] = [
        ("", false),
        (",", false),
        (".", false),
        (":443", false),
        ("*", true),
        ("other, *", true),
        ("api.corp.example", true),
        ("API.corp.Example", true),
        ("corp.example", true),
        (".corp.example", true),
        ("*.corp.example", true),
        (".api.corp.example", false),
        ("*.api.corp.example", false),
        ("orp.example", false),
        ("*orp.example", false),
        ("example", true),
        ("api", false),
        ("api.corp.example:443", true),
        (".corp.example:443", true),
        ("corp.example:6443", false),
        ("corp.example:https", false),
        ("10.0.0.0/8", false),
        ("other.example , corp.example,", true),
        ("no list at all, corp.example", true),
    ];

    /// The same of 10.1.2.3 at port 6443.
    const OF_ADDRESSES: [(&str, bool); 8] = [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.1.2.3:6443", true),
        ("10.1.2.3:443", false),
        ("10.1.0.0/16", true),
        ("10.2.0.0/16", false),
        ("10.1.2.4", false),
        ("fd00::/8", false),
    ];

    /// The same of fd00::1 at port 443.
    const OF_ADDRESSES_V6: [(&str, bool); 6] = [
        ("fd00::1", true),
        ("[fd00::1]", true),
        ("[fd00::1]:443", true),
        ("[fd00::1]:6443", false),
        ("fd00::/8", true),
        ("fd01::/16", false),
    ];

    #[test]
    fn the_exceptions_are_those_of_go() {
        let check = |server: &str, exceptions: &str, direct: bool| {
            for (proxy, no_proxy) in
                [("HTTPS_PROXY", "NO_PROXY"), ("https_proxy", "no_proxy"), ("HTTPS_PROXY", "no_proxy")]
            {
                let chosen = chosen(server, None, &[(proxy, "http://proxy:3128"), (no_proxy, exceptions)]);
                let chosen = chosen.expect("good variables");
                let expected = (!direct).then(|| "http://proxy:3128/".to_owned());
                assert_eq!(chosen, expected, "{server}, {no_proxy}={exceptions}");
            }
        };
        for (entry, direct) in OF_NAMES {
            check("https://api.corp.example", entry, direct);
            check("https://API.Corp.example:443/prefix", entry, direct);
        }
        for (entry, direct) in OF_ADDRESSES {
            check("https://10.1.2.3:6443", entry, direct);
        }
        for (entry, direct) in OF_ADDRESSES_V6 {
            check("https://[fd00::1]", entry, direct);
        }
        for server in ["https://localhost:6443", "https://127.0.0.2", "https://[::1]:6443", "http://api.corp.example"] {
            check(server, "", true);
        }
    }

    #[test]
    fn the_proxy_is_that_of_the_kubeconfig_else_that_of_the_environment() {
        let environment =
            [("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:1"), ("HTTP_PROXY", "http://no:1")];
        let everywhere = [environment[0], ("NO_PROXY", "*")];
        let check = |proxy_url: Option<&str>, variables: &[(&str, &str)], expected: Option<&str>| {
            let chosen = chosen("https://api.corp.example", proxy_url, variables).expect("good values");
            assert_eq!(chosen.as_deref(), expected, "{proxy_url:?} {variables:?}");
        };
        check(None, &environment, Some("http://upper:1/"));
        check(None, &environment[1..], Some("http://lower:1/"));
        check(None, &environment[2..], None);
        check(None, &[("HTTPS_PROXY", ""), environment[1]], Some("http://lower:1/"));
        check(None, &everywhere, None);
        // As with kubectl, NO_PROXY is not about what the kubeconfig says.
        check(Some("http://own:1"), &everywhere, Some("http://own:1/"));
        check(Some(""), &environment, Some("http://upper:1/"));
        check(None, &[("HTTPS_PROXY", "upper:3128")], Some("http://upper:3128/"));
        check(None, &[("HTTPS_PROXY", "socks5h://upper:1080")], Some("socks5://upper:1080/"));
    }

    #[test]
    fn what_is_no_proxy_is_an_error_where_it_would_be_used() {
        let check = |value: &str, said: &str| {
            let error = chosen("https://api.corp.example", None, &[("HTTPS_PROXY", value)]).expect_err(value);
            assert!(format!("{error:#}").contains(said), "{value}: {error:#}");
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
            let unused = [("HTTPS_PROXY", value), ("NO_PROXY", "corp.example")];
            assert_eq!(chosen("https://api.corp.example", None, &unused).expect("not read"), None);
        };
        check("ftp://me:secret@proxy", "HTTPS_PROXY: a proxy is http://, https:// or socks5://, not ftp://");
        check("http://me:secret@ proxy", "HTTPS_PROXY: it is not the URL of a proxy");
        let proxy: Uri = "http://me:secret@proxy:3128".parse().expect("a URL");
        assert_eq!(title(&proxy), "http://proxy:3128");
    }
}
