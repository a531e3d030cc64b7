//! TDS conversations over sessions, without sockets: against a model of SQL Server, in every split, and against peers
//! that keep no rules.

#![allow(unreachable_pub, reason = "modules of one test")]

mod contract;
mod gateway;
mod hostile;
mod messages;
mod model;
mod random;
mod rules;
