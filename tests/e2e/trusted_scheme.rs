//! Behind a proxy that ends TLS the scheme is the one that the client used: what a trusted proxy says of it counts for
//! redirects to https, for matches and for locations; what anybody else says counts for nothing.

use turnout_tests::bed::{Bed, PORT, documents};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;

const RULES: &str = "- match: [{uri: {prefix: /moved}}]
  redirect: {uri: /there}
- match: [{scheme: {exact: https}}]
  route: [{destination: {host: green}}]
- route: [{destination: {host: blue}}]";

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The backend that served it, and the scheme that it was told.
    Served(&'static str, &'static str),
    Redirected(&'static str),
}
use Seen::{Redirected, Served};

async fn seen(bed: &Bed, path: &str, scheme: &str) -> anyhow::Result<(u16, String)> {
    bed.backends.clear();
    let request = RawRequest::get(path);
    let request = if scheme.is_empty() { request } else { request.header("X-Forwarded-Proto", scheme) };
    let response = bed.send(&request).await?;
    let told = bed.backends.received().pop();
    let told = told.and_then(|told| told.headers.first("x-forwarded-proto").map(str::to_owned));
    let what = match response.backend() {
        Some(backend) => format!("{backend} {}", told.unwrap_or_default()),
        None => response.header("location").unwrap_or_default().to_owned(),
    };
    Ok((response.status, what))
}

#[tokio::test]
async fn a_trusted_proxy_says_which_scheme_the_client_used() -> anyhow::Result<()> {
    const TRUSTED: &str = "127.0.0.0/8";
    const OTHER: &str = "10.0.0.0/8";
    // Whom the gateway trusts, whether clear text is redirected, the path, the scheme that is claimed.
    let table = [
        (TRUSTED, false, "/", "https", Served("green", "https")),
        (TRUSTED, false, "/", "http", Served("blue", "http")),
        (TRUSTED, false, "/", "", Served("blue", "http")),
        (TRUSTED, false, "/moved", "https", Redirected("https://scoring.example.com/there")),
        (TRUSTED, false, "/moved", "http", Redirected("http://scoring.example.com/there")),
        (TRUSTED, true, "/", "https", Served("green", "https")),
        (TRUSTED, true, "/", "http", Redirected("https://scoring.example.com/")),
        (TRUSTED, true, "/a?b", "", Redirected("https://scoring.example.com/a?b")),
        (OTHER, false, "/", "https", Served("blue", "http")),
        (OTHER, false, "/moved", "https", Redirected("http://scoring.example.com/there")),
        (OTHER, true, "/", "https", Redirected("https://scoring.example.com/")),
    ];
    let mut problems = Vec::new();
    for trusted in [TRUSTED, OTHER] {
        for redirects in [false, true] {
            let backends = Backends::start().await?;
            let mut documents = documents(&backends, RULES);
            if redirects {
                documents = documents.replacen("hosts: [\"*\"]}", "hosts: [\"*\"], tls: {httpsRedirect: true}}", 1);
            }
            let bed = Bed::over(backends, &documents, &[PORT], &["--trusted-proxies", trusted]).await?;
            for (_, _, path, scheme, right) in table.iter().filter(|row| row.0 == trusted && row.1 == redirects) {
                let right = match right {
                    Served(backend, told) => (200, format!("{backend} {told}")),
                    Redirected(location) => (301, (*location).to_owned()),
                };
                let seen = seen(&bed, path, scheme).await?;
                if seen != right {
                    problems
                        .push(format!("{trusted}, redirects: {redirects}, {path} {scheme:?}: {seen:?}, not {right:?}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
