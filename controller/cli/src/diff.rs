//! `turnout diff`: which requests change destination between two sets of routes. It cannot try every request there is;
//! it tries those that the conditions in both sets name, and says what it could not try.

mod probes;
mod sample;

use crate::explain::outcome;
use crate::output::{DONE, FAILED, Output, print, print_json};
use crate::route_files::GatewayArguments;
use clap::Args;
use probes::Probe;
use serde::Serialize;
use std::path::PathBuf;
use turnout_routes::explain::{Explanation, Share, explain};
use turnout_routes::router::Router;

/// Says which requests change destination from OLD to NEW.
///
/// It probes the conditions that the two files name, and nothing else: for each rule of each host a request that meets
/// its conditions, one with the same path and nothing else, and one for the host's root. It compares where they go and
/// in which shares; the order and the names of the rules do not count. Regular expressions are probed where a text that
/// matches is easily found, else they are listed as not probed. Time-outs, retries and header operations are not
/// compared.
///
/// Exit code: 0 no probe changes, 1 some do, 2 one of the files is bad.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The routes before: a YAML file, a directory, or - for standard input.
    old: PathBuf,

    /// The routes after.
    new: PathBuf,

    #[command(flatten)]
    gateway: GatewayArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

#[derive(Serialize)]
struct Difference {
    probed: usize,
    changes: Vec<Change>,
    not_probed: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    request: String,
    before: Explanation,
    after: Explanation,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let gateway = &arguments.gateway;
    let (old, new) = (gateway.read_documents(&arguments.old)?, gateway.read_documents(&arguments.new)?);
    let mut probes = probes::Probes::default();
    probes.add(&old, gateway.namespace());
    probes.add(&new, gateway.namespace());
    let routers = [gateway.compile(&old), gateway.compile(&new)];
    let changes = probes.probes.iter().filter_map(|probe| compare(probe, &routers)).collect();
    let difference = Difference { probed: probes.probes.len(), changes, not_probed: probes.not_probed };
    match arguments.output {
        Output::Text => print(&describe(&difference))?,
        Output::Json => print_json(&difference)?,
    }
    Ok(if difference.changes.is_empty() { DONE } else { FAILED })
}

fn compare(probe: &Probe, [old, new]: &[Router; 2]) -> Option<Change> {
    let inquiry = probe.inquiry()?;
    let (before, after) = (explain(old, &inquiry), explain(new, &inquiry));
    (destination(&before) != destination(&after)).then(|| Change { request: probe.to_string(), before, after })
}

/// What counts of an explanation: not the rule's place, not the order of the backends, and not what to do about it.
fn destination(explanation: &Explanation) -> Explanation {
    let mut destination = explanation.clone();
    match &mut destination {
        Explanation::Forward { route, backends, .. } => {
            route.clear();
            backends.sort_by(|one: &Share, other| one.backend.cmp(&other.backend));
            for share in backends {
                share.advice = None;
            }
        }
        Explanation::Redirect { route, .. } => *route = None,
        Explanation::DirectResponse { route, .. } => route.clear(),
        Explanation::NoRoute { warnings } => warnings.clear(),
    }
    destination
}

fn describe(difference: &Difference) -> String {
    let mut lines = Vec::new();
    for change in &difference.changes {
        lines.push(change.request.clone());
        lines.push(format!("  before  {}", outcome_with_target(&change.before)));
        lines.push(format!("  after   {}", outcome_with_target(&change.after)));
    }
    lines.extend(difference.not_probed.iter().map(|condition| format!("not probed: {condition}")));
    lines.push(format!("{} of {} probed requests change destination", difference.changes.len(), difference.probed));
    lines.join("\n")
}

fn outcome_with_target(explanation: &Explanation) -> String {
    match explanation {
        Explanation::Forward { target, .. } => format!("{}, as {target}", outcome(explanation)),
        _ => outcome(explanation),
    }
}
