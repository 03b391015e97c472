//! The end of a history: faults are over, everybody who should act does, and nobody else. Then the rollouts go where they
//! are asked to go, each step of the way within three reconciles, and come to rest, where nothing is written any more.

use super::Trip;
use super::run::Run;
use crate::laws::{Broken, Checked, law};
use crate::world::cast::{App, BROKEN, Edit, template};
use crate::world::{Happening, number_of, own_name, revision_name};
use turnout_controller::workloads::template_revision;
use turnout_rollout::{Backend, Candidate, Plan, RolloutStatus, Stage, Target, WaitReason, Weights};

const CONVERGES: &str = "it converges within three reconciles";
const QUIET: &str = "where nothing happens, nothing is written";
const ASKED: &str = "it stands where it is asked to stand";

/// So many reconciles each step may take.
const RECONCILES: usize = 3;
/// Five stages with a new attempt after a rollback take fewer.
const STEPS_TO_REST: usize = 120;

impl Run {
    /// Everything works again.
    pub(super) async fn calm_down(&mut self) -> Checked {
        self.tell(|| "all is calm again".to_owned());
        self.end_disturbances()?;
        self.end_rounds().await?;
        if !self.world.bars.is_empty() {
            self.leave_out_the_barred().await?;
        }
        self.come_to_rest().await
    }

    /// A namespace that controllers are kept from is no loss to another one: what is there goes on to its end. Then they
    /// are kept from nothing any more.
    async fn leave_out_the_barred(&mut self) -> Checked {
        if !self.open_apps().is_empty() {
            self.come_to_rest().await?;
            self.laws.seen.count("others that went on");
        }
        for app in self.world.apps().into_iter().filter(|app| self.world.is_deleted(*app)).collect::<Vec<_>>() {
            self.reconcile().await?;
            self.laws.seen.count("namespaces deleted");
            let is_gone = self.world.rollout(app).is_none();
            law(is_gone, ASKED, || format!("{}: the rollout outlives its namespace", app.name()))?;
        }
        for app in self.world.apps() {
            self.happens(&Happening::Bar(app, None))?;
        }
        self.end_disturbances()
    }

    /// Those that controllers are kept from are not asked for anything.
    fn open_apps(&self) -> Vec<App> {
        self.world.apps().into_iter().filter(|app| !self.world.is_barred(*app)).collect()
    }

    async fn come_to_rest(&mut self) -> Checked {
        for _ in 0..STEPS_TO_REST {
            let before = self.positions();
            self.everybody_acts()?;
            for _ in 0..RECONCILES {
                self.reconcile().await?;
            }
            let acted = self.everybody_acts()?;
            if !acted && before == self.positions() && !self.is_pausing() {
                // Weights of Istio settle once more where somebody put them back.
                self.happens(&Happening::SecondsPass(20))?;
                self.reconcile().await?;
                // Those that controllers are half kept from may still move, and the revision that all confirm with them.
                if !self.world.is_half_barred() {
                    self.check_quiet().await?;
                }
                return self.check_end();
            }
        }
        let messages = self.open_apps().into_iter().map(|app| self.world.status(app).message).collect::<Vec<_>>();
        law(false, CONVERGES, || format!("it does not come to rest: {}", messages.join("; ")))
    }

    /// What was set to fail works, and documents and specs are good.
    fn end_disturbances(&mut self) -> Checked {
        for gateway in 0..self.world.gateways.len() {
            self.happens(&Happening::GatewayRefuses(gateway, false))?;
            self.happens(&Happening::GatewayIsSilent(gateway, false))?;
        }
        self.happens(&Happening::GatewayGoes)?;
        self.happens(&Happening::Rubbish(false))?;
        for app in self.world.apps() {
            let draft = self.world.draft(app);
            if !draft.is_good() || draft.misfit.is_some() {
                self.happens(&Happening::Edit(app, Edit::Original))?;
            }
            self.happens(&Happening::CreateRollout(app))?;
            self.happens(&Happening::Pause(app, false))?;
            self.ask_for_something(app)?;
            if self.world.rollout(app).is_some_and(|rollout| Plan::of(&rollout).is_err()) {
                self.happens(&Happening::Steps(app, vec!["Blue_50"]))?;
                self.happens(&Happening::Retarget(app, None))?;
            }
        }
        // What the API server was slow to answer is left alone for a while.
        self.happens(&Happening::SecondsPass(61))
    }

    /// Without labels the spec must say what is tried: images do not.
    fn ask_for_something(&mut self, app: App) -> Checked {
        let Some(rollout) = self.world.rollout(app).filter(|rollout| rollout.spec.revision.is_none()) else {
            return Ok(());
        };
        let candidate = rollout.status.candidate.as_ref().map(|candidate| &candidate.revision);
        let number = (0..=9).find(|number| candidate == Some(&revision_name(*number)));
        match number {
            Some(number) if !self.world.model(app).labelled => self.happens(&Happening::Revision(app, Some(number))),
            _ => Ok(()),
        }
    }

    /// Rounds that are under way end; then the second controller is gone.
    async fn end_rounds(&mut self) -> Checked {
        for controller in [1, 0] {
            self.trip(&whole(controller)).await?;
        }
        self.kill(1);
        Ok(())
    }

    /// One round without a fault, after which gateways follow, if they were told to; and the pause before the next.
    async fn reconcile(&mut self) -> Checked {
        self.trip(&whole(0)).await?;
        self.happens(&Happening::GatewaysFollow)?;
        self.happens(&Happening::SecondsPass(2))
    }

    /// Pods start, pipelines and people do what the statuses ask for. Returns whether anybody did anything.
    fn everybody_acts(&mut self) -> Result<bool, Broken> {
        let before = (self.world.store.revision(), self.positions(), self.world.requests_of_splits());
        self.happens(&Happening::ClusterFollows)?;
        for gateway in 0..self.world.gateways.len() {
            self.happens(&Happening::RequestsEnd(gateway))?;
            // Something is always in flight, also at a green that has no weight: who asks for it by name goes on doing so.
            for app in self.world.apps() {
                self.happens(&Happening::Requests { gateway, app, pinned: Some(Backend::Green) })?;
            }
        }
        for app in self.open_apps() {
            self.happens(&Happening::CreateRollout(app))?;
            self.happens(&Happening::PipelineActs(app))?;
            self.let_go(app)?;
            let status = self.world.status(app);
            match status.waiting.as_ref().map(|waiting| waiting.reason) {
                Some(WaitReason::Promotion) if self.may_go_on(app) => self.happens(&Happening::Promote(app))?,
                Some(WaitReason::Requirements) => {
                    self.happens(&Happening::Promote(app))?;
                    self.happens(&Happening::SecondsPass(100))?;
                }
                // As long as a pod that could not be warmed is let alone.
                Some(WaitReason::WarmUp) => self.happens(&Happening::SecondsPass(60))?,
                // Nobody reports, so time passes.
                Some(reason) if self.settles(app, reason) => self.happens(&Happening::SecondsPass(20))?,
                _ => self.put_back(app)?,
            }
        }
        self.happens(&Happening::ClusterFollows)?;
        self.happens(&Happening::GatewaysFollow)?;
        Ok(before != (self.world.store.revision(), self.positions(), self.world.requests_of_splits()))
    }

    /// The rule of a rollout that was deleted stays until its document gives weight only to what is there.
    fn let_go(&mut self, app: App) -> Checked {
        if !self.world.has_departed(app) {
            return Ok(());
        }
        let [green, blue] = Backend::BOTH.map(|backend| self.world.exists(app, backend));
        if !green && !blue && !self.world.model(app).is_managed() {
            self.happens(&Happening::SomebodyDeploys(app, Backend::Green, 0))?;
        }
        let wanted = if blue && !green { 100 } else { 0 };
        if self.world.draft(app).weights.blue == wanted {
            Ok(())
        } else {
            self.happens(&Happening::Edit(app, Edit::Weights(wanted)))
        }
    }

    /// Whoever put something else onto a backend that no pipeline may touch now, puts back what belongs there.
    fn put_back(&mut self, app: App) -> Checked {
        if self.world.model(app).is_managed() {
            return self.give_up(app);
        }
        let status = self.world.status(app);
        let candidate = status.candidate.as_ref().map(|candidate| candidate.revision.clone());
        let waits_for = status.waiting.as_ref().map(|waiting| waiting.reason);
        if let Some(another) = self.another_candidate(app, &status) {
            return self.happens(&another);
        }
        let green_is_needed = status.weights.is_some_and(|weights| weights.green > 0);
        let wanted = match status.position() {
            Some(Target::Stage(Stage::Blue(_))) if waits_for == Some(WaitReason::CandidateReady) => {
                [(Backend::Blue, candidate), (Backend::Green, self.if_unlabelled(app, status.stable_revision.clone()))]
            }
            Some(Target::Stage(Stage::BlueGreen)) => {
                [(Backend::Blue, self.if_unlabelled(app, candidate)), (Backend::Green, None)]
            }
            Some(Target::Stage(Stage::Green100)) => {
                let of_blue = self.if_unlabelled(app, candidate.clone());
                [(Backend::Blue, of_blue), (Backend::Green, candidate.or(status.stable_revision.clone()))]
            }
            Some(Target::Rollback) if green_is_needed => {
                [(Backend::Blue, None), (Backend::Green, status.stable_revision.clone())]
            }
            _ => return Ok(()),
        };
        for (backend, revision) in wanted {
            let number = revision.and_then(|revision| number_of(app, &status, &revision));
            if let Some(number) = number.filter(|_| self.world.exists(app, backend)) {
                self.happens(&Happening::SomebodyDeploys(app, backend, number))?;
            }
        }
        Ok(())
    }

    /// Managed: what does not start is given up: rolled back, or, where nothing was there before, another one is tried.
    fn give_up(&mut self, app: App) -> Checked {
        let status = self.world.status(app);
        // A Deployment of a former rollout has served what nobody stored; the status says what to do.
        let lacks_template = status.conditions.iter().any(|condition| condition.reason == "TemplateMissing");
        if let Some(stable) = status.stable_revision.as_ref().filter(|_| lacks_template) {
            let names =
                |number: u8| [revision_name(number), own_name(number), template_revision(&template(app, number))];
            let Some(number) = (0..=9).find(|number| names(*number).contains(stable)) else { return Ok(()) };
            self.happens(&Happening::Start(app, number))?;
            let is_named = *stable == own_name(number);
            return if is_named { self.happens(&Happening::Revision(app, Some(number))) } else { Ok(()) };
        }
        let candidate = status.candidate.as_ref().filter(|_| status.in_progress() && status.rollback.is_none());
        let image = candidate.and_then(|candidate| self.laws.image(&self.world, app, &candidate.revision));
        if image != Some(revision_name(BROKEN)) {
            return Ok(());
        }
        if status.stable_revision.is_some() {
            return self.happens(&Happening::RollBack(app));
        }
        // Only a template that differs from the one that the controller has met is news.
        let met = status.named.map(|named| named.template);
        let number = if met == Some(template_revision(&template(app, 8))) { 6 } else { 8 };
        self.happens(&Happening::Start(app, number))
    }

    /// Without labels images are all that tells revisions apart: a candidate that is what green ran before is none, and
    /// somebody has to ask for another.
    fn another_candidate(&self, app: App, status: &RolloutStatus) -> Option<Happening> {
        let candidate = self.if_unlabelled(app, status.candidate.clone().map(|candidate| candidate.revision))?;
        let number = number_of(app, status, &candidate)?;
        let of_stable = status.stable_revision.as_ref().and_then(|stable| number_of(app, status, stable));
        let runs = Backend::BOTH.map(|backend| self.world.runs(app, backend));
        let waits = status.waiting.as_ref().is_some_and(|waiting| waiting.reason == WaitReason::CandidateReady);
        match status.position() {
            Some(Target::Stage(Stage::Blue(_))) if waits && (runs[0] == runs[1] || of_stable == Some(number)) => {
                let is_new = |number: &u8| {
                    let name = revision_name(*number);
                    !runs.contains(&Some(name.clone())) && !status.known.iter().any(|known| known.revision == name)
                };
                (0..=9).find(is_new).map(|number| Happening::Start(app, number))
            }
            Some(Target::Stage(Stage::BlueGreen)) if of_stable == Some(number) => Some(Happening::RollBack(app)),
            _ => None,
        }
    }

    /// Where images alone tell the backends apart, both must be what they should be.
    fn if_unlabelled(&self, app: App, revision: Option<String>) -> Option<String> {
        revision.filter(|_| !self.world.model(app).labelled)
    }

    fn is_pausing(&self) -> bool {
        self.open_apps().into_iter().any(|app| {
            let reason = self.world.status(app).waiting.map(|waiting| waiting.reason);
            let settles = reason.is_some_and(|reason| self.settles(app, reason));
            let promotes = reason == Some(WaitReason::Promotion) && self.may_go_on(app);
            settles || promotes || reason == Some(WaitReason::Requirements)
        })
    }

    /// Nobody said where it is to stop.
    fn may_go_on(&self, app: App) -> bool {
        self.world.rollout(app).is_some_and(|rollout| rollout.spec.target.is_none())
    }

    /// It waits for proxies of Istio.
    fn settles(&self, app: App, reason: WaitReason) -> bool {
        self.world.model(app).is_in_istio_mode() && matches!(reason, WaitReason::Confirmation | WaitReason::Drain)
    }

    /// Where each rollout is on its way.
    fn positions(&self) -> Vec<String> {
        let position = |app: App| {
            let status = self.world.status(app);
            let reason = status.waiting.as_ref().map(|waiting| waiting.reason);
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {reason:?}",
                self.world.uid(app),
                status.stage,
                status.moving_to,
                status.candidate,
                status.rollback,
                status.stable_revision
            )
        };
        self.open_apps().into_iter().map(position).collect()
    }

    /// Nobody acts, and time passes: nothing is written, not even an Event, but that a deadline has passed.
    async fn check_quiet(&mut self) -> Checked {
        // That a pause is over stands in the status, also where the rollout waits for something else.
        self.happens(&Happening::SecondsPass(100))?;
        self.trip(&whole(0)).await?;
        self.reconcile().await?;
        let mut may_be_told = true;
        for seconds in [0, 1, 3600, 1, 60, 3600] {
            self.happens(&Happening::SecondsPass(seconds))?;
            self.trip(&whole(0)).await?;
            let apps = self.world.apps();
            let is_overdue = |app: App| self.world.status(app).waiting.is_some_and(|waiting| waiting.overdue);
            let is_told = may_be_told && apps.into_iter().any(is_overdue);
            may_be_told &= !is_told;
            law(self.writes.is_empty() || is_told, QUIET, || format!("after {seconds} s: {:?}", self.writes))?;
        }
        Ok(())
    }

    fn check_end(&self) -> Checked {
        let apps = self.open_apps();
        law(apps.iter().all(|app| self.world.draft(*app).is_good()), ASKED, || "the documents were mended".to_owned())?;
        for app in &apps {
            self.check_rollout(*app)?;
        }
        if !self.world.has_gateways() {
            return Ok(());
        }
        let Some(table) = self.world.published() else {
            return law(false, ASKED, || "nothing is published".to_owned());
        };
        for app in apps {
            let last = self.world.good_forms[app.0].last();
            let is_last = table.documents.iter().map(crate::world::normal_form).any(|form| Some(&form) == last);
            law(is_last, ASKED, || format!("the document of {} is not published", app.name()))?;
        }
        for gateway in &self.world.gateways {
            let has = gateway.table.as_ref().map(|table| &table.revision);
            law(has == Some(&table.revision) || self.world.is_half_barred(), ASKED, || {
                format!("{} has {has:?}", gateway.name)
            })?;
        }
        Ok(())
    }

    /// What was wanted is what is there.
    fn check_rollout(&self, app: App) -> Checked {
        let Some(rollout) = self.world.rollout(app) else { return Ok(()) };
        let (spec, status) = (&rollout.spec, &rollout.status);
        let of_template = spec.template.as_ref().map(template_revision);
        let wanted = rollout.wanted_revision().or(of_template.as_ref());
        let wanted = wanted.map(|revision| Candidate {
            revision: revision.clone(),
            attempt: spec.attempt,
            begun: status.candidate.as_ref().and_then(|it| it.begun),
        });
        let is_stable = wanted.as_ref().map(|wanted| &wanted.revision) == status.stable_revision.as_ref();
        let rolls_back = spec.target == Some(Target::Rollback);
        let nothing_new = wanted.is_none() || is_stable || rolls_back;
        let told = || format!("{}: {}", app.name(), status.message);
        // Without labels blue can be taken for a revision that it was taken for before; then the label is asked for.
        if !self.world.model(app).labelled && status.message.contains("its pods carry no label turnout.dev/revision") {
            return Ok(());
        }
        law(status.moving_to.is_none(), ASKED, told)?;
        match status.stage {
            None => law(nothing_new, ASKED, told),
            Some(Target::Rollback) => {
                let was_rolled_back = status.candidate.is_some() && status.candidate == wanted;
                law(nothing_new || was_rolled_back, ASKED, told)?;
                self.check_alone(app)
            }
            Some(Target::Stage(Stage::Green100)) => {
                law(nothing_new, ASKED, told)?;
                let asked = self.world.asked[app.0].filter(|asked| *asked != BROKEN).map(revision_name);
                let runs = self.world.runs(app, Backend::Green);
                // The name that a template got was in use, and means the one that is stored: that is said.
                let is_told = status.named.as_ref().is_some_and(|named| named.stored);
                law(asked.is_none() || asked == runs || is_told, ASKED, || {
                    format!("{}: {asked:?} was asked for, and green runs {runs:?}", app.name())
                })?;
                self.check_alone(app)
            }
            Some(Target::Stage(reached)) => {
                let target = spec.target.unwrap_or(Target::Stage(Stage::Green100));
                let is_there = target.stage().is_some_and(|target| target <= reached);
                let cannot = rolls_back && status.stable_revision.is_none();
                let is_it = wanted.is_none() || status.candidate == wanted;
                law((is_there || cannot) && is_it, ASKED, told)
            }
        }
    }

    /// Green serves everything, with the stable image, and blue has gone.
    fn check_alone(&self, app: App) -> Checked {
        let status = self.world.status(app);
        let runs = self.world.runs(app, Backend::Green);
        let stable = status.stable_revision.as_ref().and_then(|stable| self.laws.image(&self.world, app, stable));
        // Somebody's hand can have made it serve, until it was put right.
        let never_starts = stable == Some(revision_name(BROKEN));
        let is_it = runs == stable || never_starts || !self.world.model(app).labelled;
        law(is_it, ASKED, || format!("{}: green runs {runs:?}", app.name()))?;
        let weights = self.world.weights(app);
        law(weights == Some(Weights::all(Backend::Green)), ASKED, || format!("{}: {weights:?}", app.name()))?;
        for gateway in self.world.gateways.iter().filter(|_| !self.world.model(app).is_in_istio_mode()) {
            let [green, blue] = Backend::BOTH.map(|backend| gateway.weight(&app.upstream(backend)));
            let is_alone = Weights { green, blue } == Weights::all(Backend::Green);
            law(is_alone, ASKED, || format!("{} gives green {green}, blue {blue}", gateway.name))?;
        }
        if let Some(wanted) = self.world.rollout(app).and_then(|rollout| rollout.spec.replicas) {
            let deployment = self.world.store.get(&app.deployment(Backend::Green)).cloned().unwrap_or_default();
            let has = &deployment["spec"]["replicas"];
            law(*has == wanted, ASKED, || format!("{}: green has {has} of {wanted} pods", app.name()))?;
        }
        law(!self.world.exists(app, Backend::Blue), ASKED, || format!("{}: blue is still there", app.name()))
    }
}

fn whole(controller: usize) -> Trip {
    Trip { gateways_follow: false, ..Trip::undisturbed(controller) }
}
