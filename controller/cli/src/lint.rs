//! `turnout lint`: what a gateway would say of routes, before it sees them. Parser and router are the gateway's own;
//! nothing is checked here.

use crate::output::{DONE, FAILED, Output, print, print_json};
use crate::routes::{GatewayArguments, RouteTexts};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Checks routes as a gateway does: every problem with file, line, document, field and what to write instead.
///
/// Each FILE is a set of routes of its own; a directory is one set, like a mounted ConfigMap.
/// Exit code: 0 all are accepted (there may be warnings), 1 one is refused, 2 one cannot be read.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A YAML file, a directory of them, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    gateway: GatewayArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut results: Vec<Value> = Vec::new();
    let mut accepted = true;
    for file in &arguments.files {
        let name = file.display().to_string();
        let (is_accepted, problems, notices) = match RouteTexts::read(file)?.parse() {
            Ok(parsed) => {
                let router = arguments.gateway.compile(&parsed.documents);
                (true, parsed.warnings, router.notices().to_vec())
            }
            Err(problems) => (false, problems.as_slice().to_vec(), Vec::new()),
        };
        accepted &= is_accepted;
        if arguments.output == Output::Text {
            for problem in &problems {
                print(&problem.to_string())?;
            }
            for notice in &notices {
                print(&format!("{name}: note: {notice}"))?;
            }
            print(&format!("{name}: {}", if is_accepted { "accepted" } else { "refused" }))?;
        }
        results.push(json!({ "file": name, "accepted": is_accepted, "problems": problems, "notices": notices }));
    }
    if arguments.output == Output::Json {
        print_json(&json!({ "accepted": accepted, "files": results }))?;
    }
    Ok(if accepted { DONE } else { FAILED })
}
