//! A server connection comes to a client, and goes again.
//!
//! What earlier clients left and what this client's settings need is written ahead of its first request and swallowed:
//! no round trip, unless a setting has never been accepted by the source before (specification S7.4).

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, PinReason},
    settings::PoolMode,
};

use super::{
    Adoption, Conversation, Request,
    failed_block::{Abandoned, FailedBlock},
    follow::ANOTHERS_TEMPORARY_SCHEMA,
    refusals,
};
use crate::{
    session::{
        Overlay, Session, Setting,
        pending::{Disposition, Expects, Purpose},
        touched::Touches,
    },
    wire::{ready_for_query::TransactionStatus, write},
};

/// Sets one setting for the session. The value does not come back, because the client's encoding may lack it. Both are parameters: nothing of a client ever becomes SQL text. NULL as the value
/// puts the setting back to what the login gave it.
const SET_CONFIG: &[u8] = b"SELECT pg_catalog.set_config($1, $2, false) IS NULL";

/// The same with the value as the hexadecimal digits of its UTF-8.
const SET_CONFIG_HEXADECIMAL: &[u8] = b"SELECT pg_catalog.set_config($1, \
    pg_catalog.convert_from(pg_catalog.decode($2, 'hex'), 'UTF8'), false) IS NULL";

impl Conversation {
    pub(super) fn take_over(&mut self, session: &mut Session, out: &mut Outbox) {
        self.request = Request::None;
        self.adoption = Adoption::Settled;
        if session.is_mid_message() {
            session.fail("a message was cut in two while the connection was idle");
        }
        if session.is_replication() {
            return;
        }
        if self.lacks_own_temporary_schema(session) {
            session.fail(ANOTHERS_TEMPORARY_SCHEMA);
            return;
        }
        self.reset_what_is_due(session, &mut out.to_server);
        self.drop_foreign_statements(session, &mut out.to_server);
        self.apply_overlay(session, &mut out.to_server);
        self.pin(session);
        if session.pending.is_empty() {
            self.tell_differences(session, &mut out.to_client);
        }
    }

    pub(super) fn give_back(&mut self, session: &mut Session) {
        debug_assert!(session.pending.is_empty(), "released with answers outstanding (S1.12)");
        session.holder = Some(self.serial);
        if session.touched.any(Touches::DRAWS) {
            self.draws_on(session);
        }
        session.forget_suspects();
        self.adoption = Adoption::Settled;
        // The next comparison of the two, and of either with the others that are equal, costs a pointer.
        self.told.unite(&mut session.parameters);
        self.overlay.unite(&mut session.overlay);
    }

    /// What the last holders changed is put back; only what `currval` says, and custom settings that nobody knows by
    /// name, stay for the client that made it so.
    fn reset_what_is_due(&mut self, session: &mut Session, out: &mut BytesMut) {
        let mut due = session.due;
        if session.holder == Some(self.serial) {
            due = due.without(Touches::CUSTOM);
        }
        if session.drawer == Some(self.as_drawer()) {
            due = due.without(Touches::LAST_VALUES);
        }
        if !due.is_empty() {
            session.put_back(due, out);
        }
    }

    /// Makes the connection's settings the client's, in a group of its own, so that nothing the client does later undoes
    /// it.
    pub(super) fn apply_overlay(&mut self, session: &mut Session, out: &mut BytesMut) {
        if session.overlay.is_same(&self.overlay) {
            return;
        }
        let before = std::mem::replace(&mut session.overlay, self.overlay.clone());
        let changes = changes(&before, &self.overlay);
        if changes.is_empty() {
            return;
        }
        let known = self.shared.accepts(self.overlay.iter());
        let purpose = if known {
            Purpose::KnownSettings
        } else {
            Purpose::TrySettings
        };
        write_settings(session, &changes, purpose, out);
        self.adoption = if known {
            Adoption::Known
        } else {
            Adoption::Trying(before)
        };
    }

    /// The settings' ReadyForQuery has come.
    pub(super) fn settings_done(&mut self) {
        if let Adoption::Trying(_) | Adoption::Known = self.adoption {
            self.shared.accepted(self.overlay.iter());
            self.adoption = Adoption::Settled;
        }
    }

    /// Why the client keeps this connection between transactions.
    pub(super) fn pin(&mut self, session: &mut Session) {
        let has_streamed =
            self.statements.has_streamed() || self.unnamed.as_ref().is_some_and(|unnamed| unnamed.body().is_none());
        session.pin = match self.pool_mode {
            PoolMode::Session => Some(PinReason::SessionMode),
            PoolMode::Transaction | PoolMode::Statement if has_streamed => Some(PinReason::LargeStatement),
            PoolMode::Transaction | PoolMode::Statement if self.is_gone() => None,
            PoolMode::Transaction | PoolMode::Statement => session.tie(),
        };
    }

    /// Tells the client what is different here from what it was told before.
    pub(super) fn tell_differences(&mut self, session: &mut Session, out: &mut BytesMut) {
        if self.told.is_same(&session.parameters) {
            return;
        }
        for (name, value) in session.parameters.news_for(&self.told) {
            write::parameter_status(out, name, value);
        }
        // Equal lists that others have are to be these, and these theirs.
        self.told.unite(&mut session.parameters);
        self.told = session.parameters.clone();
        self.shared.note_told(&self.told);
    }

    /// The client was too slow inside a transaction.
    pub(super) fn roll_back_for(&mut self, session: &mut Session, why: &weir_core::refusal::Refusal, out: &mut Outbox) {
        session.ask(b"ROLLBACK", Purpose::Rollback, &mut out.to_server);
        self.abandoned = match session.status {
            TransactionStatus::Failed => Abandoned::Failed(FailedBlock::new(refusals::in_failed_block(why))),
            TransactionStatus::InTransaction | TransactionStatus::Idle => {
                Abandoned::Untold(Box::new(refusals::describe(why)))
            }
        };
    }
}

/// What makes the settings of a connection another client's, in order: what is not wanted any more goes back (`None`),
/// what is wanted is set. A role goes before the settings that it may lack the privilege for, and comes after them.
pub(super) fn changes<'a>(before: &'a Overlay, after: &'a Overlay) -> Vec<(&'a str, Option<&'a str>)> {
    let differs = |setting: &&Setting| before.get(&setting.name) != Some(&*setting.value);
    let is_gone = |setting: &&Setting| after.get(&setting.name).is_none();
    if !after.iter().any(|setting| differs(&setting)) && !before.iter().any(|setting| is_gone(&setting)) {
        return Vec::new();
    }
    let back = before
        .iter()
        .rev()
        .filter(|setting| is_gone(setting) || setting.is_identity());
    let new = after.iter().filter(|setting| differs(setting) || setting.is_identity());
    let back = back.map(|setting| (&*setting.name, None));
    back.chain(new.map(|setting| (&*setting.name, Some(&*setting.value))))
        .collect()
}

/// One group that makes these changes.
fn write_settings(session: &mut Session, changes: &[(&str, Option<&str>)], purpose: Purpose, out: &mut BytesMut) {
    let own = Disposition::Own(purpose);
    session.unnamed = None;
    let mut parsed = None;
    for (name, value) in changes {
        // What is not ASCII must not depend on the client_encoding of the moment.
        let digits = value.filter(|value| !value.is_ascii()).map(hexadecimal);
        let text = match digits {
            Some(_) => SET_CONFIG_HEXADECIMAL,
            None => SET_CONFIG,
        };
        if parsed.replace(text) != Some(text) {
            session.expect(Expects::Parse, own);
            write::parse_text(out, b"", text);
        }
        let value = digits.as_deref().or(*value);
        session.expect(Expects::Bind, own);
        session.expect(Expects::Execute, own);
        write::bind_text(out, b"", &[Some(name.as_bytes()), value.map(str::as_bytes)]);
        write::execute(out);
    }
    session.expect(Expects::Sync, own);
    write::sync(out);
}

pub(super) fn hexadecimal(value: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect()
}
