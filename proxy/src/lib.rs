//! The gateway as a library, so that the command line can run it as a process of its own. What follows is its
//! architecture.

#![doc = include_str!("../ARCHITECTURE.md")]

mod app;
mod body;
mod client;
mod control;
mod credentials;
mod downstream;
mod drain;
mod error;
mod evidence;
mod files;
mod gateway;
mod grpc_status;
mod hop_by_hop;
mod io;
mod log;
mod pairs;
mod random;
mod raw_target;
mod settings;
mod snapshot;
mod telemetry;
#[cfg(test)]
mod testing;
mod upstream;

pub use app::AppError;
pub use settings::{Arguments, Settings, SettingsError};

/// Exit code for bad settings and for what is missing at start.
pub const EXIT_SETTINGS: u8 = 2;

/// Runs the gateway with these arguments until it is told to end, and says with which code the process ends. Sets the
/// process's log up, so it is called once.
pub fn run(arguments: Arguments) -> u8 {
    let (filter, json) = (arguments.log.clone(), arguments.log_format == "json");
    let access_json = arguments.access_log == "json";
    let started = arguments
        .into_settings()
        .map_err(|error| error.to_string())
        .and_then(|settings| log::start(&filter, json, access_json).map(|()| settings))
        .and_then(|settings| app::run(settings).map_err(|error| error.to_string()));
    match started {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("turnout-proxy: {error}");
            EXIT_SETTINGS
        }
    }
}
