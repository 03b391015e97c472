//! The charts: rendered by a real helm with the files in `values/`, compared with what is committed in `golden/`, and
//! held to rules that every rendering must keep. The rules read the committed renderings, so they also hold where there
//! is no helm; `helm.rs` says how one is found. `default.yaml` is whole but for definitions; every other file has what
//! differs from it. Definitions are compared whole in `definitions.rs`.
//!
//! All that is of the chart `turnout`. The charts of the sample's users have their own tests, in `abtest.rs`.
//!
//! TURNOUT_BLESS=1 writes `golden/` anew; look at the difference before you commit it.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod abtest;
mod argocd;
mod cases;
mod definitions;
mod flags;
mod golden;
mod helm;
mod monitoring;
mod names;
mod pods;
mod refusals;
mod rights;
mod safeguards;
mod traffic;
mod values;
