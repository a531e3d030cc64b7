//! When connections are opened, and what follows when one cannot be.
//!
//! Invariants: nothing is opened while as many connections exist as the limit allows, those being closed included (I1);
//! never more attempts than waiters that none is under way for; after a failure one attempt at a time, and none before
//! its pause is over. Failures that belong to one event count once.

use super::{
    Down, Effect, Engine, FailReason, Failure, Full, LIFETIME_JITTER, Mode, Moment, PROBE_INTERVAL, ProfileId,
    WaiterId, Why,
    trouble::{LONGEST_PAUSE, Trouble},
};

impl Engine {
    /// Opens what is needed and makes room for it. Called after every change.
    pub(super) fn plan(&mut self, now: Moment) {
        if self.is_paused() {
            // Nothing is needed.
        } else if !self.queue.is_empty() {
            self.open_for_waiters(now);
        } else if let Some(profile) = self.background_demand(now) {
            self.open(profile, now);
        }
    }

    /// As many attempts as there are waiters without one under way, within the limits. If there is no room, the least
    /// recently used idle connections make some (an idle one could not have served: I4); if there are none, overflow
    /// connections are used. Room that connections being closed will leave is counted on.
    fn open_for_waiters(&mut self, now: Moment) {
        let most = self.tuning.simultaneous_opens.max(1);
        let normal = self.accepted(self.max(), now);
        self.open_up_to(normal, u32::MAX, now);
        let tally = self.slots.tally();
        let limit = self.limit(now);
        if tally.opening >= most || (tally.idle == 0 && tally.total() >= limit) {
            return;
        }
        let wanted = self.uncovered(now).min(most - tally.opening);
        let mut homeless = wanted.saturating_sub(normal.saturating_sub(tally.standing()));
        while homeless > 0
            && let Some((slot, _)) = self.slots.oldest_idle()
        {
            self.close(slot, Why::MakeRoom);
            homeless -= 1;
        }
        self.open_up_to(limit, homeless, now);
    }

    fn open_up_to(&mut self, limit: u32, count: u32, now: Moment) {
        for _ in 0..count {
            let tally = self.slots.tally();
            if tally.opening >= self.tuning.simultaneous_opens.max(1) || tally.total() >= limit {
                return;
            }
            let Some(profile) = self.first_uncovered(now) else {
                return;
            };
            self.open(profile, now);
        }
    }

    /// The profile of the waiter that came first of those for whom no connection is being opened.
    fn first_uncovered(&self, now: Moment) -> Option<ProfileId> {
        self.queue
            .profiles()
            .iter()
            .filter(|profile| self.may_open(**profile, now))
            .filter_map(|profile| {
                let covered = self.slots.tally_of(*profile).opening;
                Some((self.queue.arrival_of(*profile, covered)?, *profile))
            })
            .min_by_key(|(arrival, _)| *arrival)
            .map(|(_, profile)| profile)
    }

    /// How many waiters have no connection being opened for them, as far as one may be.
    fn uncovered(&self, now: Moment) -> u32 {
        let profiles = self.queue.profiles().iter();
        profiles
            .filter(|profile| self.may_open(**profile, now))
            .map(|profile| {
                let opening = self.slots.tally_of(*profile).opening;
                self.queue.len_of(*profile).saturating_sub(opening)
            })
            .fold(0, u32::saturating_add)
    }

    /// What to open although nobody waits: `min_connections`, one at a time, and a look at a host that was down.
    fn background_demand(&self, now: Moment) -> Option<ProfileId> {
        let tally = self.slots.tally();
        let is_room = tally.total() < self.accepted(self.max(), now);
        if tally.opening > 0 || !is_room || self.mode == Mode::Draining {
            return None;
        }
        if let Some(down) = self.down
            && self.is_down()
        {
            return (now >= down.trouble.last.saturating_add(PROBE_INTERVAL)).then_some(down.profile);
        }
        let profile = self.usual?;
        (tally.standing() < self.min() && self.may_open(profile, now)).then_some(profile)
    }

    fn open(&mut self, profile: ProfileId, now: Moment) {
        let jitter = (self.dice.roll() % (2 * LIFETIME_JITTER + 1)) as i32 - LIFETIME_JITTER as i32;
        let slot = self.slots.add(profile, now, jitter);
        self.effects.push_back(Effect::Open { slot, profile });
    }

    /// Whether an attempt for this profile makes sense now. After a failure: not before its pause is over, and one at a
    /// time.
    pub(super) fn may_open(&self, profile: ProfileId, now: Moment) -> bool {
        let host = self
            .down
            .is_none_or(|down| now >= down.trouble.next() && self.slots.tally().opening == 0);
        host && self
            .refusal_of(profile)
            .is_none_or(|refused| now >= refused.next() && self.slots.tally_of(profile).opening == 0)
    }

    /// The next moment after `now` at which something may be opened that may not be opened before.
    pub(super) fn next_attempt(&self, now: Moment) -> Option<Moment> {
        let fills = self.slots.tally().standing() < self.min() && self.mode == Mode::Serving;
        if self.queue.is_empty() && !fills && self.down.is_none() {
            return None;
        }
        // The usual case while somebody waits, and asked after every change: whatever may be opened is being opened.
        let is_troubled = self.down.is_some() || self.full.is_some() || !self.refused.is_empty();
        if !is_troubled && self.tuning.overflow_connections == 0 {
            return None;
        }
        self.attempts_at(fills).filter(|at| *at > now).min()
    }

    /// Moments at which something may be opened; `fills`: `min_connections` are not there.
    fn attempts_at(&self, fills: bool) -> impl Iterator<Item = Moment> + '_ {
        let head = self.queue.head();
        let wanted = head.is_some() || fills;
        let overflow = head
            .filter(|_| self.tuning.overflow_connections > 0)
            .map(|(_, _, since)| self.waits_since(since).saturating_add(self.tuning.overflow_patience));
        let down = self.down.filter(|_| wanted && (head.is_some() || !self.is_down()));
        let probe = self.down.filter(|_| self.is_down() && self.mode == Mode::Serving);
        let full = self.full.filter(|_| wanted);
        let fill = self
            .usual
            .filter(|_| fills)
            .and_then(|profile| self.refusal_of(profile));
        let refusals = if self.refused.is_empty() {
            &[]
        } else {
            self.queue.profiles()
        };
        [
            overflow,
            down.map(|down| down.trouble.next()),
            probe.map(|down| down.trouble.last.saturating_add(PROBE_INTERVAL)),
            full.map(|full| full.trouble.next()),
            fill.map(|refused| refused.next()),
        ]
        .into_iter()
        .flatten()
        .chain(
            refusals
                .iter()
                .filter_map(|profile| self.refusal_of(*profile))
                .map(|refused| refused.next()),
        )
        .filter(|_| !self.is_paused())
    }
}

// === failures ===

impl Engine {
    pub(super) fn note_refusal(&mut self, profile: ProfileId, failure: Failure, now: Moment) {
        // Somebody is at home.
        self.down = None;
        self.last_refusal = Some(now);
        let jitter = self.dice.roll();
        self.refused
            .note(profile, failure == Failure::WrongPassword, now, jitter);
        if self.is_worth_waiting(profile, now) {
            return;
        }
        while let Some(waiter) = self.queue.first_of(profile) {
            self.fail(waiter, FailReason::Refused, now);
        }
    }

    pub(super) fn note_full(&mut self, now: Moment) {
        self.down = None;
        let cap = self.slots.tally().live().max(1);
        match &mut self.full {
            // One of several attempts that ran into the same wall.
            Some(full) if now < full.trouble.next() => full.cap = full.cap.min(cap),
            before => {
                let trouble = before.map(|full| full.trouble);
                let trouble = Trouble::noted(trouble, now, LONGEST_PAUSE, self.dice.roll());
                *before = Some(Full { cap, trouble });
            }
        }
    }

    pub(super) fn note_down(&mut self, profile: ProfileId, now: Moment) {
        let before = self.down.map(|down| down.trouble);
        if before.is_some_and(|trouble| now < trouble.next()) {
            // One of several attempts that ended by the same cause: one event, not several.
            return;
        }
        let trouble = Trouble::noted(before, now, LONGEST_PAUSE, self.dice.roll());
        self.down = Some(Down { trouble, profile });
        if self.is_down() {
            let unserved: Vec<WaiterId> = self
                .queue
                .iter()
                .filter(|(_, profile)| self.slots.tally_of(*profile).live() == 0)
                .map(|(waiter, _)| waiter)
                .collect();
            for waiter in unserved {
                self.fail(waiter, FailReason::Unreachable, now);
            }
        }
    }

    /// Whether the retries are used up.
    pub(super) fn is_down(&self) -> bool {
        self.down
            .is_some_and(|down| down.trouble.failures > self.tuning.retries)
    }

    /// Whether waiters of a profile whose login was refused may still be served: its password is being changed, or was
    /// changed while connections are alive that need none.
    fn is_worth_waiting(&self, profile: ProfileId, now: Moment) -> bool {
        let is_alive = || self.slots.tally_of(profile).live() > 0;
        self.refused.may_be_rotated(profile, now) || (self.refused.is_password(profile) && is_alive())
    }

    /// Whether a newcomer would only hear what was just said, and nothing alive may serve it.
    pub(super) fn is_refused_for_now(&self, profile: ProfileId, now: Moment) -> bool {
        let tally = self.slots.tally_of(profile);
        let is_fresh = self.refusal_of(profile).is_some_and(|refused| now < refused.next());
        is_fresh && tally.standing() == 0 && !self.is_worth_waiting(profile, now)
    }

    pub(super) fn refusal_of(&self, profile: ProfileId) -> Option<Trouble> {
        self.refused.trouble(profile)
    }
}
