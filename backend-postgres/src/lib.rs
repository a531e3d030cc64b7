//! The PostgreSQL family: protocol 3 on both sides.
//!
//! [`login`] opens server connections and greets clients, [`listen`] hears notifications for all of them, [`wire`] holds the messages that are looked into,
//! [`settings`] what configures them. Knows nothing of YAML, pools or relays but their types.

mod backend;
mod compose;
mod console;
pub mod control;
pub mod dialogue;
pub mod limits;
pub mod listen;
pub mod login;
pub mod probe;
pub mod session;
pub mod settings;
pub mod wire;

pub use backend::Postgres;
pub use compose::{UsersDeclared, credentials, parts, server_tls, server_tls_settings, source};
pub use login::greet::{FrontendSettings, FrontendTls, PostgresFrontend, Trust};
pub use probe::{Probe, probe};
