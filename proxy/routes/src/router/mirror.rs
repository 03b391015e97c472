//! Where copies of a rule's requests go.

use super::backend::{BackendId, Missing};
use super::warning::Warning;
use crate::documents::Percent;

/// One mirror of a rule, resolved.
#[derive(Debug)]
pub struct MirrorTarget {
    /// The backend, or why there is none: then nothing is sent.
    pub backend: Result<BackendId, Missing>,
    /// What the backend is called, or would be.
    pub name: String,
    /// Why nothing is sent, or will hardly be.
    pub warning: Option<Box<Warning>>,
    /// Of how many requests.
    pub percent: Percent,
}
