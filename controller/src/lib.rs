#![doc = include_str!("../ARCHITECTURE.md")]

pub mod actions;
pub mod app;
pub mod backends;
pub mod cleanup;
pub mod client;
pub mod crd;
pub mod documents;
pub mod events;
pub mod gateways;
pub mod heart;
pub mod hints;
pub mod istio;
pub mod kube_api;
pub mod lease;
pub mod mark;
pub mod names;
mod namespaces;
pub mod object_status;
pub mod outbound;
pub mod published;
pub mod replica;
pub mod rollouts;
pub mod round;
pub mod settings;
pub mod telemetry;
pub mod twins;
pub mod view;
pub mod warm_up;
pub mod workloads;

pub use round::{Clock, Controller, Round};
