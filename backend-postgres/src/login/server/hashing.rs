//! Takes a login off the reactor for the one step that costs milliseconds of hashing: SCRAM's answer to the server's
//! challenge. Everything else waits for the network and stays on the reactor, so that no thread waits for a server.
//!
//! How: tokio-postgres hashes in the poll in which it reads the challenge. The tee holds the challenge back and says that
//! it is due; then that one poll is done on a thread of the blocking pool.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use weir_core::refusal::OpenError;

/// Where a login stands with its expensive step; shared by its tee and whoever drives it.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<Step>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    NotYet,
    Due,
    Allowed,
}

impl Turn {
    /// The challenge is here: whether it may be handed over, which hashes.
    pub(super) fn may_hash(&self) -> bool {
        let mut step = self.0.lock();
        if *step == Step::NotYet {
            *step = Step::Due;
        }
        *step == Step::Allowed
    }

    fn is_due(&self) -> bool {
        *self.0.lock() == Step::Due
    }

    fn allow(&self) {
        *self.0.lock() = Step::Allowed;
    }
}

/// Drives a login whose tee has `turn`.
pub(super) async fn drive<T: Send + 'static>(
    login: impl Future<Output = T> + Send + 'static,
    turn: Arc<Turn>,
) -> Result<T, OpenError> {
    let mut login = Box::pin(login);
    loop {
        let done = poll_fn(|cx| match login.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if turn.is_due() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(done) = done.await {
            return Ok(done);
        }
        turn.allow();
        let stepped = tokio::task::spawn_blocking(move || {
            let polled = poll_once(login.as_mut());
            (login, polled)
        });
        let (continued, polled) = stepped
            .await
            .map_err(|_| OpenError::Unreachable("the login was broken off".to_owned()))?;
        if let Poll::Ready(done) = polled {
            return Ok(done);
        }
        // Polled again at once, now with a waker that wakes.
        login = continued;
    }
}

fn poll_once<T>(login: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    login.poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn the_expensive_poll_happens_elsewhere() {
        let turn = Arc::new(Turn::default());
        let reactor = thread::current().id();
        let login = {
            let turn = turn.clone();
            async move {
                tokio::task::yield_now().await;
                let hashed_on = poll_fn(|_| match turn.may_hash() {
                    true => Poll::Ready(thread::current().id()),
                    false => Poll::Pending,
                })
                .await;
                tokio::task::yield_now().await;
                (hashed_on, thread::current().id())
            }
        };
        let (hashed_on, finished_on) = drive(login, turn).await.expect("no break");
        assert_ne!(hashed_on, reactor);
        assert_eq!(finished_on, reactor);
    }
}
