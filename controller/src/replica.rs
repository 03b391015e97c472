//! One replica: it campaigns for the lease, and drives while it leads. Rounds and the lease share one thread; what is
//! awaited is the API server and the gateways.
//!
//! It never only seems to live. A round has a deadline; a round that panics, a task that ended, a leader that finishes no
//! round end the replica, and with it the process: the lease is given back first, so that another one takes over at once.

use crate::cluster::{Controller, controller};
use crate::heart::{Heart, STALL_LIMIT};
use crate::hints;
use crate::lease::{self, ABANDONED, Leadership};
use crate::mark::Mark;
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use anyhow::anyhow;
use kube::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use turnout_driver::outbound::Outbound;
use turnout_driver::{Clock, Round};

/// However much changes, so much time is between two rounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// How long a round may take. One that takes longer is given up, and the next one begins with what it left.
const ROUND_LIMIT: Duration = Duration::from_mins(1);

/// What a replica needs.
pub struct Replica {
    client: Client,
    lease_client: Client,
    settings: Settings,
    outbound: Arc<dyn Outbound>,
    clock: Clock,
    /// What it counts.
    pub telemetry: Telemetry,
    /// Whether it lives.
    pub heart: Arc<Heart>,
}

impl Replica {
    /// One that does nothing yet; of the clients the second is for the lease.
    pub fn new(
        [client, lease_client]: [Client; 2],
        settings: Settings,
        outbound: Arc<dyn Outbound>,
        clock: Clock,
    ) -> Self {
        let (telemetry, heart) = (Telemetry::default(), Arc::new(Heart::default()));
        Self { client, lease_client, settings, outbound, clock, telemetry, heart }
    }

    /// Runs until it is told to stop, or until it cannot go on, which is an error. Either way the lease is given back.
    pub async fn run(self, stop: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let heart = self.heart.clone();
        let (leads, leading) = watch::channel(None);
        let (cease, ceased) = watch::channel(false);
        let mut campaign = tokio::spawn(self.campaign().run(leads, ceased));
        let mut drive = tokio::spawn(self.drive(leading));
        let outcome = tokio::select! {
            told = stop => told,
            ended = &mut drive => Err(failure("the rounds have ended", ended)),
            ended = &mut campaign => return Err(failure("nobody looks after the lease any more", ended)),
            () = heart.stalls() => Err(anyhow!("no round has ended for {STALL_LIMIT:?}")),
        };
        // First nothing is written any more, then another one may lead.
        drive.abort();
        if !drive.is_finished() {
            let _ = drive.await;
        }
        let _ = cease.send(true);
        let _ = campaign.await;
        outcome
    }

    fn campaign(&self) -> Campaign {
        Campaign {
            leadership: Leadership::new(self.lease_client.clone(), &self.settings),
            heart: self.heart.clone(),
            telemetry: self.telemetry.clone(),
        }
    }

    /// Rounds, one after the other, while this replica leads. A round is dropped wherever it is when the lead is lost.
    async fn drive(self, mut leading: watch::Receiver<Leads>) {
        let changed = Arc::new(Notify::new());
        let _watches = hints::watch(&self.client, &self.settings, &changed);
        while leading.wait_for(is_now).await.is_ok() {
            let mut controller = self.controller();
            tokio::select! {
                () = self.rounds(&mut controller, &changed) => {}
                () = lost(&mut leading) => {}
            }
        }
    }

    fn controller(&self) -> Controller {
        let (client, settings) = (self.client.clone(), self.settings.clone());
        controller(client, settings, self.outbound.clone(), self.clock.clone(), self.telemetry.clone())
    }

    /// Until one of them takes too long: what the controller remembers then is not trusted either.
    async fn rounds(&self, controller: &mut Controller, changed: &Notify) {
        let mut told: Vec<String> = Vec::new();
        let mut marked: Option<Instant> = None;
        loop {
            let Ok(round) = timeout(ROUND_LIMIT, controller.round()).await else {
                self.telemetry.round(true);
                tracing::error!("a round was given up after {ROUND_LIMIT:?}");
                return;
            };
            self.heart.finished_a_round();
            self.telemetry.round(!round.problems.is_empty());
            tell(&round, &mut told);
            marked = round.over.then(|| marked.unwrap_or_else(Instant::now));
            if marked.is_some_and(|since| since.elapsed() > ABANDONED) {
                self.lift_mark().await;
            }
            let pause = round.pause.max(SHORTEST_PAUSE);
            // A time-out is as good as a hint.
            let _ = timeout(pause, changed.notified()).await;
            tokio::time::sleep(SHORTEST_PAUSE).await;
        }
    }
}

impl Replica {
    /// It leads, so no uninstaller has marked the lease: the one that marked the ConfigMap went no further.
    async fn lift_mark(&self) {
        if let Err(error) = Mark::new(&self.client, &self.settings).lift().await {
            tracing::warn!("{error}");
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("settings", &self.settings).field("heart", &self.heart).finish_non_exhaustive()
    }
}

/// Until when this replica leads, or not at all.
type Leads = Option<Instant>;

/// What was said last may be over.
fn is_now(leads: &Leads) -> bool {
    leads.is_some_and(|until| Instant::now() < until)
}

struct Campaign {
    leadership: Leadership,
    heart: Arc<Heart>,
    telemetry: Telemetry,
}

impl Campaign {
    /// Takes and renews the lease until it is told to cease, and gives it back.
    async fn run(mut self, leads: watch::Sender<Leads>, mut ceased: watch::Receiver<bool>) {
        loop {
            self.step(&leads).await;
            tokio::select! {
                () = tokio::time::sleep(lease::RETRY) => {}
                _ = ceased.wait_for(|ceased| *ceased) => break,
            }
        }
        let why = match timeout(lease::PATIENCE, self.leadership.release()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not answer".to_owned(),
        };
        tracing::warn!("the lease is not given back, another replica leads once it is over: {why}");
    }

    async fn step(&mut self, leads: &watch::Sender<Leads>) {
        match timeout(lease::PATIENCE, self.leadership.step()).await {
            Ok(Ok(())) => self.heart.reached_the_lease(),
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(_) => tracing::warn!("the API server does not answer for the lease"),
        }
        let until = self.leadership.leads_until();
        if until.is_some() != leads.borrow().is_some() {
            tracing::info!(leads = until.is_some(), "leadership");
            self.telemetry.leads(until.is_some());
        }
        self.heart.leads(until.is_some());
        let _ = leads.send(until);
    }
}

/// Until the lease could not be renewed in time, or somebody else has it.
async fn lost(leading: &mut watch::Receiver<Leads>) {
    loop {
        let Some(until) = *leading.borrow_and_update() else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = leading.changed() => if changed.is_err() { return },
        }
    }
}

/// A task that should go on has not.
fn failure(what: &'static str, ended: Result<(), JoinError>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow!(what),
        Err(error) => anyhow::Error::new(error).context(what),
    }
}

/// Says what failed, once.
fn tell(round: &Round, told: &mut Vec<String>) {
    for problem in round.problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::warn!("{problem}");
    }
    told.clone_from(&round.problems);
}
