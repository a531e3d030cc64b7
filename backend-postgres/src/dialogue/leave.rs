//! The client is gone: its server connection is brought to rest, or given up (specification S8).

use bytes::BytesMut;
use weir_core::backend::{Leave, Outbox, PinReason};

use super::{Body, Conversation, Presence};
use crate::{
    session::{
        Condition, CopyState, Group, Session,
        pending::{Disposition, Expects, Purpose, Weight},
        touched::Touches,
    },
    wire::{ready_for_query::TransactionStatus, write},
};

impl Conversation {
    pub(super) fn on_leave(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Leave {
        let before = std::mem::replace(&mut self.presence, Presence::Gone);
        self.listening = None;
        if let Condition::Broken(why) = session.condition {
            return Leave::Discard(why);
        }
        if session.is_replication() {
            return Leave::Discard("replication");
        }
        if mid_message || self.body != Body::None {
            // The server waits for the rest of a message that will never come (S8.4a).
            return Leave::Discard("its client left in the middle of a message");
        }
        self.unpin(session);
        if session.copy == CopyState::In {
            self.end_copy(session, &mut out.to_server);
        } else {
            end_group(session, &mut out.to_server);
        }
        if session.pending.is_empty() && session.status != TransactionStatus::Idle {
            session.ask(b"ROLLBACK", Purpose::Rollback, &mut out.to_server);
        }
        let mut theirs = session
            .pending
            .iter()
            .filter(|entry| !matches!(entry.disposition, Disposition::Own(_)));
        let mut cancel = false;
        // A COMMIT on its way is left alone (S8.5).
        let commits = theirs.any(|entry| {
            cancel = true;
            entry.weight == Weight::Commit
        });
        Leave::Drain {
            // Who says good-bye right behind a request means it to be carried out.
            cancel: cancel && !commits && before != Presence::Leaving,
        }
    }

    /// Whatever the connection was kept for, it is for nobody any more; what a session of its own may hold goes.
    fn unpin(&mut self, session: &mut Session) {
        session.untie();
        // What ties a client for other reasons has been noted with its kind.
        if session.pin.take() == Some(PinReason::SessionMode) {
            session.touched |= Touches::ALL;
        }
        if self.statements.has_streamed() {
            session.touched |= Touches::IRREVERSIBLE;
        }
    }

    /// Ends COPY FROM STDIN for a client that does not (S8.4c).
    pub(super) fn end_copy(&mut self, session: &mut Session, out: &mut BytesMut) {
        write::copy_fail(out, "the client has disconnected");
        session.copy = CopyState::InEnded;
        session.expect(Expects::CopyEnd, Disposition::Forward);
        end_group(session, out);
    }
}

/// A group without its Sync would leave the server waiting, with its locks (S8.4b). A Sync alone would commit what its
/// client never finished: PostgreSQL rolls it back when a client goes. So an error comes first, raised by the server.
fn end_group(session: &mut Session, out: &mut BytesMut) {
    if session.group == Group::Closed {
        return;
    }
    if session.group == Group::Open && session.copy != CopyState::InEnded {
        session.expect(Expects::Execute, Disposition::Own(Purpose::Rollback));
        write::execute_portal(out, NO_PORTAL);
    }
    session.expect(Expects::Sync, Disposition::Own(Purpose::Rollback));
    write::sync(out);
}

/// A portal that no client has.
const NO_PORTAL: &[u8] = b"weir_-none";
