//! What `currval` and `lastval` tell a client: about its own draws, or an error, but never about anybody else's, and never
//! about older ones of its own.
//!
//! A client whose user relies on them keeps the connection on which something was drawn, until DISCARD SEQUENCES or its
//! end. For others the values stay where they are, for the case that the client comes back before anybody else does and
//! has drawn nowhere else meanwhile; otherwise they are discarded ahead of the next request.
//!
//! Invariants: values are kept for exactly the client, and the place, that drew last; what cannot be seen from a text
//! (triggers, defaults, functions) counts as a draw. Must not know who else waits for a connection.

use super::Conversation;
use crate::session::{Session, classify::Class, last_values::Drawer, touched::Touches};

impl Conversation {
    /// As whom it has drawn, wherever it did so last.
    pub(super) fn as_drawer(&self) -> Drawer {
        Drawer {
            client: self.serial,
            place: self.draws,
        }
    }

    /// What of a statement may come to tie its client.
    pub(super) fn suspicious(&self, class: &Class) -> Touches {
        match self.asker.relies_on_them() {
            true => class.touches,
            false => class.touches.without(Touches::LAST_VALUES),
        }
    }

    /// It may have drawn here: what any other connection still tells it is outdated.
    pub(super) fn draws_on(&mut self, session: &mut Session) {
        if session.drawer != Some(self.as_drawer()) {
            self.draws = self.draws.wrapping_add(1);
            session.drawer = Some(self.as_drawer());
        }
    }

    /// DISCARD SEQUENCES was carried out.
    pub(super) fn discards_sequences(&mut self, session: &mut Session) {
        self.draws = self.draws.wrapping_add(1);
        session.drawer = None;
        session.living = session.living.without(Touches::SEQUENCES);
        session.due = session.due.without(Touches::LAST_VALUES);
    }

    /// At the end of a transaction: what it may have drawn goes ahead of the next holder's request. Says what is to be
    /// asked about it.
    pub(super) fn settle_draws(&mut self, session: &mut Session) -> Touches {
        let drawn = session.touched.among(Touches::DRAWS);
        if drawn.is_empty() {
            return Touches::NONE;
        }
        self.draws_on(session);
        session.touched = session.touched.without(Touches::LAST_VALUES);
        session.due |= Touches::SEQUENCES;
        if !self.asker.relies_on_them() || session.living.any(Touches::SEQUENCES) {
            return Touches::NONE;
        }
        if drawn.any(Touches::SEQUENCE_SET) {
            session.living |= Touches::SEQUENCES;
            return Touches::NONE;
        }
        match self.asker.is_provable() {
            true => Touches::SEQUENCES,
            false => {
                // A function, or a statement whose triggers might draw, is not worth a connection for each client.
                session.living |= drawn.among(Touches::SEQUENCES);
                Touches::NONE
            }
        }
    }
}
