//! What all clients and server connections of one endpoint of a source share.
//!
//! Invariants: bounded; locks are held for a look-up, never across anything that waits.

use std::sync::Arc;

/// Shared by everything of one endpoint of a source.
#[derive(Debug, Default)]
pub struct SourceState {}

impl SourceState {
    /// Nothing known yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}
