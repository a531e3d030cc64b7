//! What is known of a server connection; travels with it from client to client.
//!
//! Invariants: the state follows what the server answered, never what was sent ([`TransactionDetection::state`]); once
//! broken, always broken; nothing is outstanding while nobody holds the connection. Must not know sockets or time.

pub(crate) mod block_end;
pub mod classify;
pub mod custom;
mod functions;
pub(crate) mod kept;
pub mod last_values;
mod lexer;
pub mod overlay;
pub mod parameters;
pub(crate) mod pending;
mod prepared;
mod reset;
pub(crate) mod settle;
mod shown;
pub mod source_state;
pub mod sql_statements;
pub mod statement;
pub mod touched;

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;
use weir_core::{
    backend::{PinReason, SessionState, TransactionDetection, Work},
    refusal::{Fault, Rejection},
};

use self::{
    classify::Class,
    kept::KeptGroup,
    last_values::Drawer,
    pending::{Disposition, Entry, Expects, Pending, ServerChange},
    prepared::PreparedStatements,
    settle::Settling,
    shown::Suspects,
    statement::{Statement, StatementId},
    touched::Touches,
};
pub use self::{
    overlay::{Overlay, Setting},
    parameters::Parameters,
    source_state::SourceState,
    sql_statements::{SqlStatement, SqlStatements},
};
use crate::{
    limits,
    listen::Hub,
    wire::{
        Head,
        error_response::{ErrorFields, ErrorMessage},
        parameter_status,
        ready_for_query::TransactionStatus,
        server, write,
    },
};

/// What login knows of a server connection that it has just opened.
#[derive(Clone, Debug)]
pub struct SessionInit {
    /// What the server reported.
    pub parameters: Parameters,
    /// Prepared statements to keep; the least recently used one is closed beyond that.
    pub max_prepared_statements: u32,
    /// What the source shares.
    pub shared: Arc<SourceState>,
    /// Whether it was opened with `replication`.
    pub replication: bool,
}

/// A server connection, as the protocol sees it.
#[derive(Debug)]
pub struct Session {
    pub(crate) pending: Pending,
    /// From the last ReadyForQuery.
    pub(crate) status: TransactionStatus,
    pub(crate) group: Group,
    /// Counts groups sent.
    pub(crate) group_number: u32,
    pub(crate) copy: CopyState,
    pub(crate) answering: Answering,
    pub(crate) flush: Flush,
    pub(crate) prepared: PreparedStatements,
    /// What the server's unnamed statement is, if known.
    pub(crate) unnamed: Option<StatementId>,
    /// Statements that must be closed before they may be prepared again.
    pub(crate) to_close: Vec<Arc<Statement>>,
    pub(crate) parameters: Parameters,
    /// The client settings that are really set here.
    pub(crate) overlay: Overlay,
    pub(crate) overlay_kept: OverlayKept,
    /// The statements prepared with SQL that are there.
    pub(crate) sql_statements: SqlStatements,
    /// Those on their way, and what has become of the first of them so far.
    pub(crate) preparing: Preparing,
    /// What its present client may have changed.
    pub(crate) touched: Touches,
    /// What earlier clients changed and has not been put back yet.
    pub(crate) due: Touches,
    /// Who held it last.
    pub(crate) holder: Option<u64>,
    /// Whose draws `currval` and `lastval` tell of here.
    pub(crate) drawer: Option<Drawer>,
    /// Whether the schema of temporary objects exists here, and for whom it was made.
    pub(crate) temporary_schema: Option<u64>,
    pub(crate) pin: Option<PinReason>,
    /// What its present client did that may be the reason.
    suspects: Suspects,
    /// For clients, the gateway's own requests not included.
    work: Work,
    /// What was proved to live here, or not to be provable, since the present client has it.
    pub(crate) living: Touches,
    /// The server is being asked what the session is like.
    pub(crate) settling: Option<Box<Settling>>,
    pub(crate) followed: Followed,
    pub(crate) listens: Listens,
    pub(crate) condition: Condition,
    /// The group on its way, while it may have to be sent again.
    pub(crate) kept: KeptGroup,
    /// What the server said before it ended the connection.
    pub(crate) last_words: Option<Box<Rejection>>,
    /// Of the endpoint that it leads to.
    pub(crate) hub: Option<Arc<Hub>>,
    /// Whom the login made the session's user, as the server reported it.
    pub(crate) login_role: Option<Box<str>>,
    kind: Kind,
    completed: u64,
    /// Half a message that arrived while nobody held the connection.
    idle_rest: BytesMut,
    strings: Strings,
}

/// What a backslash means in a string constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strings {
    Standard,
    WithEscapes,
}

/// The setting that decides it.
const STRINGS: &str = "standard_conforming_strings";

impl Strings {
    fn from_setting(value: Option<&str>) -> Self {
        if value == Some("off") {
            Strings::WithEscapes
        } else {
            Strings::Standard
        }
    }
}

/// Where the sending side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Between groups.
    Closed,
    /// Extended messages were sent, and no Sync yet: an implicit transaction may be open (S3.1).
    Open,
    /// The same, and the server skips everything up to a Sync that the client has not sent yet (S2.2).
    Skipping,
}

/// Whether data streams, as the server announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyState {
    None,
    /// The client sends.
    In,
    /// The client has sent the end of its data.
    InEnded,
    /// The server sends.
    Out,
}

/// Whether the group at the front has had its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    Normally,
    AfterError,
}

/// Whether the settings of the overlay are still set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverlayKept {
    Surely,
    /// A RESET or DISCARD ALL was carried out.
    Maybe,
}

/// Statements prepared with SQL that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Preparing {
    pub(crate) statements: VecDeque<Arc<SqlStatement>>,
    /// Why the first of them will not be there.
    pub(crate) error: Option<Box<ErrorMessage>>,
}

/// Whether all that the client did here is known and would be there on another connection too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    Completely,
    /// Something was carried out that has not been looked at yet.
    NotYet,
}

/// Whether it listens to all the channels of its client, by what has been sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    /// To none of them, as far as the shared listener hears them.
    No,
    Yes,
}

/// Whether the server was asked to send what it has, because too much is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    NotAsked,
    Asked,
}

/// Whether the connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Sound,
    Broken(&'static str),
}

/// What the connection was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Replication,
}

impl Session {
    /// A connection that has just been opened: outside of a transaction, nothing outstanding, nothing touched.
    pub fn new(init: SessionInit) -> Self {
        let strings = Strings::from_setting(init.parameters.get(STRINGS));
        let login_role = init.parameters.get("session_authorization").map(Box::from);
        Session {
            pending: Pending::default(),
            status: TransactionStatus::Idle,
            group: Group::Closed,
            group_number: 0,
            copy: CopyState::None,
            answering: Answering::Normally,
            flush: Flush::NotAsked,
            prepared: PreparedStatements::new(init.max_prepared_statements),
            unnamed: None,
            to_close: Vec::new(),
            hub: init.shared.hub().cloned(),
            parameters: init.shared.share_parameters(init.parameters),
            overlay: Overlay::default(),
            overlay_kept: OverlayKept::Surely,
            sql_statements: SqlStatements::default(),
            preparing: Preparing::default(),
            touched: Touches::NONE,
            due: Touches::NONE,
            holder: None,
            drawer: None,
            temporary_schema: None,
            pin: None,
            suspects: Suspects::default(),
            work: Work::default(),
            living: Touches::NONE,
            settling: None,
            followed: Followed::Completely,
            listens: Listens::No,
            condition: Condition::Sound,
            kept: KeptGroup::default(),
            last_words: None,
            login_role,
            kind: if init.replication {
                Kind::Replication
            } else {
                Kind::Ordinary
            },
            completed: 0,
            idle_rest: BytesMut::new(),
            strings,
        }
    }

    /// What the server has reported of itself so far.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The major version that the server reports; 0 if it reports none.
    pub(crate) fn server_major(&self) -> u32 {
        let version = self.parameters.get("server_version").unwrap_or_default();
        let digits = version.split(|character: char| !character.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// What the server said when it ended the connection.
    pub fn last_words(&self) -> Option<&Rejection> {
        self.last_words.as_deref()
    }

    /// Takes note of a violation: the connection is never idle again.
    pub(crate) fn fail(&mut self, what: &'static str) -> Fault {
        if self.condition == Condition::Sound {
            self.condition = Condition::Broken(what);
        }
        Fault::Server(what)
    }

    /// The server ends the connection, and says why.
    pub(crate) fn ended(&mut self, fields: ErrorFields<'_>) {
        self.last_words = Some(Box::new(fields.to_rejection()));
        self.condition = Condition::Broken("the server ended the connection");
    }

    /// Pushes an entry for a message that belongs to the present group.
    pub(crate) fn expect(&mut self, expects: Expects, disposition: Disposition) {
        self.push(Entry::new(expects, disposition, self.group_number));
    }

    /// Pushes an entry, and notes what sending its message means for the group.
    pub(crate) fn push(&mut self, entry: Entry) {
        match (entry.expects, entry.disposition) {
            (Expects::CopyEnd, _) | (_, Disposition::Fake) => {}
            (expects, _) if expects.is_boundary() => {
                self.group = Group::Closed;
                self.group_number = self.group_number.wrapping_add(1);
            }
            _ => self.group = Group::Open,
        }
        self.pending.push(entry);
    }

    /// A request of the gateway's own, as a simple query.
    pub(crate) fn ask(&mut self, text: &[u8], purpose: pending::Purpose, out: &mut BytesMut) {
        // A simple query destroys the unnamed statement.
        self.unnamed = None;
        self.expect(Expects::Query, Disposition::Own(purpose));
        write::query(out, text);
    }

    /// ReadyForQuery has answered the front.
    pub(crate) fn completed_one(&mut self, status: TransactionStatus) {
        self.status = status;
        self.copy = CopyState::None;
        self.answering = Answering::Normally;
        self.completed = self.completed.wrapping_add(1);
    }

    /// What has just been answered was a request of the client's own.
    pub(crate) fn worked(&mut self) {
        self.work.queries = self.work.queries.wrapping_add(1);
        if self.status == TransactionStatus::Idle {
            self.work.transactions = self.work.transactions.wrapping_add(1);
        }
    }

    /// The client has sent this, which may become the reason why it keeps the connection.
    pub(crate) fn suspect(&mut self, touches: Touches, text: Option<&[u8]>) {
        // Where a backslash escapes, what is a constant cannot be told with certainty.
        let text = match self.strings {
            Strings::Standard => text,
            Strings::WithEscapes => None,
        };
        self.suspects.note(touches, text);
    }

    /// The statement because of which its client keeps it, as far as is known.
    pub(crate) fn pin_cause(&self) -> Option<Box<str>> {
        self.suspects.cause(self.pin?)
    }

    /// Its client has gone; the next one has done nothing yet.
    pub(crate) fn forget_suspects(&mut self) {
        self.suspects.forget();
    }

    /// Every prepared statement is gone (`DISCARD ALL`, `DEALLOCATE ALL`), but for those on their way behind it.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared.clear();
        self.to_close.clear();
        for entry in self.pending.iter() {
            if let ServerChange::Prepared(statement) = &entry.on_server {
                self.prepared.insert(statement.clone());
            }
        }
    }

    /// It has turned out what the unnamed statement is after all that has been answered; messages on their way may have
    /// replaced it since.
    pub(crate) fn unnamed_was(&mut self, unnamed: Option<StatementId>) {
        match self.pending.next_unnamed_on_server() {
            Some(before) => *before = unnamed,
            None => self.unnamed = unnamed,
        }
    }

    /// Takes note of a report; says whether it was news.
    pub(crate) fn reported(&mut self, body: &[u8]) -> bool {
        let Some((name, value)) = parameter_status::read(body) else {
            return false;
        };
        if name == STRINGS {
            self.strings = Strings::from_setting(Some(value));
        }
        self.parameters.set(name, value)
    }

    /// What carrying out a text of this class may leave behind here.
    pub(crate) fn touch(&mut self, class: &Class) {
        self.touched |= self.touches_of(class);
    }

    /// The same without doing it.
    pub(crate) fn touches_of(&self, class: &Class) -> Touches {
        match self.strings {
            Strings::Standard => class.touches,
            // The text was read as if a backslash were just a character.
            Strings::WithEscapes => class.touches | Touches::UNKNOWN,
        }
    }

    /// Whether texts are read as they are classified.
    pub(crate) fn has_standard_strings(&self) -> bool {
        self.strings == Strings::Standard
    }

    /// Why its client has to keep it: what lives here, the most telling first.
    pub(crate) fn tie(&self) -> Option<PinReason> {
        if self.living.is_empty() {
            return (self.listens == Listens::Yes).then_some(PinReason::Listen);
        }
        let reasons = [
            (Touches::TEMPORARY, PinReason::TemporaryTable),
            (Touches::LISTEN, PinReason::Listen),
            (Touches::CURSORS, PinReason::HoldCursor),
            (Touches::LOCKS, PinReason::AdvisoryLock),
            (Touches::SQL_PREPARED, PinReason::SqlPrepared),
            (Touches::IRREVERSIBLE, PinReason::Irreversible),
            (Touches::SETTINGS, PinReason::PrivilegedSetting),
            (Touches::UNKNOWN, PinReason::Unprovable),
            (Touches::SEQUENCES, PinReason::Sequence),
        ];
        let found = reasons.iter().find(|(living, _)| self.living.any(*living));
        Some(found.map_or(PinReason::Unprovable, |(_, reason)| *reason))
    }

    /// Nobody relies any more on what lives here: it has to go.
    pub(crate) fn untie(&mut self) {
        let living = std::mem::take(&mut self.living);
        self.touched |= living;
        if std::mem::replace(&mut self.listens, Listens::No) == Listens::Yes {
            self.touched |= Touches::LISTEN;
        }
        self.followed = Followed::Completely;
    }

    /// Judges one whole message that arrives while nobody holds the connection.
    fn judge_idle(&mut self, head: Head, body: &[u8]) -> Result<(), Fault> {
        match head.kind {
            server::NOTICE_RESPONSE | server::NOTIFICATION_RESPONSE => Ok(()),
            server::PARAMETER_STATUS => {
                self.reported(body);
                Ok(())
            }
            server::ERROR_RESPONSE => {
                let fields = ErrorFields::read(body);
                if fields.ends_the_connection() {
                    self.ended(fields);
                    return Err(Fault::Server("the server ended the connection"));
                }
                Err(self.fail("an error on an idle connection"))
            }
            _ => Err(self.fail("an answer that nobody asked for")),
        }
    }
}

impl TransactionDetection for Session {
    fn state(&self) -> SessionState {
        if let Condition::Broken(why) = self.condition {
            return SessionState::Broken(why);
        }
        if self.kind == Kind::Replication {
            return SessionState::Pinned(PinReason::Replication);
        }
        if !self.pending.is_empty() || self.group != Group::Closed || self.copy != CopyState::None {
            return SessionState::Busy;
        }
        match (self.status, self.pin) {
            (TransactionStatus::InTransaction, _) => SessionState::InTransaction { failed: false },
            (TransactionStatus::Failed, _) => SessionState::InTransaction { failed: true },
            (TransactionStatus::Idle, Some(reason)) => SessionState::Pinned(reason),
            (TransactionStatus::Idle, None) => SessionState::Idle,
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn work(&self) -> Work {
        self.work
    }

    fn likeness(&self) -> u64 {
        self.overlay.likeness()
    }

    fn while_idle(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut input = std::mem::take(&mut self.idle_rest);
        input.extend_from_slice(bytes);
        while let Some(head) = Head::read(&input) {
            head.check_server().map_err(|_| self.fail("invalid message length"))?;
            if head.total() > limits::MAX_IDLE_BYTES as u64 {
                return Err(self.fail("too long a message on an idle connection"));
            }
            let Some(message) = head.message(&input) else { break };
            self.judge_idle(head, head.body(message))?;
            let _ = input.split_to(head.total() as usize);
        }
        if !input.is_empty() {
            self.idle_rest = input;
        }
        Ok(())
    }
}

impl Session {
    /// Whether a message has arrived in part while nobody held the connection: its rest would be taken for a head.
    pub(crate) fn is_mid_message(&self) -> bool {
        !self.idle_rest.is_empty()
    }

    /// Whether it was opened for replication.
    pub(crate) fn is_replication(&self) -> bool {
        self.kind == Kind::Replication
    }
}
