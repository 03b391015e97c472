//! Connections to a backend that keeps to a script: which are used again, and which are given up.

use super::*;
use crate::body::client::ClientBody;
use crate::body::replay::RequestBody;
use crate::body::stream::BodyLimits;
use crate::error::GatewayError;
use crate::telemetry::record::BytesCount;
use crate::testing::{bounded, on_a_worker};
use crate::upstream::test_backend::Act::{self, Answers, Closes, Reads, SeesEnd, Writes};
use crate::upstream::test_backend::{CHUNKED, IDLE_TIMEOUT, LAST, PART, REQUEST, Scene, nothing, settle};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::task::coop;

/// "ab", and then its end, or nothing more for ever.
struct Upload {
    given: bool,
    ends: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if !std::mem::replace(&mut self.given, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"ab")))));
        }
        if self.ends { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn streamed(ends: bool) -> RequestBody {
    let mut source = Some(ClientBody::test(Upload { given: false, ends }, Duration::from_mins(1)));
    let limits = BodyLimits { max_bytes: None, read_ahead_bytes: 0, waits: true, replay_bytes: 0 };
    RequestBody::read(&mut source, limits, &mut BytesCount::Known(0)).await.expect("nothing is read yet")
}

#[test]
fn a_connection_is_used_again_only_when_nothing_is_left_on_it() {
    let check = |scripts: &'static [&'static [Act]], max_requests: u32, expected: &[&str]| {
        on_a_worker(bounded(async {
            let scene = Scene::new(scripts, max_requests).await;
            let mut seen = Vec::new();
            for _ in expected {
                seen.push(scene.request(nothing()).await);
                settle().await;
            }
            assert_eq!(seen, expected, "{scripts:?}, {max_requests} requests at most");
            scene.ended().await;
        }));
    };
    check(&[&[REQUEST, Answers("one"), REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Answers(""), REQUEST, Answers("two")]], 0, &["", "two"]);
    check(&[&[REQUEST, Writes(CHUNKED), REQUEST, Answers("two")]], 0, &["one", "two"]);
    // Closed meanwhile: nobody's failure.
    check(&[&[REQUEST, Answers("one"), Closes], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Writes(LAST), SeesEnd], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    // An answer that nobody asked for is nobody's.
    check(&[&[REQUEST, Answers("one"), Answers("evil"), SeesEnd], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Answers("one"), SeesEnd], &[REQUEST, Answers("two"), SeesEnd]], 1, &["one", "two"]);
    check(
        &[&[REQUEST, Answers("one"), REQUEST, Answers("two"), SeesEnd], &[REQUEST, Answers("three")]],
        2,
        &["one", "two", "three"],
    );
    check(&[&[REQUEST, Closes], &[REQUEST, Answers("two")]], 0, &["Failed(AfterRequest)", "two"]);
    check(
        &[&[REQUEST, Writes("nonsense\r\n\r\n"), SeesEnd], &[REQUEST, Answers("two")]],
        0,
        &["Failed(Protocol)", "two"],
    );
    check(&[&[REQUEST, Writes(PART), Closes], &[REQUEST, Answers("two")]], 0, &["BrokenAnswer", "two"]);
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_closes_the_connection() {
    on_a_worker(bounded(async {
        let scene = Scene::new(&[&[REQUEST, Writes(PART), SeesEnd], &[REQUEST, Answers("two")]], 0);
        let scene = scene.await;
        drop(scene.send(nothing()).await.expect("an answer"));
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ended().await;
    }));
}

#[test]
fn a_connection_is_used_again_only_when_all_of_the_request_was_sent() {
    on_a_worker(bounded(async {
        let scene = Scene::new(&[&[REQUEST, Reads("0\r\n\r\n"), Answers("one"), REQUEST, Answers("two")]], 0).await;
        assert_eq!(scene.request(streamed(true).await).await, "one");
        settle().await;
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ended().await;
        // It answers before the client has sent all.
        let scene = Scene::new(&[&[REQUEST, Answers("one"), SeesEnd], &[REQUEST, Answers("two")]], 0).await;
        assert_eq!(scene.request(streamed(false).await).await, "one");
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ended().await;
    }));
}

#[test]
fn an_idle_connection_is_kept_for_its_time_and_closed_by_the_sweep() {
    on_a_worker(bounded(async {
        let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Answers("two"), SeesEnd]], 0).await;
        let pass = async |time| {
            tokio::time::pause();
            tokio::time::advance(time).await;
            tokio::time::resume();
        };
        assert_eq!(scene.request(nothing()).await, "one");
        pass(IDLE_TIMEOUT / 2).await;
        scene.upstreams.sweep();
        assert_eq!(scene.request(nothing()).await, "two");
        pass(IDLE_TIMEOUT).await;
        scene.upstreams.sweep();
        scene.ended().await;
    }));
}

#[test]
fn a_request_is_polled_once_to_send_it_and_once_for_its_answer() {
    on_a_worker(bounded(async {
        let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Answers("two")]], 0).await;
        scene.request(nothing()).await;
        settle().await;
        let polls = Cell::new(0);
        let mut second = pin!(scene.request(nothing()));
        let answer = poll_fn(|context| {
            polls.set(polls.get() + 1);
            second.as_mut().poll(context)
        });
        assert_eq!((answer.await.as_str(), polls.get()), ("two", 2));
    }));
}

/// What a task may do in one turn, in tokio's units.
const BUDGET: usize = 128;

#[test]
fn an_answer_is_taken_however_little_its_task_may_still_do() {
    on_a_worker(bounded(async {
        for left in 1..=6 {
            // In several pieces, so that the connection has nothing to do before the first is taken.
            let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Writes(CHUNKED)]], 0).await;
            scene.request(nothing()).await;
            let mut second = pin!(scene.request(nothing()));
            let answer = poll_fn(|context| {
                for _ in 0..BUDGET - left {
                    let _ = pin!(coop::consume_budget()).poll(context);
                }
                second.as_mut().poll(context)
            });
            assert_eq!(answer.await, "one", "{left} left");
        }
    }));
}
