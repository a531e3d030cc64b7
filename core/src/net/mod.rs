//! Sockets and TLS: the only place that knows what a byte stream is made of.

mod stream;

pub use stream::{Peer, Socket, Stream};
