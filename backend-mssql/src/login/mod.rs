//! Both logins: the gateway's own at a server ([`server`]) and a client's at the gateway ([`greet`]).
//!
//! What understands bytes is pure ([`handshake`], [`request`], [`reply`]); the async shells around it read, write and
//! keep time.

pub mod greet;
pub mod handshake;
pub mod limits;
pub mod passwords;
pub mod reply;
pub mod request;
pub mod server;
pub mod stream;
pub mod tunnel;
