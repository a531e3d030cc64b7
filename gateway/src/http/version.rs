//! `/v1/version`: what Hasura's command line asks first.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use super::Shared;

/// What this file answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/version", get(version))
}

async fn version() -> Json<Value> {
    Json(json!({ "server_type": "weir", "version": concat!("v", env!("CARGO_PKG_VERSION")) }))
}
