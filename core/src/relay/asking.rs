//! Asking for a server connection, and for the share of its user's that it takes, if the user's are counted.
//!
//! Invariants: a client keeps its place in the order of arrival (I3) over a pause of its source and when another pool
//! takes the place of the one that it asked; its patience stands still in a pause; who waits in a pause has no share.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    backend::Backend,
    clock::{self, Instant},
    front::{Allowance, Place, Share},
    pool::{Acquire, Lease, Pool},
    refusal::Refusal,
};

/// The pool that was asked last, and what came of it.
pub(super) type Answer<B> = (Arc<Pool<B>>, Outcome<B>);

/// A server connection with its share, or why there is none.
pub(super) type Outcome<B> = Result<(Lease<B>, Option<Share>), Refusal>;

/// What a client wants.
pub(super) struct Wanted<B: Backend> {
    pub(super) profile: B::Profile,
    /// How long it waits, from now on; `None` is for ever.
    pub(super) patience: Option<Duration>,
    /// Since when it has waited.
    pub(super) since: Instant,
}

/// A client that waits for what it wants.
pub(super) enum Asking<B: Backend> {
    Queued(Box<Acquire<B>>),
    WithShare(Pin<Box<dyn Future<Output = Answer<B>> + Send>>),
}

impl<B: Backend> Asking<B> {
    /// The pool that was asked last, and what came of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Answer<B>> {
        match self {
            Asking::Queued(place) => place
                .poll_at(cx, now)
                .map(|outcome| (place.pool().clone(), outcome.map(|lease| (lease, None)))),
            Asking::WithShare(acquire) => acquire.as_mut().poll(cx),
        }
    }
}

/// What happens to who waits for a share or with one.
enum Turn<B: Backend> {
    Answer(Result<Lease<B>, Refusal>),
    Paused,
    /// The one that was asked has a successor.
    Moved(Arc<Pool<B>>),
}

impl<B: Backend> Wanted<B> {
    /// Asks `pool`.
    pub(super) fn ask(self, pool: Arc<Pool<B>>, allowance: Option<Arc<Allowance>>) -> Asking<B> {
        match allowance {
            None => Asking::Queued(Box::new(pool.acquire_since(self.profile, self.patience, self.since))),
            Some(allowance) => {
                let place = allowance.line_up(pool.name());
                Asking::WithShare(Box::pin(self.acquire_with_share(pool, place)))
            }
        }
    }

    async fn acquire_with_share(mut self, mut pool: Arc<Pool<B>>, mut place: Place) -> Answer<B> {
        let mut share = None;
        loop {
            // A pause is nobody's wait.
            pool = until_open(pool, &mut place).await;
            let began = clock::now();
            match self.turn(&pool, &mut place, &mut share).await {
                Turn::Answer(outcome) => return (pool, outcome.map(|lease| (lease, share))),
                // The share is not kept from the user's clients of other sources meanwhile.
                Turn::Paused => {
                    drop(share.take());
                    place.stand_aside();
                }
                Turn::Moved(heir) => pool = heir,
            }
            self.patience = self.patience.map(|patience| patience.saturating_sub(began.elapsed()));
        }
    }

    async fn turn(&self, pool: &Arc<Pool<B>>, place: &mut Place, share: &mut Option<Share>) -> Turn<B> {
        let began = clock::now();
        let answer = async {
            if share.is_none() {
                let taken = tokio::select! {
                    biased;
                    taken = place.share(self.patience) => taken?,
                    // It ends, and nobody takes its place.
                    () = pool.until_closed() => return Err(Refusal::ShuttingDown),
                };
                *share = Some(taken);
            }
            let left = self.patience.map(|patience| patience.saturating_sub(began.elapsed()));
            pool.acquire_since(self.profile.clone(), left, self.since).await
        };
        tokio::select! {
            biased;
            heir = pool.until_succeeded() => Turn::Moved(heir.clone()),
            outcome = answer => Turn::Answer(outcome),
            () = pool.until_paused() => Turn::Paused,
        }
    }
}

/// The pool to ask, when there is an answer to be had. Who is called meanwhile gives its turn to others.
async fn until_open<B: Backend>(mut pool: Arc<Pool<B>>, place: &mut Place) -> Arc<Pool<B>> {
    loop {
        let is_open = tokio::select! {
            biased;
            () = pool.until_open() => true,
            () = place.called() => false,
        };
        match (is_open, pool.successor()) {
            (true, Some(heir)) => pool = heir.clone(),
            (true, None) => {
                place.come_back();
                return pool;
            }
            (false, _) => place.stand_aside(),
        }
    }
}
