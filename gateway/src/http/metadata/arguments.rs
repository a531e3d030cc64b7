//! Reads the arguments of a request, with Hasura's words for what is missing or of the wrong kind.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::http::errors::{ApiError, Code};

/// The arguments of one request.
pub(super) struct Arguments<'a> {
    fields: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Arguments<'a> {
    /// `path` is that of the arguments: `$.args`.
    ///
    /// # Errors
    /// `parse-failed` when they are no object.
    pub(super) fn of(args: &'a Value, path: &'a str) -> Result<Self, ApiError> {
        match args {
            Value::Object(fields) => Ok(Arguments { fields, path }),
            other => Err(wrong(path, "an object", other)),
        }
    }

    /// A text that has to be there.
    pub(super) fn text(&self, key: &str) -> Result<String, ApiError> {
        match self.required(key)? {
            Value::String(text) if text.is_empty() => {
                Err(parse_failed("empty string not allowed").at(format!("{}.{key}", self.path)))
            }
            Value::String(text) => Ok(text.clone()),
            other => Err(self.wrong(key, "a string", other)),
        }
    }

    /// An object that has to be there.
    pub(super) fn object(&self, key: &str) -> Result<Value, ApiError> {
        match self.required(key)? {
            value @ Value::Object(_) => Ok(value.clone()),
            other => Err(self.wrong(key, "an object", other)),
        }
    }

    /// A switch; `default` when nothing is said.
    pub(super) fn switch(&self, key: &str, default: bool) -> Result<bool, ApiError> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(self.wrong(key, "a boolean", other)),
        }
    }

    /// A value that may be missing or null.
    pub(super) fn optional(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// The objects of these names, as far as they are given.
    pub(super) fn objects(&self, keys: &[&str]) -> Result<Map<String, Value>, ApiError> {
        let mut found = Map::new();
        for key in keys {
            match self.optional(key) {
                None => {}
                Some(value @ Value::Object(_)) => {
                    found.insert((*key).to_owned(), value.clone());
                }
                Some(other) => return Err(self.wrong(key, "an object", other)),
            }
        }
        Ok(found)
    }

    /// This value is not what it should be.
    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> ApiError {
        wrong(&format!("{}.{key}", self.path), expected, found)
    }

    fn required(&self, key: &str) -> Result<&'a Value, ApiError> {
        let value = self.fields.get(key);
        value.ok_or_else(|| parse_failed(&format!("key \"{key}\" not found")).at(self.path))
    }
}

pub(super) fn parse_failed(error: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, Code::ParseFailed, error)
}

fn wrong(path: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    parse_failed(&format!("expected {expected}, but encountered {found}")).at(path)
}
