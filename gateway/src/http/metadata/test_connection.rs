//! `pg_test_connection` and its like (Hasura has none): every connection of a configuration opened once, with the reason
//! by which Hyperdrive names what went wrong. Nothing is kept of it.

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_config::{ProcessEnvironment, document::Kind};
use weir_core::refusal::OpenError;

use super::{
    Request,
    arguments::{Arguments, parse_failed},
    inconsistent,
};
use crate::{
    check::{
        connections::{self, Connection},
        json,
    },
    http::errors::{ApiError, Code},
};

/// The name under which the configuration is looked at.
const NAME: &str = "test_connection";

/// `{configuration}`, or the `{name, configuration}` of a source that is to be added.
pub(super) async fn run(request: &Request) -> Result<Value, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    let kind = request
        .kind
        .split_once('_')
        .and_then(|(prefix, _)| Kind::of_prefix(prefix));
    let kind = kind.ok_or_else(|| parse_failed("the type begins with no kind of source").at(&request.path))?;
    let tried = connect(kind, &args.object("configuration")?, &path).await?;
    if let Some(failed) = tried.iter().find(|connection| connection.outcome.is_err()) {
        return Err(failure(failed, &tried, &path));
    }
    let connections: Vec<Value> = tried.iter().map(json::connection).collect();
    Ok(json!({ "message": "success", "connections": connections }))
}

/// As Hasura, which accepts only a source whose database answers. Settings that are wrong are left to the loader, which
/// says so with the others.
pub(super) async fn must_connect(kind: Kind, configuration: &Value, path: &str) -> Result<(), ApiError> {
    let Ok(tried) = connect(kind, configuration, path).await else {
        return Ok(());
    };
    // Replicas may be down when a source is added; the primary may not.
    match tried.first().filter(|primary| primary.outcome.is_err()) {
        Some(failed) => Err(failure(failed, &tried, path)),
        None => Ok(()),
    }
}

async fn connect(kind: Kind, configuration: &Value, path: &str) -> Result<Vec<Connection>, ApiError> {
    let source = json!({ "name": NAME, "kind": kind.as_str(), "configuration": configuration, "tables": [] });
    let document = json!({ "version": 3, "sources": [source] });
    let loading = tokio::task::spawn_blocking(move || weir_config::load_document(&document, &ProcessEnvironment));
    let broke_off = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unexpected, "reading broke off");
    let loaded = loading.await.map_err(broke_off)?;
    if loaded.metadata.sources.is_empty() {
        let objects = inconsistent::objects(&loaded.problems);
        let reasons: Vec<&str> = objects.iter().filter_map(|object| object["reason"].as_str()).collect();
        let error = ApiError::new(StatusCode::BAD_REQUEST, Code::InvalidConfiguration, reasons.join(", "));
        return Err(error.at(path).with_internal(json!(objects)));
    }
    Ok(connections::probe_all(&loaded.metadata).await)
}

fn failure(failed: &Connection, tried: &[Connection], path: &str) -> ApiError {
    let Err(error) = &failed.outcome else {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unexpected, "connection error").at(path);
    };
    let (number, reason) = reason(error);
    let object = json!({
        "type": "source",
        "name": failed.part,
        "reason": "Inconsistent object: connection error",
        "message": error.to_string(),
    });
    let internal = json!({
        "reason": { "code": number, "message": reason },
        "inconsistent_objects": [object],
        "connections": tried.iter().map(json::connection).collect::<Vec<_>>(),
    });
    let text = format!("connection error: {reason} ({}): {error}", failed.part);
    ApiError::new(StatusCode::BAD_REQUEST, Code::InvalidConfiguration, text)
        .at(format!("{path}.configuration"))
        .with_internal(internal)
}

/// Hyperdrive's number and meaning.
fn reason(error: &OpenError) -> (u32, &'static str) {
    match error {
        OpenError::Rejected(rejection) => match rejection.code.as_str() {
            "28P01" | "28000" | "18456" => (2013, "credentials rejected"),
            "3D000" | "4060" => (2014, "database does not exist"),
            _ => (2015, "the database refused"),
        },
        OpenError::Unreachable(text) if text.contains("refused") => (2011, "connection refused"),
        OpenError::Unreachable(text) if text.contains("lookup") || text.contains("resolve") => (2008, "bad hostname"),
        OpenError::Unreachable(_) | OpenError::TimedOut(_) => (2010, "cannot connect to host and port"),
        OpenError::Untrusted(_) => (2012, "TLS is not possible with this database as configured"),
        OpenError::Misconfigured(_) => (2015, "what the configuration refers to cannot be used"),
    }
}
