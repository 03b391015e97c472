//! What a client knows of rollouts, whoever shows it: where they are and what their verbs do ([`place`]), how one stands to
//! what is waited for ([`standing`]), and what is there around it ([`view`]). In a directory that is files, in a cluster the
//! Kubernetes API. Beside them, pages at any URL ([`web`]).
//!
//! Nothing here reads a command line or prints, though its errors name the flags that help: what the other files of this crate do with it, a console can do as well.

pub(crate) mod access;
#[cfg(feature = "cluster")]
pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod http;
mod look;
pub(crate) mod mount;
pub(crate) mod observe;
pub(crate) mod place;
mod slip;
mod splits;
pub(crate) mod standing;
pub(crate) mod view;
pub(crate) mod web;
