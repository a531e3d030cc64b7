//! The console (`psql -d weir`) as PostgreSQL's clients see it: the protocol around what [`weir_core::admin`] answers.
//!
//! `conversation` judges messages and is pure, `rows` encodes tables, `serve` is the shell. Nothing here reaches a
//! source: the console has no server connection and no transaction.

pub(crate) mod conversation;
mod rows;
mod serve;

pub(crate) use serve::serve;
