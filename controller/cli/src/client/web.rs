//! Pages at URLs that the user names: of gateways, and of a Prometheus. Each is asked for with the headers that the user
//! gives, over a connection of its own, within limits on time and size.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use std::time::Duration;
use turnout_driver::outbound::{PostError, send};

/// The largest page that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 << 20;
/// So much is shown of a page that is not what was expected, in characters.
const SHOWN_CHARACTERS: usize = 200;

/// How pages are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    pub(crate) headers: HeaderMap,
    /// The authority that signs the servers' certificates, in PEM; the public ones if absent.
    pub(crate) authority: Option<String>,
    /// What each page may take.
    pub(crate) timeout: Duration,
}

impl Web {
    /// A page, whatever its status.
    pub(crate) async fn get(&self, url: &Uri) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.clone();
        request.headers_mut().clone_from(&self.headers);
        let sent = tokio::time::timeout(self.timeout, send(request, self.authority.as_deref(), MAX_BODY_BYTES)).await;
        let answer = match sent {
            Err(_) => bail!("no answer within {:?}", self.timeout),
            Ok(Err(PostError::CaBundle(error))) => bail!("the authority cannot be used: {error}"),
            Ok(answer) => answer?,
        };
        let status = answer.status();
        if status.is_redirection() {
            let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            bail!("it leads to {to}, which is not followed: write that URL");
        }
        Ok((status, answer.into_body()))
    }
}

/// That a URL can be asked. What it says of a password is not told.
pub(crate) fn check(url: &Uri) -> anyhow::Result<()> {
    let authority = url.authority().map(Authority::as_str).unwrap_or_default();
    ensure!(!authority.contains('@'), "a URL has no password here: give it as a header, -H 'authorization: Basic ...'");
    let scheme = url.scheme_str().with_context(|| format!("`{url}` does not begin with http:// or https://"))?;
    ensure!(["http", "https"].contains(&scheme), "`{url}` does not begin with http:// or https://");
    ensure!(!url.host().unwrap_or_default().is_empty(), "`{url}` names no host");
    Ok(())
}

/// What a page that was not expected says, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked_is_a_url_without_a_password() {
        let check = |url: &str, said: Option<&str>| {
            let told = check(&url.parse().expect(url)).err().map(|error| error.to_string());
            assert_eq!(told.is_some(), said.is_some(), "{url}: {told:?}");
            assert!(told.unwrap_or_default().contains(said.unwrap_or_default()), "{url}");
        };
        check("http://prometheus:9090", None);
        check("https://mimir.example/prometheus", None);
        check("http://me:hush@prometheus:9090", Some("-H 'authorization: Basic ...'"));
        check("prometheus", Some("`prometheus` does not begin with http://"));
        check("ftp://prometheus/", Some("does not begin with http://"));
    }
}
