//! Putting a server connection back to a fresh state: what was touched, at once or ahead of the next client's request.
//!
//! What can wait, waits, and rides on the next request at no round trip (settings, WITH HOLD cursors, sequence values,
//! SQL-level prepared statements: nobody else can see them). What others could notice or wait for, and what could spoil
//! the reset itself (locks, LISTEN, temporary tables, time limits, whatever could not be seen), is put back at once.
//! Never `DISCARD ALL`: it would destroy the prepared statements (specification S7.7).

use bytes::{Buf, BytesMut};
use weir_core::{
    backend::{Reset, ResetDepth, SessionReset, SessionState, TransactionDetection},
    refusal::Fault,
};

use super::{OverlayKept, Session, Setting, SqlStatements, overlay::Overlay, pending::Purpose, touched::Touches};
use crate::{
    limits,
    wire::{Head, error_response::ErrorFields, ready_for_query::TransactionStatus, server},
};

impl SessionReset for Session {
    fn begin_reset(&mut self, depth: ResetDepth, out: &mut BytesMut) -> Reset {
        match self.state() {
            SessionState::Idle | SessionState::Pinned(_) => {}
            SessionState::Broken(why) => return Reset::Discard(why),
            SessionState::InTransaction { .. } | SessionState::Busy => return Reset::Discard("not at rest"),
        }
        if self.is_replication() {
            return Reset::Discard("replication");
        }
        self.pin = None;
        self.untie();
        if self.overlay.iter().any(Setting::limits_what_follows) {
            self.touched |= Touches::TIMEOUTS;
        }
        if self.touched.any(Touches::STATEMENTS) && !self.sql_statements.is_empty() {
            self.touched |= Touches::SQL_PREPARED;
        }
        let touched = std::mem::take(&mut self.touched).without(Touches::HINTS);
        if touched.any(Touches::IRREVERSIBLE) && depth != ResetDepth::Nothing {
            return Reset::Discard("something was touched that no command puts back");
        }
        let urgent = match depth {
            ResetDepth::Nothing => return Reset::Done,
            ResetDepth::WhatChanged if !touched.any(Touches::URGENT) => {
                self.due |= touched;
                return if self.due.is_empty() {
                    Reset::Done
                } else {
                    Reset::Deferred
                };
            }
            ResetDepth::WhatChanged => {
                let all = touched | self.due;
                // What `currval` says may stay for the client that made it say so.
                let later = match all.any(Touches::UNKNOWN) {
                    true => Touches::NONE,
                    false => Touches::LAST_VALUES,
                };
                self.due = all.among(later);
                all.without(later)
            }
            ResetDepth::Everything => Touches::ALL,
        };
        self.put_back(urgent, out);
        Reset::Await
    }

    fn continue_reset(&mut self, input: &mut BytesMut) -> Result<Reset, Fault> {
        while let Some(head) = Head::read(input) {
            head.check_server().map_err(|_| self.fail("invalid message length"))?;
            if head.total() > limits::MAX_PEEK as u64 {
                return Err(self.fail("too long an answer to a reset"));
            }
            let Some(message) = head.message(input) else { break };
            let step = self.judge_reset(head, head.body(message))?;
            input.advance(head.total() as usize);
            if let Some(step) = step {
                return Ok(step);
            }
        }
        Ok(Reset::Await)
    }
}

impl Session {
    /// Writes what puts these things back.
    pub(crate) fn put_back(&mut self, touched: Touches, out: &mut BytesMut) {
        self.ask(script(touched).as_bytes(), Purpose::Reset, out);
        self.due = self.due.without(touched);
        if touched.any(Touches::UNKNOWN) {
            self.due = Touches::NONE;
        }
        if touched.any(Touches::SQL_PREPARED | Touches::UNKNOWN) {
            self.sql_statements = SqlStatements::default();
        }
        if touched.any(SETTINGS | Touches::UNKNOWN) {
            self.overlay = Overlay::default();
            self.overlay_kept = OverlayKept::Surely;
            self.due = self.due.without(SETTINGS);
        }
        if touched.any(Touches::DRAWS) {
            self.due = self.due.without(Touches::LAST_VALUES);
            self.drawer = None;
        }
    }

    fn judge_reset(&mut self, head: Head, body: &[u8]) -> Result<Option<Reset>, Fault> {
        match head.kind {
            server::COMMAND_COMPLETE
            | server::ROW_DESCRIPTION
            | server::DATA_ROW
            | server::NOTICE_RESPONSE
            | server::NOTIFICATION_RESPONSE => Ok(None),
            server::PARAMETER_STATUS => {
                self.reported(body);
                Ok(None)
            }
            server::READY_FOR_QUERY => {
                let status = TransactionStatus::read(body).map_err(|_| self.fail("unknown transaction status"))?;
                self.pending.pop();
                self.completed_one(status);
                match (status, self.pending.is_empty()) {
                    (TransactionStatus::Idle, true) => Ok(Some(Reset::Done)),
                    _ => Err(self.fail("a reset that did not end where it should")),
                }
            }
            server::ERROR_RESPONSE => {
                let fields = ErrorFields::read(body);
                if fields.ends_the_connection() {
                    self.ended(fields);
                }
                // Whatever the reason, a login puts everything back.
                self.fail("the server refused a reset");
                Ok(Some(Reset::Discard("the server refused a reset")))
            }
            _ => Err(self.fail("an unexpected answer to a reset")),
        }
    }
}

/// What RESET ALL is for.
const SETTINGS: Touches = Touches::ALL_SETTINGS;

/// SQL-level prepared statements by name, so that those of the protocol, which are the gateway's own, stay.
const DEALLOCATE_SQL_PREPARED: &str = "DO $weir$ DECLARE name pg_catalog.text; BEGIN \
    FOR name IN SELECT p.name FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql \
    LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', name); END LOOP; END $weir$; ";

/// The statements that put things back. Roles first: the rest may need the privileges of the login role. Every name is
/// qualified, because `search_path` may still be the client's.
fn script(touched: Touches) -> String {
    let steps = [
        (SETTINGS, "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; "),
        (Touches::CURSORS, "CLOSE ALL; "),
        (Touches::LISTEN, "UNLISTEN *; "),
        (Touches::LOCKS, "SELECT pg_catalog.pg_advisory_unlock_all(); "),
        (Touches::SQL_PREPARED, DEALLOCATE_SQL_PREPARED),
        (Touches::TEMPORARY, "DISCARD TEMP; "),
        (Touches::LAST_VALUES, "DISCARD SEQUENCES; "),
    ];
    let steps = steps.iter().filter(|(when, _)| touched.any(*when | Touches::UNKNOWN));
    steps.map(|(_, step)| *step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Parameters, SessionInit, SourceState};

    fn session() -> Session {
        Session::new(SessionInit {
            parameters: Parameters::default(),
            max_prepared_statements: 10,
            shared: SourceState::new(),
            replication: false,
        })
    }

    fn reset_of(touched: Touches, depth: ResetDepth) -> (Session, Reset, String) {
        let mut session = session();
        session.touched = touched;
        let mut out = BytesMut::new();
        let reset = session.begin_reset(depth, &mut out);
        (session, reset, String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn nothing_touched_costs_nothing() {
        let (session, reset, sent) = reset_of(Touches::NONE, ResetDepth::WhatChanged);
        assert_eq!((reset, &*sent), (Reset::Done, ""));
        assert_eq!(session.state(), SessionState::Idle);
    }

    #[test]
    fn settings_wait_for_the_next_client() {
        let (session, reset, sent) = reset_of(Touches::SETTINGS, ResetDepth::WhatChanged);
        assert_eq!((reset, &*sent), (Reset::Deferred, ""));
        assert_eq!(session.due, Touches::SETTINGS);
    }

    #[test]
    fn locks_do_not_wait() {
        let (mut session, reset, sent) = reset_of(Touches::LOCKS | Touches::SEQUENCES, ResetDepth::WhatChanged);
        assert_eq!(reset, Reset::Await);
        assert!(sent.contains("pg_catalog.pg_advisory_unlock_all()"));
        assert!(!sent.contains("RESET ALL") && !sent.contains("DISCARD SEQUENCES"));
        assert_eq!(session.due, Touches::SEQUENCES, "its client may come back for currval");
        assert_eq!(session.state(), SessionState::Busy);
        let mut answer = BytesMut::from(&b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"[..]);
        assert_eq!(session.continue_reset(&mut answer), Ok(Reset::Done));
        assert_eq!(session.state(), SessionState::Idle);
        assert!(answer.is_empty());
    }

    #[test]
    fn what_could_not_be_seen_is_put_back_altogether() {
        let (_, reset, sent) = reset_of(Touches::UNKNOWN, ResetDepth::WhatChanged);
        assert_eq!(reset, Reset::Await);
        for part in [
            "RESET ALL",
            "RESET ROLE",
            "CLOSE ALL",
            "UNLISTEN *",
            "unlock_all",
            "DISCARD TEMP",
            "SEQUENCES",
            "DEALLOCATE",
        ] {
            assert!(sent.contains(part), "{part}");
        }
        assert!(!sent.contains("DISCARD ALL") && !sent.contains("DEALLOCATE ALL"));
    }

    #[test]
    fn a_refused_reset_ends_the_connection() {
        let (mut session, _, _) = reset_of(Touches::LOCKS, ResetDepth::WhatChanged);
        let mut answer = BytesMut::from(&b"E\0\0\0\x0cC57014\0\0Z\0\0\0\x05I"[..]);
        assert!(matches!(session.continue_reset(&mut answer), Ok(Reset::Discard(_))));
        assert!(matches!(session.state(), SessionState::Broken(_)));
    }

    #[test]
    fn what_nothing_undoes_closes_the_connection() {
        assert!(matches!(
            reset_of(Touches::IRREVERSIBLE, ResetDepth::WhatChanged).1,
            Reset::Discard(_)
        ));
        assert_eq!(reset_of(Touches::IRREVERSIBLE, ResetDepth::Nothing).1, Reset::Done);
    }
}
