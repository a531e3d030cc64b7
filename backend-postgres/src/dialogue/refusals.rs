//! Every "no" in PostgreSQL's words: severity, SQLSTATE, message, detail (which limit, its value, where it is set), hint.
//!
//! Pure: one function, one table. What a database said itself is passed on with its own code and words.

use std::borrow::Cow;

use weir_core::refusal::{Limit, OpenError, Refusal, Rejection};

use crate::{
    limits,
    wire::error_response::{ErrorMessage, Severity},
};

/// The words for a refusal. The severity is that of a client that can stay; who ends the client makes it
/// [`Severity::Fatal`] (see [`fatal`]).
pub fn describe(why: &Refusal) -> ErrorMessage {
    match why {
        Refusal::PoolTimeout { .. } => pool_timeout(why),
        Refusal::Open { source, error } => open(source, error),
        Refusal::ClientLimit(limit) => error("53300", "sorry, too many clients already")
            .detail(format!("{limit}"))
            .hint(format!("Close clients that are not needed, or raise {}.", limit.name)),
        Refusal::UnknownDatabase(name) => error("3D000", format!("database \"{name}\" does not exist")),
        Refusal::Inconsistent { source, reason } => error("08001", format!("source \"{source}\" cannot be used"))
            .detail(reason.clone())
            .hint("Correct its metadata; \"weir check\" lists every problem."),
        Refusal::Authentication { user } => {
            error("28P01", format!("password authentication failed for user \"{user}\""))
        }
        Refusal::LoginLimit(limit) => error("08P01", "login took too long or was too large").detail(format!("{limit}")),
        Refusal::TlsRequired => error("28000", "this listener accepts encrypted connections only")
            .hint("Connect with sslmode=require or stricter."),
        Refusal::Cancelled => error("57014", "canceling statement due to user request")
            .detail("It was waiting for a connection to the database; nothing of it was executed."),
        Refusal::ClientIdle(limit) => {
            error("57P05", "terminating connection due to idle-session timeout").detail(format!("{limit}"))
        }
        Refusal::IdleInTransaction(limit) => {
            error("25P03", "the transaction was idle for too long and was rolled back")
                .detail(format!("{limit}"))
                .hint("Start the transaction again.")
        }
        Refusal::TransactionTimeout(limit) => error("25P04", "the transaction took too long and was rolled back")
            .detail(format!("{limit}"))
            .hint("Start the transaction again."),
        Refusal::QueryTimeout(limit) => {
            error("57014", "canceling statement due to statement timeout").detail(format!("{limit}"))
        }
        Refusal::ServerLost {
            last_words,
            commit_in_flight,
        } => server_lost(last_words.as_ref(), *commit_in_flight),
        Refusal::TooLarge(limit) => error("54000", format!("{} exceeded", limit.name)).detail(format!("{limit}")),
        Refusal::Unsupported { what } => error("0A000", what.clone()),
        Refusal::ProtocolViolation(what) => error("08P01", *what),
        Refusal::ShuttingDown => error("57P01", "terminating connection: the gateway is shutting down")
            .hint("Connect again; another instance may already be there."),
        Refusal::SourceRemoved { source } => error(
            "57P01",
            format!("terminating connection: source \"{source}\" is not declared any more"),
        ),
        Refusal::SourceDisabled { source } => error(
            "55000",
            format!("source \"{source}\" is not accepting connections at the moment"),
        )
        .detail("An administrator has disabled it.")
        .hint("ENABLE on the console lets clients in again."),
        Refusal::Terminated => error("57P01", "terminating connection due to administrator command"),
    }
}

/// The same words, ending the connection.
pub fn fatal(why: &Refusal) -> ErrorMessage {
    ErrorMessage {
        severity: Severity::Fatal,
        ..describe(why)
    }
}

/// Too many or too large prepared statements in one client.
pub fn too_many_statements(name: &'static str, value: usize) -> ErrorMessage {
    let limit = Limit {
        name,
        value: value.to_string(),
        set_in: "built-in bound".to_owned(),
    };
    error("53400", "too many prepared statements for one client")
        .detail(format!("{limit}"))
        .hint("Close prepared statements that are no longer needed.")
}

/// The connection that heard notifications for a listening client is gone.
pub fn listener_lost(last_words: Option<&Rejection>) -> ErrorMessage {
    let code = last_words.map_or("08006", |said| &*said.code).to_owned();
    let detail = match last_words {
        Some(said) => format!("The server said: {}", said.message),
        None => "The connection broke.".to_owned(),
    };
    fatal_error(
        code,
        "terminating connection: the connection that listens for this client was lost",
    )
    .detail(format!("{detail} Notifications may have been missed."))
    .hint("Connect again, LISTEN again, and look for what has changed meanwhile.")
}

/// A listening client has changed its encoding, and is notified of something that it could not read.
pub fn unreadable_notification() -> ErrorMessage {
    fatal_error(
        "22021",
        "terminating connection: a notification cannot be told in this client_encoding",
    )
    .detail("It is heard by a connection that all clients share, in the database's own encoding.")
    .hint("Set client_encoding before LISTEN, not behind it, or set shared_listener to false for the source.")
}

/// A listening client that takes its notifications too slowly.
pub fn too_slow_listener() -> ErrorMessage {
    let limit = |name, value: usize| Limit {
        name,
        value: value.to_string(),
        set_in: "built-in bound".to_owned(),
    };
    let count = limit(
        "notifications waiting for one client",
        limits::MAX_WAITING_NOTIFICATIONS,
    );
    let bytes = limit("bytes of them", limits::MAX_WAITING_NOTIFICATION_BYTES);
    fatal_error(
        "53400",
        "terminating connection: too many notifications are waiting for this client",
    )
    .detail(format!("{count}; {bytes}"))
    .hint("Read notifications as they come, and keep transactions of a listening client short.")
}

/// A statement of a client whose transaction had failed before it was rolled back for `why`.
pub fn in_failed_block(why: &Refusal) -> ErrorMessage {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    let why = describe(why);
    ErrorMessage {
        detail: Some(format!("Meanwhile {}: {}", why.message, why.detail.unwrap_or_default()).into()),
        ..error("25P02", message).hint("End it with ROLLBACK, and start it again.")
    }
}

/// An explicit transaction in statement mode.
pub fn no_transactions() -> ErrorMessage {
    error("25001", "transactions are not allowed with pool_mode statement")
        .detail("The transaction was rolled back; pool_mode = statement lends a connection for one statement.")
        .hint("Use pool_mode transaction.")
}

fn pool_timeout(why: &Refusal) -> ErrorMessage {
    let Refusal::PoolTimeout {
        source,
        in_use,
        limit,
        waiting,
        waited,
    } = why
    else {
        return error("53300", "Failed to acquire a connection from the pool.");
    };
    error("53300", "Failed to acquire a connection from the pool.")
        .detail(format!(
            "connection acquisition timeout expired; source {source}, in use {in_use}/{}, waiting {waiting}, \
             waited {} s; {limit}",
            limit.value,
            waited.as_millis() as f64 / 1000.0,
        ))
        .hint(format!(
            "Raise {} or pool_timeout, or keep transactions shorter.",
            limit.name
        ))
}

fn open(source: &str, why: &OpenError) -> ErrorMessage {
    match why {
        OpenError::Rejected(rejection) => own_words(rejection),
        OpenError::Unreachable(reason) => {
            error("08001", format!("cannot reach the database of source \"{source}\"")).detail(reason.clone())
        }
        OpenError::Untrusted(reason) => error(
            "08001",
            format!("the database of source \"{source}\" cannot be trusted"),
        )
        .detail(reason.clone())
        .hint("See sslmode and ssl_configuration of the source."),
        OpenError::TimedOut(limit) => error("08001", format!("cannot reach the database of source \"{source}\""))
            .detail(format!(
                "No connection within connect_timeout = {} s.",
                limit.as_secs_f64()
            )),
        OpenError::Misconfigured(reason) => {
            error("08001", format!("source \"{source}\" cannot be used")).detail(reason.clone())
        }
    }
}

fn server_lost(last_words: Option<&Rejection>, commit_in_flight: bool) -> ErrorMessage {
    let mut lost = match last_words {
        Some(words) => own_words(words),
        None => error("08006", "the connection to the database was lost"),
    };
    if commit_in_flight {
        lost.sqlstate = "08007".into();
        lost.hint =
            Some("A COMMIT was on its way: whether it took effect is unknown. Check before repeating it.".into());
    }
    lost
}

/// The database's own code and words.
fn own_words(rejection: &Rejection) -> ErrorMessage {
    let sqlstate = match rejection.code.len() == 5 && rejection.code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Cow::Owned(rejection.code.clone()),
        false => Cow::Borrowed("XX000"),
    };
    ErrorMessage {
        severity: Severity::Error,
        sqlstate,
        message: rejection.message.clone().into(),
        detail: rejection.detail.clone().map(Cow::Owned),
        hint: rejection.hint.clone().map(Cow::Owned),
    }
}

fn fatal_error(sqlstate: impl Into<Cow<'static, str>>, message: &'static str) -> ErrorMessage {
    ErrorMessage {
        severity: Severity::Fatal,
        sqlstate: sqlstate.into(),
        ..error("", message)
    }
}

fn error(sqlstate: &'static str, message: impl Into<Cow<'static, str>>) -> ErrorMessage {
    ErrorMessage {
        severity: Severity::Error,
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: None,
        hint: None,
    }
}

impl ErrorMessage {
    fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        ErrorMessage {
            detail: Some(detail.into()),
            ..self
        }
    }

    fn hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        ErrorMessage {
            hint: Some(hint.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::refusal::Retry;

    use super::*;

    #[test]
    fn a_pool_timeout_says_what_was_full_and_where_that_is_set() {
        let told = describe(&Refusal::PoolTimeout {
            source: "default".into(),
            in_use: 20,
            limit: Limit {
                name: "max_connections",
                value: "20".into(),
                set_in: "databases.yaml:9:9".into(),
            },
            waiting: 3,
            waited: Duration::from_millis(1500),
        });
        assert_eq!(told.sqlstate, "53300");
        assert_eq!(told.message, "Failed to acquire a connection from the pool.");
        assert_eq!(
            told.detail.unwrap(),
            "connection acquisition timeout expired; source default, in use 20/20, waiting 3, waited 1.5 s; \
             max_connections = 20 (databases.yaml:9:9)"
        );
        assert!(told.hint.unwrap().contains("max_connections"));
    }

    #[test]
    fn what_the_database_said_keeps_its_code() {
        let words = Rejection {
            code: "28P01".into(),
            message: "no".into(),
            detail: None,
            hint: Some("h".into()),
            retry: Retry::Useless,
        };
        let told = describe(&Refusal::Open {
            source: "s".into(),
            error: OpenError::Rejected(words.clone()),
        });
        assert_eq!(
            (&*told.sqlstate, &*told.message, told.hint.as_deref()),
            ("28P01", "no", Some("h"))
        );
        let odd = Rejection {
            code: "1".into(),
            ..words
        };
        assert_eq!(
            describe(&Refusal::Open {
                source: "s".into(),
                error: OpenError::Rejected(odd)
            })
            .sqlstate,
            "XX000"
        );
    }

    #[test]
    fn a_lost_commit_is_08007_s9_4() {
        let told = describe(&Refusal::ServerLost {
            last_words: None,
            commit_in_flight: true,
        });
        assert_eq!(told.sqlstate, "08007");
        assert!(told.hint.unwrap().contains("unknown"));
        assert_eq!(
            describe(&Refusal::ServerLost {
                last_words: None,
                commit_in_flight: false
            })
            .sqlstate,
            "08006"
        );
    }
}
