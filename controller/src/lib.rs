//! The controller: a cluster as a place where rollouts are driven.
#![doc = include_str!("../ARCHITECTURE.md")]

pub mod app;
pub mod backends;
pub mod cleanup;
pub mod client;
pub mod cluster;
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
mod patience;
pub mod published;
pub mod replica;
pub mod rollouts;
pub mod settings;
pub mod telemetry;
pub mod twins;
pub mod view;
pub mod workloads;

pub use cluster::{Cluster, Controller, controller};
