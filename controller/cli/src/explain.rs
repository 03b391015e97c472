//! `turnout explain`: where one request would go, and which rule says so, without sending it. It asks the router that
//! the gateway uses, so that the answer is the gateway's own.

use crate::output::{DONE, Output, print, print_json};
use crate::route_files::GatewayArguments;
use clap::Args;
use std::path::PathBuf;
use turnout_routes::explain::{Explanation, Inquiry, Share, explain};

/// Says where a request would go: the rule that governs it and each backend's share.
///
/// Nothing is sent. Exit code: 0 it is explained (also if no rule matches), 2 the routes or the request are bad.
#[derive(Args)]
#[command(
    after_help = "Example:\n  turnout explain --routes routes.yaml POST http://localhost/score -H 'x-api-version: blue'"
)]
pub(crate) struct Arguments {
    /// The routes: a YAML file, a directory laid out like a mounted ConfigMap, or - for standard input.
    #[arg(long, value_name = "PATH", env = "TURNOUT_ROUTES")]
    routes: PathBuf,

    /// The request's method.
    method: String,

    /// The request's URL, or its path alone.
    url: String,

    /// A header of the request, repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", env = "TURNOUT_HEADER")]
    headers: Vec<String>,

    /// The Gateway's port.number [default: the URL's port; the only Gateway port, if the URL's is none].
    #[arg(long, value_name = "GATEWAY_PORT", env = "TURNOUT_EXPLAIN_PORT")]
    port: Option<u16>,

    #[command(flatten)]
    gateway: GatewayArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let router = arguments.gateway.compile(&arguments.gateway.read_documents(&arguments.routes)?);
    let headers = arguments.headers.iter().map(String::as_str);
    let inquiry = Inquiry::new(&arguments.method, &arguments.url, headers)?;
    let inquiry = match arguments.port {
        Some(port) => inquiry.on_port(port),
        None => inquiry.on_only_port(&router),
    };
    let explanation = explain(&router, &inquiry);
    match arguments.output {
        Output::Text => print(&describe(&explanation))?,
        Output::Json => print_json(&explanation)?,
    }
    Ok(DONE)
}

/// An explanation for people.
fn describe(explanation: &Explanation) -> String {
    let rule = match explanation {
        Explanation::Forward { route, target, .. } => format!("rule   {route}\nsends  {target}\n"),
        Explanation::Redirect { route: Some(route), .. } | Explanation::DirectResponse { route, .. } => {
            format!("rule   {route}\n")
        }
        Explanation::Redirect { route: None, .. } => "rule   httpsRedirect of the Gateway\n".to_owned(),
        Explanation::NoRoute { .. } => String::new(),
    };
    let mut lines = vec![format!("{rule}to     {}", outcomes(explanation).join("\n       "))];
    match explanation {
        Explanation::Forward { also, .. } => lines.extend(also.iter().map(|also| format!("also   {also}"))),
        Explanation::NoRoute { warnings } => {
            lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
        }
        Explanation::Redirect { .. } | Explanation::DirectResponse { .. } => {}
    }
    lines.join("\n")
}

/// In one line where a request goes.
pub(crate) fn outcome(explanation: &Explanation) -> String {
    outcomes(explanation).join(", ")
}

/// Where a request goes: each backend with its share, or the one answer that there is.
fn outcomes(explanation: &Explanation) -> Vec<String> {
    match explanation {
        Explanation::Forward { backends, .. } => backends.iter().map(describe_share).collect(),
        Explanation::Redirect { status, location, .. } => vec![format!("{status} {location}")],
        Explanation::DirectResponse { status, .. } => vec![format!("{status}, answered by the gateway")],
        Explanation::NoRoute { .. } => vec!["404: no rule matches".to_owned()],
    }
}

fn describe_share(share: &Share) -> String {
    let percent = format!("{:.6}", share.share * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let missing = share.missing.as_ref().map(|missing| format!("503: {missing}"));
    let doubt: Vec<String> = missing.into_iter().chain(share.advice.clone()).collect();
    let doubt = if doubt.is_empty() { String::new() } else { format!(" ({})", doubt.join("; ")) };
    format!("{percent} % {}{doubt}", share.backend)
}
