//! Backends whose answers contradict themselves about their length or coding, or break off: what reaches the client is
//! right, or is seen to be wrong (502, or cut off), never a whole answer of wrong bytes and never nothing at all. What
//! may have left something on the backend's connection is the last on it (RFC 9112, 6.3 and 9.6).

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::time::timeout;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::{Http2Connection, RawRequest, send};
use turnout_tests::echo::Backends;
use turnout_tests::scripted::{Answer, ScriptedBackend};

const LONG: Duration = Duration::from_secs(5);

/// The chunked form of `hello`.
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

/// The rest of the answer as the backend writes it, and what may come of it.
struct Case {
    /// Status line and header lines.
    head: &'static str,
    body: &'static str,
    /// Whether the backend closes behind it.
    closes: bool,
    right: Right,
    /// Whether the backend's connection may, must or must not serve the next request.
    reuse: Option<bool>,
}

/// What a client may see of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// This status and body, and nothing else.
    Whole(u16, &'static str),
    /// That, or a refusal.
    WholeOrRefused(u16, &'static str),
    /// 502, or an answer that is cut off.
    Refused,
}
use Right::{Refused, Whole, WholeOrRefused};

const fn keeps(head: &'static str, body: &'static str, right: Right, reuse: Option<bool>) -> Case {
    Case { head, body, closes: false, right, reuse }
}

const fn closes(head: &'static str, body: &'static str, right: Right) -> Case {
    Case { head, body, closes: true, right, reuse: Some(false) }
}

const HELLO: Right = Whole(200, "hello");
const HELLO_OR_REFUSED: Right = WholeOrRefused(200, "hello");

const CASES: [Case; 54] = [
    // Well formed.
    keeps("200 OK\r\ncontent-length: 5", "hello", HELLO, Some(true)),
    keeps("200 OK\r\ntransfer-encoding: chunked", CHUNKS, HELLO, Some(true)),
    keeps("200 OK\r\nTransfer-Encoding: CHUNKED", CHUNKS, HELLO, Some(true)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "5;a=b;c\r\nhello\r\n0;d\r\n\r\n", HELLO, Some(true)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "0005\r\nhello\r\n000\r\n\r\n", HELLO, Some(true)),
    keeps(
        "200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t",
        "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        HELLO,
        Some(true),
    ),
    keeps("100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5", "hello", HELLO, Some(true)),
    keeps("103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5", "hello", HELLO, Some(true)),
    keeps("204 No Content", "", Whole(204, ""), Some(true)),
    keeps("304 Not Modified\r\ncontent-length: 5", "", Whole(304, ""), Some(true)),
    keeps("200 OK\r\ncontent-length: 0", "", Whole(200, ""), Some(true)),
    closes("200 OK", "hello", HELLO),
    closes("200 OK\r\nconnection: close\r\ncontent-length: 5", "hello", HELLO),
    // A length beside the chunks: the chunks count, whatever the length says and wherever it stands.
    keeps("200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ncontent-length: 10\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 15", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps("200 OK\r\ncontent-length: x\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    // Several lengths: one value twice may be taken for one.
    keeps("200 OK\r\ncontent-length: 5\r\ncontent-length: 5", "hello", HELLO_OR_REFUSED, None),
    keeps("200 OK\r\ncontent-length: 5, 5", "hello", HELLO_OR_REFUSED, None),
    keeps("200 OK\r\ncontent-length: 5\r\ncontent-length: 6", "hello!", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: 6\r\ncontent-length: 5", "hello!", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: 5, 6", "hello!", Refused, Some(false)),
    // No lengths.
    keeps("200 OK\r\ncontent-length: -5", "hello", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: +5", "hello", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: 0x5", "hello", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: 5 5", "hello", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length:", "hello", Refused, Some(false)),
    keeps("200 OK\r\ncontent-length: 99999999999999999999", "hello", Refused, Some(false)),
    // Codings that the gateway does not undo and the client would not hear of.
    closes("200 OK\r\ntransfer-encoding: gzip", "hello", Refused),
    closes("200 OK\r\ntransfer-encoding: chunked, gzip", CHUNKS, Refused),
    keeps("200 OK\r\ntransfer-encoding: gzip, chunked", CHUNKS, Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked", CHUNKS, Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked, chunked", CHUNKS, Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: xchunked", CHUNKS, Refused, Some(false)),
    closes("200 OK\r\ntransfer-encoding: identity", "hello", HELLO_OR_REFUSED),
    keeps("200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5", "hello", HELLO_OR_REFUSED, Some(false)),
    // Statuses that have no body.
    keeps("204 No Content\r\ncontent-length: 5", "hello", WholeOrRefused(204, ""), Some(false)),
    keeps("204 No Content\r\ntransfer-encoding: chunked", CHUNKS, WholeOrRefused(204, ""), Some(false)),
    keeps("204 No Content", "hello", WholeOrRefused(204, ""), Some(false)),
    keeps("304 Not Modified\r\ncontent-length: 5", "hello", WholeOrRefused(304, ""), Some(false)),
    keeps("101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x", "hello", Refused, Some(false)),
    // More than was announced.
    keeps("200 OK\r\ncontent-length: 5", "hello!!", HELLO, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n!!", HELLO, Some(false)),
    keeps("200 OK\r\ncontent-length: 5", "helloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", HELLO, Some(false)),
    // Less, and broken chunks.
    closes("200 OK\r\ncontent-length: 9", "hello", Refused),
    closes("200 OK\r\ntransfer-encoding: chunked", "5\r\nhello\r\n", Refused),
    closes("200 OK\r\ntransfer-encoding: chunked", "9\r\nhello", Refused),
    keeps("200 OK\r\ntransfer-encoding: chunked", "5\r\nhello\r\nzz\r\n\r\n", Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "5\r\nhello!!\r\n0\r\n\r\n", Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "-5\r\nhello\r\n0\r\n\r\n", Refused, Some(false)),
    keeps("200 OK\r\ntransfer-encoding: chunked", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", Refused, Some(false)),
];

/// The same in the older version, where no answer is chunked (RFC 9112, 6.1).
const OLD_CASES: [Case; 4] = [
    keeps("200 OK\r\nconnection: keep-alive\r\ncontent-length: 5", "hello", HELLO, None),
    closes("200 OK", "hello", HELLO),
    keeps("200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked", CHUNKS, HELLO_OR_REFUSED, Some(false)),
    keeps(
        "200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        CHUNKS,
        HELLO_OR_REFUSED,
        Some(false),
    ),
];

/// All cases by number, each with its version.
fn case(number: usize) -> Option<(&'static str, &'static Case)> {
    let old = number.checked_sub(CASES.len()).and_then(|number| OLD_CASES.get(number));
    CASES.get(number).map(|case| ("1.1", case)).or(old.map(|case| ("1.0", case)))
}

/// `/NUMBER/...` is answered with the case of that number, anything else with `ok`. An answer to HEAD has no body.
fn answer(method: &str, target: &str) -> Answer {
    let number = target.split('/').nth(1).and_then(|number| number.parse().ok());
    let Some((version, case)) = number.and_then(case) else {
        return Answer { bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), closes: false };
    };
    let body = if method == "HEAD" { "" } else { case.body };
    Answer { bytes: format!("HTTP/{version} {}\r\n\r\n{body}", case.head).into_bytes(), closes: case.closes }
}

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// An answer that looks whole.
    Whole(u16, String),
    /// No answer, or one that is seen to be incomplete.
    Cut,
}

async fn ask(bed: &Bed, http2: bool, method: &str, target: &str) -> anyhow::Result<Outcome> {
    let asking =
        async { if http2 { ask_http2(bed, method, target).await } else { ask_http1(bed, method, target).await } };
    timeout(LONG, asking).await.context("the request hangs")?
}

async fn ask_http1(bed: &Bed, method: &str, target: &str) -> anyhow::Result<Outcome> {
    let request = RawRequest::new(method, target).header("Host", "a").header("Connection", "close");
    let Ok(response) = send(bed.address(), &request).await else { return Ok(Outcome::Cut) };
    if !response.complete {
        return Ok(Outcome::Cut);
    }
    let lengths = response.headers.values("content-length");
    let codings = response.headers.values("transfer-encoding");
    let framings = lengths.len() + codings.len();
    ensure!(framings <= 1, "framed twice: {:?}", response.headers);
    let is_length = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    ensure!(lengths.iter().all(is_length), "{lengths:?}");
    ensure!(codings.is_empty() || codings == ["chunked"], "{codings:?}");
    ensure!(response.status != 204 || framings == 0, "a 204 has no framing: {:?}", response.headers);
    let promised = response.header("trailer").is_some();
    ensure!(!promised || response.trailers.first("x-t").is_some(), "a trailer is promised and does not come");
    Ok(Outcome::Whole(response.status, response.text()))
}

async fn ask_http2(bed: &Bed, method: &str, target: &str) -> anyhow::Result<Outcome> {
    let uri = format!("http://a{target}");
    let request = http::Request::builder().method(method).uri(uri).body(Bytes::new())?;
    let Ok(response) = Http2Connection::open(bed.address()).await?.send(request).await else { return Ok(Outcome::Cut) };
    let body = String::from_utf8_lossy(response.body()).into_owned();
    Ok(Outcome::Whole(response.status().as_u16(), body))
}

/// Whether a GET's outcome is right. After HEAD there is no body; the head alone may be enough to refuse it, and need not.
fn is_right(right: Right, method: &str, outcome: &Outcome) -> bool {
    let refused = match outcome {
        Outcome::Cut => method == "GET",
        Outcome::Whole(status, _) => *status == 502,
    };
    let is = |status: u16, body: &str| *outcome == Outcome::Whole(status, body.to_owned());
    match (method, right) {
        ("HEAD", Whole(status, _)) => is(status, ""),
        ("HEAD", WholeOrRefused(status, _)) => refused || is(status, ""),
        ("HEAD", Refused) => refused || is(200, ""),
        (_, Whole(status, body)) => is(status, body),
        (_, WholeOrRefused(status, body)) => refused || is(status, body),
        (_, Refused) => refused,
    }
}

async fn check(bed: &Bed, backend: &ScriptedBackend, number: usize, http2: bool, method: &str) -> anyhow::Result<()> {
    let (_, case) = case(number).context("there is such a case")?;
    let (target, probe) = (format!("/{number}/{method}/{http2}"), format!("/probe/{number}/{method}/{http2}"));
    let outcome = ask(bed, http2, method, &target).await?;
    ensure!(is_right(case.right, method, &outcome), "seen {outcome:?}, right is {:?}", case.right);
    let next = ask(bed, false, "GET", &probe).await.context("the next request")?;
    ensure!(next == Outcome::Whole(200, "ok".to_owned()), "the next request is answered {next:?}");
    let [asked, probed] = [&target, &probe].map(|target| backend.connections_of(target));
    ensure!(asked.len() == 1 && probed.len() == 1, "the backend was asked {asked:?}, {probed:?}");
    let reused = asked == probed;
    // An answer to HEAD has no bytes that its framing could be wrong about.
    let reuse = if method == "HEAD" && !case.closes { None } else { case.reuse };
    ensure!(reuse.is_none_or(|reuse| reuse == reused), "the backend's connection was used again: {reused}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_is_never_passed_on_as_a_whole_one() -> anyhow::Result<()> {
    let backend =
        ScriptedBackend::start(|head| answer(head.start_line.split(' ').next().unwrap_or_default(), head.target()));
    let backend = backend.await?;
    let documents =
        service("scripted", &[backend.address()]) + &virtual_service("- route: [{destination: {host: scripted}}]");
    let bed = Bed::over(Backends::start_named(&[]).await?, &documents, &[PORT], &["--workers", "1"]).await?;
    let mut problems = String::new();
    for number in 0..CASES.len() + OLD_CASES.len() {
        for (http2, method) in [(false, "GET"), (true, "GET"), (false, "HEAD"), (true, "HEAD")] {
            if let Err(problem) = check(&bed, &backend, number, http2, method).await {
                let (version, case) = case(number).context("there is such a case")?;
                let shown = format!("{version} {} {}", case.head, case.body).escape_debug().to_string();
                writeln!(problems, "{method}, HTTP/{}: {shown}\n    {problem:#}", if http2 { 2 } else { 1 })?;
            }
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}
