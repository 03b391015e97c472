//! `turnout lint`: what a gateway would say of routes, before it sees them. Parser and router are the gateway's own;
//! nothing is checked here.

use crate::output::{DONE, FAILED, Output, print, print_json};
use crate::route_files::GatewayArguments;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use turnout_routes::Problem;

/// Checks routes as a gateway does: every problem with file, line, document, field and what to write instead.
///
/// Each FILE is a set of routes of its own; a directory is one set, like a mounted ConfigMap.
/// A warning tells of what is doubtful: a name that leads nowhere and is much like one that is there, or a destination
/// whose requests would get 503 because a subset, a port or an endpoint is not there.
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

/// What a gateway would say of one set of routes.
#[derive(Serialize)]
struct Checked {
    file: String,
    accepted: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    notices: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut results = Vec::new();
    let mut accepted = true;
    for file in &arguments.files {
        let checked = Checked::read(file, &arguments.gateway)?;
        accepted &= checked.accepted;
        if arguments.output == Output::Text {
            checked.print()?;
        }
        results.push(checked);
    }
    if arguments.output == Output::Json {
        print_json(&json!({ "accepted": accepted, "files": results }))?;
    }
    Ok(if accepted { DONE } else { FAILED })
}

impl Checked {
    fn read(file: &Path, gateway: &GatewayArguments) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let texts = gateway.read(file)?;
        Ok(match texts.parse() {
            Ok(parsed) => {
                let router = gateway.compile(&parsed.documents);
                Self {
                    file: name,
                    accepted: true,
                    problems: parsed.warnings,
                    warnings: texts.warnings(&router),
                    notices: router.notices().iter().map(ToString::to_string).collect(),
                }
            }
            Err(problems) => Self {
                file: name,
                accepted: false,
                problems: problems.as_slice().to_vec(),
                warnings: Vec::new(),
                notices: Vec::new(),
            },
        })
    }

    fn print(&self) -> anyhow::Result<()> {
        let file = &self.file;
        for problem in self.problems.iter().chain(&self.warnings) {
            print(&problem.to_string())?;
        }
        for notice in &self.notices {
            print(&format!("{file}: note: {notice}"))?;
        }
        print(&format!("{file}: {}", if self.accepted { "accepted" } else { "refused" }))?;
        Ok(())
    }
}
