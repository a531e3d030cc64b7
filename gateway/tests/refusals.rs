//! docs/refusals.md against the code: each refusal that there is has its section, with the words that clients of both
//! protocols read.
//!
//! `WEIR_UPDATE_DOCS=1 cargo test -p weir --test refusals` writes the words; why and what to do is written by hand.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, time::Duration};

use weir_core::refusal::{Limit, OpenError, Refusal, Rejection, Retry};
use weir_postgres::wire::error_response::ErrorMessage;

/// The section of a refusal. Exhaustive: a new one does not compile before it is described.
fn section(why: &Refusal) -> &'static str {
    match why {
        Refusal::PoolTimeout { .. } => "PoolTimeout",
        Refusal::Open { error, .. } => match error {
            OpenError::Rejected(_) => "Open.Rejected",
            OpenError::Unreachable(_) => "Open.Unreachable",
            OpenError::Untrusted(_) => "Open.Untrusted",
            OpenError::TimedOut(_) => "Open.TimedOut",
            OpenError::Misconfigured(_) => "Open.Misconfigured",
        },
        Refusal::ClientLimit(_) => "ClientLimit",
        Refusal::UnknownDatabase(_) => "UnknownDatabase",
        Refusal::Inconsistent { .. } => "Inconsistent",
        Refusal::Authentication { .. } => "Authentication",
        Refusal::LoginLimit(_) => "LoginLimit",
        Refusal::TlsRequired => "TlsRequired",
        Refusal::Cancelled => "Cancelled",
        Refusal::ClientIdle(_) => "ClientIdle",
        Refusal::IdleInTransaction(_) => "IdleInTransaction",
        Refusal::TransactionTimeout(_) => "TransactionTimeout",
        Refusal::QueryTimeout(_) => "QueryTimeout",
        Refusal::ServerLost {
            commit_in_flight: false,
            ..
        } => "ServerLost",
        Refusal::ServerLost {
            commit_in_flight: true, ..
        } => "ServerLost.commit",
        Refusal::TooLarge(_) => "TooLarge",
        Refusal::Unsupported { .. } => "Unsupported",
        Refusal::ProtocolViolation(_) => "ProtocolViolation",
        Refusal::ShuttingDown => "ShuttingDown",
        Refusal::SourceRemoved { .. } => "SourceRemoved",
        Refusal::SourceDisabled { .. } => "SourceDisabled",
        Refusal::Terminated => "Terminated",
    }
}

fn limit(name: &'static str, value: &str, set_in: &str) -> Limit {
    Limit {
        name,
        value: value.to_owned(),
        set_in: set_in.to_owned(),
    }
}

fn open(error: OpenError) -> Refusal {
    Refusal::Open {
        source: "orders".into(),
        error,
    }
}

/// One of each, with values as they occur.
fn samples() -> Vec<Refusal> {
    let gateway = "gateway.yaml:12:3";
    let limit_of = |name| limit(name, "30 s", gateway);
    vec![
        Refusal::PoolTimeout {
            source: "orders".into(),
            in_use: 20,
            limit: limit("max_connections", "20", "databases/databases.yaml:9:9"),
            waiting: 7,
            waited: Duration::from_secs(15),
        },
        open(OpenError::Rejected(Rejection {
            code: "53300".to_owned(),
            message: "sorry, too many clients already".to_owned(),
            detail: None,
            hint: None,
            retry: Retry::WhenLessFull,
        })),
        open(OpenError::Unreachable("10.0.0.5:5432: Connection refused".to_owned())),
        open(OpenError::TimedOut(Duration::from_secs(15))),
        open(OpenError::Untrusted("the certificate is not for 10.0.0.5".to_owned())),
        open(OpenError::Misconfigured(
            "dynamic_from_file: cannot read /run/secrets/orders".to_owned(),
        )),
        Refusal::Inconsistent {
            source: "orders".into(),
            reason: "databases/databases.yaml:6:21: environment variable 'ORDERS_DATABASE_URL' not set".to_owned(),
        },
        Refusal::UnknownDatabase("ordres".to_owned()),
        Refusal::Authentication { user: "app".to_owned() },
        Refusal::ClientLimit(limit("max_client_connections", "5000", gateway)),
        Refusal::LoginLimit(limit("login time", "15 s", "built-in bound")),
        Refusal::TlsRequired,
        Refusal::QueryTimeout(limit_of("query_timeout")),
        Refusal::Cancelled,
        Refusal::IdleInTransaction(limit_of("idle_in_transaction_timeout")),
        Refusal::TransactionTimeout(limit_of("transaction_timeout")),
        Refusal::ClientIdle(limit_of("client_idle_timeout")),
        Refusal::ServerLost {
            last_words: None,
            commit_in_flight: false,
        },
        Refusal::ServerLost {
            last_words: None,
            commit_in_flight: true,
        },
        Refusal::TooLarge(limit("bytes of a statement", "1048576", "built-in bound")),
        Refusal::Unsupported {
            what: "replication connections cannot be pooled".to_owned(),
        },
        Refusal::ProtocolViolation("a message of unknown type"),
        Refusal::ShuttingDown,
        Refusal::SourceRemoved {
            source: "orders".into(),
        },
        Refusal::SourceDisabled {
            source: "orders".into(),
        },
        Refusal::Terminated,
    ]
}

/// What clients read, as their tools show it.
fn words(why: &Refusal) -> String {
    let ErrorMessage {
        sqlstate,
        message,
        detail,
        hint,
        ..
    } = weir_postgres::dialogue::refusals::describe(why);
    let mut text = format!("```\nPostgreSQL  {sqlstate}: {message}\n");
    for (label, line) in [("DETAIL", detail), ("HINT", hint)] {
        if let Some(line) = line {
            text += &format!("            {label}:  {line}\n");
        }
    }
    let mssql = weir_mssql::refusals::describe(&in_tds(why));
    text + &format!(
        "SQL Server  Msg {}, Level {}, State {}: {}\n```\n",
        mssql.number, mssql.class, mssql.state, mssql.text
    )
}

/// The same, as SQL Server would have caused it.
fn in_tds(why: &Refusal) -> Refusal {
    match why {
        Refusal::Open {
            error: OpenError::Rejected(rejection),
            ..
        } => open(OpenError::Rejected(Rejection {
            code: "17809".to_owned(),
            message: "Could not connect because the maximum number of '100' user connections has already been reached."
                .to_owned(),
            ..rejection.clone()
        })),
        why => why.clone(),
    }
}

#[test]
fn the_runbook_is_what_clients_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md");
    let before = fs::read_to_string(&path).unwrap();
    let mut document = before.clone();
    for why in samples() {
        let name = section(&why);
        let start = format!("<!-- {name} -->\n");
        let at = document
            .find(&start)
            .unwrap_or_else(|| panic!("docs/refusals.md has no section {name}"))
            + start.len();
        let end = at + document[at..].find("<!-- end -->").unwrap();
        document.replace_range(at..end, &words(&why));
    }
    if std::env::var_os("WEIR_UPDATE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    } else {
        assert!(
            before == document,
            "docs/refusals.md is stale; WEIR_UPDATE_DOCS=1 cargo test -p weir --test refusals"
        );
    }
}

#[test]
fn every_section_says_what_to_do() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md")).unwrap();
    let known: Vec<_> = samples().iter().map(section).collect();
    for part in document.split("\n### ").skip(1) {
        let title = part.lines().next().unwrap_or_default();
        let name = part
            .split("<!-- ")
            .nth(1)
            .and_then(|rest| rest.split(" -->").next())
            .unwrap_or_default();
        assert!(known.contains(&name), "section {title:?} is about no refusal");
        for wanted in ["**Why.**", "**What to do.**"] {
            assert!(part.contains(wanted), "section {title:?} has no {wanted}");
        }
    }
    assert_eq!(document.matches("\n### ").count(), known.len());
}
