//! Requests that only look: `export_metadata`, `list_source_kinds`; and the answer to what is not served.

use serde_json::{Value, json};
use weir_config::document::Kind;

use super::{Request, arguments::parse_failed, change::refusal, not_supported};
use crate::http::{Shared, errors::ApiError};

/// Requests of Hasura's for which a pooler has no answer, by the end of their names.
const GRAPHQL: [&str; 16] = [
    "_table",
    "_tables",
    "_function",
    "_trackables",
    "_relationship",
    "_permission",
    "_trigger",
    "_triggers",
    "_field",
    "_schema",
    "_action",
    "_collection",
    "_endpoint",
    "_model",
    "_query",
    "_capabilities",
];

/// Version 1 is the metadata itself, version 2 has its `resource_version` beside it.
pub(super) async fn export(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    let path = request.args_path();
    let exported = shared
        .control
        .export()
        .await
        .map_err(|error| refusal(error, |_| &path))?;
    match request.version {
        Some(2) => Ok(json!({ "resource_version": exported.resource_version, "metadata": exported.metadata })),
        _ => Ok(exported.metadata),
    }
}

/// What is served here.
pub(super) fn source_kinds() -> Value {
    let kinds = Kind::ALL.map(|kind| {
        let kind = match kind {
            Kind::Postgres => "pg",
            other => other.as_str(),
        };
        json!({ "kind": kind, "builtin": true, "available": true, "display_name": kind })
    });
    json!({ "sources": kinds })
}

/// A request of no type that is served.
pub(super) fn unknown(request: &Request) -> ApiError {
    let kind = &request.kind;
    if ["get_catalog_state", "set_catalog_state"].contains(&kind.as_str()) {
        let why = "there is no catalog here: the metadata stands in files, and migrations are not this gateway's";
        return not_supported(request, format!("{kind}: {why}"));
    }
    if GRAPHQL.iter().any(|end| kind.ends_with(end)) {
        return not_supported(
            request,
            format!(
                "{kind} is about a GraphQL API, which this gateway does not serve: such metadata is kept as it is, and changed with replace_metadata"
            ),
        );
    }
    let (prefix, command) = kind.split_once('_').unwrap_or((kind, ""));
    let error = match Kind::of_prefix(prefix) {
        Some(backend) => format!(
            "unknown metadata command \"{command}\" for backend {}",
            backend.as_str()
        ),
        None => format!("unknown metadata command \"{kind}\"; \"{prefix}\" was not recognized as a valid backend name"),
    };
    parse_failed(&error).at(&request.path)
}
