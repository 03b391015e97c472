//! The rules of HTTP/2 that a server has to keep (RFC 9113, and what matters of RFC 7541), each broken or kept over a
//! socket of its own. Where the library bears what an RFC calls an error, or calls it by another name, a row says so and
//! why that does no harm. After each the gateway serves this connection, if it lives on, and any other.

mod compression;
mod connection;
mod heads;
mod streams;
mod windows;

use anyhow::{Context as _, ensure};
use h2::Reason;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::eventually;
use turnout_tests::frames::{ACK, Frame, FrameConnection, PREFACE, StreamEnd, kind};

const LONG: Duration = Duration::from_secs(10);

/// Streams at a time.
const MOST_STREAMS: u32 = 20;

/// A stream that no row uses: that the connection goes on is asked by it.
const AFTERWARDS: u32 = 1001;

/// What a client does, and what becomes of it.
struct Rule {
    /// The section, and what it says.
    says: &'static str,
    /// In place of preface and empty settings, which else are acknowledged both ways before anything is sent.
    opening: Option<Vec<u8>>,
    /// In one write.
    sends: Vec<u8>,
    /// The stream that is looked at.
    about: u32,
    expects: Expects,
    /// What the RFC asks for instead, and why this is borne.
    although: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// GOAWAY, and the end of the connection.
    GoAway(Reason),
    /// The end of the connection, without a word.
    End,
    /// The stream is reset, and the connection goes on.
    Reset(Reason),
    /// The stream is answered with this status.
    Status(u16),
    /// The same, and the connection ends.
    Last(u16),
    /// Nothing comes of it; the connection goes on.
    Nothing,
    /// An answer in HTTP/1.1.
    Http1(u16),
}

use Expects::{End, GoAway, Http1, Last, Nothing, Reset, Status};

fn rule(says: &'static str, sends: &[Frame], expects: Expects) -> Rule {
    let sends = sends.iter().flat_map(Frame::to_bytes).collect();
    Rule { says, opening: None, sends, about: 1, expects, although: None }
}

impl Rule {
    fn although(self, reason: &'static str) -> Self {
        Self { although: Some(reason), ..self }
    }

    fn about(self, stream: u32) -> Self {
        Self { about: stream, ..self }
    }

    fn opening(self, opening: &[u8]) -> Self {
        Self { opening: Some(opening.to_vec()), ..self }
    }
}

/// A request that is answered at once, without a body.
fn get(stream: u32) -> Frame {
    Frame::get(stream, "/")
}

/// A request that is answered once its body has come.
fn post(stream: u32) -> Frame {
    Frame::headers(stream, &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")], false)
}

/// A request that is never answered, and whose body nobody takes.
fn held(stream: u32, ends: bool) -> Frame {
    Frame::headers(stream, &[(":method", "POST"), (":scheme", "http"), (":path", "/held"), (":authority", "a")], ends)
}

async fn connect(bed: &Bed) -> anyhow::Result<FrameConnection<TcpStream>> {
    let stream = TcpStream::connect(bed.address()).await?;
    stream.set_nodelay(true)?;
    Ok(FrameConnection::over(stream))
}

/// A connection whose settings are acknowledged both ways.
async fn open(bed: &Bed) -> anyhow::Result<FrameConnection<TcpStream>> {
    let mut connection = connect(bed).await?;
    connection.send_bytes(PREFACE).await?;
    connection.send(&Frame::new(kind::SETTINGS, 0)).await?;
    let (mut settings, mut acknowledged) = (false, false);
    while !(settings && acknowledged) {
        let frame = connection.until(|frame| frame.kind == kind::SETTINGS).await.context("no settings")?;
        *(if frame.flags & ACK == 0 { &mut settings } else { &mut acknowledged }) = true;
    }
    Ok(connection)
}

/// Asks for an answer to a request of its own.
async fn serves(connection: &mut FrameConnection<TcpStream>) -> anyhow::Result<()> {
    connection.send(&get(AFTERWARDS)).await?;
    let end = connection.end_of(AFTERWARDS).await;
    ensure!(end == StreamEnd::Answered, "the connection does not go on: {end:?}");
    Ok(())
}

/// Whatever is still said, it ends.
async fn ends(connection: &mut FrameConnection<TcpStream>) -> anyhow::Result<()> {
    match connection.until(|_| false).await.map_err(|error| error.kind()) {
        Err(io::ErrorKind::TimedOut) => anyhow::bail!("the connection stays open"),
        _ => Ok(()),
    }
}

fn is_of(frame: &Frame, stream: u32) -> bool {
    frame.stream == stream && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)
}

async fn obeys(bed: &Bed, rule: &Rule) -> anyhow::Result<()> {
    let mut connection = if rule.opening.is_some() { connect(bed).await? } else { open(bed).await? };
    connection.send_bytes(rule.opening.as_deref().unwrap_or_default()).await?;
    // The connection may end while this is being sent.
    let _ = connection.send_bytes(&rule.sends).await;
    if let Http1(status) = rule.expects {
        let line = connection.line().await?;
        ensure!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line}");
        return Ok(());
    }
    if rule.expects == Nothing {
        return serves(&mut connection).await;
    }
    let frame = connection.until(|frame| is_of(frame, rule.about) || frame.kind == kind::GOAWAY).await;
    let code = frame.as_ref().ok().and_then(Frame::error_code).map(Reason::from);
    let seen = match frame {
        Ok(Frame { kind: kind::GOAWAY, .. }) => GoAway(code.context("no code")?),
        Ok(Frame { kind: kind::RST_STREAM, .. }) => Reset(code.context("no code")?),
        Ok(answer) => Status(answer.status().with_context(|| format!("no status: {answer:?}"))?),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => anyhow::bail!("nothing comes of it"),
        Err(_) => End,
    };
    let seen = if let (Status(status), Last(_)) = (seen, rule.expects) { Last(status) } else { seen };
    ensure!(seen == rule.expects, "{seen:?} and not {:?}", rule.expects);
    match seen {
        GoAway(_) | Last(_) => ends(&mut connection).await,
        Reset(_) | Status(_) => serves(&mut connection).await,
        _ => Ok(()),
    }
}

/// No other connection is any worse for it, and nothing is left of it.
async fn harms_nobody(bed: &Bed) -> anyhow::Result<()> {
    serves(&mut open(bed).await?).await.context("over another connection")?;
    eventually(LONG, || async {
        let metrics = bed.gateway.metrics().await?;
        for left in ["turnout_requests_in_flight", "turnout_downstream_connections"] {
            let count = metrics.sum(left, &[]).unwrap_or_default();
            ensure!(count < 0.5, "{left} stays {count}");
        }
        Ok(())
    })
    .await
}

/// Nothing that breaks a rule may have reached a backend as a whole request: a row that is expected to fail asks for /.
async fn check(rules: Vec<Rule>) -> anyhow::Result<()> {
    let held = "- match: [{uri: {prefix: /held}}]\n  fault: {delay: {fixedDelay: 600s, percentage: {value: 100}}}\n  \
                route: [{destination: {host: green}}]\n";
    let most = MOST_STREAMS.to_string();
    let arguments = ["--max-http2-streams", &most, "--workers", "1", "--max-header-bytes", "16384"];
    let bed = Bed::start(&format!("{held}{TO_GREEN}"), &arguments).await?;
    let mut faults = Vec::new();
    for rule in rules {
        bed.backends.clear();
        let obeyed = obeys(&bed, &rule).await;
        let seen = match obeyed {
            Ok(()) => harms_nobody(&bed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = seen {
            let although = rule.although.map(|why| format!(" (although {why})")).unwrap_or_default();
            faults.push(format!("{}{although}: {error:#}", rule.says));
        }
        let bodies = bed.backends.received().into_iter().filter(|one| one.target.starts_with("/bad")).count();
        if bodies > 0 {
            faults.push(format!("{}: it has reached a backend", rule.says));
        }
    }
    ensure!(!bed.gateway.log().contains("panicked"), "{}", bed.gateway.log());
    ensure!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

#[tokio::test]
async fn the_connection_keeps_the_rules() -> anyhow::Result<()> {
    check(connection::rules()).await
}

#[tokio::test]
async fn streams_keep_the_rules() -> anyhow::Result<()> {
    check(streams::rules()).await
}

#[tokio::test]
async fn heads_keep_the_rules() -> anyhow::Result<()> {
    check(heads::rules()).await
}

#[tokio::test]
async fn compressed_heads_keep_the_rules() -> anyhow::Result<()> {
    check(compression::rules()).await
}
