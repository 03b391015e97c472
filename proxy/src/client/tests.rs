//! When a connection ends, and how, whatever its client does: to the instant, in paused time.

use super::*;
use crate::testing::in_paused_time;
use std::future::poll_fn;
use std::pin::pin;

/// Idle and head time-outs in seconds; either may be the longer.
const LIMITS: [(u64, u64); 2] = [(60, 10), (5, 10)];
/// Longer than any of them.
const SLOW: u64 = 200;

fn client(http2: bool, max_requests: Option<usize>) -> Rc<Client> {
    Rc::new(Client::new(([127, 0, 0, 1], 1).into(), 80, None, http2, max_requests))
}

/// Makes one request, to its end.
fn request(client: &Rc<Client>, answered: bool) {
    let mut request = OpenRequest::begin(client);
    request.answered = answered;
}

/// Ends as the connection is asked to, if within a day: when, in seconds, and how.
async fn end(client: &Rc<Client>, limits: (u64, u64), happens: impl Future<Output = ()>) -> Option<(u64, End)> {
    let (idle, head) = (Duration::from_secs(limits.0), Duration::from_secs(limits.1));
    let limits = ClientLimits { idle, rest: None, head };
    let started = Instant::now();
    let mut happens = pin!(happens);
    let mut timer = pin!(tokio::time::sleep(limits.idle.min(limits.head)));
    let mut is_over = false;
    // As the connection's task does.
    let ended = poll_fn(|context| {
        is_over = is_over || happens.as_mut().poll(context).is_ready();
        client.poll_end(&limits, timer.as_mut(), context)
    });
    let ended = tokio::time::timeout(Duration::from_hours(24), ended).await.ok()?;
    assert_eq!(started.elapsed().subsec_millis() / 2, 0, "a timer is exact to a millisecond");
    Some((started.elapsed().as_secs(), ended))
}

/// What a client does, one thing a second or later.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bytes,
    Begins,
    Ends,
    /// The request ends in a task that reads what is left of its body.
    EndsElsewhere,
    Waits(u64),
}

/// Since when the last time-out counts.
#[derive(Clone, Copy, Debug)]
enum Since {
    Quiet(u64),
    Head(u64),
    /// None does.
    Never,
}

async fn act(client: Rc<Client>, steps: &'static [Step]) {
    let mut open = Vec::new();
    for step in steps {
        let pause = if let Step::Waits(seconds) = step { *seconds } else { 1 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        match step {
            Step::Bytes => client.bytes_came(&mut b"GET /score".to_vec()),
            Step::Begins => {
                open.push(OpenRequest::begin(&client));
                open.last_mut().expect("it has begun").answered = true;
            }
            Step::Ends => drop(open.pop()),
            Step::EndsElsewhere => {
                let request = open.pop().expect("one is open");
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_secs(SLOW)).await;
                    request.end_elsewhere();
                });
            }
            Step::Waits(_) => {}
        }
    }
    // Requests that have not ended go on.
    std::mem::forget(open);
}

#[test]
fn a_connection_ends_when_its_client_has_done_nothing_for_too_long() {
    use Since::{Head, Never, Quiet};
    use Step::{Begins, Bytes, Ends, EndsElsewhere, Waits};
    let check = |steps: &'static [Step], http1: Since, http2: Since| {
        for ((idle, head), (is_http2, since)) in
            LIMITS.into_iter().flat_map(|l| [(l, (false, http1)), (l, (true, http2))])
        {
            let ended = in_paused_time(async {
                let client = client(is_http2, None);
                let acting = act(Rc::clone(&client), steps);
                if is_http2 {
                    // Its requests run in tasks of their own.
                    tokio::task::spawn_local(acting);
                    end(&client, (idle, head), std::future::ready(())).await
                } else {
                    end(&client, (idle, head), acting).await
                }
            });
            let expected = match since {
                Quiet(since) => Some((since + idle, End::Idle)),
                Head(since) => Some((since + head, End::HeadTimeout)),
                Never => None,
            };
            assert_eq!(ended, expected, "{steps:?}, HTTP/2: {is_http2}, {idle} s idle, {head} s for a head");
        }
    };
    check(&[], Quiet(0), Quiet(0));
    check(&[Begins, Ends], Quiet(2), Quiet(2));
    check(&[Begins], Never, Never);
    check(&[Begins, Waits(SLOW)], Never, Never);
    check(&[Begins, Waits(SLOW), Ends], Quiet(SLOW + 2), Quiet(SLOW + 2));
    check(&[Begins, Ends, Begins, Waits(SLOW), Ends], Quiet(SLOW + 4), Quiet(SLOW + 4));
    check(&[Bytes], Head(1), Quiet(0));
    check(&[Bytes, Bytes, Bytes], Head(1), Quiet(0));
    check(&[Bytes, Begins, Ends], Quiet(3), Quiet(3));
    check(&[Begins, Ends, Bytes], Head(3), Quiet(2));
    check(&[Begins, Waits(SLOW), Ends, Bytes], Head(SLOW + 3), Quiet(SLOW + 2));
    // What comes in during a request is its body, or waits until it is over.
    check(&[Begins, Bytes, Ends], Quiet(3), Quiet(3));
    check(&[Begins, Begins, Ends, Waits(SLOW), Ends], Quiet(SLOW + 4), Quiet(SLOW + 4));
    check(&[Begins, EndsElsewhere], Quiet(SLOW + 2), Quiet(SLOW + 2));
}

#[test]
fn an_end_in_peace_is_asked_for_again() {
    in_paused_time(async {
        let client = client(true, None);
        let nothing = || std::future::ready(());
        assert_eq!(end(&client, (60, 10), nothing()).await, Some((60, End::Idle)));
        assert_eq!(end(&client, (60, 10), nothing()).await, Some((60, End::Idle)));
    });
}

#[test]
fn a_connection_rests_before_it_is_idle_for_too_long_unless_it_has_something_to_write() {
    let check = |rest: u64, writes_wait: bool, expected: (u64, End)| {
        let ended = in_paused_time(async {
            let client = client(false, None);
            client.set_writes_wait(writes_wait);
            let [idle, rest, head] = [60, rest, 10].map(Duration::from_secs);
            let limits = ClientLimits { idle, rest: Some(rest), head };
            let started = Instant::now();
            let mut timer = pin!(tokio::time::sleep(head));
            let end = poll_fn(|context| client.poll_end(&limits, timer.as_mut(), context)).await;
            (started.elapsed().as_secs(), end)
        });
        assert_eq!(ended, expected);
    };
    check(1, false, (1, End::Rest));
    check(1, true, (60, End::Idle));
    check(100, false, (60, End::Idle));
}

#[test]
fn a_client_that_resets_more_than_half_of_its_requests_is_cut_off() {
    let check = |answered: usize, reset: usize, expected: Option<(u64, End)>| {
        let ended = in_paused_time(async {
            let client = client(true, None);
            let _open = OpenRequest::begin(&client);
            (0..answered).for_each(|_| request(&client, true));
            (0..reset).for_each(|_| request(&client, false));
            // What ends at once is not made polite again.
            if expected.is_some() {
                client.drain(Phase::Ended);
            }
            end(&client, (60, 10), std::future::ready(())).await
        });
        assert_eq!(ended, expected, "{answered} answered, {reset} reset");
    };
    check(0, 98, None);
    check(0, 99, Some((0, End::Abused)));
    check(49, 50, None);
    check(48, 51, Some((0, End::Abused)));
    check(1000, 1001, None);
    check(1000, 1002, Some((0, End::Abused)));
}

#[test]
fn a_connection_that_is_used_up_or_told_to_go_ends_in_peace() {
    /// The phase, and requests: at most, made, still open.
    type Case = (Phase, Option<usize>, usize, usize);
    let check = |(phase, max_requests, made, open): Case, http1: bool, http2: bool| {
        for (is_http2, ends) in [(false, http1), (true, http2)] {
            let ended = in_paused_time(async {
                let client = client(is_http2, max_requests);
                (0..made).for_each(|_| request(&client, true));
                let _open: Vec<_> = (0..open).map(|_| OpenRequest::begin(&client)).collect();
                client.drain(phase);
                end(&client, (60, 10), std::future::ready(())).await
            });
            let expected = if ends { Some((0, End::Politely)) } else { (open == 0).then_some((60, End::Idle)) };
            assert_eq!(
                ended, expected,
                "{phase:?}, {made} of {max_requests:?} requests, {open} open, HTTP/2: {is_http2}"
            );
        }
    };
    check((Phase::Serving, Some(2), 1, 0), false, false);
    check((Phase::Serving, Some(2), 1, 1), false, false);
    check((Phase::Serving, Some(2), 2, 0), true, true);
    for (phase, http1, http2) in [
        (Phase::Serving, false, false),
        (Phase::Leaving, false, false),
        (Phase::Draining, false, true),
        (Phase::ClosingIdle, true, true),
        (Phase::Ended, true, true),
    ] {
        check((phase, None, 0, 0), http1, http2);
        check((phase, None, 1, 0), http1, http2);
        check((phase, None, 1, 1), http1, http2);
    }
}
