//! Values as text. Whatever is made here is read again before it counts: see `edit`.

use serde_json::Value;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

impl Format {
    /// How this file is written: JSON is valid YAML, and stays what it is.
    pub(super) fn of(text: &str) -> Self {
        match text.trim_start().starts_with(['{', '[']) {
            true => Format::Json,
            false => Format::Yaml,
        }
    }
}

/// A whole file.
pub(super) fn file(value: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{value:#}\n"),
        Format::Yaml => lines(value).join("\n") + "\n",
    }
}

/// A value in block style.
pub(super) fn lines(value: &Value) -> Vec<String> {
    let text = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
    text.trim_end_matches('\n').lines().map(str::to_owned).collect()
}

/// `key: value` in block style.
pub(super) fn entry(key: &str, value: &Value) -> Vec<String> {
    lines(&Value::Object([(key.to_owned(), value.clone())].into_iter().collect()))
}

/// `- value` in block style.
pub(super) fn item(value: &Value) -> Vec<String> {
    lines(&Value::Array(vec![value.clone()]))
}
