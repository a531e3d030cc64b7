//! Waiting for a server connection, as a future.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Pool,
    engine::Wish,
    lease::Lease,
    queued::{Queued, Waited},
};
use crate::{
    alarm::Alarm,
    backend::Backend,
    clock::{self, Instant},
    refusal::Refusal,
};

/// Resolves to a server connection, or to the reason why there is none.
///
/// The place in the queue is taken at the first poll. Dropping the future leaves the queue; a connection that was just
/// granted to it goes to the next waiter. When another pool takes the place of the one that was asked, it waits there.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<B: Backend> {
    stage: Stage<B>,
    alarm: Alarm,
}

enum Stage<B: Backend> {
    Start {
        pool: Arc<Pool<B>>,
        profile: B::Profile,
        timeout: Option<Duration>,
        /// Since when the client has waited elsewhere before.
        arrived: Option<Instant>,
    },
    Queued(Queued<B>),
    Ended,
}

impl<B: Backend> Acquire<B> {
    pub(super) fn new(
        pool: Arc<Pool<B>>,
        profile: B::Profile,
        timeout: Option<Duration>,
        arrived: Option<Instant>,
    ) -> Self {
        Acquire {
            stage: Stage::Start {
                pool,
                profile,
                timeout,
                arrived,
            },
            alarm: Alarm::Off,
        }
    }

    /// Takes an idle connection or a place in the queue, if that has not been done.
    fn start(&mut self, waker: &Waker, now: Instant) -> Option<Lease<B>> {
        let Stage::Start {
            pool,
            profile,
            timeout,
            arrived,
        } = &self.stage
        else {
            return None;
        };
        match pool.ask(profile, Wish::default(), waker, *arrived, now, || *timeout) {
            Ok(lease) => {
                self.stage = Stage::Ended;
                Some(lease)
            }
            Err(place) => {
                self.stage = Stage::Queued(place);
                None
            }
        }
    }
}

impl<B: Backend> Future for Acquire<B> {
    type Output = Result<Lease<B>, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.get_mut();
        let now = clock::now();
        if let Some(lease) = me.start(cx.waker(), now) {
            return Poll::Ready(Ok(lease));
        }
        let Stage::Queued(place) = &mut me.stage else {
            return Poll::Pending;
        };
        // Another task may poll it than the last time. A refusal may be there at once.
        me.alarm.listen(cx, now);
        let Waited { outcome, .. } = std::task::ready!(place.poll(cx, now, &mut me.alarm));
        me.stage = Stage::Ended;
        Poll::Ready(outcome.map_err(|unserved| *unserved.why))
    }
}

// Nothing in it is pinned in place: the timer has a box of its own.
impl<B: Backend> Unpin for Acquire<B> {}

impl<B: Backend> std::fmt::Debug for Acquire<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acquire").finish_non_exhaustive()
    }
}
