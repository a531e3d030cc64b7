//! How often the metadata has been read again, and what became of it, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Written by the task that owns what runs.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    applied: AtomicU64,
    unchanged: AtomicU64,
    refused: AtomicU64,
    was_refused: AtomicBool,
}

impl Reloads {
    pub(super) fn applied(&self) {
        self.applied.fetch_add(1, Relaxed);
        self.was_refused.store(false, Relaxed);
    }

    pub(super) fn unchanged(&self) {
        self.unchanged.fetch_add(1, Relaxed);
        self.was_refused.store(false, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
        self.was_refused.store(true, Relaxed);
    }

    /// How often, by result. The start is none of them.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [
            ("applied", self.applied.load(Relaxed)),
            ("unchanged", self.unchanged.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
        ]
    }

    /// Whether what was read last was refused, and something older applies.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused.load(Relaxed)
    }
}
