//! For which model a request is counted, and whether it says anything of it.

use super::WorkerSnapshot;
use super::headers::SHADOW;
use super::request::Inbound;
use crate::evidence::Trial;
use turnout_routes::router::{Forward, Role};

/// None where the rule has no policy, or one without a candidate: then nothing is judged.
pub(super) fn trial(snapshot: &WorkerSnapshot, forward: &Forward<'_>, inbound: &Inbound) -> Option<Trial> {
    let policy = forward.route.rule.policy.as_ref()?;
    let is_candidate = match forward.role() {
        Role::Stable => false,
        Role::Candidate => true,
        Role::Unknown => return None,
    };
    let epoch = snapshot.evidence.get(policy.index)?.as_ref()?;
    let is_copy = inbound.parts.headers.get(SHADOW).is_some_and(|value| value == "1");
    // While one is passed over the others get more than their weights say, and whatever fails meanwhile is theirs.
    let is_by_weights = !forward.split.targets().iter().any(|target| snapshot.is_passed_over(target));
    Some(Trial::new(epoch, is_candidate, is_by_weights && !is_copy && !inbound.asks_tunnel))
}
