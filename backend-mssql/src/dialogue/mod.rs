//! A client's conversation in TDS: what its messages mean, and what it is told.
//!
//! Implements TDS 5.3 (transactions that begin only when something happens in them), 6.5 (handing a server connection
//! over), 7 (prepared statements on whichever server connection) and 8 (Attention). Files: `from_client` and `from_server`
//! judge the two streams, `request` reads the front of a request, `transactions` and `handles` hold the rules for those,
//! `adopt` what happens when a server connection comes, `pending` what a response will mean, `output` rewrites responses,
//! `attention`, `lost` and `leave` what happens when one side breaks off, `pin_notice` what is told of a kept connection,
//! `moving` and `packed` what goes along when another process goes on with the client.
//!
//! Invariants: one client, at most one session at a time, one request at a time; a request is sent only when everything
//! that it relies on has been confirmed by the server; what the client is told about transactions is what the server
//! said, in the client's own numbers. No socket, no clock, no `await`.

mod adopt;
mod alias;
mod answers;
mod attention;
mod from_client;
mod from_server;
mod last_values;
mod leave;
mod lost;
mod moving;
mod output;
pub mod packed;
mod pending;
mod pin_notice;
mod procedures;
mod request;
mod transactions;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use weir_core::{
    backend::{Dialogue, Leave, Onward, Outbox, PinNews, Step},
    refusal::{Fault, Refusal},
    settings::{PoolMode, SessionStatePolicy},
};

use self::{
    adopt::{Adoption, Asked},
    alias::Alias,
    from_client::Incoming,
    pending::Pending,
    pin_notice::PinNotices,
    transactions::ClientTransaction,
};
pub use crate::session::ConversationInit;
use crate::{
    refusals::{self, Words},
    session::{
        Session, SourceState, Tracker,
        handles::{ClientHandles, Context, Statement},
        last_values::{Asker, LastRequests},
        likeness, own,
        settings::{Isolation, Settings},
    },
    wire::{TdsVersion, reframe::Reframer},
};

/// One client's conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Never given out twice, unlike ids.
    serial: u64,
    pool_mode: PoolMode,
    policy: SessionStatePolicy,
    version: TdsVersion,
    /// Bytes of a packet, header included.
    packet_size: u16,
    /// As in the last packet that it was sent.
    spid: u16,
    tracker: Tracker,
    shared: Arc<SourceState>,
    presence: Presence,
    /// Its name for the database, where that is another than the real one.
    alias: Option<Box<Alias>>,
    /// What a reset returns to.
    login: Likeness,
    /// What it has set.
    now: Likeness,
    handles: ClientHandles,
    /// A statement that is being prepared ahead of a request.
    preparing: Option<(Arc<Statement>, Box<Context>)>,
    /// A statement that could not be.
    unpreparable: Option<u64>,
    transaction: ClientTransaction,
    incoming: Incoming,
    adoption: Adoption,
    /// A reset that the request at hand asks for.
    asked: Asked,
    /// What the response to the request that is with the server will mean.
    pending: Option<Box<Pending>>,
    to_server: Reframer,
    to_client: Reframer,
    /// A limit was reached and what runs is being cancelled for it.
    overrun: Option<Box<Words>>,
    /// Requests that wrote something since it got its server connection.
    writes: u64,
    /// Whether its user asks for what its earlier requests came to.
    asker: Asker,
    last: LastRequests,
    /// Whether it is told when it begins or ceases to keep its server connection.
    pin_notices: PinNotices,
    /// Server connections lost in a row before the request at hand could be sent.
    lost_in_adoption: u8,
}

/// What a client's session is like, as far as it can be made anywhere.
#[derive(Clone, Debug)]
struct Likeness {
    settings: Settings,
    database: Arc<str>,
    isolation: Isolation,
}

/// Whether the client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    Gone,
}

impl Conversation {
    /// The conversation of a client that has just logged in.
    pub fn new(init: ConversationInit) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut settings = init.baseline.0;
        if let Some(language) = &init.asked_language {
            settings.set(own::language(language));
        }
        let login = Likeness {
            settings,
            database: init.database.into(),
            isolation: init.isolation_level.map(Isolation::from).unwrap_or_default(),
        };
        let mut to_client = Reframer::new(init.packet_size);
        to_client.set_spid(init.spid);
        Conversation {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            pool_mode: init.pool_mode,
            policy: init.session_state,
            version: init.tds_version,
            packet_size: init.packet_size,
            spid: init.spid,
            tracker: init.tracker,
            shared: init.shared,
            presence: Presence::Here,
            alias: Alias::new(init.asked_database, login.database.clone()),
            now: login.clone(),
            login,
            handles: ClientHandles::default(),
            preparing: None,
            unpreparable: None,
            transaction: ClientTransaction::default(),
            incoming: Incoming::Between,
            adoption: Adoption::Settled,
            asked: Asked::No,
            pending: None,
            to_server: Reframer::new(init.packet_size),
            to_client,
            overrun: None,
            writes: 0,
            asker: init.asker,
            last: LastRequests::default(),
            pin_notices: PinNotices::new(init.pin_notice),
            lost_in_adoption: 0,
        }
    }

    fn is_gone(&self) -> bool {
        self.presence == Presence::Gone
    }

    /// Before TDS 7.2 nothing tells where transactions begin and end.
    fn is_old(&self) -> bool {
        !self.version.is_wide()
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

    fn adopt(&mut self, session: &mut Session, _: &mut Outbox) {
        self.take_over(session);
    }

    fn release(&mut self, session: &mut Session) {
        self.give_back(session);
    }

    fn likeness(&self) -> u64 {
        likeness(&self.now.settings, &self.now.database, self.now.isolation)
    }

    fn refuse(&mut self, why: &Refusal, out: &mut Outbox) -> Onward {
        let ends_the_client = matches!(
            why,
            Refusal::ShuttingDown
                | Refusal::Terminated
                | Refusal::ClientIdle(_)
                | Refusal::ProtocolViolation(_)
                | Refusal::Authentication { .. }
                | Refusal::LoginLimit(_)
        );
        self.answer_error(&refusals::describe(why), out);
        if ends_the_client || self.incoming != Incoming::Waiting {
            return Onward::Finish;
        }
        self.incoming = Incoming::Dropping;
        Onward::Continue
    }

    fn server_lost(&mut self, session: &mut Session, _: bool, out: &mut Outbox) -> Onward {
        self.on_server_lost(session, out)
    }

    fn abandon_transaction(&mut self, session: &mut Session, why: &Refusal, out: &mut Outbox) {
        self.roll_back_for(session, refusals::describe(why), out);
    }

    fn ask_for_transaction(&mut self, session: &mut Session, out: &mut Outbox) {
        self.put_off_no_longer(session, out);
    }

    fn cancelled_for(&mut self, _: &mut Session, why: &Refusal) {
        if self.pending.is_some() {
            self.overrun = Some(Box::new(refusals::describe(why)));
        }
    }

    fn cancel_in_band(&mut self, session: &mut Session, out: &mut Outbox) {
        self.interrupt(session, out);
    }

    fn withdraws(&self, bytes: &[u8]) -> bool {
        self.is_withdrawn(bytes)
    }

    fn has_request_under_way(&self, _: &Session) -> bool {
        self.pending.is_some()
    }

    fn writes(&self, _: &Session) -> u64 {
        self.writes
    }

    fn pin_cause(&self, session: &Session) -> Option<Box<str>> {
        session.pin_cause()
    }

    fn tell_pin(&mut self, news: PinNews, _: &mut Outbox) {
        self.hear_of_pin(news);
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

    #[test]
    fn idle_clients_are_small() {
        assert!(size_of::<Conversation>() <= 512, "{}", size_of::<Conversation>());
    }
}
