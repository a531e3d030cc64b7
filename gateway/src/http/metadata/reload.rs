//! `reload_metadata`: files and environment are read again and applied.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Request, arguments::Arguments, change::refused_files, inconsistent};
use crate::http::{
    Shared,
    errors::{ApiError, Code},
};

/// `{"message": "success", "is_consistent": true}`. Sources that are named have to be there; all of them are read again
/// in any case, because the metadata applies as a whole.
pub(super) async fn reload(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    let path = request.args_path();
    let args = Arguments::of(&request.args, &path)?;
    for key in ["reload_sources", "recreate_event_triggers"] {
        match args.optional(key) {
            None | Some(Value::Bool(_)) => {}
            Some(Value::Array(names)) => names.iter().try_for_each(|name| is_declared(shared, name, &path))?,
            Some(other) => return Err(args.wrong(key, "a boolean or an array of names", other)),
        }
    }
    let applied = shared.control.reload("metadata API").await;
    let state = applied.map_err(|refused| refused_files(refused).at(path))?.state;
    let report = inconsistent::report(&state);
    let mut answer = json!({ "message": "success", "is_consistent": report["is_consistent"] });
    if report["is_consistent"] == false {
        answer["inconsistent_objects"] = report["inconsistent_objects"].clone();
    }
    Ok(answer)
}

fn is_declared(shared: &Shared, name: &Value, path: &str) -> Result<(), ApiError> {
    let state = shared.control.state();
    let metadata = &state.metadata;
    let consistent = metadata.sources.iter().any(|source| *name == source.name.as_str());
    let inconsistent = metadata.inconsistent.iter().any(|source| *name == source.name.as_str());
    if consistent || inconsistent {
        return Ok(());
    }
    let error = format!(
        "Source with name \"{}\" not found in metadata",
        name.as_str().unwrap_or_default()
    );
    Err(ApiError::new(StatusCode::BAD_REQUEST, Code::NotExists, error).at(path))
}
