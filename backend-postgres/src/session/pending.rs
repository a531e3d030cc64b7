//! What is outstanding on a server connection: one entry per message that expects an answer or ends a group.
//!
//! Invariants (specification S2): entries stand in the order in which the server reads the messages; an entry is pushed
//! before its message is written; the front is never an [`Expects::CopyEnd`], and a [`Disposition::Fake`] for no longer
//! than it takes to notice; what an entry changed ahead of its answer can be undone as long as the entry is there.

use std::{collections::VecDeque, sync::Arc};

use super::{
    sql_statements::SqlStatement,
    statement::{Statement, StatementId},
};
use crate::{limits, wire::error_response::ErrorMessage};

/// A client's own name for a statement.
pub(crate) type ClientName = Arc<[u8]>;

/// One message on its way to be answered.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) expects: Expects,
    pub(crate) disposition: Disposition,
    /// Which group it belongs to: messages up to and including the next Sync, Query or FunctionCall.
    pub(crate) group: u32,
    pub(crate) weight: Weight,
    pub(crate) subject: Subject,
    pub(crate) on_server: ServerChange,
    pub(crate) at_client: ClientChange,
}

/// What answers a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    Parse,
    Bind,
    DescribeStatement,
    DescribePortal,
    Execute,
    Close,
    Sync,
    Query,
    FunctionCall,
    /// CopyDone or CopyFail: nothing answers it, it only says up to where a COPY swallows Sync (S5.2).
    CopyEnd,
}

impl Expects {
    /// Whether ReadyForQuery answers it.
    pub(crate) fn is_boundary(self) -> bool {
        matches!(self, Expects::Sync | Expects::Query | Expects::FunctionCall)
    }
}

/// What happens to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The client gets it.
    Forward,
    /// The gateway put the message ahead of the client's next one: the client gets only an error (S1.8).
    Injected,
    /// A request of the gateway's own.
    Own(Purpose),
    /// The message was never sent; the client gets an answer of the gateway's making when its turn comes (S1.6).
    Fake,
}

/// What a request of the gateway's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Puts back what the last holder changed.
    Reset,
    /// Applies the client's settings; its request waits.
    TrySettings,
    /// Applies settings that were accepted before; the client's request is on its way behind it.
    KnownSettings,
    /// Asks what the session is like; the client does not wait for it.
    Settle,
    /// Prepares a statement that its client had prepared with SQL elsewhere; the client's request waits.
    Prepare,
    /// What is around such a PREPARE, so that nothing but the statement stays of it.
    Frame,
    /// Rolls back for a client that is gone, or was too slow.
    Rollback,
    /// Ends a group that has met a stale plan; the client's answer comes with the same group, sent again behind it.
    StalePlan,
    /// Listens to what the shared connection hears for the client, so that the session is what the client takes it for;
    /// the client's request is on its way behind it.
    Listen,
    /// Notifies of the mark at which the shared connection takes over.
    Mark,
    /// Listens to marks no more.
    Unmark,
    /// Listens to nothing any more.
    Unlisten,
    /// Rolls back because of `pool_mode: statement`; the client still has to get its answer.
    StatementMode,
}

/// What carrying out the message means beyond its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    #[default]
    Ordinary,
    /// It commits an explicit transaction: losing the server leaves its outcome unknown (S9.4).
    Commit,
    /// It makes every prepared statement disappear: what comes behind it waits until that is known.
    Barrier,
}

/// What an error about this message is really about.
#[derive(Debug)]
pub(crate) enum Subject {
    /// Nothing that the gateway renamed.
    None,
    /// A statement: the name to put into the text of an error, and which statement it is, if any.
    Statement(ClientName, Option<StatementId>),
    /// The error was provoked; the client gets this one (S2.8).
    Substitute(Box<ErrorMessage>),
}

/// What a message changes on the server connection, and what undoes it.
#[derive(Debug)]
pub(crate) enum ServerChange {
    None,
    /// This statement comes to exist.
    Prepared(Arc<Statement>),
    /// It ceases to exist.
    Closed(Arc<Statement>),
    /// The unnamed statement is replaced; this was it before.
    Unnamed(Option<StatementId>),
}

/// What a message changes in the client's own view, and what undoes it.
#[derive(Debug)]
pub(crate) enum ClientChange {
    None,
    /// This name comes to exist.
    Named(ClientName),
    /// This name ceases to exist.
    Dropped(ClientName, Arc<Statement>),
    /// The unnamed statement is replaced; this was it before.
    Unnamed(Option<Arc<Statement>>),
    /// This statement, prepared with SQL, ceases to exist.
    Deallocated(Arc<SqlStatement>),
}

impl ClientChange {
    fn concerns(&self, name: &[u8]) -> bool {
        match self {
            ClientChange::Named(changed) | ClientChange::Dropped(changed, _) => **changed == *name,
            ClientChange::None | ClientChange::Unnamed(_) | ClientChange::Deallocated(_) => false,
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: VecDeque<Entry>,
    /// Entries that change a statement somewhere; while there are none, nothing is uncertain.
    changes: usize,
    /// Bytes of the statements that the entries hold on to; an upper bound, since undoing may free some of them earlier,
    /// and exact again whenever nothing is outstanding.
    bytes: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.changes += usize::from(entry.changes_a_statement());
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Takes out the front; marks of a COPY's end that come to the front have served.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.forget(&entry);
        while self
            .entries
            .front()
            .is_some_and(|next| next.expects == Expects::CopyEnd)
        {
            self.entries.pop_front();
        }
        Some(entry)
    }

    /// The same for an entry of which nothing else is wanted: an entry is large.
    pub(crate) fn drop_front(&mut self) -> Option<(Expects, Disposition)> {
        let front = self.entries.front()?;
        let what = (front.expects, front.disposition);
        if front.changes_a_statement() || self.entries.len() > 1 {
            self.pop();
        } else {
            // It holds on to nothing.
            self.entries.clear();
        }
        Some(what)
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no more may be outstanding before something is answered.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= limits::MAX_PENDING || self.bytes >= limits::MAX_PENDING_BYTES
    }

    fn forget(&mut self, entry: &Entry) {
        self.changes -= usize::from(entry.changes_a_statement());
        self.bytes = self.bytes.saturating_sub(entry.bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Takes out everything up to, not including, the next Sync (S2.2): the entries, oldest first, and whether there is
    /// a Sync behind them.
    pub(crate) fn drain_to_sync(&mut self) -> (Vec<Entry>, bool) {
        let sync = self.entries.iter().position(|entry| entry.expects == Expects::Sync);
        let drained: Vec<Entry> = self.entries.drain(..sync.unwrap_or(self.entries.len())).collect();
        drained.iter().for_each(|entry| self.forget(entry));
        if self.entries.is_empty() {
            self.bytes = 0;
        }
        (drained, sync.is_some())
    }

    /// What the front was to remove from the client's view, and has not.
    pub(crate) fn take_dropped_of_front(&mut self) -> ClientChange {
        let Some(front) = self.entries.front_mut() else {
            return ClientChange::None;
        };
        if !matches!(
            front.at_client,
            ClientChange::Dropped(..) | ClientChange::Deallocated(_)
        ) {
            return ClientChange::None;
        }
        let bytes = front.bytes();
        let dropped = std::mem::replace(&mut front.at_client, ClientChange::None);
        self.changes -= usize::from(!front.changes_a_statement());
        self.bytes = self.bytes.saturating_sub(bytes);
        dropped
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> Vec<Entry> {
        (self.changes, self.bytes) = (0, 0);
        self.entries.drain(..).collect()
    }

    /// COPY has begun for the front: a Sync that was sent before the COPY's end is not read as one (S5.2). Says whether
    /// that end has been sent already.
    pub(crate) fn void_syncs_of_copy(&mut self) -> bool {
        let end = self.entries.iter().position(|entry| entry.expects == Expects::CopyEnd);
        let reach = end.unwrap_or(self.entries.len());
        let mut index = 0;
        self.entries.retain(|entry| {
            let void = index > 0 && index < reach && entry.expects == Expects::Sync;
            index += 1;
            !void
        });
        end.is_some()
    }

    /// A COPY has ended with the front still going on: its end marker has served.
    pub(crate) fn remove_copy_end(&mut self) {
        if let Some(end) = self.entries.iter().position(|entry| entry.expects == Expects::CopyEnd) {
            self.entries.remove(end);
        }
    }

    /// Whether the last message of an extended group lacks its Sync.
    pub(crate) fn ends_in_open_group(&self) -> bool {
        let last = self.entries.iter().rfind(|entry| entry.expects != Expects::CopyEnd);
        last.is_some_and(|entry| !entry.expects.is_boundary())
    }

    /// Whether every prepared statement may be about to disappear.
    pub(crate) fn has_barrier(&self) -> bool {
        self.entries.iter().any(|entry| entry.weight == Weight::Barrier)
    }

    /// Whether what follows the front, but for marks of a COPY's end, was never sent: its answer is due as soon as the
    /// front has been answered.
    pub(crate) fn is_fake_next(&self) -> bool {
        let next = self
            .entries
            .iter()
            .skip(1)
            .find(|entry| entry.expects != Expects::CopyEnd);
        next.is_some_and(|entry| entry.disposition == Disposition::Fake)
    }

    /// Whether a whole group was sent whose end is not answered yet.
    pub(crate) fn has_boundary(&self) -> bool {
        self.entries.iter().any(|entry| entry.expects.is_boundary())
    }

    /// Where the next message that replaces the server's unnamed statement keeps what was before it.
    pub(crate) fn next_unnamed_on_server(&mut self) -> Option<&mut Option<StatementId>> {
        self.entries.iter_mut().find_map(|entry| match &mut entry.on_server {
            ServerChange::Unnamed(before) => Some(before),
            _ => None,
        })
    }

    /// The same for the client's unnamed statement.
    pub(crate) fn next_unnamed_at_client(&mut self) -> Option<&mut Option<Arc<Statement>>> {
        self.entries.iter_mut().find_map(|entry| match &mut entry.at_client {
            ClientChange::Unnamed(before) => Some(before),
            _ => None,
        })
    }

    /// Whether anything that is outstanding changes a statement, so that undoing it may bring one back.
    pub(crate) fn may_be_undone(&self) -> bool {
        self.changes > 0
    }

    /// Whether the client's `name` depends on how an earlier group ends.
    pub(crate) fn is_name_uncertain(&self, name: &[u8], group: u32) -> bool {
        self.changes > 0 && self.earlier(group).any(|entry| entry.at_client.concerns(name))
    }

    /// Whether a statement's existence on the server depends on how an earlier group ends.
    pub(crate) fn is_statement_uncertain(&self, id: StatementId, group: u32) -> bool {
        self.changes > 0
            && self.earlier(group).any(|entry| match &entry.on_server {
                ServerChange::Prepared(statement) | ServerChange::Closed(statement) => statement.id() == id,
                ServerChange::None | ServerChange::Unnamed(_) => false,
            })
    }

    /// Whether what the unnamed statement is depends on how an earlier group ends. What the same group changed is as
    /// certain as the group's next message.
    pub(crate) fn is_unnamed_uncertain(&self, group: u32) -> bool {
        let last_change = self.entries.iter().rfind(|entry| {
            matches!(entry.on_server, ServerChange::Unnamed(_)) || matches!(entry.at_client, ClientChange::Unnamed(_))
        });
        self.changes > 0 && last_change.is_some_and(|entry| entry.group != group)
    }

    fn earlier(&self, group: u32) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.group != group)
    }
}

impl Entry {
    /// An entry that changes nothing.
    pub(crate) fn new(expects: Expects, disposition: Disposition, group: u32) -> Self {
        Entry {
            expects,
            disposition,
            group,
            weight: Weight::Ordinary,
            subject: Subject::None,
            on_server: ServerChange::None,
            at_client: ClientChange::None,
        }
    }

    /// What it keeps in memory by itself: a statement that the client has replaced or dropped. What it prepares or
    /// closes on the server is kept, and bounded, elsewhere.
    fn bytes(&self) -> usize {
        match &self.at_client {
            ClientChange::Unnamed(Some(statement)) | ClientChange::Dropped(_, statement) => statement.weight(),
            ClientChange::Deallocated(statement) => statement.weight(),
            ClientChange::Unnamed(None) | ClientChange::None | ClientChange::Named(_) => 0,
        }
    }

    fn changes_a_statement(&self) -> bool {
        !matches!(
            (&self.on_server, &self.at_client),
            (ServerChange::None, ClientChange::None)
        )
    }
}
