//! The server connection is gone under the client (specification S9): a client that asked nothing does not notice,
//! another one gets an error for each request under way, and only one whose explicit transaction was lost has to go.

use weir_core::{
    backend::{Onward, Outbox},
    refusal::Refusal,
};

use super::{Adoption, Conversation, Request, refusals};
use crate::{
    limits,
    session::{
        Answering, Condition, Followed, Group, Session,
        pending::{Disposition, Entry, Expects, Purpose, Weight},
        touched::Touches,
    },
    wire::{
        error_response::{ErrorMessage, Severity},
        ready_for_query::TransactionStatus,
        write,
    },
};

impl Conversation {
    pub(super) fn on_server_lost(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Onward {
        if session.condition == Condition::Sound {
            session.condition = Condition::Broken("the server connection was lost");
        }
        self.adoption = Adoption::Settled;
        self.statements.forget_streamed();
        if self.unnamed.as_ref().is_some_and(|unnamed| unnamed.body().is_none()) {
            self.unnamed = None;
        }
        let entries = session.pending.drain();
        let owes_refusal = entries
            .iter()
            .any(|entry| entry.disposition == Disposition::Own(Purpose::StatementMode));
        let (own, theirs): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| matches!(entry.disposition, Disposition::Own(_)));
        let error = self.words(session, &theirs);
        if mid_message || self.is_gone() {
            return Onward::Finish;
        }
        if owes_refusal {
            write::error_response(&mut out.to_client, &refusals::no_transactions());
            write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
            return Onward::Continue;
        }
        let asked = !theirs.is_empty() || session.group != Group::Closed;
        let in_transaction = session.status != TransactionStatus::Idle && self.abandoned.is_no();
        // Of what `currval` would have said PostgreSQL itself says that it is not defined.
        let was_tied = !session.living.without(Touches::SEQUENCES).is_empty() || session.followed == Followed::NotYet;
        if session.is_replication() || in_transaction || was_tied {
            // Most drivers forget a transaction, and what lives on a session, only with its connection (S9.2).
            let fatal = ErrorMessage {
                severity: Severity::Fatal,
                ..error
            };
            write::error_response(&mut out.to_client, &fatal);
            return Onward::Finish;
        }
        if asked {
            self.answer_lost(session, theirs, &error, out);
        } else if own.iter().any(stands_before_a_request) {
            self.lost_before_request(&error, out);
        }
        Onward::Continue
    }

    fn words(&self, session: &Session, theirs: &[Entry]) -> ErrorMessage {
        refusals::describe(&Refusal::ServerLost {
            last_words: session.last_words().cloned(),
            commit_in_flight: theirs.iter().any(|entry| entry.weight == Weight::Commit),
        })
    }

    /// One error and one ReadyForQuery for each group under way; the messages of the last one that are still to come are
    /// swallowed. The transaction is gone, so the status is idle (S9.2).
    fn answer_lost(&mut self, session: &mut Session, theirs: Vec<Entry>, error: &ErrorMessage, out: &mut Outbox) {
        let mut told = session.answering == Answering::AfterError || session.group == Group::Skipping;
        let mut skipping = theirs.first().is_none_or(|entry| entry.expects == Expects::Sync) && told;
        for entry in &theirs {
            if entry.expects == Expects::CopyEnd {
                continue;
            }
            if !told {
                write::error_response(&mut out.to_client, error);
                (told, skipping) = (true, !matches!(entry.expects, Expects::Query | Expects::FunctionCall));
            }
            let ends = entry.expects == Expects::Sync || (entry.expects.is_boundary() && !skipping);
            if ends {
                write::ready_for_query(&mut out.to_client, TransactionStatus::Idle);
                (told, skipping) = (false, false);
            }
        }
        if session.group != Group::Closed {
            if !told {
                write::error_response(&mut out.to_client, error);
            }
            self.request = Request::RefusedToSync;
        }
        session.group = Group::Closed;
        for entry in theirs.into_iter().rev() {
            self.undo(entry, session);
        }
    }

    /// The request at hand has not been sent, so another server connection may have it; but not for ever.
    fn lost_before_request(&mut self, error: &ErrorMessage, out: &mut Outbox) {
        self.lost_in_adoption += 1;
        if self.lost_in_adoption >= limits::MAX_LOST_IN_ADOPTION {
            self.lost_in_adoption = 0;
            write::error_response(&mut out.to_client, error);
            self.request = Request::Refused;
        }
    }
}

/// Whether a request of the gateway's own was sent because the client's is to follow it.
fn stands_before_a_request(entry: &Entry) -> bool {
    !matches!(
        entry.disposition,
        Disposition::Own(Purpose::Mark | Purpose::Unmark | Purpose::Unlisten)
    )
}
