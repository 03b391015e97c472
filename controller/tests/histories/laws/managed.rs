//! Managed workloads: what a controller may do to the Deployments of green and blue, and to the templates that it keeps.

use super::writes::{FOREIGN, only};
use super::{Checked, Laws, Window, law};
use crate::api::Effect;
use crate::world::World;
use crate::world::cast::{App, tag};
use serde_json::Value;
use turnout_controller::workloads::template_revision;
use turnout_rollout::{Backend, Candidate, OnDrainDeadline, RolloutStatus};

const IDLE: &str =
    "a backend with weight, or with requests that a weight has sent there, is neither removed nor replaced";
const TEMPLATE: &str = "a revision has one template, which is kept as long as the revision is in use";
const WRITTEN: &str = "what is done to a managed backend was written down before";
const REPLICAS: &str = "a managed backend has as many pods as the spec says, or as the other one has";

fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"]["labels"][name].as_str().unwrap_or_default()
}

/// It belongs to a rollout of this name, and by the UID to which one.
fn owner(object: &Value, app: App) -> Option<&str> {
    let owner = &object["metadata"]["ownerReferences"][0];
    (owner["kind"] == "ModelRollout" && owner["name"] == app.name()).then(|| owner["uid"].as_str()).flatten()
}

impl Laws {
    /// The image that a revision of the model stands for.
    pub(crate) fn image(&self, world: &World, app: App, revision: &str) -> Option<String> {
        if world.model(app).is_managed() {
            self.templates.get(&(world.uid(app)?, revision.to_owned())).cloned()
        } else {
            Some(revision.to_owned())
        }
    }

    /// Somebody has told its pods to run something else than its label says, and the round that puts it right has not
    /// come to its end.
    pub(super) fn is_altered(&self, world: &World, app: App, backend: Backend) -> bool {
        let deployment = world.store.get(&app.deployment(backend)).filter(|_| world.model(app).is_managed());
        deployment.is_some_and(|deployment| {
            // One of a former rollout is made of that one's template, until it goes.
            owner(deployment, app) != world.uid(app).as_deref() || self.check_made(app, deployment).is_err()
        })
    }

    pub(super) fn check_deployment(&mut self, world: &World, window: &Window, effect: &Effect) -> Checked {
        let (before, after) = (effect.before.as_deref(), effect.after.as_deref());
        let managed = world.apps().into_iter().filter(|app| world.model(*app).is_managed());
        let mut all = managed.flat_map(|app| Backend::BOTH.map(|backend| (app, backend)));
        let found = all.find(|(app, backend)| app.deployment(*backend) == effect.key);
        let Some((app, backend)) = found else {
            return law(false, FOREIGN, || format!("{:?} {}", effect.verb, effect.key));
        };
        let is_own = before.into_iter().chain(after).all(|object| owner(object, app).is_some());
        law(is_own, FOREIGN, || format!("{} is nobody's, or somebody else's", effect.key))?;
        match (before, after) {
            (None, Some(after)) => {
                self.seen.count("managed backends made");
                self.check_made(app, after)?;
                check_named(window, app, after)?;
                check_size(window, app, backend, None, after)
            }
            (Some(before), Some(after)) if after["metadata"]["deletionTimestamp"].is_null() => {
                only(effect, before, after, &["/spec", "/metadata/labels", "/metadata/generation"])?;
                check_size(window, app, backend, before["spec"]["replicas"].as_u64(), after)?;
                if before["spec"]["template"] == after["spec"]["template"] {
                    self.seen.count("managed backends scaled");
                    return Ok(());
                }
                self.check_made(app, after)?;
                // What somebody else put there in its place may be put right at any time.
                let revision = |object: &Value| label(&object["spec"]["template"], "turnout.dev/revision").to_owned();
                if revision(before) == revision(after) {
                    self.seen.count("managed backends put right");
                    return Ok(());
                }
                self.seen.count("managed backends replaced");
                check_named(window, app, after)?;
                check_idle(world, window, app, backend)
            }
            _ => {
                self.seen.count("managed backends removed");
                law(backend == Backend::Blue, IDLE, || format!("{}: {backend} is removed", app.name()))?;
                let is_end = window.was(&["modelrollouts"], |facts| facts.managed(app).is_at_end);
                law(is_end, WRITTEN, || format!("{}: {backend} is removed on the way", app.name()))?;
                check_idle(world, window, app, backend)
            }
        }
    }

    /// Its pods run what its label says.
    fn check_made(&self, app: App, after: &Value) -> Checked {
        let template = &after["spec"]["template"];
        let revision = label(template, "turnout.dev/revision");
        let kept = self.templates.get(&(owner(after, app).unwrap_or_default().to_owned(), revision.to_owned()));
        let image = tag(template);
        law(kept.is_some() && kept == image.as_ref(), TEMPLATE, || {
            format!("{}: {revision} is made of {image:?}, and {kept:?} is kept", app.name())
        })
    }

    /// What a status names newly has a template.
    pub(super) fn check_kept(&self, world: &World, app: App, before: &RolloutStatus, after: &RolloutStatus) -> Checked {
        let candidate = after.candidate.as_ref().filter(|_| world.model(app).is_managed());
        let candidate = candidate.filter(|_| after.candidate != before.candidate);
        let has = |candidate: &Candidate| self.image(world, app, &candidate.revision).is_some();
        law(candidate.is_none_or(has), TEMPLATE, || format!("{}: {candidate:?} has none", app.name()))
    }

    pub(super) fn check_stored(&mut self, world: &World, window: &Window, effect: &Effect) -> Checked {
        let (before, after) = (effect.before.as_deref(), effect.after.as_deref());
        let Some(stored) = after.or(before) else { return Ok(()) };
        let name = label(stored, "turnout.dev/rollout");
        let Some(app) = world.apps().into_iter().find(|app| app.name() == name && world.model(*app).is_managed())
        else {
            return law(false, FOREIGN, || format!("{} is of no rollout", effect.key));
        };
        let uid = owner(stored, app).unwrap_or_default().to_owned();
        let revision = label(stored, "turnout.dev/revision").to_owned();
        if after.is_none() {
            self.templates.remove(&(uid.clone(), revision.clone()));
            let status = world.status(app);
            let candidate = status.candidate.map(|candidate| candidate.revision);
            let in_use = [status.stable_revision, status.previous_revision, candidate];
            let is_in_use = world.uid(app) == Some(uid) && in_use.iter().flatten().any(|one| *one == revision);
            return law(!is_in_use, TEMPLATE, || format!("{}: that of {revision} is removed", app.name()));
        }
        law(before.is_none(), TEMPLATE, || format!("{}: that of {revision} is changed", app.name()))?;
        let is_named = revision.starts_with(['v', 'r']) || template_revision(&stored["data"]) == revision;
        law(is_named, TEMPLATE, || format!("{}: {revision} is another template's", app.name()))?;
        let image = tag(&stored["data"]);
        let was_asked_for = window.was(&["modelrollouts"], |facts| facts.managed(app).template == image);
        law(was_asked_for, TEMPLATE, || format!("{}: {revision} is {image:?}, which nobody asked for", app.name()))?;
        self.templates.insert((uid, revision), image.unwrap_or_default());
        Ok(())
    }
}

fn check_named(window: &Window, app: App, after: &Value) -> Checked {
    let revision = label(&after["spec"]["template"], "turnout.dev/revision");
    let is_named = window.was(&["modelrollouts"], |facts| facts.managed(app).named.iter().any(|one| one == revision));
    law(is_named, WRITTEN, || format!("{}: no status has named {revision}", app.name()))
}

/// It was idle when the controller looked, and what is published still says so.
fn check_idle(world: &World, window: &Window, app: App, backend: Backend) -> Checked {
    let Some(rollout) = world.rollout(app) else { return Ok(()) };
    // The very first green has no other backend beside it.
    let is_first = |facts: &super::Facts| facts.managed(app).stable.is_none();
    if window.was(&["modelrollouts"], is_first) {
        return Ok(());
    }
    let is_let_go = rollout.spec.on_drain_deadline == OnDrainDeadline::Remove;
    super::status::check_was_idle(window, app, backend, IDLE, is_let_go)?;
    let given = world.weights(app).map_or(0, |weights| weights.of(backend));
    law(given == 0 || !window.is_unmeddled(world), IDLE, || {
        format!("{}: {backend} has weight {given} by now", app.name())
    })
}

fn check_size(window: &Window, app: App, backend: Backend, before: Option<u64>, after: &Value) -> Checked {
    let replicas = after["spec"]["replicas"].as_u64();
    if replicas == before {
        return Ok(());
    }
    let is_right = window.was(&["modelrollouts", "deployments"], |facts| {
        let other = facts.backend(app, backend.other()).replicas;
        let managed = facts.managed(app);
        // The first one has as many as the API server gives it.
        let as_other = other.map_or(replicas == Some(1), |other| Some(other) == replicas);
        managed.replicas.map_or(as_other, |wanted| Some(wanted) == replicas)
    });
    law(is_right, REPLICAS, || format!("{}: {backend} had {before:?} pods and is given {replicas:?}", app.name()))
}
