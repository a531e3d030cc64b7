//! A client's prepared statements by its own names.
//!
//! Invariants: bounded by count and bytes, and nothing is ever evicted: the driver believes that they exist
//! (specification S1 rule 3). An empty map owns no memory.

use std::{collections::HashMap, sync::Arc};

use crate::{
    limits,
    session::{pending::ClientName, statement::Statement},
};

/// The map.
#[derive(Debug, Default)]
pub(super) struct ClientStatements {
    by_name: HashMap<ClientName, Arc<Statement>>,
    bytes: usize,
    streamed: usize,
}

/// Why another statement does not fit: the bound's name and value.
pub(super) type Full = (&'static str, usize);

impl ClientStatements {
    /// The client's name, as kept, and the statement.
    pub(super) fn find(&self, name: &[u8]) -> Option<(&ClientName, &Arc<Statement>)> {
        self.by_name.get_key_value(name)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ClientName, &Arc<Statement>)> {
        self.by_name.iter()
    }

    /// Whether there is room for one more of this weight.
    pub(super) fn check_room(&self, weight: usize) -> Result<(), Full> {
        if self.by_name.len() >= limits::MAX_CLIENT_STATEMENTS {
            return Err(("prepared statements per client", limits::MAX_CLIENT_STATEMENTS));
        }
        if self.bytes.saturating_add(weight) > limits::MAX_CLIENT_STATEMENT_BYTES {
            return Err((
                "bytes of prepared statements per client",
                limits::MAX_CLIENT_STATEMENT_BYTES,
            ));
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, name: ClientName, statement: Arc<Statement>) {
        self.remove(&name);
        self.bytes += name.len() + statement.weight();
        self.streamed += usize::from(statement.body().is_none());
        self.by_name.insert(name, statement);
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<(ClientName, Arc<Statement>)> {
        let (name, statement) = self.by_name.remove_entry(name)?;
        self.bytes -= name.len() + statement.weight();
        self.streamed -= usize::from(statement.body().is_none());
        Some((name, statement))
    }

    pub(super) fn clear(&mut self) {
        *self = ClientStatements::default();
    }

    /// Whether any of them lives on one server connection only.
    pub(super) fn has_streamed(&self) -> bool {
        self.streamed > 0
    }

    /// That server connection is gone.
    pub(super) fn forget_streamed(&mut self) {
        if self.has_streamed() {
            self.by_name.retain(|_, statement| statement.body().is_some());
            self.bytes = self
                .by_name
                .iter()
                .map(|(name, statement)| name.len() + statement.weight())
                .sum();
            self.streamed = 0;
        }
    }
}
