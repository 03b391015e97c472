//! `turnout compare`: what the two models answer to the same requests, field by field. It tells and decides nothing; that is
//! `turnout verdict`.

use crate::evidence::{EvidenceArguments, WebArguments};
use crate::output::{DONE, Output, columns, print, print_json, thousands};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use turnout_verdict::evidence::{Field, PolicyEvidence, Shadow};

/// Shows what the two models answered to the same requests, field by field.
///
/// Of each field: in how many pairs both have it, in what part of them they agree, in what part the stable model differs from
/// itself when it is asked twice (the noise), how much more often the candidate differs than that (the excess), and by how
/// much its numbers are larger or smaller (the bias).
///
/// Exit code: 0 it is shown, 2 a page cannot be read.
#[derive(Args)]
#[command(group = ArgGroup::new("pages").arg("evidence").required(true),
          after_help = "Example:\n  turnout compare --evidence http://10.0.0.7:15021 http://10.0.0.8:15021")]
pub(crate) struct Arguments {
    #[command(flatten)]
    evidence: EvidenceArguments,

    #[command(flatten)]
    web: WebArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let policy = arguments.evidence.pages(arguments.web.web()?)?.read().await?;
    let shadow = shadow_of(&policy);
    match arguments.output {
        Output::Text => print(&text(&policy.policy, &shadow))?,
        Output::Json => print_json(&to_json(&policy, &shadow))?,
    }
    Ok(DONE)
}

/// Of all its revisions.
fn shadow_of(policy: &PolicyEvidence) -> Shadow {
    let mut sum = Shadow::default();
    policy.epochs.iter().filter_map(|epoch| epoch.shadow.as_ref()).for_each(|shadow| sum.add(shadow));
    sum
}

/// A table, and what does not fit into it.
fn text(policy: &str, shadow: &Shadow) -> String {
    let mut lines = vec![format!(
        "{policy}: {} of {} copies compared, {} of them with a second answer of stable",
        thousands(shadow.pairs),
        thousands(shadow.copies),
        thousands(shadow.noise_pairs)
    )];
    if !shadow.skipped.is_empty() {
        lines.push(format!("skipped: {}", counts(&shadow.skipped)));
    }
    let (candidate, stable) = (shadow.only_candidate_failed, shadow.only_stable_failed);
    if candidate + stable > 0 {
        let (candidate, stable) = (thousands(candidate), thousands(stable));
        lines.push(format!("only the candidate failed: {candidate}; only stable failed: {stable}"));
    }
    if !shadow.fields.is_empty() {
        let heading = ["FIELD", "PAIRS", "AGREE", "NOISE", "EXCESS", "BIAS"].map(str::to_owned).to_vec();
        let rows: Vec<_> = [heading].into_iter().chain(shadow.fields.iter().map(row)).collect();
        lines.push(columns(&rows));
    }
    if shadow.fields_left_out > 0 {
        lines.push(format!(
            "left out, beyond the most fields that are kept: {} values",
            thousands(shadow.fields_left_out)
        ));
    }
    if !shadow.schema_changes.is_empty() {
        lines.push(format!("schema changes, in so many pairs: {}", counts(&shadow.schema_changes)));
    }
    lines.join("\n")
}

fn counts(named: &BTreeMap<String, u64>) -> String {
    named.iter().map(|(name, count)| format!("{name} {}", thousands(*count))).collect::<Vec<_>>().join(", ")
}

fn row(field: &Field) -> Vec<String> {
    let percent = |part: Option<f64>| part.map_or_else(|| "–".to_owned(), |part| format!("{:.2} %", part * 100.0));
    let excess = excess(field).map_or_else(|| "–".to_owned(), |excess| format!("{:+.2} %", excess * 100.0));
    let agreement = part(field.differ, field.compared).map(|differ| 1.0 - differ);
    let noise = part(field.noise_differ, field.noise_compared);
    let path = if field.path.is_empty() { "(the whole)".to_owned() } else { field.path.clone() };
    vec![path, thousands(field.compared), percent(agreement), percent(noise), excess, bias(field)]
}

/// In the value's own unit, or in per cent of the values.
fn bias(field: &Field) -> String {
    let (scale, mean) = (field.bias.scale(), field.bias.mean());
    match field.bias.count() {
        0 => "–".to_owned(),
        _ if scale > 0.0 => format!("{:+.4}", mean * scale),
        _ => format!("{:+.2} %", mean * 100.0),
    }
}

/// How much more often the candidate differs from stable than stable does from itself.
fn excess(field: &Field) -> Option<f64> {
    Some(part(field.differ, field.compared)? - part(field.noise_differ, field.noise_compared)?)
}

#[expect(clippy::cast_precision_loss, reason = "counts of pairs stay far below 2^52")]
fn part(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

fn to_json(policy: &PolicyEvidence, shadow: &Shadow) -> Value {
    let field = |field: &Field| {
        let (count, scale) = (field.bias.count(), field.bias.scale());
        let bias = (count > 0).then(|| json!({ "mean": field.bias.mean(), "scale": scale, "count": count }));
        json!({
            "path": field.path, "pairs": field.compared,
            "agreement": part(field.differ, field.compared).map(|differ| 1.0 - differ),
            "noise": part(field.noise_differ, field.noise_compared), "excess": excess(field), "bias": bias,
        })
    };
    json!({
        "policy": policy.policy, "salt": policy.salt,
        "copies": shadow.copies, "pairs": shadow.pairs, "noisePairs": shadow.noise_pairs, "skipped": shadow.skipped,
        "onlyCandidateFailed": shadow.only_candidate_failed, "onlyStableFailed": shadow.only_stable_failed,
        "fields": shadow.fields.iter().map(field).collect::<Vec<_>>(),
        "fieldsLeftOut": shadow.fields_left_out, "schemaChanges": shadow.schema_changes,
    })
}
