//! One request at a time over HTTP/1.1, for looking at a model, a gateway or its status port. Load is something else:
//! see [`crate::LoadProcess`].

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// An address that nobody serves yet swallows what is sent to it, and whoever waits for it asks again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which has to be text.
    pub body: String,
}

impl Response {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("the answer is no JSON: {}", self.body))
    }
}

/// A GET on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, "GET", path, &[], "")
}

/// Any request on a connection of its own. A header `host` replaces the address.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Response> {
    let failed = || format!("{method} http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).with_context(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(head(address, method, path, headers, body).as_bytes()).with_context(failed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(failed)?;
    parse(&bytes).with_context(failed)
}

fn head(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut lines = vec![format!("{method} {path} HTTP/1.1")];
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        lines.push(format!("host: {address}"));
    }
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push(format!("content-length: {}", body.len()));
    lines.push("connection: close".to_owned());
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

fn parse(bytes: &[u8]) -> Result<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no complete response")?;
    let head = std::str::from_utf8(&bytes[..end]).context("a head that is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut response = Response { status: status.context("no status")?, headers, body: String::new() };
    let body = &bytes[end + 4..];
    let body = match (response.header("transfer-encoding"), response.header("content-length")) {
        (Some("chunked"), _) => unchunk(body)?,
        (None, Some(length)) if length.parse() != Ok(body.len()) => bail!("the body is cut short"),
        _ => body.to_owned(),
    };
    response.body = String::from_utf8(body).context("a body that is no text")?;
    Ok(response)
}

/// RFC 9112 7.1.
fn unchunk(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").context("the body is cut short")?;
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.context("a chunk without a size")?;
        if size == 0 {
            return Ok(body);
        }
        body.extend(bytes.get(end + 2..end + 2 + size).context("the body is cut short")?);
        bytes = bytes.get(end + 2 + size + 2..).context("the body is cut short")?;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn responses_are_read_whole() {
        let check = |text: &str, status: u16, body: &str| {
            let response = parse(text.as_bytes()).unwrap();
            assert_eq!((response.status, response.body.as_str()), (status, body), "{text}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi");
        check("HTTP/1.1 503 x\r\n\r\nuntil the end", 503, "until the end");
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, "hello");
    }

    #[test]
    fn what_is_cut_short_is_no_response() {
        let check = |text: &str| assert!(parse(text.as_bytes()).is_err(), "{text}");
        check("");
        check("HTTP/1.1 200 OK\r\n");
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi");
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe");
    }

    #[test]
    fn a_host_replaces_the_address() {
        let address = "127.0.0.1:80".parse().unwrap();
        assert!(head(address, "GET", "/", &[], "").contains("\r\nhost: 127.0.0.1:80\r\n"));
        let own = head(address, "GET", "/", &[("Host", "model.example")], "");
        assert!(own.contains("\r\nHost: model.example\r\n") && !own.contains("127.0.0.1"), "{own}");
    }
}
