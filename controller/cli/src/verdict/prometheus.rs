//! Counts that a Prometheus has: each the value of an expression, all at the same moment. An answer is one number, or it
//! is said what it is instead, and of which expression.

use super::counts::{Counted, Counts};
use crate::client::web::{self, Web, excerpt};
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use http::{StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Number;

/// Larger values are no whole numbers.
const MOST: f64 = 9_007_199_254_740_992.0;

/// Which Prometheus, and what it is asked.
#[derive(Args, Clone)]
pub(super) struct PrometheusArguments {
    /// A Prometheus, or what has its API, as http://ADDRESS:PORT or with a path that stands before /api/v1.
    #[arg(long, value_name = "URL", env = "TURNOUT_PROMETHEUS", requires_all = ["stable_failures", "candidate_failures"])]
    prometheus: Option<Uri>,

    /// How many requests of stable failed: PromQL whose value is one number.
    #[arg(long, value_name = "EXPR", env = "TURNOUT_STABLE_FAILURES", requires = "prometheus",
          conflicts_with_all = ["stable", "evidence"])]
    stable_failures: Option<String>,

    /// How many requests of the candidate failed, in the same time.
    #[arg(long, value_name = "EXPR", env = "TURNOUT_CANDIDATE_FAILURES", requires = "prometheus",
          conflicts_with_all = ["stable", "evidence"])]
    candidate_failures: Option<String>,

    /// How many requests stable had in that time, and the candidate: then no --share is needed.
    #[arg(long, value_name = "EXPR", env = "TURNOUT_STABLE_REQUESTS", requires = "prometheus",
          conflicts_with_all = ["stable", "evidence"])]
    stable_requests: Option<String>,

    /// As --stable-requests.
    #[arg(long, value_name = "EXPR", env = "TURNOUT_CANDIDATE_REQUESTS", requires = "prometheus",
          conflicts_with_all = ["stable", "evidence"])]
    candidate_requests: Option<String>,
}

/// What is asked, as often as it is looked at.
pub(super) struct Prometheus {
    url: Uri,
    web: Web,
    /// Failures and requests of stable, then of the candidate.
    expressions: [Option<Expression>; 4],
    share: Option<f64>,
}

struct Expression {
    flag: &'static str,
    text: String,
}

impl PrometheusArguments {
    /// If there is one.
    pub(super) fn source(&self, web: Web, share: Option<f64>) -> anyhow::Result<Option<Prometheus>> {
        let Some(url) = self.prometheus.clone() else { return Ok(None) };
        web::check(&url).context("--prometheus")?;
        ensure!(url.query().is_none(), "--prometheus: a URL with a query cannot stand before /api/v1");
        let requests = self.stable_requests.as_ref().zip(self.candidate_requests.as_ref());
        ensure!(
            share.is_some() || requests.is_some(),
            "--share, the candidate's part of the requests, is needed without --stable-requests and --candidate-requests"
        );
        let expression = |flag, text: &Option<String>| text.clone().map(|text| Expression { flag, text });
        let expressions = [
            expression("--stable-failures", &self.stable_failures),
            expression("--stable-requests", &self.stable_requests),
            expression("--candidate-failures", &self.candidate_failures),
            expression("--candidate-requests", &self.candidate_requests),
        ];
        Ok(Some(Prometheus { url, web, expressions, share }))
    }
}

impl Prometheus {
    /// The counts of now.
    pub(super) async fn read(&self) -> anyhow::Result<Counts> {
        let (mut counts, mut moment) = ([None; 4], None);
        for (count, expression) in counts.iter_mut().zip(&self.expressions) {
            let Some(Expression { flag, text }) = expression else { continue };
            let asked = self.ask(text, moment.as_ref()).await;
            let (at, value) = asked.and_then(Reply::value).with_context(|| format!("{flag} {text}"))?;
            *count = Some(whole(value).with_context(|| format!("{flag} {text}"))?);
            moment.get_or_insert(at);
        }
        let [stable_failures, stable_requests, candidate_failures, candidate_requests] = counts;
        let counted = |failures: Option<u64>, requests, arm: &str| {
            let failures = failures.with_context(|| format!("--{arm}-failures is not given"))?;
            Counted::new(failures, requests).map_err(|error| anyhow!("--{arm}-failures, --{arm}-requests: {error}"))
        };
        let stable = counted(stable_failures, stable_requests, "stable")?;
        Counts::new(stable, counted(candidate_failures, candidate_requests, "candidate")?, self.share)
    }

    /// One expression, at a moment of the server's clock; its answer says which it was.
    async fn ask(&self, expression: &str, at: Option<&Number>) -> anyhow::Result<Reply> {
        let base = self.url.to_string();
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let at = at.map(|at| format!("&time={}", encode(&at.to_string()))).unwrap_or_default();
        let url = format!("{}/api/v1/query?query={}{at}", base.trim_end_matches('/'), encode(expression));
        let answer = self.web.get(&url.parse::<Uri>().context("it is too long")?).await;
        let (status, body) = answer.with_context(|| base.clone())?;
        // What Prometheus has to say of an error it says in the same form, under 400, 422 or 503.
        match serde_json::from_slice::<Reply>(&body) {
            Ok(reply) => Ok(reply),
            Err(_) if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN => bail!(
                "{base} answers {status}: {}; give what it asks for by -H 'authorization: Bearer TOKEN'",
                excerpt(&body)
            ),
            Err(_) => bail!("{base} does not answer as a Prometheus does, but {status}: {}", excerpt(&body)),
        }
    }
}

/// What an instant query is answered with.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Reply {
    Success {
        data: Data,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(default)]
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((Number, String)),
    Vector(Vec<Sample>),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

/// A histogram has no value.
#[derive(Deserialize)]
struct Sample {
    value: Option<(Number, String)>,
}

impl Reply {
    /// The moment, and the one number.
    fn value(self) -> anyhow::Result<(Number, f64)> {
        let data = match self {
            Self::Success { data } => data,
            Self::Error { kind, error } => bail!("{kind}: {error}"),
        };
        let (at, text) = match data {
            Data::Scalar(value) => value,
            Data::Vector(mut samples) => match samples.len() {
                1 => samples.remove(0).value.context("it is a histogram; its requests are histogram_count(...)")?,
                0 => bail!("there is no such series; where that means that nothing failed yet, add `or vector(0)`"),
                many => bail!("it has {many} values, not one; sum them up by sum(...)"),
            },
            Data::Matrix(_) => bail!("its values are those of a range, not one; count them by increase(...)"),
            Data::String(_) => bail!("its value is a text, not a number"),
        };
        let value = text.parse::<f64>().with_context(|| format!("its value `{text}` is no number"))?;
        Ok((at, value))
    }
}

/// What is extrapolated, as `increase` does, is rounded.
fn whole(value: f64) -> anyhow::Result<u64> {
    ensure!(value.is_finite(), "its value is {value}, which is no count");
    ensure!(value >= 0.0, "its value is {value}, and no count is below 0");
    ensure!(value <= MOST, "its value is {value:e}; a count is at most {MOST}");
    ensure!(value == 0.0 || value >= 1.0, "its value is {value}, which is no count; use increase(...), not rate(...)");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just compared with both ends")]
    let count = value.round() as u64;
    Ok(count)
}
