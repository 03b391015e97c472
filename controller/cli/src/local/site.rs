//! The directory as the place where rollouts are kept: what the driver reads and writes are files, of which only this
//! process writes what is published and the statuses (it owns the lock).

use super::world::World;
use crate::client::directory::{Directory, Lock};
use crate::client::mount::{KEY, Mount, revision_of};
use crate::client::observe;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use turnout_driver::outbound::Direct;
use turnout_driver::{
    BackendView, Done, Driver, Failure, Gateway, Inquiry, Look, Prepared, Publication, Refused, Rendered, Round, Site,
    Subject, View,
};
use turnout_rollout::{Action, Backend, Event, ModelRollout, Obstacle, RolloutStatus, Severity, Timestamp, Weights};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// How often it looks when nothing calls for it: nobody tells that a model or a gateway has come or gone.
const TICK: Duration = Duration::from_millis(100);
/// How soon it looks again at files that have just changed: long enough for a copy of a file to be over.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// What people may hear of.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// An event of a rollout.
    Event { rollout: String, severity: Severity, reason: &'static str, message: String },
    /// All live gateways have what was published so long ago. Told only if they were quick.
    Confirmed { after: Duration, weights: Vec<Weights> },
    /// What keeps the driver from doing as the files say; empty when it is over.
    Problems(Vec<String>),
}

/// The directory, with what is remembered of it.
#[derive(Debug)]
pub(crate) struct LocalSite {
    directory: Directory,
    mount: Mount,
    world: World,
    problems: Vec<String>,
    notices: mpsc::UnboundedSender<Notice>,
    inquiry: Inquiry,
    /// When it was published what gateways have not yet.
    published_at: Option<Instant>,
    _lock: Lock,
}

/// A rollout of the directory.
#[derive(Clone, Debug)]
pub(crate) struct LocalRollout {
    name: String,
    rollout: ModelRollout,
}

/// What one look found.
#[derive(Debug)]
pub(crate) struct LocalView {
    rollouts: Vec<LocalRollout>,
    documents: Vec<Document>,
    published: Published,
    gateways: Vec<Gateway>,
    is_complete: bool,
}

/// What is published, and what it says.
#[derive(Debug, Default)]
struct Published {
    text: Option<String>,
    revision: Option<String>,
    documents: Vec<Document>,
}

/// The driver of a directory.
pub(crate) type LocalDriver = Driver<LocalSite>;

/// Takes the directory, or fails if another driver has it.
pub(crate) fn driver(directory: Directory, notices: mpsc::UnboundedSender<Notice>) -> anyhow::Result<LocalDriver> {
    let lock = directory.lock_as_driver()?;
    // Those of the last driver are not this one's.
    directory.write_problems(&[])?;
    let mount = Mount::new(directory.routes());
    let (world, problems) = (World::default(), Vec::new());
    let site = LocalSite {
        directory,
        mount,
        world,
        problems,
        notices,
        inquiry: Inquiry::default(),
        published_at: None,
        _lock: lock,
    };
    Ok(Driver::new(site, Arc::new(Direct), Arc::new(now)))
}

/// Drives for as long as it is polled. `changed` is a hint that files have changed.
pub(crate) async fn drive(mut driver: LocalDriver, changed: Arc<Notify>) {
    loop {
        let round = driver.round().await;
        driver.site_mut().tell_problems(round.problems);
        // A time-out is as good as a hint.
        let _ = tokio::time::timeout(round.pause.min(TICK), changed.notified()).await;
    }
}

impl Site for LocalSite {
    type Rollout = LocalRollout;
    type View = LocalView;

    async fn look(&mut self, _: Timestamp, round: &mut Round) -> Look<LocalView> {
        match self.read(round).await {
            Ok(view) => Look::Seen(Box::new(view)),
            Err(error) => Look::Failed(obstacle(&error), Vec::new()),
        }
    }

    /// The documents say where a backend is. Until that is published, what answers there is not what gateways send requests
    /// to, and a backend that has gone from the documents has not gone from the gateways.
    async fn backends(&self, view: &LocalView, _: &LocalRollout, fitted: &ModelRollout) -> [BackendView; 2] {
        let look = async |backend| {
            let wanted = observe::endpoints(&view.documents, fitted, backend);
            let mut found = observe::backend(&wanted).await;
            let published = observe::endpoints(&view.published.documents, fitted, backend);
            if !view.published.documents.is_empty() && published != wanted {
                found.observed.exists |= !published.is_empty();
                found.observed.revision = None;
                found.observed.doubt = Some("its endpoints are not published yet".to_owned());
            }
            found
        };
        let (green, blue) = tokio::join!(look(Backend::Green), look(Backend::Blue));
        [green, blue]
    }

    fn obstacle(&self, _: &LocalView, _: &ModelRollout) -> Option<Obstacle> {
        None
    }

    fn template_revision(&self, _: &ModelRollout) -> Option<String> {
        None
    }

    async fn write_status(
        &mut self,
        _: &LocalView,
        rollout: &mut LocalRollout,
        status: &RolloutStatus,
    ) -> Result<bool, Failure> {
        if *status == rollout.rollout.status {
            return Ok(false);
        }
        self.directory.write_status(&rollout.name, status).map_err(|error| Failure::Kept(obstacle(&error)))?;
        rollout.rollout.status.clone_from(status);
        Ok(true)
    }

    async fn tell(&mut self, told: &[(&LocalRollout, &Event)]) {
        for (rollout, event) in told {
            let Event { severity, reason, message } = (*event).clone();
            self.notice(Notice::Event { rollout: rollout.name.clone(), severity, reason, message });
        }
    }

    /// What cannot be read has a former form, or keeps everything back.
    async fn tell_apart(&mut self, _: &mut LocalView, _: &mut Round) {}

    async fn prepare(&mut self, view: &mut LocalView) -> Prepared {
        Prepared { documents: view.documents.clone(), refused: Vec::new() }
    }

    async fn publish(
        &mut self,
        view: &LocalView,
        rendered: &Rendered,
        _: &[&LocalRollout],
        _: &BTreeSet<String>,
        _: &mut Round,
    ) -> Result<Publication, Failure> {
        if view.published.text.as_ref() == Some(&rendered.text) {
            return Ok(Publication::Stands);
        }
        let swapped = self.mount.swap(&rendered.text).map_err(|error| Failure::Kept(obstacle(&error)))?;
        self.published_at = Some(swapped);
        Ok(Publication::Swapped(Some(revision_of(&rendered.text))))
    }

    /// Rollouts in Istio mode were refused when they were read.
    async fn set_elsewhere(&mut self, _: &LocalView, _: &LocalRollout, _: Weights) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Gateways watch the directory themselves.
    async fn nudge(&mut self, _: &[&Gateway], _: &str) -> Result<(), Obstacle> {
        Ok(())
    }

    fn confirmed(&mut self, weights: &[Weights]) {
        if let Some(published_at) = self.published_at.take() {
            self.notice(Notice::Confirmed { after: published_at.elapsed(), weights: weights.to_vec() });
        }
    }

    /// Nobody else drives.
    async fn outdated(&mut self, _: &LocalView, _: &[&LocalRollout], _: &BTreeSet<&str>) -> Vec<Refused> {
        Vec::new()
    }

    /// Workloads that a driver makes itself were refused when the rollout was read.
    async fn act(&mut self, _: &LocalView, _: &LocalRollout, _: &[Action]) -> Done {
        Done::default()
    }

    async fn finish(&mut self, _: &LocalView, _: &[&LocalRollout], round: &mut Round) {
        let Some(names) = self.world.rollout_names() else { return };
        if let Err(error) = self.directory.forget_statuses_except(&names) {
            round.fails(format!("{error:#}"));
        }
    }
}

impl LocalSite {
    async fn read(&mut self, round: &mut Round) -> anyhow::Result<LocalView> {
        if !self.world.look(&self.directory)? {
            round.pause = round.pause.min(SECOND_LOOK);
        }
        while self.world.rollout_names().is_none() {
            tokio::time::sleep(SECOND_LOOK).await;
            self.world.look(&self.directory)?;
        }
        let published = self.published()?;
        self.world.fall_back_to(&published.documents);
        round.problems.extend_from_slice(self.world.problems());
        let mut rollouts = Vec::new();
        for (name, rollout) in self.world.rollouts() {
            let rollout = ModelRollout { status: self.directory.read_status(name)?, ..rollout.clone() };
            rollouts.push(LocalRollout { name: name.to_owned(), rollout });
        }
        Ok(LocalView {
            rollouts,
            documents: self.world.documents().map(<[Document]>::to_vec).unwrap_or_default(),
            published,
            gateways: observe::gateways(&self.directory, &mut self.inquiry).await?,
            is_complete: self.world.is_complete(),
        })
    }

    fn published(&self) -> anyhow::Result<Published> {
        let Some(text) = self.mount.current()? else { return Ok(Published::default()) };
        let parsed = parse(&[Source { name: KEY, bytes: text.as_bytes() }]);
        // What somebody else has put there is replaced; until then it says nothing.
        let documents = parsed.map(|parsed| parsed.documents).unwrap_or_default();
        Ok(Published { revision: Some(revision_of(&text)), text: Some(text), documents })
    }

    fn tell_problems(&mut self, problems: Vec<String>) {
        if problems != self.problems {
            // Whoever asks for the status is told; that this cannot be written is told by the notice alone.
            let _ = self.directory.write_problems(&problems);
            self.problems.clone_from(&problems);
            self.notice(Notice::Problems(problems));
        }
    }

    /// That nobody listens any more is no reason to stop.
    fn notice(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }
}

impl Subject for LocalRollout {
    fn key(&self) -> String {
        self.name.clone()
    }

    fn rollout(&self) -> &ModelRollout {
        &self.rollout
    }
}

impl View for LocalView {
    type Rollout = LocalRollout;

    fn rollouts(&self) -> &[LocalRollout] {
        &self.rollouts
    }

    fn documents(&mut self) -> &mut Vec<Document> {
        &mut self.documents
    }

    fn published(&self) -> &[Document] {
        &self.published.documents
    }

    fn revision(&self) -> Option<&str> {
        self.published.revision.as_deref()
    }

    fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    fn is_whole(&self) -> bool {
        self.is_complete
    }

    fn is_uncertain(&self) -> bool {
        !self.is_complete
    }
}

fn obstacle(error: &anyhow::Error) -> Obstacle {
    Obstacle { reason: "DirectoryFailure", message: format!("{error:#}") }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
