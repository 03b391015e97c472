//! Warming pods, beside the rounds: a first inference may take a minute, and nobody's rollback waits for it. Each pod has
//! a task, which ends when its requests are answered or one of them fails; a round reads here what became of it.
//!
//! A task lives as long as it is asked for: it is aborted when its pod or its rollout has gone, when the rollout wants it no
//! more, and with the driver. What was warmed is known as long as the pod is there.

use crate::outbound::{Call, Outbound};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinSet};
use turnout_rollout::{Backend, Obstacle, Timestamp, WarmUp};

/// A pod that failed is tried again after a second, then after twice as long each time, up to this, in seconds.
const LONGEST_BACKOFF: u64 = 60;

/// A pod that is to be warm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// What it belongs to, for messages.
    pub(crate) backend: Backend,
    /// Its UID.
    pub(crate) uid: &'a str,
    /// Where the model listens.
    pub(crate) address: SocketAddr,
}

/// What became of every pod that is to be warm.
#[derive(Debug, Default)]
pub(crate) struct WarmUps {
    /// By rollout and pod, each by its UID.
    pods: BTreeMap<(String, String), Pod>,
    warmed: BTreeSet<(String, String)>,
    tasks: JoinSet<Result<(), String>>,
    now: Timestamp,
}

#[derive(Debug)]
struct Pod {
    warm_up: WarmUp,
    /// While it is being warmed.
    task: Option<AbortHandle>,
    /// How it failed last, when, and how often. Stands until it is warm, so that a message does not come and go.
    failure: Option<Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    problem: String,
    at: Timestamp,
    times: u32,
}

impl WarmUps {
    /// A round begins: takes over what the tasks have found since the last one.
    pub(crate) fn collect(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            match ended {
                Ok((id, result)) => self.ended(id, result),
                Err(error) if error.is_cancelled() => {}
                Err(error) => self.ended(error.id(), Err(error.to_string())),
            }
        }
    }

    fn ended(&mut self, id: Id, result: Result<(), String>) {
        let is_it = |pod: &Pod| pod.task.as_ref().is_some_and(|task| task.id() == id);
        let Some((key, pod)) = self.pods.iter_mut().find(|(_, pod)| is_it(pod)) else { return };
        pod.task = None;
        match result {
            Ok(()) => {
                self.warmed.insert(key.clone());
                pod.failure = None;
            }
            Err(problem) => {
                let times = pod.failure.as_ref().map_or(0, |failure| failure.times).saturating_add(1);
                pod.failure = Some(Failure { problem, at: self.now, times });
            }
        }
    }

    /// This pod of the rollout is warm.
    pub(crate) fn is_warm(&self, rollout: &str, pod: &str) -> bool {
        self.warmed.contains(&(rollout.to_owned(), pod.to_owned()))
    }

    /// Has these pods of the rollout warmed and no others, and returns at once. Says what has failed.
    pub(crate) fn warm<'a>(
        &mut self,
        rollout: &str,
        warm_up: &WarmUp,
        pods: impl Iterator<Item = Target<'a>>,
        outbound: &Arc<dyn Outbound>,
    ) -> Option<Obstacle> {
        let mut wanted = BTreeSet::new();
        let mut obstacle = None;
        for Target { backend, uid, address } in pods {
            let key = (rollout.to_owned(), uid.to_owned());
            wanted.insert(key.1.clone());
            if self.warmed.contains(&key) {
                continue;
            }
            if self.pods.get(&key).is_some_and(|pod| pod.warm_up != *warm_up) {
                self.forget(|other| *other == key);
            }
            let pod =
                self.pods.entry(key).or_insert_with(|| Pod { warm_up: warm_up.clone(), task: None, failure: None });
            if pod.is_due(self.now) {
                pod.task = Some(self.tasks.spawn(send_all(outbound.clone(), address, warm_up.clone())));
            }
            if let Some(failure) = &pod.failure {
                let message = format!("{backend} cannot be warmed: {}", failure.problem);
                obstacle.get_or_insert(Obstacle { reason: "WarmUpFailed", message });
            }
        }
        self.forget(|(of, pod)| of == rollout && !wanted.contains(pod));
        obstacle
    }

    /// The rollout wants nothing warmed.
    pub(crate) fn stop(&mut self, rollout: &str) {
        self.forget(|(of, _)| of == rollout);
    }

    /// Of the rollouts that were decided on, all other pods have gone; of others, only if these are `all`, too.
    pub(crate) fn keep(&mut self, present: &BTreeMap<String, BTreeSet<String>>, all: bool) {
        let has_gone = |(rollout, pod): &(String, String)| match present.get(rollout) {
            Some(pods) => !pods.contains(pod),
            None => all,
        };
        self.warmed.retain(|key| !has_gone(key));
        self.forget(has_gone);
    }

    fn forget(&mut self, which: impl Fn(&(String, String)) -> bool) {
        for (_, pod) in self.pods.extract_if(.., |key, _| which(key)) {
            if let Some(task) = pod.task {
                task.abort();
            }
        }
    }
}

impl Pod {
    fn is_due(&self, now: Timestamp) -> bool {
        let waited = |failure: &Failure| {
            let backoff = 1_u64.checked_shl(failure.times.saturating_sub(1)).unwrap_or(u64::MAX).min(LONGEST_BACKOFF);
            now.seconds_since(failure.at) >= backoff
        };
        self.task.is_none() && self.failure.as_ref().is_none_or(waited)
    }
}

/// Sends one pod everything that it is to be warmed with, one request after the other.
async fn send_all(outbound: Arc<dyn Outbound>, address: SocketAddr, warm_up: WarmUp) -> Result<(), String> {
    for _ in 0..warm_up.requests {
        let timeout = Duration::from_secs(warm_up.timeout_seconds.into());
        let call = Call { address, path: warm_up.path.clone(), body: warm_up.body.clone(), timeout };
        let answer = outbound.send(call).await.map_err(|error| error.to_string())?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("{address} answers {} to {}", answer.status, warm_up.path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
