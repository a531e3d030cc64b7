//! What all clients and server connections of one endpoint of a source share.
//!
//! Invariants: bounded; locks are held for a look-up, never across anything that waits.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::settings::SessionFunctions;

use super::{
    classify::Findings,
    handles::{Interned, Statement, StatementKind},
    last_values::{Asker, Askers},
    shown::Beginning,
};

/// Shared by everything of one endpoint of a source.
#[derive(Debug, Default)]
pub struct SourceState {
    /// What clients have prepared: each text once.
    statements: Mutex<Interned>,
    /// Who asks for what earlier requests came to.
    askers: Askers,
}

impl SourceState {
    /// Nothing known yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether a user asks for what its earlier requests came to; `policy` says what that is worth.
    pub fn asker(&self, user: &str, policy: SessionFunctions) -> Asker {
        self.askers.find(user, policy)
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
