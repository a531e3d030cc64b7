//! The prepared statements that exist on a server connection, and which of them was used least recently.
//!
//! Invariant: a statement is here exactly if the messages sent so far make it exist once they are carried out (what
//! turns out otherwise is undone by whoever judges the answers).

use std::{collections::HashMap, sync::Arc};

use weir_core::spread::BuildSpread;

use super::statement::{Statement, StatementId};
use crate::limits;

/// The set.
#[derive(Debug)]
pub(crate) struct PreparedStatements {
    by_id: HashMap<StatementId, Slot, BuildSpread>,
    capacity: usize,
    /// What the statements weigh together.
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    statement: Arc<Statement>,
    used: u64,
}

impl PreparedStatements {
    /// Room for `capacity` statements.
    pub(crate) fn new(capacity: u32) -> Self {
        PreparedStatements {
            by_id: HashMap::default(),
            capacity: capacity as usize,
            bytes: 0,
            clock: 0,
        }
    }

    /// Whether it exists; counts as a use.
    pub(crate) fn uses(&mut self, id: StatementId) -> bool {
        self.clock += 1;
        match self.by_id.get_mut(&id) {
            Some(slot) => {
                slot.used = self.clock;
                true
            }
            None => false,
        }
    }

    pub(crate) fn insert(&mut self, statement: Arc<Statement>) {
        self.clock += 1;
        self.bytes += statement.weight();
        let slot = Slot {
            statement: statement.clone(),
            used: self.clock,
        };
        if let Some(before) = self.by_id.insert(statement.id(), slot) {
            self.bytes -= before.statement.weight();
        }
    }

    pub(crate) fn remove(&mut self, id: StatementId) -> Option<Arc<Statement>> {
        let statement = self.by_id.remove(&id)?.statement;
        self.bytes -= statement.weight();
        Some(statement)
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
        self.bytes = 0;
    }

    /// Whether there are too many or too large ones; inside a transaction much more is let pass.
    pub(crate) fn is_over(&self, in_transaction: bool) -> bool {
        let (overshoot, bytes) = match in_transaction {
            false => (0, limits::MAX_PREPARED_BYTES),
            true => (limits::PREPARED_OVERSHOOT, limits::MAX_PREPARED_BYTES_IN_TRANSACTION),
        };
        self.by_id.len() > self.capacity + overshoot || self.bytes > bytes
    }

    /// Takes out the least recently used one.
    pub(crate) fn pop_oldest(&mut self) -> Option<Arc<Statement>> {
        let oldest = *self.by_id.iter().min_by_key(|(_, slot)| slot.used)?.0;
        self.remove(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::classify::Class;

    #[test]
    fn the_least_recently_used_goes_first_s1_4() {
        let mut prepared = PreparedStatements::new(2);
        let all: Vec<_> = (0..3)
            .map(|_| Arc::new(Statement::kept(b"", Class::default())))
            .collect();
        all.iter().for_each(|statement| prepared.insert(statement.clone()));
        assert!(prepared.is_over(false) && !prepared.is_over(true));
        assert!(prepared.uses(all[0].id()));
        assert_eq!(prepared.pop_oldest().unwrap().id(), all[1].id());
        assert!(!prepared.is_over(false));
    }

    #[test]
    fn large_texts_do_not_pile_up() {
        let mut prepared = PreparedStatements::new(200);
        let body = vec![b'x'; 1_000_000];
        for _ in 0..200 {
            prepared.insert(Arc::new(Statement::kept(&body, Class::default())));
            while prepared.is_over(false) {
                prepared.pop_oldest();
            }
        }
        assert!(prepared.bytes <= limits::MAX_PREPARED_BYTES && prepared.by_id.len() == 8);
        prepared.clear();
        assert_eq!(prepared.bytes, 0);
    }
}
