//! Judges a proposed model (the *candidate*) against the one in production (*stable*): counts and pairs in, a verdict out.
//!
//! What gateways count is in [`evidence`]; [`judge`] makes a verdict of it. It stands on *e-values*: evidence against a
//! hypothesis that, where the hypothesis is true, reaches 1/alpha with a probability of at most alpha, however often one
//! looks (Ville's inequality). The mean of e-values is one, too. Here all of them are natural logarithms.
//!
//! | module | what it tells |
//! |---|---|
//! | [`relative_risk`] | given a failure, which of the two failed: whether one fails more often than the other |
//! | [`absolute`] | whether one fails more often than a limit, or less |
//! | [`latency`] | whether one is slower, by relative risk at four boundaries |
//! | [`pairs`] | whether two answers to one request differ more than stable from itself, and to which side |
//!
//! What two answers have in common is said by [`answers`], which adds it to the evidence.
//!
//! There is no I/O, no clock and no randomness, and the same evidence gives the same verdict to the bit.

pub mod absolute;
pub mod answers;
pub mod evidence;
pub mod judge;
pub mod latency;
mod logarithms;
pub mod pairs;
pub mod relative_risk;
