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
    engine::{Moment, ProfileId, WaiterId, Wish},
    lease::Lease,
    state::{After, Answer, State},
};
use crate::{
    backend::Backend,
    refusal::{Limit, Refusal},
};

/// Resolves to a server connection, or to the reason why there is none.
///
/// The place in the queue is taken at the first poll. Dropping the future leaves the queue; a connection that was just
/// granted to it goes to the next waiter.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<B: Backend> {
    pool: Arc<Pool<B>>,
    timeout: Option<Duration>,
    stage: Stage<B>,
}

enum Stage<B: Backend> {
    Start(B::Profile),
    Queued {
        waiter: WaiterId,
        profile: ProfileId,
        since: Moment,
        /// The same on the clock that stands still while the pool is paused.
        patience_since: Moment,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Ended,
}

type Outcome<B> = Result<Lease<B>, Refusal>;

impl<B: Backend> Acquire<B> {
    pub(super) fn new(pool: Arc<Pool<B>>, profile: B::Profile, timeout: Option<Duration>) -> Self {
        Acquire {
            pool,
            timeout,
            stage: Stage::Start(profile),
        }
    }

    /// Takes an idle connection or a place in the queue.
    fn start(&mut self, profile: &B::Profile, waker: &Waker) -> Option<Outcome<B>> {
        let pool = &self.pool;
        pool.remember_runtime();
        let stage = &mut self.stage;
        let outcome = pool.apply(|state, now, after| {
            let profile = state.intern(profile);
            if let Some((slot, connection)) = state.check_out(profile, Wish::default(), waker, now, after) {
                state.counters.leases += 1;
                state.counters.prompt += 1;
                return Some(Ok((slot, connection)));
            }
            state.counters.waits += 1;
            let waiter = state.enqueue(profile, waker, now, after);
            *stage = Stage::Queued {
                waiter,
                profile,
                since: now,
                patience_since: state.engine.patience_clock(now),
                timer: None,
            };
            // A refusal may be there at once.
            let refused = collect(pool, state, stage, now);
            refused.map(|answer| answer.map_err(Box::new))
        })?;
        Some(match outcome {
            Ok((slot, connection)) => Ok(Lease::new(pool.clone(), slot, connection)),
            Err(refusal) => Err(*refusal),
        })
    }

    fn answer(&mut self, waker: &Waker) -> Option<Outcome<B>> {
        let (pool, stage) = (&self.pool, &mut self.stage);
        let answer = pool.apply(|state, now, _| {
            let answer = collect(pool, state, stage, now);
            if let (None, Stage::Queued { waiter, .. }) = (&answer, &stage) {
                state.set_waker(*waiter, waker);
            }
            answer
        })?;
        Some(answer.map(|(slot, connection)| Lease::new(self.pool.clone(), slot, connection)))
    }

    /// How much of `limit` is left; the pauses of the pool do not count. `None` while it is paused.
    fn patience_left(&self, limit: Duration) -> Option<Duration> {
        let Stage::Queued { patience_since, .. } = self.stage else {
            return Some(Duration::ZERO);
        };
        let state = self.pool.state.lock();
        let clock = state.engine.patience_clock(self.pool.now());
        let left = limit.saturating_sub(clock.saturating_sub(patience_since));
        (!state.engine.is_paused()).then_some(left)
    }

    /// Time is up, unless the answer came in the same moment.
    fn time_out(&mut self, limit: Duration) -> Outcome<B> {
        let pool = self.pool.clone();
        let stage = &mut self.stage;
        let answer = pool.apply(|state, now, after| {
            collect(&pool, state, stage, now).unwrap_or_else(|| {
                let Stage::Queued {
                    waiter, profile, since, ..
                } = std::mem::replace(stage, Stage::Ended)
                else {
                    return Err(Refusal::ShuttingDown);
                };
                let waited = now.saturating_sub(since).max(limit);
                let refusal = timed_out(&pool, state, profile, waited);
                state.counters.timeouts += 1;
                pool.waited(state, waited);
                state.give_up(waiter, now, after);
                Err(refusal)
            })
        });
        answer.map(|(slot, connection)| Lease::new(pool, slot, connection))
    }
}

impl<B: Backend> Pool<B> {
    /// Counts a wait that is over, whatever it came to.
    fn waited(&self, state: &mut State<B>, time: Duration) {
        state.counters.wait_time += time;
        self.activity.latency().wait.record(time);
    }
}

type Granted<B> = (super::engine::SlotId, Box<super::connection::Connection<B>>);

/// The answer, if it has come. Then the waiter has left and the wait is over.
fn collect<B: Backend>(
    pool: &Pool<B>,
    state: &mut State<B>,
    stage: &mut Stage<B>,
    now: Moment,
) -> Option<Result<Granted<B>, Refusal>> {
    let Stage::Queued { waiter, since, .. } = stage else {
        return None;
    };
    let answer = state.collect(*waiter, now)?;
    pool.waited(state, now.saturating_sub(*since));
    *stage = Stage::Ended;
    Some(match answer {
        Answer::Granted(slot, connection) => {
            state.counters.leases += 1;
            Ok((slot, connection))
        }
        Answer::Failed(refusal) => Err(refusal),
    })
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
        let this = self.get_mut();
        let outcome = match std::mem::replace(&mut this.stage, Stage::Ended) {
            Stage::Start(profile) => this.start(&profile, cx.waker()),
            queued => {
                this.stage = queued;
                this.answer(cx.waker())
            }
        };
        if let Some(outcome) = outcome {
            return Poll::Ready(outcome);
        }
        let Some(limit) = this.timeout else {
            return Poll::Pending;
        };
        this.poll_patience(limit, cx)
    }
}

impl<B: Backend> Acquire<B> {
    /// Waits for the end of the client's patience. In a pause there is none: whoever waits is woken when it ends.
    fn poll_patience(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<Outcome<B>> {
        loop {
            let Stage::Queued { timer, .. } = &mut self.stage else {
                return Poll::Pending;
            };
            if let Some(running) = timer {
                match running.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => *timer = None,
                }
            }
            match self.patience_left(limit) {
                None => return Poll::Pending,
                Some(Duration::ZERO) => return Poll::Ready(self.time_out(limit)),
                Some(left) => {
                    if let Stage::Queued { timer, .. } = &mut self.stage {
                        *timer = Some(Box::pin(tokio::time::sleep(left)));
                    }
                }
            }
        }
    }
}

// Nothing in it is pinned in place: the timer has a box of its own.
impl<B: Backend> Unpin for Acquire<B> {}

impl<B: Backend> Drop for Acquire<B> {
    fn drop(&mut self) {
        if let Stage::Queued { waiter, since, .. } = self.stage {
            let pool = &self.pool;
            pool.apply(|state: &mut State<B>, now, after: &mut After<B>| {
                pool.waited(state, now.saturating_sub(since));
                state.give_up(waiter, now, after);
            });
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
