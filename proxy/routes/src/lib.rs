//! The route language of Turnout: Istio's documents in ([`parse()`]), a validated model ([`documents`]), the same documents
//! out ([`render()`]), and the router that a gateway asks for every request ([`router`]).
//!
//! The crate is pure: no I/O, no clock, no randomness, no async. The gateway, the command line and the controller share
//! it, so that all of them mean the same by a routes file.

mod addresses;
mod decode;
pub mod documents;
mod encode;
pub mod explain;
pub mod ledger;
mod locate;
mod parse;
mod problem;
mod re2;
mod render;
mod revision;
pub mod router;
mod yaml;

pub use addresses::address_digest;
pub use locate::locate;
pub use parse::{MAX_SOURCE_BYTES, MOST_SOURCE_BYTES, Parsed, Source, parse, parse_up_to};
pub use problem::{DocumentName, Problem, Problems, Severity};
pub use render::render;
pub use revision::revision;
