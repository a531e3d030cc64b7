//! Waiting in the queue for a server connection, with an ear for the client: it may leave, cancel, or have to end.
//!
//! Invariants: a client that waits moves no bytes and holds no server connection; it has a place in the queue, or one in
//! the line for a share, and whatever ends the wait gives that up. Waiting is a state and not a future of its own: with
//! more clients than connections nearly every transaction waits, and nothing is allocated for that.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Ending, Event, Held, Life, Prospect,
    asking::{Answer, Asking, Wanted},
    scratch::{Scratch, Supply, Turn, poll_read},
};
use crate::{
    backend::{Access, Backend, Dialogue},
    clock::{self, Instant},
    front::{self, Allowance, Standing},
    limits,
    pool::{Pool, Unserved, engine::Wish},
    refusal::Refusal,
};

/// A client that waits for a server connection.
pub(super) struct Waiting<B: Backend> {
    asking: Asking<B>,
    access: Access,
}

impl<B: Backend> Life<B> {
    /// The client waits from now on.
    pub(super) fn wait(&mut self, asking: Asking<B>, access: Access, now: Instant) {
        self.registration.card().stand(Standing::Waiting, now);
        self.waiting = Some(Waiting { asking, access });
    }

    /// It lines up for a share of its user's, and waits for a connection with that.
    pub(super) fn wait_for_share(
        &mut self,
        allowance: &Arc<Allowance>,
        pool: Arc<Pool<B>>,
        access: Access,
        since: Instant,
    ) {
        let wanted = Wanted {
            profile: self.profile.clone(),
            patience: self.terms.pool_timeout(&pool),
            since,
        };
        let asking = wanted.ask(pool, allowance);
        self.wait(asking, access, since);
    }

    /// Takes what the client has waited for, if it is there.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Result<(), Event> {
        while let Some(Waiting { asking, access }) = &mut self.waiting {
            let access = *access;
            let Poll::Ready(Answer { waited, outcome }) = asking.poll(cx, turn.now, &mut self.alarm) else {
                break;
            };
            self.waiting = None;
            match outcome {
                Ok((lease, share)) => {
                    let sent = self.to_server.unjudged();
                    self.attach(lease, share, sent, Some(waited), turn.now, &mut turn.out);
                    self.held = Held::Again;
                }
                Err(Unserved { pool: asked, why }) => {
                    // A replica that cannot be reached is avoided, not suffered; and a pool may have been closed because
                    // the source has another one now.
                    let other = self.route.pool(access);
                    if !matches!(*why, Refusal::Open { .. } | Refusal::ShuttingDown) || Arc::ptr_eq(&other, &asked) {
                        return Err(Event::Unserved(why));
                    }
                    let since = turn.now.checked_sub(waited).unwrap_or(turn.now);
                    self.ask_another(other, access, since, cx, turn);
                }
            }
        }
        Ok(())
    }

    /// Asks one more pool for what another one has refused.
    fn ask_another(
        &mut self,
        pool: Arc<Pool<B>>,
        access: Access,
        since: Instant,
        cx: &mut Context<'_>,
        turn: &mut Turn,
    ) {
        let now = turn.now;
        if let Some(allowance) = self.terms.allowance.clone() {
            return self.wait_for_share(&allowance, pool, access, since);
        }
        let patience = self.terms.pool_timeout(&pool);
        match pool.ask(&self.profile, Wish::default(), cx.waker(), Some(since), now, || {
            patience
        }) {
            Ok(lease) => {
                let (sent, waited) = (self.to_server.unjudged(), now.duration_since(since));
                self.attach(lease, None, sent, Some(waited), now, &mut turn.out);
                self.held = Held::Again;
            }
            Err(place) => {
                if let Some(end) = patience.and_then(|patience| now.checked_add(patience)) {
                    self.alarm.wake_by(end, cx, now);
                }
                self.wait(Asking::Queued(place), access, since);
            }
        }
    }

    /// The first look at a wait that has just begun. Who is in the queue has asked in this very moment; whatever has come
    /// since wakes the task.
    pub(super) fn begin_to_wait(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Result<(), Event> {
        match &self.waiting {
            Some(Waiting {
                asking: Asking::WithShare(_),
                ..
            }) => self.poll_answer(cx, turn),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads what the client says meanwhile. Whether it has taken its request back, and waits no more.
    pub(super) fn listen_while_waiting(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event> {
        if !self.to_client.is_flushed() {
            let sent = self
                .to_client
                .poll_send(&mut self.io, cx, &mut scratch.turn.gather, &[]);
            sent.map_err(|_| Event::ClientGone)?;
        }
        while scratch.turn.client == Supply::Unknown && self.to_server.unjudged() < limits::MAX_HELD {
            match poll_read(&mut self.io, cx, &mut scratch.read) {
                Poll::Pending => {
                    scratch.turn.client = Supply::Dry;
                    break;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(Event::ClientGone),
                Poll::Ready(Ok(count)) => self.to_server.keep(&scratch.read[..count]),
            }
            if self.dialogue.withdraws(self.to_server.unjudged_bytes()) {
                self.stop_waiting(scratch.turn.now);
                self.held = Held::Again;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whatever it waited for goes to others.
    fn stop_waiting(&mut self, now: Instant) {
        self.waiting = None;
        self.registration.card().stand(Standing::Idle, now);
    }

    /// There is no connection for the client's request.
    pub(super) fn on_unserved(&mut self, why: &Refusal) -> Option<Ending> {
        self.stop_waiting(clock::now());
        match why {
            // Its last pool is closed; the word to end is on its way.
            Refusal::ShuttingDown if self.route.source.is_removed() => self.refuse(&Refusal::SourceRemoved {
                source: self.route.source.name.clone(),
            }),
            why => self.refuse(why),
        }
    }

    /// Something that others want of a client that waits.
    pub(super) fn on_inbox_while_waiting(&mut self, event: front::Event) -> Option<Ending> {
        match event {
            // Applies with the next transaction; this one goes on waiting in its place.
            front::Event::Renew => None,
            front::Event::Move(successor) => {
                self.may_move_to(successor);
                None
            }
            front::Event::Cancel(ticket) => {
                self.stop_waiting(clock::now());
                let ending = self.refuse(&Refusal::Cancelled);
                drop(ticket);
                ending
            }
            front::Event::Drain(farewell) => {
                self.stop_waiting(clock::now());
                self.prospect = Prospect::Draining(farewell);
                self.refuse(&self.farewell()).or(Some(Ending::Told("shutting down")))
            }
            front::Event::Terminate => {
                self.stop_waiting(clock::now());
                self.refuse(&Refusal::Terminated).or(Some(Ending::Told("terminated")))
            }
        }
    }
}
