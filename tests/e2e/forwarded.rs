//! What a backend is told of the client, whom the gateway believes about it, and what the client is told of the gateway.

use bytes::Bytes;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{Http2Connection, RawRequest, RawResponse};
use turnout_tests::echo::Received;

async fn forwarded(bed: &Bed, request: &RawRequest) -> anyhow::Result<(Received, RawResponse)> {
    bed.backends.clear();
    let response = bed.send(request).await?;
    let mut received = bed.backends.received();
    anyhow::ensure!(received.len() == 1, "{received:?} {response:?}");
    Ok((received.remove(0), response))
}

/// A request that claims everything about its client.
fn claiming() -> RawRequest {
    RawRequest::get("/")
        .header("X-Forwarded-For", "1.1.1.1")
        .header("X-Forwarded-For", "2.2.2.2, 3.3.3.3")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example.com")
        .header("X-Forwarded-Port", "444")
        .header("X-Forwarded-Client-Cert", "By=evil")
        .header("Forwarded", "for=1.1.1.1")
        .header("X-Real-IP", "1.1.1.1")
        .header("X-Request-Id", "chosen-by-the-client")
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn nobody_is_believed_by_default() -> anyhow::Result<()> {
    for arguments in [&[][..], &["--trusted-proxies", "10.0.0.0/8,::1"][..]] {
        let bed = Bed::start(TO_GREEN, arguments).await?;
        let (received, _) = forwarded(&bed, &claiming()).await?;
        assert_eq!(received.headers.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(received.headers.values("x-forwarded-proto"), ["http"]);
        for gone in ["x-forwarded-host", "x-forwarded-port", "x-forwarded-client-cert", "forwarded", "x-real-ip"] {
            assert_eq!(received.headers.first(gone), None, "{gone}");
        }
        let ids = received.headers.values("x-request-id");
        assert!(ids.len() == 1 && is_uuid(ids[0]), "{ids:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_appended_to() -> anyhow::Result<()> {
    for trusted in ["127.0.0.0/8", "10.0.0.0/8, 127.0.0.1"] {
        let bed = Bed::start(TO_GREEN, &["--trusted-proxies", trusted]).await?;
        let (received, _) = forwarded(&bed, &claiming()).await?;
        let chain: Vec<String> = received
            .headers
            .values("x-forwarded-for")
            .join(",")
            .split(',')
            .map(|part| part.trim().to_owned())
            .collect();
        assert_eq!(chain, ["1.1.1.1", "2.2.2.2", "3.3.3.3", "127.0.0.1"]);
        let kept = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example.com"),
            ("x-forwarded-port", "444"),
            ("x-request-id", "chosen-by-the-client"),
        ];
        for (name, value) in kept {
            assert_eq!(received.headers.values(name), [value], "{name}");
        }
        assert_eq!(received.headers.first("x-forwarded-client-cert"), None);
        let (received, _) = forwarded(&bed, &RawRequest::get("/")).await?;
        assert_eq!(received.headers.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(received.headers.values("x-forwarded-proto"), ["http"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_id_is_taken_over_only_if_it_is_safe_to_log() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--trusted-proxies", "127.0.0.1"]).await?;
    let long = "x".repeat(128);
    for id in ["a", "0af7651916cd43dd8448eb211c80319c", "a-b_c.d:e/f+g=", &long] {
        let (received, _) = forwarded(&bed, &RawRequest::get("/").header("x-request-id", id)).await?;
        assert_eq!(received.headers.values("x-request-id"), [id]);
    }
    let too_long = "x".repeat(129);
    for id in ["", "two words", "quote\"", "<script>", "a,b", "{}", "\u{e9}", &too_long] {
        let (received, _) = forwarded(&bed, &RawRequest::get("/").header("x-request-id", id)).await?;
        let ids = received.headers.values("x-request-id");
        assert!(ids.len() == 1 && is_uuid(ids[0]), "{id:?}: {ids:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own_which_its_error_names() -> anyhow::Result<()> {
    let bed = Bed::start("- match: [{uri: {prefix: /ok}}]\n  route: [{destination: {host: green}}]", &[]).await?;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (received, _) = forwarded(&bed, &RawRequest::get("/ok")).await?;
        ids.extend(received.headers.first("x-request-id").map(str::to_owned));
        let error = bed.send(&RawRequest::get("/none")).await?.json()?;
        ids.extend(error["request_id"].as_str().map(str::to_owned));
    }
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| is_uuid(id)));
    Ok(())
}

const REWRITTEN: &str = "- match: [{uri: {prefix: /old}}]
  rewrite: {uri: /new, authority: other.example.com}
  timeout: 7s
  route: [{destination: {host: green}}]
- route: [{destination: {host: green}}]";

#[tokio::test]
async fn envoys_own_headers_are_a_setting() -> anyhow::Result<()> {
    let bed = Bed::start(REWRITTEN, &["--envoy-headers"]).await?;
    let (received, response) = forwarded(&bed, &RawRequest::get("/old/x?y")).await?;
    let expected = [
        ("x-envoy-attempt-count", "1"),
        ("x-envoy-external-address", "127.0.0.1"),
        ("x-envoy-expected-rq-timeout-ms", "7000"),
        ("x-envoy-original-path", "/old/x?y"),
        ("x-envoy-original-host", "scoring.example.com"),
        ("host", "other.example.com"),
    ];
    for (name, value) in expected {
        assert_eq!(received.headers.values(name), [value], "{name}");
    }
    assert_eq!(received.target, "/new/x?y");
    assert_eq!(response.header("server"), Some("istio-envoy"));
    let service_time = response.header("x-envoy-upstream-service-time").map(str::parse::<u64>);
    assert!(matches!(service_time, Some(Ok(_))), "{service_time:?}");
    let (received, _) = forwarded(&bed, &RawRequest::get("/plain")).await?;
    for absent in ["x-envoy-expected-rq-timeout-ms", "x-envoy-original-path", "x-envoy-original-host"] {
        assert_eq!(received.headers.first(absent), None, "{absent}");
    }

    let bed = Bed::start(REWRITTEN, &[]).await?;
    let (received, response) = forwarded(&bed, &RawRequest::get("/old/x?y")).await?;
    assert!(received.headers.0.iter().all(|(name, _)| !name.starts_with("x-envoy-")), "{:?}", received.headers);
    assert!(response.headers.0.iter().all(|(name, _)| !name.starts_with("x-envoy-")), "{:?}", response.headers);
    Ok(())
}

#[tokio::test]
async fn a_client_cannot_say_what_is_envoys_to_say() -> anyhow::Result<()> {
    for arguments in [&[][..], &["--envoy-headers"][..]] {
        let bed = Bed::start(TO_GREEN, arguments).await?;
        let request = RawRequest::get("/")
            .header("X-Envoy-Attempt-Count", "99")
            .header("x-envoy-external-address", "6.6.6.6")
            .header("x-envoy-retry-on", "5xx")
            .header("x-envoy-original-path", "/evil")
            .header("x-envoy-custom", "kept");
        let (received, _) = forwarded(&bed, &request).await?;
        for lie in ["99", "6.6.6.6", "5xx", "/evil"] {
            // A request id is random, and may hold any digits.
            let mut said = received.headers.0.iter().filter(|(name, _)| name != "x-request-id");
            assert!(!said.any(|(_, value)| value.contains(lie)), "{arguments:?}: {:?}", received.headers);
        }
        assert_eq!(received.headers.first("x-envoy-custom"), Some("kept"));
    }
    Ok(())
}

#[tokio::test]
async fn the_attempt_count_counts() -> anyhow::Result<()> {
    let rule = "- route: [{destination: {host: green}}]\n  retries: {attempts: 2, retryOn: 5xx}";
    let bed = Bed::start(rule, &["--envoy-headers"]).await?;
    let response = bed.send(&RawRequest::get("/").header("x-echo", "status=503; first=2")).await?;
    let counts: Vec<String> = bed
        .backends
        .received()
        .iter()
        .filter_map(|received| received.headers.first("x-envoy-attempt-count").map(str::to_owned))
        .collect();
    assert_eq!((response.status, counts), (200, ["1", "2", "3"].map(str::to_owned).to_vec()));
    Ok(())
}

#[tokio::test]
async fn every_answer_says_that_it_is_the_gateways() -> anyhow::Result<()> {
    let rules = "- match: [{uri: {prefix: /ok}}]\n  route: [{destination: {host: green}}]\n\
                 - match: [{uri: {prefix: /direct}}]\n  directResponse: {status: 418}";
    let bed = Bed::start(rules, &[]).await?;
    for (path, status) in [("/ok", 200), ("/direct", 418), ("/none", 404)] {
        let request = RawRequest::get(path).header("x-echo", "header=Server:gunicorn; header=Via:1.1 other");
        let response = bed.send(&request).await?;
        assert_eq!((response.status, response.headers.values("server")), (status, vec!["turnout"]), "{path}");
        assert_eq!(response.headers.values("date").len(), 1, "{path}");
    }
    Ok(())
}

/// W3C Trace Context is for those who trace. The gateway does not, so it takes part in no trace: what comes goes on as it is,
/// right or not, in every try, and nothing is made up where nothing comes.
#[tokio::test]
async fn trace_context_passes_as_it_comes() -> anyhow::Result<()> {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let lists: [&[(&str, &str)]; 9] = [
        &[],
        &[("traceparent", PARENT), ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")],
        &[("tracestate", "alone=1")],
        &[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")],
        &[("traceparent", PARENT), ("traceparent", PARENT)],
        &[("traceparent", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-of-a-later-version")],
        &[("traceparent", "00-00000000000000000000000000000000-0000000000000000-00")],
        &[("traceparent", "00-4BF92F-not hex"), ("tracestate", "=,,;no list")],
        &[("traceparent", ""), ("tracestate", "")],
    ];
    let rule = "- route: [{destination: {host: green}}]\n  retries: {attempts: 1, retryOn: 5xx}";
    for arguments in [&[][..], &["--envoy-headers", "--trusted-proxies", "127.0.0.0/8"][..]] {
        let bed = Bed::start(rule, arguments).await?;
        let http2 = Http2Connection::open(bed.address()).await?;
        for list in lists {
            bed.backends.clear();
            let request = RawRequest::get("/").header("x-echo", "status=503; first=1");
            let request = list.iter().fold(request, |request, (name, value)| request.header(name, value));
            let first = bed.send(&request).await?;
            let request = http::Request::get(format!("http://{}/", bed.address()));
            let request = list.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let second = http2.send(request.body(Bytes::new())?).await?;
            assert_eq!((first.status, second.status().as_u16()), (200, 200), "{list:?}");
            let received = bed.backends.received();
            assert_eq!(received.len(), 3, "two tries over HTTP/1, one over HTTP/2: {list:?}");
            for name in ["traceparent", "tracestate"] {
                let sent: Vec<&str> = list.iter().filter(|line| line.0 == name).map(|line| line.1).collect();
                for one in &received {
                    assert_eq!(one.headers.values(name), sent, "{list:?}");
                }
                assert_eq!((first.header(name), second.headers().get(name)), (None, None), "{list:?}");
            }
        }
    }
    Ok(())
}
