//! `turnout probe`: scores through a gateway as its users do, with and without the header that picks a version. It is
//! what `helm test` runs.

use crate::client::http::{Call, answer_to};
use crate::output::{DONE, FAILED, Output, columns, print, print_json};
use crate::wait::parse_timeout;
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Method, Response, Uri};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The header that picks a version, and what it may say.
const VERSION_HEADER: &str = "x-api-version";
const VERSIONS: [Option<&str>; 3] = [None, Some("blue"), Some("green")];
/// Where a gateway says why it answers itself, and what it says of a version that is not there.
const REASON_HEADER: &str = "x-turnout-reason";
const ABSENT: &str = "backend_absent";
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest time that one request gets, however late it is.
const SHORTEST: Duration = Duration::from_secs(2);
/// As much of an answer as is shown.
const SHOWN_CHARACTERS: usize = 60;

/// Sends scoring requests through a gateway, and tells what answers.
///
/// A GET and a POST each without a version, and with x-api-version blue and green. Tries again until all is well or the
/// time is up.
///
/// Exit code: 0 all is well, 1 a request failed, 2 usage. Without --expect-pins only the requests without a version
/// count.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to, as http://ADDRESS:PORT/PATH; without a path it is /score.
    #[arg(long, value_name = "URL", env = "TURNOUT_URL")]
    url: Uri,

    /// The requests that pick a version must be answered, too: by a model, or by 503 backend_absent if that version is
    /// not there, as blue is between rollouts.
    #[arg(long, env = "TURNOUT_EXPECT_PINS")]
    expect_pins: bool,

    /// The Host header [default: that of the URL].
    #[arg(long, value_name = "NAME", env = "TURNOUT_HOST")]
    host: Option<String>,

    /// The body of the POST.
    #[arg(long, value_name = "JSON", env = "TURNOUT_BODY", default_value = r#"{"data": [[1, 2, 3, 4]]}"#)]
    body: String,

    /// How long it is tried, as 90s, 5m or 1h30m; a number alone is seconds.
    #[arg(long, value_name = "TIME", env = "TURNOUT_TIMEOUT", default_value = "10s", value_parser = parse_timeout)]
    timeout: Duration,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

/// Where requests go.
struct Destination {
    address: String,
    host: String,
    path: String,
}

/// What became of a request.
struct Outcome {
    method: Method,
    version: Option<&'static str>,
    answer: Answer,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// A model's, or anything that is no error.
    Served { status: u16, body: String },
    /// The version is not there, as the gateway says.
    Absent,
    /// An error, or none at all.
    Failed(String),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let destination = Destination::of(&arguments)?;
    let deadline = Instant::now() + arguments.timeout;
    let outcomes = loop {
        let outcomes = attempt(&destination, &arguments.body, deadline).await;
        if Instant::now() + PAUSE > deadline || is_well(&outcomes, arguments.expect_pins) {
            break outcomes;
        }
        sleep(PAUSE).await;
    };
    let well = is_well(&outcomes, arguments.expect_pins);
    match arguments.output {
        Output::Text => print(&text(&outcomes, &destination.path))?,
        Output::Json => {
            let requests: Vec<_> = outcomes.iter().map(Outcome::to_json).collect();
            print_json(&json!({ "well": well, "url": arguments.url.to_string(), "requests": requests }))?;
        }
    }
    Ok(if well { DONE } else { FAILED })
}

impl Destination {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let url = &arguments.url;
        ensure!(url.scheme_str() == Some("http"), "--url: `{url}` is not http://...: a probe speaks HTTP without TLS");
        let authority = url.authority().context("--url names no host")?;
        let path = match url.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => "/score",
            path => path,
        };
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            host: arguments.host.clone().unwrap_or_else(|| authority.to_string()),
            path: path.to_owned(),
        })
    }
}

/// Sends every request once, one after the other.
async fn attempt(destination: &Destination, body: &str, deadline: Instant) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for version in VERSIONS {
        for method in [Method::GET, Method::POST] {
            let call = Call {
                address: &destination.address,
                path: &destination.path,
                body: (method == Method::POST).then_some(body),
                header: version.map(|version| (VERSION_HEADER, version)),
            };
            let left = deadline.saturating_duration_since(Instant::now()).max(SHORTEST);
            let answer = Answer::of(answer_to(&call, &destination.host, left).await);
            outcomes.push(Outcome { method, version, answer });
        }
    }
    outcomes
}

impl Answer {
    fn of(answer: anyhow::Result<Response<Bytes>>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Self::Failed(format!("{error:#}")),
        };
        let reason = answer.headers().get(REASON_HEADER).and_then(|reason| reason.to_str().ok());
        let body: String = String::from_utf8_lossy(answer.body()).chars().take(SHOWN_CHARACTERS).collect();
        let body = body.replace(char::is_control, " ");
        let status = answer.status();
        match reason {
            Some(ABSENT) => Self::Absent,
            _ if status.is_success() => Self::Served { status: status.as_u16(), body },
            Some(reason) => Self::Failed(format!("{} {reason}", status.as_u16())),
            None => Self::Failed(format!("{} {body}", status.as_u16())),
        }
    }
}

/// Whether every request that counts went well. Nobody asks for a version that is not there without picking it.
fn is_well(outcomes: &[Outcome], expect_pins: bool) -> bool {
    outcomes.iter().all(|outcome| match (&outcome.answer, outcome.version) {
        (Answer::Served { .. }, _) | (Answer::Absent, Some(_)) => true,
        (Answer::Absent, None) => false,
        (Answer::Failed(_), version) => version.is_some() && !expect_pins,
    })
}

fn text(outcomes: &[Outcome], path: &str) -> String {
    let row = |outcome: &Outcome| {
        let version = outcome.version.map(|version| format!("{VERSION_HEADER}: {version}")).unwrap_or_default();
        let (verdict, said) = match &outcome.answer {
            Answer::Served { status, body } => ("answered", format!("{status} {body}")),
            Answer::Absent => ("absent", format!("503 {ABSENT}")),
            Answer::Failed(why) => ("failed", why.clone()),
        };
        vec![outcome.method.to_string(), path.to_owned(), version, verdict.to_owned(), said]
    };
    columns(&outcomes.iter().map(row).collect::<Vec<_>>())
}

impl Outcome {
    fn to_json(&self) -> serde_json::Value {
        let (result, status, said) = match &self.answer {
            Answer::Served { status, body } => ("answered", Some(*status), body.as_str()),
            Answer::Absent => ("absent", Some(503), ABSENT),
            Answer::Failed(why) => ("failed", None, why.as_str()),
        };
        json!({
            "method": self.method.as_str(), "version": self.version, "result": result, "status": status, "said": said,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    fn answer(status: u16, reason: Option<&str>, body: &'static str) -> Answer {
        let mut response = Response::builder().status(status);
        if let Some(reason) = reason {
            response = response.header(REASON_HEADER, reason);
        }
        Answer::of(Ok(response.body(Bytes::from_static(body.as_bytes())).unwrap()))
    }

    #[test]
    fn an_answer_is_a_model_s_an_absence_or_a_failure() {
        let served = |body: &str| Answer::Served { status: 200, body: body.to_owned() };
        assert_eq!(answer(200, None, "\"New\nModel\""), served("\"New Model\""));
        assert_eq!(answer(503, Some("backend_absent"), "{}"), Answer::Absent);
        assert_eq!(answer(503, Some("no_endpoint"), "{}"), Answer::Failed("503 no_endpoint".to_owned()));
        assert_eq!(answer(500, None, "oh"), Answer::Failed("500 oh".to_owned()));
        assert_eq!(answer(301, None, ""), Answer::Failed("301 ".to_owned()));
        assert_eq!(Answer::of(Err(anyhow::anyhow!("gone"))), Answer::Failed("gone".to_owned()));
    }

    #[test]
    fn what_counts_depends_on_what_is_expected() {
        let served = || answer(200, None, "");
        let failed = || Answer::Failed("500".to_owned());
        let check = |version: Option<&'static str>, answer: Answer, well: bool, well_with_pins: bool| {
            let outcomes = [Outcome { method: Method::GET, version, answer }];
            assert_eq!((is_well(&outcomes, false), is_well(&outcomes, true)), (well, well_with_pins));
        };
        check(None, served(), true, true);
        check(None, Answer::Absent, false, false);
        check(None, failed(), false, false);
        check(Some("blue"), served(), true, true);
        check(Some("blue"), Answer::Absent, true, true);
        check(Some("blue"), failed(), true, false);
    }

    #[test]
    fn the_destination_is_the_url_with_its_defaults() {
        let check = |url: &str, host: Option<&str>, expected: (&str, &str, &str)| {
            let arguments = Arguments {
                url: url.parse().unwrap(),
                expect_pins: false,
                host: host.map(str::to_owned),
                body: String::new(),
                timeout: Duration::ZERO,
                output: Output::Text,
            };
            let destination = Destination::of(&arguments).unwrap();
            assert_eq!((&*destination.address, &*destination.host, &*destination.path), expected, "{url}");
        };
        check("http://gateway.ns:8080/score?a=b", None, ("gateway.ns:8080", "gateway.ns:8080", "/score?a=b"));
        check("http://gateway", None, ("gateway:80", "gateway", "/score"));
        check("http://[::1]:9/", Some("model"), ("[::1]:9", "model", "/score"));
    }
}
