//! Whether a backend without weight has answered what came to it, so that it may be replaced or removed.

use super::{Action, Draft};
use crate::observation::{GatewayObservation, Load};
use crate::resource::{OnDrainDeadline, WaitReason, Workload};
use crate::weights::Backend;

/// Whose requests are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those that a weight sent to the backend: a rollout that goes on waits for them.
    OfSplit,
    /// Those that ask for the backend by name, too: where it goes, nothing comes after it.
    Everybodys,
}

impl Draft<'_> {
    /// The end of a way: blue goes, once green alone can serve everything.
    pub(super) fn tidy_up(&mut self) {
        if !self.observed.blue.exists {
            self.done = true;
        } else if !self.observed.green.is_ready() {
            self.wait_for(WaitReason::ReadyEndpoints, "blue stays until green has ready endpoints");
        } else if self.is_known_safe_to_remove(Backend::Blue)
            || self.is_drained(Backend::Blue, Whose::Everybodys, "it is removed")
        {
            self.remove_blue();
        }
    }

    fn remove_blue(&mut self) {
        if self.spec.workload == Workload::External {
            self.status.safe_to_remove.push(Backend::Blue);
            self.done = true;
        } else if self.spec.paused {
            self.wait_for(WaitReason::Resume, "paused before blue is removed");
        } else {
            self.actions.push(Action::Remove { backend: Backend::Blue });
            self.wait_for(WaitReason::Removal, "removing blue");
        }
    }

    /// It was said before, and what has come since asks for the backend by name: who said so once does not take it back.
    fn is_known_safe_to_remove(&self, backend: Backend) -> bool {
        self.before.safe_to_remove.contains(&backend) && self.is_same_place() && self.has_weight(backend).is_none()
    }

    /// Nothing reaches the backend that would be lost if it went, or the user lets it go all the same; else it is waited
    /// for.
    pub(super) fn is_drained(&mut self, backend: Backend, whose: Whose, before: &str) -> bool {
        let reason = match self.has_weight(backend) {
            Some(reason) => reason,
            None => match self.drains(backend, whose) {
                None => return true,
                Some(_) if self.is_let_go() => return true,
                Some(reason) => reason,
            },
        };
        self.left = Some(self.left_at(backend));
        self.wait_for(WaitReason::Drain, &format!("waiting for {backend} to drain before {before}: {reason}"));
        false
    }

    /// No gateway sends it anything by its weight, or has something of that left, also none that is on its way out.
    pub(super) fn is_idle(&self, backend: Backend) -> bool {
        self.has_weight(backend).is_none() && self.drains(backend, Whose::OfSplit).is_none()
    }

    /// The time for draining is over and the user chose not to wait longer, or the removal has begun already.
    fn is_let_go(&self) -> bool {
        let Some(waiting) = self.before.waiting.as_ref().filter(|_| self.is_same_place()) else { return false };
        let is_over = waiting.reason == WaitReason::Drain && waiting.overdue;
        waiting.reason == WaitReason::Removal || (is_over && self.spec.on_drain_deadline == OnDrainDeadline::Remove)
    }

    /// Why requests still reach the backend by its weight, or may.
    pub(super) fn has_weight(&self, backend: Backend) -> Option<String> {
        let weights = self.weights()?;
        if weights.of(backend) > 0 {
            return Some(format!("{backend} has weight {}", weights.of(backend)));
        }
        if let Some(pending) = self.confirmation(weights).pending() {
            return Some(pending);
        }
        let mut serving = self.observed.gateways.iter().filter(|gateway| gateway.serving);
        let gateway = serving.find(|gateway| gateway.load(backend).weight > 0)?;
        Some(format!("{} gives {backend} weight {}", gateway.id, gateway.load(backend).weight))
    }

    /// What the backend, which has no weight any more, still has to answer. Nothing of it changes by itself, since it
    /// stands in the status: numbers are told once, by [`Self::left_at`].
    fn drains(&self, backend: Backend, whose: Whose) -> Option<String> {
        let gateways = &self.observed.gateways;
        if let Some(gateway) = gateways.iter().find(|gateway| !gateway.answers) {
            return Some(format!("{} does not say what it has in flight", gateway.id));
        }
        // One that drains confirms nothing, and the rules of older routes may have other names.
        let published = self.observed.published.as_ref().map(|published| published.revision.as_str());
        let is_older = |active: &str| Some(active) != published;
        if let Some(gateway) = gateways.iter().find(|gateway| gateway.active.as_deref().is_some_and(is_older)) {
            return Some(format!("{} still has older routes", gateway.id));
        }
        let has = |count: fn(Load) -> u64| gateways.iter().any(|gateway| count(gateway.load(backend)) > 0);
        if has(|load| load.in_flight_by_split) {
            return Some(format!("{backend} has requests in flight that its weight sent there"));
        }
        let is_pinned = whose == Whose::Everybodys && has(|load| load.in_flight);
        is_pinned.then(|| format!("{backend} has requests in flight that ask for it by name"))
    }

    /// How many requests the backend has in flight, by gateway.
    fn left_at(&self, backend: Backend) -> String {
        let left = |gateway: &GatewayObservation| match gateway.load(backend) {
            _ if !gateway.answers => Some(format!("{} does not answer", gateway.id)),
            Load { in_flight: 0, .. } => None,
            Load { in_flight, in_flight_by_split, .. } => {
                Some(format!("{} has {in_flight}, {in_flight_by_split} of them by weight", gateway.id))
            }
        };
        let left: Vec<String> = self.observed.gateways.iter().filter_map(left).collect();
        format!(
            "requests in flight at {backend}: {}",
            if left.is_empty() { "none".to_owned() } else { left.join("; ") }
        )
    }
}
