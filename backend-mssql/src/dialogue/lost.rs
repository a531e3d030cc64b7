//! The server connection is gone under the client (TDS 8 case J): a request that was not sent goes to another one; a
//! request that was sent gets an error; who has lost a transaction, or whatever tied it, has to go.

use weir_core::{
    backend::{Onward, Outbox},
    refusal::Refusal,
};

use super::{
    Conversation,
    adopt::Adoption,
    from_client::Incoming,
    pending::{Told, Weight},
};
use crate::{
    limits, refusals,
    session::{Condition, Exchange, Session, own::Own},
};

/// Severity from which on drivers take the connection for lost.
const FATAL: u8 = 20;

impl Conversation {
    pub(super) fn on_server_lost(&mut self, session: &mut Session, out: &mut Outbox) -> Onward {
        if session.condition == Condition::Sound {
            session.condition = Condition::Broken("the server connection was lost");
        }
        let pending = self.pending.take();
        let adoption = std::mem::replace(&mut self.adoption, Adoption::Settled);
        self.overrun = None;
        if self.is_gone() {
            return Onward::Finish;
        }
        let mut words = refusals::describe(&Refusal::ServerLost {
            last_words: None,
            commit_in_flight: pending.as_ref().is_some_and(|pending| pending.weight == Weight::Commit),
        });
        let was_told = pending.as_ref().map_or(Told::Nothing, |pending| pending.told);
        if was_told != Told::Nothing || session.attentions.is_owed() {
            // Half an answer cannot be mended, and an acknowledgement cannot come any more.
            return Onward::Finish;
        }
        if self.transaction.is_real() || session.tie().is_some() {
            words.class = words.class.max(FATAL);
            self.answer_error(&words, out);
            return Onward::Finish;
        }
        if let Adoption::Refused(error) = adoption {
            self.answer()
                .tokens(&error)
                .failed(super::answers::Ending::Statement(0), out);
            self.drop_request();
            return Onward::Continue;
        }
        if pending.is_some() {
            self.answer_error(&words, out);
            // What is still to come of it goes nowhere.
            if self.incoming == Incoming::Passing {
                self.incoming = Incoming::Dropping;
            }
            self.request_over();
        } else if matches!(
            session.exchange,
            Exchange::Own(Own::Settings | Own::Begin | Own::Prepare | Own::Release | Own::Forget)
        ) {
            self.lost_before_request(&words, out);
        }
        Onward::Continue
    }

    /// The request at hand has not been sent, so another server connection may have it; but not for ever.
    fn lost_before_request(&mut self, words: &refusals::Words, out: &mut Outbox) {
        self.lost_in_adoption += 1;
        if self.lost_in_adoption >= limits::MAX_LOST_IN_ADOPTION {
            self.lost_in_adoption = 0;
            self.answer_error(words, out);
            self.drop_request();
        }
    }
}
