//! Where log lines go: the gateway's own to standard error, the access log to standard output, each in JSON or text.

use crate::telemetry::access_log;
use std::io::IsTerminal;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Sets the process's log up; called once, before anything logs. `filter` is a level or a tracing filter.
pub(crate) fn start(filter: &str, json: bool, access_json: bool) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| format!("--log: `{filter}` is not a filter: {error}"))?;
    // Access log lines have a layer of their own, whatever the filter says.
    let off = format!("{}=off", access_log::TARGET).parse().map_err(|error| format!("--log: {error}"))?;
    let own = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let own: BoxedLayer = if json { own.json().flatten_event(true).boxed() } else { own.boxed() };
    let access = fmt::layer().with_writer(std::io::stdout).with_ansi(false).with_level(false).with_target(false);
    let access: BoxedLayer = if access_json { access.json().flatten_event(true).boxed() } else { access.boxed() };
    let access_only = Targets::new().with_target(access_log::TARGET, tracing::Level::INFO);
    let layers = vec![own.with_filter(parsed.add_directive(off)).boxed(), access.with_filter(access_only).boxed()];
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| format!("the log is set up already: {error}"))
}
