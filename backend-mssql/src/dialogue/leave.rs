//! The client is gone: its server connection is brought to rest, or given up (TDS 8 case F).

use weir_core::backend::{Leave, Outbox};

use super::{Conversation, Presence, from_client::Incoming, pending::Weight};
use crate::{
    session::{
        Condition, Exchange, Session,
        own::{self, Own},
    },
    wire::packet::ResetBit,
};

impl Conversation {
    pub(super) fn on_leave(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Leave {
        self.presence = Presence::Gone;
        if let Condition::Broken(why) = session.condition {
            return Leave::Discard(why);
        }
        if mid_message || matches!(self.incoming, Incoming::Passing) {
            return Leave::Discard("its client left in the middle of a message");
        }
        if self.is_old() {
            return Leave::Discard("its client spoke a protocol that does not tell whether a transaction is open");
        }
        session.unpin();
        match session.exchange {
            Exchange::None => {
                if session.transaction.is_open() || session.transaction.is_unknown() {
                    session.ask(Own::Rollback, &own::rollback_text(), ResetBit::None, &mut out.to_server);
                }
                Leave::Drain { cancel: false }
            }
            Exchange::Sending => Leave::Discard("its client left in the middle of a message"),
            // What is about to be committed is left alone.
            Exchange::Theirs => Leave::Drain {
                cancel: self
                    .pending
                    .as_ref()
                    .is_none_or(|pending| pending.weight == Weight::Ordinary),
            },
            Exchange::Own(_) => Leave::Drain { cancel: false },
        }
    }
}
