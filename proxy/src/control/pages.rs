//! Pages that grow with the routes. They are written off the control thread, so that `/livez` and reloads do not wait
//! for them, and one at a time, so that they take no more than one thread from the workers.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use tokio::sync::Mutex;

/// The turn to write a page.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<()>);

impl Pages {
    /// Has a page written when it is its turn.
    pub(super) async fn write<P: IntoResponse + Send + 'static>(
        &self,
        write: impl FnOnce() -> P + Send + 'static,
    ) -> Response {
        let _turn = self.0.lock().await;
        match tokio::task::spawn_blocking(write).await {
            Ok(page) => page.into_response(),
            Err(error) => {
                tracing::error!(%error, "a page could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// In place of what needs a table before there is one.
pub(super) fn no_routes() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "no routes yet; see /revision on the status port" })))
        .into_response()
}
