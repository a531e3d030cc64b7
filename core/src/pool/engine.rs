//! Who gets which server connection, and when one is opened or closed. Pure: time comes in as an argument, commands
//! come out of [`Engine::next_effect`], and nothing here knows sockets, tasks or locks.
//!
//! Invariants, checked by the model test (`tests/pool_engine.rs`):
//! * I1: every connection is in exactly one [`Stage`]; none is opened while as many as the limit exist, those that are
//!   being closed included.
//! * I3: among waiters of one profile the first to come is the first served, by direct hand-over; a newcomer finds an
//!   idle connection only if nobody waits for it. Between profiles see [`PROFILE_PATIENCE`].
//! * I4: no connection is idle while a waiter that it could serve waits.
//!
//! What happens when a connection cannot be opened ([`Failure`]):
//! * **Refused** (wrong password, no such database, untrusted): all waiters of that profile are told at once. Until the
//!   pause (100 ms to 5 s) is over, newcomers of that profile are told the same at once, unless a connection of theirs
//!   is alive that may serve them; then one of them triggers one attempt.
//! * **WrongPassword**: as Refused, unless the profile has been let in before. Then a password is being changed, and its
//!   waiters wait for the connections that are alive, or for [`ROTATION_PATIENCE`] if there are none.
//! * **Transient** (nobody answers, the database starts up): tried again `retries` times with growing pauses (100 ms to
//!   1 s); then every waiter is told whose profile has no connection alive, and the host counts as down. Newcomers wait
//!   for the next attempt, at most a second away, and share its outcome: a short restart is not noticed by them. There
//!   is one attempt at a time. With nobody waiting the host is probed every [`PROBE_INTERVAL`], so that a replica that
//!   is avoided while it is down is found again.
//! * **Full** (the database has no room): while connections of ours are alive the waiters wait for those. The limit is
//!   lowered to what the database accepted and raised again one by one. With none alive it is handled as transient.
//!
//! An administrator may pause and reconnect a pool while it serves: see `control`. Another pool may take its place: see
//! `succession`.

mod chain;
mod control;
mod opening;
mod queue;
mod refused;
mod slots;
mod succession;
mod trouble;

use std::{collections::VecDeque, num::NonZeroU64, time::Duration};

pub use refused::ROTATION_PATIENCE;
pub use slots::{Stage, Tally};
pub use succession::Ceded;

use queue::Queue;
use refused::Refused;
use slots::Slots;
use trouble::{Dice, Trouble};

/// Time since the pool's beginning.
pub type Moment = Duration;

/// A waiter that has been first in the queue for this long gets the place of the next returning connection of *another*
/// profile, which is closed for it. Below it, connections go to the first waiter that they can serve as they are: under
/// a mixed load every exchange of profiles would otherwise cost a login.
pub const PROFILE_PATIENCE: Duration = Duration::from_millis(250);

/// How long a connection that has come to rest is kept in mind for the client that held it. What that saves (settings, its
/// prepared statements) counts for clients that are busy; one that comes back later takes the most recently used
/// connection like everybody, so that a pool which has grown in a rush shrinks again.
pub const KEPT_IN_MIND: Duration = Duration::from_secs(1);

/// How often a host that is down is tried while nobody waits for it.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a refused login makes an otherwise empty pool count as down. Then the next client may try.
pub const REFUSAL_REMEMBERED: Duration = Duration::from_secs(30);

/// The lifetime of each connection differs by at most this much from what is set, in thousandths.
const LIFETIME_JITTER: u64 = 100;

/// A server connection's place. The number is used again after [`Engine::closed`] or [`Engine::open_failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(pub u32);

/// A waiter's place. The number is used again after [`Engine::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaiterId(pub u32);

/// What must be equal for a connection to serve a waiter; small numbers, given out by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProfileId(pub u32);

/// One lease of one connection: what a client remembers of the connection it held last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub(super) slot: SlotId,
    turn: NonZeroU64,
}

/// Which idle connection a client would like best. Never a condition: any idle one of its profile serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The lease that it had last.
    pub mark: Option<Mark>,
    /// A fingerprint of what it wants set, to be compared with those given to [`Engine::set_likeness`].
    pub likeness: u64,
}

/// What steers an engine. See [`crate::settings::PoolSettings`] for the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// At least 1; 0 is taken as 1.
    pub max_connections: u32,
    /// Beyond `max_connections`, for a head that has waited for `overflow_patience`.
    pub overflow_connections: u32,
    /// Kept open.
    pub min_connections: u32,
    /// `None` keeps idle ones.
    pub idle_timeout: Option<Duration>,
    /// `None` = no limit.
    pub connection_lifetime: Option<Duration>,
    /// Of opening, when the failure is transient.
    pub retries: u32,
    /// Connections being opened at a time; at least 1.
    pub simultaneous_opens: u32,
    /// Of the head of the queue.
    pub overflow_patience: Duration,
}

/// What this process may use of the limit while another one of ours, its predecessor or successor, uses the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// Connections that the other one may have. They count against the limit as if they were here.
    pub elsewhere: u32,
    /// The most that may be here, whatever the limit says; `None`: what the limit leaves.
    pub most: Option<u32>,
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Asking again will not help.
    Refused,
    /// The same, because of the password (or whatever the login is proven by), which may be about to change.
    WrongPassword,
    /// The database takes no more connections.
    Full,
    /// Asking again may help.
    Transient,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `idle_timeout`.
    Idle,
    /// `connection_lifetime`.
    Lifetime,
    /// More than the limit, which was lowered.
    Limit,
    /// An overflow connection that nobody needs any more.
    Overflow,
    /// Makes room for a waiter with another profile.
    MakeRoom,
    /// The pool ends.
    Draining,
    /// The pool is paused.
    Paused,
    /// It was there before the pool was told to reconnect.
    Reconnect,
}

impl Why {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Idle => "idle_timeout",
            Why::Lifetime => "connection_lifetime",
            Why::Limit => "limit lowered",
            Why::Overflow => "overflow no longer needed",
            Why::MakeRoom => "room for another profile",
            Why::Draining => "pool closed",
            Why::Paused => "paused",
            Why::Reconnect => "reconnect",
        }
    }
}

/// Why a waiter gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The last [`Failure::Refused`] of its profile.
    Refused,
    /// The last [`Failure::Transient`] or [`Failure::Full`] of the pool.
    Unreachable,
    /// The pool takes no more clients.
    Draining,
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection; answer with [`Engine::opened`] or [`Engine::open_failed`].
    Open {
        /// Its place.
        slot: SlotId,
        /// What for.
        profile: ProfileId,
    },
    /// Close a connection that was at rest; answer with [`Engine::closed`].
    Close(SlotId, Why),
    /// The connection is the waiter's now.
    Grant(WaiterId, SlotId),
    /// The waiter is told no.
    Fail(WaiterId, FailReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    Draining,
}

/// Whether clients get connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open {
        /// When it was opened last.
        since: Moment,
    },
    Shut {
        since: Moment,
    },
}

/// The host did not answer.
#[derive(Clone, Copy, Debug)]
struct Down {
    trouble: Trouble,
    /// Whose attempt failed; probed in the background.
    profile: ProfileId,
}

/// The database has no room for more than this.
#[derive(Clone, Copy, Debug)]
struct Full {
    cap: u32,
    trouble: Trouble,
}

/// The engine. Every method that takes `now` must be given times that never go back.
#[derive(Clone, Debug)]
pub struct Engine {
    tuning: Tuning,
    portion: Portion,
    /// Connections left in pools that this one follows.
    forerunners: u32,
    mode: Mode,
    gate: Gate,
    /// The pauses that are over, together.
    shut_for: Duration,
    slots: Slots,
    queue: Queue,
    down: Option<Down>,
    full: Option<Full>,
    refused: Refused,
    last_refusal: Option<Moment>,
    /// Whose connections fill the pool up to `min_connections`.
    usual: Option<ProfileId>,
    /// No idle connection expires before this.
    earliest_expiry: Option<Moment>,
    effects: VecDeque<Effect>,
    dice: Dice,
}

// === what clients do ===

impl Engine {
    /// An empty pool. `seed` feeds the jitter.
    pub fn new(tuning: Tuning, seed: u64) -> Self {
        Engine {
            portion: Portion::default(),
            forerunners: 0,
            mode: Mode::Serving,
            gate: Gate::Open { since: Moment::ZERO },
            shut_for: Duration::ZERO,
            slots: Slots::living(tuning.connection_lifetime),
            tuning,
            queue: Queue::default(),
            down: None,
            full: None,
            refused: Refused::default(),
            last_refusal: None,
            usual: None,
            earliest_expiry: None,
            effects: VecDeque::new(),
            dice: Dice::new(seed),
        }
    }

    /// Leases an idle connection: the one that suits `wish` best (specification S7.5), else the most recently used one.
    /// Nobody can be waiting for it (I4), so nobody is overtaken.
    pub fn take_idle(&mut self, profile: ProfileId, wish: Wish, now: Moment) -> Option<SlotId> {
        if self.mode == Mode::Draining {
            return None;
        }
        self.usual.get_or_insert(profile);
        let since = now.saturating_sub(KEPT_IN_MIND);
        while let Some(slot) = self.slots.nearest_idle(profile, wish, since) {
            if !self.is_expired(slot, now) {
                self.slots.shift(slot, Stage::Leased);
                return Some(slot);
            }
            self.close(slot, Why::Lifetime);
        }
        None
    }

    /// Queues a client for which [`Engine::take_idle`] had nothing. Its answer comes as an effect, perhaps at once.
    pub fn enqueue(&mut self, profile: ProfileId, now: Moment) -> WaiterId {
        self.queue_up(profile, now, now)
    }

    fn queue_up(&mut self, profile: ProfileId, since: Moment, now: Moment) -> WaiterId {
        self.usual.get_or_insert(profile);
        let waiter = self.queue.push(profile, since, now);
        if self.mode == Mode::Draining {
            self.fail(waiter, FailReason::Draining, now);
        } else if !self.is_paused() && self.is_refused_for_now(profile, now) {
            self.fail(waiter, FailReason::Refused, now);
        }
        self.plan(now);
        waiter
    }

    /// Exactly once for each [`Engine::enqueue`]: the client gave up, or took note of its answer. A connection that was
    /// granted to it and that it does not want has to be put back first.
    pub fn leave(&mut self, waiter: WaiterId, now: Moment) {
        self.queue.leave(waiter, now);
    }

    /// What is set on a connection that is about to come to rest, as a number that is equal for equal settings.
    pub fn set_likeness(&mut self, slot: SlotId, likeness: u64) {
        self.slots.set_likeness(slot, likeness);
    }

    /// The present or last lease of a connection.
    pub fn mark(&self, slot: SlotId) -> Mark {
        self.slots.mark(slot)
    }

    /// A leased connection, or one in maintenance, is as good as new: to the first waiter it can serve, or to rest.
    pub fn put_back(&mut self, slot: SlotId, now: Moment) {
        debug_assert!(matches!(self.slots.stage(slot), Stage::Leased | Stage::Maintenance));
        self.settle(slot, now);
    }

    /// A leased connection is being reset.
    pub fn maintain(&mut self, slot: SlotId) {
        self.slots.shift(slot, Stage::Maintenance);
    }

    /// A connection that is leased, idle or in maintenance is of no use any more; the caller closes it and says so.
    pub fn discard(&mut self, slot: SlotId) {
        self.slots.shift(slot, Stage::Closing);
    }
}

// === what the shell reports ===

impl Engine {
    /// The next thing to do, until there is none. Ask after every call.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A connection is logged in.
    pub fn opened(&mut self, slot: SlotId, now: Moment) {
        let profile = self.slots.profile(slot);
        self.down = None;
        self.last_refusal = None;
        self.refused.let_in(profile);
        if let Some(full) = &mut self.full {
            // The slot itself still counts as opening: one more than the live ones has found room.
            let accepted = self.slots.tally().live() + 1;
            if accepted > full.cap {
                full.cap = accepted;
            }
            if full.cap >= self.tuning.max_connections {
                self.full = None;
            }
        }
        self.slots.born(slot, now);
        self.settle(slot, now);
    }

    /// A connection could not be opened; its slot is vacant now.
    pub fn open_failed(&mut self, slot: SlotId, failure: Failure, now: Moment) {
        let profile = self.slots.profile(slot);
        let is_of_no_interest = self.is_unwanted(slot);
        self.slots.remove(slot);
        let tally = self.slots.tally();
        match failure {
            // What it says of the database is no news for those who wait: it was begun before they were told to.
            _ if is_of_no_interest => {}
            Failure::Refused | Failure::WrongPassword => self.note_refusal(profile, failure, now),
            Failure::Full if tally.live() + tally.closing > 0 => self.note_full(now),
            Failure::Full | Failure::Transient => self.note_down(profile, now),
        }
        self.plan(now);
    }

    /// A connection is closed as far as the database is concerned; its slot is vacant now.
    pub fn closed(&mut self, slot: SlotId, now: Moment) {
        debug_assert_eq!(self.slots.stage(slot), Stage::Closing);
        self.slots.remove(slot);
        self.plan(now);
    }

    /// Other settings apply from now on. A higher limit at once; a lower one by closing idle connections now and busy
    /// ones when they come back.
    pub fn retune(&mut self, tuning: Tuning, now: Moment) {
        self.slots.live_for(tuning.connection_lifetime);
        self.tuning = tuning;
        self.shed(now);
    }

    /// Another part of the limit is this process's from now on. A larger one at once; a smaller one as in
    /// [`Engine::retune`].
    pub fn apportion(&mut self, portion: Portion, now: Moment) {
        self.portion = portion;
        self.shed(now);
    }

    /// What of the limit is this process's.
    pub fn portion(&self) -> Portion {
        self.portion
    }

    /// Closes what is idle and above the limit.
    fn shed(&mut self, now: Moment) {
        if self.full.is_some_and(|full| full.cap >= self.tuning.max_connections) {
            self.full = None;
        }
        while self.slots.tally().standing() > self.max() {
            let Some((slot, _)) = self.slots.oldest_idle() else {
                break;
            };
            self.close(slot, Why::Limit);
        }
        self.tick(now);
    }

    /// No more clients. Those that wait are still served, unless the pool is paused; whatever is not needed for that is
    /// closed.
    pub fn drain(&mut self, now: Moment) {
        self.mode = Mode::Draining;
        if self.is_paused() {
            self.dismiss_waiters(now);
        }
        while let Some((slot, _)) = self.slots.oldest_idle() {
            self.close(slot, Why::Draining);
        }
        self.plan(now);
    }

    /// Time has passed. Due at [`Engine::wake_at`]; harmless at other times.
    pub fn tick(&mut self, now: Moment) {
        self.reap_expired(now);
        self.reap_idle(now);
        self.plan(now);
    }

    /// When [`Engine::tick`] is needed next; always later than `now`, provided that it was called at `now` if it was due.
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let idle = self.tuning.idle_timeout.and_then(|timeout| {
            let (_, since) = self.slots.oldest_idle()?;
            (self.slots.tally().live() > self.min()).then(|| since.saturating_add(timeout))
        });
        let expiry = self.earliest_expiry.filter(|_| self.slots.tally().idle > 0);
        let earliest = match (idle, expiry) {
            (Some(idle), Some(expiry)) => Some(idle.min(expiry)),
            (one, other) => one.or(other),
        };
        match self.next_attempt(now) {
            None => earliest,
            Some(attempt) => Some(earliest.map_or(attempt, |earliest| earliest.min(attempt))),
        }
    }
}

// === what can be asked ===

impl Engine {
    /// Where a connection is.
    pub fn stage(&self, slot: SlotId) -> Stage {
        self.slots.stage(slot)
    }

    /// Connections by stage.
    pub fn tally(&self) -> Tally {
        self.slots.tally()
    }

    /// Clients that wait.
    pub fn waiting(&self) -> u32 {
        self.queue.len()
    }

    /// Whether clients can expect to be served: the host answered when it was last asked, or there is no room to ask it
    /// again because as many connections as may be are open.
    pub fn is_up(&self, now: Moment) -> bool {
        let refused = self
            .last_refusal
            .is_some_and(|last| now < last.saturating_add(REFUSAL_REMEMBERED));
        let tally = self.slots.tally();
        let down = self.is_down() && tally.live() < self.max();
        !down && (!refused || tally.live() > 0)
    }

    /// Whether the last attempt to open a connection for this profile failed, and how.
    pub fn trouble_of(&self, profile: ProfileId) -> Option<FailReason> {
        if self.refusal_of(profile).is_some() {
            Some(FailReason::Refused)
        } else if self.down.is_some() {
            Some(FailReason::Unreachable)
        } else {
            None
        }
    }

    /// How long the one that has waited longest has waited.
    pub fn longest_wait(&self, now: Moment) -> Duration {
        self.queue
            .head()
            .map_or(Duration::ZERO, |(_, _, since)| now.saturating_sub(since))
    }

    /// When a connection was logged in, or when that was begun.
    pub fn opened_at(&self, slot: SlotId) -> Moment {
        self.slots.opened(slot)
    }

    /// What a connection is for.
    pub fn profile_of(&self, slot: SlotId) -> ProfileId {
        self.slots.profile(slot)
    }

    /// What the connection was for that stood last where this lease found its own, which may be another one by now.
    pub fn profile_at(&self, mark: Mark) -> Option<ProfileId> {
        self.slots.profile_at(mark.slot)
    }

    /// Live connections of one profile: at rest, with clients, or being reset.
    pub fn live_of(&self, profile: ProfileId) -> u32 {
        self.slots.tally_of(profile).live()
    }

    /// Whether the pool ends.
    pub fn is_draining(&self) -> bool {
        self.mode == Mode::Draining
    }

    /// Whether this number must keep its meaning.
    pub fn is_in_use(&self, profile: ProfileId) -> bool {
        self.slots.tally_of(profile).total() > 0
            || self.queue.len_of(profile) > 0
            || self.usual == Some(profile)
            || self.down.is_some_and(|down| down.profile == profile)
    }

    /// The number, which is not in use, is about to get another meaning.
    pub fn forget(&mut self, profile: ProfileId) {
        self.refused.forget(profile);
    }

    /// Whose connections are opened to fill the pool up to `min_connections`. Without this call: the first client's.
    pub fn warm(&mut self, profile: ProfileId, now: Moment) {
        self.usual = Some(profile);
        self.plan(now);
    }

    /// The idle ones, least recently used first.
    pub fn idle(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.slots.idle()
    }

    /// Every connection, for views and tests.
    pub fn connections(&self) -> impl Iterator<Item = (SlotId, Stage, ProfileId)> + '_ {
        self.slots.occupied()
    }

    /// Every waiter in order of arrival, for views and tests.
    pub fn waiters(&self) -> impl Iterator<Item = (WaiterId, ProfileId)> + '_ {
        self.queue.iter()
    }

    /// How many connections may exist at `now`, overflow included if the head of the queue has waited for it.
    pub fn limit(&self, now: Moment) -> u32 {
        match self.queue.head() {
            Some((_, _, since)) if now.saturating_sub(self.waits_since(since)) >= self.tuning.overflow_patience => {
                self.accepted(self.hard_max(), now)
            }
            _ => self.accepted(self.max(), now),
        }
    }

    /// As much of `limit` as the database accepted, and one more when it is time to try.
    fn accepted(&self, limit: u32, now: Moment) -> u32 {
        match self.full {
            Some(full) if now < full.trouble.next() => limit.min(full.cap),
            Some(full) => limit.min(full.cap.saturating_add(1)),
            None => limit,
        }
    }
}

// === where a connection goes ===

impl Engine {
    /// A connection came to rest: to a waiter, among the idle, or away.
    fn settle(&mut self, slot: SlotId, now: Moment) {
        let profile = self.slots.profile(slot);
        let waiter = self.queue.first_of(profile);
        if let Some(why) = self.unfit(slot, profile, waiter, now) {
            self.close(slot, why);
        } else if let Some(waiter) = waiter {
            self.slots.shift(slot, Stage::Leased);
            self.queue.answer(waiter, now);
            self.effects.push_back(Effect::Grant(waiter, slot));
        } else {
            self.slots.shift(slot, Stage::Idle { since: now });
            if let Some(expires) = self.slots.expires(slot) {
                self.earliest_expiry = Some(self.earliest_expiry.map_or(expires, |earliest| earliest.min(expires)));
            }
        }
        self.plan(now);
    }

    /// Why a connection that came to rest is closed instead of used.
    fn unfit(&self, slot: SlotId, profile: ProfileId, waiter: Option<WaiterId>, now: Moment) -> Option<Why> {
        let standing = self.slots.tally().standing();
        // A lifetime shorter than a login must not keep everybody waiting: a new connection serves at least once.
        if self.is_paused() {
            Some(Why::Paused)
        } else if self.slots.is_outdated(slot) {
            Some(Why::Reconnect)
        } else if self.slots.stage(slot) != Stage::Opening && self.is_expired(slot, now) {
            Some(Why::Lifetime)
        } else if standing > self.hard_max() {
            Some(Why::Limit)
        } else if standing > self.max() && !(waiter.is_some() && self.needs_overflow(now)) {
            Some(Why::Overflow)
        } else if self.mode == Mode::Draining && waiter.is_none() {
            Some(Why::Draining)
        } else if self.must_make_room(profile, now) {
            Some(Why::MakeRoom)
        } else {
            None
        }
    }

    /// Overflow connections in use stay while the head has waited half as long as it takes to open one: between the two
    /// nothing is opened or closed, so that a queue of just that length does not cost a login for each turn.
    fn needs_overflow(&self, now: Moment) -> bool {
        self.queue.head().is_some_and(|(_, _, since)| {
            now.saturating_sub(self.waits_since(since)) >= self.tuning.overflow_patience / 2
        })
    }

    /// Whether a connection of `profile` must go because the head of the queue needs another and there is no room.
    fn must_make_room(&self, profile: ProfileId, now: Moment) -> bool {
        let Some((_, wanted, _)) = self.queue.head() else {
            return false;
        };
        let tally = self.slots.tally();
        wanted != profile
            && now.saturating_sub(self.waits_since(self.queue.head_since())) >= PROFILE_PATIENCE
            && tally.total() >= self.limit(now)
            && tally.closing == 0
            && self.slots.tally_of(wanted).opening == 0
            && self.may_open(wanted, now)
    }

    fn close(&mut self, slot: SlotId, why: Why) {
        self.slots.shift(slot, Stage::Closing);
        self.effects.push_back(Effect::Close(slot, why));
    }

    fn fail(&mut self, waiter: WaiterId, reason: FailReason, now: Moment) {
        self.queue.answer(waiter, now);
        self.effects.push_back(Effect::Fail(waiter, reason));
    }

    fn reap_expired(&mut self, now: Moment) {
        if self.tuning.connection_lifetime.is_none() {
            self.earliest_expiry = None;
            return;
        }
        let expired: Vec<SlotId> = self.slots.idle().filter(|slot| self.is_expired(*slot, now)).collect();
        for slot in expired {
            self.close(slot, Why::Lifetime);
        }
        self.earliest_expiry = self.slots.idle().filter_map(|slot| self.slots.expires(slot)).min();
    }

    fn reap_idle(&mut self, now: Moment) {
        let Some(timeout) = self.tuning.idle_timeout else {
            return;
        };
        while let Some((slot, since)) = self.slots.oldest_idle() {
            if now.saturating_sub(since) < timeout || self.slots.tally().live() <= self.min() {
                break;
            }
            self.close(slot, Why::Idle);
        }
    }

    fn is_expired(&self, slot: SlotId, now: Moment) -> bool {
        self.slots.expires(slot).is_some_and(|expires| now >= expires)
    }
}

// === small sums ===

impl Engine {
    fn max(&self) -> u32 {
        self.portion_of(self.tuning.max_connections.max(1))
    }

    fn hard_max(&self) -> u32 {
        let all = self.tuning.max_connections.max(1);
        self.portion_of(all.saturating_add(self.tuning.overflow_connections))
    }

    fn portion_of(&self, limit: u32) -> u32 {
        let left = limit.saturating_sub(self.portion.elsewhere);
        let left = left.saturating_sub(self.forerunners);
        left.min(self.portion.most.unwrap_or(u32::MAX))
    }

    fn min(&self) -> u32 {
        self.tuning.min_connections.min(self.max())
    }
}
