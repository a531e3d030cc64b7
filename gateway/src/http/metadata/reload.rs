//! `reload_metadata`: files and environment are read again and applied.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::{
    http::{
        Shared,
        errors::{ApiError, Code},
    },
    serve::control::Refused,
};

/// `{"message":"success","is_consistent":true}`
pub(super) async fn reload(shared: &Shared, _args: &Value) -> Result<Value, ApiError> {
    let applied = shared.control.reload("reload_metadata").await.map_err(refused)?;
    let is_consistent = applied.state.metadata.inconsistent.is_empty();
    Ok(json!({ "message": "success", "is_consistent": is_consistent }))
}

/// What stands against new metadata, problem by problem.
pub(super) fn refused(refused: Refused) -> ApiError {
    let problems = refused.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    ApiError::new(StatusCode::BAD_REQUEST, Code::Unexpected, refused.reason)
        .at("$.args")
        .with_internal(json!(problems))
}
