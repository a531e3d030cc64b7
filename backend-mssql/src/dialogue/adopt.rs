//! A server connection comes to a client, and goes again (TDS 6.5).
//!
//! What earlier clients left is reset by a bit in the header of the next message, which costs nothing. What the client had
//! set elsewhere is set ahead of its request, in one batch whose whole answer is checked first: a request never runs with
//! other settings than its own. A reset that the client itself asks for goes the same way.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    backend::PinReason,
    settings::{PoolMode, SessionStatePolicy},
};

use super::{Conversation, from_client::Incoming, pending::Acknowledgement, transactions::State};
use crate::{
    session::{
        Session, Traces, Tracker,
        classify::Names,
        last_values::LastRequests,
        own::{self, Own},
        settings::{Settings, write_use},
    },
    wire::{packet::ResetBit, reframe::Reframer},
};

/// How far the present server connection has become the client's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Adoption {
    /// It is, or there is none.
    Settled,
    /// It has to be looked at before the next request.
    Due,
    /// The client's settings are on their way.
    Confirming,
    /// The server refused them: an ERROR token.
    Refused(Box<[u8]>),
}

/// A reset that the request at hand asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Reset(ResetBit),
    /// It is done, or needs no server.
    Done,
}

/// How the request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) reset: ResetBit,
    pub(super) acknowledgement: Acknowledgement,
}

impl Conversation {
    pub(super) fn take_over(&mut self, session: &mut Session) {
        self.adoption = Adoption::Due;
        if self.incoming == Incoming::Waiting {
            self.incoming = Incoming::Between;
        }
        self.tracker = session.transaction.tracker();
        self.spid = session.spid;
        self.to_client.set_spid(session.spid);
        self.to_server = Reframer::new(session.packet_size);
        session.kept_for = match self.pool_mode {
            _ if self.is_old() => Some(PinReason::OldProtocol),
            PoolMode::Session => Some(PinReason::SessionMode),
            PoolMode::Transaction | PoolMode::Statement => None,
        };
    }

    pub(super) fn give_back(&mut self, session: &mut Session) {
        debug_assert!(self.pending.is_none(), "released with a response outstanding");
        session.holder = Some(self.serial);
        session.kept_for = None;
        session.suspects.forget();
        self.writes = 0;
        self.adoption = Adoption::Settled;
        if self.policy == SessionStatePolicy::Reset {
            self.now = self.login.clone();
        }
    }

    /// The client asks for a reset: whatever it has set or prepared is gone.
    pub(super) fn reset_client(&mut self, bit: ResetBit) {
        self.now.settings = self.login.settings.clone();
        self.now.database = self.login.database.clone();
        self.handles.clear();
        self.last = LastRequests::default();
        if bit == ResetBit::Connection {
            self.now.isolation = self.login.isolation;
            self.transaction.clear();
        }
        self.asked = Asked::Reset(bit);
        self.adoption = Adoption::Due;
    }

    pub(super) fn has_asked_for_reset(&self) -> bool {
        self.asked != Asked::No
    }

    /// Makes the server connection the client's own. `None`: an answer has to be awaited first. `is_followed`: the request
    /// at hand is not the next one that is sent, so that a reset cannot ride on it. `names`: what the request asks for.
    pub(super) fn settle(
        &mut self,
        is_followed: bool,
        names: Names,
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Option<Ready> {
        if self.adoption != Adoption::Due {
            return Some(Ready {
                reset: ResetBit::None,
                acknowledgement: match self.asked {
                    Asked::No => Acknowledgement::None,
                    Asked::Reset(_) | Asked::Done => Acknowledgement::Insert,
                },
            });
        }
        let reset = self.reset_due(names, session);
        let mut text = self.settings_due(session, reset);
        if text.is_empty() && is_followed && reset != ResetBit::None {
            text.push_str(self.now.isolation.statement());
        }
        if text.is_empty() {
            self.adoption = Adoption::Settled;
            let acknowledgement = match (self.asked, reset) {
                (Asked::No, _) => Acknowledgement::None,
                (_, ResetBit::None) => Acknowledgement::Insert,
                _ => Acknowledgement::Pass,
            };
            return Some(Ready { reset, acknowledgement });
        }
        session.ask(Own::Settings, &text, reset, out);
        self.adoption = Adoption::Confirming;
        if self.has_asked_for_reset() {
            self.asked = Asked::Done;
        }
        None
    }

    /// Does the reset that the client asked for in a call of its own. `false`: an answer has to be awaited.
    pub(super) fn reset_by_itself(&mut self, session: &mut Session, out: &mut BytesMut) -> bool {
        if self.adoption != Adoption::Due || session.is_as_after_login() {
            return true;
        }
        let mut text = self.settings_due(session, ResetBit::Connection);
        if text.is_empty() {
            text.push_str(self.now.isolation.statement());
        }
        session.ask(Own::Settings, &text, ResetBit::Connection, out);
        self.adoption = Adoption::Confirming;
        self.asked = Asked::Done;
        false
    }

    /// Which reset has to come first.
    fn reset_due(&self, names: Names, session: &Session) -> ResetBit {
        let is_strange = session.holder != Some(self.serial);
        // What somebody else's last statement came to is told to nobody, and not left where it could be taken for the
        // client's own.
        let would_tell = !self.to_be_forgotten(names, session).is_none();
        let only_a_reset_does = self.now.settings.since(&session.settings).is_none();
        match self.asked {
            Asked::Reset(bit) if !session.is_as_after_login() => bit,
            _ if (session.traces == Traces::Left && is_strange) || only_a_reset_does || would_tell => {
                ResetBit::Connection
            }
            _ => ResetBit::None,
        }
    }

    /// What has to be set, behind that reset.
    fn settings_due(&self, session: &Session, reset: ResetBit) -> String {
        let mut text = String::new();
        let fresh = Settings::default();
        let (settings, database) = match reset {
            ResetBit::None => (&session.settings, session.database.as_ref()),
            _ => (
                &fresh,
                session
                    .database
                    .as_ref()
                    .filter(|database| **database == session.login.database),
            ),
        };
        if reset == ResetBit::Connection && session.transaction.is_open() && self.tracker == Tracker::Probe {
            // A reset leaves the count of transactions as it is there (TDS 14).
            text.push_str(own::ROLLBACK);
            text.push(';');
        }
        let stays_in_transaction = session.transaction.is_open() && reset != ResetBit::Connection;
        if session.isolation != Some(self.now.isolation) && !stays_in_transaction {
            text.push_str(self.now.isolation.statement());
        }
        for setting in self.now.settings.since(settings).into_iter().flatten() {
            setting.write(&mut text);
        }
        if database != Some(&self.now.database) {
            write_use(&self.now.database, &mut text);
        }
        text
    }

    /// The server has answered the settings.
    pub(super) fn settings_done(
        &mut self,
        session: &mut Session,
        out: &mut BytesMut,
    ) -> Result<(), weir_core::refusal::Fault> {
        if let Some(error) = session.own.error.take() {
            self.adoption = Adoption::Refused(error);
            return Err(session.fail("the server refused a client's settings"));
        }
        session.settings = self.now.settings.clone();
        session.database = Some(Arc::clone(&self.now.database));
        if !session.transaction.is_open() {
            session.isolation = Some(self.now.isolation);
        }
        self.adoption = Adoption::Settled;
        if session.transaction.is_unknown() {
            session.ask(Own::Count, own::COUNT, ResetBit::None, out);
        }
        Ok(())
    }

    /// Takes note of what the session has become by a response.
    pub(super) fn follow_session(&mut self, session: &Session) {
        if let Some(database) = &session.database {
            self.now.database = database.clone();
        }
    }

    /// With `session_state: reset`, nothing outlives a transaction.
    pub(super) fn forget_session(&mut self, session: &mut Session) {
        if self.policy == SessionStatePolicy::Reset && matches!(self.transaction.state, State::None | State::Virtual(_))
        {
            session.unpin_but_bulk();
            self.now = self.login.clone();
        }
    }
}
