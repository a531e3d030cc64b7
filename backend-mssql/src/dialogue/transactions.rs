//! Transactions as the client sees them: they begin when it says so, and at the server when something happens in them
//! (TDS 5.3).
//!
//! Many drivers are always in a transaction: each commit begins the next one. So a begin is answered here, with a number of
//! our own, and sent on ahead of the first request that is more than another begin or end. Invariants: a number of ours
//! never reaches a server; the client is told 9 or 10 for every 8 that it was told, with the same number.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use weir_core::{
    backend::{Outbox, Step},
    settings::PoolMode,
};

use super::{
    Conversation,
    answers::Ending,
    request::{Beginning, Control, Form, Request},
};
use crate::{
    refusals::Words,
    session::{Session, Tracker, own, own::Own, settings::Isolation, settings::Key},
    wire::{done::command, env_change::TransactionChange, packet::ResetBit},
};

/// A client's transaction.
#[derive(Debug, Default)]
pub(super) struct ClientTransaction {
    pub(super) state: State,
    /// Its number, as the client was told; 0: none was told.
    pub(super) descriptor: u64,
}

#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    None,
    /// Begun, and no server knows.
    Virtual(Beginning),
    /// Open at the server.
    Real,
    /// Rolled back for a limit; the client learns it with its next request.
    Abandoned(Box<Words>),
}

/// What tells our numbers from a server's.
const OURS: u64 = 0x00ff_0000_0000_0000;

/// What of such a number is counted.
const COUNTED: u64 = 0xffff_ffff_ffff;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn new_descriptor() -> u64 {
    OURS | (NEXT.fetch_add(1, Ordering::Relaxed) & COUNTED)
}

/// Whether this is a number of a gateway's.
pub(super) fn is_ours(descriptor: u64) -> bool {
    descriptor & !COUNTED == OURS
}

/// Another process has given this number to a client that is here now: no later one is taken for it.
pub(super) fn give_no_more_up_to(descriptor: u64) {
    NEXT.fetch_max((descriptor & COUNTED) + 1, Ordering::Relaxed);
}

/// What becomes of the number in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    AsItIs,
    Instead(u64),
    /// Of a transaction of ours that is over.
    Stale,
}

impl ClientTransaction {
    pub(super) fn is_none(&self) -> bool {
        matches!(self.state, State::None)
    }

    pub(super) fn is_virtual(&self) -> bool {
        matches!(self.state, State::Virtual(_))
    }

    pub(super) fn is_real(&self) -> bool {
        matches!(self.state, State::Real)
    }

    pub(super) fn clear(&mut self) {
        *self = ClientTransaction::default();
    }

    /// The number that a request carries, for this server connection.
    pub(super) fn outgoing(&self, carried: u64, session: &Session) -> Outgoing {
        let real = session.transaction.descriptor();
        if !is_ours(carried) {
            return Outgoing::AsItIs;
        }
        match session.transaction.tracker() {
            _ if carried == self.descriptor && self.is_real() => Outgoing::Instead(real),
            // There a batch ends transactions without a word, and requests are not held against their numbers.
            Tracker::Probe => Outgoing::Instead(real),
            Tracker::EnvChange => Outgoing::Stale,
        }
    }
}

impl Conversation {
    /// Whether a transaction may begin without a server.
    pub(super) fn may_begin_virtually(&self, session: Option<&Session>) -> bool {
        // With implicit transactions, BEGIN TRAN opens two.
        let is_explicit = self.now.settings.value(Key::ImplicitTransactions) != Some("ON");
        let is_free = session.is_none_or(|session| session.tie().is_none() && !session.transaction.is_open());
        self.pool_mode == PoolMode::Transaction && !self.is_old() && is_explicit && is_free
    }

    /// Answers a request that needs no server; `None` if it does.
    pub(super) fn answer_control(
        &mut self,
        control: Control,
        request: &Request<'_>,
        session: Option<&Session>,
        out: &mut Outbox,
    ) -> Option<Step> {
        let before = self.transaction.descriptor;
        let (change, next, ended) = match (&self.transaction.state, control) {
            (State::None, Control::Begin(next)) if self.may_begin_virtually(session) => {
                (None, Some(next), command::BEGIN)
            }
            (State::Virtual(_), Control::Commit(next)) => (Some(TransactionChange::Commit), next, command::COMMIT),
            (State::Virtual(_), Control::Rollback(next)) => {
                (Some(TransactionChange::Rollback), next, command::ROLLBACK)
            }
            _ => return None,
        };
        self.transaction.clear();
        if let Some(next) = next {
            self.begin_virtually(next);
        }
        let mut answer = self.answer();
        if self.has_asked_for_reset() {
            answer = answer.reset();
        }
        if let Some(change) = change {
            answer = answer.transaction(change, before);
        }
        let answer = answer.transaction(TransactionChange::Begin, self.transaction.descriptor);
        answer.succeeded(Ending::Statement(ended), out);
        self.request_over();
        Some(Step::Skip(request.packet.len() as u64))
    }

    /// The client is in a transaction from now on.
    pub(super) fn begin_virtually(&mut self, how: Beginning) {
        if let Some(isolation) = Isolation::from_request(how.isolation) {
            self.now.isolation = isolation;
        }
        // Servers that have to be asked never name a transaction that a batch has begun.
        let is_named = how.form == Form::Request || self.tracker == Tracker::EnvChange;
        self.transaction.state = State::Virtual(how);
        self.transaction.descriptor = if is_named { new_descriptor() } else { 0 };
    }

    /// Begins at the server what began virtually. `true` if its answer has to be awaited.
    pub(super) fn begin_really(&self, session: &mut Session, out: &mut BytesMut) -> bool {
        let State::Virtual(how) = self.transaction.state else {
            return false;
        };
        match (how.form, session.transaction.tracker()) {
            (Form::Batch, Tracker::Probe) => session.ask(Own::Begin, "BEGIN TRAN", ResetBit::None, out),
            _ => session.ask_to_begin(how.isolation, out),
        }
        true
    }

    /// The server has answered the begin.
    pub(super) fn begun(&mut self, session: &mut Session, out: &mut Outbox) {
        if let Some(error) = session.own.error.take() {
            let answer = self
                .answer()
                .transaction(TransactionChange::Rollback, self.transaction.descriptor);
            answer.tokens(&error).failed(Ending::Statement(command::NONE), out);
            self.transaction.clear();
            self.drop_request();
            return;
        }
        if session.transaction.tracker() == Tracker::Probe {
            session.transaction.counted(1);
        }
        if session.transaction.is_open() {
            let before = std::mem::replace(&mut self.transaction.state, State::Real);
            if let State::Virtual(how) = before
                && let Some(isolation) = Isolation::from_request(how.isolation)
            {
                session.isolation = Some(isolation);
            }
        } else {
            session.fail("a transaction that was begun is not there");
        }
    }

    /// A response is over: the client is in a transaction if the server is.
    pub(super) fn follow_transaction(&mut self, session: &Session) {
        match (&self.transaction.state, session.transaction.is_open()) {
            (State::Real, false) => self.transaction.clear(),
            (State::None | State::Virtual(_), true) => self.transaction.state = State::Real,
            _ => {}
        }
    }

    /// The client took too long in its transaction: rolls it back, and keeps the words for its next request.
    pub(super) fn roll_back_for(&mut self, session: &mut Session, words: Words, out: &mut Outbox) {
        let text = own::rollback_text();
        session.ask(Own::Rollback, &text, ResetBit::None, &mut out.to_server);
        self.transaction.state = State::Abandoned(Box::new(words));
    }

    /// The first request after that: a rollback gets what it wants, anything else learns what has happened.
    pub(super) fn answer_abandoned(&mut self, request: &Request<'_>, out: &mut Outbox) -> Option<Step> {
        if !matches!(self.transaction.state, State::Abandoned(_)) {
            return None;
        }
        let ClientTransaction {
            state: State::Abandoned(words),
            descriptor: ended,
        } = std::mem::take(&mut self.transaction)
        else {
            return None;
        };
        match request.control() {
            Some(Control::Rollback(next)) => {
                if let Some(next) = next {
                    self.begin_virtually(next);
                }
                let answer = self.answer().transaction(TransactionChange::Rollback, ended);
                let answer = answer.transaction(TransactionChange::Begin, self.transaction.descriptor);
                answer.succeeded(Ending::Statement(command::ROLLBACK), out);
            }
            _ => {
                let answer = self
                    .answer()
                    .transaction(TransactionChange::Rollback, ended)
                    .error(&words);
                answer.failed(request.ending(), out);
            }
        }
        Some(self.drop_packet(request))
    }

    /// A request in a transaction that is long over.
    pub(super) fn answer_stale(&mut self, request: &Request<'_>, descriptor: u64, out: &mut Outbox) -> Step {
        const NOT_RESUMED: i32 = 3971;
        let text = format!("The server failed to resume the transaction. Desc:{descriptor:x}.");
        let answer = self.answer().error(&Words::new(NOT_RESUMED, 16, text));
        answer.failed(request.ending(), out);
        self.drop_packet(request)
    }
}
