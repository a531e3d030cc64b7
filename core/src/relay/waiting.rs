//! Waiting in the queue for a server connection, with an ear for the client: it may leave, cancel, or have to end.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Ending, Held, Life, Prospect,
    asking::{Answer, Asking, Wanted},
    scratch::{Scratch, poll_read, with_scratch},
};
use crate::{
    backend::{Access, Backend, Dialogue, Outbox},
    clock::{self, Instant},
    front::{self, Standing},
    limits,
    pool::{Acquire, Pool},
    refusal::Refusal,
};

impl<B: Backend> Life<B> {
    /// Waits in the queue for a server connection. Meanwhile the client may go away, cancel, or be told to end.
    ///
    /// `since` is the present; `place` is where it stands in the queue, if it has asked already.
    pub(super) async fn wait_for_lease(
        &mut self,
        access: Access,
        since: Instant,
        place: Option<Box<Acquire<B>>>,
    ) -> Option<Ending> {
        self.registration.card().stand(Standing::Waiting, since);
        let mut asking = match place {
            Some(place) => Asking::Queued(place),
            None => self.ask(self.route.pool(access), since),
        };
        let (mut now, mut polled) = (since, Polled::Never);
        loop {
            let waited = poll_fn(|cx| {
                if std::mem::replace(&mut polled, Polled::Before) == Polled::Before {
                    now = clock::now();
                }
                if let Poll::Ready(answer) = asking.poll(cx, now) {
                    return Poll::Ready(Waited::Answer(answer));
                }
                while let Poll::Ready(event) = self.registration.poll_event(cx, &mut self.rung) {
                    match event {
                        // Applies with the next transaction; this one goes on waiting in its place.
                        front::Event::Renew => {}
                        front::Event::Move(successor) => self.may_move_to(successor),
                        event => return Poll::Ready(Waited::Inbox(event)),
                    }
                }
                with_scratch(now, |scratch| self.listen_while_waiting(cx, scratch))
            })
            .await;
            if !matches!(waited, Waited::Answer(_)) {
                self.registration.card().stand(Standing::Idle, clock::now());
            }
            return match waited {
                Waited::Answer((_, Ok((lease, share)))) => {
                    let sent = self.to_server.unjudged();
                    self.attach(lease, share, sent, Some(since), now, &mut Outbox::default());
                    self.held = Held::Again;
                    None
                }
                Waited::Answer((asked, Err(refusal))) => {
                    // A replica that cannot be reached is avoided, not suffered; and a pool may have been closed because
                    // the source has another one now.
                    let other = self.route.pool(access);
                    if matches!(refusal, Refusal::Open { .. } | Refusal::ShuttingDown) && !Arc::ptr_eq(&other, &asked) {
                        asking = self.ask(other, since);
                        continue;
                    }
                    self.registration.card().stand(Standing::Idle, clock::now());
                    match refusal {
                        // Its last pool is closed; the word to end is on its way.
                        Refusal::ShuttingDown if self.route.source.is_removed() => {
                            self.refuse(&Refusal::SourceRemoved {
                                source: self.route.source.name.clone(),
                            })
                        }
                        refusal => self.refuse(&refusal),
                    }
                }
                Waited::Inbox(front::Event::Cancel(ticket)) => {
                    let ending = self.refuse(&Refusal::Cancelled);
                    drop(ticket);
                    ending
                }
                Waited::Inbox(front::Event::Drain(farewell)) => {
                    self.prospect = Prospect::Draining(farewell);
                    self.refuse(&self.farewell()).or(Some(Ending::Told("shutting down")))
                }
                Waited::Inbox(front::Event::Renew | front::Event::Move(_)) => None,
                Waited::Inbox(front::Event::Terminate) => {
                    self.refuse(&Refusal::Terminated).or(Some(Ending::Told("terminated")))
                }
                Waited::Withdrawn => {
                    self.held = Held::Again;
                    None
                }
                Waited::ClientGone => Some(Ending::Vanished),
            };
        }
    }

    fn ask(&self, pool: Arc<Pool<B>>, since: Instant) -> Asking<B> {
        let wanted = Wanted {
            profile: self.profile.clone(),
            patience: self.terms.pool_timeout(&pool),
            since,
        };
        wanted.ask(pool, self.terms.allowance.clone())
    }

    fn listen_while_waiting(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Waited<B>> {
        if self
            .to_client
            .poll_send(&mut self.io, cx, &mut scratch.turn.gather, &[])
            .is_err()
        {
            return Poll::Ready(Waited::ClientGone);
        }
        while self.to_server.unjudged() < limits::MAX_HELD {
            match poll_read(&mut self.io, cx, &mut scratch.read) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Waited::ClientGone),
                Poll::Ready(Ok(count)) => self.to_server.keep(&scratch.read[..count]),
            }
            if self.dialogue.withdraws(self.to_server.unjudged_bytes()) {
                return Poll::Ready(Waited::Withdrawn);
            }
        }
        Poll::Pending
    }
}

/// Whether the wait has been looked at since it began: the first look is at the time of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    Never,
    Before,
}

/// What waiting for a server connection came to.
enum Waited<B: Backend> {
    /// From this pool.
    Answer(Answer<B>),
    Inbox(front::Event),
    /// The client has taken its request back.
    Withdrawn,
    ClientGone,
}
