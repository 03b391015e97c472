//! What the model answers, and the state that orders change. Axum finishes requests in flight and closes idle connections
//! when it is told to stop; before that every response of a stopping model asks for its connection to be closed, so that
//! few are idle then.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A model and what tests have told it. Clones share everything.
#[derive(Clone)]
pub(crate) struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    answer: Value,
    headers: HeaderMap,
    is_ready: AtomicBool,
    is_stopping: AtomicBool,
    delay_ms: AtomicU64,
    status: AtomicU16,
    scored: AtomicU64,
}

impl Model {
    pub(crate) fn new(answer: &str, backend: &str, revision: &str, pod: &str) -> Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-served-by", backend), ("x-revision", revision), ("x-pod", pod)] {
            let value = HeaderValue::from_str(value).with_context(|| format!("{name} cannot be {value:?}"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let answer = json!({ "model": answer, "backend": backend, "revision": revision, "pod": pod });
        let shared = Shared {
            answer,
            headers,
            is_ready: AtomicBool::new(true),
            is_stopping: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            status: AtomicU16::new(200),
            scored: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn delay_by(&self, delay_ms: u64) {
        self.shared.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// It is not ready from here on, and closes connections.
    pub(crate) fn begin_to_stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Relaxed) && !self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.shared.is_stopping.load(Ordering::Relaxed)
    }
}

/// Serves until `stop` completes, and then finishes what is in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    model: Model,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/", get("Healthy"))
        .route("/score", get(score).post(score))
        .route("/ready", get(ready))
        .route("/control/{order}", any(control))
        .with_state(model);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

/// The body is read to its end, and its content does not matter.
async fn score(State(model): State<Model>, _: Bytes) -> Response {
    let delay_ms = model.shared.delay_ms.load(Ordering::Relaxed);
    // Even a sleep of nothing takes a tick of the timer, a millisecond.
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    model.shared.scored.fetch_add(1, Ordering::Relaxed);
    let mut response = (model.shared.headers.clone(), Json(&model.shared.answer)).into_response();
    let status = model.shared.status.load(Ordering::Relaxed);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    if model.is_stopping() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn ready(State(model): State<Model>) -> Response {
    if model.is_ready() {
        return "ready".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response()
}

async fn control(
    State(model): State<Model>,
    Path(order): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match obey(&model, &order, query.get("value").map(String::as_str)) {
        Ok(answer) => Json(answer).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response(),
    }
}

fn obey(model: &Model, order: &str, value: Option<&str>) -> Result<Value, String> {
    match (order, value) {
        ("count", None) => Ok(json!({ "scored": model.shared.scored.load(Ordering::Relaxed) })),
        ("ready", Some(value)) => {
            let is_ready = value.parse().map_err(|_| format!("{value} is neither true nor false"))?;
            model.shared.is_ready.store(is_ready, Ordering::Relaxed);
            Ok(json!({ "ready": is_ready }))
        }
        ("delay", Some(value)) => {
            let delay_ms = value.parse().map_err(|_| format!("{value} is no number of milliseconds"))?;
            model.delay_by(delay_ms);
            Ok(json!({ "delay_ms": delay_ms }))
        }
        ("status", Some(value)) => {
            let status = value.parse().ok().filter(|status| StatusCode::from_u16(*status).is_ok());
            let status = status.ok_or_else(|| format!("{value} is no status"))?;
            model.shared.status.store(status, Ordering::Relaxed);
            Ok(json!({ "status": status }))
        }
        ("file", Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            Ok(json!({ "text": text }))
        }
        _ => Err(format!("no order {order} with the value {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    fn model() -> Model {
        Model::new("New Model A", "green", "r7", "pod-1").unwrap()
    }

    /// The address and what stops it.
    async fn start(model: Model) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, model, async {
            let _ = stopped.await;
        }));
        (address, stop, server)
    }

    /// The whole answer on a connection that the server closes or the client asks to be closed.
    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: model\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_score_tells_who_gave_it() {
        let (address, _stop, _server) = start(model()).await;
        for line in ["GET /score", "POST /score"] {
            let answer = ask(address, line).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains("x-served-by: green\r\n") && answer.contains("x-revision: r7\r\n"), "{answer}");
            let expected = r#"{"model":"New Model A","backend":"green","revision":"r7","pod":"pod-1"}"#;
            assert!(answer.ends_with(expected), "{answer}");
        }
        assert!(ask(address, "GET /control/count").await.ends_with(r#"{"scored":2}"#));
    }

    #[tokio::test]
    async fn readiness_is_as_ordered_and_ends_with_a_stop() {
        let model = model();
        let (address, _stop, _server) = start(model.clone()).await;
        let check = async |expected: &str| {
            let answer = ask(address, "GET /ready").await;
            assert!(answer.starts_with(expected), "{answer}");
        };
        check("HTTP/1.1 200 ").await;
        ask(address, "POST /control/ready?value=false").await;
        check("HTTP/1.1 503 ").await;
        ask(address, "POST /control/ready?value=true").await;
        check("HTTP/1.1 200 ").await;
        model.begin_to_stop();
        check("HTTP/1.1 503 ").await;
    }

    #[tokio::test]
    async fn a_stopping_model_answers_and_closes_its_connections() {
        let model = model();
        let (address, stop, server) = start(model.clone()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        model.begin_to_stop();
        stream.write_all(b"GET /score HTTP/1.1\r\nhost: model\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn other_orders_are_refused() {
        for (order, value) in [("ready", Some("perhaps")), ("delay", Some("-1")), ("count", Some("1")), ("stop", None)]
        {
            assert!(obey(&model(), order, value).is_err(), "{order} {value:?}");
        }
    }
}
