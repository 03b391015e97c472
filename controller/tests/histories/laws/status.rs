//! What a controller may write into a rollout's status: it is what people and pipelines act on.

use super::{Checked, Laws, Window, law};
use crate::api::Effect;
use crate::world::World;
use crate::world::cast::App;
use serde::Deserialize as _;
use serde_json::Value;
use turnout_rollout::{
    Backend, Candidate, Leave, ModelRollout, Plan, Requirement, RollbackReason, RolloutStatus, Stage, Target, Weights,
    Workload,
};

const ORDER: &str = "stages are passed in their order";
const REQUIRED: &str = "nothing that a stage requires is skipped";
const IMAGE: &str = "weight goes only to a backend that serves the candidate";
const REACHED: &str = "a stage is reached when every gateway has it";
const BACK: &str = "a rollback once begun is finished";
const NEWER: &str = "a status never goes back";
const LARGE: &str = "a managed backend has as many pods as the other one before it gets more weight";
const CLAIM: &str = "what is called safe to remove has no weight and no requests";

/// One write of a status.
struct Step<'a> {
    app: App,
    window: &'a Window,
    rollout: ModelRollout,
    before: RolloutStatus,
    after: RolloutStatus,
}

impl Laws {
    pub(super) fn check_status(&mut self, world: &mut World, window: &Window, app: App, effect: &Effect) -> Checked {
        let (Some(before), Some(object)) = (effect.before.as_deref(), effect.after.as_deref()) else { return Ok(()) };
        let read = |object: &Value| ModelRollout::deserialize(object);
        let (Ok(before), Ok(rollout)) = (read(before), read(object)) else {
            return law(false, NEWER, || format!("{object} is no rollout"));
        };
        let step = Step { app, window, before: before.status, after: rollout.status.clone(), rollout };
        self.unfenced.insert(app);
        step.check_newer()?;
        self.check_kept(world, app, &step.before, &step.after)?;
        self.check_move(world, &step)?;
        self.check_reached(world, &step)?;
        self.check_way_back(&step)?;
        if step.only_tells() {
            return Ok(());
        }
        step.check_claims()?;
        for backend in Backend::BOTH {
            let claims = step.after.safe_to_remove.contains(&backend);
            let is_sound = claims && !step.window.stale.contains("endpointslices") && step.window.is_unmeddled(world);
            world.claims[app.0][backend.index()] = is_sound;
        }
        Ok(())
    }

    /// It begins with a stage, or goes on to the next one.
    fn check_move(&mut self, world: &World, step: &Step<'_>) -> Checked {
        let (before, after) = (&step.before, &step.after);
        let Some(Target::Stage(next)) = after.moving_to.filter(|_| after.moving_to != before.moving_to) else {
            return Ok(());
        };
        let Some(candidate) = after.candidate.clone() else {
            return law(false, ORDER, || format!("{next} is entered without a candidate"));
        };
        let is_first = after.stable_revision.is_none();
        // The very first green is made, or changed in place: it serves when the stage is reached.
        if is_first && next == Stage::Green100 && step.rollout.spec.workload == Workload::Managed {
            return Ok(());
        }
        if is_first && next == Stage::Green100 {
            return self.check_serves(world, step, Backend::Green, &candidate, next);
        }
        if after.candidate != before.candidate {
            self.seen.count("rollouts begun");
            return law(next == Stage::BLUE_0, ORDER, || format!("a rollout begins at {next}"));
        }
        let Some(Target::Stage(from)) = before.stage else {
            return law(false, ORDER, || format!("{next} is entered from {:?}", before.stage));
        };
        let Ok(plan) = Plan::of(&step.rollout) else {
            return law(false, ORDER, || format!("{next} is entered with an invalid spec"));
        };
        law(plan.stages().after(from) == Some(next), ORDER, || format!("{from} is followed by {next}"))?;
        law(!step.rollout.spec.paused, REQUIRED, || format!("{next} is entered and the rollout is paused"))?;
        self.check_required(world, step, &plan, from, &candidate)?;
        let fresh = if next == Stage::Green100 { Backend::Green } else { Backend::Blue };
        self.check_serves(world, step, fresh, &candidate, next)?;
        check_large_enough(step, from, next)?;
        check_warm(world, step, from, fresh)
    }

    /// Where the spec does not say what is required, the stage was promoted, or there is a target.
    fn check_required(
        &mut self,
        world: &World,
        step: &Step<'_>,
        plan: &Plan,
        from: Stage,
        candidate: &Candidate,
    ) -> Checked {
        let uid = world.uid(step.app).unwrap_or_default();
        let key = (uid, candidate.revision.clone(), candidate.attempt, from.to_string());
        let is_approved = world.approvals.contains(&key);
        let required = match plan.leave(from) {
            Leave::WhenPromoted => {
                self.seen.count("promotions");
                // What waits for this one has taken the target.
                let may = is_approved || plan.target().is_some() || from.replaces_green();
                return law(may, REQUIRED, || format!("{from} is left, and nobody promoted it"));
            }
            Leave::When(required) => required,
        };
        for one in required {
            match one {
                Requirement::Approval => {
                    self.seen.count("approvals");
                    law(is_approved, REQUIRED, || format!("{from} is left without an approval"))?;
                }
                // It always allows it.
                Requirement::Webhook(_) => self.seen.count("webhooks"),
                Requirement::Evidence(_) => law(false, REQUIRED, || "no history requires evidence".to_owned())?,
                Requirement::Pause { seconds } => {
                    self.seen.count("pauses");
                    let waited = world.store.now.0 - self.reached_at[step.app.0] + self.skew_seconds;
                    let is_ended = is_approved && !required.contains(&Requirement::Approval);
                    law(waited >= *seconds || is_ended, REQUIRED, || {
                        format!("{from} is left after {waited} of {seconds} s")
                    })?;
                }
            }
        }
        Ok(())
    }

    fn check_reached(&mut self, world: &World, step: &Step<'_>) -> Checked {
        let (before, after) = (&step.before, &step.after);
        let Some(stage) = after.stage.filter(|_| after.stage != before.stage) else { return Ok(()) };
        // What was found then is so since, however long the write has taken.
        self.reached_at[step.app.0] = step.window.began;
        self.seen.reached.insert(stage.to_string());
        let Some(entry) = after.history.last().filter(|entry| entry.to == stage) else {
            return law(false, NEWER, || format!("{stage} is reached and not in the history"));
        };
        let revision = entry.routes_revision.as_deref();
        let gateways = step.window.gateways_of(step.app);
        let in_istio_mode = world.model(step.app).is_in_istio_mode();
        law(in_istio_mode == entry.confirmed_by.is_empty(), REACHED, || {
            format!("{stage} is confirmed by {:?}", entry.confirmed_by)
        })?;
        for name in gateways {
            let is_named = entry.confirmed_by.iter().any(|by| by == name);
            let has_it = |active: Option<&str>| active.is_some() && active == revision;
            let had_it = step.window.was(&["endpointslices"], |facts| {
                is_named && facts.gateway(name).is_some_and(|it| has_it(it.active.as_deref()))
            });
            law(had_it, REACHED, || format!("{stage} is reached and {name} never had {revision:?}"))?;
        }
        let weights = stage.stage().map_or(Weights::all(Backend::Green), Stage::weights);
        let is_first = after.stable_revision.is_none() && stage != Target::Stage(Stage::Green100);
        if in_istio_mode && !is_first {
            super::istio::check_settled(step.window, step.app, weights, self.skew_seconds)?;
        }
        let was_published = in_istio_mode
            || step.window.was(&["configmaps"], |facts| {
                let is_it = facts.published.as_ref().map(|table| table.revision.as_str()) == revision;
                is_it && (is_first || facts.weights(step.app) == Some(weights))
            });
        law(was_published, REACHED, || format!("{stage} is reached and {weights} was not published"))?;
        let ends = matches!(stage, Target::Rollback | Target::Stage(Stage::Green100));
        let stable = after.stable_revision.as_ref().and_then(|stable| self.image(world, step.app, stable));
        let serves = step.window.was(&["endpointslices", "pods", "deployments"], |facts| {
            facts.backend(step.app, Backend::Green).runs == stable
        });
        let is_labelled = world.model(step.app).labelled;
        let is_altered = self.is_altered(world, step.app, Backend::Green);
        law(!ends || serves || !is_labelled || is_altered, IMAGE, || {
            format!("{stage} is reached and green does not serve {:?}", after.stable_revision)
        })
    }

    /// What is entered gives weight to a backend that serves the candidate. Pods without labels are told apart by their
    /// images alone: then blue is taken for the candidate, and green must have blue's.
    fn check_serves(
        &self,
        world: &World,
        step: &Step<'_>,
        backend: Backend,
        candidate: &Candidate,
        next: Stage,
    ) -> Checked {
        let revision = self.image(world, step.app, &candidate.revision);
        let is_labelled = world.model(step.app).labelled;
        let serves = step.window.was(&["endpointslices", "pods", "deployments"], |facts| {
            let runs = |backend: Backend| &facts.backend(step.app, backend).runs;
            match (is_labelled, backend) {
                (true, _) => *runs(backend) == revision,
                (false, Backend::Green) => runs(Backend::Green) == runs(Backend::Blue),
                (false, Backend::Blue) => true,
            }
        });
        law(serves || self.is_altered(world, step.app, backend), IMAGE, || {
            format!("{}: {next} is entered and {backend} does not serve {revision:?}", step.app.name())
        })
    }

    fn check_way_back(&mut self, step: &Step<'_>) -> Checked {
        let (before, after) = (&step.before, &step.after);
        let goes_back = before.rollback.is_some() && before.in_progress();
        law(!goes_back || after.rollback.is_some(), BACK, || "it was given up".to_owned())?;
        let is_back = after.moving_to.is_none_or(|to| to == Target::Rollback);
        law(!goes_back || is_back, BACK, || format!("it goes on to {:?}", after.moving_to))?;
        let is_same = before.stable_revision == after.stable_revision;
        law(!goes_back || is_same, BACK, || format!("it ends at {:?}", after.stable_revision))?;
        let Some(rollback) = after.rollback.as_ref().filter(|_| before.rollback.is_none()) else { return Ok(()) };
        self.seen.count("rollbacks");
        if rollback.reason == RollbackReason::BackendLost {
            self.seen.count("automatic rollbacks");
        }
        Ok(())
    }
}

impl Step<'_> {
    fn check_newer(&self) -> Checked {
        let (before, after) = (&self.before, &self.after);
        let is_newer = after.observed_generation >= before.observed_generation;
        law(is_newer, NEWER, || format!("{:?} follows {:?}", after.observed_generation, before.observed_generation))?;
        let grown = after.history.len().saturating_sub(before.history.len());
        let is_same_but_for_one = after.history.len() >= before.history.len()
            && grown <= 1
            && after.history[..before.history.len()] == before.history[..];
        let is_full = before.history.len() == 50;
        law(is_same_but_for_one || is_full, NEWER, || "the history is another".to_owned())?;
        let forgets = before.stable_revision.is_some() && after.stable_revision.is_none();
        law(!forgets, NEWER, || "the stable revision was forgotten".to_owned())
    }

    /// Conditions changed and nothing else: what was claimed before was claimed then.
    fn only_tells(&self) -> bool {
        let mut told = self.before.clone();
        told.conditions.clone_from(&self.after.conditions);
        told == self.after
    }

    /// A backend that is called safe to remove had neither weight nor requests.
    fn check_claims(&self) -> Checked {
        let (app, window) = (self.app, self.window);
        for &backend in &self.after.safe_to_remove {
            check_was_idle(window, app, backend, CLAIM, false)?;
        }
        Ok(())
    }
}

/// At some moment that the controller saw the backend had neither weight nor, unless these are let go, requests.
pub(super) fn check_was_idle(
    window: &Window,
    app: App,
    backend: Backend,
    is_idle: &'static str,
    is_let_go: bool,
) -> Checked {
    let name = app.name();
    let was_idle = window.was(&["configmaps", "virtualservices"], |facts| {
        facts.weights(app).is_some_and(|weights| weights.of(backend) == 0)
    });
    law(was_idle, is_idle, || format!("{name}: {backend} has weight in what is published"))?;
    for gateway in window.gateways_of(app) {
        let load = |facts: &super::Facts| facts.gateway(gateway).map(|it| it.load(app, backend));
        let had_no_weight = window.was(&["endpointslices"], |facts| load(facts).is_some_and(|load| load.weight == 0));
        law(had_no_weight, is_idle, || format!("{name}: {backend} has weight at {gateway}"))?;
        let is_drained = |facts: &super::Facts| load(facts).is_some_and(|load| load.in_flight_by_split == 0);
        let was_drained = is_let_go || window.was(&["endpointslices"], is_drained);
        law(was_drained, is_idle, || format!("{name}: {backend} has requests in flight at {gateway}"))?;
    }
    Ok(())
}

/// Managed: what gets more weight is to have as many pods as the other one.
fn check_large_enough(step: &Step<'_>, from: Stage, next: Stage) -> Checked {
    // Green gains at the last stage, and blue at every other that has other weights.
    let backend = if next == Stage::Green100 { Backend::Green } else { Backend::Blue };
    if next.weights() == from.weights() {
        return Ok(());
    }
    if step.rollout.spec.workload == Workload::External || step.rollout.spec.replicas.is_some() {
        return Ok(());
    }
    let is_large = step.window.was(&["deployments"], |facts| {
        let [own, other] = [backend, backend.other()].map(|backend| facts.backend(step.app, backend).replicas);
        // One whose Deployment somebody has just deleted has none, and nothing to be scaled.
        own.is_none() || own >= other
    });
    law(is_large, LARGE, || format!("{}: {next} is entered and {backend} is smaller", step.app.name()))
}

fn check_warm(world: &World, step: &Step<'_>, from: Stage, fresh: Backend) -> Checked {
    let Some(warm_up) = &step.rollout.spec.warm_up else { return Ok(()) };
    let had_weight = from.weights().of(fresh) > 0;
    let is_told = step.window.stale.is_empty() && step.window.moments.len() == 1;
    let is_warm = had_weight || !is_told || world.is_warm(step.app, fresh, warm_up.requests);
    law(is_warm, "a backend is warm before its first weight", || format!("{}: {fresh}", step.app.name()))
}
