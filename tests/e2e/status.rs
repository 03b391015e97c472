//! The gateway's own ports: alive, ready, which revision, Istio's metrics and the gateway's own, and what admin explains.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use turnout_routes::{Source, revision};
use turnout_tests::bed::{Bed, KEY, PORT, TO_GREEN, documents};
use turnout_tests::client::{RawRequest, send};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::GatewayCommand;
use turnout_tests::mount::KubeletMount;

const LONG: Duration = Duration::from_secs(10);

/// The second is where load balancers that were set up for Istio's gateway ask.
const READY: [&str; 2] = ["/readyz", "/healthz/ready"];

#[tokio::test]
async fn a_bad_file_at_start_is_not_ready_until_it_is_repaired() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    for bad in ["not: a document", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {hosst: []}\n", "{"]
    {
        let mut routes = KubeletMount::new(&[(KEY, bad.as_bytes())])?;
        let gateway = GatewayCommand::new(routes.path()).listen(PORT).spawn().await?;
        let rejected = gateway.wait_for_rejection().await?;
        assert!(rejected.reason.contains(KEY), "{rejected:?}");
        assert_eq!(gateway.status("/livez").await?.status, 200);
        for ready in READY {
            assert_eq!(gateway.status(ready).await?.status, 503, "{ready}");
        }
        assert_eq!(gateway.revisions().await?.active, None);
        let refused = send(gateway.address(PORT), &RawRequest::get("/")).await?;
        assert_eq!((refused.status, refused.header("x-turnout-reason")), (503, Some("no_routes")));
        assert_eq!(gateway.metrics().await?.sum("turnout_routes_rejected", &[]), Some(1.0));
        assert_eq!(gateway.admin("/routes").await?.status, 503);

        let good = documents(&backends, TO_GREEN);
        routes.swap(&[(KEY, good.as_bytes())])?;
        gateway.wait_until_ready().await?;
        for ready in READY {
            assert_eq!(gateway.status(ready).await?.status, 200, "{ready}");
        }
        assert_eq!(send(gateway.address(PORT), &RawRequest::get("/")).await?.status, 200);
        let revisions = gateway.revisions().await?;
        assert_eq!(revisions.active, Some(revision(&[Source { name: KEY, bytes: good.as_bytes() }])));
        assert!(revisions.rejected.is_none());
        assert_eq!(gateway.metrics().await?.sum("turnout_routes_rejected", &[]), Some(0.0));
    }
    Ok(())
}

#[tokio::test]
async fn the_revision_tells_what_serves_and_what_was_refused() -> anyhow::Result<()> {
    let mut bed = Bed::start(TO_GREEN, &[]).await?;
    let good = documents(&bed.backends, TO_GREEN);
    let active = revision(&[Source { name: KEY, bytes: good.as_bytes() }]);
    bed.routes.swap(&[(KEY, b"kind: Nonsense")])?;
    let rejected = bed.gateway.wait_for_rejection().await?;
    assert_eq!(rejected.revision, Some(revision(&[Source { name: KEY, bytes: b"kind: Nonsense" }])));
    let told = bed.gateway.status("/revision").await?.json()?;
    assert_eq!((&told["active"], told["language"].is_u64()), (&active.clone().into(), true), "{told}");
    assert_eq!(bed.send(&RawRequest::get("/")).await?.status, 200);
    let metrics = bed.gateway.metrics().await?;
    assert_eq!(metrics.sum("turnout_routes_revision", &[("revision", &active)]), Some(1.0));
    assert_eq!(metrics.sum("turnout_routes_revision", &[]), Some(1.0), "one revision serves");
    assert_eq!(metrics.sum("turnout_reloads_total", &[("result", "rejected")]), Some(1.0));
    assert_eq!(metrics.sum("turnout_reloads_total", &[("result", "published")]), Some(1.0));
    Ok(())
}

#[tokio::test]
async fn the_revision_warns_of_what_the_table_that_serves_cannot_serve() -> anyhow::Result<()> {
    let mut bed = Bed::start(TO_GREEN, &[]).await?;
    let good = documents(&bed.backends, TO_GREEN);
    let lacking = documents(&bed.backends, "- route: [{destination: {host: green, subset: v2}}]");
    let warnings = async |bed: &Bed| anyhow::Ok(bed.gateway.status("/revision").await?.json()?["warnings"].clone());
    assert_eq!(warnings(&bed).await?, serde_json::json!([]));
    for _ in 0..2 {
        bed.publish(&lacking).await?;
        let told = warnings(&bed).await?;
        let [warning] = &told.as_array().context("a list")?[..] else { anyhow::bail!("one warning, not {told}") };
        assert!(
            warning.as_str().is_some_and(|text| text.contains("spec.http[0].route[0]") && text.contains("v2")),
            "{told}"
        );
        assert!(bed.gateway.log().contains("spec.http[0].route[0].destination.subset"), "logged as well");
        bed.routes.swap(&[(KEY, b"kind: Nonsense")])?;
        bed.gateway.wait_for_rejection().await?;
        assert_eq!(warnings(&bed).await?, told, "of the table that serves, not of one that was refused");
        bed.publish(&good).await?;
        assert_eq!(warnings(&bed).await?, serde_json::json!([]));
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_warned_of_by_the_revision_the_log_and_the_explanation() -> anyhow::Result<()> {
    let mut bed = Bed::start(TO_GREEN, &[]).await?;
    let misspelt = documents(&bed.backends, TO_GREEN).replace("gateways: [gateway]", "gateways: [gatway]");
    bed.publish(&misspelt).await?;
    assert_eq!(bed.send(&RawRequest::get("/")).await?.status, 404);
    let line = misspelt.lines().position(|line| line.contains("gatway")).context("it is there")? + 1;
    let warning = "VirtualService default/scoring: spec.gateways[0]: not served: no Gateway default/gatway is here, only \
                   default/gateway; did you mean gateway?";
    let placed = format!("{KEY}:{line}:14: warning: {warning}");
    assert_eq!(bed.gateway.status("/revision").await?.json()?["warnings"], serde_json::json!([placed]));
    assert!(bed.gateway.log().contains(&placed), "{}", bed.gateway.log());
    let explained = bed.gateway.admin("/explain?url=/").await?.json()?;
    assert_eq!(explained, serde_json::json!({ "outcome": "no_route", "warnings": [warning] }));
    Ok(())
}

#[tokio::test]
async fn unknown_pages_and_methods_are_refused() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    for path in ["/", "/metricsx", "/routes", "/explain", "/quitquitquit"] {
        assert_eq!(bed.gateway.status(path).await?.status, 404, "{path} on the status port");
    }
    for path in ["/", "/metrics", "/config_dump", "/quitquitquit"] {
        assert_eq!(bed.gateway.admin(path).await?.status, 404, "{path} on the admin port");
    }
    for (address, path) in [(bed.gateway.status_address(), "/livez"), (bed.gateway.admin_address(), "/routes")] {
        let request = RawRequest::new("POST", path).header("Host", &address.to_string()).sized_body(b"{}");
        assert_eq!(send(address, &request).await?.status, 405, "POST {path}");
    }
    Ok(())
}

/// Labels and value of every series of this name, as they stand in the text.
fn series(text: &str, name: &str) -> Vec<(BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let read = |(labels, value): (&str, &str)| {
        let pairs = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
        let labels = pairs.map(|(label, text)| (label.to_owned(), text.trim_end_matches('"').to_owned())).collect();
        (labels, value.parse().unwrap_or(f64::NAN))
    };
    lines.map(read).collect()
}

/// telemetry.md's rule 1 and the rest of Istio's standard labels: a series that lacks one is passed over by Kiali.
const STANDARD_LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// A rule for each way in which a request can end.
const ENDS: &str = "- match: [{uri: {prefix: /ok}}]
  route: [{destination: {host: green}}]
- match: [{uri: {prefix: /nc}}]
  route: [{destination: {host: nowhere}}]
- match: [{uri: {prefix: /uh}}]
  route: [{destination: {host: empty}}]
- match: [{uri: {prefix: /uf}}]
  route: [{destination: {host: dead}}]
- match: [{uri: {prefix: /ut}}]
  timeout: 100ms
  route: [{destination: {host: green}}]
- match: [{uri: {prefix: /retried}}]
  retries: {attempts: 1, retryOn: 5xx}
  route: [{destination: {host: blue}}]
- match: [{uri: {prefix: /unretried}}]
  retries: {attempts: 0}
  route: [{destination: {host: dead}}]";

#[tokio::test]
async fn every_request_is_counted_once_with_all_of_istios_labels() -> anyhow::Result<()> {
    let bed = Bed::start(ENDS, &["--namespace", "istio-system", "--workload", "edge"]).await?;
    // Path, instruction, how often; status and flags that each is counted with; version of the backend.
    let table = [
        ("/ok", "", 5, "200", "-", "green"),
        ("/ok", "status=404", 2, "404", "-", "green"),
        ("/none", "", 3, "404", "NR", "unknown"),
        ("/nc", "", 2, "503", "NC", "unknown"),
        ("/uh", "", 2, "503", "UH", "unknown"),
        ("/uf", "", 1, "503", "URX,UF", "unknown"),
        ("/unretried", "", 1, "503", "UF", "unknown"),
        ("/ok", "close", 2, "503", "UC", "green"),
        ("/ut", "delay=2s", 1, "504", "UT", "green"),
        ("/retried", "status=503", 2, "503", "URX", "blue"),
        ("/ok", "garbage", 1, "502", "UPE", "green"),
    ];
    for (path, echo, times, status, ..) in table {
        for _ in 0..times {
            let response = bed.send(&RawRequest::get(path).header("x-echo", echo)).await?;
            ensure!(response.status.to_string() == status, "{path} {echo}: {response:?}");
        }
    }
    let text = bed.gateway.status("/metrics").await?.text();
    let counted = series(&text, "istio_requests_total");
    for (labels, value) in &counted {
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        let mut expected = STANDARD_LABELS;
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert!(labels["source_cluster"] == "Kubernetes" && labels["destination_cluster"] == "Kubernetes");
        assert_eq!((&*labels["source_workload"], &*labels["source_workload_namespace"]), ("edge", "istio-system"));
        assert_eq!(labels["request_protocol"], "http");
        assert!(*value > 0.5, "{labels:?}");
    }
    for reporter in ["source", "destination"] {
        let of = |labels: &BTreeMap<String, String>| labels["reporter"] == reporter;
        let all: f64 = counted.iter().filter(|(labels, _)| of(labels)).map(|(_, value)| value).sum();
        let sent: i32 = table.iter().map(|row| row.2).sum();
        assert!((all - f64::from(sent)).abs() < 0.5, "{reporter}: {all} counted, {sent} sent");
        for (path, echo, times, code, flags, version) in table {
            let own: f64 = counted
                .iter()
                .filter(|(labels, _)| {
                    of(labels) && labels["response_code"] == code && labels["response_flags"] == flags
                })
                .filter(|(labels, _)| labels["destination_version"] == version)
                .map(|(_, value)| value)
                .sum();
            assert!((own - f64::from(times)).abs() < 0.5, "{reporter} {path} {echo}: {own}, not {times}\n{text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoints_labels_name_it_in_metrics() -> anyhow::Result<()> {
    let bed = Bed::start(ENDS, &[]).await?;
    bed.send(&RawRequest::post("/ok", b"0123456789").header("x-echo", "body=abcdef")).await?;
    let text = bed.gateway.status("/metrics").await?.text();
    let expected = [
        ("destination_service", "green.default.svc.cluster.local"),
        ("destination_service_name", "green"),
        ("destination_service_namespace", "default"),
        ("destination_workload", "model-green"),
        ("destination_workload_namespace", "default"),
        ("destination_app", "model"),
        ("destination_version", "green"),
        ("destination_canonical_service", "model"),
        ("destination_canonical_revision", "green"),
        ("source_workload", "turnout-gateway"),
        ("source_canonical_service", "turnout-gateway"),
    ];
    let mut security = Vec::new();
    for (labels, _) in series(&text, "istio_requests_total") {
        for (label, value) in expected {
            assert_eq!(labels[label], value, "{label}");
        }
        security.push((labels["reporter"].clone(), labels["connection_security_policy"].clone()));
    }
    security.sort();
    let pair = |reporter: &str, policy: &str| (reporter.to_owned(), policy.to_owned());
    assert_eq!(security, [pair("destination", "none"), pair("source", "unknown")]);

    for (histogram, sum) in [("istio_request_bytes", 10.0), ("istio_response_bytes", 6.0)] {
        for (labels, value) in series(&text, &format!("{histogram}_sum")) {
            assert!((value - sum).abs() < 0.1, "{histogram} {labels:?}: {value}");
        }
        assert_eq!(series(&text, &format!("{histogram}_count")).len(), 2);
    }
    let durations = series(&text, "istio_request_duration_milliseconds_count");
    assert_eq!(durations.iter().map(|(_, value)| *value).collect::<Vec<f64>>(), [1.0, 1.0]);
    let build = series(&text, "istio_build");
    assert_eq!(build.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_request_that_no_pod_was_there_for_names_its_service_alone() -> anyhow::Result<()> {
    // Kiali asks for failures that nobody served by destination_workload="unknown" and the name of the service.
    let bed = Bed::start(ENDS, &[]).await?;
    bed.send(&RawRequest::get("/uh")).await?;
    let labels = [
        ("reporter", "source"),
        ("response_flags", "UH"),
        ("destination_service", "empty.default.svc.cluster.local"),
        ("destination_workload", "unknown"),
    ];
    assert_eq!(bed.gateway.metrics().await?.sum("istio_requests_total", &labels), Some(1.0));
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_with_dc() -> anyhow::Result<()> {
    let bed = Bed::start(ENDS, &[]).await?;
    let mut connection = bed.open().await?;
    connection.send(&RawRequest::get("/ok").header("x-echo", "delay=600s").to_bytes()).await?;
    eventually(LONG, || async { if bed.received() == 1 { Ok(()) } else { Err("it has not arrived") } }).await?;
    drop(connection);
    eventually(LONG, || async {
        let labels = [("response_flags", "DC"), ("response_code", "0"), ("destination_version", "green")];
        for reporter in ["source", "destination"] {
            let labels: Vec<(&str, &str)> = labels.into_iter().chain([("reporter", reporter)]).collect();
            let gone = bed.count("istio_requests_total", &labels).await?;
            ensure!((gone - 1.0).abs() < 0.5, "{reporter}: {gone}");
        }
        Ok(())
    })
    .await
}

/// The backends of these tests have one address.
#[expect(clippy::cast_precision_loss, reason = "a digest has 48 bits")]
fn digest_of_loopback() -> f64 {
    turnout_routes::address_digest([std::net::Ipv4Addr::LOCALHOST.into()]) as f64
}

#[tokio::test]
async fn gauges_follow_the_table_and_the_requests() -> anyhow::Result<()> {
    let rules = |green: u32, blue: u32| {
        format!(
            "- route: [{{destination: {{host: green}}, weight: {green}}}, {{destination: {{host: blue}}, weight: {blue}}}]"
        )
    };
    let mut bed = Bed::start(&rules(80, 20), &[]).await?;
    let (green, blue) = ("green.default.svc.cluster.local:5001", "blue.default.svc.cluster.local:5001");
    let metrics = bed.gateway.metrics().await?;
    for (backend, weight) in [(green, 80.0), (blue, 20.0)] {
        assert_eq!(metrics.sum("turnout_weight", &[("backend", backend)]), Some(weight), "{backend}");
        assert_eq!(metrics.sum("turnout_upstream_endpoints", &[("backend", backend)]), Some(1.0), "{backend}");
        let digest = metrics.sum("turnout_upstream_endpoints_digest", &[("backend", backend)]);
        assert_eq!(digest, Some(digest_of_loopback()), "{backend}");
        assert_eq!(metrics.sum("turnout_requests_in_flight", &[("backend", backend)]), Some(0.0), "{backend}");
    }
    let documents = documents(&bed.backends, &rules(0, 100));
    bed.publish(&documents).await?;
    let metrics = bed.gateway.metrics().await?;
    assert_eq!(metrics.sum("turnout_weight", &[("backend", blue)]), Some(100.0));
    // What has no weight gets none of the split; whether the series is there or not says the same.
    assert_eq!(metrics.sum("turnout_weight", &[("backend", green)]).unwrap_or_default().to_string(), "0");

    let mut asking = JoinSet::new();
    for _ in 0..3 {
        let address = bed.address();
        asking.spawn(async move { send(address, &RawRequest::get("/").header("x-echo", "delay=1s")).await });
    }
    in_flight(&bed, blue, 3.0).await?;
    for answered in asking.join_all().await {
        assert_eq!(answered?.status, 200);
    }
    in_flight(&bed, blue, 0.0).await
}

#[tokio::test]
async fn the_endpoints_of_a_backend_without_weight_are_told() -> anyhow::Result<()> {
    // Whoever raises a weight from 0 must know first that every gateway can reach the backend.
    let split = "- route: [{destination: {host: green}, weight: 100}, {destination: {host: blue}, weight: 0}]";
    let bed = Bed::start(split, &[]).await?;
    let blue = [("backend", "blue.default.svc.cluster.local:5001")];
    assert_eq!(bed.gateway.metrics().await?.sum("turnout_upstream_endpoints", &blue), Some(1.0));
    Ok(())
}

#[tokio::test]
async fn an_only_destination_has_weight_whatever_is_written() -> anyhow::Result<()> {
    for weight in ["", ", weight: 0", ", weight: 7"] {
        let bed = Bed::start(&format!("- route: [{{destination: {{host: green}}{weight}}}]"), &[]).await?;
        assert_eq!(bed.send(&RawRequest::get("/")).await?.backend(), Some("green"));
        let told = bed.count("turnout_weight", &[("backend", "green.default.svc.cluster.local:5001")]).await?;
        assert!(told > 0.5, "{weight:?}: all requests go there, and its weight in effect is {told}");
    }
    Ok(())
}

async fn in_flight(bed: &Bed, backend: &str, expected: f64) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let seen = bed.count("turnout_requests_in_flight", &[("backend", backend)]).await?;
        ensure!((seen - expected).abs() < 0.5, "{seen} in flight, not {expected}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dropped_backend_is_told_until_its_last_request_has_ended() -> anyhow::Result<()> {
    // Whoever removes a backend must know first that nothing runs there any more.
    let mut bed = Bed::start(TO_GREEN, &[]).await?;
    let green = [("backend", "green.default.svc.cluster.local:5001")];
    let to_green = documents(&bed.backends, TO_GREEN);
    let to_blue = documents(&bed.backends, "- route: [{destination: {host: blue}}]");
    assert_eq!(bed.send(&RawRequest::get("/")).await?.backend(), Some("green"));
    bed.publish(&to_blue).await?;
    assert_eq!(bed.gateway.metrics().await?.sum("turnout_requests_in_flight", &green), None, "nothing runs there");
    bed.publish(&to_green).await?;

    let mut running = bed.open().await?;
    running.send(&RawRequest::get("/").header("x-echo", "delay=600s").to_bytes()).await?;
    in_flight(&bed, green[0].1, 1.0).await?;

    for _ in 0..2 {
        bed.publish(&to_blue).await?;
        let metrics = bed.gateway.metrics().await?;
        assert_eq!(metrics.sum("turnout_requests_in_flight", &green), Some(1.0));
        assert_eq!(metrics.sum("turnout_weight", &green), None);
        assert_eq!(metrics.sum("turnout_upstream_endpoints", &green), None);
        // A table that names it again takes it up with what runs there.
        bed.publish(&to_green).await?;
        assert_eq!(bed.gateway.metrics().await?.sum("turnout_requests_in_flight", &green), Some(1.0));
    }
    bed.publish(&to_blue).await?;
    drop(running);
    eventually(LONG, || async {
        let left = bed.gateway.metrics().await?.sum("turnout_requests_in_flight", &green);
        ensure!(left.is_none(), "{left:?} in flight");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_is_in_flight_at_its_backend_before_its_body_has_come() -> anyhow::Result<()> {
    // The backend is chosen by the head: from then on it must not go.
    let mut bed = Bed::start(TO_GREEN, &[]).await?;
    let green = [("backend", "green.default.svc.cluster.local:5001")];
    let to_blue = documents(&bed.backends, "- route: [{destination: {host: blue}}]");
    let body = b"0123456789";
    let request = RawRequest::post("/", body).to_bytes();
    let mut client = bed.open().await?;
    client.send(&request[..request.len() - body.len()]).await?;
    in_flight(&bed, green[0].1, 1.0).await?;
    assert_eq!(bed.received(), 0, "the backend hears of it when the body is there");

    bed.publish(&to_blue).await?;
    assert_eq!(bed.gateway.metrics().await?.sum("turnout_requests_in_flight", &green), Some(1.0));
    client.send(body).await?;
    let response = client.response("POST").await?;
    assert_eq!((response.status, response.backend()), (200, Some("green")));
    in_flight(&bed, green[0].1, 0.0).await
}

#[tokio::test]
async fn a_request_is_in_flight_at_its_backend_between_its_tries() -> anyhow::Result<()> {
    let patient = "- route: [{destination: {host: dead}}]\n  retries: {attempts: 5, backoff: 1h}";
    let bed = Bed::start(patient, &[]).await?;
    let dead = "dead.default.svc.cluster.local:5001";
    let mut client = bed.open().await?;
    client.send(&RawRequest::get("/").to_bytes()).await?;
    eventually(LONG, || async {
        let retries = bed.count("turnout_retries_total", &[("backend", dead)]).await?;
        ensure!(retries > 0.5, "{retries} retries");
        Ok(())
    })
    .await?;
    let seen = bed.count("turnout_requests_in_flight", &[("backend", dead)]).await?;
    assert!((seen - 1.0).abs() < 0.5, "{seen} in flight");
    drop(client);
    in_flight(&bed, dead, 0.0).await
}

#[tokio::test]
async fn a_gateway_port_without_a_listener_is_told() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let other = documents(&backends, TO_GREEN).replace(
        "name: http, protocol: HTTP}, hosts: [\"*\"]}",
        "name: http, protocol: HTTP}, hosts: [\"*\"]}\n  \
                  - {port: {number: 8443, name: other, protocol: HTTP}, hosts: [\"*\"]}",
    );
    let bed = Bed::over(backends, &other, &[PORT], &[]).await?;
    let unserved = bed.gateway.metrics().await?.sum("turnout_gateway_port_unserved", &[("port", "8443")]);
    assert_eq!(unserved, Some(1.0));
    let told = bed.gateway.status("/revision").await?.json()?;
    assert!(told["warnings"][0].as_str().is_some_and(|it| it.contains("--listen 8443=ADDR:PORT")), "{told}");
    assert_eq!(bed.send(&RawRequest::get("/")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn admin_shows_the_routes_and_explains_requests() -> anyhow::Result<()> {
    let rules = "- match: [{uri: {prefix: /score}, headers: {x-api-version: {exact: blue}}}]\n  \
                 route: [{destination: {host: blue}}]\n\
                 - match: [{uri: {prefix: /old}}]\n  redirect: {uri: /new}\n\
                 - route: [{destination: {host: green}, weight: 75}, {destination: {host: blue}, weight: 25}]";
    let bed = Bed::start(rules, &[]).await?;
    let routes = bed.gateway.admin("/routes").await?.json()?;
    assert_eq!(routes["revision"].as_str(), bed.gateway.revisions().await?.active.as_deref());
    let split = &routes["routes"][1]["targets"];
    assert_eq!((&split[0]["weight"], &split[1]["weight"]), (&75.into(), &25.into()), "{routes}");
    assert_eq!(split[0]["endpoints"][0], bed.backends.address("green").to_string());

    let explain = async |query: &str| bed.gateway.admin(&format!("/explain?{query}")).await?.json();
    let pinned = explain("method=POST&url=http://any.example.com/score&header=x-api-version:%20blue").await?;
    assert_eq!(pinned["backends"][0]["backend"], "blue.default.svc.cluster.local:5001", "{pinned}");
    let shared = explain("url=http://any.example.com/score").await?;
    assert_eq!((&shared["outcome"], &shared["backends"][1]["share"]), (&"forward".into(), &0.25.into()), "{shared}");
    let moved = explain("url=http://any.example.com/old").await?;
    assert_eq!((&moved["status"], &moved["location"]), (&301.into(), &"http://any.example.com/new".into()), "{moved}");
    let pasted = explain("url=http://localhost:18080/score").await?;
    assert_eq!(pasted["backends"][1]["share"], 0.25, "the only Gateway port is meant: {pasted}");
    for bad in ["url=:::&method=", "url=/score&heder=a:b", "url=/score&port=http"] {
        assert_eq!(bed.gateway.admin(&format!("/explain?{bad}")).await?.status, 400, "{bad}");
    }
    assert_eq!(bed.received(), 0, "what is explained is not sent");
    Ok(())
}

#[tokio::test]
async fn admin_refuses_a_page_that_comes_under_a_foreign_name() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let address = bed.gateway.admin_address();
    let table = [
        (format!("127.0.0.1:{}", address.port()), 200),
        ("localhost:9901".to_owned(), 200),
        ("localhost".to_owned(), 200),
        ("[::1]:9901".to_owned(), 200),
        ("evil.example.com".to_owned(), 403),
        ("evil.example.com:9901".to_owned(), 403),
        ("localhost.evil.example.com".to_owned(), 403),
        ("127.0.0.1.evil.example.com".to_owned(), 403),
        (String::new(), 403),
    ];
    for (host, status) in table {
        for path in ["/routes", "/explain?url=/"] {
            let request = RawRequest::new("GET", path).header("Host", &host);
            assert_eq!(send(address, &request).await.context("no answer")?.status, status, "{host:?} {path}");
        }
    }
    Ok(())
}
