//! Upgrades: a WebSocket handshake is passed on whole, another protocol is refused by name and not forwarded as an ordinary
//! request, whose answer no client of it would understand. To HTTP/2 nobody needs to be upgraded, so that is ignored
//! (RFC 9110, 7.8). What becomes of the tunnel is in `tunnels.rs`.

use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::RawRequest;

/// Method, version, header lines, and the status: with 101 the backend was asked for the upgrade, with 200 for a page.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], u16);

const GET: (&str, &str) = ("GET", "1.1");

const fn get(lines: &'static [(&'static str, &'static str)], status: u16) -> Row {
    (GET.0, GET.1, lines, status)
}

const TABLE: [Row; 21] = [
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket")], 101),
    get(&[("Connection", "keep-alive, upgrade"), ("Upgrade", "WebSocket")], 101),
    get(&[("Connection", "keep-alive"), ("Connection", "UPGRADE"), ("Upgrade", "websocket")], 101),
    get(&[("Connection", "Upgrade, x-secret"), ("X-Secret", "s"), ("Upgrade", "websocket")], 101),
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "0")], 101),
    // Other protocols, and lists of them.
    get(&[("Connection", "Upgrade"), ("Upgrade", "tcp")], 403),
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket, tcp")], 403),
    get(&[("Connection", "Upgrade"), ("Upgrade", "h2c, websocket")], 403),
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "tcp")], 403),
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket/13")], 403),
    // No upgrade is asked for: HTTP/2 is ignored, the field is not the connection's, or there is none.
    get(&[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")], 200),
    get(&[("Upgrade", "websocket")], 200),
    get(&[("Connection", "keep-alive"), ("Upgrade", "websocket")], 200),
    get(&[("Connection", "Upgrade")], 200),
    get(&[("Connection", "Upgrade"), ("Upgrade", "")], 200),
    ("GET", "1.0", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], 200),
    // To some the bytes behind such a head would be a body, and to others the tunnel's (RFC 6455, 4.1).
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "5")], 400),
    get(&[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Transfer-Encoding", "chunked")], 400),
    ("POST", "1.1", &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "0")], 400),
    ("HEAD", "1.1", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], 400),
    ("CONNECT", "1.1", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], 405),
];

#[tokio::test]
async fn only_a_websocket_handshake_is_passed_on_as_an_upgrade() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for (method, version, lines, status) in TABLE {
        bed.backends.clear();
        let target = if method == "CONNECT" { "a:80" } else { "/chat" };
        let request = RawRequest::new(method, target)
            .version(version)
            .header("Host", "a:80")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = lines.iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut connection = bed.open().await?;
        let response = connection.exchange(&request).await?;
        let reason = response.header("x-turnout-reason");
        let received = bed.backends.received();
        let passed_on: Vec<Vec<&str>> =
            ["connection", "upgrade", "sec-websocket-version", "x-secret", "http2-settings"]
                .iter()
                .flat_map(|name| received.iter().map(|received| received.headers.values(name)))
                .collect();
        let asked = lines.iter().find(|(name, _)| *name == "Upgrade").map(|(_, value)| *value).unwrap_or_default();
        let expected = match status {
            101 => vec![vec!["Upgrade"], vec![asked], vec!["13"], vec![], vec![]],
            200 => vec![vec![], vec![], vec!["13"], vec![], vec![]],
            _ => vec![],
        };
        let named = status != 403 || reason == Some("upgrade_failed");
        if response.status != status || !named || passed_on != expected {
            problems.push(format!("{method} {version} {lines:?}: {} {reason:?}, {passed_on:?}", response.status));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
