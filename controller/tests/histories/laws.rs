//! The laws, checked at every write that the API server accepted from a controller, and after everything that happened.
//!
//! A controller acts on what it was told, and the world moves on while it does. So a law about the world holds at a write
//! if it held at some moment since the round began: whatever the controller read was true then. A round that was served a
//! stale list is not held to the laws that this list decides, but to all others.

mod facts;
mod istio;
mod managed;
mod published;
mod status;
mod writes;

pub(crate) use facts::{Facts, weights};

use crate::api::Effect;
use crate::api::store::Part;
use crate::world::World;
use crate::world::cast::App;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use turnout_rollout::{Backend, ModelRollout};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) detail: String,
}

pub(crate) type Checked = Result<(), Broken>;

/// Names the law and says how it was broken.
pub(crate) fn law(holds: bool, law: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Broken { law, detail: detail() }) }
}

/// What a round may have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// The moments since it began, the last one is now.
    moments: Vec<Rc<Facts>>,
    /// When that was, by the world's clock.
    began: u64,
    /// The kinds of which some answer was older than the round.
    pub(crate) stale: BTreeSet<&'static str>,
    /// The controller has slept since the round began.
    pub(crate) has_slept: bool,
    /// Istio mode: the VirtualServices as the controller read them last.
    pub(crate) rules: BTreeMap<App, Value>,
}

/// What the histories have shown, so that a test knows that it tested something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) reached: BTreeSet<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// The laws' own memory.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    /// When each rollout's stage was reached, by the world's clock.
    reached_at: [u64; App::COUNT],
    /// How far the controllers' clocks are apart.
    skew_seconds: u64,
    /// Models whose status has been written since their weights were published last, by a round that was not undisturbed
    /// to its end. As long as that is so another one that comes late may publish an older position, until the next round.
    unfenced: BTreeSet<App>,
    /// The rollouts that governed a rule last, and how often somebody had meddled with what is published by then.
    last_governing: [Option<(ModelRollout, u64)>; App::COUNT],
    /// The images of the templates that are kept, by the rollout's UID and the revision.
    templates: BTreeMap<(String, String), String>,
    pub(crate) seen: Seen,
}

impl Window {
    pub(crate) fn begin(facts: Rc<Facts>, now: u64) -> Self {
        Self { moments: vec![facts], began: now, stale: BTreeSet::new(), has_slept: false, rules: BTreeMap::new() }
    }

    pub(crate) fn note(&mut self, facts: &Rc<Facts>) {
        self.moments.push(Rc::clone(facts));
    }

    /// Some answer about these kinds was older than the round.
    fn is_stale(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| self.stale.contains(kind))
    }

    /// It was so at some moment, as far as lists of these kinds could tell.
    fn was(&self, told_by: &[&str], holds: impl Fn(&Facts) -> bool) -> bool {
        self.is_stale(told_by) || self.moments.iter().any(|facts| holds(facts))
    }

    /// Nobody has published by hand since it began.
    fn is_unmeddled(&self, world: &World) -> bool {
        self.moments.iter().all(|facts| facts.meddled == world.meddled)
    }

    /// The gateways that were there all the time, where a rollout's weights are theirs.
    fn gateways_of(&self, app: App) -> Vec<&str> {
        let is_theirs = self.moments.first().is_some_and(|facts| !facts.is_in_istio_mode(app));
        if is_theirs { self.gateways() } else { Vec::new() }
    }

    /// The gateways that were there all the time.
    fn gateways(&self) -> Vec<&str> {
        let Some((first, others)) = self.moments.split_first() else { return Vec::new() };
        let is_there = |name: &str| others.iter().all(|facts| facts.gateway(name).is_some_and(|it| it.serving));
        let serving = first.gateways.iter().filter(|it| it.serving);
        serving.map(|it| it.name.as_str()).filter(|name| is_there(name)).collect()
    }
}

impl Seen {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.reached.extend(other.reached);
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }
}

impl Laws {
    pub(crate) fn new(skew_seconds: u64) -> Self {
        Self { skew_seconds, ..Self::default() }
    }

    /// A round has done all that it wanted: whatever it decided is published, and nobody publishes anything older.
    pub(crate) fn round_ended_undisturbed(&mut self) {
        self.unfenced.clear();
    }

    /// A controller wrote, and the API server accepted it. The window's last moment is from before the write.
    pub(crate) fn check_write(&mut self, world: &mut World, window: &Window, effect: &Effect) -> Checked {
        match effect.key.plural {
            "deployments" => self.check_deployment(world, window, effect)?,
            "controllerrevisions" => self.check_stored(world, window, effect)?,
            "virtualservices" if effect.part == Part::Main => self.check_rule(world, window, effect)?,
            _ => {}
        }
        writes::check(world, effect)?;
        for app in world.apps() {
            if effect.key == app.rollout() && effect.part == Part::Status {
                self.check_status(world, window, app, effect)?;
            }
        }
        if effect.key == crate::world::cast::published() {
            self.check_published(world, window, effect)?;
        }
        if effect.key.plural == "services" && effect.after.is_none() {
            published::check_removed_twin(window, &effect.key.name)?;
        }
        check_claims(world)
    }
}

/// What a status calls safe to remove has no weight anywhere, and no request that a weight has sent there.
pub(crate) fn check_claims(world: &World) -> Checked {
    for app in world.apps() {
        if world.claims[app.0] == [false; 2] {
            continue;
        }
        let status = world.status(app);
        for backend in Backend::BOTH {
            if world.claims[app.0][backend.index()] && status.safe_to_remove.contains(&backend) {
                check_no_weight(world, app, backend)?;
            }
        }
    }
    Ok(())
}

/// Somebody is about to remove or replace a backend, since the status says that it is safe.
pub(crate) fn check_idle(world: &World, app: App, backend: Backend) -> Checked {
    if world.claims[app.0][backend.index()] { check_no_weight(world, app, backend) } else { Ok(()) }
}

fn check_no_weight(world: &World, app: App, backend: Backend) -> Checked {
    const LAW: &str = "what is called safe to remove has no weight and no requests";
    let (name, upstream) = (app.name(), app.upstream(backend));
    let published = world.weights(app).map_or(0, |weights| weights.of(backend));
    law(published == 0, LAW, || format!("{name}: {backend} has weight {published} in what is published"))?;
    if world.model(app).is_in_istio_mode() {
        return Ok(());
    }
    // One that takes no connections and does not answer has gone, as far as anybody can tell.
    for gateway in world.gateways.iter().filter(|gateway| !(gateway.leaving && gateway.silent)) {
        let weight = gateway.weight(&upstream);
        law(weight == 0, LAW, || format!("{name}: {backend} has weight {weight} at {}", gateway.name))?;
        let split = gateway.in_flight(&upstream).split;
        law(split == 0, LAW, || format!("{name}: {backend} has {split} requests in flight at {}", gateway.name))?;
    }
    Ok(())
}
