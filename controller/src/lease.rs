//! Which replica leads, by a Lease as Kubernetes' own components hold it. No clock is compared with another machine's:
//! a replica takes the lease over only when it has itself seen the same record stand still for the lease's whole time,
//! and a leader that could not renew in a shorter time stops leading by its own clock. So a wrong clock, a partition or
//! an API server that is away leaves at most one that leads.
//!
//! Whoever uninstalls the release marks the lease, and nobody leads until it has gone. An uninstall that was given up must
//! not bar controllers for ever: the mark counts no more once the one on the published ConfigMap, which is made before it
//! and goes with the release, is not there; or once nothing has moved the lease for [`ABANDONED`].
//!
//! What a leader that was stopped between two requests (SIGSTOP) may still do is held off by the writes themselves: see
//! `published`.

use crate::kube_api::ApiError;
use crate::mark::Mark;
use crate::names::{FIELD_MANAGER, UNINSTALLING};
use crate::settings::Settings;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How long a record must stand still before another replica takes the lease.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader goes on leading without a renewal; the difference to [`DURATION`] is what its last writes may take.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
pub const RETRY: Duration = Duration::from_secs(2);
/// How long that may take: a leader whose renewal hangs has another try before it must stop.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// How long a marked lease must stand still, as seen from here, until the uninstall counts as given up. An uninstaller
/// renews the lease, and the Job that is one is tried again sooner.
pub const ABANDONED: Duration = Duration::from_mins(5);

/// The lease from one replica's side.
#[derive(Debug)]
pub struct Leadership {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The record of whoever else holds it, and since when it has not changed.
    seen: Option<(LeaseSpec, Instant)>,
    /// When it was renewed last, as the request was sent.
    renewed: Option<Instant>,
    /// It takes the lease to take the release away.
    uninstalls: bool,
    /// It has seen the mark of one that does: on which version of the lease, none once that is gone, and since when.
    barred: Option<(Option<String>, Instant)>,
    /// The one on the published ConfigMap.
    mark: Mark,
}

impl Leadership {
    /// Leads nothing yet.
    pub fn new(client: Client, settings: &Settings) -> Self {
        let Settings { namespace, lease, identity, .. } = settings;
        let mark = Mark::new(&client, settings);
        Self {
            api: Api::namespaced(client, namespace),
            name: lease.clone(),
            identity: identity.clone(),
            seen: None,
            renewed: None,
            uninstalls: false,
            barred: None,
            mark,
        }
    }

    /// The only one that may lead once [`bar`] was called.
    #[must_use]
    pub fn of_uninstaller(self) -> Self {
        Self { uninstalls: true, ..self }
    }

    /// Until when this replica may act; none while it does not lead.
    pub fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|at| at + RENEW_DEADLINE).filter(|until| Instant::now() < *until)
    }

    /// Renews the lease, or takes it if nobody renews it. What fails is tried again by the next call; until the deadline
    /// of the last renewal is over, a leader leads on.
    pub async fn step(&mut self) -> Result<(), ApiError> {
        let sent = Instant::now();
        let lease = self.api.get_opt(&self.name).await.map_err(ApiError::of("get", self.place()))?;
        if self.is_barred(lease.as_ref(), sent).await? {
            return self.stand_down(lease).await;
        }
        let Some(lease) = lease else { return self.create(sent).await };
        let record = lease.spec.clone().unwrap_or_default();
        let is_own = self.holds(&record);
        if !is_own && !self.is_free(&record, sent) {
            self.renewed = None;
            return Ok(());
        }
        let mut next = lease;
        let transitions = record.lease_transitions.unwrap_or(0);
        let mut spec = self.record(if is_own { transitions } else { transitions + 1 });
        if is_own {
            spec.acquire_time = record.acquire_time;
        }
        next.spec = Some(spec);
        self.label(&mut next);
        match self.api.replace(&self.name, &post(), &next).await.map_err(ApiError::of("update", self.place())) {
            Ok(_) => self.renewed = Some(sent),
            // Somebody else was quicker.
            Err(error) if error.is_conflict() => self.seen = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn create(&mut self, sent: Instant) -> Result<(), ApiError> {
        let mut lease = Lease { spec: Some(self.record(0)), ..Lease::default() };
        lease.metadata.name = Some(self.name.clone());
        self.label(&mut lease);
        match self.api.create(&post(), &lease).await.map_err(ApiError::of("create", self.place())) {
            Ok(_) => self.renewed = Some(sent),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What an uninstaller holds is marked, and what a controller holds is not.
    fn label(&self, lease: &mut Lease) {
        if self.uninstalls {
            lease.annotations_mut().insert(UNINSTALLING.to_owned(), "true".to_owned());
        } else {
            lease.annotations_mut().remove(UNINSTALLING);
        }
    }

    /// The release is being uninstalled by somebody else. A lease that has gone with its mark bars on.
    async fn is_barred(&mut self, lease: Option<&Lease>, now: Instant) -> Result<bool, ApiError> {
        let is_marked = lease.map_or(self.barred.is_some(), |lease| lease.annotations().contains_key(UNINSTALLING));
        if self.uninstalls || !is_marked {
            self.barred = None;
            return Ok(false);
        }
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        let since = match self.barred.take() {
            Some((seen, since)) if seen == version => since,
            _ => now,
        };
        self.barred = Some((version, since));
        let is_abandoned = now.duration_since(since) > ABANDONED;
        if is_abandoned {
            // Before the lease is taken, and with it its mark: whoever comes between finds one that does not count.
            self.mark.lift().await?;
        }
        Ok(!is_abandoned && !self.mark.is_lifted().await?)
    }

    async fn stand_down(&mut self, lease: Option<Lease>) -> Result<(), ApiError> {
        self.renewed = None;
        match lease {
            Some(lease) if lease.spec.as_ref().is_some_and(|record| self.holds(record)) => self.give_back(lease).await,
            _ => Ok(()),
        }
    }

    /// Given back, or not renewed for its whole time, as seen from here.
    fn is_free(&mut self, record: &LeaseSpec, now: Instant) -> bool {
        if record.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if seen == record => now.duration_since(*since) > duration_of(record),
            _ => {
                self.seen = Some((record.clone(), now));
                false
            }
        }
    }

    fn record(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that the next one leads at once.
    pub async fn release(&mut self) -> Result<(), ApiError> {
        if self.renewed.take().is_none() {
            return Ok(());
        }
        let Some(lease) = self.api.get_opt(&self.name).await.map_err(ApiError::of("get", self.place()))? else {
            return Ok(());
        };
        if lease.spec.as_ref().is_some_and(|record| self.holds(record)) { self.give_back(lease).await } else { Ok(()) }
    }

    async fn give_back(&self, mut lease: Lease) -> Result<(), ApiError> {
        let transitions = lease.spec.as_ref().and_then(|record| record.lease_transitions).unwrap_or(0);
        lease.spec = Some(LeaseSpec { holder_identity: None, ..self.record(transitions) });
        let released = self.api.replace(&lease.name_any(), &post(), &lease).await;
        released.map_err(ApiError::of("update", self.place()))?;
        Ok(())
    }

    fn holds(&self, record: &LeaseSpec) -> bool {
        record.holder_identity.as_deref() == Some(self.identity.as_str())
    }

    fn place(&self) -> String {
        format!("leases {}", self.name)
    }
}

/// Has whoever leads stop, for the sake of an uninstaller. Where there is no lease yet, the uninstaller makes it, marked.
pub async fn bar(client: &Client, namespace: &str, name: &str) -> Result<(), ApiError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { UNINSTALLING: "true" } } }));
    let barred = api.patch_metadata(name, &PatchParams::apply(FIELD_MANAGER), &patch).await;
    match barred.map_err(ApiError::of("patch", format!("leases {name}"))) {
        // Nobody has led yet.
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

/// The holder's own promise, within reason.
fn duration_of(record: &LeaseSpec) -> Duration {
    let seconds = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs).max(DURATION)
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
