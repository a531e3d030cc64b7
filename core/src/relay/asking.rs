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
    alarm::Alarm,
    backend::Backend,
    clock::{self, Instant},
    front::{Allowance, Place, Share},
    pool::{Lease, Pool, Queued, Unserved, Waited},
    refusal::Refusal,
};

/// What came of asking.
pub(super) struct Answer<B: Backend> {
    /// How long the client has waited.
    pub(super) waited: Duration,
    pub(super) outcome: Outcome<B>,
}

/// A server connection with its share, or why there is none.
pub(super) type Outcome<B> = Result<(Lease<B>, Option<Share>), Unserved<B>>;

/// What a client wants whose user's connections are counted.
pub(super) struct Wanted<B: Backend> {
    pub(super) profile: B::Profile,
    /// How long it waits, from now on; `None` is for ever.
    pub(super) patience: Option<Duration>,
    /// Since when it has waited.
    pub(super) since: Instant,
}

/// A client that waits for what it wants.
pub(super) enum Asking<B: Backend> {
    Queued(Queued<B>),
    WithShare(Pin<Box<dyn Future<Output = Answer<B>> + Send>>),
}

impl<B: Backend> Asking<B> {
    /// What came of it, if anything has. `alarm` is set for the end of the patience of a client in the queue.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, alarm: &mut Alarm) -> Poll<Answer<B>> {
        match self {
            Asking::Queued(place) => place.poll(cx, now, alarm).map(|Waited { time, outcome }| Answer {
                waited: time,
                outcome: outcome.map(|lease| (lease, None)),
            }),
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
    pub(super) fn ask(self, pool: Arc<Pool<B>>, allowance: &Arc<Allowance>) -> Asking<B> {
        let place = allowance.line_up(pool.name());
        Asking::WithShare(Box::pin(async move {
            let since = self.since;
            let outcome = self.acquire_with_share(pool, place).await;
            let waited = since.elapsed();
            Answer { waited, outcome }
        }))
    }

    async fn acquire_with_share(mut self, mut pool: Arc<Pool<B>>, mut place: Place) -> Outcome<B> {
        let mut share = None;
        loop {
            // A pause is nobody's wait.
            pool = until_open(pool, &mut place).await;
            let began = clock::now();
            match self.turn(&pool, &mut place, &mut share).await {
                Turn::Answer(Ok(lease)) => return Ok((lease, share)),
                Turn::Answer(Err(why)) => {
                    let why = Box::new(why);
                    return Err(Unserved { pool, why });
                }
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
