//! Where each server connection stands (I1), and the idle ones in order of use.
//!
//! Every change of stage goes through [`Slots::shift`], so that counts and lists cannot disagree with the stages.

use std::{num::NonZeroU64, time::Duration};

use super::{
    Mark, Moment, ProfileId, SlotId, Wish,
    chain::{Chain, Links},
};

/// Idle connections are found by what is set on them in this many chains: a few kilobytes per pool, and pools of the
/// usual size have hardly two different likenesses in one chain.
const CHAINS_BY_LIKENESS: usize = 64;

/// How many connections of a chain are looked at for the wished likeness before any will do. A bound for pools of
/// thousands of connections that are all different; the likeness is a preference.
const LOOKS: usize = 8;

/// The one place where a server connection is (I1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No connection: the slot can be used again.
    Vacant,
    /// Being opened.
    Opening,
    /// At rest, nobody's.
    Idle {
        /// When it came to rest.
        since: Moment,
    },
    /// A client's, or on its way to one.
    Leased,
    /// Being reset between two clients.
    Maintenance,
    /// Being closed; counts until the database has let go of it.
    Closing,
}

/// How many server connections are in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In [`Stage::Opening`].
    pub opening: u32,
    /// In [`Stage::Idle`].
    pub idle: u32,
    /// In [`Stage::Leased`].
    pub leased: u32,
    /// In [`Stage::Maintenance`].
    pub maintenance: u32,
    /// In [`Stage::Closing`].
    pub closing: u32,
}

impl Tally {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.standing() + self.closing
    }

    /// All but those that are going away.
    pub fn standing(&self) -> u32 {
        self.opening + self.live()
    }

    /// Those that are logged in and will be of use.
    pub fn live(&self) -> u32 {
        self.idle + self.leased + self.maintenance
    }

    fn of(&mut self, stage: Stage) -> Option<&mut u32> {
        match stage {
            Stage::Vacant => None,
            Stage::Opening => Some(&mut self.opening),
            Stage::Idle { .. } => Some(&mut self.idle),
            Stage::Leased => Some(&mut self.leased),
            Stage::Maintenance => Some(&mut self.maintenance),
            Stage::Closing => Some(&mut self.closing),
        }
    }
}

#[derive(Clone, Debug)]
struct Slot {
    stage: Stage,
    profile: ProfileId,
    opened: Moment,
    /// Thousandths added to its lifetime; drawn once, so that connections opened together do not end together.
    jitter: i32,
    /// When its time is up.
    expires: Option<Moment>,
    /// What is set on it, as its session said last.
    likeness: u64,
    /// Which of the pool's leases its last one is.
    turn: NonZeroU64,
    generation: u64,
}

impl Slot {
    fn live_for(&mut self, lifetime: Option<Duration>) {
        self.expires = lifetime.map(|lifetime| {
            let share = lifetime / 1000 * self.jitter.unsigned_abs();
            let own = if self.jitter < 0 {
                lifetime.saturating_sub(share)
            } else {
                lifetime.saturating_add(share)
            };
            self.opened.saturating_add(own)
        });
    }
}

#[derive(Clone, Debug, Default)]
struct OfProfile {
    tally: Tally,
    idle: Chain,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// How long each may live, before its jitter.
    lifetime: Option<Duration>,
    tally: Tally,
    /// Least recently used first.
    idle: Chain,
    idle_links: Links,
    by_profile: Vec<OfProfile>,
    profile_links: Links,
    /// Idle ones by profile and likeness; least recently used first. Empty until the first connection rests.
    by_likeness: Vec<Chain>,
    likeness_links: Links,
    /// Leases so far.
    turns: u64,
    /// What those that are opened now belong to.
    generation: u64,
    /// Occupied ones of earlier generations.
    outdated: u32,
    departures: u64,
}

impl Slots {
    /// None yet. `lifetime`: see [`Slots::live_for`].
    pub(super) fn living(lifetime: Option<Duration>) -> Self {
        Slots {
            lifetime,
            ..Slots::default()
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn tally_of(&self, profile: ProfileId) -> Tally {
        self.by_profile
            .get(profile.0 as usize)
            .map_or_else(Tally::default, |of| of.tally)
    }

    pub(super) fn stage(&self, slot: SlotId) -> Stage {
        self.slots.get(slot.0 as usize).map_or(Stage::Vacant, |slot| slot.stage)
    }

    pub(super) fn profile(&self, slot: SlotId) -> ProfileId {
        self.slots[slot.0 as usize].profile
    }

    pub(super) fn opened(&self, slot: SlotId) -> Moment {
        self.slots[slot.0 as usize].opened
    }

    /// What the connection is for that stands there now or stood there last; `None` if none ever has.
    pub(super) fn profile_at(&self, slot: SlotId) -> Option<ProfileId> {
        self.slots.get(slot.0 as usize).map(|slot| slot.profile)
    }

    /// When the connection's time is up.
    pub(super) fn expires(&self, slot: SlotId) -> Option<Moment> {
        self.slots[slot.0 as usize].expires
    }

    /// Another limit of their time applies to all of them; `None` = none.
    pub(super) fn live_for(&mut self, lifetime: Option<Duration>) {
        self.lifetime = lifetime;
        self.slots.iter_mut().for_each(|slot| slot.live_for(lifetime));
    }

    /// A new connection, in [`Stage::Opening`].
    pub(super) fn add(&mut self, profile: ProfileId, now: Moment, jitter: i32) -> SlotId {
        let slot = Slot {
            stage: Stage::Vacant,
            profile,
            opened: now,
            jitter,
            expires: None,
            likeness: 0,
            turn: NonZeroU64::MIN,
            generation: self.generation,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        if self.by_profile.len() <= profile.0 as usize {
            self.by_profile.resize(profile.0 as usize + 1, OfProfile::default());
        }
        self.shift(SlotId(index), Stage::Opening);
        SlotId(index)
    }

    /// Its lifetime starts when it is logged in, not when that was begun.
    pub(super) fn born(&mut self, slot: SlotId, now: Moment) {
        let lifetime = self.lifetime;
        let slot = &mut self.slots[slot.0 as usize];
        slot.opened = now;
        slot.live_for(lifetime);
    }

    /// The connection is no more.
    pub(super) fn remove(&mut self, slot: SlotId) {
        if self.is_outdated(slot) {
            self.outdated -= 1;
        }
        self.departures += 1;
        self.shift(slot, Stage::Vacant);
        self.vacant.push(slot.0);
    }

    /// Every connection that there is belongs to the past.
    pub(super) fn outdate(&mut self) {
        self.generation += 1;
        self.outdated = self.tally.total();
    }

    pub(super) fn is_outdated(&self, slot: SlotId) -> bool {
        self.slots[slot.0 as usize].generation != self.generation
    }

    pub(super) fn outdated(&self) -> u32 {
        self.outdated
    }

    /// Connections that have been removed.
    pub(super) fn departures(&self) -> u64 {
        self.departures
    }

    /// The only place where a stage changes.
    pub(super) fn shift(&mut self, slot: SlotId, to: Stage) {
        if self.by_likeness.is_empty() && matches!(to, Stage::Idle { .. }) {
            self.by_likeness.resize(CHAINS_BY_LIKENESS, Chain::default());
        }
        let entry = &mut self.slots[slot.0 as usize];
        let from = std::mem::replace(&mut entry.stage, to);
        debug_assert!(is_legal(from, to), "slot {slot:?} from {from:?} to {to:?}");
        let of_profile = &mut self.by_profile[entry.profile.0 as usize];
        for tally in [&mut self.tally, &mut of_profile.tally] {
            if let Some(count) = tally.of(from) {
                *count -= 1;
            }
            if let Some(count) = tally.of(to) {
                *count += 1;
            }
        }
        if matches!(from, Stage::Idle { .. }) {
            self.idle.remove(&mut self.idle_links, slot.0);
            of_profile.idle.remove(&mut self.profile_links, slot.0);
            self.by_likeness[chain_of(entry.profile, entry.likeness)].remove(&mut self.likeness_links, slot.0);
        }
        if matches!(to, Stage::Idle { .. }) {
            self.idle.push(&mut self.idle_links, slot.0);
            of_profile.idle.push(&mut self.profile_links, slot.0);
            self.by_likeness[chain_of(entry.profile, entry.likeness)].push(&mut self.likeness_links, slot.0);
        }
        if to == Stage::Leased {
            self.turns += 1;
            entry.turn = NonZeroU64::MIN.saturating_add(self.turns);
        }
    }

    /// What is set on a connection, which is not idle.
    pub(super) fn set_likeness(&mut self, slot: SlotId, likeness: u64) {
        let entry = &mut self.slots[slot.0 as usize];
        debug_assert!(!matches!(entry.stage, Stage::Idle { .. }), "its chain would be lost");
        entry.likeness = likeness;
    }

    /// The present or last lease of a connection.
    pub(super) fn mark(&self, slot: SlotId) -> Mark {
        Mark {
            slot,
            turn: self.slots[slot.0 as usize].turn,
        }
    }

    /// The idle connection that suits a client best: the one it held last, if nobody has held it since and it came to
    /// rest after `since`; one that has its settings; the most recently used. In constant time.
    pub(super) fn nearest_idle(&self, profile: ProfileId, wish: Wish, since: Moment) -> Option<SlotId> {
        if cfg!(feature = "rotation") {
            return self.newest_idle(profile);
        }
        let own = wish.mark.filter(|mark| self.is_resting(*mark, profile, since));
        own.map(|mark| mark.slot)
            .or_else(|| self.alike(profile, wish.likeness))
            .or_else(|| self.newest_idle(profile))
    }

    fn is_resting(&self, mark: Mark, profile: ProfileId, since: Moment) -> bool {
        self.slots.get(mark.slot.0 as usize).is_some_and(|slot| {
            let rests = matches!(slot.stage, Stage::Idle { since: rests } if rests >= since);
            rests && slot.turn == mark.turn && slot.profile == profile
        })
    }

    fn alike(&self, profile: ProfileId, likeness: u64) -> Option<SlotId> {
        let chain = self.by_likeness.get(chain_of(profile, likeness))?;
        let mut candidates = chain.iter_back(&self.likeness_links).take(LOOKS);
        let found = candidates.find(|index| {
            let slot = &self.slots[*index as usize];
            slot.likeness == likeness && slot.profile == profile
        });
        found.map(SlotId)
    }

    /// The most recently used idle one of a profile: the others get old and are closed. With the feature `rotation` the
    /// least recently used one: a client's next transaction runs elsewhere.
    pub(super) fn newest_idle(&self, profile: ProfileId) -> Option<SlotId> {
        let idle = &self.by_profile.get(profile.0 as usize)?.idle;
        let chosen = if cfg!(feature = "rotation") {
            idle.first()
        } else {
            idle.last()
        };
        chosen.map(SlotId)
    }

    /// The least recently used idle one of all, and since when it has been idle.
    pub(super) fn oldest_idle(&self) -> Option<(SlotId, Moment)> {
        let slot = SlotId(self.idle.first()?);
        match self.stage(slot) {
            Stage::Idle { since } => Some((slot, since)),
            _ => None,
        }
    }

    /// Least recently used first.
    pub(super) fn idle(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.idle.iter(&self.idle_links).map(SlotId)
    }

    /// Every slot that is not vacant.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (SlotId, Stage, ProfileId)> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.stage != Stage::Vacant)
            .map(|(index, slot)| (SlotId(index as u32), slot.stage, slot.profile))
    }
}

/// Where connections of this profile with these settings are found.
fn chain_of(profile: ProfileId, likeness: u64) -> usize {
    let mixed = (likeness ^ u64::from(profile.0).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % CHAINS_BY_LIKENESS
}

/// The ways from one stage to another; all others are mistakes of the caller.
fn is_legal(from: Stage, to: Stage) -> bool {
    use Stage::{Closing, Idle, Leased, Maintenance, Opening, Vacant};
    matches!(
        (from, to),
        (Vacant, Opening)
            | (Opening, Idle { .. } | Leased | Closing | Vacant)
            | (Idle { .. }, Leased | Closing)
            | (Leased, Leased | Maintenance | Idle { .. } | Closing)
            | (Maintenance, Leased | Idle { .. } | Closing)
            | (Closing, Vacant)
    )
}
