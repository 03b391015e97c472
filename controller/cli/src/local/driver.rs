//! The driver of a local directory: look, observe, decide, publish, write the status, again and again. It is
//! level-triggered and remembers nothing that it could not read back, so it may be killed between any two steps;
//! whoever comes next goes on.
//!
//! Invariants: one driver per directory (it owns the lock); what is published is always good documents with the weights
//! of a decision; the status is written after what it tells has been published.

use super::client::{self, Call};
use super::directory::{Directory, Lock};
use super::observe::{self, Endpoint};
use super::publish::{Mount, revision_of};
use super::world::World;
use anyhow::ensure;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use turnout_rollout::{
    Action, Backend, Decision, Fitted, GatewayReport, ModelRollout, Observation, Published, Severity, Timestamp,
    Weights, decide, fit, publish, route_weights,
};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// How often it looks when nothing calls for it.
const TICK: Duration = Duration::from_millis(100);
/// How soon it looks again at files that have just changed: long enough for a copy of a file to be over.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// How often gateways are asked whether they have what was just published, and for how long before other things get a
/// turn.
const CONFIRM_TICK: Duration = Duration::from_millis(2);
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);

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

/// The driver.
#[derive(Debug)]
pub(crate) struct Driver {
    directory: Directory,
    mount: Mount,
    world: World,
    /// What was warmed: the endpoints of a backend, with what they served.
    warmed: Vec<Vec<Endpoint>>,
    problems: Vec<String>,
    notices: mpsc::UnboundedSender<Notice>,
    _lock: Lock,
}

/// What is published, and what it says.
#[derive(Debug, Default)]
struct Current {
    text: Option<String>,
    revision: String,
    documents: Vec<Document>,
}

/// A rollout, and what is to become of it.
struct Decided {
    name: String,
    rollout: ModelRollout,
    endpoints: [Vec<Endpoint>; 2],
    decision: Decision,
}

impl Driver {
    /// Takes the directory, or fails if another driver has it.
    pub(crate) fn new(directory: Directory, notices: mpsc::UnboundedSender<Notice>) -> anyhow::Result<Self> {
        let lock = directory.lock_as_driver()?;
        let mount = Mount::new(directory.routes());
        Ok(Self {
            directory,
            mount,
            world: World::default(),
            warmed: Vec::new(),
            problems: Vec::new(),
            notices,
            _lock: lock,
        })
    }

    /// Drives for as long as it is polled. `changed` is a hint that files have changed.
    pub(crate) async fn run(mut self, changed: Arc<Notify>) {
        loop {
            let pause = self.round().await.unwrap_or_else(|error| {
                self.tell_problems(vec![format!("{error:#}")]);
                TICK
            });
            // A time-out is as good as a hint.
            let _ = tokio::time::timeout(pause, changed.notified()).await;
        }
    }

    /// One round. Returns how long the next may wait.
    async fn round(&mut self) -> anyhow::Result<Duration> {
        let is_settled = self.world.look(&self.directory)?;
        if self.world.rollout_names().is_none() {
            return Ok(SECOND_LOOK);
        }
        let current = self.current()?;
        self.world.fall_back_to(&current.documents);
        let gateways = observe::gateways(&self.directory).await?;
        let mut documents = self.world.documents().map(<[Document]>::to_vec).unwrap_or_default();
        let decided = self.decide(&current, &mut documents, &gateways).await?;
        let mut problems = self.world.problems().to_vec();
        if let Err(error) = self.publish(&current, &documents, &decided).await {
            problems.push(format!("nothing is published: {error:#}"));
        }
        self.tell_problems(problems);
        let changed = self.write_statuses(&decided)?;
        self.warm_up(&decided).await;
        Ok(match (changed, is_settled) {
            (true, _) => Duration::ZERO,
            (false, true) => TICK,
            (false, false) => SECOND_LOOK,
        })
    }

    fn current(&self) -> anyhow::Result<Current> {
        let Some(text) = self.mount.current()? else { return Ok(Current::default()) };
        let parsed = parse(&[Source { name: super::publish::KEY, bytes: text.as_bytes() }]);
        // What somebody else has put there is replaced; until then it says nothing.
        let documents = parsed.map(|parsed| parsed.documents).unwrap_or_default();
        Ok(Current { revision: revision_of(&text), text: Some(text), documents })
    }

    /// Decides on every rollout. Where one does not fit the documents, these take the form back that is published.
    async fn decide(
        &self,
        current: &Current,
        documents: &mut Vec<Document>,
        gateways: &[GatewayReport],
    ) -> anyhow::Result<Vec<Decided>> {
        let mut rollouts = Vec::new();
        for (name, rollout) in self.world.rollouts() {
            rollouts.push((name, ModelRollout { status: self.directory.read_status(name)?, ..rollout.clone() }));
        }
        let all: Vec<&ModelRollout> = rollouts.iter().map(|(_, rollout)| rollout).collect();
        let fitted = fit(documents, &current.documents, &all);
        let mut decided = Vec::new();
        for ((name, _), Fitted { rollout, route }) in rollouts.iter().zip(fitted) {
            let endpoints = Backend::BOTH.map(|backend| observe::endpoints(documents, &rollout, backend));
            let is_warmed =
                |ready: &[Endpoint]| self.warmed.iter().any(|warmed| ready.iter().all(|one| warmed.contains(one)));
            let (green, blue) =
                tokio::join!(observe::backend(&endpoints[0], is_warmed), observe::backend(&endpoints[1], is_warmed));
            let weights = route_weights(&current.documents, &rollout).ok();
            let observed = Observation {
                now: now(),
                route,
                published: weights.map(|weights| Published { revision: current.revision.clone(), weights }),
                green,
                blue,
                gateways: gateways.iter().map(|gateway| gateway.observe(&current.documents, &rollout)).collect(),
                template_revision: None,
                obstacle: None,
            };
            let decision = decide(&rollout, &observed);
            decided.push(Decided { name: (*name).to_owned(), rollout, endpoints, decision });
        }
        Ok(decided)
    }

    /// Publishes the documents with the weights that were decided, if that differs from what is published.
    async fn publish(&self, current: &Current, documents: &[Document], decided: &[Decided]) -> anyhow::Result<()> {
        ensure!(self.world.is_complete(), "a rollout cannot be read");
        if self.world.documents().is_none() {
            return Ok(());
        }
        let governed: Vec<(&ModelRollout, Weights)> =
            decided.iter().filter_map(|one| Some((&one.rollout, one.decision.weights?))).collect();
        let text = publish(documents, &governed)?;
        if current.text.as_ref() == Some(&text) {
            return Ok(());
        }
        let published_at = self.mount.swap(&text)?;
        let revision = revision_of(&text);
        if self.is_confirmed(&revision).await? {
            let weights = governed.iter().map(|(_, weights)| *weights).collect();
            self.tell(Notice::Confirmed { after: published_at.elapsed(), weights });
        }
        Ok(())
    }

    /// Whether all live gateways take up a revision within a moment.
    async fn is_confirmed(&self, revision: &str) -> anyhow::Result<bool> {
        let deadline = Instant::now() + CONFIRM_PATIENCE;
        let gateways = self.directory.gateway_addresses()?;
        for (_, addresses) in &gateways {
            let Some(addresses) = addresses else { return Ok(false) };
            while !observe::has_settled(addresses, revision).await {
                if Instant::now() > deadline {
                    return Ok(false);
                }
                tokio::time::sleep(CONFIRM_TICK).await;
            }
        }
        Ok(!gateways.is_empty())
    }

    /// Writes the statuses that changed, and tells of what happened. Returns whether any did.
    fn write_statuses(&self, decided: &[Decided]) -> anyhow::Result<bool> {
        let mut changed = false;
        for one in decided {
            if one.decision.status != one.rollout.status {
                self.directory.write_status(&one.name, &one.decision.status)?;
                changed = true;
            }
            for event in one.decision.events.iter().cloned() {
                let rollout = one.name.clone();
                self.tell(Notice::Event {
                    rollout,
                    severity: event.severity,
                    reason: event.reason,
                    message: event.message,
                });
            }
        }
        if let Some(names) = self.world.rollout_names() {
            self.directory.forget_statuses_except(&names)?;
        }
        Ok(changed)
    }

    /// Sends what `spec.warmUp` says to every endpoint of a backend. What fails is decided and tried again.
    async fn warm_up(&mut self, decided: &[Decided]) {
        for one in decided {
            for action in &one.decision.actions {
                // The other actions are for workloads that the driver makes itself, which were refused when they were
                // read.
                let Action::WarmUp { backend } = action else { continue };
                let endpoints = &one.endpoints[usize::from(*backend == Backend::Blue)];
                if send_warm_up(&one.rollout, endpoints).await.is_ok() {
                    self.warmed.retain(|warmed| !warmed.iter().any(|endpoint| endpoints.contains(endpoint)));
                    self.warmed.push(endpoints.clone());
                }
            }
        }
    }

    fn tell_problems(&mut self, problems: Vec<String>) {
        if problems != self.problems {
            // Whoever asks for the status is told; that this cannot be written is told by the notice alone.
            let _ = self.directory.write_problems(&problems);
            self.problems.clone_from(&problems);
            self.tell(Notice::Problems(problems));
        }
    }

    /// That nobody listens any more is no reason to stop.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }
}

async fn send_warm_up(rollout: &ModelRollout, endpoints: &[Endpoint]) -> anyhow::Result<()> {
    let Some(warm_up) = &rollout.spec.warm_up else { return Ok(()) };
    for endpoint in endpoints {
        for _ in 0..warm_up.requests {
            let call =
                Call { address: &endpoint.address, path: &warm_up.path, body: warm_up.body.as_deref(), header: None };
            let timeout = Duration::from_secs(warm_up.timeout_seconds.into());
            let status = client::answer_to(&call, &endpoint.address, timeout).await?.status();
            ensure!(status.is_success(), "{} answers {status}", endpoint.address);
        }
    }
    Ok(())
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
