//! Istio mode: what a controller may do to the VirtualService that istiod reads.

use super::writes::{FOREIGN, only};
use super::{Checked, Laws, Window, law};
use crate::api::Effect;
use crate::world::World;
use crate::world::cast::{App, split};
use serde_json::Value;
use turnout_rollout::{Backend, Weights};

const READ: &str = "weights go only over the very rule that was read";
const STAGE: &str = "the weights that a rule gets were written down before";

impl Laws {
    /// Whose rule it is, if a rollout's.
    pub(super) fn check_rule(&mut self, world: &mut World, window: &Window, effect: &Effect) -> Checked {
        let is_it = |app: &App| world.model(*app).is_in_istio_mode() && app.virtual_service() == effect.key;
        let app = world.apps().into_iter().find(is_it);
        let (Some(app), Some(before), Some(after)) = (app, effect.before.as_deref(), effect.after.as_deref()) else {
            return law(false, FOREIGN, || format!("{:?} {}", effect.verb, effect.key));
        };
        let [had, has] = [before, after].map(|object| split(object, app));
        let (Some((place, former)), Some((_, given))) = (had, has) else {
            return law(false, FOREIGN, || format!("{} has no rule for {}", effect.key, app.name()));
        };
        let [one, other] = [0, 1].map(|entry| format!("/spec/http/{place}/route/{entry}/weight"));
        only(effect, before, after, &[&one, &other, "/metadata/generation"])?;
        let rule = |object: &Value| object["spec"]["http"][place].clone();
        let was_read = window.rules.get(&app).is_some_and(|read| rule(read) == rule(before));
        law(was_read, READ, || format!("{}: {}", app.name(), rule(before)))?;
        let is_written = window.was(&["modelrollouts"], |facts| facts.wanted(app) == Some(given));
        law(is_written, STAGE, || format!("{}: {given}, which no status has said", app.name()))?;
        for backend in Backend::BOTH.into_iter().filter(|backend| given.of(*backend) > 0 && former.of(*backend) == 0) {
            super::published::check_fit(window, app, backend, Some(former))?;
            self.seen.count("weights newly given");
        }
        self.seen.count("rules patched");
        world.patched(app, given, window.has_slept);
        Ok(())
    }
}

/// Istio's proxies report nothing, so weights must have stood for a while.
pub(super) fn check_settled(window: &Window, app: App, weights: Weights, skew_seconds: u64) -> Checked {
    const SECONDS: u64 = 15;
    let has_settled = window.was(&["virtualservices"], |facts| {
        facts.weights(app) == Some(weights) && facts.now + skew_seconds >= facts.patched_at(app) + SECONDS
    });
    law(has_settled, "in Istio mode a stage is reached when its weights have settled", || {
        format!("{}: {weights}", app.name())
    })
}
