//! `/v1/version`: what Hasura's command line asks first.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use super::Shared;

/// Our own version, and on purpose not one of Hasura's form: its command line takes a number below 2 for an old Hasura and
/// leaves out what that one could not do, and takes what is no number for a build of its own, which can do everything.
pub(super) const VERSION: &str = concat!("weir-", env!("CARGO_PKG_VERSION"));

/// What this file answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/version", get(version))
}

async fn version() -> Json<Value> {
    Json(json!({ "server_type": "weir", "version": VERSION }))
}
