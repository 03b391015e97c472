//! The load generator that the demo, the tests and the benchmarks share: keep-alive connections that send a known mix of requests,
//! in the same order in every run, and keep an exact account of each. A request that does not get its whole response is a failure
//! of a named kind; a connection that the server closes politely between two requests is reopened and counts as nothing.
//!
//! Invariants: it never sends a request again that may have been sent; it never sends more, or for longer, than it was told.

mod failure;
mod load;
mod report;

pub use failure::FailureKind;
pub use load::{
    Answer, AnswerHook, Handle, Label, LabelFunction, Load, LoadError, Pace, Protocol, Reuse, Run, Tls, Total, Variant,
};
pub use report::{Ended, Latency, Report, VariantReport};
