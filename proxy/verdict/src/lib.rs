//! Judges a proposed model (the *candidate*) against the one in production (*stable*): counts and pairs in, a verdict out.
//!
//! What is gathered is in [`evidence`]; gateways count it, and everybody who judges adds it up.

pub mod evidence;
