//! A gateway: what it reports, and whether it has what was published.

use crate::outbound::{Call, Outbound};
use std::net::SocketAddr;
use turnout_rollout::{Backend, GatewayReport, ModelRollout, active_revision};

/// One gateway, as it was found and just asked.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// What people call it: in a cluster its pod's name.
    pub id: String,
    /// It takes new connections.
    pub serving: bool,
    /// It is on its way out, and takes up nothing any more.
    pub terminating: bool,
    /// Its status port.
    pub status: SocketAddr,
    /// What it says; silent, if it does not answer.
    pub report: GatewayReport,
}

impl Gateway {
    /// It takes new connections, and the endpoints that it has for a backend are not those with this digest.
    pub fn has_others(&self, rollout: &ModelRollout, backend: Backend, digest: u64) -> bool {
        self.serving && !self.report.knows_endpoints(rollout, backend, digest)
    }

    /// It has that revision.
    pub fn has(&self, revision: &str) -> bool {
        self.report.active() == Some(revision)
    }

    /// What the gateway with this status port reports; none if it does not answer.
    pub async fn ask(outbound: &dyn Outbound, id: &str, status: SocketAddr) -> Option<GatewayReport> {
        let get = |path: &str| outbound.send(Call::get(status, path));
        let (revision, backends) = tokio::join!(get("/revision"), get("/backends"));
        match (revision, backends) {
            (Ok(revision), Ok(backends)) if revision.status == 200 && backends.status == 200 => {
                GatewayReport::parse(id.to_owned(), &revision.body, &backends.body).ok()
            }
            _ => None,
        }
    }

    /// Whether it has the revision, asked anew and for nothing else.
    pub async fn has_taken_up(&self, outbound: &dyn Outbound, revision: &str) -> bool {
        let answer = outbound.send(Call::get(self.status, "/revision")).await;
        answer.is_ok_and(|answer| active_revision(&answer.body).as_deref() == Some(revision))
    }
}
