//! `/backends` on the status port: what whoever drives a rollout must know of a gateway before it takes the next step.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use turnout_tests::bed::{Bed, KEY, PORT, documents};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::GatewayCommand;
use turnout_tests::mount::KubeletMount;

const LONG: Duration = Duration::from_secs(10);
const BLUE: &str = "blue.default.svc.cluster.local:5001";
const GREEN: &str = "green.default.svc.cluster.local:5001";

/// A rule that pins to blue, and a split with these weights, which has a name.
fn rules(name: &str, green: u32, blue: u32) -> String {
    format!(
        "- match: [{{headers: {{x-version: {{exact: blue}}}}}}]\n  route: [{{destination: {{host: blue}}}}]\n\
         - name: {name}\n  route: [{{destination: {{host: green}}, weight: {green}}}, \
         {{destination: {{host: blue}}, weight: {blue}}}]"
    )
}

async fn page(bed: &Bed) -> anyhow::Result<Value> {
    bed.gateway.status("/backends").await?.json()
}

/// What the page says of a backend; null if it does not name it.
async fn told(bed: &Bed, backend: &str) -> anyhow::Result<Value> {
    let page = page(bed).await?;
    let backends = page["backends"].as_array().cloned().unwrap_or_default();
    Ok(backends.into_iter().find(|told| told["backend"] == backend).unwrap_or_default())
}

/// Waits until the page says this of what is in flight at a backend; of one that it does not name: null.
async fn in_flight(bed: &Bed, backend: &str, expected: Value) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let told = told(bed, backend).await?;
        ensure!(told["inFlight"] == expected, "{told}");
        Ok(())
    })
    .await
}

/// A request that its backend does not answer.
async fn held(bed: &Bed, pinned: bool) -> anyhow::Result<RawConnection> {
    let request = RawRequest::get("/").header("x-echo", "delay=600s");
    let request = if pinned { request.header("x-version", "blue") } else { request };
    let mut client = bed.open().await?;
    client.send(&request.to_bytes()).await?;
    Ok(client)
}

#[tokio::test]
async fn requests_in_flight_are_told_apart_by_the_rule_that_sent_them_whatever_it_is_called_now() -> anyhow::Result<()>
{
    let mut bed = Bed::start(&rules("old", 0, 100), &[]).await?;
    let split = held(&bed, false).await?;
    let pinned = [held(&bed, true).await?, held(&bed, true).await?];
    let by = |route: &str, requests: u32| {
        let by_weight = route.contains('(');
        json!({"route": format!("default/scoring {route}"), "byWeight": by_weight, "requests": requests})
    };
    let three = json!([by("spec.http[0]", 2), by("spec.http[1] (old)", 1)]);
    in_flight(&bed, BLUE, three.clone()).await?;

    // The rule has another name, and then the table names blue no more.
    let renamed = documents(&bed.backends, &rules("new", 0, 100));
    let elsewhere = documents(&bed.backends, "- route: [{destination: {host: green}}]");
    for documents in [&renamed, &elsewhere, &renamed] {
        bed.publish(documents).await?;
        assert_eq!(told(&bed, BLUE).await?["inFlight"], three);
        assert_eq!(bed.count("turnout_requests_in_flight", &[("backend", BLUE)]).await?.to_string(), "3");
    }
    let next = held(&bed, false).await?;
    let four = json!([by("spec.http[0]", 2), by("spec.http[1] (new)", 1), by("spec.http[1] (old)", 1)]);
    in_flight(&bed, BLUE, four).await?;
    drop(split);
    in_flight(&bed, BLUE, json!([by("spec.http[0]", 2), by("spec.http[1] (new)", 1)])).await?;
    drop(pinned);
    in_flight(&bed, BLUE, json!([by("spec.http[1] (new)", 1)])).await?;

    bed.publish(&elsewhere).await?;
    let dropped = told(&bed, BLUE).await?;
    assert_eq!((&dropped["weights"], &dropped["inFlight"]), (&json!([]), &json!([by("spec.http[1] (new)", 1)])));
    drop(next);
    in_flight(&bed, BLUE, Value::Null).await
}

/// Where rules have no names, one is called what another was called in an older table.
#[tokio::test]
async fn how_a_request_came_is_told_whatever_its_rule_is_called_now() -> anyhow::Result<()> {
    let split = "- route: [{destination: {host: green}, weight: 0}, {destination: {host: blue}, weight: 100}]";
    let pin = "- match: [{headers: {x-version: {exact: blue}}}]\n  route: [{destination: {host: blue}}]";
    let mut bed = Bed::start(split, &[]).await?;
    let _by_weight = held(&bed, false).await?;
    let of = |by_weight: bool| json!({"route": "default/scoring spec.http[0]", "byWeight": by_weight, "requests": 1});
    in_flight(&bed, BLUE, json!([of(true)])).await?;
    bed.publish(&documents(&bed.backends, &format!("{pin}\n{split}"))).await?;
    let _by_name = held(&bed, true).await?;
    in_flight(&bed, BLUE, json!([of(false), of(true)])).await
}

#[tokio::test]
async fn the_page_says_what_a_backend_gets_and_where_it_is() -> anyhow::Result<()> {
    let rules = format!(
        "{}\n- match: [{{uri: {{exact: /none}}}}]\n  route: [{{destination: {{host: empty}}}}]\n\
         - match: [{{uri: {{exact: /absent}}}}]\n  route: [{{destination: {{host: green, subset: v2}}}}]",
        // A rule without a match would hide those after it.
        rules("split", 80, 20).replace("- name: split", "- name: split\n  match: [{uri: {prefix: /score}}]")
    );
    let mut bed = Bed::start(&rules, &[]).await?;
    let revision = bed.gateway.revisions().await?.active;
    let there = turnout_routes::address_digest([std::net::Ipv4Addr::LOCALHOST.into()]);
    let weight = |rule: &str, weight: u32| json!({"route": format!("default/scoring {rule}"), "weight": weight});
    let backend = |name: &str, endpoints: usize, weights: Value| {
        let digest = if endpoints > 0 { there } else { 0 };
        json!({"backend": name, "endpoints": endpoints, "endpointsDigest": digest, "weights": weights, "inFlight": []})
    };
    let backends = json!([
        backend(BLUE, 1, json!([weight("spec.http[0]", 1), weight("spec.http[1] (split)", 20)])),
        backend("empty.default.svc.cluster.local:5001", 0, json!([weight("spec.http[2]", 1)])),
        backend("green.default.svc.cluster.local/v2", 0, json!([weight("spec.http[3]", 1)])),
        backend(GREEN, 1, json!([weight("spec.http[1] (split)", 80)])),
    ]);
    assert_eq!(page(&bed).await?, json!({"revision": revision, "backends": backends}));
    let answer = bed.gateway.status("/backends").await?;
    assert_eq!(answer.header("content-type"), Some("application/json"));

    // A file that is refused changes nothing.
    bed.routes.swap(&[(KEY, b"kind: Nonsense")])?;
    bed.gateway.wait_for_rejection().await?;
    assert_eq!(page(&bed).await?, json!({"revision": revision, "backends": backends}));
    Ok(())
}

#[tokio::test]
async fn before_the_first_table_there_is_a_page_without_backends() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let mut routes = KubeletMount::new(&[(KEY, b"{")])?;
    let gateway = GatewayCommand::new(routes.path()).listen(PORT).spawn().await?;
    gateway.wait_for_rejection().await?;
    let page = gateway.status("/backends").await?;
    assert_eq!((page.status, page.json()?), (200, json!({"revision": null, "backends": []})));
    routes.swap(&[(KEY, documents(&backends, &rules("split", 1, 1)).as_bytes())])?;
    gateway.wait_until_ready().await?;
    assert_eq!(gateway.status("/backends").await?.json()?["backends"].as_array().map(Vec::len), Some(2));
    Ok(())
}
