//! Upgrades: one that the gateway cannot make is refused by name and not forwarded as an ordinary request, whose answer no
//! client of it would understand. To HTTP/2 nobody needs to be upgraded, so that is ignored (RFC 9110, 7.8).

use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::RawRequest;

/// The version, header lines, and the status: 501 is refused, 200 is an ordinary request.
type Row = (&'static str, &'static [(&'static str, &'static str)], u16);

const TABLE: [Row; 8] = [
    ("1.1", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], 501),
    ("1.1", &[("Connection", "keep-alive, upgrade"), ("Upgrade", "WebSocket")], 501),
    ("1.1", &[("Connection", "Upgrade"), ("Upgrade", "tcp")], 501),
    ("1.1", &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "0")], 501),
    ("1.1", &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")], 200),
    // No upgrade is asked for: the field is not the connection's, or there is none.
    ("1.1", &[("Upgrade", "websocket")], 200),
    ("1.1", &[("Connection", "Upgrade")], 200),
    ("1.0", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], 200),
];

#[tokio::test]
async fn an_upgrade_is_refused_by_name() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for (version, lines, status) in TABLE {
        bed.backends.clear();
        let request = RawRequest::get("/chat")
            .version(version)
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = lines.iter().fold(request, |request, (name, value)| request.header(name, value));
        let mut connection = bed.open().await?;
        let response = connection.exchange(&request).await?;
        let named = response.header("x-turnout-reason").is_some_and(|reason| reason.contains("upgrade"));
        let received = bed.backends.received();
        let passed_on = ["upgrade", "http2-settings", "connection"]
            .iter()
            .any(|name| received.iter().any(|received| received.headers.first(name).is_some()));
        if response.status != status || named != (status == 501) || received.len() != usize::from(!named) || passed_on {
            let reason = response.header("x-turnout-reason");
            problems.push(format!("HTTP/{version} {lines:?}: {} {reason:?}, {received:?}", response.status));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
