//! SET options of a session, and how they are shown.

use std::collections::BTreeMap;

use rusqlite::types::Value;

use super::{login::language_changed, session::Session};
use crate::mssql::{
    failure::Failure,
    tsql::lexer::{Kind, Token},
    wire::tokens::{self, Column, command},
    wire::types::SqlType,
};

/// Options that are on or off, with their bits in `@@OPTIONS`.
const SWITCHES: [(&str, i64); 20] = [
    ("IMPLICIT_TRANSACTIONS", 2),
    ("CURSOR_CLOSE_ON_COMMIT", 4),
    ("ANSI_WARNINGS", 8),
    ("ANSI_PADDING", 16),
    ("ANSI_NULLS", 32),
    ("ARITHABORT", 64),
    ("ARITHIGNORE", 128),
    ("QUOTED_IDENTIFIER", 256),
    ("NOCOUNT", 512),
    ("ANSI_NULL_DFLT_ON", 1024),
    ("ANSI_NULL_DFLT_OFF", 2048),
    ("CONCAT_NULL_YIELDS_NULL", 4096),
    ("NUMERIC_ROUNDABORT", 8192),
    ("XACT_ABORT", 16384),
    ("FORCEPLAN", 0),
    ("FMTONLY", 0),
    ("NOEXEC", 0),
    ("PARSEONLY", 0),
    ("REMOTE_PROC_TRANSACTIONS", 0),
    ("NO_BROWSETABLE", 0),
];

/// Options that have a value.
const VALUES: [&str; 8] = [
    "DATEFIRST",
    "DATEFORMAT",
    "DEADLOCK_PRIORITY",
    "LANGUAGE",
    "LOCK_TIMEOUT",
    "QUERY_GOVERNOR_COST_LIMIT",
    "ROWCOUNT",
    "TEXTSIZE",
];

/// What ANSI_DEFAULTS switches.
const ANSI_DEFAULTS: [&str; 7] = [
    "ANSI_NULLS",
    "ANSI_NULL_DFLT_ON",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "CURSOR_CLOSE_ON_COMMIT",
    "IMPLICIT_TRANSACTIONS",
    "QUOTED_IDENTIFIER",
];

/// The options' values by name, in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// As they are after login. `odbc`: LOGIN7 said that an ODBC-like library logs in.
    pub(super) fn at_login(odbc: bool, language: &str) -> Settings {
        let on = [
            "ANSI_WARNINGS",
            "ANSI_PADDING",
            "ANSI_NULLS",
            "QUOTED_IDENTIFIER",
            "ANSI_NULL_DFLT_ON",
            "CONCAT_NULL_YIELDS_NULL",
            "ARITHABORT",
        ];
        let mut values: BTreeMap<String, String> = SWITCHES
            .iter()
            .map(|(name, _)| {
                (
                    (*name).to_owned(),
                    if odbc && on.contains(name) && *name != "ARITHABORT" {
                        "ON"
                    } else {
                        "OFF"
                    }
                    .to_owned(),
                )
            })
            .collect();
        if !odbc {
            values.insert("CONCAT_NULL_YIELDS_NULL".to_owned(), "ON".to_owned());
        }
        for (name, value) in VALUES.iter().zip([
            "7",
            "mdy",
            "0",
            language,
            "-1",
            "0",
            "0",
            if odbc { "2147483647" } else { "4096" },
        ]) {
            values.insert((*name).to_owned(), value.to_owned());
        }
        Settings(values)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value == "ON")
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn put(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// `@@OPTIONS`
    pub(super) fn bits(&self) -> i64 {
        SWITCHES
            .iter()
            .filter(|(name, _)| self.is_on(name))
            .map(|(_, bit)| bit)
            .sum()
    }

    /// Recoverable states of a session, as SESSIONSTATE carries them: database, language, options.
    pub(super) fn states(&self, database: &str) -> Vec<(u8, Vec<u8>)> {
        let options = self
            .0
            .iter()
            .filter(|(name, _)| *name != "LANGUAGE")
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(";");
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        vec![
            (0, utf16(database)),
            (1, utf16(self.text("LANGUAGE"))),
            (9, options.into_bytes()),
        ]
    }
}

/// The states of a session that has just logged in through a library that is not ODBC's; what matters is that they are there.
pub(super) fn initial_states(database: &str, language: &str) -> Vec<(u8, Vec<u8>)> {
    Settings::at_login(true, language).states(database)
}

impl Session {
    /// `SET …` that is no variable's.
    pub(super) fn set_option(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        let text = || {
            tokens
                .iter()
                .map(|token| token.text.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        if tokens[0].is("TRANSACTION") {
            return self.set_isolation(&text().to_ascii_uppercase());
        }
        if tokens[0].is("CONTEXT_INFO") {
            let (_, value) = self.evaluate(&tokens[1..])?;
            let Value::Blob(mut bytes) = value else {
                return Err(Failure::new(8180, 16, 1, "SET CONTEXT_INFO wants a binary value."));
            };
            bytes.resize(128, 0);
            self.context_info = Some(bytes);
            self.done_plain(command::SET_ON);
            return Ok(());
        }
        if tokens[0].is("IDENTITY_INSERT") {
            let (table, at) = super::names::target_name(self, tokens, 1)?;
            return self.set_identity_insert(&table, tokens.get(at).is_some_and(|token| token.is("ON")));
        }
        let last = tokens
            .last()
            .map(|token| token.text.to_ascii_uppercase())
            .unwrap_or_default();
        if last == "ON" || last == "OFF" {
            for name in tokens[..tokens.len() - 1].iter().filter(|token| !token.symbol(",")) {
                self.switch(&name.text.to_ascii_uppercase(), &last)?;
            }
        } else {
            let name = tokens[0].text.to_ascii_uppercase();
            if !VALUES.contains(&name.as_str()) || tokens.len() < 2 {
                return Err(Failure::unknown(&format!("SET {}", text())));
            }
            let value = if matches!(tokens[1].kind, Kind::Variable) {
                super::convert::to_text(&self.variable(&tokens[1].text)?.1, None).unwrap_or_default()
            } else {
                tokens[1..].iter().map(|token| token.text.as_str()).collect()
            };
            self.set_value(&name, &value)?;
        }
        self.done_plain(command::SET_ON);
        Ok(())
    }

    fn switch(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        if name == "ANSI_DEFAULTS" {
            ANSI_DEFAULTS.iter().for_each(|name| self.settings.put(name, value));
            return Ok(());
        }
        if !SWITCHES.iter().any(|(known, _)| *known == name)
            || (matches!(name, "NOEXEC" | "PARSEONLY") && value == "ON")
        {
            return Err(Failure::unknown(&format!("SET {name} {value}")));
        }
        self.settings.put(name, value);
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "LANGUAGE" => {
                let Some((language, first, format)) =
                    LANGUAGES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(value))
                else {
                    return Err(Failure::new(
                        2741,
                        16,
                        1,
                        format!(
                            "SET LANGUAGE failed because '{value}' is not an official language name or a language alias on this SQL Server."
                        ),
                    ));
                };
                let old = self.settings.text("LANGUAGE").to_owned();
                self.settings.put("LANGUAGE", language);
                self.settings.put("DATEFIRST", first);
                self.settings.put("DATEFORMAT", format);
                self.output
                    .token(|out| tokens::environment_text(out, 2, language, &old));
                self.info(&language_changed(language));
            }
            "DATEFIRST" => {
                if !matches!(value.parse::<u8>(), Ok(1..=7)) {
                    return Err(Failure::new(
                        2744,
                        16,
                        1,
                        format!("The date first value '{value}' is not between 1 and 7."),
                    ));
                }
                self.settings.put(name, value);
            }
            "DATEFORMAT" => {
                if !matches!(value, "mdy" | "dmy" | "ymd" | "ydm" | "myd" | "dym") {
                    return Err(Failure::new(
                        2741,
                        16,
                        1,
                        format!("SET DATEFORMAT date order '{value}' is invalid."),
                    ));
                }
                self.settings.put(name, value);
            }
            "DEADLOCK_PRIORITY" => self.settings.put(name, value),
            _ => {
                value.parse::<i64>().map_err(|_| Failure::syntax(value))?;
                self.settings.put(name, value);
            }
        }
        Ok(())
    }

    fn set_isolation(&mut self, text: &str) -> Result<(), Failure> {
        self.isolation = match text
            .strip_prefix("TRANSACTION ISOLATION LEVEL ")
            .unwrap_or_default()
            .trim()
        {
            "READ UNCOMMITTED" => 1,
            "READ COMMITTED" => 2,
            "REPEATABLE READ" => 3,
            "SERIALIZABLE" => 4,
            "SNAPSHOT" => 5,
            _ => return Err(Failure::unknown(&format!("SET {text}"))),
        };
        self.done_plain(command::SET_ON);
        Ok(())
    }

    /// `SET ROWCOUNT`, when it limits.
    pub(super) fn row_limit(&self) -> Option<i64> {
        Some(self.settings.number("ROWCOUNT")).filter(|most| *most > 0)
    }

    /// DBCC USEROPTIONS, and nothing else.
    pub(super) fn dbcc(&mut self, tokens: &[Token]) -> Result<(), Failure> {
        if !tokens.first().is_some_and(|token| token.is("USEROPTIONS")) {
            let text = tokens
                .iter()
                .map(|token| token.text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            return Err(Failure::unknown(&format!("DBCC {text}")));
        }
        let columns = [
            Column::new("Set Option", SqlType::VarChar(128)),
            Column::new("Value", SqlType::VarChar(256)),
        ];
        let mut rows: Vec<(String, String)> = ["TEXTSIZE", "LANGUAGE", "DATEFORMAT", "DATEFIRST", "LOCK_TIMEOUT"]
            .iter()
            .map(|name| (name.to_ascii_lowercase(), self.settings.text(name).to_owned()))
            .collect();
        for (name, bit) in SWITCHES {
            if bit > 0 && self.settings.is_on(name) {
                rows.push((name.to_ascii_lowercase(), "SET".to_owned()));
            }
        }
        let isolation = [
            "unspecified",
            "read uncommitted",
            "read committed",
            "repeatable read",
            "serializable",
            "snapshot",
        ][usize::from(self.isolation)];
        rows.push(("isolation level".to_owned(), isolation.to_owned()));
        self.output.columns(&columns);
        for (name, value) in &rows {
            self.output
                .row(&columns, &[Value::Text(name.clone()), Value::Text(value.clone())], true)?;
        }
        self.done_rows(command::SELECT, rows.len() as i64);
        Ok(())
    }
}

const LANGUAGES: [(&str, &str, &str); 6] = [
    ("us_english", "7", "mdy"),
    ("British", "1", "dmy"),
    ("Deutsch", "1", "dmy"),
    ("Français", "1", "dmy"),
    ("Español", "1", "dmy"),
    ("Italiano", "1", "dmy"),
];
