//! Errors as SQL Server numbers them, and how far each one reaches.

use std::fmt;

/// What an error ends, when nothing catches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its statement; the batch goes on.
    Statement,
    /// The batch.
    Batch,
    /// The batch and the transaction, which is rolled back.
    Transaction,
    /// Nothing is said: an Attention interrupted the request.
    Attention,
    /// The connection.
    Connection,
}

/// An error of the server.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) number: i32,
    pub(crate) class: u8,
    pub(crate) state: u8,
    pub(crate) message: String,
    pub(crate) reach: Reach,
    pub(crate) line: u32,
    pub(crate) procedure: String,
}

impl Failure {
    pub(crate) fn new(number: i32, class: u8, state: u8, message: impl Into<String>) -> Failure {
        Failure {
            number,
            class,
            state,
            message: message.into(),
            reach: match number {
                1205 | 3960 | 3998 => Reach::Transaction,
                102 | 105 | 137 | 156 | 195 | 201 | 207 | 208 | 241 | 245 | 2812 | 3930 | 40510 | 40515 | 8178 => {
                    Reach::Batch
                }
                _ => Reach::Statement,
            },
            line: 1,
            procedure: String::new(),
        }
    }

    /// An Attention came.
    pub(crate) fn interrupted() -> Failure {
        Failure {
            reach: Reach::Attention,
            ..Failure::new(0, 0, 0, "interrupted")
        }
    }

    /// A statement or a part of one that the stand-in does not know: it never pretends.
    pub(crate) fn unknown(what: &str) -> Failure {
        let what: String = what.chars().take(120).collect();
        Failure::new(
            40510,
            16,
            1,
            format!("Statement '{what}' is not supported by the stand-in server."),
        )
    }

    pub(crate) fn syntax(near: &str) -> Failure {
        Failure::new(102, 15, 1, format!("Incorrect syntax near '{near}'."))
    }

    pub(crate) fn at(mut self, line: u32) -> Failure {
        self.line = line;
        self
    }

    /// An error that a function of ours raised inside the SQL engine travels as text.
    pub(crate) fn to_engine(&self) -> rusqlite::Error {
        let text = format!("{PREFIX}{}:{}:{}:{}", self.number, self.class, self.state, self.message);
        rusqlite::Error::UserFunctionError(text.into())
    }

    /// What the engine's error is in SQL Server. `busy` is what a snapshot that is too old means here.
    pub(crate) fn of_engine(error: &rusqlite::Error, statement: &str) -> Failure {
        let text = match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        if let Some(rest) = text.strip_prefix(PREFIX) {
            let mut parts = rest.splitn(4, ':');
            let mut number = || parts.next().and_then(|part| part.parse::<i32>().ok()).unwrap_or(0);
            let (number, class, state) = (number(), number() as u8, number() as u8);
            return Failure::new(number, class, state, parts.next().unwrap_or_default());
        }
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => return Failure::interrupted(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                return Failure::new(
                    1205,
                    13,
                    51,
                    "Transaction was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction.",
                );
            }
            Some(ErrorCode::ConstraintViolation) => return constraint(&text, statement),
            _ => {}
        }
        let after = |prefix: &str| {
            text.strip_prefix(prefix)
                .map(|rest| rest.split(" in ").next().unwrap_or(rest).trim().to_owned())
        };
        if let Some(name) = after("no such table: ") {
            let name = name.trim_start_matches("temp.").trim_start_matches("data.").to_owned();
            return Failure::new(208, 16, 1, format!("Invalid object name '{name}'."));
        }
        if let Some(name) = after("no such column: ") {
            let name = name.rsplit('.').next().unwrap_or(&name).trim_matches('"').to_owned();
            return Failure::new(207, 16, 1, format!("Invalid column name '{name}'."));
        }
        if text.contains("has no column named ") {
            let name = text
                .rsplit("has no column named ")
                .next()
                .unwrap_or_default()
                .to_owned();
            return Failure::new(207, 16, 1, format!("Invalid column name '{name}'."));
        }
        if let Some(name) = after("ambiguous column name: ") {
            return Failure::new(209, 16, 1, format!("Ambiguous column name '{name}'."));
        }
        if let Some(rest) = text.strip_prefix("near \"") {
            return Failure::syntax(rest.split('"').next().unwrap_or_default());
        }
        if text.contains("incomplete input") {
            return Failure::syntax("");
        }
        if text.contains("already exists") {
            let name = text
                .split_whitespace()
                .find(|word| word.starts_with('"'))
                .unwrap_or("?")
                .trim_matches('"')
                .to_owned();
            let name = if name == "?" {
                text.split_whitespace().nth(1).unwrap_or("?").to_owned()
            } else {
                name
            };
            return Failure::new(
                2714,
                16,
                6,
                format!("There is already an object named '{name}' in the database."),
            );
        }
        Failure::new(
            50_000,
            16,
            1,
            format!("The stand-in's SQL engine cannot run this statement: {text}"),
        )
    }
}

fn constraint(text: &str, statement: &str) -> Failure {
    let target = text.split(": ").nth(1).unwrap_or_default();
    let (table, column) = target
        .split(',')
        .next()
        .unwrap_or_default()
        .trim()
        .split_once('.')
        .unwrap_or((target, ""));
    if text.starts_with("UNIQUE") {
        return Failure::new(
            2627,
            14,
            1,
            format!(
                "Violation of UNIQUE KEY constraint 'UQ_{table}_{column}'. Cannot insert duplicate key in object 'dbo.{table}'."
            ),
        );
    }
    if text.starts_with("NOT NULL") {
        let verb = if statement.eq_ignore_ascii_case("UPDATE") {
            "UPDATE"
        } else {
            "INSERT"
        };
        return Failure::new(
            515,
            16,
            2,
            format!(
                "Cannot insert the value NULL into column '{column}', table 'dbo.{table}'; column does not allow nulls. {verb} fails."
            ),
        );
    }
    if text.starts_with("FOREIGN KEY") {
        return Failure::new(
            547,
            16,
            0,
            format!("The {statement} statement conflicted with the FOREIGN KEY constraint."),
        );
    }
    Failure::new(
        547,
        16,
        0,
        format!("The {statement} statement conflicted with the CHECK constraint \"{target}\"."),
    )
}

const PREFIX: &str = "weir-failure:";

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.number, self.message)
    }
}
