//! `/v1/metadata`: requests of the form `{"type", "version"?, "resource_version"?, "args"}`, one file for each group of
//! types.

mod reload;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Map, Value};

use super::{
    Shared, body,
    errors::{ApiError, Code},
};

/// What this folder answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/metadata", post(metadata))
}

async fn metadata(State(shared): State<Shared>, request: axum::extract::Request) -> Result<Json<Value>, ApiError> {
    let body = body::json(&shared, request).await?;
    let request = Request::parse(body.value)?;
    run(&shared, request).await.map(Json)
}

/// One request.
pub(super) struct Request {
    /// What is asked for.
    pub(super) kind: String,
    /// Its arguments; `{}` when there are none.
    pub(super) args: Value,
}

impl Request {
    fn parse(value: Value) -> Result<Self, ApiError> {
        let parse_failed = |error: &str| ApiError::new(StatusCode::BAD_REQUEST, Code::ParseFailed, error);
        let Value::Object(mut fields) = value else {
            return Err(parse_failed(
                "a request is an object with the keys \"type\" and \"args\"",
            ));
        };
        let Some(Value::String(kind)) = fields.remove("type") else {
            return Err(parse_failed("key \"type\" not found"));
        };
        let args = fields.remove("args").unwrap_or(Value::Object(Map::new()));
        Ok(Request { kind, args })
    }
}

/// Carries a request out. The one list of all types.
async fn run(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    match request.kind.as_str() {
        "reload_metadata" => reload::reload(shared, &request.args).await,
        unknown => {
            let error = format!("unknown metadata command {unknown:?}");
            Err(ApiError::new(StatusCode::BAD_REQUEST, Code::ParseFailed, error).at("$.type"))
        }
    }
}
