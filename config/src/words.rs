//! The fixed words of the metadata and what they mean.

use std::fmt;

use weir_core::settings::{PoolMode, ReplicaRouting, ServerReset};

use crate::{
    model::{
        IsolationLevel, ListenerKind, MssqlIsolationLevel, SequenceFunctions, SessionFunctions, SessionStatePolicy,
        SslMode,
    },
    quote::shorten,
    suggest,
};

/// `status` of `opentelemetry.yaml`.
pub(crate) const TELEMETRY_STATUS: Words<bool> = &[("enabled", true), ("disabled", false)];

/// A table of words.
pub(crate) type Words<T> = &'static [(&'static str, T)];

/// The meaning of a word, or what to say about it (begins with `:` or a space, to follow the setting's name).
pub(crate) fn find<T: Copy>(words: Words<T>, text: &str) -> Result<T, Unknown> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(Unknown {
            text: shorten(text),
            nearest: suggest::nearest(text, words.iter().map(|(word, _)| *word)),
            expected: all(words).join(" / "),
        }),
    }
}

/// The word for a meaning.
pub(crate) fn name_of<T: Copy + PartialEq>(words: Words<T>, meaning: T) -> &'static str {
    words
        .iter()
        .find(|(_, known)| *known == meaning)
        .map_or("", |(word, _)| word)
}

/// All words.
pub(crate) fn all<T>(words: Words<T>) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// A word that is not in its table.
#[derive(Debug)]
pub(crate) struct Unknown {
    text: String,
    nearest: Option<&'static str>,
    expected: String,
}

impl Unknown {
    /// What was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// All words, separated by ` / `.
    pub(crate) fn expected(&self) -> &str {
        &self.expected
    }

    /// The word that was probably meant.
    pub(crate) fn nearest(&self) -> Option<&'static str> {
        self.nearest
    }

    /// `Only expecting a / b / c`
    pub(crate) fn only_expecting(&self) -> String {
        let advice = self
            .nearest
            .map(|nearest| format!(", did you mean `{nearest}`?"))
            .unwrap_or_default();
        format!("Only expecting {}, got \"{}\"{advice}", self.expected, self.text)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nearest {
            Some(nearest) => write!(f, ": \"{}\" is not known, did you mean `{nearest}`?", self.text),
            None => write!(f, " must be one of {}, got \"{}\"", self.expected, self.text),
        }
    }
}

/// `sslmode`
pub(crate) const SSL_MODES: Words<SslMode> = &[
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// `isolation_level` of the Postgres family
pub(crate) const ISOLATION_LEVELS: Words<IsolationLevel> = &[
    ("read-committed", IsolationLevel::ReadCommitted),
    ("repeatable-read", IsolationLevel::RepeatableRead),
    ("serializable", IsolationLevel::Serializable),
];

/// `isolation_level` of SQL Server
pub(crate) const MSSQL_ISOLATION_LEVELS: Words<MssqlIsolationLevel> = &[
    ("read-uncommitted", MssqlIsolationLevel::ReadUncommitted),
    ("read-committed", MssqlIsolationLevel::ReadCommitted),
    ("repeatable-read", MssqlIsolationLevel::RepeatableRead),
    ("snapshot", MssqlIsolationLevel::Snapshot),
    ("serializable", MssqlIsolationLevel::Serializable),
];

/// `pool_mode`
pub(crate) const POOL_MODES: Words<PoolMode> = &[
    ("transaction", PoolMode::Transaction),
    ("session", PoolMode::Session),
    ("statement", PoolMode::Statement),
];

/// `server_reset`
pub(crate) const SERVER_RESETS: Words<ServerReset> = &[
    ("auto", ServerReset::Auto),
    ("always", ServerReset::Always),
    ("never", ServerReset::Never),
];

/// `read_replica_routing`
pub(crate) const ROUTINGS: Words<ReplicaRouting> = &[
    ("none", ReplicaRouting::None),
    ("read-only-transactions", ReplicaRouting::ReadOnlyTransactions),
    ("read-only-statements", ReplicaRouting::ReadOnlyStatements),
];

/// `session_state`
pub(crate) const SESSION_STATES: Words<SessionStatePolicy> = &[
    ("follow", SessionStatePolicy::Follow),
    ("reset", SessionStatePolicy::Reset),
];

/// `sequence_functions`
pub(crate) const SEQUENCE_FUNCTIONS: Words<SequenceFunctions> = &[
    ("learn", SequenceFunctions::Learn),
    ("pin", SequenceFunctions::Pin),
    ("forget", SequenceFunctions::Forget),
];

/// `session_functions`
pub(crate) const SESSION_FUNCTIONS: Words<SessionFunctions> = &[
    ("learn", SessionFunctions::Learn),
    ("pin", SessionFunctions::Pin),
    ("forget", SessionFunctions::Forget),
];

/// `customization.naming_convention`
pub(crate) const NAMING_CONVENTIONS: Words<()> = &[("hasura-default", ()), ("graphql-default", ())];

/// `query_tags.format`
pub(crate) const TAG_FORMATS: Words<()> = &[("standard", ()), ("sqlcommenter", ())];

/// `kind` of a listener
pub(crate) const LISTENER_KINDS: Words<ListenerKind> =
    &[("postgres", ListenerKind::Postgres), ("mssql", ListenerKind::Mssql)];
