//! Both logins: the gateway's own at a server ([`server`]) and a client's at the gateway.
//!
//! What understands bytes is pure ([`handshake`], [`options`], [`scram`], [`words`], the server's recorder); the async
//! shells around it read, write and keep time.

pub mod credentials;
pub mod greet;
pub mod handshake;
pub mod limits;
pub mod options;
pub mod scram;
pub mod server;
pub mod welcome;
pub mod words;
