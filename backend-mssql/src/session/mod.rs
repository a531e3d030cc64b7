//! What is known of a server connection; travels with it from client to client.
//!
//! Invariants: the state follows what the server answered, never what was sent ([`TransactionDetection::state`]); once
//! broken, always broken; nothing is outstanding while nobody holds the connection; there is one request at a time, and
//! it is over when its response is complete and every Attention is acknowledged (TDS 0.3, 0.9). Must not know sockets or
//! time.

mod attention;
mod baseline;
pub(crate) mod classify;
pub(crate) mod follow;
pub(crate) mod handles;
pub mod init;
pub mod last_values;
mod lexer;
pub(crate) mod own;
pub(crate) mod pins;
mod reset;
pub(crate) mod session_state;
pub(crate) mod settings;
pub(crate) mod shown;
pub mod source_state;
pub(crate) mod switches;
pub(crate) mod transaction;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use weir_core::{
    backend::{PinReason, SessionState, TransactionDetection, Work},
    refusal::Fault,
    spread::Spread,
};

pub(crate) use self::own::integer_of_row;
use self::{
    attention::Attentions,
    follow::Outcome,
    handles::ServerHandles,
    last_values::Authors,
    own::{Own, OwnAnswer},
    pins::{Pins, Tie},
    session_state::SessionStates,
    settings::{Isolation, Key, Settings},
    shown::Suspects,
    transaction::{Told, Transaction},
};
pub use self::{
    baseline::Baseline,
    init::{ConversationInit, Features, Notices, SessionInit, Tracker},
    source_state::SourceState,
};
use crate::wire::{
    TdsVersion,
    packet::{HEADER, Header, PacketKind},
    walker::{Layout, Walker},
};

/// A server connection, as the protocol sees it.
#[derive(Debug)]
pub struct Session {
    pub(crate) version: TdsVersion,
    pub(crate) spid: u16,
    /// Bytes of a packet, header included.
    pub(crate) packet_size: u16,
    pub(crate) login: Login,
    pub(crate) exchange: Exchange,
    /// Of the response that comes; absent only while it is in use.
    pub(crate) walker: Option<Box<Walker>>,
    pub(crate) attentions: Attentions,
    pub(crate) transaction: Transaction,
    /// What is set here.
    pub(crate) settings: Settings,
    /// The current database; `None` if a reset may have changed it.
    pub(crate) database: Option<Arc<str>>,
    /// `None` if it is not known.
    pub(crate) isolation: Option<Isolation>,
    /// Settings of unknown value, one bit for each [`Key`], and [`UNCERTAIN_ISOLATION`].
    pub(crate) uncertain: u32,
    pub(crate) handles: ServerHandles,
    /// What the server tells of itself, if it does.
    pub(crate) states: Option<Box<SessionStates>>,
    pub(crate) pins: Pins,
    /// What clients that are gone have left; goes with the reset.
    pub(crate) left: Pins,
    /// Why its present client keeps it whatever it does.
    pub(crate) kept_for: Option<PinReason>,
    /// Requests that may be why.
    pub(crate) suspects: Suspects,
    pub(crate) traces: Traces,
    /// Whose it is what the last statement came to.
    pub(crate) authors: Authors,
    /// Who held it last.
    pub(crate) holder: Option<u64>,
    pub(crate) condition: Condition,
    pub(crate) own: OwnAnswer,
    completed: u64,
    work: Work,
}

/// How the login left the session: what a reset returns to, except for the isolation level.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) database: Arc<str>,
    pub(crate) isolation: Isolation,
}

/// What is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    None,
    /// A request of the client's, of which only a part was sent.
    Sending,
    /// A request of the client's.
    Theirs,
    /// A request of the gateway's own.
    Own(Own),
}

/// Whether something was left here since the last reset that settings do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traces {
    None,
    Left,
}

/// Whether the connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Sound,
    Broken(&'static str),
}

/// The bit of the isolation level among [`Session::uncertain`].
pub(crate) const UNCERTAIN_ISOLATION: u32 = 1 << 31;

/// The bit of a setting among [`Session::uncertain`].
pub(crate) fn uncertain_bit(key: Key) -> u32 {
    1 << (key as u32)
}

impl Session {
    /// A connection that has just been opened: outside of a transaction, nothing outstanding, nothing touched.
    pub fn new(init: SessionInit) -> Self {
        let database: Arc<str> = init.database.into();
        // What the database itself starts with.
        let isolation = Isolation::default();
        Session {
            version: init.tds_version,
            spid: init.spid,
            packet_size: init.packet_size,
            login: Login {
                database: database.clone(),
                isolation,
            },
            exchange: Exchange::None,
            walker: Some(Box::new(Walker::new(Layout {
                version: init.tds_version,
                ..Layout::default()
            }))),
            attentions: Attentions::default(),
            transaction: Transaction::new(init.tracker),
            settings: Settings::default(),
            database: Some(database),
            isolation: Some(isolation),
            uncertain: 0,
            handles: ServerHandles::new(init.max_prepared_statements),
            states: init.initial_state.map(|initial| Box::new(SessionStates::new(&initial))),
            pins: Pins::default(),
            left: Pins::default(),
            kept_for: None,
            suspects: Suspects::default(),
            traces: Traces::None,
            authors: Authors::default(),
            holder: None,
            condition: Condition::Sound,
            own: OwnAnswer::default(),
            completed: 0,
            work: Work::default(),
        }
    }

    /// Takes note of a violation: the connection is never idle again.
    pub(crate) fn fail(&mut self, what: &'static str) -> Fault {
        if self.condition == Condition::Sound {
            self.condition = Condition::Broken(what);
        }
        Fault::Server(what)
    }

    /// The front of a packet of this server; `Err` with how many bytes have to be there.
    pub(crate) fn packet(&mut self, bytes: &[u8]) -> Result<Result<Header, usize>, Fault> {
        let header = match Header::read(bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Err(HEADER)),
            Err(what) => return Err(self.fail(what)),
        };
        if header.kind != PacketKind::Response {
            return Err(self.fail("a packet that is no response"));
        }
        if bytes.len() < usize::from(header.length) {
            return Ok(Err(usize::from(header.length)));
        }
        Ok(Ok(header))
    }

    /// A request was sent, or its first part.
    pub(crate) fn begin(&mut self, exchange: Exchange) {
        debug_assert_eq!(self.exchange, Exchange::None, "one request at a time");
        self.exchange = exchange;
        if let Some(walker) = &mut self.walker {
            walker.begin();
            // Nobody fetches without having opened a cursor first, with an answer.
            if self.pins.has(Tie::Cursor) {
                walker.expect_cursor_rows();
            }
        }
    }

    /// A message of the server's has ended. `true` if nothing is owed any more.
    pub(crate) fn message_ended(&mut self) -> Result<bool, Fault> {
        let Some(walker) = &mut self.walker else {
            return Err(self.fail("a response is lost"));
        };
        if !walker.is_complete() {
            return Err(self.fail("a message of the server ends in the middle of a response"));
        }
        walker.begin();
        if self.attentions.is_owed() {
            return Ok(false);
        }
        if let Exchange::Own(own) = self.exchange {
            let outcome = match self.own.error.is_some() {
                true => Outcome::Error,
                false => Outcome::Success,
            };
            self.authors.of_the_gateway(own, outcome);
        }
        self.exchange = Exchange::None;
        self.completed = self.completed.wrapping_add(1);
        Ok(true)
    }

    /// A request of a client's has been answered, and this is where it left the session.
    pub(crate) fn count_work(&mut self) {
        self.work.queries += 1;
        if !self.transaction.is_open() {
            self.work.transactions += 1;
        }
    }

    /// The server has reset the session: it is as after login, but for isolation level and (perhaps) database.
    pub(crate) fn was_reset(&mut self) {
        self.settings.clear();
        if self.database.as_ref() != Some(&self.login.database) {
            // SQL Server goes back to the login's without a word; others stay (TDS 6.1, 14).
            self.database = None;
        }
        self.uncertain = 0;
        self.handles.clear();
        if let Some(states) = &mut self.states {
            states.reset();
        }
        self.pins = Pins::default();
        self.left = Pins::default();
        self.suspects.forget();
        self.traces = Traces::None;
        self.authors = Authors::default();
        self.transaction.told(Told::Reset);
    }

    /// Nobody relies any more on what lives here: it has to go.
    pub(crate) fn unpin(&mut self) {
        // Nobody else is told these.
        self.pins.end(Tie::Outcome);
        self.pins.end(Tie::Identity);
        let pins = std::mem::take(&mut self.pins);
        self.left.join(&pins);
        let uncertain = std::mem::take(&mut self.uncertain);
        if uncertain & UNCERTAIN_ISOLATION != 0 {
            self.isolation = None;
        }
        let was_kept = self.kept_for.take().is_some();
        if !pins.is_empty() || uncertain & !UNCERTAIN_ISOLATION != 0 || was_kept {
            self.traces = Traces::Left;
        }
    }

    /// The same, unless a bulk load was announced whose data is still to come.
    pub(crate) fn unpin_but_bulk(&mut self) {
        if !self.pins.has(Tie::Bulk) {
            let kept_for = self.kept_for.take();
            self.unpin();
            self.kept_for = kept_for;
        }
    }

    /// Whether a reset would change nothing.
    pub(crate) fn is_as_after_login(&self) -> bool {
        self.traces == Traces::None
            && self.tie().is_none()
            && self.settings.is_empty()
            && self.database.as_ref() == Some(&self.login.database)
            && self.isolation == Some(self.login.isolation)
            && !self.transaction.is_open()
    }

    /// Whether its client may ask what its last statement came to: then nothing is asked of the server in between, which
    /// would be the last statement, until the client has said what it wants.
    pub(crate) fn puts_off_asking(&self) -> bool {
        self.pins.has(Tie::Outcome)
    }

    /// The statement because of which its client keeps it, as far as is known. Nothing that the client did is why it is kept
    /// in session mode.
    pub(crate) fn pin_cause(&self) -> Option<Box<str>> {
        match self.kept_for {
            Some(_) => None,
            None => self.suspects.cause(self.pins.tie()),
        }
    }

    /// Why it is kept outside of transactions.
    pub(crate) fn tie(&self) -> Option<PinReason> {
        let uncertain = (self.uncertain != 0).then_some(PinReason::Unprovable);
        self.kept_for.or(self.pins.reason()).or(uncertain)
    }
}

/// A number that is equal for equal settings, database and isolation level.
pub(crate) fn likeness(settings: &Settings, database: &str, isolation: Isolation) -> u64 {
    // Nothing but a preference depends on it.
    let mut hasher = Spread::default();
    (settings, database, isolation).hash(&mut hasher);
    hasher.finish()
}

impl TransactionDetection for Session {
    fn state(&self) -> SessionState {
        if let Condition::Broken(why) = self.condition {
            return SessionState::Broken(why);
        }
        let has_to_ask = self.transaction.is_unknown() && !self.puts_off_asking();
        if self.exchange != Exchange::None || self.attentions.is_owed() || has_to_ask {
            return SessionState::Busy;
        }
        if self.transaction.is_open() {
            return SessionState::InTransaction { failed: false };
        }
        match self.tie() {
            Some(reason) => SessionState::Pinned(reason),
            None => SessionState::Idle,
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn may_be_in_transaction(&self) -> bool {
        self.exchange == Exchange::None && self.transaction.is_unknown() && self.puts_off_asking()
    }

    fn work(&self) -> Work {
        self.work
    }

    fn likeness(&self) -> u64 {
        match (&self.database, self.isolation) {
            (Some(database), Some(isolation)) => likeness(&self.settings, database, isolation),
            _ => 0,
        }
    }

    /// A server says nothing on its own: what comes is a stray acknowledgement, or its end (TDS 8).
    fn while_idle(&mut self, _: &[u8]) -> Result<(), Fault> {
        Err(self.fail("the server spoke on an idle connection"))
    }
}
