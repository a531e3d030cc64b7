//! What an administrator does to a pool while it serves: pause, resume, reconnect, kill. The rules are the engine's; this
//! waits for what follows from them.
//!
//! Invariant: whoever waits here is woken by everything that may end the wait; dropping the wait changes nothing.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Pool, engine::Engine, limits::KILL_PATIENCE};
use crate::backend::Backend;

/// What became of waiting for a paused pool to come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// No server connection is left.
    Reached,
    /// It was resumed before.
    Resumed,
}

impl<B: Backend> Pool<B> {
    /// Nobody gets a server connection until [`Pool::resume`]: clients wait, and their `pool_timeout` does not run. Idle
    /// connections are closed now, the others when they come back.
    pub fn pause(&self) {
        self.remember_runtime();
        self.apply(|state, now, _| state.engine.pause(now));
        self.changed.notify_waiters();
    }

    /// The same; and what clients that are ended leave behind is given up rather than brought to rest.
    pub fn kill(&self) {
        self.haste.store(true, Ordering::Relaxed);
        self.pause();
    }

    /// Serves again, in order of arrival.
    pub fn resume(&self) {
        self.haste.store(false, Ordering::Relaxed);
        self.remember_runtime();
        self.apply(|state, now, after| state.resume(now, after));
        self.changed.notify_waiters();
    }

    /// Closes every server connection that there is: idle ones now, the others when they come back. New ones are opened
    /// as they are needed.
    pub fn reconnect(&self) {
        self.remember_runtime();
        self.apply(|state, now, _| state.engine.reconnect(now));
    }

    /// Whether nobody gets a server connection.
    pub fn is_paused(&self) -> bool {
        self.state.lock().engine.is_paused()
    }

    /// Resolves when a paused pool has no server connection left, or is paused no more. It may wait for as long as a
    /// client stays that keeps one.
    pub async fn at_rest(&self) -> Rest {
        self.until(|engine| match (engine.is_paused(), engine.tally().total()) {
            (false, _) => Some(Rest::Resumed),
            (true, 0) => Some(Rest::Reached),
            (true, _) => None,
        })
        .await
    }

    /// Resolves when no server connection is left from before the last [`Pool::reconnect`]; in a pool that is being
    /// closed, when none is left at all.
    pub async fn renewed(&self) {
        let left = |engine: &Engine| match engine.is_draining() {
            true => engine.tally().total(),
            false => engine.outdated(),
        };
        self.until(|engine| (left(engine) == 0).then_some(())).await;
    }

    /// Resolves when there is an answer to be had: the pool is not paused, or it ends.
    pub(crate) async fn until_open(&self) {
        self.until(|engine| (!engine.is_paused() || engine.is_draining()).then_some(()))
            .await;
    }

    /// Resolves when the pool is paused and may be resumed: never together with [`Pool::until_open`], so that whoever
    /// goes from one to the other comes to wait.
    pub(crate) async fn until_paused(&self) {
        self.until(|engine| (engine.is_paused() && !engine.is_draining()).then_some(()))
            .await;
    }

    /// Resolves when the pool takes nobody any more.
    pub(crate) async fn until_closed(&self) {
        self.until(|engine| engine.is_draining().then_some(())).await;
    }

    async fn until<T>(&self, outcome: impl Fn(&Engine) -> Option<T>) -> T {
        loop {
            // Made before looking: what happens in between is not missed.
            let changed = self.changed.notified();
            let outcome = outcome(&self.state.lock().engine);
            if let Some(outcome) = outcome {
                return outcome;
            }
            changed.await;
        }
    }

    /// How long a client that is gone may take to leave its server connection as good as new.
    pub(crate) fn recovery(&self, usual: Duration) -> Duration {
        match self.haste.load(Ordering::Relaxed) {
            true => usual.min(KILL_PATIENCE),
            false => usual,
        }
    }
}
