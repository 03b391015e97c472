//! The public sample that Turnout replaces: its own Gateway and VirtualService, as its chart renders them for the
//! namespace `abtesting`, port 80 and the hosts `*`, served unchanged over a real socket. Only the ServiceEntries are
//! added, since the models are echo backends here.

use anyhow::ensure;
use turnout_tests::bed::{Bed, PORT};
use turnout_tests::client::RawRequest;
use turnout_tests::echo::Backends;

/// What the chart `abtest-istio` renders, with the versions of the API that are or were in use.
const SAMPLE: &str = r"apiVersion: networking.istio.io/API_VERSION
kind: Gateway
metadata:
  name: abtest-gateway
  namespace: abtesting
spec:
  selector:
    istio: ingressgateway
  servers:
    - port:
        number: 80
        name: http
        protocol: HTTP
      hosts:
        - '*'
---
apiVersion: networking.istio.io/API_VERSION
kind: VirtualService
metadata:
  name: abtest-virtualservice
  namespace: abtesting
spec:
  gateways:
    - abtest-gateway
  hosts:
    - '*'
  http:
    - match:
        - uri:
            prefix: /score
          headers:
            x-api-version:
              exact: 'blue'
      route:
        - destination:
            host: model-svc-blue.abtesting.svc.cluster.local
            port:
              number: 5001
    - match:
        - uri:
            prefix: /score
          headers:
            x-api-version:
              exact: 'green'
      route:
        - destination:
            host: model-svc-green.abtesting.svc.cluster.local
            port:
              number: 5001
    - route:
        - destination:
            host: model-svc-green.abtesting.svc.cluster.local
            port:
              number: 5001
          weight: WEIGHT_GREEN
        - destination:
            host: model-svc-blue.abtesting.svc.cluster.local
            port:
              number: 5001
          weight: WEIGHT_BLUE
";

/// Where one of the models is.
const SERVICE: &str = r"---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: model-svc-COLOUR, namespace: abtesting}
spec:
  hosts: [model-svc-COLOUR.abtesting.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 5001, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: BACKEND}}
";

fn documents(backends: &Backends, api_version: &str, [green, blue]: [u32; 2]) -> String {
    let mut documents = SAMPLE
        .replace("API_VERSION", api_version)
        .replace("WEIGHT_GREEN", &green.to_string())
        .replace("WEIGHT_BLUE", &blue.to_string());
    for colour in ["green", "blue"] {
        let port = backends.address(colour).port().to_string();
        documents.push_str(&SERVICE.replace("COLOUR", colour).replace("BACKEND", &port));
    }
    documents
}

async fn serve(api_version: &str, weights: [u32; 2]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let documents = documents(&backends, api_version, weights);
    Bed::over(backends, &documents, &[PORT], &[]).await
}

/// How many of `count` requests over one connection each backend answers: green, blue.
async fn split(bed: &Bed, request: &RawRequest, count: usize) -> anyhow::Result<[usize; 2]> {
    let mut connection = bed.open().await?;
    let mut seen = [0, 0];
    for _ in 0..count {
        let response = connection.exchange(request).await?;
        ensure!(response.status == 200, "{response:?}");
        match response.backend() {
            Some("green") => seen[0] += 1,
            Some("blue") => seen[1] += 1,
            other => anyhow::bail!("answered by {other:?}"),
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn every_version_of_the_api_serves_the_sample() -> anyhow::Result<()> {
    for api_version in ["v1", "v1beta1", "v1alpha3"] {
        let bed = serve(api_version, [100, 0]).await?;
        let pinned = RawRequest::post("/score", br#"{"data": [1]}"#).header("x-api-version", "blue");
        assert_eq!(split(&bed, &pinned, 3).await?, [0, 3], "{api_version}");
        assert_eq!(split(&bed, &RawRequest::get("/score"), 3).await?, [3, 0], "{api_version}");
    }
    Ok(())
}

#[tokio::test]
async fn the_header_pins_a_model_below_score_and_nowhere_else() -> anyhow::Result<()> {
    const GREEN: [usize; 2] = [4, 0];
    const BLUE: [usize; 2] = [0, 4];
    // All weight is on one model, so that a request that is split cannot be taken for one that is pinned to the other.
    let get = |path: &str, version: &str| RawRequest::get(path).header("x-api-version", version);
    let post = |path: &str, version: &str| {
        RawRequest::post(path, b"{}").header("Content-Type", "application/json").header("x-api-version", version)
    };
    let table: Vec<([u32; 2], RawRequest, [usize; 2])> = vec![
        ([100, 0], get("/score", "blue"), BLUE),
        ([100, 0], post("/score", "blue"), BLUE),
        ([0, 100], get("/score", "green"), GREEN),
        ([0, 100], post("/score", "green"), GREEN),
        ([100, 0], RawRequest::get("/score").header("X-API-Version", "blue"), BLUE),
        ([100, 0], get("/score/", "blue"), BLUE),
        ([100, 0], get("/score?x=1", "blue"), BLUE),
        // A plain string prefix, not a path element.
        ([100, 0], get("/scoreboard", "blue"), BLUE),
        // Header values mind their case, and unknown ones fall through to the split.
        ([100, 0], get("/score", "Blue"), GREEN),
        ([100, 0], get("/score", "red"), GREEN),
        ([100, 0], get("/score", ""), GREEN),
        ([100, 0], get("/score", "blue,green"), GREEN),
        ([100, 0], RawRequest::get("/score"), GREEN),
        ([100, 0], RawRequest::post("/score", b"{}"), GREEN),
        // Other paths are split whatever the header says.
        ([100, 0], get("/", "blue"), GREEN),
        ([100, 0], get("/Score", "blue"), GREEN),
        ([100, 0], get("/v1/score", "blue"), GREEN),
        ([0, 100], post("/swagger.json", "green"), BLUE),
    ];
    for weights in [[100, 0], [0, 100]] {
        let bed = serve("v1", weights).await?;
        for (_, request, expected) in table.iter().filter(|(of, ..)| *of == weights) {
            assert_eq!(split(&bed, request, 4).await?, *expected, "{weights:?} {request:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_split_sends_some_to_each_and_every_request_arrives_unchanged() -> anyhow::Result<()> {
    let bed = serve("v1", [50, 50]).await?;
    for path in ["/score", "/scoreboard", "/", "/any/path?q=1"] {
        let [green, blue] = split(&bed, &RawRequest::post(path, b"{\"data\": [1]}"), 60).await?;
        // One of 2^60 runs sends all of them to one side.
        assert!(green > 0 && blue > 0, "{path}: {green} to {blue}");
    }
    let received = bed.backends.received();
    assert_eq!(received.len(), 240);
    for request in received {
        assert_eq!((request.method.as_str(), request.body_text().as_str()), ("POST", "{\"data\": [1]}"));
        assert_eq!(request.authority(), Some("scoring.example.com"));
    }
    Ok(())
}

#[tokio::test]
async fn a_weight_changes_without_a_failed_request() -> anyhow::Result<()> {
    let mut bed = serve("v1", [100, 0]).await?;
    let steady = RawRequest::post("/score", b"{}");
    for (weights, expected) in [([0, 100], [0, 5]), ([100, 0], [5, 0]), ([0, 1], [0, 5])] {
        let documents = documents(&bed.backends, "v1", weights);
        bed.publish(&documents).await?;
        assert_eq!(split(&bed, &steady, 5).await?, expected);
    }
    Ok(())
}
