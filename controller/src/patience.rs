//! What belongs to one namespace is waited for a moment: a webhook of somebody else may hold its writes up, and all others
//! would stand behind them. What was given up may still be carried out; it is tried again after a while, over what is read
//! by then.
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
use tokio::time::timeout;
use tower::{BoxError, Service};
use turnout_driver::Clock;
use turnout_rollout::Timestamp;

/// How long an answer may take.
const WHOLE: Duration = Duration::from_secs(1);
/// How long it may take where a namespace has used that up several times: more than an API server takes that is well.
const LEAST: Duration = Duration::from_millis(250);
/// For how long a path is left alone after that, at first and at most, in seconds.
const FIRST_PAUSE: u64 = 1;
const LONGEST_PAUSE: u64 = 60;
/// After so many seconds a namespace that kept nobody waiting is as good as any other.
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
    /// Since when they may take only so long in a namespace: each that takes longer halves it, so that many objects cost
    /// little more than one.
    namespaces: BTreeMap<String, (Timestamp, Duration)>,
    /// Until when, and for how many seconds, a path is left alone.
    paths: BTreeMap<String, (Timestamp, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes too long, and is tried again from time to time")]
struct TooSlow;

impl Slow {
    /// How long an answer may take now.
    fn begin(&self, namespace: &str, path: &str, now: Timestamp) -> Result<Duration, TooSlow> {
        match self.paths.get(path) {
            Some((until, _)) if now < *until => Err(TooSlow),
            _ => Ok(self.patience(namespace, now)),
        }
    }

    fn patience(&self, namespace: &str, now: Timestamp) -> Duration {
        let recent = self.namespaces.get(namespace).filter(|(since, _)| now.seconds_since(*since) < FORGIVEN);
        recent.map_or(WHOLE, |(_, patience)| *patience)
    }

    fn answered(&mut self, namespace: &str, path: &str) {
        self.namespaces.remove(namespace);
        self.paths.remove(path);
    }

    fn took_too_long(&mut self, namespace: &str, path: &str, now: Timestamp) -> TooSlow {
        let patience = (self.patience(namespace, now) / 2).max(LEAST);
        self.namespaces.insert(namespace.to_owned(), (now, patience));
        // Those of objects that have gone.
        self.paths.retain(|_, (until, _)| now < until.plus(LONGEST_PAUSE));
        let before = self.paths.get(path).map(|(_, seconds)| seconds * 2);
        let seconds = before.unwrap_or(FIRST_PAUSE).min(LONGEST_PAUSE);
        self.paths.insert(path.to_owned(), (now.plus(seconds), seconds));
        TooSlow
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
            let Some(namespace) = namespace_of(&path) else { return Ok(client.send(request).await?) };
            let patience = lock().begin(namespace, &path, clock())?;
            if let Ok(answer) = timeout(patience, client.send(request)).await {
                lock().answered(namespace, &path);
                return Ok(answer?);
            }
            Err(lock().took_too_long(namespace, &path, clock()).into())
        })
    }
}

/// As in `/apis/apps/v1/namespaces/NAMESPACE/deployments/NAME`.
fn namespace_of(path: &str) -> Option<&str> {
    path.split('/').skip_while(|segment| *segment != "namespaces").nth(1)
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
            assert!(took == Duration::ZERO || took.abs_diff(WHOLE) < Duration::from_millis(5), "{took:?}");
            waited.push(!took.is_zero());
            tokio::time::sleep(WHOLE).await;
        }
        let tries = waited.iter().filter(|waited| **waited).count();
        assert!(
            (6..=10).contains(&tries),
            "{tries} tries in four minutes: after 1, 2, 4, 8, 16, 32 s, then every minute"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_objects_of_a_namespace_that_is_slow_cost_little_more_than_one() {
        let patience: Vec<Duration> = {
            let mut slow = Slow::default();
            let paths = (0..50).map(|number| format!("/api/v1/namespaces/a/pods/{number}"));
            let wait = |path: String| {
                let patience = slow.begin("a", &path, Timestamp(1)).expect("it was not asked for before");
                slow.took_too_long("a", &path, Timestamp(1));
                patience
            };
            paths.map(wait).collect()
        };
        let all: Duration = patience.iter().sum();
        assert!(patience[0] == WHOLE && all < WHOLE * 15, "{all:?}");
    }
}
