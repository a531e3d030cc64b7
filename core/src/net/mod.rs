//! Sockets and TLS: the only place that knows what a byte stream is made of.

mod dial;
pub mod options;
mod stream;
pub mod tls;

pub use dial::{RemoteAddress, Target, dial, dial_at_once, redial};
pub use stream::{Peer, Proxied, Socket, Stream};
