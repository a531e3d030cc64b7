//! One task per pool that watches time and the idle connections.
//!
//! It sleeps until the engine's next moment, not by a tick, and is woken in between by an idle connection on which
//! something arrives: the end of a database is noticed at once, not by the next client.
//!
//! How idle connections are watched: whoever brings a connection to rest polls it once with the keeper's waker (under
//! the pool's lock, without waking the keeper). Whoever leases it polls it with another waker, which replaces the
//! keeper's. Between the hand-out and the client's first own poll, something may arrive and wake a waker that nobody
//! waits on any more; the client then finds it by its own first poll, and the keeper, if it was its waker, looks at all
//! idle connections in vain. So the race costs a spurious wake and never loses a byte or an event.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Weak,
    task::{Poll, Waker},
};

use tokio::time::Sleep;

use super::{
    Pool,
    engine::Moment,
    state::{Keeper, State},
};
use crate::{backend::Backend, clock::Instant};

/// The keeper's life. Ends with the pool, or when the pool is closed and empty.
pub(super) async fn keep<B: Backend>(pool: Weak<Pool<B>>) {
    // Without tokio's budget: a pool may have more idle connections than one turn of a task may poll.
    tokio::task::unconstrained(async move {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        loop {
            let next = match pool.upgrade() {
                Some(pool) => pool.look_after(&waker),
                None => return,
            };
            match next {
                Next::Sleep(until) => woken_or_at(until).await,
                Next::End => return,
            }
        }
    })
    .await;
}

enum Next {
    Sleep(Option<Instant>),
    End,
}

impl<B: Backend> Pool<B> {
    fn look_after(&self, waker: &Waker) -> Next {
        self.apply(|state: &mut State<B>, now, after| {
            state.watch_all(waker, now, after);
            state.engine.tick(now);
            state.carry_out(after);
            if state.is_drained() {
                state.keeper = Keeper::Ended;
                return Next::End;
            }
            let until: Option<Moment> = state.engine.wake_at(now);
            state.keeper = Keeper::Watching {
                waker: waker.clone(),
                until,
            };
            Next::Sleep(until.and_then(|until| self.instant(until)))
        })
    }
}

/// Until the time, or until anything wakes the task.
async fn woken_or_at(time: Option<Instant>) {
    let mut timer: Option<Pin<Box<Sleep>>> = time.map(|time| Box::pin(tokio::time::sleep_until(time.into())));
    let mut polled = Polled::Never;
    poll_fn(|cx| match polled {
        Polled::Before => Poll::Ready(()),
        Polled::Never => {
            polled = Polled::Before;
            match timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(()),
                Some(Poll::Pending) | None => Poll::Pending,
            }
        }
    })
    .await;
}

enum Polled {
    Never,
    Before,
}
