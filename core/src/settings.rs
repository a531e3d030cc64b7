//! Validated values that steer pools and clients. No YAML here: `config` produces these, the core only obeys them.
//!
//! Invariant: a value of these types is usable as it is; whoever builds one has checked bounds and precedence
//! (`total_max_connections` over `max_connections`, 0 and null).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a client keeps a server connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// For one transaction, or one statement outside of one.
    #[default]
    Transaction,
    /// From the first statement until the client goes away.
    Session,
    /// For one statement; explicit transactions are refused.
    Statement,
}

/// Whether a server connection is put back to a fresh state between clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerReset {
    /// What was touched, or could not be proved untouched.
    #[default]
    Auto,
    /// Everything, after every use by another client.
    Always,
    /// Nothing. For a single trusted application that keeps no session state.
    Never,
}

/// What happens to session state in transaction mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionStatePolicy {
    /// `follow`: replayed or pinned, so that the application notices nothing.
    #[default]
    Follow,
    /// `reset`: forgotten at the end of the transaction.
    Reset,
}

/// What `currval` and `lastval` are worth in transaction mode: they are about one session, and can be given to no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SequenceFunctions {
    /// Who draws from a sequence keeps the connection once its user has been seen to ask.
    #[default]
    Learn,
    /// Who draws from a sequence keeps the connection.
    Pin,
    /// Nobody keeps a connection for it: asking is an error on another one.
    Forget,
}

/// What `@@IDENTITY`, `SCOPE_IDENTITY()`, `@@ROWCOUNT` and `@@ERROR` are worth in transaction mode, when a request asks for
/// what an earlier one did: they are about one session, and can be given to no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionFunctions {
    /// Who writes keeps the connection, once its user has been seen to ask, until it has asked.
    #[default]
    Learn,
    /// Who writes keeps the connection.
    Pin,
    /// Nobody keeps a connection for it: what is told on another one is what a new session is told.
    Forget,
}

/// Which statements may go to read replicas without the client asking for it by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReplicaRouting {
    /// Only clients that connect to `name@read_replicas`.
    #[default]
    None,
    /// Transactions that the client declared `READ ONLY`.
    ReadOnlyTransactions,
    /// Those, and single statements that cannot write.
    ReadOnlyStatements,
}

/// Which sources a user may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSources {
    /// `"*"`
    All,
    /// These; each is declared.
    Named(Vec<String>),
}

impl UserSources {
    /// Whether this source is one of them.
    pub fn cover(&self, source: &str) -> bool {
        match self {
            UserSources::All => true,
            UserSources::Named(names) => names.iter().any(|name| name == source),
        }
    }
}

/// Where each effective value came from, for error texts: `databases.yaml:9:9`, `built-in default`, an environment variable.
///
/// Keys are the names that a user writes, for example `max_connections`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Arc<BTreeMap<String, String>>);

impl Origins {
    /// Where `setting` was set.
    pub fn of(&self, setting: &str) -> &str {
        self.0.get(setting).map_or("built-in default", String::as_str)
    }
}

/// One pool: the connections of one source to one endpoint (primary or one replica).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Hard limit of server connections in any state; at least 1. Already the share of this instance when
    /// `total_max_connections` is set.
    pub max_connections: u32,
    /// Further connections that may be opened while clients have waited longer than [`PoolSettings::OVERFLOW_PATIENCE`];
    /// closed first. 0 makes `max_connections` the last word.
    pub overflow_connections: u32,
    /// Connections kept open even when idle.
    pub min_connections: u32,
    /// An idle connection is closed after this; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// A connection older than this (jittered by ±10 % each) is not handed out again; `None` = no limit.
    pub connection_lifetime: Option<Duration>,
    /// How long a client waits for a connection; `None` = for ever.
    pub pool_timeout: Option<Duration>,
    /// Repetitions of a failed connect before the waiters are told. Statements are never repeated.
    pub retries: u32,
    /// Bounds DNS, TCP, TLS and login of one server connection together.
    pub connect_timeout: Duration,
    /// When a connection goes back.
    pub pool_mode: PoolMode,
    /// Whether it is put back to a fresh state.
    pub server_reset: ServerReset,
    /// Prepared statements kept per server connection; the least recently used one is closed beyond that.
    pub max_prepared_statements: u32,
    /// Where each value was set.
    pub origins: Origins,
}

impl PoolSettings {
    /// How long the head of the queue waits before overflow connections are used.
    pub const OVERFLOW_PATIENCE: Duration = Duration::from_millis(500);
    /// Connections being opened at one time, per pool: enough to fill a pool quickly, too few to be a login storm
    /// on a database that just came back.
    pub const MAX_SIMULTANEOUS_OPENS: u32 = 4;
}

impl Default for PoolSettings {
    /// Hasura's defaults, with the finite `pool_timeout` of the architecture's answers.
    fn default() -> Self {
        PoolSettings {
            max_connections: 50,
            overflow_connections: 0,
            min_connections: 0,
            idle_timeout: Some(Duration::from_secs(180)),
            connection_lifetime: Some(Duration::from_secs(600)),
            pool_timeout: Some(Duration::from_secs(15)),
            retries: 1,
            connect_timeout: Duration::from_secs(15),
            pool_mode: PoolMode::Transaction,
            server_reset: ServerReset::Auto,
            max_prepared_statements: 200,
            origins: Origins::default(),
        }
    }
}

/// Time limits of one client's life after login. `None` = no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One statement (one ReadyForQuery to the next) is cancelled after this.
    pub query: Option<Duration>,
    /// A transaction in which the client sends nothing is rolled back after this; the client stays connected.
    pub idle_in_transaction: Option<Duration>,
    /// A transaction is cancelled and rolled back after this in total.
    pub transaction: Option<Duration>,
    /// A client that holds no server connection and sends nothing is disconnected after this.
    pub client_idle: Option<Duration>,
    /// How long a client keeps its server connection after it has written something, so that it can ask what it wrote
    /// ([`crate::backend::Dialogue::writes`]); at most.
    pub linger: Option<Duration>,
    /// A server connection whose cancel request is on its way longer than this is closed instead of reused.
    pub cancel_wait: Duration,
    /// How long the rest of the answer to a client that went away is read before the connection is closed instead.
    pub recovery: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            query: None,
            idle_in_transaction: None,
            transaction: None,
            client_idle: None,
            linger: None,
            cancel_wait: Duration::from_secs(10),
            recovery: Duration::from_secs(5),
        }
    }
}
