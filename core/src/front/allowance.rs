//! How many server connections the clients of one user may hold at a time, over all sources (`users[].max_connections`).
//!
//! Invariants: whoever wants a server connection takes a share first and keeps it as long as the connection, so nobody
//! who waits for a share keeps a connection from others; shares go to whoever came first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    clock,
    refusal::{Limit, Refusal},
};

/// The shares of one user.
#[derive(Debug)]
pub struct Allowance {
    shares: Arc<Semaphore>,
    most: u32,
    set_in: String,
    waiting: AtomicU32,
}

/// The right to hold one server connection.
#[derive(Debug)]
pub struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Allowance {
    /// `most` shares, none of them taken; `set_in` is where the number stands, for error texts.
    pub fn new(most: u32, set_in: String) -> Self {
        Allowance {
            shares: Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS))),
            most,
            set_in,
            waiting: AtomicU32::new(0),
        }
    }

    /// How many shares there are.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// A share, if one is free and nobody waits for it.
    pub fn try_take(&self) -> Option<Share> {
        let permit = self.shares.clone().try_acquire_owned().ok()?;
        Some(Share { _permit: permit })
    }

    /// The next share, for a client of `source`; `patience` `None` waits for ever.
    ///
    /// # Errors
    /// [`Refusal::PoolTimeout`] with the user's limit.
    pub async fn take(&self, source: &Arc<str>, patience: Option<Duration>) -> Result<Share, Refusal> {
        let began = clock::now();
        let waiting = Waiting::among(&self.waiting);
        let permit = self.shares.clone().acquire_owned();
        let taken = match patience {
            Some(patience) => tokio::time::timeout(patience, permit).await.ok(),
            None => Some(permit.await),
        };
        // Nothing ever closes the semaphore; if something did, the client would be told that there is no room.
        if let Some(Ok(permit)) = taken {
            return Ok(Share { _permit: permit });
        }
        let others = waiting.count();
        let free = self.shares.available_permits() as u32;
        Err(Refusal::PoolTimeout {
            source: source.clone(),
            in_use: self.most.saturating_sub(free),
            limit: Limit {
                name: "users[].max_connections",
                value: self.most.to_string(),
                set_in: self.set_in.clone(),
            },
            waiting: others,
            waited: began.elapsed(),
        })
    }
}

/// Counts one who waits, for as long as it does.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(waiting)
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shares_are_bounded_given_back_and_refused_in_words() {
        let allowance = Arc::new(Allowance::new(1, "gateway.yaml:3:5".to_owned()));
        let source: Arc<str> = "ledger".into();
        let held = allowance.try_take().expect("a share");
        assert!(allowance.try_take().is_none());
        let refusal = allowance
            .take(&source, Some(Duration::from_secs(2)))
            .await
            .expect_err("none is free");
        let Refusal::PoolTimeout {
            in_use,
            limit,
            waiting,
            waited,
            ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert_eq!((in_use, waiting, limit.value.as_str()), (1, 1, "1"));
        assert_eq!(limit.set_in, "gateway.yaml:3:5");
        assert!(waited >= Duration::from_secs(2), "{waited:?}");
        let next = tokio::spawn({
            let (allowance, source) = (allowance.clone(), source.clone());
            async move { allowance.take(&source, None).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(held);
        // Its turn has come, although it has not run yet: nobody overtakes.
        assert!(allowance.try_take().is_none());
        assert!(next.await.expect("no panic"));
        assert!(allowance.try_take().is_some());
    }
}
