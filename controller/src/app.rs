//! The process: one replica that campaigns for the lease, drives while it leads, and answers probes. Rounds, the lease
//! and the status port share one thread; what is awaited is the API server and the gateways.

use crate::client::connect;
use crate::hints;
use crate::lease::{self, Leadership};
use crate::outbound::Direct;
use crate::round::{Clock, Controller, Round};
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kube::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use turnout_rollout::Timestamp;

/// However much changes, so much time is between two rounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// A lease that could not be reached for so long makes the process not live: a restart is the last resort for a client
/// that hangs.
const LIVENESS_LIMIT: Duration = Duration::from_mins(3);

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let client = connect().await?;
    let telemetry = Telemetry::default();
    let alive = Arc::new(Heart::default());
    let status = serve_status(&settings, telemetry.clone(), alive.clone()).await?;
    let (leads, leading) = watch::channel(None);
    let mut leadership = Leadership::new(client.clone(), &settings.namespace, &settings.lease, &settings.identity);
    let (stop, stopped) = watch::channel(false);
    let campaign = tokio::spawn({
        let (mut stopped, alive, telemetry) = (stopped.clone(), alive.clone(), telemetry.clone());
        async move {
            campaign(&mut leadership, &leads, &alive, &telemetry, &mut stopped).await;
            if let Err(error) = leadership.release().await {
                tracing::warn!("the lease is not given back, another replica leads once it is over: {error}");
            }
        }
    });
    let drive = tokio::spawn(drive(client, settings, telemetry, leading));
    wait_for_signal().await?;
    tracing::info!("stopping");
    drive.abort();
    let _ = stop.send(true);
    campaign.await.context("the campaign failed")?;
    status.abort();
    Ok(())
}

/// Until when this replica leads, or not at all.
type Leads = Option<Instant>;

async fn campaign(
    leadership: &mut Leadership,
    leads: &watch::Sender<Leads>,
    alive: &Heart,
    telemetry: &Telemetry,
    stopped: &mut watch::Receiver<bool>,
) {
    loop {
        match tokio::time::timeout(lease::RETRY * 2, leadership.step()).await {
            Ok(Ok(())) => alive.beat(),
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(_) => tracing::warn!("the API server does not answer for the lease"),
        }
        let until = leadership.leads_until();
        if until.is_some() != leads.borrow().is_some() {
            tracing::info!(leads = until.is_some(), "leadership");
            telemetry.leads(until.is_some());
        }
        let _ = leads.send(until);
        tokio::select! {
            () = tokio::time::sleep(lease::RETRY) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Rounds, one after the other, while this replica leads. A round is dropped wherever it is when the lead is lost.
async fn drive(client: Client, settings: Settings, telemetry: Telemetry, mut leading: watch::Receiver<Leads>) {
    let changed = Arc::new(Notify::new());
    let _watches = hints::watch(&client, &settings, &changed);
    let clock: Clock = Arc::new(now);
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut controller = Controller::new(client.clone(), settings.clone(), Arc::new(Direct), clock.clone())
            .with_telemetry(telemetry.clone());
        tokio::select! {
            () = rounds(&mut controller, &changed, &telemetry) => {}
            () = lost(&mut leading) => {}
        }
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

async fn rounds(controller: &mut Controller, changed: &Notify, telemetry: &Telemetry) {
    let mut told: Vec<String> = Vec::new();
    loop {
        let round = controller.round().await;
        telemetry.round(!round.problems.is_empty());
        tell(&round, &mut told);
        let pause = round.pause.max(SHORTEST_PAUSE);
        // A time-out is as good as a hint.
        let _ = tokio::time::timeout(pause, changed.notified()).await;
        tokio::time::sleep(SHORTEST_PAUSE).await;
    }
}

/// Says what failed, once.
fn tell(round: &Round, told: &mut Vec<String>) {
    for problem in round.problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::warn!("{problem}");
    }
    told.clone_from(&round.problems);
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// When the lease was reached last.
#[derive(Debug)]
struct Heart {
    started: Instant,
    beaten_ms: std::sync::atomic::AtomicU64,
    ready: AtomicBool,
}

impl Default for Heart {
    fn default() -> Self {
        Self { started: Instant::now(), beaten_ms: 0.into(), ready: false.into() }
    }
}

impl Heart {
    fn beat(&self) {
        let age = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beaten_ms.store(age, Ordering::Relaxed);
        self.ready.store(true, Ordering::Relaxed);
    }

    fn is_live(&self) -> bool {
        let beaten = Duration::from_millis(self.beaten_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(beaten) < LIVENESS_LIMIT
    }
}

async fn serve_status(
    settings: &Settings,
    telemetry: Telemetry,
    alive: Arc<Heart>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let answer = |is_fine: bool| if is_fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (live, ready) = (alive.clone(), alive);
    let router = Router::new()
        .route("/livez", get(async move || answer(live.is_live())))
        .route("/readyz", get(async move || answer(ready.ready.load(Ordering::Relaxed))))
        .route("/metrics", get(async move || telemetry.text()));
    let listen = settings.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the status port has failed: {error}");
        }
    }))
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
