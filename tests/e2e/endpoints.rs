//! What a DestinationRule says of the endpoints of a service: which are left out for a while, how much is asked of them at a
//! time, and that a hash leads to the same one on every worker and after every change of the others. How they are chosen
//! otherwise is in the cases recorded from Istio.

use anyhow::ensure;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::{self, RawRequest, RawResponse};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;

const DEADLINE: Duration = Duration::from_secs(20);

/// Rules that send to `model`, once.
const TO_MODEL: &str = "- retries: {attempts: 0}\n  route: [{destination: {host: model}}]";

/// A service `model` with these of the backends as endpoints, and this policy.
fn model(backends: &Backends, names: &[&str], policy: &str) -> String {
    let endpoints: Vec<_> = names.iter().map(|name| backends.address(name)).collect();
    service("model", &endpoints) + &destination_rule(policy)
}

fn destination_rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: model, namespace: default}}\n\
         spec:\n  host: model\n  trafficPolicy: {{{policy}}}\n---\n"
    )
}

async fn start(names: &[&str], policy: &str, http: &str, arguments: &[&str]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let documents = model(&backends, names, policy) + &virtual_service(http);
    Bed::over(backends, &documents, &[PORT], arguments).await
}

fn get(echo: &str) -> RawRequest {
    RawRequest::new("GET", "/").header("Host", "scoring.example.com").header("x-echo", echo)
}

/// Sends so many, one after the other, and counts who answered with what.
async fn answers(bed: &Bed, request: &RawRequest, count: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        let answer = bed.send(request).await?;
        *counts.entry(format!("{} {}", answer.backend().unwrap_or("-"), answer.status)).or_default() += 1;
    }
    Ok(counts)
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.map(|(answer, count)| (answer.to_owned(), count)).into()
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_after_the_number_and_comes_back_after_the_time() -> anyhow::Result<()> {
    let policy = "loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3, interval: 100ms, \
                  baseEjectionTime: 5s, maxEjectionPercent: 100}";
    let bed = start(&["green", "blue"], policy, TO_MODEL, &["--workers", "2"]).await?;
    // What one worker sees of it, all know.
    let seen = answers(&bed, &get("status=500; only=green"), 20).await?;
    ensure!(seen == counts([("blue 200", 17), ("green 500", 3)]), "{seen:?}");
    let left_out = answers(&bed, &get(""), 10).await?;
    ensure!(left_out == counts([("blue 200", 10)]), "{left_out:?}");
    let told = bed.gateway.status("/backends").await?.json()?;
    ensure!(told["backends"][0]["ejected"] == 1, "{told}");
    let ejections = [("backend", "model.default.svc.cluster.local:5001"), ("cause", "server_errors")];
    ensure!(bed.count("turnout_outlier_ejections_total", &ejections).await?.total_cmp(&1.0).is_eq());
    eventually(DEADLINE, || async {
        let back = bed.send(&get("")).await?;
        ensure!(back.backend() == Some("green"), "it is not back");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_fails_without_an_answer_ejects_too() -> anyhow::Result<()> {
    let policy = "loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutiveGatewayErrors: 2, \
                  consecutive5xxErrors: 0, baseEjectionTime: 60s, maxEjectionPercent: 100}";
    for (echo, timeout, status) in [("close", "", 503), ("delay=5s", "  timeout: 1s\n", 504), ("garbage", "", 502)] {
        let http = format!("- retries: {{attempts: 0}}\n{timeout}  route: [{{destination: {{host: model}}}}]");
        let bed = start(&["green", "blue"], policy, &http, &[]).await?;
        let seen = answers(&bed, &get(&format!("{echo}; only=green")), 10).await?;
        ensure!(seen == counts([("blue 200", 8), (&format!("- {status}"), 2)]), "{echo}: {seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_share_is_ejected_and_nobody_where_too_few_would_be_left() -> anyhow::Result<()> {
    let names = ["green", "blue", "red", "mirror"];
    for (policy, still_asked) in [("maxEjectionPercent: 50", 2), ("maxEjectionPercent: 100, minHealthPercent: 60", 4)] {
        let policy = format!(
            "loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{consecutive5xxErrors: 1, baseEjectionTime: 60s, {policy}}}"
        );
        let bed = start(&names, &policy, TO_MODEL, &[]).await?;
        answers(&bed, &get("status=500"), 12).await?;
        let asked = answers(&bed, &get(""), 12).await?;
        ensure!(asked.len() == still_asked, "{policy}: {asked:?}");
    }
    Ok(())
}

/// The version whose endpoints are all ejected gets 503: its share is not given to the other.
#[tokio::test]
async fn an_ejection_never_changes_the_split_between_versions() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let policy = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}";
    let http = "- retries: {attempts: 0}\n  route:\n  - {destination: {host: model}, weight: 50}\n  \
                - {destination: {host: red}, weight: 50}";
    let documents = model(&backends, &["green"], policy) + &service("red", &[backends.address("red")]);
    let bed = Bed::over(backends, &(documents + &virtual_service(http)), &[PORT], &[]).await?;
    let seen = answers(&bed, &get("status=500; only=green"), 200).await?;
    let of_red = seen.get("red 200").copied().unwrap_or_default();
    ensure!(seen.get("green 500") == Some(&1) && seen.get("- 503") == Some(&(199 - of_red)), "{seen:?}");
    // Six standard errors.
    ensure!((58..=142).contains(&of_red), "{seen:?}");
    Ok(())
}

/// So many at a time.
async fn at_once(bed: &Bed, request: &RawRequest, count: usize) -> anyhow::Result<Vec<RawResponse>> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let (address, request) = (bed.address(), request.clone());
        asking.spawn(async move { client::send(address, &request).await });
    }
    Ok(asking.join_all().await.into_iter().collect::<Result<_, _>>()?)
}

fn with_status(answers: &[RawResponse], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test]
async fn requests_wait_for_a_connection_and_too_many_that_wait_are_refused() -> anyhow::Result<()> {
    for (limit, served) in [("", 7), (", http: {http1MaxPendingRequests: 3}", 5)] {
        let policy = format!("connectionPool: {{tcp: {{maxConnections: 2}}{limit}}}");
        let bed = start(&["green"], &policy, TO_MODEL, &["--workers", "1"]).await?;
        let answers = at_once(&bed, &get("delay=1s"), 7).await?;
        ensure!(with_status(&answers, 200) == served, "{limit}: {answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            let reason = refused.header("x-turnout-reason");
            ensure!(refused.status == 503 && reason == Some("overflow"), "{refused:?}");
        }
        let connections = bed.backends.received().iter().map(|one| one.connection).max();
        ensure!(connections == Some(2), "{limit}: {connections:?} connections");
        let overflows = bed.count("turnout_upstream_overflows_total", &[("limit", "pending")]).await?;
        ensure!(overflows.total_cmp(&f64::from(u8::try_from(7 - served)?)).is_eq(), "{limit}: {overflows}");
        // Nothing of it is left.
        ensure!(bed.send(&get("")).await?.status == 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_that_gives_up_waiting_leaves_its_place_to_the_next() -> anyhow::Result<()> {
    let policy = "connectionPool: {tcp: {maxConnections: 1}}, outlierDetection: {consecutive5xxErrors: 1, \
                  maxEjectionPercent: 100}";
    let http = "- match: [{uri: {prefix: /hurry}}]\n  timeout: 200ms\n  route: [{destination: {host: model}}]\n\
                - route: [{destination: {host: model}}]";
    let bed = start(&["green"], policy, http, &["--workers", "1"]).await?;
    let hurry = RawRequest::new("GET", "/hurry").header("Host", "a");
    let slow = tokio::spawn({
        let (address, request) = (bed.address(), get("delay=3s"));
        async move { client::send(address, &request).await }
    });
    eventually(DEADLINE, || async {
        ensure!(bed.received() == 1, "it has not come yet");
        Ok(())
    })
    .await?;
    let hurried = at_once(&bed, &hurry, 5).await?;
    ensure!(with_status(&hurried, 504) == 5, "{hurried:?}");
    // Nor was the endpoint to blame: it never had them.
    let patient = at_once(&bed, &get(""), 5).await?;
    ensure!(slow.await??.status == 200 && with_status(&patient, 200) == 5, "{patient:?}");
    Ok(())
}

#[tokio::test]
async fn requests_and_retries_in_flight_are_limited() -> anyhow::Result<()> {
    let bed = start(&["green"], "connectionPool: {http: {http2MaxRequests: 3}}", TO_MODEL, &["--workers", "2"]).await?;
    let answers = at_once(&bed, &get("delay=2s"), 10).await?;
    ensure!(with_status(&answers, 200) == 3 && with_status(&answers, 503) == 7, "{answers:?}");

    // Each of the first tries fails, and so do the retries that there is room for; the others pass on what came.
    let http = "- retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}\n  route: [{destination: {host: model}}]";
    let bed = start(&["green"], "connectionPool: {http: {maxRetries: 2}}", http, &["--workers", "2"]).await?;
    let answers = at_once(&bed, &get("status=500; delay=2s"), 8).await?;
    ensure!(with_status(&answers, 500) == 8 && bed.received() == 10, "{} tries: {answers:?}", bed.received());
    let overflows = bed.count("turnout_upstream_overflows_total", &[("limit", "retries")]).await?;
    ensure!(overflows.total_cmp(&6.0).is_eq(), "{overflows}");
    Ok(())
}

#[tokio::test]
async fn an_old_connection_is_given_no_further_request() -> anyhow::Result<()> {
    let policy = "connectionPool: {tcp: {maxConnectionDuration: 2s}}";
    let bed = start(&["green"], policy, TO_MODEL, &["--workers", "1"]).await?;
    for _ in 0..2 {
        bed.send(&get("")).await?;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    bed.send(&get("")).await?;
    let connections: Vec<_> = bed.backends.received().iter().map(|one| one.connection).collect();
    ensure!(connections == [1, 1, 2], "{connections:?}");
    Ok(())
}

#[tokio::test]
async fn a_hash_leads_to_the_same_endpoint_on_every_worker_and_gateway() -> anyhow::Result<()> {
    let names = ["green", "blue", "red"];
    let policy = "loadBalancer: {consistentHash: {httpHeaderName: x-user}}";
    let backends = Backends::start().await?;
    let documents = model(&backends, &names, policy) + &virtual_service(TO_MODEL);
    let mut bed = Bed::over(backends, &documents, &[PORT], &["--workers", "2"]).await?;
    let mut asked = BTreeMap::new();
    for user in 0..40 {
        let request = get("").header("x-user", &format!("user-{user}"));
        let seen = answers(&bed, &request, 3).await?;
        ensure!(seen.len() == 1, "user {user}: {seen:?}");
        asked.insert(user, seen);
    }
    ensure!(asked.values().collect::<std::collections::BTreeSet<_>>().len() == 3, "{asked:?}");

    // In another order they are the same endpoints.
    let reordered = model(&bed.backends, &["red", "green", "blue"], policy) + &virtual_service(TO_MODEL);
    bed.publish(&reordered).await?;
    for (user, seen) in asked {
        let again = answers(&bed, &get("").header("x-user", &format!("user-{user}")), 3).await?;
        ensure!(again == seen, "user {user}: {again:?}, before {seen:?}");
    }
    Ok(())
}
