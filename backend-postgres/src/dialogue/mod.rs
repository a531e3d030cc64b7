//! A client's conversation: what its messages mean, and what it is told.
//!
//! Implements specification S1 (prepared statements, named and unnamed, on whichever server connection), S2 (pipelines
//! and errors), S3 (release), S5 (COPY), S8 (the client disappears) and S9 (the server disappears). Files: `from_client`
//! and `from_server` judge the two streams, `prepare` has the rules for statements, `heal` sends a group again whose plan
//! was stale, `failed_block` speaks for a transaction that was rolled back under its client, `adopt` what happens when a
//! server connection comes, `follow` what its session state comes to (`last_values`: of `currval` and `lastval`),
//! `listening` how it hears notifications,
//! `sql_statements` what it has prepared with SQL, `lost` and `leave` what happens when one of the two
//! goes, `routing` which server may serve, `moving` and `packed` how it goes on in another process.
//!
//! Invariants: one client, at most one session at a time; nothing is answered out of turn; errors about statements are
//! raised by the server, never made up, so that its transaction always knows of them. No socket, no clock, no `await`.

mod adopt;
mod failed_block;
mod follow;
mod from_client;
mod from_server;
mod heal;
mod last_values;
mod leave;
mod listening;
mod lost;
mod moving;
pub mod packed;
mod passing;
mod pin_notice;
mod prepare;
pub mod refusals;
mod routing;
mod sql_statements;
mod statements;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use weir_core::{
    backend::{Access, Dialogue, Heard, Leave, Onward, Outbox, PinNews, Step},
    front::Bell,
    refusal::{Fault, Refusal},
    settings::{PoolMode, ReplicaRouting, SessionStatePolicy},
};

use self::{
    failed_block::Abandoned, heal::Descriptions, listening::Listening, sql_statements::Troubles,
    statements::ClientStatements,
};
use crate::{
    session::{
        Overlay, Parameters, Session, SourceState,
        custom::CustomSettings,
        last_values::Asker,
        pending::{ClientChange, Disposition, Entry, ServerChange, Weight},
        sql_statements::SqlStatements,
        statement::Statement,
    },
    wire::{error_response::ErrorMessage, write},
};

/// What login knows of a client that it has just let in.
#[derive(Clone, Debug)]
pub struct ConversationInit {
    /// When its server connections go back.
    pub pool_mode: PoolMode,
    /// The ParameterStatus values that it was told.
    pub told: Parameters,
    /// Whether its session state follows it from one server connection to the next.
    pub session_state: SessionStatePolicy,
    /// The settings that it brought along.
    pub overlay: Overlay,
    /// Which of its statements may go to replicas.
    pub replica_routing: ReplicaRouting,
    /// Its user may only read: its transactions are READ ONLY, and may all go to replicas where routing is on.
    pub read_only: bool,
    /// It connected with `replication`.
    pub replication: bool,
    /// What its source shares.
    pub shared: Arc<SourceState>,
    /// Whether its user relies on `currval` and `lastval`.
    pub asker: Asker,
    /// Its place in the directory of clients.
    pub client_id: u32,
    /// Rung when something has come for it that no server connection brings.
    pub bell: Bell,
}

/// One client's conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Never given out twice, unlike ids.
    serial: u64,
    pool_mode: PoolMode,
    session_state: SessionStatePolicy,
    routing: ReplicaRouting,
    permission: Permission,
    protocol: Protocol,
    presence: Presence,
    pin_notices: PinNotices,
    /// What the client was told about the server.
    told: Parameters,
    /// The settings that it brought along, which RESET returns to.
    brought: Overlay,
    /// Its settings: those, and what it has set since.
    overlay: Overlay,
    /// Custom settings that it may have set since the server was last asked.
    custom_settings: CustomSettings,
    /// Of the settings that a plan depends on (S1.1).
    fingerprint: u64,
    shared: Arc<SourceState>,
    asker: Asker,
    /// Server connections on which it has drawn from a sequence, one after the other.
    draws: u32,
    statements: ClientStatements,
    unnamed: Option<Arc<Statement>>,
    descriptions: Descriptions,
    /// Those that it has prepared with SQL.
    sql_statements: SqlStatements,
    /// Those among them that could not be prepared again.
    troubles: Troubles,
    request: Request,
    adoption: Adoption,
    /// What the present server connection was asked for.
    access: Access,
    /// The rest of a message whose head was rewritten.
    body: Body,
    /// Of the statement bound last.
    bound: Weight,
    abandoned: Abandoned,
    /// A limit was reached and what runs is being cancelled for it; the client gets these words instead of the database's.
    overrun: Option<Box<ErrorMessage>>,
    /// Server connections lost in a row before the request at hand could be sent.
    lost_in_adoption: u8,
    bell: Bell,
    /// What it listens to, if it does.
    listening: Option<Box<Listening>>,
}

/// Whether the client is told that it keeps its server connection (`pin_notice`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PinNotices {
    Unwanted,
    Wanted,
}

/// What the client's user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permission {
    Write,
    ReadOnly,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Ordinary,
    Replication,
}

/// Whether the client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    /// It has said good-bye behind requests that are still to be answered.
    Leaving,
    Gone,
}

/// Where the request at hand stands, as far as it has not reached a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// No such request.
    None,
    /// It needs a server connection first.
    Waiting,
    /// It has had its error; its messages are swallowed, beginning with the next one.
    Refused,
    /// It has had its error; its messages are swallowed up to Sync.
    RefusedToSync,
}

/// How far the present server connection has become the client's own.
#[derive(Debug)]
enum Adoption {
    /// It is, or there is none.
    Settled,
    /// Settings are on their way that the source has not seen before; the request waits. Holds what was set before.
    Trying(Overlay),
    /// Settings are on their way that were accepted before; the request follows at once.
    Known,
    /// What the client has prepared with SQL is on its way; the request waits.
    Preparing,
    /// The server refused the client's settings: every request is answered with that.
    Refused(Box<ErrorMessage>),
}

/// Bytes of a message whose head was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Forward(u64),
}

impl Conversation {
    /// The conversation of a client that has just logged in.
    pub fn new(init: ConversationInit) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let overlay = match init.read_only {
            true => init.overlay.with("default_transaction_read_only", "on"),
            false => init.overlay,
        };
        let overlay = init.shared.share_overlay(overlay);
        Conversation {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            pool_mode: init.pool_mode,
            session_state: init.session_state,
            routing: init.replica_routing,
            permission: if init.read_only {
                Permission::ReadOnly
            } else {
                Permission::Write
            },
            protocol: if init.replication {
                Protocol::Replication
            } else {
                Protocol::Ordinary
            },
            presence: Presence::Here,
            pin_notices: PinNotices::Unwanted,
            told: init.told,
            fingerprint: prepare::fingerprint(&overlay),
            brought: overlay.clone(),
            overlay,
            custom_settings: CustomSettings::default(),
            shared: init.shared,
            asker: init.asker,
            draws: 0,
            statements: ClientStatements::default(),
            unnamed: None,
            descriptions: Descriptions::NeverAsked,
            sql_statements: SqlStatements::default(),
            troubles: Troubles::default(),
            request: Request::None,
            adoption: Adoption::Settled,
            access: Access::ReadWrite,
            body: Body::None,
            bound: Weight::Ordinary,
            abandoned: Abandoned::No,
            overrun: None,
            lost_in_adoption: 0,
            bell: init.bell,
            listening: None,
        }
    }

    /// The same conversation, with a notice whenever the client begins or ceases to keep its server connection.
    #[must_use]
    pub fn with_pin_notices(mut self) -> Self {
        self.pin_notices = PinNotices::Wanted;
        self
    }

    /// What the client was told about the server so far.
    pub fn told(&self) -> &Parameters {
        &self.told
    }

    /// Undoes what a message that will not be carried out was taken to have changed.
    fn undo(&mut self, entry: Entry, session: &mut Session) {
        match entry.on_server {
            ServerChange::None => {}
            ServerChange::Prepared(statement) => {
                session.prepared.remove(statement.id());
            }
            // Still there, and maybe stale: closed again before it is prepared again.
            ServerChange::Closed(statement) => session.to_close.push(statement),
            ServerChange::Unnamed(before) => session.unnamed_was(before),
        }
        match entry.at_client {
            ClientChange::None => {}
            ClientChange::Named(name) => {
                self.statements.remove(&name);
            }
            ClientChange::Dropped(name, statement) => self.statements.insert(name, statement),
            ClientChange::Unnamed(before) => match session.pending.next_unnamed_at_client() {
                Some(later) => *later = before,
                None => self.unnamed = before,
            },
            ClientChange::Deallocated(statement) => self.sql_statements = self.sql_statements.with(statement),
        }
    }
}

impl Dialogue for Conversation {
    type Session = Session;

    fn from_client(&mut self, bytes: &[u8], session: Option<&mut Session>, out: &mut Outbox) -> Result<Step, Fault> {
        self.judge_client(bytes, session, out)
    }

    fn from_server(&mut self, bytes: &[u8], session: &mut Session, out: &mut Outbox) -> Result<Step, Fault> {
        self.judge_server(bytes, session, out)
    }

    fn adopt(&mut self, session: &mut Session, out: &mut Outbox) {
        self.overrun = None;
        self.take_over(session, out);
    }

    fn pin_cause(&self, session: &Session) -> Option<Box<str>> {
        session.pin_cause()
    }

    fn tell_pin(&mut self, news: PinNews, out: &mut Outbox) {
        if self.pin_notices == PinNotices::Wanted {
            pin_notice::write(news, &mut out.to_client);
        }
    }

    fn likeness(&self) -> u64 {
        self.overlay.likeness()
    }

    fn release(&mut self, session: &mut Session) {
        self.give_back(session);
    }

    fn refuse(&mut self, why: &Refusal, out: &mut Outbox) -> Onward {
        let ends_the_client = matches!(
            why,
            Refusal::ShuttingDown
                | Refusal::SourceRemoved { .. }
                | Refusal::SourceDisabled { .. }
                | Refusal::Terminated
                | Refusal::ClientIdle(_)
                | Refusal::ProtocolViolation(_)
                | Refusal::Authentication { .. }
                | Refusal::LoginLimit(_)
        );
        if ends_the_client || self.request != Request::Waiting {
            write::error_response(&mut out.to_client, &refusals::fatal(why));
            return Onward::Finish;
        }
        write::error_response(&mut out.to_client, &refusals::describe(why));
        self.request = Request::Refused;
        Onward::Continue
    }

    fn server_lost(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Onward {
        self.on_server_lost(session, mid_message, out)
    }

    fn abandon_transaction(&mut self, session: &mut Session, why: &Refusal, out: &mut Outbox) {
        self.roll_back_for(session, why, out);
    }

    fn cancelled_for(&mut self, session: &mut Session, why: &Refusal) {
        if !session.pending.is_empty() {
            self.overrun = Some(Box::new(refusals::describe(why)));
        }
    }

    fn has_request_under_way(&self, session: &Session) -> bool {
        let is_theirs = |entry: &Entry| !matches!(entry.disposition, Disposition::Own(_) | Disposition::Fake);
        session.pending.iter().any(is_theirs)
    }

    fn on_bell(&mut self, session: Option<&mut Session>, out: &mut Outbox) -> Heard {
        self.hear_bell(session, out)
    }

    fn pack(&self) -> Option<Vec<u8>> {
        self.packed()?.write()
    }

    fn leave(&mut self, session: &mut Session, mid_message: bool, out: &mut Outbox) -> Leave {
        self.on_leave(session, mid_message, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::pending::Entry;

    #[test]
    fn idle_clients_and_entries_are_small() {
        assert!(size_of::<Conversation>() <= 512, "{}", size_of::<Conversation>());
        assert!(size_of::<Entry>() <= 112, "{}", size_of::<Entry>());
    }
}
