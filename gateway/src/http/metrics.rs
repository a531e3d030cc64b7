//! `/v1/metrics` and `/metrics`, for Prometheus.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::Shared;
use crate::metrics::{Format, Inputs, gather, write};

/// What this file answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/metrics", get(metrics))
        .route("/metrics", get(metrics))
}

/// Answers under way at a time: each holds a copy of all numbers, and nobody is hurt by waiting for another's.
static TURN: Semaphore = Semaphore::const_new(2);

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let _turn = TURN.acquire().await;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let control = shared.control.clone();
    let written = tokio::task::spawn_blocking(move || write(&gather(&Inputs::of(&control)), format)).await;
    match written {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        // It panicked, and the log has it.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
