//! `turnout verdict`: whether the proposed model may go on, from whatever counts there are: on the command line, in a
//! Prometheus, or those of gateways. The kernel judges (`turnout-verdict`), here counts are fetched and the verdict is told:
//! by sentences, JSON, the exit code, or at a URL.

mod counts;
mod prometheus;
mod serve;

use crate::evidence::{EvidenceArguments, Pages, WebArguments};
use crate::output::{DONE, FAILED, Output, TIMED_OUT, print, print_json};
use anyhow::ensure;
use clap::{ArgGroup, Args};
use counts::{Counted, Counts, parse_counted, parse_part};
use prometheus::{Prometheus, PrometheusArguments};
use serde_json::{Value, json};
use serve::{parse_listen, serve};
use std::net::SocketAddr;
use turnout_verdict::evidence::Epoch;
use turnout_verdict::judge::{
    AbsoluteRequirement, ComparisonRequirement, Decision, FailureRequirement, Finding, Requirements, State, Verdict,
    judge,
};

/// What a finding says of requests: nothing, where they were not counted.
const OF_REQUESTS: [&str; 5] = ["candidate", "candidateSamples", "stable", "stableSamples", "toGo"];

/// Judges a proposed model (the candidate) against the one in production (stable) by their failures.
///
/// The counts are those of the command line, of a Prometheus, or of gateways. They are of one time, in which the candidate's
/// share did not change (gateways keep times apart themselves), and may be looked at as often as one likes: of candidates
/// that are as good as stable at most --alpha are ever rolled back.
///
/// Exit code: 0 promote, 1 roll back, 2 usage, or a source cannot be read, 3 inconclusive.
#[derive(Args)]
#[command(
    group = ArgGroup::new("source").args(["stable", "prometheus", "evidence"]).required(true),
    after_help = "Examples:
  turnout verdict --stable 12/10000 --candidate 40/10000
  turnout verdict --stable 12 --candidate 40 --share 50%
  turnout verdict --evidence http://10.0.0.7:15021 http://10.0.0.8:15021 -o json"
)]
pub(crate) struct Arguments {
    /// How many requests of stable failed, and of how many, as 12/10000; or 12 alone, with --share.
    #[arg(long, value_name = "FAILURES/REQUESTS", env = "TURNOUT_STABLE", value_parser = parse_counted,
          requires = "candidate", allow_negative_numbers = true)]
    stable: Option<Counted>,

    /// How many requests of the candidate failed, and of how many.
    #[arg(long, value_name = "FAILURES/REQUESTS", env = "TURNOUT_CANDIDATE", value_parser = parse_counted,
          requires = "stable", conflicts_with_all = ["prometheus", "evidence"], allow_negative_numbers = true)]
    candidate: Option<Counted>,

    #[command(flatten)]
    prometheus: PrometheusArguments,

    #[command(flatten)]
    evidence: EvidenceArguments,

    /// The part of the requests that the candidate got, as 10% or 0.1 [default: that of the requests of both].
    #[arg(long, value_name = "PART", env = "TURNOUT_SHARE", value_parser = parse_part, conflicts_with = "evidence")]
    share: Option<f64>,

    #[command(flatten)]
    requirements: RequirementArguments,

    /// Answer at a port, of this machine alone if no address stands before it: /verdict with the verdict as JSON; /promote
    /// and /rollback with the same, and with the status 200 if that is the verdict, else 409. Each looks anew.
    #[arg(long, value_name = "[ADDRESS:]PORT", env = "TURNOUT_SERVE", value_parser = parse_listen,
          conflicts_with = "stable")]
    serve: Option<SocketAddr>,

    #[command(flatten)]
    web: WebArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

/// What is required of the candidate.
#[derive(Args)]
#[command(next_help_heading = "What is required")]
struct RequirementArguments {
    /// Promote once it is shown that the candidate fails less than so many times as often as stable.
    #[arg(long, value_name = "TIMES", env = "TURNOUT_MARGIN", default_value_t = 2.0)]
    margin: f64,

    /// Roll back once it is shown that the candidate fails more than so many times as often as stable.
    #[arg(long, value_name = "TIMES", env = "TURNOUT_RATIO", default_value_t = 1.0)]
    ratio: f64,

    /// How often a verdict may be wrong, however often one looks, as 5% or 0.05.
    #[arg(long, value_name = "PART", env = "TURNOUT_ALPHA", default_value = "5%", value_parser = parse_part)]
    alpha: f64,

    /// Promote once it is shown that less than this part of the candidate's requests fails, as 1% or 0.01, whatever part of
    /// stable's does, and roll back once it is shown that more does [default: the comparison with stable alone counts, by
    /// which nothing can be shown where nothing fails].
    #[arg(long, value_name = "PART", env = "TURNOUT_MAX_FAILURE_RATE", value_parser = parse_part)]
    max_failure_rate: Option<f64>,
}

/// Where the counts come from.
enum Source {
    Given(Counts),
    Prometheus(Prometheus),
    Gateways(Pages),
}

/// What is asked, as often as it is looked at. No look remembers the one before: the candidate may be another one.
struct Judge {
    source: Source,
    requirements: Requirements,
}

/// A verdict, and what it was made of, where that were counts.
struct Judged {
    verdict: Verdict,
    counts: Option<Counts>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let judge = Judge { requirements: arguments.requirements.requirements()?, source: arguments.source()? };
    if let Some(listen) = arguments.serve {
        return serve(listen, judge).await;
    }
    let judged = judge.look().await?;
    match arguments.output {
        Output::Text => print(&judged.text())?,
        Output::Json => print_json(&judged.to_json())?,
    }
    Ok(judged.code())
}

impl Arguments {
    /// One of them is given.
    fn source(&self) -> anyhow::Result<Source> {
        let web = self.web.web()?;
        ensure!(self.evidence.is_whole(), "--policy and --salt are of --evidence");
        if let Some((stable, candidate)) = self.stable.zip(self.candidate) {
            return Ok(Source::Given(Counts::new(stable, candidate, self.share)?));
        }
        if let Some(prometheus) = self.prometheus.source(web.clone(), self.share)? {
            return Ok(Source::Prometheus(prometheus));
        }
        let pages = self.evidence.pages(web)?;
        ensure!(
            self.serve.is_none() || pages.can_be_read_again(),
            "--serve looks anew each time: standard input is read once"
        );
        Ok(Source::Gateways(pages))
    }
}

impl RequirementArguments {
    fn requirements(&self) -> anyhow::Result<Requirements> {
        let Self { margin, ratio, alpha, max_failure_rate } = *self;
        ensure!(ratio > 0.0 && ratio.is_finite(), "--ratio must be above 0, and is {ratio}");
        ensure!(margin > ratio && margin.is_finite(), "--margin must be above --ratio, {ratio}, and is {margin}");
        let negligible = max_failure_rate.unwrap_or(0.0);
        let failures = FailureRequirement { margin, ratio, negligible, ..FailureRequirement::default() };
        let absolute =
            max_failure_rate.map(|at_most| AbsoluteRequirement { at_most, ..AbsoluteRequirement::default() });
        Ok(Requirements { alpha, failures: Some(failures), absolute, ..Requirements::default() })
    }
}

impl Judge {
    async fn look(&self) -> anyhow::Result<Judged> {
        let counts = match &self.source {
            Source::Given(counts) => *counts,
            Source::Prometheus(prometheus) => prometheus.read().await?,
            Source::Gateways(pages) => return Ok(self.of_gateways(&pages.read().await?.epochs)),
        };
        let mut requirements = self.requirements.clone();
        if !counts.has_requests() {
            ensure!(
                requirements.absolute.is_none(),
                "--max-failure-rate is of the candidate's requests: they must be counted"
            );
            // How many they were is not known, and so not asked.
            requirements.minimum = 0;
        }
        let verdict = judge(&requirements, &mut State::default(), &[counts.epoch()]);
        Ok(Judged { verdict, counts: Some(counts) })
    }

    /// What copies were answered counts where there were any. What is slow is told by a rollout alone, which remembers what
    /// was slow before.
    fn of_gateways(&self, epochs: &[Epoch]) -> Judged {
        let pairs = epochs.iter().filter_map(|epoch| epoch.shadow.as_ref()).any(|shadow| shadow.pairs > 0);
        let comparison = pairs.then(ComparisonRequirement::default);
        let requirements = Requirements { comparison, ..self.requirements.clone() };
        Judged { verdict: judge(&requirements, &mut State::default(), epochs), counts: None }
    }
}

impl Judged {
    fn code(&self) -> u8 {
        match self.verdict.decision {
            Decision::Promote => DONE,
            Decision::RollBack => FAILED,
            Decision::Inconclusive => TIMED_OUT,
        }
    }

    /// The decision, and a line for each finding.
    fn text(&self) -> String {
        let p = match self.verdict.p {
            p if p < 0.0001 => "below 0.0001".to_owned(),
            p if p < 0.01 => format!("= {p:.4}"),
            p => format!("= {p:.2}"),
        };
        let decision = match self.verdict.decision {
            Decision::Promote => "Promote: all that is required is shown".to_owned(),
            Decision::RollBack => format!("Roll back: the candidate is worse, p {p}"),
            Decision::Inconclusive => format!("Inconclusive: that the candidate is worse has p {p}"),
        };
        let sentences = self.verdict.findings.iter().map(|finding| self.sentence(finding));
        [decision].into_iter().chain(sentences).collect::<Vec<_>>().join("\n- ")
    }

    /// Of failures alone no part of anything is known.
    fn sentence(&self, finding: &Finding) -> String {
        match &self.counts {
            Some(counts) if !counts.has_requests() => counts.sentence(finding),
            _ => finding.to_string(),
        }
    }

    fn to_json(&self) -> Value {
        let Verdict { decision, e_value, p, findings } = &self.verdict;
        let findings: Vec<Value> = findings.iter().map(|finding| self.finding_to_json(finding)).collect();
        json!({
            "decision": decision, "code": self.code(), "p": p, "eValue": e_value, "counts": self.counts,
            "findings": findings,
        })
    }

    fn finding_to_json(&self, finding: &Finding) -> Value {
        let (mut value, text) = (json!(finding), self.sentence(finding));
        if let (Value::Object(fields), true) = (&mut value, self.counts.is_some_and(|counts| !counts.has_requests())) {
            fields.retain(|name, _| !OF_REQUESTS.contains(&name.as_str()));
        }
        value["text"] = json!(text);
        value
    }
}
