//! Every "no" in SQL Server's words: number, state, class, text (what happened, which limit, its value, where it is set,
//! what to do).
//!
//! Pure: one function, one table. Numbers are SQL Server's own where it has one for the case, so that drivers and their
//! retry policies know it; where a retry helps it is one that they take for transient (TDS 3.3), and where a retry could
//! do harm it is none of those. What a database said itself is passed on with its own number and words.

use std::borrow::Cow;

use bytes::BytesMut;
use weir_core::refusal::{OpenError, Refusal, Rejection, Retry};

use crate::wire::{TdsVersion, message::OwnMessage};

/// An error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The number that programs look at.
    pub number: i32,
    /// Tells apart where a number can come from.
    pub state: u8,
    /// Severity: from 20 on drivers take the connection for lost.
    pub class: u8,
    /// For people.
    pub text: Cow<'static, str>,
}

impl Words {
    /// State 1 of a number.
    pub fn new(number: i32, class: u8, text: impl Into<Cow<'static, str>>) -> Self {
        Words {
            number,
            state: 1,
            class,
            text: text.into(),
        }
    }

    /// Writes the ERROR token.
    pub fn write(&self, version: TdsVersion, out: &mut BytesMut) {
        OwnMessage {
            number: self.number,
            state: self.state,
            class: self.class,
            text: &self.text,
            server: SERVER,
            procedure: "",
            line: 1,
        }
        .write_error(version, out);
    }
}

/// What the gateway calls itself in errors.
pub const SERVER: &str = "weir";

/// Numbers that are used here. Those that SqlClient, EF Core, JDBC or tedious repeat of their own accord are marked.
pub mod number {
    /// Incorrect syntax.
    pub const SYNTAX: i32 = 102;
    /// Permission denied.
    pub const PERMISSION_DENIED: i32 = 229;
    /// Database does not exist.
    pub const NO_SUCH_DATABASE: i32 = 911;
    /// Not an active process id.
    pub const NO_SUCH_PROCESS: i32 = 6106;
    /// Database cannot be opened.
    pub const DATABASE_UNUSABLE: i32 = 945;
    /// The principal cannot access the database.
    pub const NO_ACCESS: i32 = 916;
    /// Session is in the kill state.
    pub const SESSION_KILLED: i32 = 596;
    /// The statement has been terminated.
    pub const STATEMENT_TERMINATED: i32 = 3621;
    /// The transaction is rolled back.
    pub const TRANSACTION_ROLLED_BACK: i32 = 3998;
    /// Incorrect TDS stream.
    pub const PROTOCOL: i32 = 4002;
    /// Cannot open database requested by the login.
    pub const UNKNOWN_DATABASE: i32 = 4060;
    /// SHUTDOWN is in progress.
    pub const SHUTDOWN: i32 = 6005;
    /// An internal limit has been reached.
    pub const INTERNAL_LIMIT: i32 = 8632;
    /// A limit of the database has been reached; transient.
    pub const LIMIT_REACHED: i32 = 10928;
    /// Too busy to take more; transient.
    pub const TOO_BUSY: i32 = 10929;
    /// The connection was closed while it was being made.
    pub const LOGIN_BROKEN_OFF: i32 = 17830;
    /// Integrated security is not possible here.
    pub const INTEGRATED_SECURITY: i32 = 18452;
    /// Login failed.
    pub const LOGIN_FAILED: i32 = 18456;
    /// The service has met an error; transient.
    pub const SERVICE_ERROR: i32 = 40197;
    /// Not supported in this version of SQL Server.
    pub const UNSUPPORTED: i32 = 40510;
    /// Database is not available at the moment; transient.
    pub const NOT_AVAILABLE: i32 = 40613;
    /// What SQL Server uses for messages that have no number.
    pub const UNNUMBERED: i32 = 50000;
}

/// The words for a refusal.
pub fn describe(why: &Refusal) -> Words {
    match why {
        Refusal::PoolTimeout { .. } => pool_timeout(why),
        Refusal::Open { source, error } => open(source, error),
        Refusal::ClientLimit(limit) => Words::new(
            number::TOO_BUSY,
            20,
            format!(
                "Too many clients: {limit}. Close clients that are not needed, or raise {}.",
                limit.name
            ),
        ),
        Refusal::UnknownDatabase(name) => Words::new(
            number::UNKNOWN_DATABASE,
            11,
            format!("Cannot open database \"{name}\" requested by the login. The login failed."),
        ),
        Refusal::Inconsistent { source, reason } => Words::new(
            number::DATABASE_UNUSABLE,
            14,
            format!(
                "Source \"{source}\" cannot be used: {reason}. Correct its metadata; \"weir check\" lists every problem."
            ),
        ),
        Refusal::Authentication { user } => login_failed(user),
        Refusal::LoginLimit(limit) => Words::new(
            number::LOGIN_BROKEN_OFF,
            20,
            format!("The login took too long or was too large: {limit}."),
        ),
        Refusal::TlsRequired => Words::new(
            number::UNNUMBERED,
            20,
            "This listener accepts encrypted connections only. Connect with Encrypt=yes.",
        ),
        Refusal::Cancelled => Words::new(
            number::STATEMENT_TERMINATED,
            16,
            "The request was cancelled while it waited for a connection to the database; nothing of it was executed.",
        ),
        Refusal::ClientIdle(limit) => Words::new(
            number::SESSION_KILLED,
            20,
            format!("The connection was idle for too long and is closed: {limit}."),
        ),
        Refusal::IdleInTransaction(limit) => Words::new(
            number::TRANSACTION_ROLLED_BACK,
            16,
            format!("The transaction was idle for too long and was rolled back: {limit}. Start it again."),
        ),
        Refusal::TransactionTimeout(limit) => Words::new(
            number::TRANSACTION_ROLLED_BACK,
            16,
            format!("The transaction took too long and was rolled back: {limit}. Start it again."),
        ),
        Refusal::QueryTimeout(limit) => Words::new(
            number::STATEMENT_TERMINATED,
            16,
            format!("The request took too long and was cancelled: {limit}."),
        ),
        Refusal::ServerLost {
            last_words,
            commit_in_flight,
        } => server_lost(last_words.as_ref(), *commit_in_flight),
        Refusal::TooLarge(limit) => Words::new(number::INTERNAL_LIMIT, 16, format!("A limit was exceeded: {limit}.")),
        Refusal::Unsupported { what } => Words::new(number::UNSUPPORTED, 16, what.clone()),
        Refusal::ProtocolViolation(what) => Words::new(
            number::PROTOCOL,
            20,
            format!("The incoming tabular data stream (TDS) is incorrect: {what}."),
        ),
        Refusal::ShuttingDown => Words::new(
            number::SHUTDOWN,
            14,
            "SHUTDOWN is in progress: the gateway is stopping. Connect again; another instance may already be there.",
        ),
        Refusal::SourceRemoved { source } => Words::new(
            number::SHUTDOWN,
            14,
            format!("Source \"{source}\" is not declared any more."),
        ),
        Refusal::SourceDisabled { source } => Words::new(
            number::DATABASE_UNUSABLE,
            14,
            format!(
                "Source \"{source}\" is not accepting connections at the moment: an administrator has disabled it. \
                 ENABLE on the console lets clients in again."
            ),
        ),
        Refusal::Terminated => Words::new(
            number::SESSION_KILLED,
            20,
            "The connection was ended by an administrator.",
        ),
    }
}

/// The same words for every login that fails, whatever the reason.
pub fn login_failed(user: &str) -> Words {
    Words::new(number::LOGIN_FAILED, 14, format!("Login failed for user '{user}'."))
}

/// What repeating a login would be good for that a server refused with this number.
pub fn retry(number: i32) -> Retry {
    match number {
        // Limits of sessions and workers, and the server's "user connections".
        10928 | 10929 | 10936 | 17809 => Retry::WhenLessFull,
        // The database is recovering, restoring, or its replica is changing its role.
        904 | 922 | 927 | 976 | 978 | 983 => Retry::Later,
        // The server is paused, too busy to let anybody in in time, or upgrading itself.
        17142 | 17197 | 18401 => Retry::Later,
        // Azure's transient errors.
        4221 | 40197 | 40501 | 40613 | 42108 | 42109 | 49918..=49920 => Retry::Later,
        _ => Retry::Useless,
    }
}

fn pool_timeout(why: &Refusal) -> Words {
    let Refusal::PoolTimeout {
        source,
        in_use,
        limit,
        waiting,
        waited,
    } = why
    else {
        return Words::new(number::LIMIT_REACHED, 16, "No connection to the database in time.");
    };
    let text = format!(
        "No connection to the database in time: source {source}, in use {in_use}/{}, waiting {waiting}, waited {} s; \
         {limit}. Raise {} or pool_timeout, or keep transactions shorter.",
        limit.value,
        waited.as_millis() as f64 / 1000.0,
        limit.name,
    );
    Words::new(number::LIMIT_REACHED, 16, text)
}

fn open(source: &str, why: &OpenError) -> Words {
    match why {
        OpenError::Rejected(rejection) => own_words(rejection),
        OpenError::Unreachable(reason) => not_available(source, reason),
        OpenError::TimedOut(limit) => {
            let seconds = limit.as_secs_f64();
            not_available(source, &format!("no connection within connect_timeout = {seconds} s"))
        }
        OpenError::Untrusted(reason) => Words::new(
            number::DATABASE_UNUSABLE,
            14,
            format!(
                "The server of source \"{source}\" cannot be trusted: {reason}. See Encrypt, TrustServerCertificate and \
                 ssl_configuration of the source."
            ),
        ),
        OpenError::Misconfigured(reason) => Words::new(
            number::DATABASE_UNUSABLE,
            14,
            format!("Source \"{source}\" cannot be used: {reason}."),
        ),
    }
}

fn not_available(source: &str, reason: &str) -> Words {
    let text =
        format!("The database of source \"{source}\" is not available at the moment: {reason}. Try again later.");
    Words::new(number::NOT_AVAILABLE, 17, text)
}

fn server_lost(last_words: Option<&Rejection>, commit_in_flight: bool) -> Words {
    if commit_in_flight {
        // Not one that is repeated by itself: it could be done twice.
        let said = last_words.map_or(String::new(), |words| format!(" ({}: {})", words.code, words.message));
        let text = format!(
            "The connection to the database was lost{said}. A COMMIT was on its way: whether it took effect is unknown. Check \
             before repeating it."
        );
        return Words::new(number::SESSION_KILLED, 16, text);
    }
    match last_words {
        Some(words) => own_words(words),
        None => Words::new(
            number::SERVICE_ERROR,
            16,
            "The connection to the database was lost. Try again.",
        ),
    }
}

/// The database's own number and words.
fn own_words(rejection: &Rejection) -> Words {
    let number = rejection.code.parse().unwrap_or(number::UNNUMBERED);
    let class = match number {
        number::LOGIN_FAILED => 14,
        number::UNKNOWN_DATABASE => 11,
        _ => 16,
    };
    Words::new(number, class, rejection.message.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::refusal::Limit;

    use super::*;
    use crate::wire::{message::ServerMessage, token};

    fn limit(name: &'static str) -> Limit {
        Limit {
            name,
            value: "20".into(),
            set_in: "databases.yaml:9:9".into(),
        }
    }

    fn rejection(code: &str) -> Rejection {
        Rejection {
            code: code.into(),
            message: "their words".into(),
            detail: None,
            hint: None,
            retry: Retry::Useless,
        }
    }

    /// What SqlClient 6 (`s_transientErrors`) and EF Core (`SqlServerTransientExceptionDetector`) both repeat, of the numbers
    /// that occur here.
    const REPEATED: [i32; 4] = [10928, 10929, 40197, 40613];

    #[test]
    fn every_refusal_has_its_number_and_a_retry_only_where_it_helps() {
        let open = |error| Refusal::Open {
            source: "erp".into(),
            error,
        };
        let lost = |commit_in_flight| Refusal::ServerLost {
            last_words: None,
            commit_in_flight,
        };
        let pool = Refusal::PoolTimeout {
            source: "erp".into(),
            in_use: 20,
            limit: limit("max_connections"),
            waiting: 3,
            waited: Duration::from_millis(1500),
        };
        let user = || "ann".to_owned();
        for (why, number, class, retried) in [
            (pool, 10928, 16, true),
            (open(OpenError::Unreachable("refused".into())), 40613, 17, true),
            (open(OpenError::TimedOut(Duration::from_secs(15))), 40613, 17, true),
            (open(OpenError::Untrusted("no TLS".into())), 945, 14, false),
            (open(OpenError::Misconfigured("no file".into())), 945, 14, false),
            (open(OpenError::Rejected(rejection("18456"))), 18456, 14, false),
            (open(OpenError::Rejected(rejection("4060"))), 4060, 11, false),
            (open(OpenError::Rejected(rejection("28P01"))), 50000, 16, false),
            (Refusal::ClientLimit(limit("max_client_connections")), 10929, 20, true),
            (Refusal::UnknownDatabase("x".into()), 4060, 11, false),
            (
                Refusal::Inconsistent {
                    source: "erp".into(),
                    reason: "broken".into(),
                },
                945,
                14,
                false,
            ),
            (Refusal::Authentication { user: user() }, 18456, 14, false),
            (Refusal::LoginLimit(limit("client_login_timeout")), 17830, 20, false),
            (Refusal::TlsRequired, 50000, 20, false),
            (Refusal::Cancelled, 3621, 16, false),
            (Refusal::ClientIdle(limit("client_idle_timeout")), 596, 20, false),
            (
                Refusal::IdleInTransaction(limit("idle_in_transaction_timeout")),
                3998,
                16,
                false,
            ),
            (
                Refusal::TransactionTimeout(limit("transaction_timeout")),
                3998,
                16,
                false,
            ),
            (Refusal::QueryTimeout(limit("query_timeout")), 3621, 16, false),
            (lost(false), 40197, 16, true),
            (lost(true), 596, 16, false),
            (Refusal::TooLarge(limit("x")), 8632, 16, false),
            (Refusal::Unsupported { what: "MARS".into() }, 40510, 16, false),
            (Refusal::ProtocolViolation("x"), 4002, 20, false),
            (Refusal::ShuttingDown, 6005, 14, false),
            (Refusal::SourceRemoved { source: "a".into() }, 6005, 14, false),
            (Refusal::SourceDisabled { source: "a".into() }, 945, 14, false),
            (Refusal::Terminated, 596, 20, false),
        ] {
            let words = describe(&why);
            assert_eq!((words.number, words.class), (number, class), "{why:?}");
            assert_eq!(REPEATED.contains(&words.number), retried, "{why:?}");
            assert!(words.text.len() > 3, "{why:?}");
        }
    }

    #[test]
    fn a_limit_is_named_with_its_value_and_where_it_is_set() {
        let words = describe(&Refusal::PoolTimeout {
            source: "erp".into(),
            in_use: 20,
            limit: limit("max_connections"),
            waiting: 3,
            waited: Duration::from_millis(1500),
        });
        assert_eq!(
            words.text,
            "No connection to the database in time: source erp, in use 20/20, waiting 3, waited 1.5 s; max_connections = \
             20 (databases.yaml:9:9). Raise max_connections or pool_timeout, or keep transactions shorter."
        );
    }

    #[test]
    fn the_token_can_be_read() {
        let mut out = BytesMut::new();
        login_failed("änn").write(TdsVersion::V7_4, &mut out);
        assert_eq!(out[0], token::ERROR);
        let read = ServerMessage::parse(&out, TdsVersion::V7_4).expect("a whole token");
        assert_eq!((read.number, read.state, read.class), (18456, 1, 14));
        assert_eq!(read.text.to_lossy(), "Login failed for user 'änn'.");
        assert_eq!(read.server.to_lossy(), "weir");
    }
}
