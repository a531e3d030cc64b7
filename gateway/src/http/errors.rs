//! Errors as Hasura's metadata API shows them: `{"path", "error", "code", "internal"?}`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An answer that says no.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// Where in the request: `$.args.name`.
    pub(crate) path: String,
    /// For people.
    pub(crate) error: String,
    /// For programs.
    pub(crate) code: Code,
    /// What an administrator may know besides.
    pub(crate) internal: Option<Box<Value>>,
}

/// Hasura's codes, as far as there are occasions for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own word")]
pub(crate) enum Code {
    AccessDenied,
    AlreadyExists,
    BadRequest,
    Conflict,
    DependencyError,
    InvalidConfiguration,
    InvalidJson,
    MetadataWarnings,
    MethodNotAllowed,
    NotExists,
    NotFound,
    NotSupported,
    ParseFailed,
    Timeout,
    Unexpected,
}

impl Code {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Code::AccessDenied => "access-denied",
            Code::AlreadyExists => "already-exists",
            Code::BadRequest => "bad-request",
            Code::Conflict => "conflict",
            Code::DependencyError => "dependency-error",
            Code::InvalidConfiguration => "invalid-configuration",
            Code::InvalidJson => "invalid-json",
            Code::MetadataWarnings => "metadata-warnings",
            Code::MethodNotAllowed => "method-not-allowed",
            Code::NotExists => "not-exists",
            Code::NotFound => "not-found",
            Code::NotSupported => "not-supported",
            Code::ParseFailed => "parse-failed",
            Code::Timeout => "timeout",
            Code::Unexpected => "unexpected",
        }
    }
}

impl ApiError {
    /// About the request as a whole.
    pub(crate) fn new(status: StatusCode, code: Code, error: impl Into<String>) -> Self {
        ApiError {
            status,
            path: "$".to_owned(),
            error: error.into(),
            code,
            internal: None,
        }
    }

    /// About this part of it.
    #[must_use]
    pub(crate) fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// With something more for administrators.
    #[must_use]
    pub(crate) fn with_internal(mut self, internal: Value) -> Self {
        self.internal = Some(Box::new(internal));
        self
    }

    /// There is nothing under this address.
    pub(crate) fn not_found() -> Self {
        ApiError::new(StatusCode::NOT_FOUND, Code::NotFound, "resource does not exist")
    }

    /// The address is right, the method is not.
    pub(crate) fn method_not_allowed() -> Self {
        let error = "this address does not take requests of this method";
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, error)
    }

    /// The answer's body.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "path": self.path, "error": self.error, "code": self.code.as_str() });
        if let Some(internal) = &self.internal {
            body["internal"] = Value::clone(internal);
        }
        body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
