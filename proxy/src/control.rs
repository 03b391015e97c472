//! What carries no request: the routes are reloaded, the gateway's state is shown on the status and admin ports. Runs on
//! the first thread, above everything that serves.

pub(crate) mod admin;
mod gauges;
pub(crate) mod reload;
