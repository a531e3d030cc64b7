//! `/healthz`, as Hasura answers it, and what the sources' health checks found.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Map, Value, json};
use weir_core::admin::time;

use super::Shared;
use crate::serve::health::Health;

/// What this file answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(health))
        .route("/hasura/healthz", get(health))
        .route("/healthz/sources", get(sources))
}

const OK: &str = "OK";
const WARN: &str = "WARN: inconsistent objects in schema";
const ERROR: &str = "ERROR: inconsistent objects in schema";

/// Whether everything that is declared serves. What is inconsistent fails the check only with `strict=true`: one bad
/// source must not make an orchestrator restart the process that serves the others.
async fn health(
    State(shared): State<Shared>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> (StatusCode, &'static str) {
    let state = shared.control.state();
    let metadata = &state.metadata;
    let is_consistent = metadata.inconsistent.is_empty()
        && metadata.inconsistent_listeners.is_empty()
        && state.errors().next().is_none();
    let is_strict = asked.get("strict").is_some_and(|value| value == "true");
    match (is_consistent, is_strict) {
        (true, _) => (StatusCode::OK, OK),
        (false, false) => (StatusCode::OK, WARN),
        (false, true) => (StatusCode::INTERNAL_SERVER_ERROR, ERROR),
    }
}

/// The last finding about each source that has a `health_check`; 500 when one of them is not well, as Hasura's.
async fn sources(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let findings = shared.control.views().health.findings();
    let all_well = findings.values().all(|finding| finding.health == Health::Ok);
    let answer: Map<String, Value> = findings
        .into_iter()
        .map(|(source, finding)| {
            let error = match &finding.health {
                Health::Ok => Value::Null,
                Health::Timeout(limit) => json!({ "message": format!("no answer within {} s", limit.as_secs_f64()) }),
                Health::Failed(reason) | Health::Error(reason) => json!({ "message": reason }),
            };
            let timestamp = time::iso(finding.time);
            let entry = json!({ "status": finding.health.status(), "error": error, "timestamp": timestamp });
            (source, entry)
        })
        .collect();
    let status = match all_well {
        true => StatusCode::OK,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(Value::Object(answer)))
}
