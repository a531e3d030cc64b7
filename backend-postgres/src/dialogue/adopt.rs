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

/// Sets one setting for the session. Both are parameters: nothing of a client ever becomes SQL text. NULL as the value
/// puts the setting back to what the login gave it.
const SET_CONFIG: &[u8] = b"SELECT pg_catalog.set_config($1, $2, false)";

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
        self.reset_what_is_due(session, &mut out.to_server);
        self.apply_overlay(session, &mut out.to_server);
        self.pin(session);
        if session.pending.is_empty() {
            self.tell_differences(session, &mut out.to_client);
        }
    }

    pub(super) fn give_back(&mut self, session: &mut Session) {
        debug_assert!(session.pending.is_empty(), "released with answers outstanding (S1.12)");
        session.holder = Some(self.serial);
        self.adoption = Adoption::Settled;
        if !self.told.is_same(&session.parameters) && self.told == session.parameters {
            self.told = session.parameters.clone();
        }
    }

    /// What the last holders changed is put back; only what `currval` says stays for the client that made it say so.
    fn reset_what_is_due(&mut self, session: &mut Session, out: &mut BytesMut) {
        let due = match session.holder == Some(self.serial) {
            true => session.due.without(Touches::SEQUENCES),
            false => session.due,
        };
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
        let known = self.shared.accepts(self.overlay.iter());
        let purpose = if known {
            Purpose::KnownSettings
        } else {
            Purpose::TrySettings
        };
        write_settings(session, &before, &self.overlay, purpose, out);
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
            PoolMode::Transaction | PoolMode::Statement => has_streamed.then_some(PinReason::LargeStatement),
        };
    }

    /// Tells the client what is different here from what it was told before.
    pub(super) fn tell_differences(&mut self, session: &Session, out: &mut BytesMut) {
        if self.told.is_same(&session.parameters) {
            return;
        }
        for (name, value) in session.parameters.news_for(&self.told) {
            write::parameter_status(out, name, value);
        }
        self.told = session.parameters.clone();
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

/// One group: what is not wanted any more goes back, what is wanted is set.
fn write_settings(session: &mut Session, before: &Overlay, after: &Overlay, purpose: Purpose, out: &mut BytesMut) {
    let own = Disposition::Own(purpose);
    session.unnamed = None;
    session.expect(Expects::Parse, own);
    write::parse_text(out, b"", SET_CONFIG);
    let mut set = |name: &str, value: Option<&str>| {
        session.expect(Expects::Bind, own);
        session.expect(Expects::Execute, own);
        write::bind_text(out, b"", &[Some(name.as_bytes()), value.map(str::as_bytes)]);
        write::execute(out);
    };
    let gone = |setting: &&Setting| after.get(&setting.name).is_none();
    // In reverse: a role goes before the settings that it may lack the privilege for.
    before
        .iter()
        .rev()
        .filter(gone)
        .for_each(|setting| set(&setting.name, None));
    let new = |setting: &&Setting| before.get(&setting.name) != Some(&*setting.value);
    after
        .iter()
        .filter(new)
        .for_each(|setting| set(&setting.name, Some(&setting.value)));
    session.expect(Expects::Sync, own);
    write::sync(out);
}
