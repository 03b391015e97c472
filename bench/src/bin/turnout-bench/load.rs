//! `turnout-bench load URL`: one kind of request to one server, and a short table or JSON of what came of it.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use turnout_bench::{Ended, Label, Latency, Load, Pace, Protocol, Report, Total, Variant};

/// Sends requests over keep-alive connections and reports failures, statuses and latency.
///
/// A request that gets no complete response, or a status of 400 and above, is a failure. A connection that the server closes
/// between two requests is reopened and is none. Ctrl-C ends the run and prints what there is.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to send the requests; http only.
    url: Uri,
    /// How many requests to send.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// How many keep-alive connections to use.
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 8, value_parser = count_up_to_10000)]
    connections: usize,
    /// Speak HTTP/2 with prior knowledge instead of HTTP/1.1.
    #[arg(long)]
    http2: bool,
    /// How many requests to keep in flight on each HTTP/2 connection.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count_up_to_10000, requires = "http2")]
    streams: usize,
    /// The method [default: GET, or POST with a body].
    #[arg(short = 'X', long)]
    method: Option<Method>,
    /// A header to send; repeatable. Host replaces the host of the URL.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body to send, as application/json unless a header says otherwise.
    #[arg(short = 'd', long, value_name = "TEXT")]
    data: Option<String>,
    /// Requests a second at a constant rate, with latency counted from the moment a request is due, so that the time it waits
    /// for a free connection is in it. Without it each connection sends its next request when it has the last response.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Seconds that one request may take, connecting included.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Seconds after which no more requests are sent; if some are missing then, the exit status is 1.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    max_seconds: u64,
    /// Count the responses by the value of this response header.
    #[arg(long, value_name = "NAME", conflicts_with = "label_body")]
    label_header: Option<HeaderName>,
    /// Count the responses by the text of their body.
    #[arg(long)]
    label_body: bool,
    /// How to print the result.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  turnout-bench load http://127.0.0.1:8080/score -n 10000 -c 32 --label-body
  turnout-bench load http://127.0.0.1:8080/score -d '{\"data\": [1]}' -H 'x-api-version: blue'
  turnout-bench load http://127.0.0.1:8080/score --rate 500 -n 5000 -o json

Exit status: 0 all requests succeeded, 1 some failed or are missing, 2 nothing could be sent.";

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A few lines for people.
    Table,
    /// JSON, with latencies in microseconds.
    Json,
}

/// Runs the load; whether every request was sent and none failed.
pub(crate) async fn run(arguments: Arguments) -> Result<bool> {
    let load = arguments.load().await?;
    let run = load.start().context("cannot start the load")?;
    let handle = run.handle();
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            handle.stop();
        }
    });
    let report = run.report().await;
    interrupt.abort();

    let mut stdout = std::io::stdout().lock();
    match arguments.output {
        Output::Table => write_table(&mut stdout, &report),
        Output::Json => {
            serde_json::to_writer_pretty(&mut stdout, &report).map_err(Into::into).and_then(|()| writeln!(stdout))
        }
    }
    .context("cannot write the result")?;
    for failure in &report.first_failures {
        eprintln!("failed: {failure}");
    }
    if report.ended != Some(Ended::Complete) {
        eprintln!("ended early: {} of {} requests were sent", report.requests(), arguments.requests);
    }
    Ok(report.failed() == 0 && report.ended == Some(Ended::Complete))
}

impl Arguments {
    async fn load(&self) -> Result<Load> {
        if self.url.scheme_str() != Some("http") {
            bail!("{} is not an http:// URL: TLS is not supported", self.url);
        }
        let authority = self.url.authority().context("the URL has no host")?;
        let mut load =
            Load::new(resolve(authority).await?, Total::Requests(self.requests), vec![self.variant(authority)?]);
        load.protocol = if self.http2 { Protocol::Http2 } else { Protocol::Http1 };
        load.connections = self.connections;
        load.streams = self.streams;
        load.timeout = Duration::from_secs(self.timeout);
        load.max_duration = Duration::from_secs(self.max_seconds);
        if let Some(requests_per_second) = self.rate {
            load.pace = Pace::OpenLoop { requests_per_second };
        }
        load.label = match &self.label_header {
            Some(name) => Label::Header(name.clone()),
            None if self.label_body => Label::Body,
            None => Label::Nothing,
        };
        Ok(load)
    }

    fn variant(&self, authority: &Authority) -> Result<Variant> {
        let path = self.url.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut variant = match &self.data {
            Some(body) => Variant::post_json("requests", path, body.clone()),
            None => Variant::get("requests", path),
        };
        if let Some(method) = &self.method {
            variant.method = method.clone();
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let host = headers.remove(header::HOST);
        let host = host
            .map(|host| Authority::try_from(host.as_bytes()))
            .transpose()
            .context("the Host header is not a host")?;
        variant.authority = Some(host.unwrap_or_else(|| authority.clone()));
        // A header that the user gives replaces a default one of the same name.
        variant.headers.extend(headers);
        Ok(variant)
    }
}

async fn resolve(authority: &Authority) -> Result<SocketAddr> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let mut addrs = tokio::net::lookup_host((host, port)).await.with_context(|| format!("cannot resolve {host}"))?;
    addrs.next().with_context(|| format!("{host} has no address"))
}

fn count_up_to_10000(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(count),
        _ => bail!("give a number from 1 to 10000"),
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').context("write a header as 'name: value'")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

fn write_table(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let total = report.total();
    writeln!(
        out,
        "requests  {} in {:.2} s ({:.0}/s), {} connections opened",
        total.requests,
        report.elapsed.as_secs_f64(),
        report.requests_per_second(),
        report.connections_opened
    )?;
    writeln!(out, "failed    {}{}", report.failed(), listed(" (", total.failures.iter(), ")"))?;
    if !total.statuses.is_empty() {
        writeln!(out, "statuses  {}", listed("", total.statuses.iter(), ""))?;
    }
    if !total.answers.is_empty() {
        writeln!(out, "answers   {}", listed("", total.answers.iter(), ""))?;
    }
    writeln!(out, "latency   {}", latency_line(&total.latency))
}

fn listed<'a, K: std::fmt::Display + 'a>(
    before: &str,
    counts: impl Iterator<Item = (&'a K, &'a u64)>,
    after: &str,
) -> String {
    let counts: Vec<String> = counts.map(|(what, count)| format!("{what}: {count}")).collect();
    if counts.is_empty() { String::new() } else { format!("{before}{}{after}", counts.join(", ")) }
}

fn latency_line(latency: &Latency) -> String {
    if latency.count() == 0 {
        return "no complete response".to_owned();
    }
    let millis = |micros: u64| format!("{}.{:03} ms", micros / 1000, micros % 1000);
    let (p50, p90, p99) = (millis(latency.p50_us()), millis(latency.p90_us()), millis(latency.p99_us()));
    format!("p50 {p50}, p90 {p90}, p99 {p99}, max {}", millis(latency.max_us()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Line::try_parse_from([&["load"], line].concat()).map(|line| line.arguments)
    }

    #[tokio::test]
    async fn a_line_like_that_of_curl_becomes_a_request() {
        let line = ["http://127.0.0.1:81/score?a=1", "-d", "{}", "-H", "Host: abc.example", "-H", "x-api-version:blue"];
        let load = parse(&line).unwrap().load().await.unwrap();
        let variant = &load.variants[0];
        assert_eq!(load.target, "127.0.0.1:81".parse().unwrap());
        assert_eq!((&variant.method, variant.path.as_str()), (&Method::POST, "/score?a=1"));
        assert_eq!(variant.authority.as_ref().unwrap(), "abc.example");
        assert_eq!(variant.headers["x-api-version"], "blue");
        assert_eq!(variant.headers["content-type"], "application/json");
        assert!(!variant.headers.contains_key("host"));
    }

    #[tokio::test]
    async fn a_given_content_type_replaces_the_default() {
        let load =
            parse(&["http://127.0.0.1", "-d", "a=1", "-H", "content-type: text/plain"]).unwrap().load().await.unwrap();
        let types: Vec<_> = load.variants[0].headers.get_all("content-type").iter().collect();
        assert_eq!(types, ["text/plain"]);
        assert_eq!((load.target.port(), load.variants[0].path.as_str()), (80, "/"));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let check = |line: &[&str]| assert!(parse(line).is_err(), "{line:?}");
        check(&[]);
        check(&["http://127.0.0.1", "-n", "0"]);
        check(&["http://127.0.0.1", "-c", "0"]);
        check(&["http://127.0.0.1", "-c", "10001"]);
        check(&["http://127.0.0.1", "--rate", "0"]);
        check(&["http://127.0.0.1", "--streams", "2"]);
        check(&["http://127.0.0.1", "-H", "no colon"]);
        check(&["http://127.0.0.1", "--label-body", "--label-header", "server"]);
    }

    #[tokio::test]
    async fn other_schemes_are_refused() {
        for url in ["https://127.0.0.1/", "/score", "127.0.0.1:80"] {
            assert!(parse(&[url]).unwrap().load().await.is_err(), "{url}");
        }
    }

    #[test]
    fn latency_is_printed_in_milliseconds() {
        assert_eq!(latency_line(&Latency::default()), "no complete response");
    }
}
