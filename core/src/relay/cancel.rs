//! A cancel request on its way to the server connection that a client holds.
//!
//! Invariant (I6): while one is on its way, the connection stays with its client; if it does not come back in time, the
//! connection is not reused, because the request may still arrive and would hit somebody else.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{backend::Backend, front::CancelTicket, limits, pool::Pool, refusal::OpenError};

type OnItsWay = Pin<Box<dyn Future<Output = Result<(), OpenError>> + Send>>;

/// What is known about cancelling, for one client.
#[derive(Default)]
pub(super) struct Cancel {
    /// Asked for, and not begun: the gateway's own work comes first.
    wanted: Vec<CancelTicket>,
    under_way: Option<(OnItsWay, Vec<CancelTicket>)>,
    doubt: Doubt,
}

/// Whether a request may still be on its way although nobody waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    MayStillArrive,
}

/// Bounds the sockets that cancel requests take: a database that does not answer must not eat all files.
static IN_FLIGHT: Semaphore = Semaphore::const_new(limits::MAX_CANCELS_IN_FLIGHT);

impl Cancel {
    pub(super) fn want(&mut self, ticket: CancelTicket) {
        self.wanted.push(ticket);
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Nothing to cancel: whoever asked is let go. What is on its way already stays so.
    pub(super) fn decline(&mut self) {
        self.wanted.clear();
    }

    /// The connection that it was all about is given up: whoever asked is let go.
    pub(super) fn forget(&mut self) {
        self.wanted.clear();
        self.under_way = None;
    }

    /// Nothing on its way.
    pub(super) fn is_over(&self) -> bool {
        self.under_way.is_none()
    }

    /// Sends one, unless one is on its way already: then that one serves everybody.
    pub(super) fn start<B: Backend>(&mut self, pool: &Arc<Pool<B>>, key: Option<B::CancelKey>, patience: Duration) {
        let tickets = std::mem::take(&mut self.wanted);
        if let Some((_, waiting)) = &mut self.under_way {
            waiting.extend(tickets);
            return;
        }
        let Some(key) = key else { return };
        let backend = pool.backend().clone();
        let request = async move {
            let sent = tokio::time::timeout(patience, async {
                let _permit = IN_FLIGHT.acquire().await;
                backend.cancel(&key).await
            });
            sent.await.unwrap_or(Err(OpenError::TimedOut(patience)))
        };
        self.under_way = Some((Box::pin(request), tickets));
    }

    /// Moves the request on its way.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some((request, _)) = &mut self.under_way
            && let Poll::Ready(result) = request.as_mut().poll(cx)
        {
            self.under_way = None;
            if let Err(error) = result {
                tracing::warn!(%error, "a cancel request failed");
                self.doubt = Doubt::MayStillArrive;
            }
        }
    }

    /// Waits until nothing is on its way.
    pub(super) async fn over(&mut self) {
        std::future::poll_fn(|cx| {
            self.poll(cx);
            if self.is_over() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether the connection must not be reused; asks once.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt) == Doubt::MayStillArrive
    }
}
