//! The prepared statements that exist on a server connection, and which of them was used least recently.
//!
//! Invariant: a statement is here exactly if the messages sent so far make it exist once they are carried out (what
//! turns out otherwise is undone by whoever judges the answers).

use std::{collections::HashMap, sync::Arc};

use super::statement::{Statement, StatementId};

/// The set.
#[derive(Debug)]
pub(crate) struct PreparedStatements {
    by_id: HashMap<StatementId, Slot>,
    capacity: usize,
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
            by_id: HashMap::new(),
            capacity: capacity as usize,
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
        self.by_id.insert(
            statement.id(),
            Slot {
                statement,
                used: self.clock,
            },
        );
    }

    pub(crate) fn remove(&mut self, id: StatementId) -> Option<Arc<Statement>> {
        self.by_id.remove(&id).map(|slot| slot.statement)
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// How many there are beyond the capacity.
    pub(crate) fn surplus(&self) -> usize {
        self.by_id.len().saturating_sub(self.capacity)
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
        assert_eq!(prepared.surplus(), 1);
        assert!(prepared.uses(all[0].id()));
        assert_eq!(prepared.pop_oldest().unwrap().id(), all[1].id());
        assert_eq!(prepared.surplus(), 0);
    }
}
