//! A scoring server for the demo and for local use, which answers as the sample's `scoreA.py` and `scoreB.py` do behind
//! azureml-inference-server-http 1.5: `/score` takes GET and POST, ignores the body, answers with what `run()` returns
//! as a JSON text; OPTIONS answers 200 without a body; `GET /` answers `Healthy`; errors are JSON objects with a
//! `message`; known paths carry request IDs, answers in JSON `x-ms-run-function-failed`, and those of a run
//! `x-ms-run-fn-exec-ms`. It differs in the `server` header, in `x-served-by`, which names the backend, and in that it
//! keeps connections alive where the original closes each after one response.

use std::future::{Future, ready};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LEGACY_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// Which backend answered; two backends may serve the same model.
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const RUN_FAILED: HeaderName = HeaderName::from_static("x-ms-run-function-failed");
const RUN_MILLIS: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");

/// What the original sends as the type of an answer that is not JSON.
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The largest request body; the original has no limit.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A model that always gives the same answer.
#[derive(Clone, Debug)]
pub(crate) struct ScoringModel {
    /// What `run()` returns, such as `New Model A`.
    pub(crate) name: String,
    /// The backend that it stands for, `green` or `blue`.
    pub(crate) backend: String,
    /// How long `run()` takes.
    pub(crate) delay: Duration,
}

/// Serves the model over HTTP/1.1 until `stop` completes; then it accepts no more connections, finishes the requests in
/// flight and returns.
pub(crate) async fn serve(
    listener: TcpListener,
    model: ScoringModel,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let served_by = HeaderValue::try_from(&model.backend).map_err(io::Error::other)?;
    let routes = Router::new()
        .route("/", get(health))
        .route("/score", any(score))
        .route("/swagger.json", get(swagger))
        .route_layer(from_fn(echo_request_ids))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(map_response(move |response| ready(name_server(response, served_by.clone()))))
        .with_state(Arc::new(model));
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

async fn health() -> Response {
    ([(header::CONTENT_TYPE, HTML)], "Healthy").into_response()
}

async fn score(State(model): State<Arc<ScoringModel>>, request: Request) -> Response {
    match *request.method() {
        Method::GET | Method::POST => run(&model, request.into_body()).await,
        Method::OPTIONS => {
            ([(header::CONTENT_TYPE, HTML), (RUN_FAILED, HeaderValue::from_static("False"))], "").into_response()
        }
        _ => method_not_allowed().await,
    }
}

/// As the sample's `run(raw_data)`: the body is read to its end, and its content does not matter.
async fn run(model: &ScoringModel, body: Body) -> Response {
    if axum::body::to_bytes(body, MAX_BODY_BYTES).await.is_err() {
        return failure(StatusCode::BAD_REQUEST, "the body is cut short or longer than 64 MiB");
    }
    let started = Instant::now();
    // Even a sleep of nothing takes a tick of the timer, a millisecond.
    if !model.delay.is_zero() {
        tokio::time::sleep(model.delay).await;
    }
    let millis = format!("{:.3}", started.elapsed().as_secs_f64() * 1000.0);
    ([(RUN_MILLIS, millis)], json_answer(StatusCode::OK, &json!(model.name))).into_response()
}

async fn swagger(State(model): State<Arc<ScoringModel>>) -> Response {
    let answers = json!({ "200": { "description": "The prediction", "schema": { "type": "string" } } });
    let document = json!({
        "swagger": "2.0",
        "info": { "title": format!("model-svc-{}", model.backend), "version": "1.0" },
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": {
            "/": { "get": { "responses": { "200": { "description": "Healthy" } } } },
            "/score": { "get": { "responses": answers.clone() }, "post": { "responses": answers } },
        },
    });
    json_answer(StatusCode::OK, &document)
}

async fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "there is nothing at this path")
}

async fn method_not_allowed() -> Response {
    failure(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

fn failure(status: StatusCode, message: &str) -> Response {
    json_answer(status, &json!({ "message": message }))
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, JSON), (RUN_FAILED, HeaderValue::from_static("False"))];
    (status, headers, value.to_string()).into_response()
}

fn name_server(mut response: Response, served_by: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("turnout-model"));
    headers.insert(SERVED_BY, served_by);
    response
}

/// Every known path has these headers, whatever the status.
async fn echo_request_ids(request: Request, next: Next) -> Response {
    let ids = request_ids(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().extend(ids);
    response
}

/// `x-ms-request-id` once named the client's request and still stands in for `x-ms-client-request-id`, and the other
/// way round.
fn request_ids(headers: &HeaderMap) -> HeaderMap {
    let given = |name| headers.get(name).filter(|value: &&HeaderValue| !value.is_empty()).cloned();
    let request = given(REQUEST_ID).unwrap_or_else(generated_id);
    let legacy = given(LEGACY_REQUEST_ID);
    let client = given(CLIENT_REQUEST_ID).or_else(|| legacy.clone());

    let mut ids = HeaderMap::new();
    ids.insert(LEGACY_REQUEST_ID, legacy.or_else(|| client.clone()).unwrap_or_else(|| request.clone()));
    ids.insert(REQUEST_ID, request);
    ids.extend(client.map(|client| (CLIENT_REQUEST_ID, client)));
    ids
}

/// An identifier in the form of a random UUID (RFC 9562 5.4).
fn generated_id() -> HeaderValue {
    let random = || RandomState::new().hash_one(Instant::now());
    let bits = (u128::from(random()) << 64) | u128::from(random());
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let mut id = String::with_capacity(36);
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    HeaderValue::try_from(id).expect("hexadecimal digits and hyphens are a header value")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    struct Served {
        addr: SocketAddr,
        stop: oneshot::Sender<()>,
        server: JoinHandle<io::Result<()>>,
    }

    async fn start() -> Served {
        let model = ScoringModel { name: "New Model A".to_owned(), backend: "green".to_owned(), delay: Duration::ZERO };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, model, async {
            // Only a message stops it: most tests let go of the sender.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Served { addr, stop, server }
    }

    /// The head in lower case and the body of the answer to a request that closes its connection.
    async fn exchange(addr: SocketAddr, line: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: model\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn each_path_answers_as_the_original_does() {
        let addr = start().await.addr;
        let check = async |line: &str, body: &str, status: u16, content_type: &str, expected: &str| {
            let (head, answer) = exchange(addr, line, "", body).await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{line}: {head}");
            assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{line}: {head}");
            assert!(head.contains("server: turnout-model"), "{line}: {head}");
            assert!(head.contains("x-served-by: green"), "{line}: {head}");
            assert_eq!(answer, expected, "{line}");
        };
        let (json, html) = ("application/json", "text/html; charset=utf-8");
        let model = "\"New Model A\"";
        check("POST /score", r#"{"data": [1]}"#, 200, json, model).await;
        check("POST /score", "neither JSON nor data", 200, json, model).await;
        check("POST /score", "", 200, json, model).await;
        check("GET /score", "", 200, json, model).await;
        check("GET /score?a=1", "", 200, json, model).await;
        check("OPTIONS /score", "", 200, html, "").await;
        check("GET /", "", 200, html, "Healthy").await;
        check("PUT /score", "", 405, json, r#"{"message":"this path does not take this method"}"#).await;
        check("POST /", "", 405, json, r#"{"message":"this path does not take this method"}"#).await;
        check("GET /scoreboard", "", 404, json, r#"{"message":"there is nothing at this path"}"#).await;
    }

    #[tokio::test]
    async fn the_swagger_document_names_the_backend_and_the_path() {
        let (head, body) = exchange(start().await.addr, "GET /swagger.json", "", "").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["swagger"], "2.0");
        assert_eq!(document["info"]["title"], "model-svc-green");
        assert!(document["paths"]["/score"]["post"].is_object());
    }

    #[tokio::test]
    async fn only_a_run_says_how_long_it_took() {
        let addr = start().await.addr;
        let check = async |line: &str, took: bool, failed: bool| {
            let (head, _) = exchange(addr, line, "", "").await;
            assert_eq!(head.contains("x-ms-run-fn-exec-ms: "), took, "{line}: {head}");
            assert_eq!(head.contains("x-ms-run-function-failed: false"), failed, "{line}: {head}");
        };
        check("POST /score", true, true).await;
        check("GET /score", true, true).await;
        check("OPTIONS /score", false, true).await;
        check("GET /", false, false).await;
        check("GET /other", false, true).await;
    }

    #[test]
    fn request_ids_are_echoed_and_stand_in_for_each_other() {
        let check = |given: &[(HeaderName, &'static str)], legacy: &str, client: Option<&str>| {
            let given: HeaderMap =
                given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let ids = request_ids(&given);
            assert_eq!(ids[LEGACY_REQUEST_ID], legacy, "{given:?}");
            assert_eq!(ids.get(CLIENT_REQUEST_ID).map(|id| id.to_str().unwrap()), client, "{given:?}");
            assert!(given.get(REQUEST_ID).is_none_or(|id| id == ids[REQUEST_ID]), "{given:?}");
        };
        check(&[(REQUEST_ID, "r")], "r", None);
        check(&[(LEGACY_REQUEST_ID, "l")], "l", Some("l"));
        check(&[(CLIENT_REQUEST_ID, "c")], "c", Some("c"));
        check(&[(REQUEST_ID, "r"), (LEGACY_REQUEST_ID, "l"), (CLIENT_REQUEST_ID, "c")], "l", Some("c"));
        check(&[(REQUEST_ID, "r"), (LEGACY_REQUEST_ID, "")], "r", None);
    }

    #[tokio::test]
    async fn a_known_path_always_has_a_request_id() {
        let addr = start().await.addr;
        let (head, _) = exchange(addr, "GET /", "x-ms-request-id: abc\r\n", "").await;
        assert!(head.contains("x-ms-request-id: abc\r\n"), "{head}");
        let (head, _) = exchange(addr, "PUT /score", "", "").await;
        assert!(head.contains("x-ms-request-id: "), "{head}");
        let (head, _) = exchange(addr, "GET /other", "x-ms-request-id: abc\r\n", "").await;
        assert!(!head.contains("request-id"), "{head}");
    }

    #[test]
    fn generated_ids_are_distinct_uuids() {
        let (one, other) = (generated_id(), generated_id());
        assert_ne!(one, other);
        let groups: Vec<_> = one.to_str().unwrap().split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']), "{one:?}");
    }

    #[tokio::test]
    async fn stopping_finishes_the_request_in_flight_and_closes_idle_connections() {
        let served = start().await;
        let _idle = TcpStream::connect(served.addr).await.unwrap();
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let head = b"POST /score HTTP/1.1\r\nhost: model\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

        served.stop.send(()).unwrap();
        stream.write_all(b"{}").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\"New Model A\""), "{answer}");
        served.server.await.unwrap().unwrap();
        assert!(TcpStream::connect(served.addr).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_carries_several_requests() {
        let mut stream = TcpStream::connect(start().await.addr).await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: model\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"Healthy") {
                answer.push(stream.read_u8().await.unwrap());
            }
        }
    }
}
