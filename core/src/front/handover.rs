//! Clients that one process of Weir hands over to the next, while they are at rest.
//!
//! Invariant: at every moment one process at most reads a client's socket. The one that hands over stops first; it goes on
//! only if it knows that nobody else has begun, and otherwise never reads it again. How clients travel between processes
//! is not known here.

use std::{fmt, future::Future, os::fd::OwnedFd, pin::Pin, sync::Arc};

use crate::{net::Peer, registry::Target, secret::Secret};

/// A client on its way between two processes. It holds no server connection, and nothing of it is buffered anywhere but
/// in its socket.
#[derive(Debug)]
pub struct HandedClient {
    /// The listener at which it arrived.
    pub listener: Arc<str>,
    /// Its user name; it has proved to be that.
    pub user: Arc<str>,
    /// The source that it uses.
    pub source: Arc<str>,
    /// Which part of it.
    pub target: Target,
    /// What it calls itself.
    pub application_name: Arc<str>,
    /// Where it comes from.
    pub peer: Peer,
    /// Its socket, in clear.
    pub socket: OwnedFd,
    /// Its id, which stays what it is: the client has it in its cancel key.
    pub id: u32,
    /// The rest of its cancel key.
    pub secret: Secret<Vec<u8>>,
    /// What its dialogue remembers: see [`crate::backend::Dialogue::pack`].
    pub dialogue: Secret<Vec<u8>>,
    /// Which server connections can serve it: see [`crate::backend::Backend::pack_profile`].
    pub profile: Vec<u8>,
}

/// Another process that takes clients.
pub trait Successor: fmt::Debug + Send + Sync {
    /// Offers it a client, whose socket nobody reads until this resolves. The time up to which it may refuse is bounded.
    fn offer(&self, client: HandedClient) -> Pin<Box<dyn Future<Output = Offer> + Send + '_>>;
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The client is the other one's, or may be: its socket must not be read here any more.
    Taken,
    /// It is not, and will not become so.
    Refused,
}

/// A client's life in this process, which begins when it is polled first. Dropped before, it leaves its socket alone.
pub type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A listener as the place to which clients of a predecessor come.
pub trait Annex: Send + Sync {
    /// Makes everything ready for a client. Nothing is read from its socket, or written to it, before the life begins.
    ///
    /// Resolves to the reason, for the log, when it cannot be served here.
    fn take_in(self: Arc<Self>, client: HandedClient) -> Pin<Box<dyn Future<Output = Result<Life, String>> + Send>>;
}
