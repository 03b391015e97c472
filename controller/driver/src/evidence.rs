//! What gateways have counted of candidates, from the page `/evidence` of their status port. It is asked for only while a
//! rollout wants it.
//!
//! A process that ends takes its page along, so the last one of each is remembered until nobody can be waiting for it any
//! more: by then it stands in the statuses that want it.

use crate::gateway::Gateway;
use crate::outbound::{Call, Outbound};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use turnout_rollout::{Gathered, Timestamp};
use turnout_verdict::evidence::Page;

/// A gateway that takes longer says nothing in this round.
const PATIENCE: Duration = Duration::from_millis(500);
/// For so long a page is remembered.
const REMEMBERED_SECONDS: u64 = 120;

/// The newest page of each process.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// By instance id.
    pages: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    gateway: String,
    page: Page,
    is_current: bool,
    /// When it was told.
    at: Timestamp,
}

impl Pages {
    /// Asks the gateways that have just told what they serve.
    pub(crate) async fn ask(&mut self, outbound: &Arc<dyn Outbound>, gateways: &[Gateway], now: Timestamp) {
        self.pages.retain(|_, known| now.seconds_since(known.at) < REMEMBERED_SECONDS);
        self.pages.values_mut().for_each(|known| known.is_current = false);
        let mut asked = JoinSet::new();
        for gateway in gateways.iter().filter(|gateway| gateway.report.answers()) {
            let (outbound, id, status) = (outbound.clone(), gateway.id.clone(), gateway.status);
            asked.spawn(async move {
                let call = Call { timeout: PATIENCE, ..Call::get(status, "/evidence") };
                let answer = outbound.send(call).await.ok().filter(|answer| answer.status == 200)?;
                let page: Page = serde_json::from_slice(&answer.body).ok()?;
                Some((id, page)).filter(|(_, page)| !page.instance.is_empty())
            });
        }
        for (gateway, page) in asked.join_all().await.into_iter().flatten() {
            self.pages.insert(page.instance.clone(), Known { gateway, page, is_current: true, at: now });
        }
    }

    /// Nobody wants it.
    pub(crate) fn forget(&mut self) {
        self.pages.clear();
    }

    /// What they have counted under this policy and salt.
    pub(crate) fn of(&self, (policy, salt): &(String, String)) -> Vec<Gathered> {
        let gathered = |known: &Known| {
            let its = known.page.policies.iter().filter(|of| of.policy == *policy && of.salt == *salt);
            Gathered {
                gateway: known.gateway.clone(),
                instance: known.page.instance.clone(),
                is_current: known.is_current,
                epochs: its.flat_map(|of| of.epochs.iter().cloned()).collect(),
            }
        };
        self.pages.values().map(gathered).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Answer, Answering, OutboundError, Post, Posting};
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use turnout_rollout::GatewayReport;
    use turnout_verdict::evidence::{Epoch, PolicyEvidence};

    /// Gateways whose pages are these, by port; those without one hang.
    #[derive(Default)]
    struct Told {
        pages: Mutex<BTreeMap<u16, Page>>,
    }

    impl Outbound for Told {
        fn post(&self, _: Post) -> Posting<'_> {
            unreachable!("a gateway is no webhook")
        }

        fn send(&self, call: Call) -> Answering<'_> {
            Box::pin(async move {
                assert_eq!(call.path, "/evidence");
                let page = self.pages.lock().ok().and_then(|pages| pages.get(&call.address.port()).cloned());
                let Some(page) = page else {
                    tokio::time::sleep(call.timeout).await;
                    return Err(OutboundError::TimedOut(call.address, call.timeout));
                };
                let body = serde_json::to_vec(&page).unwrap_or_default();
                Ok(Answer { status: 200, body: body.into() })
            })
        }
    }

    fn gateway(port: u16, answers: bool) -> Gateway {
        let id = port.to_string();
        let pages = (r#"{"active": null}"#, r#"{"revision": null, "backends": []}"#);
        let report = GatewayReport::parse(id.clone(), pages.0.as_bytes(), pages.1.as_bytes()).ok();
        let report = report.filter(|_| answers).unwrap_or_else(|| GatewayReport::silent(id.clone()));
        Gateway { id, serving: true, terminating: false, status: SocketAddr::from(([127, 0, 0, 1], port)), report }
    }

    fn page(instance: &str, salts: &[&str]) -> Page {
        let policy = |salt: &&str| PolicyEvidence {
            policy: "ns/model".to_owned(),
            salt: (*salt).to_owned(),
            epochs: vec![Epoch { revision: format!("{instance}-{salt}"), ..Epoch::default() }],
        };
        Page { instance: instance.to_owned(), policies: salts.iter().map(policy).collect() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_page_of_a_process_is_remembered_for_a_while() {
        let told = Arc::new(Told::default());
        let outbound: Arc<dyn Outbound> = told.clone();
        let gateways = [gateway(1, true), gateway(2, true), gateway(3, false)];
        let mut pages = Pages::default();
        let mut check = async |now: u64, own: &[(u16, Page)], expected: &[(&str, &str, bool, &[&str])]| {
            if let Ok(mut pages) = told.pages.lock() {
                *pages = own.iter().cloned().collect();
            }
            pages.ask(&outbound, &gateways, Timestamp(now)).await;
            let gathered = pages.of(&("ns/model".to_owned(), "salt".to_owned()));
            let seen: Vec<_> = gathered
                .iter()
                .map(|it| {
                    let revisions: Vec<&str> = it.epochs.iter().map(|epoch| epoch.revision.as_str()).collect();
                    (it.gateway.as_str(), it.instance.as_str(), it.is_current, revisions)
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(gateway, instance, now, epochs)| (*gateway, *instance, *now, epochs.to_vec()))
                .collect();
            assert_eq!(seen, expected, "{now}");
        };
        let both = [(1, page("a", &["salt", "other"])), (2, page("b", &["other"])), (3, page("c", &["salt"]))];
        check(0, &both, &[("1", "a", true, &["a-salt"]), ("2", "b", true, &[])]).await;
        // The first begins anew, the second hangs.
        let anew = [(1, page("d", &["salt"]))];
        let later: [(&str, &str, bool, &[&str]); 3] =
            [("1", "a", false, &["a-salt"]), ("2", "b", false, &[]), ("1", "d", true, &["d-salt"])];
        check(119, &anew, &later).await;
        check(120, &anew, &later[2..]).await;
        pages.forget();
        assert_eq!(pages.of(&("ns/model".to_owned(), "salt".to_owned())), []);
    }
}
