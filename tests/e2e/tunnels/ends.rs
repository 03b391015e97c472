//! How tunnels end: by either side, by a limit, and with the gateway.

use super::scene::{LONG, Scene, Tunnel, bytes, expect, expect_end};
use anyhow::{Context as _, ensure};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use turnout_tests::gateway::DEADLINE;

/// Far longer than any test waits.
const HOURS: &str = "36000000";

/// What one side does, and what is said of it.
const TABLE: [(&str, &str, &str); 4] =
    [("client", "close", "DC"), ("client", "reset", "DC"), ("backend", "close", "-"), ("backend", "reset", "UC")];

#[tokio::test]
async fn the_end_of_one_side_is_the_others_and_is_told_with_what_has_passed() -> anyhow::Result<()> {
    for (who, how, flags) in TABLE {
        let scene = Scene::start("", "", &[]).await?;
        let Tunnel { mut client, mut backend } = scene.open().await?;
        scene.bed.in_flight(1.0).await?;
        client.write_all(b"hello").await?;
        expect(&mut backend, b"hello").await?;
        backend.write_all(b"goodbye").await?;
        expect(&mut client, b"goodbye").await?;
        let (ends, mut other) = if who == "client" { (client, backend) } else { (backend, client) };
        if how == "reset" {
            ends.set_zero_linger()?;
        }
        drop(ends);
        expect_end(&mut other).await?;
        drop(other);
        scene.bed.in_flight(0.0).await?;
        let [entry] = &scene.log(1).await?[..] else { unreachable!("there is one") };
        let seen = (&entry["status"], &entry["flags"], &entry["request_bytes"], &entry["response_bytes"]);
        ensure!(seen == (&101.into(), &flags.into(), &5.into(), &7.into()), "{who} {how}: {entry}");
        let labels = [("reporter", "source"), ("response_code", "101"), ("response_flags", flags)];
        let counted = scene.bed.count("istio_requests_total", &labels).await?;
        ensure!(counted.total_cmp(&1.0).is_eq(), "{who} {how}: {counted}");
    }
    Ok(())
}

#[tokio::test]
async fn a_side_that_has_ended_its_own_direction_still_gets_the_other() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &[]).await?;
    for client_first in [true, false] {
        let Tunnel { client, backend } = scene.open().await?;
        let (mut first, mut second) = if client_first { (client, backend) } else { (backend, client) };
        first.write_all(b"last").await?;
        first.shutdown().await?;
        expect(&mut second, b"last").await?;
        expect_end(&mut second).await?;
        for word in [&b"still"[..], b"here"] {
            second.write_all(word).await?;
            expect(&mut first, word).await?;
        }
        second.shutdown().await?;
        expect_end(&mut first).await?;
    }
    Ok(())
}

/// A backend that closes with something unread resets the connection, while the client goes on sending.
#[tokio::test]
async fn a_backends_last_word_is_passed_on_although_it_takes_nothing_more() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &[]).await?;
    for _ in 0..20 {
        let Tunnel { mut client, mut backend } = scene.open().await?;
        client.write_all(b"unread").await?;
        backend.readable().await?;
        backend.write_all(b"last").await?;
        drop(backend);
        let _ = client.write_all(&vec![0; 50_000]).await;
        expect(&mut client, b"last").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_to_a_backend_that_is_gone_keeps_nothing_open() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &["--response-stall-timeout-ms", "250"]).await?;
    for how in ["close", "reset"] {
        let Tunnel { mut client, backend } = scene.open().await?;
        if how == "reset" {
            backend.set_zero_linger()?;
        }
        drop(backend);
        let trickles = async {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, trickles).await.with_context(|| format!("{how}: it stays open"))?;
        scene.bed.in_flight(0.0).await?;
    }
    Ok(())
}

/// Sends until it cannot any more.
async fn fill(stream: &mut TcpStream) -> anyhow::Result<io::Error> {
    let filled = timeout(LONG, async {
        loop {
            if let Err(error) = stream.write_all(&bytes(65_536)).await {
                return error;
            }
        }
    });
    filled.await.context("it stays open")
}

#[tokio::test]
async fn a_side_that_takes_nothing_is_given_up() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &["--response-stall-timeout-ms", "250"]).await?;
    for client_fills in [true, false] {
        let Tunnel { mut client, mut backend } = scene.open().await?;
        let (filling, _idle) = if client_fills { (&mut client, &mut backend) } else { (&mut backend, &mut client) };
        fill(filling).await?;
        scene.bed.in_flight(0.0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tunnel_through_which_nothing_goes_is_ended() -> anyhow::Result<()> {
    for (argument, half_closed) in [("--tunnel-idle-timeout-ms", false), ("--response-stall-timeout-ms", true)] {
        let scene = Scene::start("", "", &[argument, "250"]).await?;
        let mut tunnel = scene.open().await?;
        if half_closed {
            tunnel.client.shutdown().await?;
        }
        expect_end(&mut tunnel.backend).await?;
        expect_end(&mut tunnel.client).await?;
        let flags = if half_closed { "DC" } else { "SI" };
        ensure!(scene.log(1).await?[0]["flags"] == flags);
    }
    Ok(())
}

#[tokio::test]
async fn a_rules_time_out_is_for_the_agreement_alone() -> anyhow::Result<()> {
    let scene = Scene::start("timeout: 100ms", "", &[]).await?;
    let mut tunnel = scene.open().await?;
    // Each of these takes as long as the rule allows.
    for _ in 0..3 {
        let mut asking = scene.bed.open().await?;
        asking.send(&super::handshake("/late").to_bytes()).await?;
        let (mut late, _) = scene.accept().await?;
        ensure!(asking.response("GET").await?.status == 504);
        expect_end(&mut late).await?;
    }
    tunnel.client.write_all(b"ping").await?;
    expect(&mut tunnel.backend, b"ping").await
}

#[tokio::test]
async fn tunnels_go_on_while_the_gateway_drains_and_end_with_it() -> anyhow::Result<()> {
    for (drain_ms, is_cut) in [(HOURS, false), ("500", true)] {
        let scene = Scene::start("", "", &["--shutdown-delay-ms", "0", "--drain-timeout-ms", drain_ms]).await?;
        let mut tunnel = scene.open().await?;
        let mut idle = scene.bed.open().await?;
        scene.bed.gateway.signal("TERM")?;
        ensure!(idle.is_closed_within(DEADLINE).await, "an idle connection is closed on the way");
        if !is_cut {
            tunnel.client.write_all(b"ping").await?;
            expect(&mut tunnel.backend, b"ping").await?;
            drop(tunnel.client);
        }
        expect_end(&mut tunnel.backend).await?;
        drop(tunnel.backend);
        ensure!(scene.bed.gateway.wait_until_exit(DEADLINE).await?.success());
        ensure!(scene.log(1).await?[0]["flags"] == "DC");
    }
    Ok(())
}

#[tokio::test]
async fn a_handshake_during_the_drain_is_not_told_to_close() -> anyhow::Result<()> {
    let scene = Scene::start("", "", &["--shutdown-delay-ms", HOURS]).await?;
    scene.bed.gateway.signal("TERM")?;
    turnout_tests::eventually(Duration::from_secs(10), || async {
        let status = scene.bed.gateway.status("/readyz").await?.status;
        ensure!(status == 503, "/readyz says {status}");
        Ok(())
    })
    .await?;
    let mut connection = scene.bed.open().await?;
    connection.send(&super::handshake("/chat").to_bytes()).await?;
    let (mut backend, _) = scene.accept().await?;
    backend.write_all(super::scene::AGREED.as_bytes()).await?;
    let answer = connection.response("GET").await?;
    ensure!((answer.status, answer.headers.values("connection")) == (101, vec!["Upgrade"]), "{answer:?}");
    Ok(())
}
