//! Everything we can say no to, without protocol codes. Backends turn a [`Refusal`] into SQLSTATE or an error number.
//!
//! Invariants: no secret can enter (values are counts, durations, names and the database's own words); each refusal of
//! a limit carries the limit's name, value and where it is set, so that the person who reads it knows what to change.

use std::{fmt, sync::Arc, time::Duration};

/// What a database answered when it refused a login or a statement of ours: its own code and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// SQLSTATE, or the decimal error number of SQL Server.
    pub code: String,
    /// The database's message.
    pub message: String,
    /// Its detail, if any.
    pub detail: Option<String>,
    /// Its hint, if any.
    pub hint: Option<String>,
    /// What another attempt would be good for. The backend knows its database's codes.
    pub retry: Retry,
}

/// What becomes of a refusal by waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: a wrong password, a missing database.
    #[default]
    Useless,
    /// Only if another password is found: the one that was shown is wrong, or not right any more.
    WithNewPassword,
    /// Another attempt a moment later may well succeed: the database is starting or moving.
    Later,
    /// The database takes no more connections at the moment.
    WhenLessFull,
}

/// Why a server connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The database answered, and said no (wrong password, no such database, too many clients).
    Rejected(Rejection),
    /// Nobody answered, or the answer broke off. The text names host and port and the system's reason.
    Unreachable(String),
    /// The peer is not what was asked for: TLS refused, certificate not trusted, clear-text password demanded.
    Untrusted(String),
    /// Nothing within `connect_timeout`.
    TimedOut(Duration),
    /// The source's own settings cannot be used at the moment (a secret file is missing, a variable not set).
    Misconfigured(String),
}

impl OpenError {
    /// Whether another attempt a moment later may well succeed, so that `retries` and waiting make sense.
    /// A wrong password or a missing database will not get better by asking again.
    pub fn is_transient(&self) -> bool {
        match self {
            OpenError::Rejected(rejection) => matches!(rejection.retry, Retry::Later | Retry::WhenLessFull),
            OpenError::Unreachable(_) | OpenError::TimedOut(_) => true,
            OpenError::Untrusted(_) | OpenError::Misconfigured(_) => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Rejected(rejection) => {
                write!(f, "the database refused: {} ({})", rejection.message, rejection.code)
            }
            OpenError::Unreachable(reason) => write!(f, "cannot reach the database: {reason}"),
            OpenError::Untrusted(reason) => write!(f, "the database cannot be trusted: {reason}"),
            OpenError::TimedOut(limit) => write!(f, "no connection within connect_timeout = {} s", limit.as_secs_f64()),
            OpenError::Misconfigured(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// A limit that was reached: its name, value and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// As the user writes it: `max_client_connections`.
    pub name: &'static str,
    /// With its unit where it has one: `5000`, `15 s`.
    pub value: String,
    /// Where it is set: `gateway.yaml:23:3`, `built-in default`.
    pub set_in: String,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.name, self.value, self.set_in)
    }
}

/// A "no" of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pool had no connection in time.
    PoolTimeout {
        /// Source name.
        source: Arc<str>,
        /// Server connections in use or being opened.
        in_use: u32,
        /// The pool's limit.
        limit: Limit,
        /// Clients that wait, this one included.
        waiting: u32,
        /// How long this one waited.
        waited: Duration,
    },
    /// No server connection could be opened.
    Open {
        /// Source name.
        source: Arc<str>,
        /// Why.
        error: OpenError,
    },
    /// Too many clients.
    ClientLimit(Limit),
    /// No such source or database name, or this user may not use it: deliberately not told apart before login.
    UnknownDatabase(String),
    /// The source is declared, but unusable.
    Inconsistent {
        /// Source name.
        source: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// Login failed; the reason is in the log, never on the wire.
    Authentication {
        /// The user name that the client gave.
        user: String,
    },
    /// Login took too long or was too long-winded.
    LoginLimit(Limit),
    /// The listener wants TLS.
    TlsRequired,
    /// The client's cancel request reached it while it waited for a server connection.
    Cancelled,
    /// The client was idle for too long.
    ClientIdle(Limit),
    /// The transaction was idle for too long and has been rolled back.
    IdleInTransaction(Limit),
    /// The transaction took too long and has been rolled back.
    TransactionTimeout(Limit),
    /// The statement took too long and was cancelled.
    QueryTimeout(Limit),
    /// The server connection was lost; `code` and words are the database's own if it said any.
    ServerLost {
        /// What the database said before it went, if anything.
        last_words: Option<Rejection>,
        /// The transaction's outcome is unknown because a COMMIT was on its way.
        commit_in_flight: bool,
    },
    /// A bound on what one client may keep or send.
    TooLarge(Limit),
    /// The client asked for something that this pool mode, or Weir, does not do.
    Unsupported {
        /// What, and what to do instead.
        what: String,
    },
    /// The client broke its protocol.
    ProtocolViolation(&'static str),
    /// Weir is stopping.
    ShuttingDown,
    /// The client's source is not declared any more.
    SourceRemoved {
        /// Its name.
        source: Arc<str>,
    },
    /// The client's source takes no new clients: DISABLE.
    SourceDisabled {
        /// Its name.
        source: Arc<str>,
    },
    /// An administrator ended this client.
    Terminated,
}

/// For logs. What a client reads is the backend's wording, in its protocol.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::PoolTimeout {
                source,
                in_use,
                limit,
                waiting,
                waited,
            } => write!(
                f,
                "no server connection of {source} after {:.1} s: {in_use} in use, {waiting} waiting, {limit}",
                waited.as_secs_f64()
            ),
            Refusal::Open { source, error } => write!(f, "no server connection of {source}: {error}"),
            Refusal::ClientLimit(limit) => write!(f, "too many clients: {limit}"),
            Refusal::UnknownDatabase(name) => write!(f, "no database {name:?} for this user"),
            Refusal::Inconsistent { source, reason } => write!(f, "source {source} cannot be used: {reason}"),
            Refusal::Authentication { user } => write!(f, "login of {user:?} failed"),
            Refusal::LoginLimit(limit) => write!(f, "login over its limit: {limit}"),
            Refusal::TlsRequired => f.write_str("the listener wants TLS"),
            Refusal::Cancelled => f.write_str("cancelled while waiting for a server connection"),
            Refusal::ClientIdle(limit) => write!(f, "idle for too long: {limit}"),
            Refusal::IdleInTransaction(limit) => write!(f, "idle in a transaction for too long: {limit}"),
            Refusal::TransactionTimeout(limit) => write!(f, "transaction took too long: {limit}"),
            Refusal::QueryTimeout(limit) => write!(f, "statement took too long: {limit}"),
            Refusal::ServerLost {
                last_words: Some(said), ..
            } => {
                write!(f, "server connection lost: {} ({})", said.message, said.code)
            }
            Refusal::ServerLost { last_words: None, .. } => f.write_str("server connection lost"),
            Refusal::TooLarge(limit) => write!(f, "too large: {limit}"),
            Refusal::Unsupported { what } => f.write_str(what),
            Refusal::ProtocolViolation(what) => write!(f, "protocol violation by the client: {what}"),
            Refusal::ShuttingDown => f.write_str("Weir is stopping"),
            Refusal::SourceRemoved { source } => write!(f, "source {source} is not declared any more"),
            Refusal::SourceDisabled { source } => write!(f, "source {source} is disabled"),
            Refusal::Terminated => f.write_str("ended by an administrator"),
        }
    }
}

/// A peer broke the rules of its protocol. Ends the connection it came over, and never more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client did.
    Client(&'static str),
    /// The server did; the client gets an error, the server connection is closed.
    Server(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Client(what) => write!(f, "protocol violation by the client: {what}"),
            Fault::Server(what) => write!(f, "protocol violation by the server: {what}"),
        }
    }
}

impl std::error::Error for Fault {}
