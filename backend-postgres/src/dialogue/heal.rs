//! "cached plan must not change result type" (0A000) after DDL, healed: the statement is prepared anew and its group sent
//! again, once, behind the one that has failed (specification S1 rule 9).
//!
//! Invariants: only a group of one named statement, outside of a transaction, with nothing else of the client's on its
//! way, and refused before anything of it was answered: so nothing can run twice. A client that may have learnt what the
//! rows look like, and does not ask again, gets the error as from PostgreSQL: other rows than it takes them for would be
//! worse, and drivers that remember know what to do.

use bytes::BufMut;
use weir_core::backend::{Outbox, Step};

use super::Conversation;
use crate::{
    limits,
    session::{
        Answering, Group, Session,
        kept::Rows,
        pending::{Disposition, Entry, Expects, Purpose, Subject},
    },
    wire::{Head, ready_for_query::TransactionStatus},
};

/// Whether a client has ever asked what the rows of a statement look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptions {
    NeverAsked,
    Asked,
}

/// Whether a Bind begins a group that may be sent again: alone, small, outside of a transaction.
pub(super) fn may_keep(head: Head, session: &Session) -> bool {
    let is_own = |entry: &Entry| matches!(entry.disposition, Disposition::Own(_));
    head.total() <= limits::MAX_KEPT_GROUP as u64
        && session.group == Group::Closed
        && session.status == TransactionStatus::Idle
        && session.pending.iter().all(is_own)
}

/// What follows a Bind that was kept is kept too; anything that does not belong there ends the keeping. `Some` if the
/// whole message has to arrive first.
pub(super) fn keep_on(head: Head, bytes: &[u8], session: &mut Session) -> Option<Step> {
    if !session.kept.takes(head.total()) || session.pending.is_full() {
        session.kept.forget();
        return None;
    }
    match head.message(bytes) {
        Some(message) => {
            session.kept.append(message);
            None
        }
        None => Some(Step::Need(head.total() as usize)),
    }
}

impl Conversation {
    /// A plan of `subject` was refused as stale, and its group has failed. Says whether the client's answer is still to
    /// come, because the group was sent again.
    pub(super) fn heal(&mut self, subject: &Subject, session: &mut Session, out: &mut Outbox) -> bool {
        let (Subject::Statement(name, Some(id)), Some((_, rows))) = (subject, session.kept.whole()) else {
            return false;
        };
        let Some(statement) = self.statements.find(name).map(|(_, statement)| statement.clone()) else {
            return false;
        };
        let knows_rows = rows == Rows::AsBefore && self.descriptions == Descriptions::Asked;
        let is_alone =
            session.pending.len() == 1 && (session.pending.front()).is_some_and(|entry| entry.expects == Expects::Sync);
        if self.is_gone() || knows_rows || !is_alone || statement.id() != *id || statement.body().is_none() {
            return false;
        }
        self.swallow_end_of_failed_group(session);
        self.tidy(session, &mut out.to_server);
        let prepared = self.ensure_prepared(&statement, name, session, &mut out.to_server);
        debug_assert!(prepared, "nothing else is on its way that could make it uncertain");
        let mut bind = Entry::new(Expects::Bind, Disposition::Forward, session.group_number);
        bind.subject = Subject::Statement(name.clone(), Some(*id));
        session.push(bind);
        if rows == Rows::Described {
            session.expect(Expects::DescribePortal, Disposition::Forward);
        }
        let mut execute = Entry::new(Expects::Execute, Disposition::Forward, session.group_number);
        execute.weight = self.bound;
        session.push(execute);
        session.expect(Expects::Sync, Disposition::Forward);
        if let Some((bytes, _)) = session.kept.whole() {
            out.to_server.put_slice(bytes);
        }
        true
    }

    /// The ReadyForQuery that is still to come is not the client's any more; its next error is its first one.
    fn swallow_end_of_failed_group(&self, session: &mut Session) {
        if let Some(sync) = session.pending.pop() {
            let own = Disposition::Own(Purpose::StalePlan);
            session.pending.push(Entry::new(Expects::Sync, own, sync.group));
        }
        session.answering = Answering::Normally;
    }
}
