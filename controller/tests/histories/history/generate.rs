//! Makes a history from a seed. Rounds are most of it, and the cluster mostly follows: else nothing would get far enough
//! to be disturbed.

use super::{Disturbance, Ending, Fault, History, Shape, Step, Trip};
use crate::world::bar::Bar;
use crate::world::cast::{App, BROKEN, Edit, Misfit};
use crate::world::{Beginning, Happening, Model};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use turnout_rollout::{Backend, Stage, Target};

/// What a server may answer instead of doing what it is asked.
const CODES: [u16; 9] = [409, 410, 422, 429, 500, 503, 403, 404, 500];

/// What a controller may be kept from alone.
const BARRED: [&str; 7] =
    ["modelrollouts", "services", "endpointslices", "deployments", "virtualservices", "pods", "controllerrevisions"];

/// The history of a seed, the same one each time.
pub(crate) fn history(seed: u64) -> History {
    let mut random = Random(StdRng::seed_from_u64(seed));
    let shape = Shape::of(seed);
    let beginning = random.beginning(shape);
    random.history(shape, beginning)
}

struct Random(StdRng);

impl Random {
    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn number(&mut self, limit: u8) -> u8 {
        self.0.random_range(0..limit)
    }

    fn backend(&mut self) -> Backend {
        if self.chance(50) { Backend::Green } else { Backend::Blue }
    }

    fn beginning(&mut self, shape: Shape) -> Beginning {
        let several = if shape.two_namespaces { [App(0), App(2)] } else { [App(0), App(1)] };
        let models = if shape.two_namespaces || self.chance(20) { 2 } else { 1 };
        // What keeps one kind of rollouts from their namespace must not keep the other kind from theirs.
        let mut model = |app: App| {
            let mut is_other = |percent| app == App(2) && self.chance(percent);
            let (managed, in_istio_mode) = (shape.managed != is_other(30), shape.in_istio_mode != is_other(30));
            let mut model = self.model(managed);
            if in_istio_mode {
                model.spec["mode"] = json!("Istio");
            }
            (app, model)
        };
        let models: BTreeMap<App, Model> = several[..models].iter().map(|app| model(*app)).collect();
        let in_istio_mode = |model: &Model| model.is_in_istio_mode();
        let needs_none = models.values().all(in_istio_mode) && self.chance(70);
        Beginning {
            objects: self.chance(50) || models.values().any(in_istio_mode),
            twins: self.chance(75),
            gateways: if needs_none { 0 } else { 1 + self.number(3) },
            models,
        }
    }

    fn model(&mut self, managed: bool) -> Model {
        let mut spec = json!({"onBackendLoss": if self.chance(40) { "Rollback" } else { "Hold" }});
        if self.chance(85) {
            spec["revision"] = json!("v1");
        }
        if self.chance(30) {
            spec["warmUp"] = json!({"path": "/score", "requests": 2});
        }
        let mut steps: Vec<Value> =
            ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"].map(|stage| self.step_of(stage)).into();
        if self.chance(20) {
            steps.insert(1, json!({"stage": "Blue_0.5"}));
        }
        spec["steps"] = json!(steps);
        if managed {
            return self.managed(spec);
        }
        let green = self.chance(80).then(|| self.number(2));
        Model { spec, green, labelled: self.chance(80), brings_services: self.chance(40) }
    }

    /// Half of the specs name no number of pods, and most no revision.
    fn managed(&mut self, mut spec: Value) -> Model {
        spec["workload"] = json!("Managed");
        if self.chance(50) {
            spec["replicas"] = json!(1 + self.below(3));
        }
        if self.chance(20) {
            spec["onDrainDeadline"] = json!("Remove");
            spec["drainDeadlineSeconds"] = json!(20);
        }
        if self.chance(70) {
            crate::api::store::remove(&mut spec, "revision");
        }
        Model { spec, green: Some(self.number(2)), labelled: true, brings_services: false }
    }

    fn step_of(&mut self, stage: &str) -> Value {
        let pause = json!({"pause": format!("{}s", 1 + self.below(90))});
        let require = match self.below(10) {
            0 => json!([{"approval": {}}]),
            1 => json!([pause]),
            2 => json!([{"approval": {}}, pause]),
            3 => return json!({"stage": stage}),
            4 => json!([{"webhook": {"url": "http://pipelines.example/allow", "intervalSeconds": 5}}]),
            _ => json!([]),
        };
        json!({"stage": stage, "require": require})
    }

    fn history(&mut self, shape: Shape, beginning: Beginning) -> History {
        // Half of the histories have one controller, as most clusters do.
        let leaders = if self.chance(50) { 2 } else { 1 };
        let skew_seconds = if leaders == 2 && self.chance(50) { self.0.random_range(-40..=40) } else { 0 };
        // Some are rough, some only a little.
        let roughness = [3, 10, 30][self.below(3)];
        let models = &beginning.models;
        let length = 10 + self.below(70);
        let mut steps = if self.chance(75) { self.lead_in(models) } else { Vec::new() };
        steps.extend((0..length).map(|_| self.step(leaders, roughness, models)));
        if leaders == 2 && self.chance(60) {
            for _ in 0..=self.below(3) {
                let (place, overtaken) = (self.below(steps.len()), self.overtaken(models));
                steps.splice(place..place, overtaken);
            }
        }
        if self.chance(30) {
            steps.extend(models.keys().map(|app| Step::World(Happening::RollBack(*app))));
        }
        if shape.two_namespaces && self.chance(70) {
            let of = [App(0), App(2)][self.below(2)];
            steps.push(Step::World(self.bar(of)));
        }
        History { shape, beginning, skew_seconds, steps }
    }

    /// A controller sleeps where it is about to act, wakes when the other one has gone on, and does what it meant to do.
    fn overtaken(&mut self, models: &BTreeMap<App, Model>) -> Vec<Step> {
        let plural = ["configmaps", "configmaps", "virtualservices", "deployments"][self.below(4)];
        let sleeps = Trip { ending: Ending::SleepBefore(plural), ..Trip::undisturbed(0) };
        let chosen = models.iter().nth(self.below(models.len())).map(|(app, model)| (*app, model.is_managed()));
        let asked = chosen.map(
            |(app, managed)| if self.chance(50) { Happening::RollBack(app) } else { self.by_people(app, managed) },
        );
        let others = (0..=self.below(3)).map(|_| Step::Round(Trip::undisturbed(1)));
        let mut steps = vec![Step::Round(sleeps)];
        steps.extend(asked.map(Step::World));
        steps.extend(others);
        steps.push(Step::Round(Trip::undisturbed(0)));
        steps
    }

    /// Managed backends begin with nothing. In most histories green is there before anything happens to it.
    fn lead_in(&mut self, models: &BTreeMap<App, Model>) -> Vec<Step> {
        let managed: Vec<App> = models.iter().filter(|(_, model)| model.is_managed()).map(|(app, _)| *app).collect();
        if managed.is_empty() {
            return Vec::new();
        }
        let [deploys, publishes, settles, confirms] = [(); 4].map(|()| Step::Round(Trip::undisturbed(0)));
        let passes = Step::World(Happening::SecondsPass(20));
        let follow = [Happening::ClusterFollows, Happening::GatewaysFollow].map(Step::World);
        let starts = managed.into_iter().map(|app| Step::World(Happening::Start(app, 2 + self.number(3))));
        [deploys].into_iter().chain(follow).chain([publishes, settles, passes, confirms]).chain(starts).collect()
    }

    fn step(&mut self, leaders: usize, roughness: u32, models: &BTreeMap<App, Model>) -> Step {
        if self.chance(45) {
            return Step::Round(self.trip(leaders, roughness, models));
        }
        let usual = self.chance(60);
        Step::World(self.any(usual, models))
    }

    fn any(&mut self, usual: bool, models: &BTreeMap<App, Model>) -> Happening {
        let chosen = self.below(models.len());
        let Some((app, model)) = models.iter().nth(chosen) else { return Happening::ClusterFollows };
        if !usual && models.contains_key(&App(2)) && self.chance(10) {
            return if self.chance(50) { self.bar(*app) } else { Happening::Bar(*app, None) };
        }
        // Weights of Istio settle while time passes; and rules that are in the cluster have other writers.
        if usual && model.is_in_istio_mode() && self.chance(25) {
            return Happening::SecondsPass(20);
        }
        if !usual && model.is_in_istio_mode() && self.chance(25) {
            return self.for_documents(*app);
        }
        if usual { self.usual(*app) } else { self.happening(*app, model.is_managed()) }
    }

    fn bar(&mut self, app: App) -> Happening {
        let kind = if self.chance(40) { None } else { BARRED.choose(&mut self.0).copied() };
        Happening::Bar(
            app,
            Some([Bar::Forbidden(kind), Bar::Hangs(kind), Bar::Hangs(kind), Bar::Deleted][self.below(4)]),
        )
    }

    /// What makes rollouts go on.
    fn usual(&mut self, app: App) -> Happening {
        match self.below(10) {
            0..4 => Happening::PipelineActs(app),
            4..6 => Happening::ClusterFollows,
            6..8 => Happening::GatewaysFollow,
            8 => Happening::Promote(app),
            _ => Happening::RequestsEnd(self.below(3)),
        }
    }

    fn happening(&mut self, app: App, managed: bool) -> Happening {
        let gateway = self.below(4);
        match self.below(12) {
            0 | 1 => self.for_pods(app),
            2..5 => self.for_gateway(app, gateway),
            5..9 => self.by_people(app, managed),
            9 => Happening::SecondsPass(1 + self.below(100) as u64),
            10 => self.for_documents(app),
            _ => self.by_somebody(app, managed),
        }
    }

    fn for_pods(&mut self, app: App) -> Happening {
        let backend = self.backend();
        match self.below(7) {
            0 => Happening::DeploymentsAct,
            1 => Happening::SlicesFollow,
            2 => Happening::PodsFail(app, backend),
            3 | 4 => Happening::PodsStart(app, backend),
            5 => Happening::PodDeleted(app, backend),
            _ => Happening::PodsGo,
        }
    }

    fn for_gateway(&mut self, app: App, gateway: usize) -> Happening {
        match self.below(14) {
            0 | 1 => Happening::KubeletSyncs { gateway, by_itself: self.chance(30) },
            2 => Happening::GatewayReloads(gateway),
            3 => Happening::GatewayLooksUp(gateway),
            4 => Happening::GatewayJoins,
            5 => Happening::GatewayRestarts(gateway),
            6 => Happening::GatewayLeaves(gateway),
            7 => Happening::GatewayGoes,
            8 => Happening::GatewayRefuses(gateway, self.chance(40)),
            9 => Happening::GatewayIsSilent(gateway, self.chance(40)),
            10 => Happening::RequestsEnd(gateway),
            _ => {
                let pinned = self.chance(30).then(|| self.backend());
                Happening::Requests { gateway, app, pinned }
            }
        }
    }

    fn by_people(&mut self, app: App, managed: bool) -> Happening {
        match self.below(20) {
            0..6 => Happening::Promote(app),
            6 => Happening::PromoteTo(app, Stage::BLUE_100),
            7 => Happening::Retarget(app, self.target()),
            8 => Happening::Pause(app, self.chance(30)),
            9 | 10 => Happening::RollBack(app),
            11..15 if managed && self.chance(20) => Happening::Start(app, BROKEN),
            11..15 => Happening::Start(app, self.number(4)),
            15 => Happening::Revision(app, self.chance(80).then(|| self.number(4))),
            16 => Happening::Attempt(app),
            17 => Happening::Steps(app, [vec!["Blue_50"], vec!["Blue_0.5", "Blue_50"], vec![]][self.below(3)].clone()),
            18 => Happening::DeleteRollout(app),
            _ => Happening::CreateRollout(app),
        }
    }

    fn target(&mut self) -> Option<Target> {
        let stages = [Stage::BLUE_0, Stage::BLUE_50, Stage::BLUE_100, Stage::BlueGreen, Stage::Green100];
        match self.below(4) {
            0 | 1 => None,
            2 => stages.choose(&mut self.0).copied().map(Target::Stage),
            _ => Some(Target::Rollback),
        }
    }

    fn for_documents(&mut self, app: App) -> Happening {
        match self.below(9) {
            0 => Happening::Edit(app, Edit::Header(1 + self.number(3))),
            1 => Happening::Edit(app, Edit::RuleInFront),
            2 => Happening::Edit(app, Edit::Weights(self.0.random_range(0..=100))),
            3 => Happening::Edit(app, Edit::Misspelt),
            4 => {
                let misfits = [Misfit::ThirdDestination, Misfit::MisspeltHost, Misfit::OneDestination];
                Happening::Edit(app, Edit::Misfit(misfits[self.below(misfits.len())]))
            }
            5 => Happening::Rubbish(self.chance(50)),
            _ => Happening::Edit(app, Edit::Original),
        }
    }

    fn by_somebody(&mut self, app: App, managed: bool) -> Happening {
        if managed && self.chance(60) {
            return match self.below(5) {
                0 => Happening::SomebodyUndeploys(app, self.backend()),
                1 => Happening::SomebodyDeploys(app, self.backend(), self.number(4)),
                _ => Happening::SomebodyScales(app, self.backend(), 1 + u32::from(self.number(4))),
            };
        }
        match self.below(8) {
            0 | 1 => Happening::SomebodyDeploys(app, self.backend(), self.number(4)),
            2 => Happening::SomebodyPublishes(app, self.chance(70).then(|| self.0.random_range(0..=100))),
            3 => Happening::SomebodyDeletesThePublished,
            4 => Happening::SomebodyDeletesATwin,
            _ => Happening::SomebodyAnnotates(self.number(9)),
        }
    }

    fn trip(&mut self, leaders: usize, roughness: u32, models: &BTreeMap<App, Model>) -> Trip {
        let ending = match self.below(100) {
            0..8 => Ending::Crash { request: self.below(30), after_effect: self.chance(60) },
            8..30 if leaders == 2 => Ending::Sleep { request: self.below(30) },
            _ => Ending::Whole,
        };
        let mut disturbances = Vec::new();
        while self.chance(roughness) && disturbances.len() < 8 {
            let disturbance = self.disturbance(models);
            // Rollouts are read first, and what was decided on a stale list of them matters most.
            let is_stale = matches!(disturbance, Disturbance::Fault(Fault::Stale(_)));
            let at = if is_stale && self.chance(60) { self.below(3) } else { self.below(30) };
            disturbances.push((at, disturbance));
        }
        let shuffle = if self.chance(50) { self.below(5) } else { 0 };
        Trip { controller: self.below(leaders), ending, disturbances, gateways_follow: self.chance(60), shuffle }
    }

    fn disturbance(&mut self, models: &BTreeMap<App, Model>) -> Disturbance {
        match self.below(10) {
            0..3 => Disturbance::Fault(Fault::Refused(*CODES.choose(&mut self.0).unwrap_or(&500))),
            3 => Disturbance::Fault(Fault::LostBefore),
            4 => Disturbance::Fault(Fault::LostAfter),
            5 => Disturbance::Fault(Fault::Stale(1 + self.below(6))),
            6 => Disturbance::Partition(1 + self.below(40)),
            _ => {
                let usual = self.chance(40);
                Disturbance::Happening(self.any(usual, models))
            }
        }
    }
}
