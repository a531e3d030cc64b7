//! Prepared statements: what a client has prepared, and the handle by which a server connection knows it (TDS 7).
//!
//! Handles are virtual: a client's number means the same statement on every server connection. Invariants: a statement is
//! told from another by its whole text and the settings it was compiled under, never by a hash alone; bounded on both
//! sides; a server's handles end with a reset.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{classify::Findings, shown::Beginning};
use crate::limits;

/// What was prepared, shared by all clients that prepared the same.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Equal for equal statements only.
    pub(crate) id: u64,
    pub(crate) kind: StatementKind,
    /// The parameters of the request that prepared it, as they stood there: declarations and text, or a procedure's name.
    pub(crate) parameters: Box<[u8]>,
    /// What carrying it out may do.
    pub(crate) findings: Findings,
    /// The beginning of its text, if carrying it out may tie a client.
    pub(crate) text: Option<Beginning>,
}

/// What a client's handle stands for.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    Anywhere(Arc<Statement>),
    /// Too long to keep: on the server connection that prepared it.
    Here(Owner),
}

/// A server's own handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) handle: i32,
}

/// Which request prepares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StatementKind {
    /// `sp_prepare`, `sp_prepexec`.
    Text,
    /// `sp_prepexecrpc`.
    Procedure,
}

/// Statements by their content, so that equal ones are one.
#[derive(Debug, Default)]
pub(crate) struct Interned {
    by_content: HashMap<(StatementKind, Box<[u8]>), std::sync::Weak<Statement>>,
    /// How many there may be before those that nobody has any more are thrown out.
    sweep_at: usize,
}

impl Interned {
    pub(crate) fn intern(
        &mut self,
        kind: StatementKind,
        parameters: &[u8],
        findings: &Findings,
        text: Option<&Beginning>,
    ) -> Arc<Statement> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = (kind, Box::from(parameters));
        if let Some(known) = self.by_content.get(&key).and_then(std::sync::Weak::upgrade) {
            return known;
        }
        if self.by_content.len() >= self.sweep_at.max(64) {
            self.by_content.retain(|_, statement| statement.strong_count() > 0);
            self.sweep_at = self.by_content.len() * 2;
        }
        let statement = Arc::new(Statement {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            parameters: parameters.into(),
            findings: findings.clone(),
            text: text.cloned(),
        });
        self.by_content.insert(key, Arc::downgrade(&statement));
        statement
    }
}

/// The settings that a plan is compiled under: the server refuses a handle under others (error 586).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    pub(crate) database: Arc<str>,
    pub(crate) ansi_nulls: Option<Box<str>>,
    pub(crate) quoted_identifier: Option<Box<str>>,
}

/// What a client has prepared.
#[derive(Debug, Default)]
pub(crate) struct ClientHandles {
    statements: HashMap<i32, Prepared>,
    last: i32,
}

impl ClientHandles {
    /// Of a client that has come from another process, where it was given numbers up to this one.
    pub(crate) fn resumed(last: i32) -> Self {
        ClientHandles {
            statements: HashMap::new(),
            last,
        }
    }

    /// A number that it has already; `None` when there are too many, or it is no number of a client's.
    pub(crate) fn restore(&mut self, handle: i32, prepared: Prepared) -> Option<()> {
        if self.is_full() || handle < 1 {
            return None;
        }
        self.statements.insert(handle, prepared).is_none().then_some(())
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> i32 {
        self.last
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &Prepared)> {
        self.statements.iter().map(|(handle, prepared)| (*handle, prepared))
    }

    /// A new number for a statement; `None` when the client has too many.
    pub(crate) fn insert(&mut self, prepared: Prepared) -> Option<i32> {
        if self.is_full() {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.statements.contains_key(&self.last) {
                self.statements.insert(self.last, prepared);
                return Some(self.last);
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.statements.len() >= limits::MAX_CLIENT_STATEMENTS
    }

    pub(crate) fn find(&self, handle: i32) -> Option<&Prepared> {
        self.statements.get(&handle)
    }

    pub(crate) fn remove(&mut self, handle: i32) -> Option<Prepared> {
        self.statements.remove(&handle)
    }

    pub(crate) fn clear(&mut self) {
        self.statements.clear();
    }
}

/// What a server connection has prepared.
#[derive(Debug)]
pub(crate) struct ServerHandles {
    known: HashMap<(u64, Context), Known>,
    limit: usize,
    clock: u64,
    /// Handles that nothing refers to any more, to be released.
    unused: Vec<i32>,
}

#[derive(Debug)]
struct Known {
    handle: i32,
    used: u64,
}

impl ServerHandles {
    /// At most `limit` are kept; the least recently used one goes.
    pub(crate) fn new(limit: u32) -> Self {
        ServerHandles {
            known: HashMap::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX).max(1),
            clock: 0,
            unused: Vec::new(),
        }
    }

    /// The server's handle for a statement.
    pub(crate) fn find(&mut self, statement: &Statement, context: &Context) -> Option<i32> {
        self.clock += 1;
        let known = self.known.get_mut(&(statement.id, context.clone()))?;
        known.used = self.clock;
        Some(known.handle)
    }

    /// The server has prepared a statement, perhaps once more.
    pub(crate) fn insert(&mut self, statement: &Statement, context: &Context, handle: i32) {
        self.clock += 1;
        let key = (statement.id, context.clone());
        let known = Known {
            handle,
            used: self.clock,
        };
        if let Some(before) = self.known.insert(key, known)
            && before.handle != handle
        {
            self.unused.push(before.handle);
        }
        if self.known.len() > self.limit {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone())
                && let Some(known) = self.known.remove(&key)
            {
                self.unused.push(known.handle);
            }
        }
    }

    /// The handle of a statement that is going to be released: it is known no more.
    pub(crate) fn take(&mut self, statement: &Statement, context: &Context) -> Option<i32> {
        let known = self.known.remove(&(statement.id, context.clone()))?;
        Some(known.handle)
    }

    /// The server does not know this handle any more, or not in this database.
    pub(crate) fn forget(&mut self, handle: i32) {
        self.known.retain(|_, known| known.handle != handle);
    }

    /// A handle that was never shared is needed no more.
    pub(crate) fn release(&mut self, handle: i32) {
        self.unused.push(handle);
    }

    /// Takes the handles that are to be released, once it is worth a request.
    pub(crate) fn take_unused(&mut self) -> Option<Vec<i32>> {
        (self.unused.len() >= RELEASED_AT_ONCE).then(|| std::mem::take(&mut self.unused))
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.unused.clear();
    }
}

/// Handles released in one request of the gateway's own, so that it costs next to nothing for each.
const RELEASED_AT_ONCE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn context(database: &str) -> Context {
        Context {
            database: database.into(),
            ansi_nulls: None,
            quoted_identifier: None,
        }
    }

    #[test]
    fn equal_statements_are_one_while_somebody_has_them() {
        let mut interned = Interned::default();
        let one = interned.intern(StatementKind::Text, b"select 1", &Findings::default(), None);
        let id = one.id;
        assert_eq!(
            interned
                .intern(StatementKind::Text, b"select 1", &Findings::default(), None)
                .id,
            id
        );
        assert_ne!(
            interned
                .intern(StatementKind::Procedure, b"select 1", &Findings::default(), None)
                .id,
            id
        );
        drop(one);
        for number in 0..1_000_u32 {
            interned.intern(StatementKind::Text, &number.to_le_bytes(), &Findings::default(), None);
        }
        assert!(interned.by_content.len() <= 129, "{}", interned.by_content.len());
    }

    #[test]
    fn a_statement_is_another_one_in_another_database() {
        let mut interned = Interned::default();
        let statement = interned.intern(StatementKind::Text, b"select 1", &Findings::default(), None);
        let mut handles = ServerHandles::new(10);
        handles.insert(&statement, &context("a"), 7);
        assert_eq!(handles.find(&statement, &context("a")), Some(7));
        assert_eq!(handles.find(&statement, &context("b")), None);
    }

    #[test]
    fn the_oldest_goes_and_is_released() {
        let mut interned = Interned::default();
        let mut handles = ServerHandles::new(10);
        let statements: Vec<_> = (0..100_u8)
            .map(|number| interned.intern(StatementKind::Text, &[number], &Findings::default(), None))
            .collect();
        for (number, statement) in (0..).zip(&statements) {
            handles.insert(statement, &context("a"), number);
            assert_eq!(handles.find(&statements[0], &context("a")), Some(0));
        }
        let unused = handles.take_unused().unwrap();
        assert_eq!((unused.len(), unused.contains(&0)), (90, false));
        assert_eq!(handles.take_unused(), None);
    }

    #[test]
    fn a_client_has_a_bound() {
        let mut interned = Interned::default();
        let statement = Prepared::Anywhere(interned.intern(StatementKind::Text, b"x", &Findings::default(), None));
        let mut handles = ClientHandles::default();
        for _ in 0..limits::MAX_CLIENT_STATEMENTS {
            assert!(handles.insert(statement.clone()).is_some());
        }
        assert_eq!(handles.insert(statement.clone()), None);
        handles.remove(5);
        assert_eq!(handles.insert(statement), Some(10_001));
    }
}
