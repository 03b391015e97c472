//! Backends of HTTP/2, played by frames, that end streams and connections at every moment and by every code, or take
//! little: what the client is told, what is asked again, and that nothing is left of it.

use anyhow::{Context as _, ensure};
use h2::Reason;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::{RawConnection, RawRequest, RawResponse};
use turnout_tests::echo::Backends;
use turnout_tests::frames::{ACK, CANCEL, END_HEADERS, Frame, FrameConnection, StreamEnd, kind, setting};

const LONG: Duration = Duration::from_secs(10);

/// What the whole answer is.
const BODY: &[u8] = b"answer";

type Connection = FrameConnection<TcpStream>;

/// A gateway in front of a backend that the test plays.
struct Scene {
    bed: Bed,
    listener: TcpListener,
}

impl Scene {
    async fn start(fields: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let documents = service("model", &[listener.local_addr()?]).replace("protocol: HTTP}", "protocol: HTTP2}")
            + &virtual_service(&format!("- route: [{{destination: {{host: model}}}}]\n  {fields}"));
        let bed = Bed::over(Backends::start_named(&[]).await?, &documents, &[PORT], &["--workers", "1"]).await?;
        Ok(Self { bed, listener })
    }

    /// A connection that the gateway makes.
    async fn accept(&self) -> anyhow::Result<Connection> {
        let (stream, _) = timeout(LONG, self.listener.accept()).await.context("nobody connects")??;
        stream.set_nodelay(true)?;
        let mut connection = Connection::over(stream);
        connection.take_preface().await?;
        connection.send(&Frame::new(kind::SETTINGS, 0)).await?;
        Ok(connection)
    }

    /// A client that has asked.
    async fn ask(&self, request: &RawRequest) -> anyhow::Result<RawConnection> {
        let mut client = self.bed.open().await?;
        client.send(&request.to_bytes()).await?;
        Ok(client)
    }
}

/// The stream of the next request.
async fn asked(backend: &mut Connection) -> anyhow::Result<u32> {
    Ok(backend.until(|frame| frame.kind == kind::HEADERS).await.context("nothing is asked")?.stream)
}

fn head(stream: u32) -> Frame {
    // :status: 200 of the static table.
    Frame::new(kind::HEADERS, stream).flags(END_HEADERS).payload(&[0x88])
}

fn trailers(stream: u32) -> Frame {
    Frame::headers(stream, &[("x-trailer", "t1")], true)
}

/// What a backend says on a stream, and when that is.
type Moment = (&'static str, fn(u32) -> Vec<Frame>);

/// How much of an answer comes before its stream is reset.
const MOMENTS: [Moment; 6] = [
    ("before the head", |_| vec![]),
    ("behind the head", |stream| vec![head(stream)]),
    ("in the body", |stream| vec![head(stream), Frame::data(stream, &BODY[..3], false)]),
    ("behind the body, before its end", |stream| vec![head(stream), Frame::data(stream, BODY, false)]),
    ("behind the end", |stream| vec![head(stream), Frame::data(stream, BODY, true)]),
    ("behind trailers", |stream| vec![head(stream), Frame::data(stream, BODY, false), trailers(stream)]),
];

/// What the client sees of it, before an answer has begun.
fn refusal(code: u32) -> (u16, &'static str) {
    if code == u32::from(Reason::PROTOCOL_ERROR) { (502, "upstream_protocol") } else { (503, "stream_reset") }
}

fn is_as_expected(moment: &str, code: u32, answer: &RawResponse) -> anyhow::Result<()> {
    let reason = answer.header("x-turnout-reason").unwrap_or_default();
    let seen = (answer.status, reason, answer.complete);
    let expected = match moment {
        "before the head" => (refusal(code).0, refusal(code).1, true),
        "behind the end" | "behind trailers" => (200, "", true),
        _ => (200, "", false),
    };
    ensure!(seen == expected, "{moment}, {code}: {seen:?}, not {expected:?}");
    ensure!(expected != (200, "", true) || answer.body == BODY, "{moment}, {code}: {answer:?}");
    Ok(())
}

/// Also while the backend has not had all of the request.
#[tokio::test]
async fn a_stream_that_is_reset_at_any_moment_by_any_code_ends_alone() -> anyhow::Result<()> {
    let scene = Scene::start("retries: {attempts: 0}").await?;
    let whole = RawRequest::post("/", b"body");
    let upload = RawRequest::new("POST", "/").header("Host", "a").header("Content-Length", "99999");
    let mut client = scene.ask(&whole).await?;
    let mut backend = scene.accept().await?;
    let first = asked(&mut backend).await?;
    backend.send_all(&[head(first), Frame::data(first, BODY, true)]).await?;
    is_as_expected("behind the end", 0, &client.response("POST").await?)?;
    for (moment, answers) in MOMENTS {
        for code in (0..=14).chain([u32::MAX]) {
            for request in [&whole, &upload] {
                let mut client = scene.ask(request).await?;
                let stream = asked(&mut backend).await?;
                backend.send_all(&[&answers(stream)[..], &[Frame::reset(stream, code)]].concat()).await?;
                let answer = client.response("POST").await.with_context(|| format!("{moment}, {code}"))?;
                is_as_expected(moment, code, &answer)?;
            }
        }
    }
    scene.bed.in_flight(0.0).await?;
    ensure!(!scene.bed.gateway.log().contains("panicked"), "{}", scene.bed.gateway.log());
    Ok(())
}

#[tokio::test]
async fn a_farewell_in_the_middle_lets_what_it_covers_end() -> anyhow::Result<()> {
    let scene = Scene::start("").await?;
    let mut client = scene.ask(&RawRequest::get("/")).await?;
    let mut backend = scene.accept().await?;
    let covered = asked(&mut backend).await?;
    backend.send_all(&[head(covered), Frame::data(covered, &BODY[..3], false)]).await?;
    let mut late = scene.ask(&RawRequest::get("/")).await?;
    let left_out = asked(&mut backend).await?;
    backend.send(&Frame::goaway(covered, 0)).await?;
    // What it leaves out is asked again, over another connection, as is what comes later.
    let mut other = scene.accept().await?;
    ensure!(left_out > covered);
    let again = asked(&mut other).await?;
    other.send_all(&[head(again), Frame::data(again, BODY, true)]).await?;
    ensure!(late.response("GET").await?.text() == "answer");
    backend.send(&Frame::data(covered, &BODY[3..], true)).await?;
    let answer = client.response("GET").await?;
    ensure!(answer.complete && answer.body == BODY, "{answer:?}");
    scene.bed.in_flight(0.0).await
}

#[tokio::test]
async fn a_farewell_or_an_end_in_the_middle_of_what_it_does_not_cover_breaks_it_off() -> anyhow::Result<()> {
    for ends in [true, false] {
        let scene = Scene::start("retries: {attempts: 0}").await?;
        let mut client = scene.ask(&RawRequest::get("/")).await?;
        let mut backend = scene.accept().await?;
        let stream = asked(&mut backend).await?;
        backend.send_all(&[head(stream), Frame::data(stream, &BODY[..3], false)]).await?;
        if ends {
            drop(backend);
        } else {
            backend.send(&Frame::goaway(0, u32::from(Reason::INTERNAL_ERROR))).await?;
        }
        let answer = client.response("GET").await?;
        ensure!((answer.status, answer.complete) == (200, false), "{answer:?}");
        scene.bed.in_flight(0.0).await?;
    }
    Ok(())
}

/// A client of HTTP/2 is told by a reset, and keeps its connection.
#[tokio::test]
async fn a_client_of_http2_is_told_the_same() -> anyhow::Result<()> {
    let scene = Scene::start("retries: {attempts: 0}").await?;
    let mut client = FrameConnection::open(TcpStream::connect(scene.bed.address()).await?).await?;
    client.send(&Frame::get(1, "/")).await?;
    let mut backend = scene.accept().await?;
    for (round, (moment, answers)) in MOMENTS.into_iter().enumerate() {
        let number = 2 * u32::try_from(round)? + 1;
        if round > 0 {
            client.send(&Frame::get(number, "/")).await?;
        }
        let stream = asked(&mut backend).await?;
        backend.send_all(&[&answers(stream)[..], &[Frame::reset(stream, CANCEL)]].concat()).await?;
        let end = client.end_of(number).await;
        let is_whole = !matches!(moment, "behind the head" | "in the body" | "behind the body, before its end");
        ensure!(matches!(end, StreamEnd::Answered) == is_whole, "{moment}: {end:?}");
        ensure!(is_whole || matches!(end, StreamEnd::Reset(_)), "{moment}: {end:?}");
    }
    scene.bed.in_flight(0.0).await
}

/// An upload for which the backend grants no more room, when its stream or connection ends.
#[tokio::test]
async fn an_upload_that_waits_for_room_ends_with_its_stream_or_connection() -> anyhow::Result<()> {
    let scene = Scene::start("retries: {attempts: 0}").await?;
    let upload = RawRequest::post("/", &vec![b'x'; 300_000]);
    for how in ["reset", "farewell", "close", "answer"] {
        let mut client = scene.ask(&upload).await?;
        let mut backend = scene.accept().await?;
        let stream = asked(&mut backend).await?;
        // What every connection begins with.
        let mut came = 0;
        while came < 65_535 {
            came += backend.until(|frame| frame.kind == kind::DATA).await?.payload.len();
        }
        match how {
            "reset" => backend.send(&Frame::reset(stream, CANCEL)).await?,
            "farewell" => backend.send(&Frame::goaway(0, 0)).await?,
            "answer" => backend.send_all(&[head(stream), Frame::data(stream, BODY, true)]).await?,
            _ => {}
        }
        if how != "answer" {
            drop(backend);
        }
        let answer = client.response("POST").await.context(how)?;
        let expected = if how == "answer" { 200 } else { 503 };
        ensure!((answer.status, answer.complete) == (expected, true), "{how}: {answer:?}");
        scene.bed.in_flight(0.0).await.context(how)?;
    }
    Ok(())
}

/// A backend that takes fewer streams from now on.
#[tokio::test]
async fn what_a_connection_takes_no_more_goes_over_another() -> anyhow::Result<()> {
    let scene = Scene::start("retries: {attempts: 0}").await?;
    let most = |streams| Frame::setting_of(setting::MAX_CONCURRENT_STREAMS, streams);
    let mut first = scene.ask(&RawRequest::get("/")).await?;
    let mut backend = scene.accept().await?;
    let stream = asked(&mut backend).await?;
    backend.send(&most(1)).await?;
    backend.until(|frame| frame.kind == kind::SETTINGS && frame.flags & ACK != 0).await?;
    // It goes over a connection of its own.
    let mut second = scene.ask(&RawRequest::get("/")).await?;
    let mut other = scene.accept().await?;
    for (backend, stream, client) in [(&mut backend, Some(stream), &mut first), (&mut other, None, &mut second)] {
        let stream = match stream {
            Some(stream) => stream,
            None => asked(backend).await?,
        };
        backend.send_all(&[head(stream), Frame::data(stream, BODY, true)]).await?;
        ensure!(client.response("GET").await?.text() == "answer");
    }
    scene.bed.in_flight(0.0).await
}
