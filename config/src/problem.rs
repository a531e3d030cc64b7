//! What is wrong with the metadata, for people: where, how bad, and what to do.
//!
//! Invariant: a message never holds the value of a secret, nor of an environment variable or a file's content.

use std::{fmt, sync::Arc};

/// A position in a file of the metadata, or the name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The path relative to the metadata directory, or `environment variable X`.
    pub file: Arc<str>,
    /// Counted from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Counted from 1, in characters; 0 when the whole line or file is meant.
    pub column: u32,
}

impl Place {
    /// A whole file.
    pub fn whole(file: impl Into<Arc<str>>) -> Self {
        Place {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// What it stands in (a source, a listener, a user) is not served.
    Error,
    /// Served, but probably not as meant.
    Warning,
    /// Good to know.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        })
    }
}

/// One thing that is wrong, or good to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What happened and what to do.
    pub message: String,
    /// What it concerns; with [`Severity::Error`], what it makes inconsistent.
    pub subject: Subject,
}

impl Problem {
    /// The source that this concerns.
    pub fn source(&self) -> Option<&str> {
        match &self.subject {
            Subject::Source(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    /// `databases/databases.yaml:9:9: error: idle_timeout must be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.severity, self.message)
    }
}

/// What a problem concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The metadata as a whole.
    #[default]
    Everything,
    /// One source.
    Source(String),
    /// One listener.
    Listener(String),
    /// One user.
    User(String),
    /// `opentelemetry.yaml`.
    Telemetry,
}
