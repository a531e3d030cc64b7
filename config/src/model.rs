//! What the loader produces: typed, validated, and free of YAML. Everything compares by value, so that two loads can be
//! told apart.
//!
//! Invariants: each source in [`Metadata::sources`] is usable as it is; one that is wrong is in
//! [`Metadata::inconsistent`] with its reason instead, and affects no other. Source names and database names are unique
//! over both lists.

mod front;
mod mssql;
mod postgres;
mod secret_source;
mod telemetry;

pub use front::*;
pub use mssql::*;
pub use postgres::*;
pub use secret_source::*;
pub use telemetry::*;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use weir_core::settings::{Origins, ReplicaRouting, Timeouts};
pub use weir_core::settings::{SequenceFunctions, SessionFunctions, SessionStatePolicy};

use crate::problem::Problem;

/// The result of a load: whatever could be understood, and everything that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What to run.
    pub metadata: Metadata,
    /// What to tell the operator, sorted by file and position.
    pub problems: Vec<Problem>,
    /// Every file that was read or looked for, and every `dynamic_from_file`: what to watch.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Whether anything is an error: `weir check` then exits non-zero.
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == crate::Severity::Error)
    }
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The sources that can be served, in the order of the file.
    pub sources: Vec<Source>,
    /// The sources that cannot, each with its reason. Their clients get the reason at once.
    pub inconsistent: Vec<InconsistentSource>,
    /// Whether the list of sources could be read. Then an empty one declares none, and nothing is lost of it.
    pub sources_are_known: bool,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// The listeners that must not be opened.
    pub inconsistent_listeners: Vec<InconsistentListener>,
    /// Who may log in.
    pub users: Vec<User>,
    /// Whether clients are to be authenticated; not to be told from `users` and `sources`, which lack what is wrong.
    pub admission: Admission,
    /// The HTTP interface.
    pub admin: Admin,
    /// What `opentelemetry.yaml` asks for.
    pub telemetry: Telemetry,
    /// Clients at a time over all listeners (`defaults.max_client_connections`); `None` = as many as the system allows.
    pub max_client_connections: Option<u32>,
    /// Where `max_client_connections` was set.
    pub origins: Origins,
    /// How long open transactions may take to finish when the gateway stops
    /// (`HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT`, 60 s).
    pub graceful_shutdown_timeout: Duration,
}

/// A database that clients reach by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The name in the metadata.
    pub name: String,
    /// The database names that clients use for it; `[name]` when nothing is said. At least one.
    pub database_names: Vec<String>,
    /// What it is.
    pub kind: SourceKind,
    /// Its addresses and pools.
    pub definition: Definition,
    /// Time limits of its clients.
    pub timeouts: Timeouts,
    /// Which statements replicas serve unasked.
    pub replica_routing: ReplicaRouting,
    /// What happens to session state in transaction mode.
    pub session_state: SessionStatePolicy,
    /// What becomes of `currval` and `lastval` in transaction mode.
    pub sequence_functions: SequenceFunctions,
    /// What becomes of `@@IDENTITY`, `@@ROWCOUNT` and their like in transaction mode.
    pub session_functions: SessionFunctions,
    /// Whether one connection listens for all clients.
    pub shared_listener: bool,
    /// Whether clients are told when they begin or cease to keep their server connection.
    pub pin_notice: bool,
    /// Clients at a time of this source; `None` = only the other limits.
    pub max_client_connections: Option<u32>,
    /// How its health is watched.
    pub health_check: Option<HealthCheck>,
    /// Sent when a server connection is opened; a client's own values win. Names are lower case.
    pub startup_parameters: BTreeMap<String, String>,
    /// Shown in the database instead of each client's own.
    pub application_name: Option<String>,
    /// Result caching. Read and validated; not served yet.
    pub caching: Caching,
    /// Where each source-level setting was set: `query_timeout`, `idle_in_transaction_timeout`, `database_names` …
    pub origins: Origins,
}

/// `kind` of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// `postgres`, `pg`, `alloy`
    Postgres,
    /// `citus`
    Citus,
    /// `cockroach`
    Cockroach,
    /// `mssql`
    Mssql,
}

impl SourceKind {
    /// As written in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::Postgres => "postgres",
            SourceKind::Citus => "citus",
            SourceKind::Cockroach => "cockroach",
            SourceKind::Mssql => "mssql",
        }
    }

    /// The protocol that its clients speak.
    pub fn listener_kind(self) -> ListenerKind {
        match self {
            SourceKind::Mssql => ListenerKind::Mssql,
            SourceKind::Postgres | SourceKind::Citus | SourceKind::Cockroach => ListenerKind::Postgres,
        }
    }
}

/// The part of a source that depends on its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// The Postgres family.
    Postgres(Box<PostgresSource>),
    /// SQL Server.
    Mssql(Box<MssqlSource>),
}

/// A source that is declared but cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InconsistentSource {
    /// Its name, or `source 3` (its position in the list) when even that is missing.
    pub name: String,
    /// Its kind, when that could be read.
    pub kind: Option<SourceKind>,
    /// The database names that would lead to it, without those that a consistent source has.
    pub database_names: Vec<String>,
    /// All its errors, each with file, line and column, separated by `; `. Fit for a client's eyes: no secret, no path
    /// outside the metadata.
    pub reason: String,
}

/// A listener that must not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InconsistentListener {
    /// Its name, or `listener 2`.
    pub name: String,
    /// Its kind, when that could be read.
    pub kind: Option<ListenerKind>,
    /// All its errors, separated by `; `.
    pub reason: String,
}

/// Hasura's `health_check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The statement to run; `SELECT 1` when nothing is said.
    pub sql: String,
    /// Pause between checks.
    pub interval: Duration,
    /// Repetitions before a source counts as unhealthy.
    pub retries: u32,
    /// Pause between them.
    pub retry_interval: Duration,
    /// Time limit of one check.
    pub timeout: Duration,
}

/// Result caching, with Hyperdrive's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Off. The default.
    pub disabled: bool,
    /// How long an answer counts as fresh (1 to 3600 s).
    pub max_age: Duration,
    /// How long a stale one may be given while a fresh one is fetched.
    pub stale_while_revalidate: Duration,
    /// Larger answers are not kept, bytes.
    pub max_response_size: u64,
}

impl Default for Caching {
    fn default() -> Self {
        Caching {
            disabled: true,
            max_age: Duration::from_secs(60),
            stale_while_revalidate: Duration::from_secs(15),
            max_response_size: 50 * 1024 * 1024,
        }
    }
}
