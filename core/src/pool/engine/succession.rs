//! One pool serves on for another: the source has another address, password or certificate from now on.
//!
//! Invariants: who waits keeps its place in the order of arrival (I3); while connections of the pool that was before are
//! left at the same server they count against the limit of the one that follows (I1); a login that was let in before is
//! given the same time for a password that is being changed.

use super::{Engine, Moment, ProfileId, WaiterId};

/// Somebody who waits, and from now on waits elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceded {
    /// Its place here, until [`Engine::leave`].
    pub waiter: WaiterId,
    /// What it waits for.
    pub profile: ProfileId,
    /// Since when.
    pub since: Moment,
}

impl Engine {
    /// This pool ends as by [`Engine::drain`], and everybody who waits goes to its successor: they, in order of arrival.
    pub fn cede(&mut self, now: Moment) -> Vec<Ceded> {
        let ceded: Vec<Ceded> = self
            .queue
            .iter()
            .map(|(waiter, profile)| Ceded {
                waiter,
                profile,
                since: self.queue.since(waiter),
            })
            .collect();
        for ceded in &ceded {
            self.queue.answer(ceded.waiter, now);
        }
        self.drain(now);
        ceded
    }

    /// The same as [`Engine::enqueue`] for somebody who has waited since `since` already, here or in another pool: it
    /// stands before everybody who came later.
    pub fn enqueue_since(&mut self, profile: ProfileId, since: Moment, now: Moment) -> WaiterId {
        self.queue_up(profile, since.min(now), now)
    }

    /// Whether the database has ever let this profile in.
    pub fn was_let_in(&self, profile: ProfileId) -> bool {
        self.refused.was_let_in(profile)
    }

    /// The database has let this profile in before, in a pool that this one follows.
    pub fn trust(&mut self, profile: ProfileId) {
        self.refused.trust(profile);
    }

    /// So many connections are left, at the same server, in pools that this one follows. They count against the limit as
    /// if they were here.
    pub fn set_forerunners(&mut self, connections: u32, now: Moment) {
        self.forerunners = connections;
        self.shed(now);
    }
}
