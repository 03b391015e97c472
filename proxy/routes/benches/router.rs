//! What routes cost: to read them, to compile them, and to find the one of a request. `cargo bench -p turnout-routes`.
//!
//! The number of routes is that of all hosts together, ten on each; the request is for the last one of them.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use turnout_routes::documents::{Document, Scheme};
use turnout_routes::router::{Decision, Draws, Identity, RequestHead, Router, Transport, compile};
use turnout_routes::{Source, parse_up_to};

const ROUTES: [usize; 3] = [3, 100, 10_000];
const ROUTES_OF_A_HOST: usize = 10;
const MAX_BYTES: usize = 16 << 20;

/// So many routes as a file has them: a header that picks a model, and a split.
fn text(routes: usize) -> String {
    let rule = |number: usize| {
        format!(
            "  - match: [{{uri: {{prefix: /score/{number}}}, headers: {{x-api-version: {{exact: blue}}}}}}]
    route: [{{destination: {{host: blue, port: {{number: 80}}}}}}]
  - match: [{{uri: {{prefix: /score/{number}}}}}]
    route:
    - {{destination: {{host: green, port: {{number: 80}}}}, weight: 80}}
    - {{destination: {{host: blue, port: {{number: 80}}}}, weight: 20}}
"
        )
    };
    let numbers: Vec<usize> = (0..routes).collect();
    let host = |(host, numbers): (usize, &[usize])| {
        let rules: String = numbers.iter().step_by(2).map(|number| rule(number % ROUTES_OF_A_HOST)).collect();
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: h{host}}}
spec:
  hosts: [h{host}.example.com]
  http:
{rules}"
        )
    };
    numbers.chunks(ROUTES_OF_A_HOST).enumerate().map(host).collect()
}

fn documents(text: &str) -> Vec<Document> {
    let parsed = parse_up_to(&[Source { name: "routes.yaml", bytes: text.as_bytes() }], MAX_BYTES);
    parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}")).documents
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for routes in ROUTES {
        let text = text(routes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(routes), &text, |bencher, text| {
            bencher.iter(|| documents(black_box(text)));
        });
    }
    group.finish();
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    for routes in ROUTES {
        let documents = documents(&text(routes));
        group.bench_with_input(BenchmarkId::from_parameter(routes), &documents, |bencher, documents| {
            bencher.iter(|| compile(black_box(documents), &Identity::default()));
        });
    }
    group.finish();
}

fn deciding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("user-agent", HeaderValue::from_static("curl/8.5.0"));
    for routes in ROUTES {
        let router = compile(&documents(&text(routes)), &Identity::default());
        let host = format!("h{}.example.com", (routes - 1) / ROUTES_OF_A_HOST);
        let path = format!("/score/{}", (routes - 1) % ROUTES_OF_A_HOST / 2 * 2);
        let request = RequestHead {
            port: 80,
            transport: Transport::Plain,
            scheme: Scheme::Http,
            method: "POST",
            authority: &host,
            path: &path,
            query: None,
            headers: &headers,
            peer: None,
        };
        assert!(is_forwarded(&router, &request), "{host}{path}");
        group.bench_with_input(BenchmarkId::from_parameter(routes), &router, |bencher, router| {
            bencher.iter(|| is_forwarded(black_box(router), black_box(&request)));
        });
    }
    group.finish();
}

fn is_forwarded(router: &Router, request: &RequestHead<'_>) -> bool {
    matches!(router.decide(request, Draws::random(u64::MAX / 2)), Decision::Forward(_))
}

criterion_group!(benches, reading, compiling, deciding);
criterion_main!(benches);
