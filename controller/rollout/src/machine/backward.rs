//! The way back: all weight to a backend that serves the stable image, confirmed everywhere, and then the candidate goes.

use super::Draft;
use super::drain::Whose;
use crate::resource::WaitReason;
use crate::stage::{Stage, Target};
use crate::weights::{Backend, Weights};

impl Draft<'_> {
    /// While green serves the stable image it has everything at once. From `Blue_Green` on it may no longer do so, and
    /// until it does again blue keeps the weight.
    pub(super) fn weights_back(&self) -> Weights {
        if self.green_may_be_replaced() && !self.green_is_stable() {
            Weights::all(Backend::Blue)
        } else {
            Weights::all(Backend::Green)
        }
    }

    pub(super) fn go_back(&mut self) {
        // Going back waits for no pod of them.
        self.scale_up(Backend::Green);
        if !self.green_is_stable() {
            return self.restore_green();
        }
        let Some(weights) = self.weights() else {
            return;
        };
        if weights != Weights::all(Backend::Green) {
            let gateway = self.blind_gateway(Backend::Green).unwrap_or_default();
            let text = format!("waiting until every gateway sees an endpoint of green: {gateway} sees none");
            return self.wait_for(WaitReason::EndpointsSeen, &text);
        }
        match self.confirmed(weights) {
            Ok(confirmed_by) => self.reach(Target::Rollback, confirmed_by),
            Err((reason, text)) => self.wait_for(reason, &text),
        }
    }

    /// Green does not serve the stable image, or is not ready: where it was replaced it is put back.
    fn restore_green(&mut self) {
        let Some(stable) = self.status.stable_revision.clone() else {
            return;
        };
        let text = self.not_serving(Backend::Green, &stable);
        if !self.green_may_be_replaced() {
            let is_ready = self.observed.green.is_ready();
            let reason = if is_ready { WaitReason::StableImage } else { WaitReason::ReadyEndpoints };
            return self.wait_for(reason, &text);
        }
        if self.observed.green.exists {
            if !self.is_drained(Backend::Green, Whose::OfSplit, "the stable image is restored") {
                return;
            }
            self.replace(Backend::Green, &stable);
        } else if self.is_idle(Backend::Green) {
            self.replace(Backend::Green, &stable);
        }
        self.wait_for(WaitReason::StableImage, &text);
    }

    fn green_is_stable(&self) -> bool {
        let stable = self.status.stable_revision.as_deref();
        stable.is_some_and(|stable| self.observed.green.serves(stable))
    }

    fn green_may_be_replaced(&self) -> bool {
        self.status.rollback.as_ref().is_some_and(|rollback| Stage::replaces_green(rollback.from))
    }
}
