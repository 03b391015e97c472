//! A server in the test's process that answers instant queries as Prometheus' API does, and a record of what it was asked.

use crate::server::Server;
use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// When queries are answered that name no time.
pub(crate) const NOW: &str = "1764531600.123";

/// What an expression is answered with: a status and a text; without a text never.
type Answers = BTreeMap<String, (StatusCode, Option<String>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) expression: String,
    pub(crate) time: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Clone, Default)]
struct Store {
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The server. It ends with the value.
pub(crate) struct Prometheus {
    pub(crate) server: Server,
    store: Store,
}

impl Prometheus {
    /// These expressions have one value each.
    pub(crate) fn start(values: &[(&str, &str)]) -> Self {
        let (store, router) = Self::router();
        Self { server: Server::start(router), store }.with(values)
    }

    /// As [`Prometheus::start`], behind TLS for this machine; also its certificate.
    pub(crate) fn start_with_tls(values: &[(&str, &str)]) -> (Self, String) {
        let (store, router) = Self::router();
        let (server, [certificate, _]) = crate::tls::start(router, &["127.0.0.1"], false);
        (Self { server, store }.with(values), certificate)
    }

    fn router() -> (Store, Router) {
        let store = Store::default();
        let serving = store.clone();
        let query = get(async move |query, headers| serving.query(query, headers).await);
        let router = Router::new().route("/api/v1/query", query.clone()).route("/mimir/api/v1/query", query);
        (store, router)
    }

    fn with(self, values: &[(&str, &str)]) -> Self {
        for (expression, value) in values {
            self.put(expression, &vector(&[*value]));
        }
        self
    }

    /// What an expression has from here on.
    pub(crate) fn put(&self, expression: &str, data: &Value) {
        self.answer(expression, 200, &json!({"status": "success", "data": data}).to_string());
    }

    /// What is answered to an expression from here on, word for word.
    pub(crate) fn answer(&self, expression: &str, status: u16, body: &str) {
        let answer = (StatusCode::from_u16(status).unwrap(), Some(body.to_owned()));
        self.store.answers.lock().unwrap().insert(expression.to_owned(), answer);
    }

    /// An expression is never answered from here on.
    pub(crate) fn hang(&self, expression: &str) {
        self.store.answers.lock().unwrap().insert(expression.to_owned(), (StatusCode::OK, None));
    }

    /// What it was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.store.asked.lock().unwrap())
    }
}

impl Store {
    async fn query(self, Query(parameters): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Response {
        let expression = parameters["query"].clone();
        let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let time = parameters.get("time").cloned();
        self.asked.lock().unwrap().push(Asked { expression: expression.clone(), time, authorization });
        let answer = self.answers.lock().unwrap().get(&expression).cloned();
        match answer {
            Some((status, Some(body))) => (status, body).into_response(),
            Some((_, None)) => std::future::pending().await,
            None => json!({"status": "success", "data": vector(&[])}).to_string().into_response(),
        }
    }
}

/// So many series with a value each.
pub(crate) fn vector(values: &[&str]) -> Value {
    let sample =
        |(number, value): (usize, &&str)| json!({"metric": {"pod": number.to_string()}, "value": [now(), value]});
    json!({"resultType": "vector", "result": values.iter().enumerate().map(sample).collect::<Vec<_>>()})
}

pub(crate) fn scalar(value: &str) -> Value {
    json!({"resultType": "scalar", "result": [now(), value]})
}

fn now() -> Value {
    serde_json::from_str(NOW).unwrap()
}
