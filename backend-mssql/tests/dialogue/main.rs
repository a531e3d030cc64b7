//! TDS conversations over sessions, without sockets: against a model of SQL Server, in every split, and against peers
//! that keep no rules.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod contract;
mod gateway;
mod handles;
mod hostile;
mod last_values;
mod messages;
mod model;
mod moving;
mod pins;
mod random;
mod rules;
