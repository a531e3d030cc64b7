//! The engine together with an independent account of what it should have done.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use weir_core::pool::engine::{
    Effect, Engine, FailReason, Failure, KEPT_IN_MIND, Mark, Portion, ProfileId, SlotId, Stage, Tuning, WaiterId, Wish,
};

pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Something that happens to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Arrive(ProfileId),
    /// Somebody who has waited elsewhere for so long.
    ArriveLate(ProfileId, Duration),
    /// The same with a wish: the connection of this memory, and a likeness.
    ArriveWith(ProfileId, Option<usize>, u64),
    /// What is set on the connection of the next to finish.
    Set(usize, u64),
    /// The waiter at this place of the queue gives up.
    GiveUp(usize),
    /// The client whose answer came longest ago takes note of it; the bool: it does not want the connection any more.
    Collect(bool),
    Finish(usize),
    Maintain(usize),
    MaintenanceDone(usize),
    Discard(usize),
    Opened(usize),
    OpenFailed(usize, Failure),
    Closed(usize),
    Retune {
        max: u32,
        overflow: u32,
        min: u32,
    },
    Apportion(Portion),
    /// So many connections are left in pools that this one follows.
    Forerunners(u32),
    Advance(Duration),
    Pause,
    Resume,
    Reconnect,
    Drain,
    /// Another pool serves in its place.
    Cede,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: WaiterId,
    profile: ProfileId,
    since: Duration,
}

/// What a client remembers of a connection that it has given back.
#[derive(Clone, Debug)]
struct Memory {
    mark: Mark,
    slot: SlotId,
    use_number: u64,
}

/// What is known of a slot, whatever connection is in it.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// Changes whenever somebody gets the connection, and when it is another one.
    use_number: u64,
    rested: Duration,
    likeness: u64,
}

/// Of this many leases something is remembered.
const MEMORIES: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Duration,
    pub(crate) tuning: Tuning,
    portion: Portion,
    forerunners: u32,
    queue: Vec<Waiter>,
    answered: VecDeque<(WaiterId, Option<SlotId>)>,
    pub(crate) opening: Vec<(SlotId, ProfileId)>,
    idle: Vec<(SlotId, ProfileId)>,
    /// With clients that can give them back.
    pub(crate) leased: Vec<(SlotId, ProfileId)>,
    /// Granted, not yet taken note of.
    granted: Vec<(SlotId, ProfileId)>,
    pub(crate) maintenance: Vec<(SlotId, ProfileId)>,
    pub(crate) closing: Vec<(SlotId, ProfileId)>,
    memories: VecDeque<Memory>,
    past: HashMap<SlotId, Past>,
    pub(crate) wishes_granted: u32,
    draining: bool,
    /// Since when.
    paused: Option<Duration>,
    /// When the last pause ended, and how long all of them were.
    resumed: Duration,
    paused_time: Duration,
    /// Connections from before the last reconnect.
    outdated: HashSet<SlotId>,
    /// An attempt has failed: the engine may hold back.
    pub(crate) troubled: bool,
    pub(crate) opens: u32,
    pub(crate) closes: u32,
    pub(crate) failed: Vec<(WaiterId, FailReason)>,
}

impl World {
    pub(crate) fn new(tuning: Tuning, seed: u64) -> Self {
        World {
            engine: Engine::new(tuning.clone(), seed),
            now: Duration::ZERO,
            tuning,
            portion: Portion::default(),
            forerunners: 0,
            queue: Vec::new(),
            answered: VecDeque::new(),
            opening: Vec::new(),
            idle: Vec::new(),
            leased: Vec::new(),
            granted: Vec::new(),
            maintenance: Vec::new(),
            closing: Vec::new(),
            memories: VecDeque::new(),
            past: HashMap::new(),
            wishes_granted: 0,
            draining: false,
            paused: None,
            resumed: Duration::ZERO,
            paused_time: Duration::ZERO,
            outdated: HashSet::new(),
            troubled: false,
            opens: 0,
            closes: 0,
            failed: Vec::new(),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.len()
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(crate) fn total(&self) -> usize {
        self.standing() + self.closing.len()
    }

    fn standing(&self) -> usize {
        let live = self.idle.len() + self.leased.len() + self.granted.len() + self.maintenance.len();
        live + self.opening.len()
    }

    /// Does it, carries out what the engine answers, and checks the invariants.
    pub(crate) fn step(&mut self, op: Op) {
        match op {
            Op::Arrive(profile) => self.arrive(profile, None, 0, self.now),
            Op::ArriveLate(profile, before) => self.arrive(profile, None, 0, self.now.saturating_sub(before)),
            Op::ArriveWith(profile, memory, likeness) => self.arrive(profile, memory, likeness, self.now),
            Op::Set(place, likeness) => {
                let (slot, _) = self.leased[place];
                self.past.entry(slot).or_default().likeness = likeness;
                self.engine.set_likeness(slot, likeness);
            }
            Op::GiveUp(place) => {
                let waiter = self.queue.remove(place);
                self.engine.leave(waiter.id, self.now);
            }
            Op::Collect(unwanted) => self.collect(unwanted),
            Op::Finish(place) => {
                let (slot, profile) = self.leased.swap_remove(place);
                self.remember(slot);
                self.put_back(slot, profile);
            }
            Op::Maintain(place) => {
                let held = self.leased.swap_remove(place);
                self.maintenance.push(held);
                self.engine.maintain(held.0);
            }
            Op::MaintenanceDone(place) => {
                let (slot, profile) = self.maintenance.swap_remove(place);
                self.put_back(slot, profile);
            }
            Op::Discard(place) => {
                let held = self.leased.swap_remove(place);
                self.closing.push(held);
                self.engine.discard(held.0);
            }
            Op::Opened(place) => {
                let (slot, profile) = self.opening.swap_remove(place);
                self.idle.push((slot, profile));
                let past = self.past.entry(slot).or_default();
                (past.use_number, past.rested, past.likeness) = (past.use_number + 1, self.now, 0);
                self.engine.opened(slot, self.now);
            }
            Op::OpenFailed(place, failure) => {
                let (slot, _) = self.opening.swap_remove(place);
                self.outdated.remove(&slot);
                self.troubled = true;
                self.engine.open_failed(slot, failure, self.now);
            }
            Op::Closed(place) => {
                let (slot, _) = self.closing.swap_remove(place);
                self.outdated.remove(&slot);
                self.engine.closed(slot, self.now);
            }
            Op::Retune { max, overflow, min } => {
                self.tuning.max_connections = max;
                self.tuning.overflow_connections = overflow;
                self.tuning.min_connections = min;
                self.engine.retune(self.tuning.clone(), self.now);
            }
            Op::Apportion(portion) => {
                self.portion = portion;
                self.engine.apportion(portion, self.now);
            }
            Op::Forerunners(connections) => {
                self.forerunners = connections;
                self.engine.set_forerunners(connections, self.now);
            }
            Op::Advance(by) => self.advance(by),
            Op::Pause => {
                self.paused = self.paused.or(Some(self.now));
                self.engine.pause(self.now);
            }
            Op::Resume => {
                if let Some(since) = self.paused.take() {
                    self.paused_time += self.now - since;
                    self.resumed = self.now;
                }
                self.engine.resume(self.now);
            }
            Op::Reconnect => {
                let all = [
                    &self.opening,
                    &self.idle,
                    &self.leased,
                    &self.granted,
                    &self.maintenance,
                    &self.closing,
                ];
                self.outdated = all.into_iter().flatten().map(|held| held.0).collect();
                self.engine.reconnect(self.now);
            }
            Op::Drain => {
                self.draining = true;
                self.engine.drain(self.now);
            }
            Op::Cede => {
                self.draining = true;
                let ceded = self.engine.cede(self.now);
                let ceded: Vec<_> = ceded.iter().map(|one| (one.waiter, one.profile, one.since)).collect();
                let waiting = self.queue.drain(..).map(|one| (one.id, one.profile, one.since));
                assert_eq!(ceded, waiting.collect::<Vec<_>>(), "I3");
                self.answered.extend(ceded.iter().map(|(waiter, ..)| (*waiter, None)));
            }
        }
        self.obey();
        self.check();
    }

    fn arrive(&mut self, profile: ProfileId, memory: Option<usize>, likeness: u64, since: Duration) {
        let memory = memory.and_then(|memory| self.memories.get(memory).cloned());
        let mark = memory.as_ref().map(|memory| memory.mark);
        match self.engine.take_idle(profile, Wish { mark, likeness }, self.now) {
            Some(slot) => {
                assert!(!self.waits_for(profile), "I3: a newcomer overtook");
                self.assert_may_serve(slot);
                // What had expired is closed and could not be chosen.
                self.obey();
                if !cfg!(feature = "rotation") {
                    let best = self.best(profile, memory.as_ref(), likeness);
                    assert_eq!(Some(slot), best, "S7.5: another suits better");
                }
                self.past.entry(slot).or_default().use_number += 1;
                let place = self.idle.iter().rposition(|held| *held == (slot, profile));
                let held = self.idle.remove(place.expect("take_idle gave what was not idle"));
                self.leased.push(held);
            }
            None => {
                self.obey();
                let id = self.engine.enqueue_since(profile, since, self.now);
                let place = self.queue.partition_point(|other| other.since <= since);
                self.queue.insert(place, Waiter { id, profile, since });
            }
        }
    }

    /// Which idle connection a client with this memory and this likeness should get.
    fn best(&mut self, profile: ProfileId, memory: Option<&Memory>, likeness: u64) -> Option<SlotId> {
        let past = |slot: SlotId| self.past.get(&slot).copied().unwrap_or_default();
        let mut fitting: Vec<SlotId> = self
            .idle
            .iter()
            .filter(|held| held.1 == profile)
            .map(|held| held.0)
            .collect();
        fitting.reverse();
        let own = memory.filter(|memory| {
            let past = past(memory.slot);
            past.use_number == memory.use_number && self.now <= past.rested + KEPT_IN_MIND
        });
        let own = own.map(|memory| memory.slot).filter(|slot| fitting.contains(slot));
        let alike = fitting.iter().copied().find(|slot| past(*slot).likeness == likeness);
        self.wishes_granted += u32::from(own.is_some() || alike.is_some_and(|alike| fitting[0] != alike));
        own.or(alike).or(fitting.first().copied())
    }

    fn remember(&mut self, slot: SlotId) {
        self.memories.push_front(Memory {
            mark: self.engine.mark(slot),
            slot,
            use_number: self.past.get(&slot).copied().unwrap_or_default().use_number,
        });
        self.memories.truncate(MEMORIES);
    }

    fn collect(&mut self, unwanted: bool) {
        let Some((waiter, slot)) = self.answered.pop_front() else {
            return;
        };
        if let Some(slot) = slot {
            let place = self.granted.iter().position(|held| held.0 == slot);
            let (slot, profile) = self.granted.swap_remove(place.expect("granted"));
            if unwanted {
                self.put_back(slot, profile);
                self.obey();
            } else {
                self.leased.push((slot, profile));
            }
        }
        self.engine.leave(waiter, self.now);
    }

    fn put_back(&mut self, slot: SlotId, profile: ProfileId) {
        self.idle.push((slot, profile));
        self.past.entry(slot).or_default().rested = self.now;
        self.engine.put_back(slot, self.now);
    }

    /// Time passes, with every wake-up that the engine asked for.
    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        let mut wakes = 0;
        while let Some(at) = self.engine.wake_at(self.now).filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.tick(self.now);
            self.obey();
            self.check();
            wakes += 1;
            assert!(wakes < 10_000, "the keeper does not come to rest");
        }
        self.now = until;
    }

    fn obey(&mut self) {
        while let Some(effect) = self.engine.next_effect() {
            match effect {
                Effect::Open { slot, profile } => {
                    assert!(!self.is_paused(), "opened in a pause");
                    self.outdated.remove(&slot);
                    assert!(self.total() < self.most(), "I1: opened beyond the limit");
                    assert!(
                        self.opening.len() < self.tuning.simultaneous_opens as usize,
                        "too many at a time"
                    );
                    self.opens += 1;
                    self.opening.push((slot, profile));
                }
                Effect::Close(slot, _) => {
                    let place = self.idle.iter().position(|held| held.0 == slot);
                    let held = self
                        .idle
                        .remove(place.expect("the engine may only close what is at rest"));
                    self.closes += 1;
                    self.closing.push(held);
                }
                Effect::Grant(waiter, slot) => self.grant(waiter, slot),
                Effect::Fail(waiter, reason) => {
                    assert!(!self.is_paused() || self.draining, "told no in a pause");
                    let place = self.queue.iter().position(|waiting| waiting.id == waiter);
                    let waiter = self.queue.remove(place.expect("only who waits can fail"));
                    self.failed.push((waiter.id, reason));
                    self.answered.push_back((waiter.id, None));
                }
            }
        }
    }

    fn grant(&mut self, waiter: WaiterId, slot: SlotId) {
        let place = self.idle.iter().position(|held| held.0 == slot);
        let held = self.idle.remove(place.expect("only what is at rest can be granted"));
        let first = self.queue.iter().position(|waiting| waiting.profile == held.1);
        let first = self
            .queue
            .remove(first.expect("granted for a profile that nobody waits for"));
        assert_eq!(first.id, waiter, "I3: not the first that it can serve");
        self.assert_may_serve(slot);
        self.past.entry(slot).or_default().use_number += 1;
        self.granted.push(held);
        self.answered.push_back((waiter, Some(slot)));
    }

    fn assert_may_serve(&self, slot: SlotId) {
        assert!(!self.is_paused(), "a connection was given out in a pause");
        assert!(
            !self.outdated.contains(&slot),
            "a connection from before a reconnect was given out"
        );
    }

    /// The time in which the head could have been served counts: a pause begins it anew.
    fn most(&self) -> usize {
        let patient = self
            .queue
            .first()
            .is_some_and(|head| self.now - head.since.max(self.resumed) >= self.tuning.overflow_patience);
        let overflow = if patient { self.tuning.overflow_connections } else { 0 };
        self.portion_of(self.tuning.max_connections + overflow)
    }

    fn portion_of(&self, limit: u32) -> usize {
        let left = limit.saturating_sub(self.portion.elsewhere + self.forerunners);
        left.min(self.portion.most.unwrap_or(left)) as usize
    }

    fn waits_for(&self, profile: ProfileId) -> bool {
        self.queue.iter().any(|waiting| waiting.profile == profile)
    }

    fn check(&self) {
        let tally = self.engine.tally();
        let held = self.leased.len() + self.granted.len();
        assert_eq!(tally.opening as usize, self.opening.len(), "I1");
        assert_eq!(tally.idle as usize, self.idle.len(), "I1");
        assert_eq!(tally.leased as usize, held, "I1");
        assert_eq!(tally.maintenance as usize, self.maintenance.len(), "I1");
        assert_eq!(tally.closing as usize, self.closing.len(), "I1");
        assert_eq!(self.engine.waiting() as usize, self.queue.len());
        for (_, profile) in &self.idle {
            assert!(
                !self.waits_for(*profile),
                "I4: idle beside a waiter that it could serve"
            );
        }
        assert_eq!(self.engine.is_paused(), self.is_paused());
        assert_eq!(self.engine.outdated() as usize, self.outdated.len());
        let running = self.paused.unwrap_or(self.now) - self.paused_time;
        assert_eq!(self.engine.patience_clock(self.now), running);
        assert!(
            !(self.draining && self.is_paused()) || self.queue.is_empty(),
            "who waits in a pool that ends paused is never told"
        );
        if !self.idle.is_empty() {
            assert!(!self.is_paused(), "idle in a paused pool");
            let is_outdated = |held: &(SlotId, ProfileId)| self.outdated.contains(&held.0);
            assert!(!self.idle.iter().any(is_outdated), "idle from before a reconnect");
            assert!(!self.draining, "idle in a pool that ends");
            assert!(
                self.standing() <= self.portion_of(self.tuning.max_connections),
                "idle beyond the limit"
            );
        }
        if !self.troubled && !self.is_paused() {
            self.check_nobody_is_forgotten();
        }
    }

    /// Work is begun as soon as there is room for it.
    fn check_nobody_is_forgotten(&self) {
        let limit = self.engine.limit(self.now) as usize;
        if self.opening.len() >= self.tuning.simultaneous_opens as usize {
            return;
        }
        let mut uncovered = self.queue.len();
        for profile in (0..3).map(ProfileId) {
            let waiters = self.queue.iter().filter(|waiting| waiting.profile == profile).count();
            let opening = self.opening.iter().filter(|held| held.1 == profile).count();
            uncovered -= opening.min(waiters);
        }
        // Room that is about to be left counts, as far as attempts may be under way at a time.
        let wanted = uncovered.min(self.tuning.simultaneous_opens as usize - self.opening.len());
        let covered = wanted <= self.closing.len() || self.total() >= limit;
        assert!(covered, "room, a waiter, and nothing is begun");
    }

    /// From here on everything goes well: is everybody served?
    pub(crate) fn wind_up(&mut self) {
        self.step(Op::Resume);
        // The other process ends.
        self.step(Op::Apportion(Portion::default()));
        self.step(Op::Forerunners(0));
        for _ in 0..10_000 {
            if self.queue.is_empty() && self.answered.is_empty() {
                break;
            }
            if !self.answered.is_empty() {
                self.step(Op::Collect(false));
            } else if !self.opening.is_empty() {
                self.step(Op::Opened(0));
            } else if !self.closing.is_empty() {
                self.step(Op::Closed(0));
            } else if !self.maintenance.is_empty() {
                self.step(Op::MaintenanceDone(0));
            } else if !self.leased.is_empty() {
                self.step(Op::Finish(0));
            } else {
                self.step(Op::Advance(Duration::from_secs(1)));
            }
        }
        assert!(self.queue.is_empty(), "a waiter sleeps for ever");
    }

    /// What tells two worlds apart, for the exhaustive search.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let mut print = Vec::with_capacity(64);
        let mut stages: Vec<[u8; 4]> = self.engine.connections().map(|held| stage_print(held, self)).collect();
        stages.sort_unstable();
        stages.iter().for_each(|stage| print.extend(stage));
        print.push(0xff);
        for waiting in &self.queue {
            let waited = (self.now - waiting.since.max(self.resumed)).as_millis() / 125;
            print.extend([waiting.profile.0 as u8, waited.min(9) as u8]);
        }
        print.push(0xff);
        print.extend(self.answered.iter().map(|(_, slot)| u8::from(slot.is_some())));
        print.extend([u8::from(self.draining), u8::from(self.is_paused())]);
        print.push(self.tuning.max_connections as u8);
        print.extend([
            self.portion.elsewhere as u8,
            self.portion.most.map_or(255, |most| most as u8),
        ]);
        let due = self.engine.wake_at(self.now).map(|at| (at - self.now).as_millis() / 50);
        print.push(due.map_or(255, |due| due.min(200) as u8));
        print.push(u8::from(self.engine.is_up(self.now)));
        print
    }
}

fn stage_print((slot, stage, profile): (SlotId, Stage, ProfileId), world: &World) -> [u8; 4] {
    let kind = match stage {
        Stage::Vacant => 0,
        Stage::Opening => 1,
        Stage::Idle { .. } => 2,
        Stage::Leased => 3 + u8::from(world.granted.iter().any(|held| held.0 == slot)),
        Stage::Maintenance => 5,
        Stage::Closing => 6,
    };
    let rank = world
        .idle
        .iter()
        .position(|held| held.0 == slot)
        .map_or(0, |place| place + 1);
    let outdated = u8::from(world.outdated.contains(&slot));
    [kind, profile.0 as u8, rank as u8, outdated]
}
