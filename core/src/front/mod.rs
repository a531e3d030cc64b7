//! Where clients arrive: listeners, the gate that every login passes, the directory of clients (cancel keys, drain).
//!
//! Knows no protocol: a [`crate::backend::Frontend`] speaks to the peer and hands over a [`Client`].

mod allowance;
mod arrival;
mod card;
mod clients;
mod credentials;
mod doors;
mod drain;
mod gate;
mod handover;
mod inheritance;
mod listener;
pub mod packing;
mod places;
mod proxy_protocol;
mod unwelcome;

use std::sync::Arc;

use bytes::BytesMut;

pub use allowance::{Allowance, Place, Share};
pub use arrival::{Arrival, Hosts};
pub(crate) use card::Card;
pub use card::{ClientView, Pinned, Standing};
pub use clients::{Bell, CancelTicket, Clients, ClientsFull, Elsewhere, Event, Farewell, Registration, Rung};
pub use credentials::{Account, Chain, Credentials, Grant, Lookup, Trust, UserCounts, UserPlace, UsersDeclared};
pub use doors::{BindError, Bound, Endpoint};
pub use drain::{Drained, drain};
pub use gate::{GateClosed, LoginGate};
pub use handover::{Annex, HandedClient, Life, Offer, Successor};
pub use inheritance::{HandedDoor, Inheritance, PrivateDoor};
pub use listener::{Doors, Listener, ListenerLimits, ListenerSettings};
pub use unwelcome::{LastWords, Unwelcome, dismiss};

use crate::{
    backend::{Access, Backend},
    net::Peer,
    observe::RefusalKind,
    pool::Pool,
    registry::Route,
    settings::{PoolMode, Timeouts},
};

/// What became of a peer that connected.
pub enum Greeting<B: Backend> {
    /// It logged in.
    Client(Box<Client<B>>),
    /// It delivered a cancel request; `socket` is closed only when the request has been dealt with, because its sender
    /// takes the end of the stream as "done".
    Cancel {
        /// The client's id, as given out by [`Clients::register`].
        id: u32,
        /// What must match.
        secret: Vec<u8>,
        /// Kept open until the end.
        socket: Box<dyn Send>,
    },
    /// It logged in to something that its frontend serves by itself, like the console. The future is its life; it must end
    /// soon after its registration is told to.
    Aside(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It was refused, and told so.
    Refused(RefusalKind),
    /// It was never a client (a port scan, a health check), or went away.
    Nothing,
}

/// A client that has logged in and was told so; the next thing it sends is a request.
pub struct Client<B: Backend> {
    /// Its stream.
    pub io: B::ClientIo,
    /// Bytes that arrived behind its last login message.
    pub read_ahead: BytesMut,
    /// Its conversation.
    pub dialogue: B::Dialogue,
    /// Where its server connections come from.
    pub route: Route<B>,
    /// Which of them can serve it.
    pub profile: B::Profile,
    /// What applies to it.
    pub terms: Terms,
    /// Its place in the directory of clients; ends with it.
    pub registration: Registration,
    /// Who it is, for logs.
    pub identity: Identity,
}

/// What applies to one client: its source's settings with its user's overrides.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When a server connection goes back. Holds for the client's whole life.
    pub pool_mode: PoolMode,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What its user's clients may hold together; `None` = no limit of the user's own.
    pub allowance: Option<Arc<Allowance>>,
    /// Where each was set, for error texts.
    pub origins: crate::settings::Origins,
    /// What its user may do, and what applies to it.
    pub grant: Arc<Grant>,
    /// Of the source's parts that this was made of.
    generation: u64,
}

impl Terms {
    /// What applies now to a client of this user on this way.
    pub fn new<B: Backend>(route: &Route<B>, grant: Arc<Grant>, allowance: Option<Arc<Allowance>>) -> Self {
        // In this order: parts that are exchanged meanwhile are noticed later.
        let generation = route.source.generation();
        let parts = route.source.parts();
        let mut timeouts = parts.timeouts.clone();
        let mut origins = parts.origins.clone();
        if let Some(query) = grant.query_timeout {
            timeouts.query = query;
            let place = grant.origins.of("query_timeout").to_owned();
            Arc::make_mut(&mut origins.0).insert("query_timeout".to_owned(), place);
        }
        let pool_mode = || route.pool(Access::ReadWrite).settings().pool_mode;
        Terms {
            pool_mode: grant.pool_mode.unwrap_or_else(pool_mode),
            timeouts,
            allowance,
            origins,
            grant,
            generation,
        }
    }

    /// How long the client waits for a connection of this pool.
    pub(crate) fn pool_timeout<B: Backend>(&self, pool: &Pool<B>) -> Option<std::time::Duration> {
        self.grant.pool_timeout.unwrap_or_else(|| pool.pool_timeout())
    }

    /// Takes over what is declared of the source by now. Whether that may have changed anything.
    pub(crate) fn renew<B: Backend>(&mut self, route: &Route<B>) -> bool {
        if self.generation == route.source.generation() {
            return false;
        }
        let pool_mode = self.pool_mode;
        *self = Terms::new(route, self.grant.clone(), self.allowance.take());
        self.pool_mode = pool_mode;
        true
    }
}

/// Who a client is, for logs and views. Holds nothing secret.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Listener name.
    pub listener: Arc<str>,
    /// User name.
    pub user: Arc<str>,
    /// Source name.
    pub source: Arc<str>,
    /// Where it comes from.
    pub peer: Peer,
    /// Whether its connection is encrypted.
    pub encrypted: bool,
    /// What it calls itself at its login: see [`application_name`]. For administrators, not for logs.
    pub application_name: Arc<str>,
}

/// What a client calls itself, as it may be shown: at most 63 characters, printable ones, as PostgreSQL has it.
pub fn application_name(said: &str) -> Arc<str> {
    let shown = said.chars().take(63);
    let shown: String = shown
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    shown.into()
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.user, self.source, self.peer)
    }
}
