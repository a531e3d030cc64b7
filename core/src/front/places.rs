//! Places for clients, counted.
//!
//! Invariant: looking and taking are one step, so that two clients cannot both get the last place.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// How many places are taken.
#[derive(Debug, Default)]
pub(super) struct Places(AtomicU32);

/// One place; given back on drop.
#[derive(Debug)]
pub(super) struct Taken(Arc<Places>);

impl Places {
    /// How many are taken at the moment.
    pub(super) fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes one of `most` places (`None`: of as many as wanted).
    ///
    /// # Errors
    /// `most`, when all are taken.
    pub(super) fn take(self: &Arc<Self>, most: Option<u32>) -> Result<Taken, u32> {
        let most = most.unwrap_or(u32::MAX);
        let below = |taken: u32| (taken < most).then_some(taken + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below) {
            Ok(_) => Ok(Taken(self.clone())),
            Err(_) => Err(most),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
