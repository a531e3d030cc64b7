//! A place in a pool's queue.
//!
//! All that is known of it is kept with the pool: the place itself is a number, so that waiting allocates nothing, and
//! the end of its patience is looked after by an alarm of its owner's that is hardly ever touched.
//!
//! Invariants: dropping a place leaves the queue, and a connection that was just granted to it goes to the next; when
//! another pool takes the place of the one that was asked, it goes on there, in order of arrival (I3), with what is left
//! of its patience; an answer that has come is collected, whatever the clock says.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Pool,
    connection::Connection,
    engine::{Moment, ProfileId, SlotId, WaiterId, Wish},
    lease::Lease,
    state::{After, Answer, State},
    succession::Removal,
};
use crate::{
    alarm::Alarm,
    backend::Backend,
    clock::Instant,
    refusal::{Limit, Refusal},
};

/// See the module.
pub(crate) struct Queued<B: Backend> {
    /// That it waits in; `None` once the wait is over.
    pool: Option<Arc<Pool<B>>>,
    waiter: WaiterId,
}

/// What a wait came to.
pub(crate) struct Waited<B: Backend> {
    /// How long it took.
    pub(crate) time: Duration,
    pub(crate) outcome: Result<Lease<B>, Unserved<B>>,
}

/// There is no server connection.
pub(crate) struct Unserved<B: Backend> {
    /// Who says so.
    pub(crate) pool: Arc<Pool<B>>,
    pub(crate) why: Box<Refusal>,
}

impl<B: Backend> Pool<B> {
    /// An idle connection as with [`Pool::try_acquire_near`], or a place in the queue, in one go. The place is to be polled
    /// by the task of `waker`, which has to see to it that it is woken when the patience may have come to its end: that
    /// is asked for only if the client has to wait, and counts from now. `since`: when the client began to wait, elsewhere.
    pub(crate) fn ask(
        self: &Arc<Self>,
        profile: &B::Profile,
        wish: Wish,
        waker: &Waker,
        since: Option<Instant>,
        now: Instant,
        patience: impl FnOnce() -> Option<Duration>,
    ) -> Result<Lease<B>, Queued<B>> {
        self.remember_runtime();
        let entered = self.apply_at(now, |state, now, after| {
            let profile = state.find(profile, wish.mark).unwrap_or_else(|| state.intern(profile));
            if let Some((slot, connection)) = state.check_out(profile, wish, waker, now, after) {
                state.counters.leases += 1;
                state.counters.prompt += 1;
                return Entered::Granted(slot, connection);
            }
            let since = since.map_or(now, |since| self.moment(since).min(now));
            Entered::Queued(state.enqueue(profile, waker, since, patience(), (now, after)))
        });
        match entered {
            Entered::Granted(slot, connection) => Ok(Lease::new(self.clone(), slot, connection)),
            Entered::Queued(waiter) => Err(Queued {
                pool: Some(self.clone()),
                waiter,
            }),
        }
    }

    /// Counts a wait that is over, whatever it came to.
    fn waited(&self, state: &mut State<B>, time: Duration) {
        state.counters.wait_time += time;
        self.activity.latency().wait.record(time);
    }
}

enum Entered<B: Backend> {
    Granted(SlotId, Box<Connection<B>>),
    Queued(WaiterId),
}

/// What a look for the answer came to.
enum Look<B: Backend> {
    Answered(Answer<B>, Duration),
    /// Nothing yet; the patience ends after so long, unless it is `None` for now.
    Nothing(Option<Duration>),
    /// Nothing yet, and the alarm is set.
    Nap,
}

impl<B: Backend> Queued<B> {
    /// The answer, if there is one; else the task of `cx` is woken when there is one, or when its patience, after which
    /// `alarm` was set when it began to wait, has come to its end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, alarm: &mut Alarm) -> Poll<Waited<B>> {
        loop {
            let Some(look) = self.look(cx.waker(), now, alarm) else {
                return Poll::Pending;
            };
            let waited = match look {
                Look::Nap | Look::Nothing(None) => return Poll::Pending,
                Look::Nothing(Some(Duration::ZERO)) => self.time_out(now),
                Look::Nothing(Some(left)) => {
                    if let Some(end) = now.checked_add(left) {
                        alarm.wake_by(end, cx, now);
                    }
                    return Poll::Pending;
                }
                Look::Answered(answer, time) => self.conclude(answer, time),
            };
            if let Some(waited) = waited {
                return Poll::Ready(waited);
            }
        }
    }

    /// Nothing that the engine decides by is changed, so nothing follows from it.
    fn look(&self, waker: &Waker, now: Instant, alarm: &Alarm) -> Option<Look<B>> {
        let pool = self.pool.as_ref()?;
        let mut state = pool.state.lock();
        let moment = state.pass_time(pool.moment(now));
        if let Some((answer, time)) = state.collect(self.waiter, moment) {
            match answer {
                Answer::Moved(_) => {}
                Answer::Failed(_) => pool.waited(&mut state, time),
                Answer::Granted(..) => {
                    state.counters.leases += 1;
                    pool.waited(&mut state, time);
                }
            }
            return Some(Look::Answered(answer, time));
        }
        state.set_waker(self.waiter, waker);
        Some(match alarm.is_pending(now) {
            true => Look::Nap,
            false => Look::Nothing(state.patience_left(self.waiter, moment)),
        })
    }

    /// What the answer comes to; `None` if it is to be asked for in another pool now.
    fn conclude(&mut self, answer: Answer<B>, time: Duration) -> Option<Waited<B>> {
        let pool = self.pool.take()?;
        let outcome = match answer {
            Answer::Granted(slot, connection) => Ok(Lease::new(pool, slot, connection)),
            Answer::Failed(why) => Err(Unserved { pool, why }),
            Answer::Moved(removal) => {
                (self.pool, self.waiter) = (Some(removal.pool), removal.waiter);
                return None;
            }
        };
        Some(Waited { time, outcome })
    }

    /// Time is up, unless the answer came in the same moment: then it is there at the next look.
    fn time_out(&mut self, now: Instant) -> Option<Waited<B>> {
        let pool = self.pool.as_ref()?;
        let (why, time) = pool.apply_at(now, |state, now, after| {
            (!state.is_answered(self.waiter)).then(|| give_up(pool, state, self.waiter, (now, after)))
        })?;
        let pool = self.pool.take()?;
        let outcome = Err(Unserved { pool, why });
        Some(Waited { time, outcome })
    }
}

/// Nobody has answered within the patience of a waiter.
fn give_up<B: Backend>(
    pool: &Pool<B>,
    state: &mut State<B>,
    waiter: WaiterId,
    (now, after): (Moment, &mut After<B>),
) -> (Box<Refusal>, Duration) {
    let (profile, waited) = state.out_of_patience(waiter, now);
    let refusal = timed_out(pool, state, profile, waited);
    state.counters.timeouts += 1;
    pool.waited(state, waited);
    // It has no answer, so there is nothing to go on with elsewhere.
    let _ = state.give_up(waiter, now, after);
    (Box::new(refusal), waited)
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

impl<B: Backend> Drop for Queued<B> {
    fn drop(&mut self) {
        let mut place = self.pool.take().map(|pool| (pool, self.waiter));
        while let Some((pool, waiter)) = place {
            let removal = pool.apply(|state: &mut State<B>, now, after: &mut After<B>| {
                let time = state.give_up(waiter, now, after)?;
                pool.waited(state, time);
                Ok(())
            });
            place = removal.err().map(|removal: Removal<B>| (removal.pool, removal.waiter));
        }
    }
}
