//! What is counted of the requests that a SplitPolicy governs: each outcome provoked for real, read from `/evidence`.

use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::time::Duration;
use turnout_tests::bed::{Bed, KEY, PORT, documents};
use turnout_tests::client::{RawRequest, send};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;
use turnout_verdict::evidence::{Arm, Epoch, Failures, Page, total};

const DEADLINE: Duration = Duration::from_secs(20);
const NO_FAILURE: Failures = Failures { status: 0, gateway: 0, timeout: 0, reported: 0 };

/// Green is stable, and so many per cent are blue's, the candidate's.
fn split(blue: u32) -> String {
    let green = 100 - blue;
    format!(
        "- name: split\n  route:\n  - {{destination: {{host: green}}, weight: {green}}}\n  \
         - {{destination: {{host: blue}}, weight: {blue}}}"
    )
}

/// A policy for the rule of this name, whose candidate this is.
fn policy(rule: &str, candidate: &str, more: &str) -> String {
    format!(
        "---\napiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\nmetadata: {{name: {rule}, namespace: default}}\n\
         spec:\n  route: {{virtualService: scoring, http: {rule}}}\n  candidate: {{host: {candidate}}}\n  \
         salt: uid-1\n{more}"
    )
}

/// Serves these rules under a policy for `split`, whose candidate is blue.
async fn bed(rules: &str, more: &str, arguments: &[&str]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let documents = documents(&backends, rules) + &policy("split", "blue", more);
    Bed::over(backends, &documents, &[PORT], arguments).await
}

async fn page(gateway: &Gateway) -> anyhow::Result<Page> {
    let response = gateway.status("/evidence").await?;
    ensure!(response.header("content-type") == Some("application/json"), "{response:?}");
    serde_json::from_slice(&response.body).with_context(|| response.text())
}

/// The epochs of the only policy, by their revisions.
async fn epochs(gateway: &Gateway) -> anyhow::Result<BTreeMap<String, Epoch>> {
    let mut policies = page(gateway).await?.policies;
    ensure!(policies.len() == 1, "{policies:?}");
    let policy = policies.remove(0);
    ensure!((&*policy.policy, &*policy.salt) == ("default/split", "uid-1"), "{policy:?}");
    Ok(policy.epochs.into_iter().map(|epoch| (epoch.revision.clone(), epoch)).collect())
}

/// The only epoch of the only policy, once it has counted so many requests, eligible or not.
async fn settled(gateway: &Gateway, requests: u64) -> anyhow::Result<Epoch> {
    eventually(DEADLINE, || async {
        let epochs = epochs(gateway).await?;
        let [epoch] = &epochs.values().collect::<Vec<_>>()[..] else { anyhow::bail!("{epochs:?}") };
        let of = |arm: &Arm| arm.requests + arm.not_eligible;
        let counted = of(&epoch.stable) + of(&epoch.candidate);
        ensure!(counted == requests, "{counted} counted, not {requests}: {epoch:?}");
        Ok((*epoch).clone())
    })
    .await
}

/// How many requests each backend got.
fn received(bed: &Bed, name: &str) -> usize {
    bed.backends.received().iter().filter(|one| one.backend == name).count()
}

#[tokio::test]
async fn ten_requests_at_fifty_to_fifty_are_five_and_five() -> anyhow::Result<()> {
    let bed = bed(&split(50), "", &[]).await?;
    for _ in 0..10 {
        ensure!(bed.send(&RawRequest::post("/score", b"{}")).await?.status == 200);
    }
    assert_eq!((received(&bed, "green"), received(&bed, "blue")), (5, 5));
    let epoch = settled(&bed.gateway, 10).await?;
    assert!((epoch.candidate_share - 0.5).abs() < 1e-12, "{epoch:?}");
    for arm in [&epoch.stable, &epoch.candidate] {
        assert_eq!((arm.requests, arm.failures, arm.latency.total(), arm.not_eligible), (5, NO_FAILURE, 5, 0));
    }
    let metrics = bed.gateway.metrics().await?;
    for arm in ["stable", "candidate"] {
        for (class, expected) in [("ok", 5.0), ("status", 0.0), ("not_eligible", 0.0)] {
            let labels = [("policy", "default/split"), ("arm", arm), ("class", class)];
            assert_eq!(metrics.sum("turnout_evidence_requests_total", &labels), Some(expected), "{arm} {class}");
        }
        let labels = [("policy", "default/split"), ("arm", arm), ("le", "+Inf")];
        assert_eq!(metrics.sum("turnout_evidence_duration_milliseconds_bucket", &labels), Some(5.0), "{arm}");
    }
    Ok(())
}

/// The request has its target when its head has come, and ends only when the next table serves.
#[tokio::test]
async fn counts_go_on_over_a_reload_and_a_request_counts_where_it_was_assigned() -> anyhow::Result<()> {
    let mut bed = bed(&split(50), "", &["--workers", "1"]).await?;
    let first = bed.gateway.revisions().await?.active.context("it serves")?;
    for _ in 0..4 {
        bed.send(&RawRequest::get("/")).await?;
    }
    let mut late = bed.open().await?;
    let head = RawRequest::new("POST", "/").header("Host", "scoring.example.com").header("Content-Length", "4");
    late.send(&head.body(b"ab").to_bytes()).await?;
    bed.in_flight(1.0).await?;

    let next = documents(&bed.backends, &split(10)) + &policy("split", "blue", "");
    let second = bed.publish(&next).await?;
    for _ in 0..10 {
        bed.send(&RawRequest::get("/")).await?;
    }
    let counted = |epochs: &BTreeMap<String, Epoch>| {
        [&first, &second]
            .map(|revision| epochs.get(revision).map(|epoch| (epoch.stable.requests, epoch.candidate.requests)))
    };
    eventually(DEADLINE, || async {
        let epochs = epochs(&bed.gateway).await?;
        ensure!(counted(&epochs) == [Some((2, 2)), Some((9, 1))], "{epochs:?}");
        Ok(())
    })
    .await?;
    late.send(b"cd").await?;
    ensure!(late.response("POST").await?.status == 200);
    eventually(DEADLINE, || async {
        let epochs = epochs(&bed.gateway).await?;
        let [Some(old), Some(new)] = counted(&epochs) else { anyhow::bail!("{epochs:?}") };
        ensure!(old.0 + old.1 == 5 && new == (9, 1), "{epochs:?}");
        Ok(())
    })
    .await?;

    // The routes before are back, and so is their count.
    let before = documents(&bed.backends, &split(50)) + &policy("split", "blue", "");
    ensure!(bed.publish(&before).await? == first);
    for _ in 0..2 {
        bed.send(&RawRequest::get("/")).await?;
    }
    eventually(DEADLINE, || async {
        let epochs = epochs(&bed.gateway).await?;
        let [Some(old), Some(new)] = counted(&epochs) else { anyhow::bail!("{epochs:?}") };
        ensure!(old.0 + old.1 == 7 && new == (9, 1), "{epochs:?}");
        Ok(())
    })
    .await
}

/// All are the candidate's, so that each request counts for it.
#[tokio::test]
async fn each_way_to_fail_is_in_its_class() -> anyhow::Result<()> {
    let check = async |echo: &str, status: u16, expected: Failures| {
        // What is not to time out has no time-out.
        let timeout = if echo.starts_with("delay") { "\n  timeout: 300ms" } else { "" };
        let rule = split(100) + timeout + "\n  retries: {attempts: 0}";
        let bed = bed(&rule, "", &[]).await?;
        let answer = bed.send(&RawRequest::get("/").header("x-echo", echo)).await?;
        ensure!(answer.status == status, "{echo}: {answer:?}");
        let epoch = settled(&bed.gateway, 1).await?;
        assert_eq!(epoch.stable, Arm::default(), "{echo}");
        let Arm { requests, failures, not_eligible, latency, .. } = epoch.candidate;
        assert_eq!((requests, failures, not_eligible, latency.total()), (1, expected, 0, 1), "{echo}");
        let good = bed.count("turnout_evidence_requests_total", &[("arm", "candidate"), ("class", "ok")]).await?;
        ensure!((good > 0.5) == (expected == NO_FAILURE), "{echo}: {good} ok");
        Ok(())
    };
    check("", 200, NO_FAILURE).await?;
    check("status=404", 404, NO_FAILURE).await?;
    check("status=429", 429, NO_FAILURE).await?;
    check("status=500", 500, Failures { status: 1, ..NO_FAILURE }).await?;
    check("status=503", 503, Failures { status: 1, ..NO_FAILURE }).await?;
    check("close", 503, Failures { gateway: 1, ..NO_FAILURE }).await?;
    check("garbage", 502, Failures { gateway: 1, ..NO_FAILURE }).await?;
    check("close-mid-body", 200, Failures { gateway: 1, ..NO_FAILURE }).await?;
    check("delay=60s", 504, Failures { timeout: 1, ..NO_FAILURE }).await?;
    for word in ["True", "true"] {
        let echo = format!("header=x-ms-run-function-failed:{word}");
        check(&echo, 200, Failures { reported: 1, ..NO_FAILURE }).await?;
    }
    check("header=x-ms-run-function-failed:False", 200, NO_FAILURE).await?;
    check("status=400; header=x-ms-run-function-failed:True", 400, Failures { reported: 1, ..NO_FAILURE }).await
}

#[tokio::test]
async fn a_refused_connection_and_a_backend_without_endpoints_are_the_candidates_failures() -> anyhow::Result<()> {
    for candidate in ["dead", "empty"] {
        let backends = Backends::start().await?;
        let rule = split(50).replace("blue", candidate) + "\n  retries: {attempts: 0}";
        let documents = documents(&backends, &rule) + &policy("split", candidate, "");
        let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(bed.send(&RawRequest::get("/")).await?.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 503, 503], "{candidate}");
        let epoch = settled(&bed.gateway, 4).await?;
        assert_eq!((epoch.stable.requests, epoch.stable.failures), (2, NO_FAILURE), "{candidate}");
        let failures = Failures { gateway: 2, ..NO_FAILURE };
        assert_eq!((epoch.candidate.requests, epoch.candidate.failures), (2, failures), "{candidate}");
    }
    Ok(())
}

#[tokio::test]
async fn the_first_try_counts_whatever_a_retry_makes_of_it() -> anyhow::Result<()> {
    for (echo, expected) in [
        ("status=503; first=1", Failures { status: 1, ..NO_FAILURE }),
        ("close; first=1", Failures { gateway: 1, ..NO_FAILURE }),
        ("delay=60s; first=1", Failures { timeout: 1, ..NO_FAILURE }),
    ] {
        let timeout = if echo.starts_with("delay") { ", perTryTimeout: 1s" } else { "" };
        let rule = split(100) + "\n  retries: {attempts: 9, retryOn: \"5xx,reset\"" + timeout + "}";
        let bed = bed(&rule, "", &[]).await?;
        let answer = bed.send(&RawRequest::get("/").header("x-echo", echo)).await?;
        ensure!(answer.status == 200 && bed.received() > 1, "{echo}: {answer:?}, {} tries", bed.received());
        let candidate = settled(&bed.gateway, 1).await?.candidate;
        assert_eq!((candidate.requests, candidate.failures), (1, expected), "{echo}");
    }
    Ok(())
}

/// Else a client could have any model taken back.
#[tokio::test]
async fn a_call_whose_client_waits_for_less_long_than_its_rule_says_nothing_when_that_is_over() -> anyhow::Result<()> {
    for (timeout, patience, counted) in
        [("", "1n", (0, 1)), ("timeout: 60s", "300m", (0, 1)), ("timeout: 300ms", "60S", (1, 0))]
    {
        let bed = bed(&format!("{}\n  {timeout}", split(100)), "", &[]).await?;
        let call = RawRequest::post("/", b"x").header("content-type", "application/grpc").header("x-echo", "delay=60s");
        bed.send(&call.header("grpc-timeout", patience)).await?;
        let candidate = settled(&bed.gateway, 1).await?.candidate;
        assert_eq!((candidate.failures.timeout, candidate.not_eligible), counted, "{timeout} {patience}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_fails_by_its_status_in_the_head_or_in_trailers() -> anyhow::Result<()> {
    for (echo, failures) in [
        ("header=grpc-status:14; status=200", 1),
        ("header=grpc-status:5", 0),
        ("header=Trailer:grpc-status; trailer=grpc-status:13", 1),
        ("header=Trailer:grpc-status; trailer=grpc-status:0", 0),
    ] {
        for (content_type, failures) in [("application/grpc", failures), ("application/json", 0)] {
            let bed = bed(&(split(100) + "\n  retries: {attempts: 0}"), "", &[]).await?;
            let call = RawRequest::post("/", b"x").header("content-type", content_type).header("x-echo", echo);
            bed.send(&call.header("te", "trailers").header("connection", "te")).await?;
            let candidate = settled(&bed.gateway, 1).await?.candidate;
            let expected = Failures { status: failures, ..NO_FAILURE };
            assert_eq!((candidate.requests, candidate.failures), (1, expected), "{content_type}, {echo}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_and_what_the_gateway_refuses_say_nothing_of_the_model() -> anyhow::Result<()> {
    let bed = bed(&split(100), "", &["--max-body-bytes", "10"]).await?;
    let mut client = bed.open().await?;
    client.send(&RawRequest::get("/").header("x-echo", "delay=600s").to_bytes()).await?;
    bed.in_flight(1.0).await?;
    drop(client);
    let refused = bed.send(&RawRequest::post("/", b"more than ten bytes")).await?;
    ensure!(refused.status == 413, "{refused:?}");
    let candidate = settled(&bed.gateway, 2).await?.candidate;
    assert_eq!(candidate, Arm { not_eligible: 2, ..Arm::default() });
    Ok(())
}

#[tokio::test]
async fn pinned_requests_and_copies_are_not_counted_among_those_that_the_split_assigned() -> anyhow::Result<()> {
    let rules = format!(
        "- match: [{{headers: {{x-api-version: {{exact: blue}}}}}}]\n  route: [{{destination: {{host: blue}}}}]\n{}",
        split(50)
    );
    let pinning = "  override: {header: x-api-version, from: [127.0.0.0/8]}\n";
    let bed = bed(&rules, pinning, &["--trusted-proxies", "127.0.0.0/8"]).await?;
    for _ in 0..5 {
        let pinned = bed.send(&RawRequest::get("/").header("x-api-version", "blue")).await?;
        ensure!(pinned.backend() == Some("blue"), "{pinned:?}");
        // Another gateway's.
        bed.send(&RawRequest::get("/").header("x-turnout-shadow", "1")).await?;
    }
    bed.send(&RawRequest::get("/")).await?;
    let epoch = settled(&bed.gateway, 6).await?;
    assert_eq!(epoch.stable.requests + epoch.candidate.requests, 1, "{epoch:?}");
    assert_eq!(epoch.stable.not_eligible + epoch.candidate.not_eligible, 5, "{epoch:?}");
    Ok(())
}

#[tokio::test]
async fn a_sticky_client_is_given_its_cookie_once_and_stays() -> anyhow::Result<()> {
    let bed = bed(&split(50), "  assign: {by: {cookie: user}}\n", &[]).await?;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let first = bed.send(&RawRequest::get("/")).await?;
        let cookie = first.header("set-cookie").with_context(|| format!("{first:?}"))?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        ensure!(cookie.starts_with("user="), "{cookie}");
        let backend = first.backend().map(str::to_owned);
        for _ in 0..5 {
            let again = bed.send(&RawRequest::get("/").header("Cookie", &cookie)).await?;
            ensure!(again.backend() == backend.as_deref(), "{cookie}: {again:?}, not {backend:?}");
            ensure!(again.header("set-cookie").is_none(), "{again:?}");
        }
        seen.push(cookie);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20, "each client has its own");
    let epoch = settled(&bed.gateway, 120).await?;
    assert_eq!(epoch.stable.requests + epoch.candidate.requests, 120);
    Ok(())
}

/// Else a client whose model fails would be assigned anew, until it comes to the other one.
#[tokio::test]
async fn a_sticky_client_is_given_its_cookie_when_the_gateway_answers_for_its_model() -> anyhow::Result<()> {
    let bed = bed(&split(100), "  assign: {by: {cookie: user}}\n", &[]).await?;
    let answer = bed.send(&RawRequest::get("/").header("x-echo", "close")).await?;
    assert_eq!((answer.status, answer.header("set-cookie").is_some()), (503, true), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_without_a_policy_or_without_a_candidate_counts_nothing() -> anyhow::Result<()> {
    let bed = Bed::start(&split(50), &[]).await?;
    bed.send(&RawRequest::get("/")).await?;
    assert_eq!(page(&bed.gateway).await?.policies, []);
    assert_eq!(bed.gateway.metrics().await?.sum("turnout_evidence_requests_total", &[]), None);

    let backends = Backends::start().await?;
    let roleless = policy("split", "blue", "").replace("  candidate: {host: blue}\n", "");
    let documents = documents(&backends, &split(50)) + &roleless;
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    for _ in 0..10 {
        bed.send(&RawRequest::get("/")).await?;
    }
    assert_eq!((received(&bed, "green"), received(&bed, "blue")), (5, 5));
    settled(&bed.gateway, 0).await?;
    Ok(())
}

#[tokio::test]
async fn the_pages_of_several_gateways_add_up() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let documents = documents(&backends, &split(50)) + &policy("split", "blue", "");
    let routes = KubeletMount::new(&[(KEY, documents.as_bytes())])?;
    let mut pages = Vec::new();
    for requests in [4, 6] {
        let gateway = GatewayCommand::new(routes.path()).listen(PORT).start().await?;
        for _ in 0..requests {
            ensure!(send(gateway.address(PORT), &RawRequest::get("/")).await?.status == 200);
        }
        settled(&gateway, requests).await?;
        pages.push(page(&gateway).await?);
    }
    assert_ne!(pages[0].instance, pages[1].instance);
    let together = total(&pages);
    let epoch = &together[0].epochs[0];
    assert_eq!((together.len(), together[0].epochs.len()), (1, 1));
    assert_eq!((epoch.stable.requests, epoch.candidate.requests, epoch.stable.latency.total()), (5, 5, 5));
    Ok(())
}
