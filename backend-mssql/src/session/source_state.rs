//! What all clients and server connections of one endpoint of a source share.
//!
//! Invariants: bounded; locks are held for a look-up, never across anything that waits.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    classify::Findings,
    handles::{Interned, Statement, StatementKind},
    shown::Beginning,
};

/// Shared by everything of one endpoint of a source.
#[derive(Debug, Default)]
pub struct SourceState {
    /// What clients have prepared: each text once.
    statements: Mutex<Interned>,
}

impl SourceState {
    /// Nothing known yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The statement with these parameters, shared with everybody who has prepared the same.
    pub(crate) fn intern(
        &self,
        kind: StatementKind,
        parameters: &[u8],
        findings: &Findings,
        text: Option<&Beginning>,
    ) -> Arc<Statement> {
        self.statements.lock().intern(kind, parameters, findings, text)
    }
}
