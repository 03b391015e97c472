//! People and pipelines: they write specs, read statuses, and act on what a status says.

use super::cast::{self, App};
use super::{Happening, World, number_of, own_name, revision_name};
use crate::laws::{self, Checked};
use serde_json::json;
use turnout_rollout::{Backend, Candidate, ModelRollout, Stage, Step, Target, WaitReason, Workload};

/// Somebody writes a rollout's spec, as `turnout rollout` does, or deletes or makes the object. What is refused changes
/// nothing.
pub(super) fn steer(world: &mut World, happening: &Happening) {
    if let Happening::RollBack(app)
    | Happening::Revision(app, _)
    | Happening::Attempt(app)
    | Happening::Retarget(app, _) = happening
    {
        world.asked[app.0] = None;
    }
    match happening {
        Happening::DeleteRollout(app) => drop(world.store.remove(&app.rollout())),
        Happening::CreateRollout(app) if world.apps().contains(app) && world.rollout(*app).is_none() => {
            world.make_rollout(*app);
        }
        Happening::Promote(app) => change(world, *app, |rollout| drop(rollout.promote(None, false))),
        Happening::PromoteTo(app, stage) => change(world, *app, |rollout| drop(rollout.promote(Some(*stage), false))),
        Happening::Retarget(app, target) => change(world, *app, |rollout| rollout.spec.target = *target),
        Happening::Pause(app, paused) => change(world, *app, |rollout| rollout.spec.paused = *paused),
        Happening::RollBack(app) => change(world, *app, |rollout| drop(rollout.roll_back())),
        Happening::Start(app, number) if world.model(*app).is_managed() => write_template(world, *app, *number),
        Happening::Start(app, number) => {
            change(world, *app, |rollout| drop(rollout.start(&revision_name(*number), None)));
        }
        Happening::Revision(app, number) => {
            // Of a managed one it is a name of its own for the template that there is.
            let managed = world.model(*app).is_managed();
            let name = |number| if managed { own_name(number) } else { revision_name(number) };
            change(world, *app, |rollout| rollout.spec.revision = number.map(name));
        }
        Happening::Attempt(app) => change(world, *app, |rollout| rollout.spec.attempt += 1),
        Happening::Steps(app, stages) => change(world, *app, |rollout| change_steps(rollout, stages)),
        _ => {}
    }
}

/// What a step that stays requires, stays; one that is new waits to be promoted.
fn change_steps(rollout: &mut ModelRollout, stages: &[&str]) {
    let former = rollout.spec.steps.take().unwrap_or_default();
    let step = |stage: &&str| {
        let stage = stage.parse().expect("it is one");
        former.iter().find(|step| step.stage == stage).cloned().unwrap_or(Step { stage, require: None, shadow: None })
    };
    rollout.spec.steps = Some(stages.iter().map(step).collect());
}

/// A new template, with a name of its own or without one. Whoever writes it wants it to be rolled out.
fn write_template(world: &mut World, app: App, number: u8) {
    change(world, app, |rollout| {
        rollout.spec.template = Some(cast::template(app, number));
        if number % 2 == 1 {
            drop(rollout.start(&revision_name(number), None));
        } else {
            rollout.spec.target = rollout.spec.target.filter(|target| *target != Target::Rollback);
        }
    });
    world.asked[app.0] = Some(number);
}

pub(super) fn change(world: &mut World, app: App, change: impl FnOnce(&mut ModelRollout)) {
    let Some(mut rollout) = world.rollout(app) else { return };
    change(&mut rollout);
    if let (Some(approval), Some(uid)) = (&rollout.spec.approval, world.uid(app)) {
        let key = (uid, approval.revision.clone(), approval.attempt, approval.stage.to_string());
        world.approvals.insert(key);
    }
    world.store.edit(&app.rollout(), |object| object["spec"] = json!(rollout.spec));
}

/// External workloads: each backend gets what the status says that it is to serve, once it may be touched.
pub(super) fn pipeline_acts(world: &mut World, app: App) -> Checked {
    let Some(rollout) = world.rollout(app).filter(|rollout| rollout.spec.workload == Workload::External) else {
        return Ok(());
    };
    let status = &rollout.status;
    let stage = status.position().and_then(Target::stage);
    if let Some(Candidate { revision, .. }) = &status.candidate {
        match stage {
            Some(Stage::BlueGreen) => deploy(world, app, Backend::Green, revision, &rollout)?,
            Some(Stage::Blue(_)) => deploy(world, app, Backend::Blue, revision, &rollout)?,
            _ => {}
        }
    }
    let waits_for = status.waiting.as_ref().map(|waiting| waiting.reason);
    if let (Some(WaitReason::StableImage), Some(stable)) = (waits_for, &status.stable_revision) {
        deploy(world, app, Backend::Green, stable, &rollout)?;
    }
    let at_end = matches!(status.position(), Some(Target::Rollback | Target::Stage(Stage::Green100)));
    if at_end && status.safe_to_remove.contains(&Backend::Blue) && world.exists(app, Backend::Blue) {
        laws::check_idle(world, app, Backend::Blue)?;
        world.undeploy(app, Backend::Blue);
    }
    Ok(())
}

fn deploy(world: &mut World, app: App, backend: Backend, revision: &str, rollout: &ModelRollout) -> Checked {
    let is_there = world.exists(app, backend);
    let is_first = rollout.status.stable_revision.is_none();
    let may = rollout.status.safe_to_remove.contains(&backend);
    let Some(revision) = number_of(app, &rollout.status, revision).map(revision_name) else { return Ok(()) };
    let serves_another = world.runs(app, backend).is_some_and(|running| running != revision);
    if is_there && may && serves_another {
        laws::check_idle(world, app, backend)?;
    }
    // The very first blue takes everything and is idle never: whoever replaces it does so in place.
    if !is_there || may || (is_first && backend == Backend::Blue) {
        world.deploy(app, backend, &revision);
    }
    Ok(())
}
