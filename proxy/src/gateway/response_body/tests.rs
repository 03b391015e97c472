//! How an answer ends, when its backend is free again, and what is said of it, whatever the client and the backend do.

use super::*;
use crate::client::Client;
use crate::gateway::deadline::deadline;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::WorkerMetrics;
use crate::telemetry::metrics::{Metrics, SourceNames};
use crate::telemetry::record::Telemetry;
use crate::testing::{bounded, on_a_worker, rule};
use crate::upstream::test_backend::Act::{self, Answers, Closes, Writes};
use crate::upstream::test_backend::{PART, REQUEST, Scene, nothing, settle};
use http::{Method, StatusCode, Version};
use http_body_util::BodyExt;
use std::sync::Arc;

const DEADLINE: u64 = 10;
const STALL: u64 = 30;

/// What a client does with its answer.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// Takes all that comes.
    Takes,
    /// Takes one piece, and nothing more for a long time.
    Stalls,
    /// Is gone after a second.
    Leaves,
}

async fn read(mut body: ResponseBody, reader: Reader) {
    match reader {
        Reader::Takes => while body.frame().await.is_some_and(|frame| frame.is_ok()) {},
        Reader::Stalls => {
            let _ = body.frame().await;
            tokio::time::sleep(Duration::from_secs(1000)).await;
        }
        Reader::Leaves => {
            let _ = tokio::time::timeout(Duration::from_secs(1), read_forever(&mut body)).await;
        }
    }
}

async fn read_forever(body: &mut ResponseBody) {
    while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
    std::future::pending::<()>().await;
}

struct Case {
    backend: &'static [&'static [Act]],
    method: Method,
    has_deadline: bool,
    reader: Reader,
}

/// After how many seconds the backend is free, if it is, and the flag that the answer ends with.
async fn outcome(case: &Case, is_http2: bool) -> (Option<u64>, String) {
    let scene = bounded(Scene::new(case.backend, 0)).await;
    let in_flight = InFlight::at(&scene.upstream, &rule("split"));
    let response = bounded(scene.send(nothing())).await.expect("an answer");
    bounded(settle()).await;
    tokio::time::pause();
    let source = SourceNames { workload: "gateway".into(), namespace: "default".into() };
    let metrics = Arc::new(Metrics::new(source).expect("every name is used once"));
    let access_log = AccessLog::off(metrics.access_log_dropped.clone());
    let telemetry = Rc::new(Telemetry { metrics: WorkerMetrics::new(&metrics), access_log });
    let peer = ([127, 0, 0, 1], 1).into();
    let mut record = Record::start(&telemetry, peer, case.method.clone(), Version::HTTP_11);
    record.answer(StatusCode::OK, crate::error::Flags::NONE);
    let mut open = OpenRequest::begin(&Rc::new(Client::new(peer, 80, None, is_http2, None)));
    open.answered = true;
    let stream = is_http2.then(Rc::<StreamEnd>::default);
    let limit = case.has_deadline.then(|| deadline(&nothing(), Duration::from_secs(DEADLINE)));
    let body = response.into_body();
    let passing = Passing::new(body, in_flight, nothing(), limit, Duration::from_secs(STALL), None);
    let body = ResponseBody::passing(passing, Closing { record, open, stream: stream.clone() });
    let reading = tokio::task::spawn_local(read(body, case.reader));
    if let Some(stream) = stream {
        stream.runs_in(reading.abort_handle());
    }
    // Between the instants at which something may happen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut freed = None;
    for second in 0..100 {
        if scene.upstream.shared.in_flight() == 0 {
            freed = Some(second);
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // It ends at the latest with its connection.
    reading.abort();
    let _ = reading.await;
    assert_eq!(scene.upstream.shared.in_flight(), 0);
    telemetry.metrics.flush();
    let rendered = metrics.render();
    let counted = rendered.lines().find(|line| line.starts_with("istio_requests_total{") && line.ends_with(" 1"));
    let flag = counted.and_then(|line| line.split("response_flags=\"").nth(1)?.split('"').next());
    (freed, flag.unwrap_or_default().to_owned())
}

#[test]
fn an_answer_frees_its_backend_and_says_how_it_ended() {
    const PARTLY: &[&[Act]] = &[&[REQUEST, Writes(PART)]];
    const WHOLLY: &[&[Act]] = &[&[REQUEST, Answers("one")]];
    const BROKEN: &[&[Act]] = &[&[REQUEST, Writes(PART), Closes]];
    let check = |case: Case, http1: (Option<u64>, &str), http2: (Option<u64>, &str)| {
        for (is_http2, (freed, flag)) in [(false, http1), (true, http2)] {
            let seen = on_a_worker(outcome(&case, is_http2));
            let Case { backend, method, has_deadline, reader } = &case;
            let said = format!("{backend:?}, {method}, {reader:?}, HTTP/2: {is_http2}, deadline: {has_deadline}");
            assert_eq!(seen, (freed, flag.to_owned()), "{said}");
        }
    };
    for has_deadline in [false, true] {
        let case = |backend, reader| Case { backend, method: Method::GET, has_deadline, reader };
        let in_time = Some(DEADLINE).filter(|_| has_deadline);
        let timed_out = (in_time, if has_deadline { "UT" } else { "DC" });
        check(case(WHOLLY, Reader::Takes), (Some(0), "-"), (Some(0), "-"));
        check(case(BROKEN, Reader::Takes), (Some(0), "UPE"), (Some(0), "UPE"));
        check(case(PARTLY, Reader::Leaves), (Some(1), "DC"), (Some(1), "DC"));
        check(case(PARTLY, Reader::Takes), timed_out, timed_out);
        // HTTP/1 has one answer at a time, so there its connection is given up.
        let stalled = if has_deadline { timed_out } else { (Some(STALL), "SI") };
        check(case(PARTLY, Reader::Stalls), timed_out, stalled);
        // Read to its end by nobody, it is over all the same.
        check(case(WHOLLY, Reader::Stalls), (Some(0), "-"), (Some(0), "-"));
    }
    let head = Case { backend: WHOLLY, method: Method::HEAD, has_deadline: false, reader: Reader::Leaves };
    check(head, (Some(0), "-"), (Some(0), "-"));
}
