//! `/v1/metadata`, and `/v1/query`, its older name: requests of the form `{"type", "version"?, "resource_version"?, "args"}`, one file for each group of
//! types.
//!
//! Invariant: whatever a request is part of, it is understood and answered in the same way; only the path in its errors
//! says where it stood.

mod arguments;
mod bulk;
mod change;
mod inconsistent;
mod operate;
mod pool_stats;
mod read;
mod recent;
mod reload;
mod test_connection;

use std::pin::Pin;

pub(super) use recent::Looks;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Map, Value, json};

use super::{
    Shared, body,
    errors::{ApiError, Code},
};
use arguments::parse_failed;

/// What this folder answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/metadata", post(metadata))
        // Where Hasura's command line, whatever it is to do, asks first for the version of the metadata.
        .route("/v1/query", post(metadata))
}

async fn metadata(State(shared): State<Shared>, request: axum::extract::Request) -> Result<Json<Value>, ApiError> {
    let body = body::json(&shared, request).await?;
    let body::Read { value, _place: place } = body;
    let request = Request::parse(value, "$")?;
    // It waits for others; the place is for those that are read.
    let _place = (!operate::waits(&request.kind, &request.args)).then_some(place);
    run(&shared, request).await.map(Json)
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    /// What is asked for.
    pub(super) kind: String,
    /// Of the arguments and the answer; `None` where nothing is said.
    pub(super) version: Option<u64>,
    /// The version of the metadata that it is meant for.
    pub(super) resource_version: Option<u64>,
    /// Its arguments; `{}` when there are none.
    pub(super) args: Value,
    /// Where it stands: `$`, `$.args[1]`.
    pub(super) path: String,
    /// How many bulks it stands in.
    pub(super) depth: usize,
}

impl Request {
    fn parse(value: Value, path: &str) -> Result<Self, ApiError> {
        let Value::Object(mut fields) = value else {
            return Err(parse_failed("a request is an object with the keys \"type\" and \"args\"").at(path));
        };
        let kind = match fields.remove("type") {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(parse_failed("expected a string").at(format!("{path}.type"))),
            None => return Err(parse_failed("key \"type\" not found").at(path)),
        };
        let mut number = |key: &str| match fields.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(parse_failed("expected a whole number").at(format!("{path}.{key}"))),
            },
        };
        let (version, resource_version) = (number("version")?, number("resource_version")?);
        if version.is_some_and(|version| !(1..=2).contains(&version)) {
            return Err(parse_failed("expected 1 or 2").at(format!("{path}.version")));
        }
        Ok(Request {
            kind,
            version,
            resource_version,
            args: fields.remove("args").unwrap_or(Value::Object(Map::new())),
            path: path.to_owned(),
            depth: 0,
        })
    }

    /// Where the arguments stand.
    fn args_path(&self) -> String {
        format!("{}.args", self.path)
    }

    /// Where this one of them stands.
    fn at(&self, key: &str) -> String {
        format!("{}.args.{key}", self.path)
    }
}

/// What is answered, some time.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;

/// Carries a request out; boxed, because a bulk may hold another one.
fn run(shared: &Shared, request: Request) -> Answering<'_> {
    Box::pin(dispatch(shared, request))
}

/// The one list of all types, but for those that change the metadata: they are in `change`.
async fn dispatch(shared: &Shared, request: Request) -> Result<Value, ApiError> {
    if let Some(wanted) = change::wanted(&request) {
        let mut answers = change::carry_out(shared, vec![wanted?], request.resource_version).await?;
        return Ok(answers.pop().unwrap_or_else(success));
    }
    match request.kind.as_str() {
        "get_pool_stats" => Ok(pool_stats::get(shared, &request.args)),
        "pause_source" => operate::pause(shared, &request).await,
        "resume_source" => operate::resume(shared, &request).await,
        "restart_source" => operate::restart(shared, &request).await,
        "export_metadata" => read::export(shared, &request).await,
        "get_inconsistent_metadata" => Ok(inconsistent::report(&shared.control.state())),
        "reload_metadata" => reload::reload(shared, &request).await,
        "list_source_kinds" => Ok(read::source_kinds()),
        "pg_test_connection" | "citus_test_connection" | "cockroach_test_connection" | "mssql_test_connection" => {
            test_connection::run(&request).await
        }
        "bulk" => bulk::in_order(shared, request).await,
        "bulk_keep_going" => bulk::keep_going(shared, request).await,
        "bulk_atomic" => bulk::atomic(shared, request).await,
        "concurrent_bulk" => bulk::concurrent(shared, request).await,
        _ => Err(read::unknown(&request)),
    }
}

/// Whether a request only looks.
fn is_read(kind: &str) -> bool {
    [
        "export_metadata",
        "get_inconsistent_metadata",
        "list_source_kinds",
        "get_pool_stats",
    ]
    .contains(&kind)
        || kind.ends_with("_test_connection")
}

fn success() -> Value {
    json!({ "message": "success" })
}

fn not_supported(request: &Request, error: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, Code::NotSupported, error).at(request.args_path())
}
