//! The four kinds of gRPC's calls, by a real library on both sides: what goes either way passes at once and in order, and
//! ends as it was ended.

mod backend;

use anyhow::{Context as _, ensure};
use backend::{Backend, CHAT, COLLECT, Channel, EXPAND, Text, UNARY, refusal};
use futures::stream::{self, Stream};
use http::uri::PathAndQuery;
use std::time::Duration;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::echo::Backends;

const LONG: Duration = Duration::from_secs(15);

struct Scene {
    bed: Bed,
    backend: Backend,
    client: Grpc<Channel>,
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    async fn start_with(flags: &[&str]) -> anyhow::Result<Self> {
        let backend = Backend::start().await?;
        let documents = service("model", &[backend.address]).replace("protocol: HTTP}", "protocol: GRPC}")
            + &virtual_service("- route: [{destination: {host: model}}]");
        let bed =
            Bed::over(Backends::start_named(&[]).await?, &documents, &[PORT], &[&["--workers", "1"], flags].concat())
                .await?;
        let mut client = Channel::open(bed.address()).await?;
        client.ready().await?;
        Ok(Self { bed, backend, client })
    }

    async fn unary(&mut self, text: &str) -> Result<String, Status> {
        let request = Request::new(text.to_owned());
        let answer = timeout(LONG, self.client.unary(request, PathAndQuery::from_static(UNARY), Text)).await;
        answer.map_err(|_| Status::aborted("it takes too long"))?.map(tonic::Response::into_inner)
    }

    /// What is sent ends the client's half when it is dropped.
    fn collect(&mut self) -> (Sender<String>, impl Future<Output = Result<String, Status>> + Send + 'static) {
        let (sender, messages) = messages();
        let mut client = self.client.clone();
        let answer = async move {
            let request = Request::new(messages);
            let answer = client.client_streaming(request, PathAndQuery::from_static(COLLECT), Text).await;
            answer.map(tonic::Response::into_inner)
        };
        (sender, answer)
    }

    async fn expand(&mut self, text: &str) -> anyhow::Result<Streaming<String>> {
        let request = Request::new(text.to_owned());
        let answer = self.client.server_streaming(request, PathAndQuery::from_static(EXPAND), Text);
        Ok(timeout(LONG, answer).await??.into_inner())
    }

    async fn chat(&mut self) -> anyhow::Result<(Sender<String>, Streaming<String>)> {
        let (sender, messages) = messages();
        let answer = self.client.streaming(Request::new(messages), PathAndQuery::from_static(CHAT), Text);
        Ok((sender, timeout(LONG, answer).await.context("no head")??.into_inner()))
    }

    /// That a call is over at the backend, and at the gateway.
    async fn is_over(&mut self) -> anyhow::Result<()> {
        while self.backend.sees().await? != "over" {}
        self.bed.in_flight(0.0).await
    }
}

fn messages() -> (Sender<String>, impl Stream<Item = String> + Send + 'static) {
    let (sender, mut messages) = mpsc::channel(1);
    (sender, stream::poll_fn(move |context| messages.poll_recv(context)))
}

async fn next(answers: &mut Streaming<String>) -> anyhow::Result<Result<Option<String>, Status>> {
    timeout(LONG, answers.message()).await.context("nothing comes")
}

/// What comes next is this.
async fn expect(answers: &mut Streaming<String>, expected: Option<&str>) -> anyhow::Result<()> {
    let came = next(answers).await??;
    ensure!(came.as_deref() == expected, "{came:?} and not {expected:?}");
    Ok(())
}

fn is_refusal(status: &Status) -> anyhow::Result<()> {
    let seen = (status.code(), status.message(), status.details());
    let refusal = refusal();
    ensure!(seen == (refusal.code(), refusal.message(), refusal.details()), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_unary_call_is_answered_with_a_message_or_a_status() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for length in [0, 5, 16_000, 17_000, 1_000_000] {
        let text = "x".repeat(length);
        ensure!(scene.unary(&text).await? == text.repeat(2), "{length}");
    }
    // Its answer is trailers alone.
    is_refusal(&scene.unary("fail").await.err().context("it does not fail")?)?;
    scene.bed.in_flight(0.0).await?;
    let code = i32::from(refusal().code());
    for (status, expected) in [("0", 5.0), (&*code.to_string(), 1.0), ("", 0.0)] {
        let labels = [("request_protocol", "grpc"), ("grpc_response_status", status), ("reporter", "source")];
        let seen = scene.bed.count("istio_requests_total", &labels).await?;
        ensure!((seen - expected).abs() < 0.5, "{seen} of status `{status}`");
    }
    Ok(())
}

#[tokio::test]
async fn a_clients_messages_pass_one_by_one_and_its_end_behind_them() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for count in [0, 1, 50] {
        let (sender, answer) = scene.collect();
        let answer = tokio::spawn(answer);
        for number in 0..count {
            sender.send(number.to_string()).await?;
            // It is there before the next is sent.
            ensure!(scene.backend.sees().await? == number.to_string());
        }
        drop(sender);
        ensure!(scene.backend.sees().await? == "end");
        let expected = (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        ensure!(timeout(LONG, answer).await??? == expected, "{count}");
        scene.is_over().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_may_come_while_the_client_has_more_to_say() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for last in ["enough", "fail"] {
        let (sender, answer) = scene.collect();
        let answer = tokio::spawn(answer);
        for text in ["a", last] {
            sender.send(text.to_owned()).await?;
            ensure!(scene.backend.sees().await? == text);
        }
        match timeout(LONG, answer).await?? {
            Ok(text) => ensure!(last == "enough" && text == "a", "{text}"),
            Err(status) => is_refusal(&status).context(last)?,
        }
        scene.is_over().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_servers_messages_pass_in_order_and_its_status_behind_them() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for (asked, count) in [("0", 0), ("1", 1), ("3000", 3000), ("1 fail", 1), ("3000 fail", 3000)] {
        let mut answers = scene.expand(asked).await?;
        for number in 0..count {
            expect(&mut answers, Some(&number.to_string())).await?;
        }
        match next(&mut answers).await? {
            Ok(more) => ensure!(more.is_none() && !asked.contains("fail"), "{asked}: {more:?}"),
            Err(status) => is_refusal(&status).context(asked)?,
        }
    }
    scene.bed.in_flight(0.0).await
}

#[tokio::test]
async fn both_sides_talk_by_turns() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for (rounds, fails) in [(0, false), (50, false), (3, true)] {
        // The server speaks first, before the client has sent anything but its head.
        let (sender, mut answers) = scene.chat().await?;
        expect(&mut answers, Some("hello")).await?;
        for number in 0..rounds {
            sender.send(number.to_string()).await?;
            expect(&mut answers, Some(&format!("re: {number}"))).await?;
        }
        if fails {
            sender.send("fail".to_owned()).await?;
            is_refusal(&next(&mut answers).await?.err().context("it does not fail")?)?;
        } else {
            drop(sender);
            ensure!(scene.backend.sees().await? == "end");
            expect(&mut answers, Some("bye")).await?;
            expect(&mut answers, None).await?;
        }
        scene.is_over().await?;
    }
    Ok(())
}

/// The time for a body is no time for a conversation.
#[tokio::test]
async fn a_client_may_listen_for_long() -> anyhow::Result<()> {
    let mut scene = Scene::start_with(&["--request-body-idle-timeout-ms", "100"]).await?;
    let (sender, mut answers) = scene.chat().await?;
    expect(&mut answers, Some("hello")).await?;
    for text in ["one", "two"] {
        tokio::time::sleep(Duration::from_millis(400)).await;
        sender.send(text.to_owned()).await?;
        expect(&mut answers, Some(&format!("re: {text}"))).await?;
    }
    drop(sender);
    expect(&mut answers, Some("bye")).await?;
    expect(&mut answers, None).await
}

#[tokio::test]
async fn a_client_that_cancels_a_call_ends_it_at_the_backend() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;

    let mut client = scene.client.clone();
    let hang = Request::new("hang".to_owned());
    let call = tokio::spawn(async move { client.unary(hang, PathAndQuery::from_static(UNARY), Text).await });
    scene.bed.in_flight(1.0).await?;
    call.abort();
    scene.is_over().await.context("unary")?;

    let (sender, answer) = scene.collect();
    let call = tokio::spawn(answer);
    sender.send("a".to_owned()).await?;
    ensure!(scene.backend.sees().await? == "a");
    call.abort();
    scene.is_over().await.context("of the client's messages")?;

    // More than is on its way at any time.
    let mut answers = scene.expand(&u64::MAX.to_string()).await?;
    expect(&mut answers, Some("0")).await?;
    drop(answers);
    scene.is_over().await.context("of the server's messages")?;

    let (sender, mut answers) = scene.chat().await?;
    expect(&mut answers, Some("hello")).await?;
    sender.send("a".to_owned()).await?;
    expect(&mut answers, Some("re: a")).await?;
    // The library cancels what nobody has a half of any more.
    drop((answers, sender));
    scene.is_over().await.context("of both")?;

    ensure!(scene.unary("still").await? == "stillstill", "the connection serves on");
    Ok(())
}

/// What a client that keeps no time itself is told.
#[tokio::test]
async fn a_call_ends_when_its_time_is_over() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let mut hang = Request::new("hang".to_owned());
    hang.set_timeout(Duration::from_millis(100));
    let call = scene.client.unary(hang, PathAndQuery::from_static(UNARY), Text);
    let status = timeout(LONG, call).await?.err().context("it is answered")?;
    ensure!(status.code() == Code::Unavailable, "{status:?}");
    scene.is_over().await?;
    let seen =
        scene.bed.count("istio_requests_total", &[("grpc_response_status", "14"), ("reporter", "source")]).await?;
    ensure!((seen - 1.0).abs() < 0.5, "{seen} of the gateway's own");
    Ok(())
}
