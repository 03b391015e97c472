//! What belongs to one namespace is waited for a moment: a webhook of somebody else may hold its writes up, and all others
//! would stand behind them. What was given up is tried again after a while, over what is read by then.
//!
//! An API server drops a request whose connection is closed, so that what always takes a little longer would never be done.
//! Where it harms nobody that something is done late, the request therefore goes on beside the rounds until its own deadline,
//! and the next look sees what it did. What changes a workload, or the weights of an Istio object, must not be done after the
//! opposite was decided, which may need no write of its own.
//!
//! What all share, as the published ConfigMap, goes through the client itself and has its whole deadline.

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{BoxError, Service};
use turnout_driver::Clock;
use turnout_rollout::Timestamp;

/// How long an answer may take.
const WHOLE: Duration = Duration::from_secs(1);
/// How long all that a namespace does not answer may take together, within [`FORGIVEN`]: of what is left of it each request
/// gets half.
const BUDGET: Duration = Duration::from_secs(2);
/// More than an API server takes that is well. Once a share of the budget would be less, kinds of objects that answer go on
/// with this.
const LEAST: Duration = Duration::from_millis(250);
/// So many requests in a row without an answer say that a kind does not answer.
const SILENT: u32 = 3;
/// For how long a path is left alone after that, at first and at most, in seconds.
const FIRST_PAUSE: u64 = 1;
const LONGEST_PAUSE: u64 = 60;
/// The kinds of objects of which a write may be done after it was given up: it is over what was read, and nothing is removed
/// or given weight by it alone.
const MAY_BE_LATE: [&str; 4] = ["modelrollouts", "services", "controllerrevisions", "events"];
/// After so many seconds a namespace has its whole budget again.
const FORGIVEN: u64 = 10;

/// The same client, but of what it asks in a namespace nothing is waited for long.
pub(crate) fn patient(client: &Client, clock: Clock) -> Client {
    let patient = Patient { client: client.clone(), clock, slow: Arc::default() };
    Client::new(patient, client.default_namespace())
}

struct Patient {
    client: Client,
    clock: Clock,
    slow: Arc<Mutex<Slow>>,
}

/// Where answers took too long.
#[derive(Default)]
struct Slow {
    namespaces: BTreeMap<String, SlowNamespace>,
    /// Until when, and for how many seconds, a path is left alone.
    paths: BTreeMap<String, (Timestamp, u64)>,
    /// What was asked and may not be answered yet. It ends with the client.
    asked: JoinSet<()>,
}

struct SlowNamespace {
    since: Timestamp,
    /// Of its budget.
    left: Duration,
    /// How many requests of a kind of objects, as `modelrollouts`, were not answered, one after the other: a webhook holds up
    /// some kinds, and others not.
    kinds: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes too long, and is tried again from time to time")]
struct TooSlow;

impl Slow {
    /// How long an answer may take now.
    fn begin(&self, (namespace, kind): (&str, &str), path: &str, now: Timestamp) -> Result<Duration, TooSlow> {
        if self.paths.get(path).is_some_and(|(until, _)| now < *until) {
            return Err(TooSlow);
        }
        let Some(slow) = self.namespaces.get(namespace).filter(|slow| slow.is_recent(now)) else { return Ok(WHOLE) };
        match slow.left / 2 {
            share if share >= LEAST => Ok(share),
            _ if slow.kinds.get(kind).is_some_and(|unanswered| *unanswered >= SILENT) => Err(TooSlow),
            _ => Ok(LEAST),
        }
    }

    fn go_on(&mut self, asking: impl Future<Output = ()> + Send + 'static) {
        while self.asked.try_join_next().is_some() {}
        self.asked.spawn(asking);
    }

    fn answered(&mut self, (namespace, kind): (&str, &str), path: &str) {
        self.paths.remove(path);
        if let Some(slow) = self.namespaces.get_mut(namespace) {
            slow.kinds.remove(kind);
        }
    }

    fn took_too_long(
        &mut self,
        (namespace, kind): (&str, &str),
        path: &str,
        took: Duration,
        now: Timestamp,
    ) -> TooSlow {
        self.namespaces.retain(|_, slow| slow.is_recent(now));
        let fresh = || SlowNamespace { since: now, left: BUDGET, kinds: BTreeMap::new() };
        let slow = self.namespaces.entry(namespace.to_owned()).or_insert_with(fresh);
        slow.left = slow.left.saturating_sub(took);
        *slow.kinds.entry(kind.to_owned()).or_default() += 1;
        // Those of objects that have gone.
        self.paths.retain(|_, (until, _)| now < until.plus(LONGEST_PAUSE));
        let before = self.paths.get(path).map(|(_, seconds)| seconds * 2);
        let seconds = before.unwrap_or(FIRST_PAUSE).min(LONGEST_PAUSE);
        self.paths.insert(path.to_owned(), (now.plus(seconds), seconds));
        TooSlow
    }
}

impl SlowNamespace {
    fn is_recent(&self, now: Timestamp) -> bool {
        now.seconds_since(self.since) < FORGIVEN
    }
}

impl Service<Request<Body>> for Patient {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, clock, slow) = (self.client.clone(), self.clock.clone(), self.slow.clone());
        Box::pin(async move {
            let lock = || slow.lock().unwrap_or_else(PoisonError::into_inner);
            let path = request.uri().path().to_owned();
            let Some(place) = place_of(&path) else { return Ok(client.send(request).await?) };
            let patience = lock().begin(place, &path, clock())?;
            let (reply, answer) = oneshot::channel();
            let asking = async move { drop(reply.send(client.send(request).await)) };
            let answered = if MAY_BE_LATE.contains(&place.1) {
                lock().go_on(asking);
                timeout(patience, answer).await
            } else {
                timeout(patience, async { tokio::join!(asking, answer).1 }).await
            };
            if let Ok(answer) = answered {
                lock().answered(place, &path);
                return Ok(answer??);
            }
            Err(lock().took_too_long(place, &path, patience, clock()).into())
        })
    }
}

/// Namespace and kind, as in `/apis/apps/v1/namespaces/NAMESPACE/KIND/NAME/SUBRESOURCE`.
fn place_of(path: &str) -> Option<(&str, &str)> {
    let (_, place) = path.split_once("/namespaces/")?;
    let (namespace, rest) = place.split_once('/')?;
    Some((namespace, rest.split('/').next().unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use tokio::time::Instant;

    /// An API server that is silent about whatever is called `slow`, and has nothing else.
    fn client() -> Client {
        let answer = tower::service_fn(|request: Request<Body>| async move {
            if request.uri().path().ends_with("/slow") {
                std::future::pending::<()>().await;
            }
            let missing = r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#;
            Ok::<_, BoxError>(Response::builder().status(404).body(Body::from(missing.as_bytes().to_vec()))?)
        });
        let started = Instant::now();
        let clock = move || Timestamp(1_000 + started.elapsed().as_secs());
        patient(&Client::new(answer, "default"), Arc::new(clock))
    }

    async fn takes(client: &Client, namespace: &str, name: &str) -> Duration {
        let started = Instant::now();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let error = api.get(name).await.expect_err("there is none");
        let is_answered = matches!(error, kube::Error::Api(_));
        assert_eq!(is_answered, name != "slow", "{error}");
        started.elapsed()
    }

    // The clock is paused: it moves on when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn a_path_that_is_slow_is_waited_for_once_in_a_while_and_never_another_one() {
        let client = client();
        let mut waited = Vec::new();
        for _ in 0..240 {
            assert_eq!(takes(&client, "a", "quick").await, Duration::ZERO);
            let took = takes(&client, "a", "slow").await;
            assert!(took <= WHOLE + Duration::from_millis(5), "{took:?}");
            waited.push(!took.is_zero());
            tokio::time::sleep(WHOLE).await;
        }
        let tries = waited.iter().filter(|waited| **waited).count();
        assert!(
            (6..=10).contains(&tries),
            "{tries} tries in four minutes: after 1, 2, 4, 8, 16, 32 s, then every minute"
        );
    }

    #[test]
    fn all_that_a_namespace_does_not_answer_costs_little_together_and_other_kinds_are_asked_for() {
        let mut slow = Slow::default();
        let mut waited = Duration::ZERO;
        // 3 kinds, 100 objects of each, within 8 seconds.
        for number in 0..300 {
            let (kind, now) = (["services", "deployments", "modelrollouts"][number % 3], Timestamp(number as u64 / 38));
            let path = format!("/api/v1/namespaces/a/{kind}/{number}");
            if let Ok(patience) = slow.begin(("a", kind), &path, now) {
                waited += patience;
                slow.took_too_long(("a", kind), &path, patience, now);
            }
        }
        assert!(waited <= Duration::from_secs(4), "{waited:?}");
        assert_eq!(slow.begin(("a", "events"), "/e", Timestamp(8)), Ok(LEAST), "what was not slow");
        assert_eq!(slow.begin(("a", "services"), "/s", Timestamp(8)), Err(TooSlow));
        assert_eq!(slow.begin(("b", "services"), "/s", Timestamp(8)), Ok(WHOLE), "another namespace");
        assert_eq!(slow.begin(("a", "services"), "/s", Timestamp(FORGIVEN)), Ok(WHOLE), "it is forgiven");
    }

    #[test]
    fn a_place_is_a_namespace_and_a_kind() {
        let of = |path| place_of(path);
        assert_eq!(of("/apis/turnout.dev/v1alpha1/namespaces/a/modelrollouts/m/status"), Some(("a", "modelrollouts")));
        assert_eq!(of("/api/v1/namespaces/a/services"), Some(("a", "services")));
        assert_eq!(of("/api/v1/namespaces/a"), None);
        assert_eq!(of("/api/v1/nodes"), None);
    }
}
