//! Pools of server connections: one per source and endpoint.
//!
//! The decisions are [`engine`]'s, which is pure; this module gives it a lock, a clock, sockets and tasks. The lock is
//! held for moments and never across an `await`: opening, resetting and closing run as tasks, waiting is the future
//! [`Acquire`]. Knows no protocol: what an idle connection says and how one is reset is the backend's
//! [`crate::backend::Backend::Session`] to judge.
//!
//! Invariants: I1 to I4 of ARCHITECTURE.md, see [`engine`] and [`lease`]. I6 is the relay's: it finishes a lease only
//! when no cancel request aimed at it is on its way.

mod acquire;
mod activity;
mod connection;
mod control;
pub mod engine;
mod journal;
mod keeper;
pub mod lease;
mod limits;
mod profiles;
mod queued;
mod state;
mod stats;
mod succession;
mod tasks;

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify};

pub use acquire::Acquire;
pub use activity::{Activity, Doings, Pin, PinCount};
pub use connection::Connection;
pub use control::Rest;
pub use lease::Lease;
pub(crate) use queued::{Queued, Unserved, Waited};
pub use stats::{ConnectionView, Counters, PoolStats};
pub use succession::Succession;

use engine::{Engine, Moment, Portion, Stage, Tuning, Wish};
use state::{After, Errands, Keeper, State};
use succession::Heir;

use crate::{
    backend::Backend,
    clock::{self, Instant},
    observe::LatencyView,
    refusal::OpenError,
    settings::PoolSettings,
};

/// The server connections of one source to one endpoint.
///
/// Ends when it is dropped: idle connections are closed, a keeper task that is left ends. See [`Pool::close`] for an
/// orderly end.
pub struct Pool<B: Backend> {
    name: Arc<str>,
    role: &'static str,
    backend: Arc<B>,
    settings: ArcSwap<PoolSettings>,
    began: Instant,
    me: Weak<Pool<B>>,
    /// Where tasks run; known from the first use on.
    runtime: OnceLock<Handle>,
    connection_ids: AtomicU64,
    drained: Notify,
    /// A connection is no more, or the pool has been paused, resumed or told to end.
    changed: Notify,
    /// Whether clients that an administrator has ended may take their time.
    haste: AtomicBool,
    activity: Arc<Activity>,
    /// Differs from that of every other pool of the process.
    number: u32,
    /// Where its clients go, once another one serves in its place.
    heir: OnceLock<Heir<B>>,
    state: Mutex<State<B>>,
}

impl<B: Backend> Pool<B> {
    /// An empty pool for the source `name`; `role` (`primary`, `replica`) is for logs. Nothing is opened before the
    /// first client comes, or [`Pool::warm`] is called.
    pub fn new(name: Arc<str>, role: &'static str, backend: Arc<B>, settings: PoolSettings) -> Arc<Self> {
        Pool::beginning(clock::now(), name, role, backend, settings)
    }

    /// The same, with a clock that began at `began`: those of pools that follow one another must be comparable.
    fn beginning(
        began: Instant,
        name: Arc<str>,
        role: &'static str,
        backend: Arc<B>,
        settings: PoolSettings,
    ) -> Arc<Self> {
        let seed = RandomState::new().hash_one(&name);
        let engine = Engine::new(tuning(&settings), seed);
        Arc::new_cyclic(|me| Pool {
            state: Mutex::new(State::new(name.clone(), engine)),
            name,
            role,
            backend,
            settings: ArcSwap::from_pointee(settings),
            began,
            me: me.clone(),
            runtime: OnceLock::new(),
            connection_ids: AtomicU64::new(0),
            drained: Notify::new(),
            changed: Notify::new(),
            haste: AtomicBool::new(false),
            activity: Activity::of(role),
            number: next_pool_number(),
            heir: OnceLock::new(),
        })
    }

    /// The endpoint.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// What applies at the moment.
    pub fn settings(&self) -> Arc<PoolSettings> {
        self.settings.load_full()
    }

    /// How long clients wait, if nothing else is said; `None` is for ever.
    pub(crate) fn pool_timeout(&self) -> Option<Duration> {
        self.settings.load().pool_timeout
    }

    /// The source's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Which endpoint of the source this is.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// An idle connection, if there is one. That is only so while nobody waits for it, so nobody is overtaken.
    pub fn try_acquire(self: &Arc<Self>, profile: &B::Profile) -> Option<Lease<B>> {
        self.try_acquire_near(profile, Wish::default(), Waker::noop(), clock::now())
    }

    /// The same at `now`; of several idle connections the one that suits `wish` best. `waker` is told when something
    /// arrives on it: nothing has, so far.
    pub fn try_acquire_near(
        self: &Arc<Self>,
        profile: &B::Profile,
        wish: Wish,
        waker: &Waker,
        now: Instant,
    ) -> Option<Lease<B>> {
        let (slot, connection) = self.apply_at(now, |state, now, after| {
            let profile = state.find(profile, wish.mark)?;
            let found = state.check_out(profile, wish, waker, now, after)?;
            state.counters.leases += 1;
            state.counters.prompt += 1;
            Some(found)
        })?;
        Some(Lease::new(self.clone(), slot, connection))
    }

    /// A connection: an idle one, or the next that returns or is opened when everybody who came before is served.
    ///
    /// Resolves to [`crate::refusal::Refusal::PoolTimeout`] after `pool_timeout` (`None` = never), to
    /// [`crate::refusal::Refusal::Open`] with the database's own error when none can be opened (at once, not after the
    /// time-out), to [`crate::refusal::Refusal::ShuttingDown`] when the pool was closed. Must be polled within a tokio
    /// runtime with time enabled.
    pub fn acquire(self: &Arc<Self>, profile: B::Profile, pool_timeout: Option<Duration>) -> Acquire<B> {
        Acquire::new(self.clone(), profile, pool_timeout, None)
    }

    /// The same for a client that has waited since `since` already: it stands before everybody who came later. Its
    /// `pool_timeout` runs from now.
    pub fn acquire_since(
        self: &Arc<Self>,
        profile: B::Profile,
        pool_timeout: Option<Duration>,
        since: Instant,
    ) -> Acquire<B> {
        Acquire::new(self.clone(), profile, pool_timeout, Some(since))
    }

    /// Names the profile whose connections are kept open up to `min_connections`, and starts to open them. Without this
    /// call it is the first client's. Must be called within a tokio runtime.
    pub fn warm(&self, profile: &B::Profile) {
        self.remember_runtime();
        self.apply(|state, now, _| {
            let profile = state.intern(profile);
            state.engine.warm(profile, now);
        });
    }

    /// Applies other settings. A higher limit applies at once; a lower one closes idle connections now and busy ones when
    /// they come back.
    pub fn retune(&self, settings: PoolSettings) {
        let tuning = tuning(&settings);
        self.apply(|state, now, _| {
            self.settings.store(Arc::new(settings));
            state.engine.retune(tuning, now);
        });
    }

    /// Another part of the limit is this process's from now on, because a predecessor or successor uses the rest.
    pub fn apportion(&self, portion: Portion) {
        self.apply(|state, now, _| state.engine.apportion(portion, now));
    }

    /// What of the limit is this process's.
    pub fn portion(&self) -> Portion {
        self.state.lock().engine.portion()
    }

    /// The pool at this moment.
    pub fn stats(&self) -> PoolStats {
        let state = self.state.lock();
        let tally = state.engine.tally();
        PoolStats {
            idle: tally.idle,
            leased: tally.leased,
            opening: tally.opening,
            maintenance: tally.maintenance,
            closing: tally.closing,
            waiting: state.engine.waiting(),
            longest_wait: state.engine.longest_wait(self.now()),
            limit: self.settings.load().max_connections,
            outdated: state.engine.outdated(),
            counters: state.counters,
        }
    }

    /// Differs from that of every other pool of the process: see [`pool_of`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What its clients do.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// How long things take in it: histograms since it began, and where the time of its clients went.
    pub fn latency(&self) -> LatencyView {
        let prompt = self.state.lock().counters.prompt;
        self.activity.latency().view(prompt)
    }

    /// Its server connections, in no order.
    pub fn connections(&self) -> Vec<ConnectionView> {
        let state = self.state.lock();
        let now = self.now();
        let views = state.engine.connections().map(|(slot, stage, _)| {
            let known = state.known(slot);
            let id = known.map(|known| known.id);
            ConnectionView {
                number: id.map(|id| number_of(self.number, id)),
                id,
                process: known.and_then(|known| known.process),
                stage,
                is_unwanted: state.engine.is_unwanted(slot),
                age: now.saturating_sub(state.engine.opened_at(slot)),
                rest: match stage {
                    Stage::Idle { since } => now.saturating_sub(since),
                    _ => Duration::ZERO,
                },
            }
        });
        views.collect()
    }

    /// Whether clients can expect to be served: the last attempts to open a connection did not all fail. A pool that is
    /// down tries by itself to come up again.
    pub fn is_up(&self) -> bool {
        let state = self.state.lock();
        state.engine.is_up(self.now())
    }

    /// What the last attempts to open a connection ended with, if clients cannot expect to be served.
    pub fn trouble(&self) -> Option<OpenError> {
        let state = self.state.lock();
        match state.engine.is_up(self.now()) || state.engine.is_paused() {
            true => None,
            false => state.last_error().cloned(),
        }
    }

    /// Why those who wait at the moment get no connection, if it is not only that others have them.
    pub fn wait_reason(&self) -> Option<OpenError> {
        self.state.lock().wait_reason().cloned()
    }

    /// Clients served or waiting per connection that may be open; to choose among replicas.
    pub fn load(&self) -> f64 {
        let state = self.state.lock();
        let clients = state.engine.tally().leased + state.engine.waiting();
        f64::from(clients) / f64::from(self.settings.load().max_connections.max(1))
    }

    /// Takes no more clients and resolves when no connection is left: idle ones are closed now, leased ones when they
    /// come back. Clients that wait already are still served. The caller bounds the time; a second call is harmless.
    pub async fn close(&self) {
        self.remember_runtime();
        self.backend.retired();
        self.apply(|state, now, _| state.engine.drain(now));
        self.changed.notify_waiters();
        loop {
            let drained = self.drained.notified();
            if self.state.lock().is_drained() {
                return;
            }
            drained.await;
        }
    }
}

// === for the other modules of the pool ===

impl<B: Backend> Pool<B> {
    /// Changes something under the lock, then does what follows from it.
    fn apply<R>(&self, change: impl FnOnce(&mut State<B>, Moment, &mut After<B>) -> R) -> R {
        self.apply_at(clock::now(), change)
    }

    fn apply_at<R>(&self, now: Instant, change: impl FnOnce(&mut State<B>, Moment, &mut After<B>) -> R) -> R {
        let mut after = After::nothing();
        let result = self.change(now, &mut after, change);
        self.follow_up(after);
        result
    }

    /// Changes something under the lock; the caller does what follows from it.
    fn change<R>(
        &self,
        now: Instant,
        after: &mut After<B>,
        change: impl FnOnce(&mut State<B>, Moment, &mut After<B>) -> R,
    ) -> R {
        let mut state = self.state.lock();
        let now = state.pass_time(self.moment(now));
        let result = change(&mut state, now, after);
        state.carry_out(after);
        state.mind_keeper(now, after);
        result
    }

    fn follow_up(&self, mut after: After<B>) {
        if let Some(waker) = after.woken.take() {
            waker.wake();
        }
        if let Some(errands) = after.take_errands() {
            self.run_errands(*errands);
        }
    }

    fn run_errands(&self, after: Errands<B>) {
        after.more_woken.into_iter().for_each(|waker| waker.wake());
        for (slot, profile) in after.opens {
            self.spawn(tasks::open(self, slot, profile));
        }
        for (slot, connection) in after.closes {
            self.spawn(tasks::close(self, slot, connection));
        }
        if after.starts_keeper {
            self.spawn(keeper::keep(self.weak()));
        }
        if after.is_departure {
            self.changed.notify_waiters();
            self.tell_heir();
        }
        if after.is_drained {
            self.drained.notify_waiters();
        }
        for line in after.lines {
            line.write(&self.name, self.role);
        }
    }

    /// Runs a task where the pool's first user runs. Without a runtime the task is dropped, which it reports.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(task);
        }
    }

    fn remember_runtime(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
    }

    fn weak(&self) -> Weak<Pool<B>> {
        self.me.clone()
    }

    fn next_connection_id(&self) -> u64 {
        self.connection_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn now(&self) -> Moment {
        clock::now().duration_since(self.began)
    }

    fn moment(&self, instant: Instant) -> Moment {
        instant.duration_since(self.began)
    }

    fn instant(&self, moment: Moment) -> Option<Instant> {
        self.began.checked_add(moment)
    }
}

impl<B: Backend> Drop for Pool<B> {
    fn drop(&mut self) {
        if let Keeper::Watching { waker, .. } = &self.state.get_mut().keeper {
            waker.wake_by_ref();
        }
    }
}

impl<B: Backend> std::fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Which pool ([`Pool::number`]) a connection ([`Lease::number`]) belongs to.
pub fn pool_of(connection: u64) -> u32 {
    u32::try_from(connection >> 40).unwrap_or(0)
}

fn next_pool_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One number for a connection among those of all pools. Beyond 2^40 connections of one pool it would repeat itself.
fn number_of(pool: u32, connection: u64) -> u64 {
    u64::from(pool) << 40 | (connection & ((1 << 40) - 1))
}

fn tuning(settings: &PoolSettings) -> Tuning {
    Tuning {
        max_connections: settings.max_connections,
        overflow_connections: settings.overflow_connections,
        min_connections: settings.min_connections,
        idle_timeout: settings.idle_timeout,
        connection_lifetime: settings.connection_lifetime,
        retries: settings.retries,
        simultaneous_opens: PoolSettings::MAX_SIMULTANEOUS_OPENS,
        overflow_patience: PoolSettings::OVERFLOW_PATIENCE,
    }
}
