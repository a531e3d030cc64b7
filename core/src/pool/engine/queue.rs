//! Clients that wait for a server connection, in order of arrival (I3).
//!
//! Every waiter is in two lists: that of all, which says who is first, and that of its profile, which says who is first
//! among those that a given connection can serve. Both cost the same with ten waiters and with ten thousand, and a
//! waiter that gives up is taken out at once. Who has waited elsewhere before stands where it would stand if it had come
//! here at once; finding that place costs a step for each who came later.

use super::{
    Moment, ProfileId, WaiterId,
    chain::{Chain, Links},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Vacant,
    Waiting,
    /// Granted or failed; the number is not used again before its owner has left.
    Answered,
}

#[derive(Clone, Debug)]
struct Waiter {
    standing: Standing,
    profile: ProfileId,
    since: Moment,
    arrival: u64,
}

#[derive(Clone, Debug, Default)]
struct OfProfile {
    waiters: Chain,
    /// Place in `Queue::profiles` while anybody waits.
    place: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiters: Vec<Waiter>,
    vacant: Vec<u32>,
    all: Chain,
    links: Links,
    by_profile: Vec<OfProfile>,
    profile_links: Links,
    /// Profiles that somebody waits for, in no order.
    profiles: Vec<ProfileId>,
    arrivals: u64,
    head_since: Moment,
}

impl Queue {
    pub(super) fn len(&self) -> u32 {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len_of(&self, profile: ProfileId) -> u32 {
        self.by_profile.get(profile.0 as usize).map_or(0, |of| of.waiters.len())
    }

    /// Profiles that somebody waits for.
    pub(super) fn profiles(&self) -> &[ProfileId] {
        &self.profiles
    }

    /// Who came first of all, for which profile, and since when it waits.
    pub(super) fn head(&self) -> Option<(WaiterId, ProfileId, Moment)> {
        let index = self.all.first()?;
        let waiter = &self.waiters[index as usize];
        Some((WaiterId(index), waiter.profile, waiter.since))
    }

    /// Since when the present head has been the head. Means nothing while nobody waits.
    pub(super) fn head_since(&self) -> Moment {
        self.head_since
    }

    /// Who came first of those that a connection of `profile` can serve.
    pub(super) fn first_of(&self, profile: ProfileId) -> Option<WaiterId> {
        self.by_profile.get(profile.0 as usize)?.waiters.first().map(WaiterId)
    }

    /// The place in the order of arrival of the first waiter of `profile` behind `skip` others of it.
    pub(super) fn arrival_of(&self, profile: ProfileId, skip: u32) -> Option<(Moment, u64)> {
        let of_profile = self.by_profile.get(profile.0 as usize)?;
        let index = of_profile.waiters.iter(&self.profile_links).nth(skip as usize)?;
        let waiter = &self.waiters[index as usize];
        Some((waiter.since, waiter.arrival))
    }

    /// Somebody who has waited since `since`, here or elsewhere.
    pub(super) fn push(&mut self, profile: ProfileId, since: Moment, now: Moment) -> WaiterId {
        let waiter = Waiter {
            standing: Standing::Waiting,
            profile,
            since,
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        let index = match self.vacant.pop() {
            Some(index) => {
                self.waiters[index as usize] = waiter;
                index
            }
            None => {
                self.waiters.push(waiter);
                self.waiters.len() as u32 - 1
            }
        };
        let previous = self.last_before(self.all.iter_back(&self.links), since);
        if previous.is_none() {
            self.head_since = now;
        }
        self.all.insert(&mut self.links, index, previous);
        let place = profile.0 as usize;
        if self.by_profile.len() <= place {
            self.by_profile.resize(place + 1, OfProfile::default());
        }
        let of_profile = &mut self.by_profile[place];
        if of_profile.waiters.is_empty() {
            of_profile.place = self.profiles.len();
            self.profiles.push(profile);
        }
        let previous = self.last_before(self.by_profile[place].waiters.iter_back(&self.profile_links), since);
        self.by_profile[place]
            .waiters
            .insert(&mut self.profile_links, index, previous);
        WaiterId(index)
    }

    /// Takes a waiter out of the order because it has its answer.
    pub(super) fn answer(&mut self, waiter: WaiterId, now: Moment) {
        self.unlink(waiter, now);
        self.waiters[waiter.0 as usize].standing = Standing::Answered;
    }

    /// The waiter is gone for good, answered or not.
    pub(super) fn leave(&mut self, waiter: WaiterId, now: Moment) {
        let standing = self.waiters[waiter.0 as usize].standing;
        debug_assert_ne!(standing, Standing::Vacant, "waiter {waiter:?} left twice");
        if standing == Standing::Waiting {
            self.unlink(waiter, now);
        }
        self.waiters[waiter.0 as usize].standing = Standing::Vacant;
        self.vacant.push(waiter.0);
    }

    /// Everybody, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = (WaiterId, ProfileId)> + '_ {
        self.all
            .iter(&self.links)
            .map(|index| (WaiterId(index), self.waiters[index as usize].profile))
    }

    /// Since when somebody waits.
    pub(super) fn since(&self, waiter: WaiterId) -> Moment {
        self.waiters[waiter.0 as usize].since
    }

    /// Of some waiters, from the last to the first, whom one that came at `since` stands behind.
    fn last_before(&self, mut waiters: impl Iterator<Item = u32>, since: Moment) -> Option<u32> {
        waiters.find(|index| self.waiters[*index as usize].since <= since)
    }

    fn unlink(&mut self, waiter: WaiterId, now: Moment) {
        let profile = self.waiters[waiter.0 as usize].profile;
        if self.all.first() == Some(waiter.0) {
            self.head_since = now;
        }
        self.all.remove(&mut self.links, waiter.0);
        let of_profile = &mut self.by_profile[profile.0 as usize];
        of_profile.waiters.remove(&mut self.profile_links, waiter.0);
        if of_profile.waiters.is_empty() {
            let place = of_profile.place;
            self.profiles.swap_remove(place);
            if let Some(moved) = self.profiles.get(place) {
                self.by_profile[moved.0 as usize].place = place;
            }
        }
    }
}
