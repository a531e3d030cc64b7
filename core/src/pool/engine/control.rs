//! What an administrator does to a pool while it serves: pause, resume, reconnect.
//!
//! Invariants: nothing is opened, granted or idle while the gate is shut, and nobody who waits is told no for it; a
//! connection that was there before a reconnect serves nobody after it came to rest; I1 to I4 hold throughout.

use super::{Engine, FailReason, Gate, Mode, Moment, WaiterId, Why};

impl Engine {
    /// Nobody gets a connection any more: idle ones are closed now, the others when they come to rest. Clients wait, and
    /// the clock of their patience ([`Engine::patience_clock`]) stands still. In a pool that ends they are told so: it
    /// will never be resumed.
    pub fn pause(&mut self, now: Moment) {
        if let Gate::Open { .. } = self.gate {
            self.gate = Gate::Shut { since: now };
        }
        while let Some((slot, _)) = self.slots.oldest_idle() {
            self.close(slot, Why::Paused);
        }
        if self.mode == Mode::Draining {
            self.dismiss_waiters(now);
        }
    }

    /// Serves again, in order of arrival. Whatever was wrong with the database before is forgotten: it is asked anew.
    pub fn resume(&mut self, now: Moment) {
        let Gate::Shut { since } = self.gate else { return };
        self.shut_for += now.saturating_sub(since);
        self.gate = Gate::Open { since: now };
        self.forget_troubles();
        self.plan(now);
    }

    /// Every connection that there is, those being opened included, is closed: idle ones now, the others when they come
    /// to rest. New ones are opened as they are needed.
    pub fn reconnect(&mut self, now: Moment) {
        self.slots.outdate();
        while let Some((slot, _)) = self.slots.oldest_idle() {
            self.close(slot, Why::Reconnect);
        }
        self.forget_troubles();
        self.plan(now);
    }

    /// Whether nobody gets a connection at the moment.
    pub fn is_paused(&self) -> bool {
        matches!(self.gate, Gate::Shut { .. })
    }

    /// Connections from before the last [`Engine::reconnect`], those being closed included.
    pub fn outdated(&self) -> u32 {
        self.slots.outdated()
    }

    /// Whether the connection is closed as soon as it comes to rest.
    pub fn is_unwanted(&self, slot: super::SlotId) -> bool {
        self.is_paused() || self.slots.is_outdated(slot)
    }

    /// Connections that are no more. Only its change matters.
    pub fn departures(&self) -> u64 {
        self.slots.departures()
    }

    /// A clock that stands still while the pool is paused: what a client's patience is measured by.
    pub fn patience_clock(&self, now: Moment) -> Moment {
        match self.gate {
            Gate::Open { .. } => now.saturating_sub(self.shut_for),
            Gate::Shut { since } => since.saturating_sub(self.shut_for),
        }
    }

    /// Since when somebody who came at `since` has waited for a connection that there could have been: a pause is nobody's
    /// wait, and begins it anew.
    pub(super) fn waits_since(&self, since: Moment) -> Moment {
        match self.gate {
            Gate::Open { since: resumed } => since.max(resumed),
            Gate::Shut { since: paused } => since.max(paused),
        }
    }

    /// Everybody who waits is told that the pool ends.
    pub(super) fn dismiss_waiters(&mut self, now: Moment) {
        let waiters: Vec<WaiterId> = self.queue.iter().map(|(waiter, _)| waiter).collect();
        for waiter in waiters {
            self.fail(waiter, FailReason::Draining, now);
        }
    }

    fn forget_troubles(&mut self) {
        self.down = None;
        self.full = None;
        self.refused.forgive();
        self.last_refusal = None;
    }
}
