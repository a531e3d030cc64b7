//! The boundary: what the core asks of a database family, and the small enums both sides speak.
//!
//! The core moves bytes and keeps time; a backend says what the bytes mean. [`Dialogue`], [`TransactionDetection`] and
//! [`SessionReset`] are pure: a slice in, a verdict out, no socket, no clock, no `await`. So they cannot be cancelled
//! half-way, and every one of them can be fuzzed. [`Backend`] and [`Frontend`] are the async shells around them.

use std::{fmt, future::Future, hash::Hash};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    front::{Client, Greeting, HandedClient, LoginGate, Registration},
    net::Socket,
    refusal::{Fault, OpenError, Refusal},
};

/// A byte stream: a socket, with or without TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// One endpoint of a declared source (its primary, or one replica): knows how to open server connections to it.
pub trait Backend: Sized + Send + Sync + 'static {
    /// `kind:` in the metadata, label in metrics.
    const KIND: &'static str;
    /// A client's stream after its handshake.
    type ClientIo: Io;
    /// A server connection's stream after login.
    type ServerIo: Io;
    /// What is known of a server connection; travels with it.
    type Session: TransactionDetection + SessionReset + Send + 'static;
    /// What is known of a client; travels with the client.
    type Dialogue: Dialogue<Session = Self::Session>;
    /// What must be equal for a server connection to be able to serve a client at all.
    type Profile: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    /// How to cancel what runs on a server connection; `()` where cancelling is in band.
    type CancelKey: Clone + Send + Sync + 'static;

    /// Opens and logs in one server connection. The caller bounds the time.
    fn open(&self, profile: &Self::Profile) -> impl Future<Output = Result<Opened<Self>, OpenError>> + Send;

    /// Asks the database to cancel what runs on the connection of `key`. Resolves only when the request can no longer
    /// take effect later (for PostgreSQL: the postmaster closed the cancel connection). The caller bounds the time.
    fn cancel(&self, key: &Self::CancelKey) -> impl Future<Output = Result<(), OpenError>> + Send;

    /// What to call it where people read, in logs and metrics: never with a password in it.
    fn label(&self) -> &str {
        ""
    }

    /// The socket of a client that another process could go on with: in clear, nothing read ahead.
    fn clear_socket(io: &Self::ClientIo) -> Option<&Socket> {
        let _ = io;
        None
    }

    /// Whether a server counts the connections of both together, as far as can be told: one pool follows another, and what is
    /// left of the old one counts against the limit of the new one. When in doubt, no: a server that is left behind because
    /// it hangs must not keep its successor waiting.
    fn is_at_same_server(&self, other: &Self) -> bool {
        let _ = other;
        false
    }

    /// What another process has to know of a client's profile, as bytes of a form that the family keeps to; `None` if no
    /// server connection could be opened for it there.
    fn pack_profile(profile: &Self::Profile) -> Option<Vec<u8>> {
        let _ = profile;
        Some(Vec::new())
    }

    /// Its pool is being closed: nothing begins here any more. What it does outside of the pool ends now, and clients that
    /// rely on it are told.
    fn retired(&self) {}

    /// The number of the connection's process as the database's own views show it, for the console.
    fn process(key: &Self::CancelKey) -> Option<u32> {
        let _ = key;
        None
    }
}

/// A server connection just logged in.
pub struct Opened<B: Backend> {
    /// The stream, at rest: nothing read ahead.
    pub io: B::ServerIo,
    /// Its session, in state [`SessionState::Idle`].
    pub session: B::Session,
    /// `None` where the server gave none (some proxies): then nothing on it can be cancelled.
    pub cancel_key: Option<B::CancelKey>,
}

/// The side of a database family that clients connect to: one value per listener.
pub trait Frontend: Send + Sync + 'static {
    /// The family that serves the clients greeted here.
    type Backend: Backend;

    /// Does the whole handshake with a peer that just connected, up to "ready for a request".
    ///
    /// Whatever goes wrong is told to the peer, in its protocol, before this returns. The caller bounds the time by the
    /// gate's deadline; bytes are counted by whoever reads.
    fn greet(&self, socket: Socket, gate: LoginGate) -> impl Future<Output = Greeting<Self::Backend>> + Send;

    /// Goes on with a client that a predecessor of this process has let in, without a word to it.
    ///
    /// # Errors
    /// Why it cannot be served here, for the log: what it uses is not declared any more, or not for it, or it is more than
    /// a limit takes. It stays where it was.
    fn adopt(
        &self,
        client: HandedClient,
        registration: Registration,
    ) -> impl Future<Output = Result<Client<Self::Backend>, String>> + Send {
        drop((client, registration));
        async { Err("clients of this protocol are not handed over".to_owned()) }
    }
}

/// What the bytes that went over a server connection prove about it. Pure.
pub trait TransactionDetection {
    /// The state, from what the server answered; never from what was sent.
    fn state(&self) -> SessionState;

    /// Whether a transaction may be open although [`TransactionDetection::state`] is `Pinned`: the server has to be asked,
    /// and its client comes first with a question that this would spoil. Time limits of transactions count until somebody
    /// does ([`Dialogue::ask_for_transaction`]).
    fn may_be_in_transaction(&self) -> bool {
        false
    }

    /// Requests answered completely so far on this connection, the gateway's own included. Only its change matters: a
    /// query time-out starts anew when it moves.
    fn completed(&self) -> u64 {
        0
    }

    /// What has been done on this connection for clients, the gateway's own requests not included. Only its growth
    /// matters, for statistics.
    fn work(&self) -> Work {
        Work::default()
    }

    /// A number that says what is set on the connection: equal to [`Dialogue::likeness`] of a client whose settings need
    /// no change here. The pool prefers such a connection for that client; nothing else depends on it.
    fn likeness(&self) -> u64 {
        0
    }

    /// Judges bytes that arrive while nobody holds the connection: notices are legal, an error means it is dying.
    fn while_idle(&mut self, bytes: &[u8]) -> Result<(), Fault>;
}

/// Requests and transactions that came to their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Statements on their own included.
    pub transactions: u64,
    /// Requests answered.
    pub queries: u64,
}

/// Where a server connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Outside of a transaction, nothing outstanding in either direction: may go to another client.
    Idle,
    /// In a transaction; the server waits for the client.
    InTransaction {
        /// Only a rollback is possible.
        failed: bool,
    },
    /// Answers are outstanding, or an implicit transaction is open.
    Busy,
    /// Like `Idle`, but something lives on this connection that its client may rely on.
    Pinned(PinReason),
    /// Not usable any more.
    Broken(&'static str),
}

/// Why a client keeps its server connection between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// `pool_mode: session`.
    SessionMode,
    /// A replication connection.
    Replication,
    /// A prepared statement whose text is too long to keep for other server connections.
    LargeStatement,
    /// Something in the schema of temporary objects.
    TemporaryTable,
    /// It listens for notifications.
    Listen,
    /// A cursor that outlives its transaction.
    HoldCursor,
    /// An advisory lock of the session.
    AdvisoryLock,
    /// A statement prepared with SQL, not with the protocol.
    SqlPrepared,
    /// Something was touched that nothing can repeat or put back: LOAD, setseed, a replication origin.
    Irreversible,
    /// A setting that the login may not set itself: a function with more privileges has set it.
    PrivilegedSetting,
    /// What `currval` and `lastval` say.
    Sequence,
    /// What the session is like could not be found out.
    Unprovable,
    /// A cursor of the session.
    Cursor,
    /// An application lock of the session.
    ApplicationLock,
    /// It runs as somebody else: EXECUTE AS, SETUSER.
    Impersonation,
    /// A SET option that must not be repeated elsewhere: SHOWPLAN, IDENTITY_INSERT.
    SessionOption,
    /// An open key, an XML document, a trace flag or the like.
    SessionObject,
    /// Key-value pairs of SESSION_CONTEXT.
    SessionContext,
    /// A bulk load has been announced.
    BulkLoad,
    /// The server says that the session has state that cannot be elsewhere.
    ServerState,
    /// A version of the protocol that does not tell where transactions begin and end.
    OldProtocol,
    /// What its last write came to may be asked for: `@@IDENTITY`, `@@ROWCOUNT` and their like.
    LastValues,
}

impl PinReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [PinReason; 22] = [
        PinReason::SessionMode,
        PinReason::Replication,
        PinReason::LargeStatement,
        PinReason::TemporaryTable,
        PinReason::Listen,
        PinReason::HoldCursor,
        PinReason::AdvisoryLock,
        PinReason::SqlPrepared,
        PinReason::Irreversible,
        PinReason::PrivilegedSetting,
        PinReason::Sequence,
        PinReason::Unprovable,
        PinReason::Cursor,
        PinReason::ApplicationLock,
        PinReason::Impersonation,
        PinReason::SessionOption,
        PinReason::SessionObject,
        PinReason::SessionContext,
        PinReason::BulkLoad,
        PinReason::ServerState,
        PinReason::OldProtocol,
        PinReason::LastValues,
    ];

    /// The place in [`PinReason::ALL`], which a new reason has to be added to as well.
    pub fn index(self) -> usize {
        match self {
            PinReason::SessionMode => 0,
            PinReason::Replication => 1,
            PinReason::LargeStatement => 2,
            PinReason::TemporaryTable => 3,
            PinReason::Listen => 4,
            PinReason::HoldCursor => 5,
            PinReason::AdvisoryLock => 6,
            PinReason::SqlPrepared => 7,
            PinReason::Irreversible => 8,
            PinReason::PrivilegedSetting => 9,
            PinReason::Sequence => 10,
            PinReason::Unprovable => 11,
            PinReason::Cursor => 12,
            PinReason::ApplicationLock => 13,
            PinReason::Impersonation => 14,
            PinReason::SessionOption => 15,
            PinReason::SessionObject => 16,
            PinReason::SessionContext => 17,
            PinReason::BulkLoad => 18,
            PinReason::ServerState => 19,
            PinReason::OldProtocol => 20,
            PinReason::LastValues => 21,
        }
    }

    /// As shown to people and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            PinReason::SessionMode => "pool_mode session",
            PinReason::Replication => "replication",
            PinReason::LargeStatement => "large prepared statement",
            PinReason::TemporaryTable => "temporary table",
            PinReason::Listen => "LISTEN",
            PinReason::HoldCursor => "cursor WITH HOLD",
            PinReason::AdvisoryLock => "session advisory lock",
            PinReason::SqlPrepared => "SQL PREPARE",
            PinReason::Irreversible => "LOAD, setseed or the like",
            PinReason::PrivilegedSetting => "setting that takes a superuser",
            PinReason::Sequence => "currval and lastval of a sequence",
            PinReason::Unprovable => "session state that could not be proved harmless",
            PinReason::Cursor => "cursor of the session",
            PinReason::ApplicationLock => "session application lock",
            PinReason::Impersonation => "EXECUTE AS or SETUSER",
            PinReason::SessionOption => "SET option such as SHOWPLAN or IDENTITY_INSERT",
            PinReason::SessionObject => "open key, XML document or trace flag",
            PinReason::SessionContext => "SESSION_CONTEXT",
            PinReason::BulkLoad => "bulk load",
            PinReason::ServerState => "session state reported by the server",
            PinReason::OldProtocol => "protocol older than TDS 7.2",
            PinReason::LastValues => "@@IDENTITY, @@ROWCOUNT and their like",
        }
    }
}

/// How a server connection is made as good as new for the next client. Pure: bytes in, bytes out.
pub trait SessionReset {
    /// Starts a reset of a connection in state `Idle` or `Pinned`.
    fn begin_reset(&mut self, depth: ResetDepth, out: &mut BytesMut) -> Reset;

    /// Feeds what the server answered to a reset that said [`Reset::Await`]; consumes what it understood from the front
    /// of `input` and leaves an incomplete message for the next call.
    fn continue_reset(&mut self, input: &mut BytesMut) -> Result<Reset, Fault>;
}

/// How much to put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetDepth {
    /// Nothing: `server_reset: never`.
    Nothing,
    /// What was touched, or could not be proved untouched.
    WhatChanged,
    /// Everything, touched or not.
    Everything,
}

/// What a reset needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Nothing was touched, or everything is back.
    Done,
    /// It rides on the next client's first request (the session remembers; `Dialogue::adopt` writes it).
    Deferred,
    /// Send the bytes and feed the answer to [`SessionReset::continue_reset`].
    Await,
    /// Cheaper or safer to close.
    Discard(&'static str),
}

/// Bytes of the gateway's own, in the two directions. What one call of a [`Dialogue`] puts here goes out *before* what
/// that call forwards.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To the client.
    pub to_client: BytesMut,
    /// To the server connection. Must stay empty while there is none.
    pub to_server: BytesMut,
}

/// The conversation of one client with whichever server connection it holds at the moment. Pure.
///
/// The relay calls [`Dialogue::from_client`] and [`Dialogue::from_server`] with unjudged bytes, again and again until
/// they are all judged. `bytes` is never empty and always starts at a message border.
#[expect(
    clippy::wrong_self_convention,
    reason = "`from` is where the bytes come from, not what is converted"
)]
pub trait Dialogue: Send + 'static {
    /// The server connection's side of it.
    type Session;

    /// Judges what the client sent. `session` is `None` while the client holds no server connection.
    ///
    /// # Errors
    /// [`Fault::Client`]: the client is told and disconnected. [`Fault::Server`]: see [`Dialogue::server_lost`].
    fn from_client(
        &mut self,
        bytes: &[u8],
        session: Option<&mut Self::Session>,
        out: &mut Outbox,
    ) -> Result<Step, Fault>;

    /// Judges what the server sent. Never answers [`Step::Lease`], [`Step::Hold`] or [`Step::Finish`].
    fn from_server(&mut self, bytes: &[u8], session: &mut Self::Session, out: &mut Outbox) -> Result<Step, Fault>;

    /// The client has just been given this server connection: write ahead what makes the connection the client's own
    /// (deferred reset, its start-up settings), and tell the client what differs from what it was told before.
    fn adopt(&mut self, session: &mut Self::Session, out: &mut Outbox);

    /// The server connection, whose state is `Idle`, goes back now.
    fn release(&mut self, session: &mut Self::Session);

    /// A number that says what the client wants set: see [`TransactionDetection::likeness`].
    fn likeness(&self) -> u64 {
        0
    }

    /// Says no to what the client asked for, in its own protocol, and swallows the rest of that request. Called without
    /// a server connection. For refusals that end the client (shutting down, idle for too long) the words say so.
    fn refuse(&mut self, why: &Refusal, out: &mut Outbox) -> Onward;

    /// The server connection ended under the client: end of stream, a fatal error, or a protocol violation.
    /// `mid_message`: part of a message has already reached the client, so that its stream cannot be mended.
    fn server_lost(&mut self, session: &mut Self::Session, mid_message: bool, out: &mut Outbox) -> Onward;

    /// The client took too long inside a transaction (`why` says which limit): write what rolls it back. The client is
    /// told with its next statement and stays connected. Only called in [`SessionState::InTransaction`].
    fn abandon_transaction(&mut self, session: &mut Self::Session, why: &Refusal, out: &mut Outbox);

    /// Write what finds out whether a transaction is open, even if the client is told something else by it. Only called
    /// where [`TransactionDetection::may_be_in_transaction`]; the state is `Busy` until the server has answered.
    fn ask_for_transaction(&mut self, session: &mut Self::Session, out: &mut Outbox) {
        let _ = (session, out);
    }

    /// What runs for the client is being cancelled because it took too long (`why` says which limit). If the database
    /// then answers that it was cancelled, tell the client about the limit instead: nobody asked for it. Without this the
    /// client gets the database's own words.
    fn cancelled_for(&mut self, session: &mut Self::Session, why: &Refusal) {
        let _ = (session, why);
    }

    /// What runs for the client has to stop, because it took too long or because the client has left. Write what asks for
    /// that, if it is asked for on the connection itself (there is no cancel key); its answer is the dialogue's business.
    fn cancel_in_band(&mut self, session: &mut Self::Session, out: &mut Outbox) {
        let _ = (session, out);
    }

    /// Whether a client that waits for a server connection has taken its request back since, in band. `bytes` is all that
    /// it has sent and that is not judged, beginning with the request. If so, it waits no more, and
    /// [`Dialogue::from_client`] is asked again.
    fn withdraws(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Whether something that the client itself asked for is with the server. Asked while [`Step::Hold`] keeps more of it
    /// back: a cancel request is sent at once if so, and otherwise waits for what is kept back.
    fn has_request_under_way(&self, session: &Self::Session) -> bool {
        let _ = session;
        false
    }

    /// A number that grows with each request that wrote something since the server connection came, 0 as long as nothing was;
    /// for clients that ask their session afterwards what they have written. Where a source says so, such a client keeps a
    /// connection that is [`SessionState::Idle`] for a moment.
    fn writes(&self, session: &Self::Session) -> u64 {
        let _ = session;
        0
    }

    /// The statement because of which the connection is [`SessionState::Pinned`], where it is known: bounded, without the
    /// constants in it, never with a parameter. Asked when the state changes; shown to administrators.
    fn pin_cause(&self, session: &Self::Session) -> Option<Box<str>> {
        let _ = session;
        None
    }

    /// The client begins or ceases to keep its server connection: tell it, if it is to be told (`pin_notice`). Called
    /// between two messages to the client.
    fn tell_pin(&mut self, news: PinNews, out: &mut Outbox) {
        let _ = (news, out);
    }

    /// Somebody rang the client's bell ([`crate::front::Bell`]): something has come for it that no server connection
    /// brings. Called between two messages to the client and while it reads what it is sent, again after each movement
    /// until the answer is not [`Heard::Later`]. What is for the client goes out at once, what is for the server as well.
    fn on_bell(&mut self, session: Option<&mut Self::Session>, out: &mut Outbox) -> Heard {
        let _ = (session, out);
        Heard::Done
    }

    /// What another process has to know to go on with the client, as bytes of a form that the family keeps to; `None` if it
    /// cannot, as things are. Only asked while the client holds no server connection and nothing of it is unjudged.
    fn pack(&self) -> Option<Vec<u8>> {
        None
    }

    /// The client is gone. Write what brings the connection to rest; the relay keeps feeding `from_server` until the
    /// state is `Idle` and drops everything meant for the client. `mid_message`: part of a message has been sent to the
    /// server, the rest of which will never come.
    fn leave(&mut self, session: &mut Self::Session, mid_message: bool, out: &mut Outbox) -> Leave;
}

/// Which connection of a source may serve what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only the primary.
    ReadWrite,
    /// A replica as well: the client, or the statement itself, promises not to write.
    ReadOnly,
}

/// What to do with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass on this many bytes, unjudged; may reach beyond what has arrived: bodies stream. At least 1.
    Forward(u64),
    /// Drop this many bytes; may reach beyond what has arrived. At least 1.
    Skip(u64),
    /// Cannot decide before this many bytes are there. More than were given, at most [`crate::limits::MAX_PEEK`].
    Need(usize),
    /// A server connection is needed first; ask again when there is one. A dialogue that holds one which is `Idle` may
    /// ask for another (a replica does not take writes): the one at hand goes back.
    Lease(Access),
    /// Cannot go on before the server has answered what is outstanding; ask again after the next `from_server`.
    Hold,
    /// The client says good-bye.
    Finish,
}

/// A client that begins or ceases to keep its server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinNews {
    /// It keeps it from now on.
    Begun(PinReason),
    /// It does not any more.
    Over(PinReason),
}

/// What became of a bell that was rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Everything is said.
    Done,
    /// It cannot be said yet, or not all of it: ask again when something has moved.
    Later,
    /// The client cannot stay, for this reason (for the log): send what is in the outbox, then close.
    Finish(&'static str),
}

/// Whether the client stays after a "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// It does.
    Continue,
    /// Send what is in the outbox, then close.
    Finish,
}

/// What becomes of a server connection whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Read until the state is `Idle` (it may be already).
    Drain {
        /// Whether what runs should be cancelled rather than waited for. Not while a COMMIT is on its way.
        cancel: bool,
    },
    /// Beyond repair within reason: close it.
    Discard(&'static str),
}

#[cfg(test)]
mod tests {
    use super::PinReason;

    #[test]
    fn every_pin_reason_has_its_place() {
        for (place, reason) in PinReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
    }
}
