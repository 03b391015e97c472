//! End-to-end tests: real gateway processes, echo backends and clients on loopback, one module for each subject.
//!
//! They assert counts, orders and states, and wait with `eventually`; none depends on how long something takes.

mod access_log;
mod answers;
mod backend_failure;
mod backends;
mod balance;
mod bodies;
mod damaged_files;
mod dns;
mod drain;
mod edge;
mod empty_bodies;
mod endpoints;
mod evidence;
mod forwarded;
mod grpc;
mod http2;
mod http2_backends;
mod http2_faults;
mod http2_rules;
mod idle;
mod limits;
mod lingering;
mod memory;
mod metrics;
mod mirrors;
mod origination;
mod refused_heads;
mod reload;
mod sample;
mod settings;
mod shadows;
mod special_files;
mod start;
mod status;
mod targets;
mod tls;
mod trailers;
mod trusted_scheme;
mod tunnels;
mod upgrades;
