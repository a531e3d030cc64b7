//! The console (database `weir`) as SQL Server's clients see it: the protocol around what [`weir_core::admin`] answers.
//!
//! `conversation` judges messages and is pure, `rows` encodes tables, `serve` is the shell. Nothing here reaches a source: the
//! console has no server connection, and its transactions are a courtesy to drivers that always want one.

mod conversation;
mod rows;
mod serve;

pub(crate) use conversation::ConsoleConversation;
pub(crate) use rows::COLLATION;
pub(crate) use serve::serve;
