//! The two models of a local directory, and what a pipeline would do with them: deploy the candidate as blue, replace
//! green when the rollout says that nothing needs it, remove blue at the end. It only ever touches a backend that the
//! status calls safe to remove, and it makes the new process before it breaks the old one.

use super::processes::Model;
use super::sample::{FIRST_REVISION, ROLLOUT, SECOND_REVISION, served_revision, write_endpoint};
use crate::client::directory::Directory;
use crate::client::mount::{Mount, names_port, revision_of};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use turnout_driver::has_taken_up;
use turnout_driver::outbound::Direct;
use turnout_rollout::{Backend, RolloutStatus, Stage, Target};

const LOOK: Duration = Duration::from_millis(20);
/// A request that chose its endpoint by the routes before may still be on its way there, as behind a pod's preStop.
const LAST_REQUESTS: Duration = Duration::from_millis(200);

/// The models.
#[derive(Debug)]
pub(crate) struct Workloads {
    directory: Directory,
    green: Option<Serving>,
    blue: Option<Serving>,
    leaving: Vec<Leaving>,
    may_remove: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Serving {
    revision: String,
    model: Model,
}

/// A model that no document names any more; it serves until every gateway knows that.
#[derive(Debug)]
struct Leaving {
    model: Model,
    /// When no gateway had it any more.
    left_at: Option<Instant>,
}

/// What is to be done with a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Serve(Backend, String),
    Remove(Backend),
}

impl Workloads {
    /// Starts what the directory says was served last, in a new one the sample's two models.
    pub(crate) async fn start(directory: &Directory) -> anyhow::Result<Self> {
        let mut workloads = Self {
            directory: directory.clone(),
            green: None,
            blue: None,
            leaving: Vec::new(),
            may_remove: Arc::new(AtomicBool::new(true)),
        };
        for (backend, default) in [(Backend::Green, FIRST_REVISION), (Backend::Blue, SECOND_REVISION)] {
            if let Some(revision) = served_revision(directory, backend, default)? {
                let serving = workloads.deploy(backend, &revision).await?;
                *workloads.slot(backend) = Some(serving);
            }
        }
        Ok(workloads)
    }

    /// While this is false no backend is removed; it is true at first.
    pub(crate) fn removal_switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.may_remove)
    }

    /// Where a backend is.
    pub(crate) fn address(&self, backend: Backend) -> Option<SocketAddr> {
        let serving = match backend {
            Backend::Green => &self.green,
            Backend::Blue => &self.blue,
        };
        serving.as_ref().map(|serving| serving.model.address)
    }

    /// Follows the rollout for as long as it is polled; fails if a model ends by itself.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            for serving in [&mut self.green, &mut self.blue].into_iter().flatten() {
                serving.model.check()?;
            }
            self.end_those_left().await?;
            let status = self.directory.read_status(ROLLOUT)?;
            let served =
                Backend::BOTH.map(|backend| self.slot(backend).as_ref().map(|serving| serving.revision.clone()));
            match next_step(&status, &served) {
                Some(Step::Serve(backend, revision)) => self.replace(backend, &revision).await?,
                Some(Step::Remove(backend)) if self.may_remove.load(Ordering::Relaxed) => self.remove(backend)?,
                Some(Step::Remove(_)) | None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Ends all models.
    pub(crate) async fn end(self) {
        let serving = [self.green, self.blue].into_iter().flatten().map(|serving| serving.model);
        for model in serving.chain(self.leaving.into_iter().map(|leaving| leaving.model)) {
            model.end().await;
        }
    }

    async fn deploy(&self, backend: Backend, revision: &str) -> anyhow::Result<Serving> {
        let model = Model::start(&self.directory, backend, revision).await?;
        write_endpoint(&self.directory, backend, Some((model.address, revision)))?;
        Ok(Serving { revision: revision.to_owned(), model })
    }

    async fn replace(&mut self, backend: Backend, revision: &str) -> anyhow::Result<()> {
        let new = self.deploy(backend, revision).await?;
        let former = self.slot(backend).replace(new);
        self.leaving.extend(former.map(Leaving::new));
        Ok(())
    }

    fn remove(&mut self, backend: Backend) -> anyhow::Result<()> {
        write_endpoint(&self.directory, backend, None)?;
        let former = self.slot(backend).take();
        self.leaving.extend(former.map(Leaving::new));
        Ok(())
    }

    /// Ends the models that no gateway sends anything to any more.
    async fn end_those_left(&mut self) -> anyhow::Result<()> {
        for mut leaving in std::mem::take(&mut self.leaving) {
            if leaving.left_at.is_none() && self.is_left(leaving.model.address.port()).await? {
                leaving.left_at = Some(Instant::now());
            }
            if leaving.left_at.is_some_and(|left_at| left_at.elapsed() > LAST_REQUESTS) {
                leaving.model.end().await;
            } else {
                self.leaving.push(leaving);
            }
        }
        Ok(())
    }

    /// What is published does not name the port, and every gateway has it.
    async fn is_left(&self, port: u16) -> anyhow::Result<bool> {
        let Some(text) = Mount::new(self.directory.routes()).current()?.filter(|text| !names_port(text, port)) else {
            return Ok(false);
        };
        let revision = revision_of(&text);
        for (_, addresses) in self.directory.gateway_addresses()? {
            let Some(addresses) = addresses else { return Ok(false) };
            if !has_taken_up(&Direct, addresses.status, &revision).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn slot(&mut self, backend: Backend) -> &mut Option<Serving> {
        match backend {
            Backend::Green => &mut self.green,
            Backend::Blue => &mut self.blue,
        }
    }
}

impl Leaving {
    fn new(serving: Serving) -> Self {
        Self { model: serving.model, left_at: None }
    }
}

/// What a pipeline does at this status, given what green and blue serve.
fn next_step(status: &RolloutStatus, [green, blue]: &[Option<String>; 2]) -> Option<Step> {
    let is_safe = |backend| status.safe_to_remove.contains(&backend);
    let candidate = status.candidate.as_ref().map(|candidate| candidate.revision.clone());
    let serve = |backend, served: &Option<String>, wanted: Option<String>| {
        let wanted = wanted.filter(|wanted| is_safe(backend) && served.as_ref() != Some(wanted))?;
        Some(Step::Serve(backend, wanted))
    };
    match status.position()? {
        Target::Stage(Stage::BLUE_0) => serve(Backend::Blue, blue, candidate),
        Target::Stage(Stage::BlueGreen) => serve(Backend::Green, green, candidate),
        Target::Rollback if status.moving_to.is_some() => serve(Backend::Green, green, status.stable_revision.clone()),
        Target::Rollback | Target::Stage(Stage::Green100) => {
            (is_safe(Backend::Blue) && blue.is_some()).then_some(Step::Remove(Backend::Blue))
        }
        Target::Stage(Stage::Blue(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnout_rollout::Candidate;

    #[test]
    fn a_backend_is_touched_only_when_the_status_calls_it_safe() {
        let stage = Target::Stage;
        let check = |position, moving: bool, safe: &[Backend], served: [Option<&str>; 2], expected: Option<Step>| {
            let status = RolloutStatus {
                stage: (!moving).then_some(position),
                moving_to: moving.then_some(position),
                stable_revision: Some("A".to_owned()),
                candidate: Some(Candidate { revision: "B".to_owned(), attempt: 0, begun: None }),
                safe_to_remove: safe.to_vec(),
                ..RolloutStatus::default()
            };
            let served = served.map(|revision| revision.map(str::to_owned));
            assert_eq!(next_step(&status, &served), expected, "{position} {safe:?} {served:?}");
        };
        let serve = |backend, revision: &str| Some(Step::Serve(backend, revision.to_owned()));
        let (green, blue) = ([Backend::Green], [Backend::Blue]);
        check(stage(Stage::BLUE_0), false, &blue, [Some("A"), None], serve(Backend::Blue, "B"));
        check(stage(Stage::BLUE_0), false, &blue, [Some("A"), Some("C")], serve(Backend::Blue, "B"));
        check(stage(Stage::BLUE_0), false, &blue, [Some("A"), Some("B")], None);
        check(stage(Stage::BLUE_0), false, &[], [Some("A"), None], None);
        check(stage(Stage::BLUE_50), false, &[], [Some("A"), Some("B")], None);
        check(stage(Stage::BlueGreen), false, &green, [Some("A"), Some("B")], serve(Backend::Green, "B"));
        check(stage(Stage::BlueGreen), false, &[], [Some("A"), Some("B")], None);
        check(stage(Stage::Green100), false, &blue, [Some("B"), Some("B")], Some(Step::Remove(Backend::Blue)));
        check(stage(Stage::Green100), false, &blue, [Some("B"), None], None);
        check(Target::Rollback, true, &green, [Some("B"), Some("B")], serve(Backend::Green, "A"));
        check(Target::Rollback, true, &[], [Some("A"), Some("B")], None);
        check(Target::Rollback, false, &blue, [Some("A"), Some("B")], Some(Step::Remove(Backend::Blue)));
    }
}
