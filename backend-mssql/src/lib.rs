//! The SQL Server family: TDS 7.1 to 8.0 on both sides.
//!
//! [`login`] opens server connections and greets clients, [`dialogue`] and [`session`] judge what flows between them,
//! [`wire`] holds the messages that are looked into, `console` answers administrators. Knows nothing of YAML, pools or relays but their types.

#![forbid(unsafe_code)]

mod backend;
mod compose;
mod console;
pub mod control;
pub mod dialogue;
pub mod limits;
pub mod login;
pub mod probe;
pub mod refusals;
pub mod session;
pub mod settings;
pub mod wire;

pub use backend::{Mssql, PassThrough};
pub use compose::{parts, source};
pub use login::{
    greet::{FrontendSettings, FrontendTls, ListenerMaterial, MssqlFrontend},
    passwords::Passwords,
};
pub use probe::{Probe, probe};
