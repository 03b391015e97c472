//! Against a real server on loopback, driven round by round.

use super::*;
use crate::outbound::Direct;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A model: a server that counts requests and answers with this status; 0 is no answer at all.
#[derive(Clone, Default)]
struct Model {
    status: Arc<AtomicU16>,
    requests: Arc<AtomicUsize>,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
}

impl Model {
    async fn start(status: u16) -> (Self, SocketAddr) {
        let model = Self::default();
        model.status.store(status, Ordering::Relaxed);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = model.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        (model, address)
    }

    async fn answer(self, mut stream: TcpStream) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let status = self.status.load(Ordering::Relaxed);
        if status > 0 {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        // Until the other side has closed it.
        while stream.read(&mut request).await.is_ok_and(|length| length > 0) {}
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn is_asked(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

/// The rollout was decided on, and has these pods.
fn of_rollout(pods: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    BTreeMap::from([("rollout".to_owned(), pods.iter().map(|pod| (*pod).to_owned()).collect())])
}

/// What a round does about the one pod of a rollout.
struct Rounds {
    board: WarmUps,
    outbound: Arc<dyn Outbound>,
    address: SocketAddr,
    warm_up: WarmUp,
    now: u64,
}

impl Rounds {
    fn new(address: SocketAddr) -> Self {
        Self {
            board: WarmUps::default(),
            outbound: Arc::new(Direct),
            address,
            warm_up: WarmUp { path: "/score".to_owned(), body: None, requests: 3, timeout_seconds: 60 },
            now: 1000,
        }
    }

    /// One that wants the pod warm.
    fn round(&mut self) -> Option<Obstacle> {
        self.board.collect(Timestamp(self.now));
        let pods = [Target { backend: Backend::Blue, uid: "pod", address: self.address }];
        self.board.warm("rollout", &self.warm_up, pods.into_iter(), &self.outbound)
    }

    /// Rounds, without that time passes for the driver, until this holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self, Option<&Obstacle>) -> bool) {
        for _ in 0..10_000 {
            let obstacle = self.round();
            if holds(self, obstacle.as_ref()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never so: {what}");
    }

    fn is_warm(&self) -> bool {
        self.board.is_warm("rollout", "pod")
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never so: {what}");
}

#[tokio::test]
async fn a_pod_is_warm_once_each_request_was_answered_and_is_not_warmed_twice() {
    let (model, address) = Model::start(200).await;
    let mut rounds = Rounds::new(address);
    assert_eq!(rounds.round(), None);
    assert_eq!((model.requests(), rounds.is_warm()), (0, false), "a round only begins it");
    rounds.until("it is warm", |rounds, _| rounds.is_warm()).await;
    assert_eq!(rounds.round(), None);
    assert_eq!(model.requests(), 3);
    rounds.board.keep(&of_rollout(&[]), true);
    assert!(!rounds.is_warm(), "the pod has gone");
}

#[tokio::test]
async fn a_pod_that_fails_is_let_alone_for_longer_each_time_and_its_failure_stands() {
    let (model, address) = Model::start(500).await;
    let mut rounds = Rounds::new(address);
    for (times, backoff) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        rounds.until("it was tried", |rounds, _| model.requests() > times && rounds.board.tasks.is_empty()).await;
        rounds.now += backoff - 1;
        let expected = format!("blue cannot be warmed: {address} answers 500 to /score");
        assert_eq!(rounds.round().expect("it failed").message, expected);
        assert_eq!((model.requests(), rounds.board.tasks.len()), (times + 1, 0), "not before {backoff} s");
        rounds.now += 1;
        assert_eq!(rounds.round().expect("it has not succeeded yet").message, expected);
        assert_eq!(rounds.board.tasks.len(), 1);
    }
    model.status.store(200, Ordering::Relaxed);
    rounds.now += LONGEST_BACKOFF;
    rounds.until("it is tried again", |rounds, _| rounds.board.tasks.is_empty()).await;
    rounds.now += LONGEST_BACKOFF;
    rounds.until("it is warm", |rounds, obstacle| rounds.is_warm() && obstacle.is_none()).await;
}

#[tokio::test]
async fn another_warm_up_is_tried_at_once() {
    let (model, address) = Model::start(500).await;
    let mut rounds = Rounds::new(address);
    rounds.until("it failed", |_, obstacle| obstacle.is_some()).await;
    model.status.store(200, Ordering::Relaxed);
    rounds.warm_up.path = "/another".to_owned();
    rounds.until("it is warm", |rounds, _| rounds.is_warm()).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_the_spec_says() {
    let (_model, address) = Model::start(0).await;
    let mut rounds = Rounds::new(address);
    rounds.warm_up.timeout_seconds = 7;
    rounds.until("it failed", |_, obstacle| obstacle.is_some()).await;
    let message = rounds.round().expect("it failed").message;
    assert_eq!(message, format!("blue cannot be warmed: {address} does not answer within 7s"));
}

#[tokio::test]
async fn a_task_that_nobody_wants_is_aborted() {
    let ends: [fn(&mut Rounds); 4] = [
        |rounds| rounds.board.stop("rollout"),
        |rounds| rounds.board.keep(&of_rollout(&[]), true),
        |rounds| {
            let nothing = std::iter::empty();
            rounds.board.warm("rollout", &rounds.warm_up, nothing, &rounds.outbound);
        },
        |rounds| rounds.board = WarmUps::default(),
    ];
    for end in ends {
        let (model, address) = Model::start(0).await;
        let mut rounds = Rounds::new(address);
        rounds.round();
        until("it is asked", || model.is_asked()).await;
        rounds.board.stop("another");
        rounds.board.keep(&of_rollout(&["pod"]), true);
        rounds.round();
        assert_eq!(rounds.board.tasks.len(), 1);
        end(&mut rounds);
        until("nobody waits for it", || !model.is_asked()).await;
        assert_eq!(model.requests(), 1);
    }
}

#[tokio::test]
async fn what_is_not_decided_on_for_a_while_goes_on_and_stays_warm() {
    let (model, address) = Model::start(0).await;
    let mut rounds = Rounds::new(address);
    rounds.until("it is asked", |_, _| model.is_asked()).await;
    rounds.board.keep(&BTreeMap::new(), false);
    assert!(model.is_asked(), "nothing is known of the rollout");
    model.status.store(200, Ordering::Relaxed);
    rounds.board.keep(&BTreeMap::new(), true);
    rounds.until("it is given up", |_, _| !model.is_asked()).await;

    let (_model, address) = Model::start(200).await;
    let mut rounds = Rounds::new(address);
    rounds.until("it is warm", |rounds, _| rounds.board.is_warm("rollout", "pod")).await;
    rounds.board.keep(&BTreeMap::new(), false);
    assert!(rounds.board.is_warm("rollout", "pod"));
    rounds.board.keep(&BTreeMap::new(), true);
    assert!(!rounds.board.is_warm("rollout", "pod"), "it has gone");
}
