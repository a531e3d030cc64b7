//! What a session is really like: the gateway asks the server, because a text alone cannot prove what it left behind.
//!
//! One query of the gateway's own at the end of a transaction that may have touched session state (specification S7.2c,
//! S7.6): the settings that are set, role and session authorization, and whether anything lives on the session that no
//! other one can be given. Every name and operator is qualified, because `search_path` is the client's; values come as
//! the hexadecimal digits of their UTF-8, because `client_encoding` is the client's too.
//!
//! Invariants: the answer is bounded ([`limits::MAX_SETTLED_BYTES`]); what cannot be read proves nothing. Must not know
//! what is made of the answer.

use std::fmt::Write as _;

use super::{
    custom::{CustomSettings, is_custom_name},
    touched::Touches,
};
use crate::{limits, listen::Channel};

/// A question on its way, and as much of its answer as has come.
#[derive(Debug)]
pub(crate) struct Settling {
    /// What is asked about.
    pub(crate) about: Touches,
    /// How often it has been asked in vain.
    pub(crate) failures: u8,
    /// Names that the client had used since it was asked last. What it uses while this question is on its way belongs to
    /// the next one.
    pub(crate) names: CustomSettings,
    found: Found,
    bytes: usize,
    verdict: Verdict,
}

/// What the server said.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Names and values of what is set; `role` and `session_authorization` always.
    pub(crate) settings: Vec<(String, String)>,
    /// What lives on the session.
    pub(crate) living: Touches,
    /// Whether the schema of temporary objects exists, if anything in it was asked about.
    pub(crate) temporary_schema: TemporarySchema,
    /// The channels that it listens to; one more than [`limits::MAX_CLIENT_CHANNELS`] means that there are more.
    pub(crate) channels: Vec<Channel>,
    /// Names and texts of the statements prepared with SQL; no text where there are too many.
    pub(crate) statements: Vec<(String, Option<String>)>,
}

/// Whether a session has a schema for temporary objects. It is made when it is needed first, and stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TemporarySchema {
    #[default]
    Unseen,
    Exists,
}

/// Whether the answer can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    Unreadable,
    Failed,
    Cancelled,
}

/// Why nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsettled {
    /// A cancel request, or a time limit, struck the question: it may be asked again.
    Cancelled,
    /// The server refuses to be asked this.
    Refused,
    /// Asking again would not help.
    Unprovable,
}

impl Settling {
    /// Nothing answered yet.
    pub(crate) fn new(about: Touches, failures: u8, names: CustomSettings) -> Self {
        Settling {
            about,
            failures,
            names,
            found: Found::default(),
            bytes: 0,
            verdict: Verdict::Sound,
        }
    }

    /// There are more settings than can be asked about.
    pub(crate) fn cannot_prove_all(&mut self) {
        self.found.living |= Touches::UNKNOWN;
    }

    /// One row of the answer: the body of a DataRow.
    pub(crate) fn row(&mut self, body: &[u8]) {
        self.bytes = self.bytes.saturating_add(body.len());
        let found = &self.found;
        let too_many = found.settings.len() >= limits::MAX_OVERLAY_SETTINGS
            || found.statements.len() > limits::MAX_SQL_STATEMENTS
            || found.channels.len() > limits::MAX_CLIENT_CHANNELS;
        if self.bytes > limits::MAX_SETTLED_BYTES || too_many {
            self.unreadable();
        }
        if self.verdict == Verdict::Sound && self.read(body).is_none() {
            self.unreadable();
        }
    }

    /// Something in the answer cannot be read, or is too much.
    pub(crate) fn unreadable(&mut self) {
        self.verdict = Verdict::Unreadable;
        self.found.settings.clear();
        self.found.statements.clear();
    }

    /// The server has refused.
    pub(crate) fn failed(&mut self, sqlstate: &[u8]) {
        self.verdict = match sqlstate {
            b"57014" => Verdict::Cancelled,
            _ => Verdict::Failed,
        };
    }

    /// What has been found out.
    pub(crate) fn finish(self) -> Result<Found, Unsettled> {
        match self.verdict {
            Verdict::Sound => Ok(self.found),
            Verdict::Cancelled if self.failures + 1 < limits::MAX_SETTLE_ATTEMPTS => Err(Unsettled::Cancelled),
            Verdict::Failed => Err(Unsettled::Refused),
            Verdict::Cancelled | Verdict::Unreadable => Err(Unsettled::Unprovable),
        }
    }

    fn read(&mut self, body: &[u8]) -> Option<()> {
        let [kind, name, value] = columns(body)?;
        let living = match kind? {
            b"set" => {
                // A custom setting that the server has never heard of has no value.
                if let (Some(name), Some(value)) = (name, value) {
                    let name = std::str::from_utf8(name).ok()?;
                    self.found.settings.push((name.to_owned(), text(value)?));
                }
                Touches::NONE
            }
            b"locks" => Touches::LOCKS,
            b"cursors" => Touches::CURSORS,
            b"listen" => {
                self.found.channels.push(bytes(value?)?.into());
                Touches::NONE
            }
            b"temporary" => Touches::TEMPORARY,
            b"prepared" => {
                let value = match value {
                    Some(value) => Some(text(value)?),
                    None => None,
                };
                self.found.statements.push((text(name?)?, value));
                Touches::NONE
            }
            b"privileged" => Touches::SETTINGS,
            b"drawn" => Touches::SEQUENCES,
            b"schema" => {
                self.found.temporary_schema = TemporarySchema::Exists;
                Touches::NONE
            }
            _ => return None,
        };
        self.found.living |= living;
        Some(())
    }
}

/// Three columns of a DataRow.
fn columns(body: &[u8]) -> Option<[Option<&[u8]>; 3]> {
    let mut rest = body.strip_prefix(&[0, 3])?;
    let mut columns = [None; 3];
    for column in &mut columns {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let (value, behind) = rest.split_at_checked(length)?;
            (*column, rest) = (Some(value), behind);
        }
    }
    rest.is_empty().then_some(columns)
}

/// Text from the hexadecimal digits of its UTF-8.
fn text(digits: &[u8]) -> Option<String> {
    String::from_utf8(bytes(digits)?).ok()
}

fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Settings that are set. Those of the transaction are its own.
const SETTINGS: &str = "SELECT 'set', s.name, pg_catalog.encode(pg_catalog.convert_to(s.setting, 'UTF8'), 'hex') \
    FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session' \
    AND s.context OPERATOR(pg_catalog.<>) 'internal' \
    AND s.name OPERATOR(pg_catalog.<>) ALL (ARRAY['transaction_isolation','transaction_read_only','transaction_deferrable']) \
    UNION ALL SELECT 'privileged', NULL, NULL \
    WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'off' \
    AND pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none' \
    AND EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session' \
    AND s.context OPERATOR(pg_catalog.=) 'superuser') \
    UNION ALL SELECT 'set', c.name, \
    pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(c.name, true), 'UTF8'), 'hex') \
    FROM (VALUES ('role'),('session_authorization')";

/// What follows the names of custom settings. A name that a library has taken over since is a setting like others.
const SETTINGS_END: &str = ") AS c(name) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings s \
    WHERE s.name OPERATOR(pg_catalog.=) c.name)";

/// What is asked about each kind of state that lives on a session.
const PROOFS: [(Touches, &str); 5] = [
    (
        Touches::LOCKS,
        "SELECT 'locks', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks l \
        WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (
        Touches::CURSORS,
        "SELECT 'cursors', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable)",
    ),
    (
        Touches::LISTEN,
        // In the database's own encoding, in which notifications come. One more than may be followed tells that there are
        // more.
        "SELECT 'listen', NULL, pg_catalog.encode(pg_catalog.convert_to(c.name, pg_catalog.getdatabaseencoding()), 'hex') \
        FROM (SELECT l.name FROM pg_catalog.pg_listening_channels() AS l(name) LIMIT 257) AS c",
    ),
    (
        // Whatever is in a schema depends on it.
        Touches::TEMPORARY,
        "SELECT 'temporary', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
        AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
        UNION ALL SELECT 'schema', NULL, NULL \
        WHERE pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid",
    ),
    (
        Touches::SQL_PREPARED,
        // The numbers are those of the limits: one row more tells that there are too many, and what is too long stays.
        "SELECT 'prepared', pg_catalog.encode(pg_catalog.convert_to(p.name, 'UTF8'), 'hex'), \
        CASE WHEN p.bytes OPERATOR(pg_catalog.<=) 65536 \
        THEN pg_catalog.encode(pg_catalog.convert_to(p.statement, 'UTF8'), 'hex') END \
        FROM (SELECT p.name, p.statement, pg_catalog.sum(pg_catalog.octet_length(p.statement)) OVER () AS bytes \
        FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql LIMIT 201) p",
    ),
];

/// Whether anything was drawn from a sequence on the session, which only `lastval` tells, and that by an error: so it is
/// asked where an error can be caught. It stands ahead of the rest, in the same transaction, which also ends its setting.
/// A sequence that somebody else has locked is not waited for; one that may not be read was drawn from all the same.
const LAST_VALUE: &str = "DO $weir$ BEGIN PERFORM pg_catalog.set_config('lock_timeout', '10ms', true); \
    PERFORM pg_catalog.lastval(); PERFORM pg_catalog.set_config('weir.drawn', 'yes', true); \
    EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; \
    WHEN others THEN PERFORM pg_catalog.set_config('weir.drawn', 'yes', true); END $weir$; ";

/// What was found.
const DRAWN: &str = "SELECT 'drawn', NULL, NULL \
    WHERE pg_catalog.current_setting('weir.drawn', true) OPERATOR(pg_catalog.=) 'yes'";

/// Whether this question is about settings.
pub(crate) fn asks_for_settings(about: Touches) -> bool {
    about.any(Touches::SETTINGS | Touches::TIMEOUTS | Touches::UNKNOWN)
}

const UNION: &str = " UNION ALL ";

/// The question. `names` are those of custom settings, each of which [`is_custom_name`].
pub(crate) fn question<'a>(about: Touches, names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    if about.any(Touches::SEQUENCES) {
        text.push_str(LAST_VALUE);
        text.push_str(DRAWN);
    }
    if asks_for_settings(about) {
        if !text.is_empty() {
            text.push_str(UNION);
        }
        text.push_str(SETTINGS);
        for name in names.filter(|name| is_custom_name(name)) {
            // Writing to a String never fails.
            let _ = write!(text, ",('{name}')");
        }
        text.push_str(SETTINGS_END);
    }
    for (_, proof) in PROOFS.iter().filter(|(when, _)| about.any(*when | Touches::UNKNOWN)) {
        if !text.is_empty() {
            text.push_str(UNION);
        }
        text.push_str(proof);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: [Option<&str>; 3]) -> Vec<u8> {
        let mut body = vec![0, 3];
        for column in columns {
            match column {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    body.extend((value.len() as i32).to_be_bytes());
                    body.extend(value.as_bytes());
                }
            }
        }
        body
    }

    #[test]
    fn an_answer_is_read() {
        let mut settling = Settling::new(Touches::UNKNOWN, 0, CustomSettings::default());
        settling.row(&row([Some("set"), Some("app.tenant"), Some("62c3bc63686572")]));
        settling.row(&row([Some("set"), Some("no.such"), None]));
        settling.row(&row([Some("locks"), None, None]));
        let found = settling.finish().unwrap();
        assert_eq!(found.settings, [("app.tenant".to_owned(), "bücher".to_owned())]);
        assert_eq!(found.living, Touches::LOCKS);
    }

    #[test]
    fn what_cannot_be_read_proves_nothing() {
        let rows = [
            row([Some("set"), Some("a"), Some("6")]),
            row([Some("set"), Some("a"), Some("ff")]),
            row([Some("set"), Some("a"), Some("zz")]),
            row([Some("news"), None, None]),
            row([None, None, None]),
            row([Some("prepared"), None, None]),
            row([Some("prepared"), Some("7"), None]),
            b"\0\x03\0\0\0\x09set".to_vec(),
            b"\0\x02".to_vec(),
            vec![],
            vec![0; limits::MAX_SETTLED_BYTES + 1],
        ];
        for row in rows {
            let mut settling = Settling::new(Touches::UNKNOWN, 0, CustomSettings::default());
            settling.row(&row);
            assert_eq!(settling.finish().unwrap_err(), Unsettled::Unprovable);
        }
    }

    #[test]
    fn a_server_cannot_grow_the_answer_without_end() {
        let mut settling = Settling::new(Touches::UNKNOWN, 0, CustomSettings::default());
        for n in 0..100_000 {
            settling.row(&row([Some("set"), Some(&format!("a{n}")), Some("61")]));
            assert!(settling.found.settings.len() <= limits::MAX_OVERLAY_SETTINGS);
        }
        assert!(settling.finish().is_err());
    }

    #[test]
    fn channels_come_as_the_database_has_them() {
        let mut settling = Settling::new(Touches::LISTEN, 0, CustomSettings::default());
        settling.row(&row([Some("listen"), None, Some("6aff22")]));
        let found = settling.finish().unwrap();
        assert_eq!(*found.channels, [Channel::from(&b"j\xff\""[..])]);
        assert!(
            question(Touches::LISTEN, std::iter::empty())
                .contains(&format!("LIMIT {}", limits::MAX_CLIENT_CHANNELS + 1))
        );
        let mut settling = Settling::new(Touches::LISTEN, 0, CustomSettings::default());
        settling.row(&row([Some("listen"), None, None]));
        assert!(settling.finish().is_err());
    }

    #[test]
    fn a_cancelled_question_may_be_asked_again_but_not_for_ever() {
        for (failures, expected) in [(0, Unsettled::Cancelled), (9, Unsettled::Unprovable)] {
            let mut settling = Settling::new(Touches::LOCKS, failures, CustomSettings::default());
            settling.failed(b"57014");
            assert_eq!(settling.finish().unwrap_err(), expected);
        }
    }

    #[test]
    fn statements_come_with_their_texts() {
        let mut settling = Settling::new(Touches::SQL_PREPARED, 0, CustomSettings::default());
        settling.row(&row([Some("prepared"), Some("70"), Some("c3bc")]));
        settling.row(&row([Some("prepared"), Some("71"), None]));
        let found = settling.finish().unwrap();
        assert_eq!(
            found.statements,
            [("p".to_owned(), Some("ü".to_owned())), ("q".to_owned(), None)]
        );
        assert!(found.living.is_empty());
        let text = question(Touches::SQL_PREPARED, [].into_iter());
        assert!(text.contains(&format!("LIMIT {})", limits::MAX_SQL_STATEMENTS + 1)));
        assert!(text.contains(&format!("<=) {} ", limits::MAX_SQL_STATEMENT_BYTES)));
    }

    #[test]
    fn only_what_was_touched_is_asked_about() {
        let text = question(Touches::LOCKS, ["a.b"].into_iter());
        assert!(text.contains("pg_locks") && !text.contains("pg_settings") && !text.contains("pg_cursors"));
        let text = question(Touches::UNKNOWN, ["a.b", "c.d'; --", "plain"].into_iter());
        assert!(text.contains("('a.b')") && !text.contains("c.d") && !text.contains("plain"));
        assert!(text.contains("pg_locks") && text.contains("pg_listening_channels"));
    }
}
