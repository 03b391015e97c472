//! A gateway: what it reports, and whether it has what was published.

use crate::outbound::{Call, Outbound};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use turnout_rollout::{Backend, GatewayReport, ModelRollout, active_revision};

/// A gateway that took so long, and then said nothing, hangs.
const LONG: Duration = Duration::from_millis(500);
/// So long a round waits for one that hangs.
const MOMENT: Duration = Duration::from_millis(50);

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
}

/// Whether the gateway with this status port has the revision, asked anew and for nothing else.
pub async fn has_taken_up(outbound: &dyn Outbound, status: SocketAddr, revision: &str) -> bool {
    let answer = outbound.send(Call::get(status, "/revision")).await;
    answer.is_ok_and(|answer| active_revision(&answer.body).as_deref() == Some(revision))
}

/// Asks gateways what they report. One that hangs is waited for once; after that it is asked beside the rounds, and counts as
/// silent in each round in which it does not answer in a moment.
#[derive(Debug, Default)]
pub struct Inquiry {
    /// By the gateway's name, until it hangs no more.
    hanging: BTreeMap<String, AbortOnDropHandle<()>>,
}

impl Inquiry {
    /// Asks these, by name; of one that does not answer there is nothing.
    pub async fn ask(
        &mut self,
        outbound: &Arc<dyn Outbound>,
        gateways: &[(String, SocketAddr)],
    ) -> BTreeMap<String, GatewayReport> {
        self.hanging.retain(|id, probe| !probe.is_finished() && gateways.iter().any(|(known, _)| known == id));
        let mut asked = JoinSet::new();
        for (id, status) in gateways.iter().cloned() {
            let (outbound, patience) = (outbound.clone(), self.hanging.contains_key(&id).then_some(MOMENT));
            asked.spawn(async move {
                let question = Question { outbound, id, status };
                let answer = question.answer(patience).await;
                (question, answer)
            });
        }
        let mut reports = BTreeMap::new();
        for (question, answer) in asked.join_all().await {
            match answer {
                Ok(report) => reports.extend(report.map(|report| (question.id, report))),
                Err(Hangs) if self.hanging.contains_key(&question.id) => {}
                Err(Hangs) => {
                    let id = question.id.clone();
                    let probe = async move { while question.answer(None).await.is_err() {} };
                    self.hanging.insert(id, AbortOnDropHandle::new(tokio::spawn(probe)));
                }
            }
        }
        reports
    }

    /// It did not answer, and nobody refused the connection.
    pub fn hangs(&self, id: &str) -> bool {
        self.hanging.contains_key(id)
    }
}

/// What one gateway is asked.
struct Question {
    outbound: Arc<dyn Outbound>,
    id: String,
    status: SocketAddr,
}

struct Hangs;

impl Question {
    /// What it reports; nothing of one that says soon that it has nothing to say.
    async fn answer(&self, patience: Option<Duration>) -> Result<Option<GatewayReport>, Hangs> {
        let began = Instant::now();
        let report = match patience {
            Some(patience) => timeout(patience, self.ask()).await.map_err(|_| Hangs)?,
            None => self.ask().await,
        };
        if report.is_none() && began.elapsed() >= LONG { Err(Hangs) } else { Ok(report) }
    }

    async fn ask(&self) -> Option<GatewayReport> {
        let get = |path: &str| self.outbound.send(Call::get(self.status, path));
        let (revision, backends) = tokio::join!(get("/revision"), get("/backends"));
        match (revision, backends) {
            (Ok(revision), Ok(backends)) if revision.status == 200 && backends.status == 200 => {
                GatewayReport::parse(self.id.clone(), &revision.body, &backends.body).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Answer, Answering, OutboundError, Post, Posting};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Gateways of which that on port 2 answers or hangs.
    #[derive(Default)]
    struct Two {
        hangs: AtomicBool,
    }

    impl Outbound for Two {
        fn post(&self, _: Post) -> Posting<'_> {
            unreachable!("a gateway is no webhook")
        }

        fn send(&self, call: Call) -> Answering<'_> {
            Box::pin(async move {
                if call.address.port() == 2 && self.hangs.load(Ordering::Relaxed) {
                    tokio::time::sleep(call.timeout).await;
                    return Err(OutboundError::TimedOut(call.address, call.timeout));
                }
                let body = if call.path == "/revision" { "{}" } else { r#"{"revision": null, "backends": []}"# };
                Ok(Answer { status: 200, body: body.into() })
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_waited_for_once_until_it_answers_again() {
        let two = Arc::new(Two::default());
        let outbound: Arc<dyn Outbound> = two.clone();
        let gateways = [1, 2].map(|port| (port.to_string(), SocketAddr::from(([127, 0, 0, 1], port))));
        let mut inquiry = Inquiry::default();
        let mut check = async |hangs: bool, answers: &[&str], within: Duration| {
            two.hangs.store(hangs, Ordering::Relaxed);
            let began = Instant::now();
            let reports = inquiry.ask(&outbound, &gateways).await;
            assert_eq!(reports.keys().map(String::as_str).collect::<Vec<_>>(), answers);
            assert!(began.elapsed() <= within, "{:?}", began.elapsed());
        };
        let (at_once, patience) = (Duration::ZERO, Duration::from_secs(1));
        check(false, &["1", "2"], at_once).await;
        check(true, &["1"], patience).await;
        for _ in 0..100 {
            check(true, &["1"], MOMENT + Duration::from_millis(1)).await;
        }
        check(false, &["1", "2"], at_once).await;
        tokio::time::sleep(patience).await;
        check(true, &["1"], patience).await;
    }
}
