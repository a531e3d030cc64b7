//! Waiting for a server connection.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    Pool,
    connection::Connection,
    engine::{Moment, ProfileId, SlotId, WaiterId, Wish},
    lease::Lease,
    state::{After, Answer, State},
    succession::Removal,
};
use crate::{
    backend::Backend,
    clock::{self, Instant},
    refusal::{Limit, Refusal},
};

/// Resolves to a server connection, or to the reason why there is none.
///
/// The place in the queue is taken at the first poll. Dropping the future leaves the queue; a connection that was just
/// granted to it goes to the next waiter. When another pool takes the place of the one that was asked, it waits there.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<B: Backend> {
    pool: Arc<Pool<B>>,
    timeout: Option<Duration>,
    /// Since when the client has waited elsewhere before.
    arrived: Option<Instant>,
    stage: Stage<B>,
}

enum Stage<B: Backend> {
    Start(B::Profile),
    Queued {
        waiter: WaiterId,
        profile: ProfileId,
        since: Moment,
        /// How long it had waited when it came here from another pool; pauses do not count.
        before: Duration,
        /// When it came here, on the clock that stands still while the pool is paused.
        patience_since: Moment,
        timer: Timer,
    },
    Ended,
}

/// The alarm at the end of a client's patience.
enum Timer {
    /// Not set: the client has just come.
    Unset,
    Set(Pin<Box<Sleep>>),
    /// It has gone off, or there is no end. After a pause it is set again.
    Silent,
}

type Outcome<B> = Result<Lease<B>, Refusal>;

impl<B: Backend> Acquire<B> {
    pub(super) fn new(
        pool: Arc<Pool<B>>,
        profile: B::Profile,
        timeout: Option<Duration>,
        arrived: Option<Instant>,
    ) -> Self {
        Acquire {
            pool,
            timeout,
            arrived,
            stage: Stage::Start(profile),
        }
    }

    /// The pool that is asked, or was asked last.
    pub fn pool(&self) -> &Arc<Pool<B>> {
        &self.pool
    }

    /// See [`Pool::ask`].
    pub(super) fn ask(
        pool: &Arc<Pool<B>>,
        profile: &B::Profile,
        wish: Wish,
        waker: &Waker,
        now: Instant,
    ) -> Result<Lease<B>, Self> {
        pool.remember_runtime();
        let entered = pool.apply_at(now, |state, now, after| {
            let profile = state.find(profile, wish.mark).unwrap_or_else(|| state.intern(profile));
            enter(state, profile, wish, waker, now, (now, after))
        });
        match entered {
            Entered::Granted(slot, connection) => Ok(Lease::new(pool.clone(), slot, connection)),
            Entered::Queued(stage) => Err(Acquire {
                pool: pool.clone(),
                timeout: None,
                arrived: None,
                stage,
            }),
        }
    }

    /// The same with an end to its patience, counted from when it asked.
    pub(crate) fn within(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes an idle connection or a place in the queue.
    fn start(&mut self, profile: &B::Profile, waker: &Waker, now: Instant) -> Option<Outcome<B>> {
        let (pool, stage, arrived) = (&self.pool, &mut self.stage, self.arrived);
        pool.remember_runtime();
        let outcome = pool.apply_at(now, |state, now, after| {
            let profile = state.intern(profile);
            let since = arrived.map_or(now, |arrived| pool.moment(arrived).min(now));
            match enter(state, profile, Wish::default(), waker, since, (now, after)) {
                Entered::Granted(slot, connection) => Some(Collected::Granted(slot, connection)),
                Entered::Queued(queued) => {
                    *stage = queued;
                    // A refusal may be there at once.
                    collect(pool, state, stage, now)
                }
            }
        })?;
        self.conclude(outcome)
    }

    fn answer(&mut self, waker: &Waker, now: Instant) -> Option<Outcome<B>> {
        loop {
            let (pool, stage) = (&self.pool, &mut self.stage);
            let collected = pool.apply_at(now, |state, now, _| {
                let collected = collect(pool, state, stage, now);
                if let (None, Stage::Queued { waiter, .. }) = (&collected, &stage) {
                    state.set_waker(*waiter, waker);
                }
                collected
            })?;
            if let Some(outcome) = self.conclude(collected) {
                return Some(outcome);
            }
        }
    }

    /// The outcome; `None` if it is to be asked for in another pool now.
    fn conclude(&mut self, collected: Collected<B>) -> Option<Outcome<B>> {
        match collected {
            Collected::Granted(slot, connection) => Some(Ok(Lease::new(self.pool.clone(), slot, connection))),
            Collected::Refused(refusal) => Some(Err(*refusal)),
            Collected::Moved(removal, before) => {
                self.follow(removal, before);
                None
            }
        }
    }

    fn follow(&mut self, removal: Removal<B>, waited: Duration) {
        let Removal { pool, waiter, profile } = removal;
        if let Stage::Queued {
            waiter: place,
            profile: wanted,
            since,
            before,
            patience_since,
            ..
        } = &mut self.stage
        {
            (*place, *wanted, *before) = (waiter, profile, waited);
            *since = pool.moment(self.pool.began + *since);
            *patience_since = pool.state.lock().engine.patience_clock(pool.now());
        }
        self.pool = pool;
    }

    /// How much of `limit` is left; the pauses of the pool do not count. `None` while it is paused.
    fn patience_left(&self, limit: Duration) -> Option<Duration> {
        let Stage::Queued {
            before, patience_since, ..
        } = self.stage
        else {
            return Some(Duration::ZERO);
        };
        let state = self.pool.state.lock();
        let clock = state.engine.patience_clock(self.pool.now());
        let waited = before.saturating_add(clock.saturating_sub(patience_since));
        (!state.engine.is_paused()).then_some(limit.saturating_sub(waited))
    }

    /// Time is up, unless the answer came in the same moment.
    fn time_out(&mut self, limit: Duration) -> Outcome<B> {
        loop {
            let (pool, stage) = (&self.pool, &mut self.stage);
            let collected = pool.apply(|state, now, after| {
                collect(pool, state, stage, now).unwrap_or_else(|| give_up(pool, state, stage, limit, (now, after)))
            });
            if let Some(outcome) = self.conclude(collected) {
                return outcome;
            }
        }
    }
}

impl<B: Backend> Pool<B> {
    /// Counts a wait that is over, whatever it came to.
    fn waited(&self, state: &mut State<B>, time: Duration) {
        state.counters.wait_time += time;
        self.activity.latency().wait.record(time);
    }
}

enum Entered<B: Backend> {
    Granted(SlotId, Box<Connection<B>>),
    Queued(Stage<B>),
}

/// An idle connection, or a place in the queue for somebody who has waited since `since`.
fn enter<B: Backend>(
    state: &mut State<B>,
    profile: ProfileId,
    wish: Wish,
    waker: &Waker,
    since: Moment,
    (now, after): (Moment, &mut After<B>),
) -> Entered<B> {
    if let Some((slot, connection)) = state.check_out(profile, wish, waker, now, after) {
        state.counters.leases += 1;
        state.counters.prompt += 1;
        return Entered::Granted(slot, connection);
    }
    state.counters.waits += 1;
    Entered::Queued(Stage::Queued {
        waiter: state.enqueue(profile, Some(waker.clone()), since, now, after),
        profile,
        since,
        before: Duration::ZERO,
        patience_since: state.engine.patience_clock(now),
        timer: Timer::Unset,
    })
}

/// What has become of a wait.
enum Collected<B: Backend> {
    Granted(SlotId, Box<Connection<B>>),
    Refused(Box<Refusal>),
    /// It goes on elsewhere, after it has taken so long here.
    Moved(Removal<B>, Duration),
}

/// The answer, if it has come. Then the waiter has left, and the wait is over if it does not go on elsewhere.
fn collect<B: Backend>(
    pool: &Pool<B>,
    state: &mut State<B>,
    stage: &mut Stage<B>,
    now: Moment,
) -> Option<Collected<B>> {
    let Stage::Queued {
        waiter,
        since,
        before,
        patience_since,
        ..
    } = stage
    else {
        return None;
    };
    let collected = match state.collect(*waiter, now)? {
        Answer::Granted(slot, connection) => {
            state.counters.leases += 1;
            Collected::Granted(slot, connection)
        }
        Answer::Failed(refusal) => Collected::Refused(Box::new(refusal)),
        Answer::Moved(removal) => {
            let here = state.engine.patience_clock(now).saturating_sub(*patience_since);
            return Some(Collected::Moved(removal, before.saturating_add(here)));
        }
    };
    pool.waited(state, now.saturating_sub(*since));
    *stage = Stage::Ended;
    Some(collected)
}

/// Nobody has answered within `limit`.
fn give_up<B: Backend>(
    pool: &Pool<B>,
    state: &mut State<B>,
    stage: &mut Stage<B>,
    limit: Duration,
    (now, after): (Moment, &mut After<B>),
) -> Collected<B> {
    let Stage::Queued {
        waiter, profile, since, ..
    } = std::mem::replace(stage, Stage::Ended)
    else {
        return Collected::Refused(Box::new(Refusal::ShuttingDown));
    };
    let waited = now.saturating_sub(since).max(limit);
    let refusal = timed_out(pool, state, profile, waited);
    state.counters.timeouts += 1;
    pool.waited(state, waited);
    // It has no answer, so there is nothing to go on with elsewhere.
    drop(state.give_up(waiter, now, after));
    Collected::Refused(Box::new(refusal))
}

/// The database's own words if it is the database that keeps everybody waiting, else who holds the connections.
fn timed_out<B: Backend>(pool: &Pool<B>, state: &State<B>, profile: ProfileId, waited: Duration) -> Refusal {
    let source = pool.name().clone();
    if let Some(error) = state.trouble_of(profile) {
        return Refusal::Open { source, error };
    }
    let settings = pool.settings();
    let name = if settings.origins.0.contains_key("total_max_connections") {
        "total_max_connections"
    } else {
        "max_connections"
    };
    let tally = state.engine.tally();
    Refusal::PoolTimeout {
        source,
        in_use: tally.total() - tally.idle,
        limit: Limit {
            name,
            value: settings.max_connections.to_string(),
            set_in: settings.origins.of(name).to_owned(),
        },
        waiting: state.engine.waiting(),
        waited,
    }
}

impl<B: Backend> Future for Acquire<B> {
    type Output = Outcome<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<B>> {
        self.get_mut().poll_at(cx, clock::now())
    }
}

impl<B: Backend> Acquire<B> {
    /// The same for a caller that knows the time.
    pub(crate) fn poll_at(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Outcome<B>> {
        let outcome = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Start(profile) => self.start(&profile, cx.waker(), now),
            queued => {
                self.stage = queued;
                match self.stage {
                    // It has asked in this very moment; whatever has come since wakes the task.
                    Stage::Queued {
                        timer: Timer::Unset, ..
                    } => None,
                    _ => self.answer(cx.waker(), now),
                }
            }
        };
        match outcome {
            Some(outcome) => Poll::Ready(outcome),
            None => self.poll_patience(cx, now),
        }
    }

    /// Waits for the end of the client's patience. In a pause there is none: whoever waits is woken when it ends.
    fn poll_patience(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Outcome<B>> {
        loop {
            let (limit, Stage::Queued { timer, .. }) = (self.timeout, &mut self.stage) else {
                return Poll::Pending;
            };
            let Some(limit) = limit else {
                *timer = Timer::Silent;
                return Poll::Pending;
            };
            let next = match timer {
                Timer::Unset => match now.checked_add(limit) {
                    Some(end) => tokio::time::sleep_until(end.into()),
                    None => tokio::time::sleep(limit),
                },
                Timer::Set(running) => {
                    std::task::ready!(running.as_mut().poll(cx));
                    *timer = Timer::Silent;
                    continue;
                }
                Timer::Silent => match self.patience_left(limit) {
                    None => return Poll::Pending,
                    Some(Duration::ZERO) => return Poll::Ready(self.time_out(limit)),
                    Some(left) => tokio::time::sleep(left),
                },
            };
            if let Stage::Queued { timer, .. } = &mut self.stage {
                *timer = Timer::Set(Box::pin(next));
            }
        }
    }
}

// Nothing in it is pinned in place: the timer has a box of its own.
impl<B: Backend> Unpin for Acquire<B> {}

impl<B: Backend> Drop for Acquire<B> {
    fn drop(&mut self) {
        let Stage::Queued { waiter, since, .. } = self.stage else {
            return;
        };
        let (mut place, since) = (Some((self.pool.clone(), waiter)), self.pool.began + since);
        while let Some((pool, waiter)) = place {
            let removal = pool.apply(|state: &mut State<B>, now, after: &mut After<B>| {
                let removal = state.give_up(waiter, now, after);
                if removal.is_none() {
                    pool.waited(state, now.saturating_sub(pool.moment(since)));
                }
                removal
            });
            place = removal.map(|removal| (removal.pool, removal.waiter));
        }
    }
}

impl<B: Backend> std::fmt::Debug for Acquire<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acquire")
            .field("pool", &self.pool.name())
            .finish_non_exhaustive()
    }
}
