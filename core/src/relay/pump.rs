//! Moving bytes: one read, one look, one write, in each direction, until neither side has more to give or take.
//!
//! Invariants: a side is read only while the other takes what was read; a server connection goes back only when nothing
//! of this client is left in it, in either direction.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};

use super::{
    Attached, Event, Held, Life, Prospect,
    asking::Asking,
    course::{Course, Delay, Wait},
    lane::{Body, Verdict},
    log_pin,
    scratch::{Scratch, Supply, Turn, poll_read, with_scratch},
};
use crate::{
    backend::{Access, Backend, Dialogue, Heard, Outbox, SessionState, TransactionDetection},
    clock::{self, Instant},
    front::{Allowance, Rung, Share},
    limits,
    pool::{Lease, engine::Wish},
    refusal::Fault,
};

impl<B: Backend> Life<B> {
    /// Moves what can be moved, or waits for a server connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let now = clock::now();
        if let Err(event) = with_scratch(now, |scratch| self.take_turn(cx, scratch)) {
            return Poll::Ready(event);
        }
        if self.waiting.is_some() {
            return Poll::Pending;
        }
        self.alarm.tidy(now);
        match &mut self.watch {
            Some(watch) => {
                let session = self.attached.as_ref().map(|attached| &attached.lease.session);
                watch.observe(session, now);
                watch.poll(cx, now).map(Event::Expired)
            }
            None => Poll::Pending,
        }
    }

    fn take_turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        self.poll_answer(cx, &mut scratch.turn)?;
        if let Poll::Ready(event) = self.registration.poll_event(cx, &mut self.rung) {
            return Err(Event::Inbox(event));
        }
        loop {
            if self.waiting.is_none() {
                self.pump(cx, scratch)?;
                self.begin_to_wait(cx, &mut scratch.turn)?;
            }
            let goes_on = match self.waiting {
                Some(_) => self.listen_while_waiting(cx, scratch)?,
                // A share and a connection were there at once.
                None => self.held == Held::Again,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Moves bytes until neither side has any more to give or take.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        loop {
            self.flush(cx, scratch)?;
            let from_server = self.pump_server(cx, scratch)?;
            let from_client = self.pump_client(cx, scratch)?;
            if self.waiting.is_some() {
                return Ok(());
            }
            self.start_wanted_cancel();
            // One that has just begun has to be looked at once: else nothing wakes it.
            self.cancel.poll(cx);
            let told = self.answer_bell(scratch)?;
            let released = self.release_if_at_rest(scratch);
            let is_draining = matches!(self.prospect, Prospect::Draining(_));
            if is_draining && self.is_between_transactions() {
                return Err(Event::Drained);
            }
            let asked = is_draining && self.ask_for_transaction();
            if !(from_server || from_client || told || released || asked) {
                self.note_reading(scratch.turn.now);
                if self.successor.is_some() && self.is_at_rest() {
                    return Err(Event::MayMove);
                }
                return Ok(());
            }
        }
    }

    /// Takes note of a client that does not read what the server has sent, and of one that reads on.
    fn note_reading(&mut self, now: Instant) {
        if let Some(attached) = &mut self.attached {
            let is_full = !self.to_client.is_flushed();
            attached.course.reading(is_full, now);
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        if !self.to_client.is_flushed() {
            let sent = self
                .to_client
                .poll_send(&mut self.io, cx, &mut scratch.turn.gather, &[]);
            sent.map_err(|_| Event::ClientGone)?;
        }
        if let Some(attached) = &mut self.attached
            && !self.to_server.is_flushed()
        {
            let sent = self
                .to_server
                .poll_send(&mut attached.lease.io, cx, &mut scratch.turn.gather, &[]);
            if sent.is_err() {
                return Err(self.last_words(cx, scratch));
            }
        }
        Ok(())
    }

    /// Lets the dialogue say what it has to say of its own accord, between two messages and as fast as the client reads.
    /// Whether it said anything.
    fn answer_bell(&mut self, scratch: &mut Scratch) -> Result<bool, Event> {
        if self.rung == Rung::No || !self.to_client.is_flushed() || self.to_client.body() != Body::None {
            return Ok(false);
        }
        let out = &mut scratch.turn.out;
        let session = self.attached.as_mut().map(|attached| &mut attached.lease.session);
        let heard = self.dialogue.on_bell(session, out);
        let told = !(out.to_client.is_empty() && out.to_server.is_empty());
        self.to_server.push(&mut out.to_server);
        self.to_client.push(&mut out.to_client);
        match heard {
            Heard::Done => self.rung = Rung::No,
            Heard::Later => {}
            Heard::Finish(why) => return Err(Event::Told(why)),
        }
        Ok(told)
    }

    /// One read from the server, judged and sent on. False when there was nothing to read, or no room for it.
    pub(super) fn pump_server(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event> {
        let Some(attached) = &mut self.attached else {
            return Ok(false);
        };
        if !self.to_client.is_flushed() || scratch.turn.server == Supply::Dry {
            return Ok(false);
        }
        let count = match poll_read(&mut attached.lease.io, cx, &mut scratch.read) {
            Poll::Pending => {
                scratch.turn.server = Supply::Dry;
                return Ok(false);
            }
            Poll::Ready(Ok(0)) => return Err(Event::ServerGone("the server closed the connection")),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) => return Err(Event::ServerGone("the connection to the server broke")),
        };
        attached.course.server_sent(count);
        self.judge_server(cx, scratch, count)?;
        Ok(true)
    }

    pub(super) fn judge_server(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        count: usize,
    ) -> Result<(), Event> {
        let Some(Attached { lease, .. }) = &mut self.attached else {
            return Ok(());
        };
        let Scratch { read, turn } = scratch;
        let Turn { gather, out, .. } = turn;
        let kept;
        let bytes = if self.to_client.unjudged() == 0 {
            &read[..count]
        } else {
            self.to_client.keep(&read[..count]);
            if !self.to_client.is_worth_judging(0) {
                return Ok(());
            }
            kept = self.to_client.take_unjudged();
            &kept[..]
        };
        let (dialogue, session) = (&mut self.dialogue, &mut lease.session);
        let judged = self.to_client.judge(bytes, gather, out, |bytes, out| {
            dialogue.from_server(bytes, session, out)
        });
        self.to_server.push(&mut out.to_server);
        let sent = self
            .to_client
            .poll_send(&mut self.io, cx, gather, &bytes[judged.run.clone()]);
        self.to_client.keep(&bytes[judged.consumed..]);
        if self.held == Held::UntilAnswered {
            self.held = Held::Again;
        }
        if let Verdict::Fault(fault) = judged.verdict {
            tracing::error!(client = %self.identity, %fault, "server connection closed");
            return Err(Event::ServerGone("protocol violation by the server"));
        }
        if let SessionState::Broken(why) = lease.session.state() {
            return Err(Event::ServerGone(why));
        }
        sent.map_err(|_| Event::ClientGone)
    }

    /// One look at what the client sent. False when there was nothing to read, or no room for it.
    pub(super) fn pump_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event> {
        if self.held == Held::Again {
            self.held = Held::Nothing;
            if self.to_server.unjudged() > 0 {
                self.judge_client(cx, scratch, 0)?;
                return Ok(true);
            }
        }
        let server_is_full = self.attached.is_some() && !self.to_server.is_flushed();
        let stopped_and_full = self.held == Held::UntilAnswered && self.to_server.unjudged() >= limits::MAX_HELD;
        let has_no_room = server_is_full || stopped_and_full || self.to_client.owed() >= limits::MAX_OWED;
        if has_no_room || scratch.turn.client == Supply::Dry {
            return Ok(false);
        }
        let count = match poll_read(&mut self.io, cx, &mut scratch.read) {
            Poll::Pending => {
                scratch.turn.client = Supply::Dry;
                return Ok(false);
            }
            Poll::Ready(Ok(0) | Err(_)) => return Err(Event::ClientGone),
            Poll::Ready(Ok(count)) => count,
        };
        if let Some(attached) = &mut self.attached {
            attached.course.client_sent(count);
        }
        if self.held == Held::UntilAnswered {
            self.to_server.keep(&scratch.read[..count]);
        } else {
            self.judge_client(cx, scratch, count)?;
        }
        Ok(true)
    }

    pub(super) fn judge_client(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        count: usize,
    ) -> Result<(), Event> {
        let mut kept = BytesMut::new();
        if self.to_server.unjudged() > 0 {
            self.to_server.keep(&scratch.read[..count]);
            if !self.to_server.is_worth_judging(0) {
                return Ok(());
            }
            kept = self.to_server.take_unjudged();
        }
        let is_kept = !kept.is_empty();
        let Scratch { read, turn } = scratch;
        let bytes = if is_kept { &kept[..] } else { &read[..count] };
        let (consumed, outcome) = self.judge_request(cx, turn, bytes);
        if is_kept {
            kept.advance(consumed);
            self.to_server.put_back(kept);
        } else {
            self.to_server.keep(&bytes[consumed..]);
        }
        match outcome {
            Err(Stopped::ServerGone) => Err(self.last_words(cx, scratch)),
            Err(Stopped::By(event)) => Err(event),
            Ok(()) => Ok(()),
        }
    }

    /// Judges what the client sent and sends it on, over the server connection that it is given for it if need be. How
    /// much of it is dealt with.
    fn judge_request(&mut self, cx: &mut Context<'_>, turn: &mut Turn, bytes: &[u8]) -> (usize, Result<(), Stopped>) {
        let mut consumed = 0;
        loop {
            let rest = &bytes[consumed..];
            let Turn { gather, out, .. } = turn;
            let dialogue = &mut self.dialogue;
            let mut session = self.attached.as_mut().map(|attached| &mut attached.lease.session);
            let judged = self.to_server.judge(rest, gather, out, |bytes, out| {
                dialogue.from_client(bytes, session.as_deref_mut(), out)
            });
            self.to_client.push(&mut out.to_client);
            let run = &rest[judged.run.clone()];
            consumed += judged.consumed;
            if let Some(attached) = &mut self.attached {
                let sent = self.to_server.poll_send(&mut attached.lease.io, cx, gather, run);
                if sent.is_err() {
                    return (consumed, Err(Stopped::ServerGone));
                }
            } else {
                debug_assert!(
                    gather.is_empty() && run.is_empty(),
                    "bytes for a server that is not there"
                );
                gather.clear();
            }
            self.note_delay(judged.verdict, turn.now);
            let Verdict::Lease(access) = judged.verdict else {
                return (consumed, self.obey(judged.verdict).map_err(Stopped::By));
            };
            self.ask(access, cx, turn, bytes.len() - consumed);
            if self.waiting.is_some() {
                return (consumed, Ok(()));
            }
        }
    }

    /// A request that is held back while nothing of the client's runs waits for work of our own.
    fn note_delay(&mut self, verdict: Verdict, now: Instant) {
        if let Some(attached) = &mut self.attached {
            let is_ours = verdict == Verdict::Hold && !self.dialogue.has_request_under_way(&attached.lease.session);
            let delay = if is_ours { Delay::Resetting } else { Delay::None };
            attached.course.delayed(delay, now);
        }
    }

    fn obey(&mut self, verdict: Verdict) -> Result<(), Event> {
        match verdict {
            // A lease has been asked for.
            Verdict::More | Verdict::Lease(_) => Ok(()),
            Verdict::Hold => {
                self.held = Held::UntilAnswered;
                Ok(())
            }
            Verdict::Finish => Err(Event::Finish),
            Verdict::Fault(Fault::Client(what)) => Err(Event::ClientFault(what)),
            Verdict::Fault(Fault::Server(what)) => Err(Event::ServerGone(what)),
        }
    }

    /// Takes an idle server connection, if there is one, for a request of which `sent` bytes have arrived; else a place
    /// in the queue, unless the connections of the client's user are counted: then that comes first.
    fn ask(&mut self, access: Access, cx: &mut Context<'_>, turn: &mut Turn, sent: usize) {
        if let Some(attached) = &mut self.attached {
            // Another one than the one at hand, which is at rest: a write after a read on a replica.
            attached.observe(turn.now);
            self.give_back(turn.now);
        }
        let found = match self.terms.allowance.clone() {
            Some(allowance) => self.lease_with_share(&allowance, access, cx, turn.now),
            None => self.lease_or_wait(access, cx, turn.now),
        };
        if let Some((lease, share)) = found {
            // The pool has just looked.
            turn.server = Supply::Dry;
            self.attach(lease, share, sent, None, turn.now, &mut turn.out);
        }
    }

    fn lease_or_wait(
        &mut self,
        access: Access,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Option<(Lease<B>, Option<Share>)> {
        self.renew_terms();
        let pool = self.route.pool(access);
        let mut patience = None;
        let asked = pool.ask(&self.profile, self.wish(), cx.waker(), None, now, || {
            patience = self.terms.pool_timeout(&pool);
            patience
        });
        match asked {
            Ok(lease) => Some((lease, None)),
            Err(place) => {
                if let Some(end) = patience.and_then(|patience| now.checked_add(patience)) {
                    self.alarm.wake_by(end, cx, now);
                }
                self.wait(Asking::Queued(place), access, now);
                None
            }
        }
    }

    fn lease_with_share(
        &mut self,
        allowance: &Arc<Allowance>,
        access: Access,
        cx: &Context<'_>,
        now: Instant,
    ) -> Option<(Lease<B>, Option<Share>)> {
        let share = allowance.try_take();
        if share.is_some() {
            self.renew_terms();
        }
        let pool = self.route.pool(access);
        let found = share.and_then(|share| {
            let lease = pool.try_acquire_near(&self.profile, self.wish(), cx.waker(), now)?;
            Some((lease, Some(share)))
        });
        if found.is_none() {
            self.wait_for_share(allowance, pool, access, now);
        }
        found
    }

    /// Which of several server connections the client would like best.
    fn wish(&self) -> Wish {
        Wish {
            mark: self.last_lease,
            likeness: self.dialogue.likeness(),
        }
    }

    /// The client has a server connection; `sent` bytes of its request have arrived. `waited`: how long for the connection,
    /// if it had to.
    pub(super) fn attach(
        &mut self,
        mut lease: Lease<B>,
        share: Option<Share>,
        sent: usize,
        waited: Option<Duration>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let card = self.registration.card().clone();
        let wait = Wait {
            waited,
            connect_time: lease.take_connect_time(),
        };
        let course = Course::begin(&lease.session, lease.number(), card, sent, wait, now);
        self.dialogue.adopt(&mut lease.session, out);
        self.to_server.push(&mut out.to_server);
        self.to_client.push(&mut out.to_client);
        self.attached = Some(Attached {
            lease,
            _share: share,
            course,
        });
        if let Some(watch) = &mut self.watch {
            watch.lease_started(now);
        }
    }

    /// Gives the server connection back if nothing ties the client to it.
    pub(super) fn release_if_at_rest(&mut self, scratch: &mut Scratch) -> bool {
        let Some(attached) = &mut self.attached else {
            return false;
        };
        if self.held == Held::Again {
            // It has just been given out, or an answer has just come: what the client asked for is looked at next.
            return false;
        }
        let state = attached.lease.session.state();
        // Nothing is over while the rest of a message is still to come.
        if self.to_client.body() == Body::None {
            attached.observe(scratch.turn.now);
        }
        let told = self.note_pin(state, scratch);
        let at_rest = state == SessionState::Idle
            && self.held == Held::Nothing
            && self.cancel.is_over()
            && self.to_client.unjudged() == 0
            && self.to_client.body() == Body::None
            && self.to_server.body() == Body::None
            && self.to_server.is_flushed();
        if at_rest && self.lingers(scratch.turn.now) {
            return told;
        }
        if at_rest {
            self.give_back(scratch.turn.now);
        }
        at_rest || told
    }

    /// Whether the client keeps a connection at rest for a moment, to ask what it wrote. Not one that has to go.
    fn lingers(&mut self, now: Instant) -> bool {
        if self.prospect != Prospect::Open {
            return false;
        }
        match (&mut self.watch, &self.attached) {
            (Some(watch), Some(attached)) => watch.lingers(self.dialogue.writes(&attached.lease.session), now),
            _ => false,
        }
    }

    /// Takes note when the client begins or ceases to keep its server connection: in the log, the counters, what others
    /// see of it, and to the client if it is to be told. Whether it was told anything.
    fn note_pin(&mut self, state: SessionState, scratch: &mut Scratch) -> bool {
        let Some(Attached { lease, course, .. }) = &mut self.attached else {
            return false;
        };
        let is_between_messages = self.to_client.unjudged() == 0 && self.to_client.body() == Body::None;
        if !is_between_messages {
            return false;
        }
        let dialogue = &self.dialogue;
        let Some(news) = course.note_pin(state, lease.pool().activity(), || dialogue.pin_cause(&lease.session)) else {
            return false;
        };
        log_pin(news, &self.identity);
        self.dialogue.tell_pin(news, &mut scratch.turn.out);
        let told = !scratch.turn.out.to_client.is_empty();
        self.to_client.push(&mut scratch.turn.out.to_client);
        told
    }

    /// Gives the server connection back, which is at rest.
    fn give_back(&mut self, now: Instant) {
        let Some(attached) = self.attached.take() else {
            return;
        };
        let Attached { mut lease, course, .. } = attached;
        course.over();
        self.dialogue.release(&mut lease.session);
        self.last_lease = lease.mark();
        let is_mid_message = self.to_client.unjudged() > 0 || self.to_client.body() != Body::None;
        if is_mid_message {
            // Part of something that the server says of its own accord: the rest must not meet another's bytes.
            self.to_client.sender_gone();
            self.cancel.forget();
            self.cancel.take_doubt();
            lease.discard("given back in the middle of a message");
        } else if self.cancel.take_doubt() || !self.cancel.is_over() {
            self.cancel.forget();
            lease.discard("a cancel request for it did not come back");
        } else {
            lease.finish_at(now);
        }
    }

    /// Before a connection that cannot be written to is given up: what the server said last.
    fn last_words(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Event {
        scratch.turn.gather.clear();
        self.to_server.receiver_gone();
        // A dying server says one error; more than a few reads is not dying.
        for _ in 0..4 {
            let Some(attached) = &mut self.attached else { break };
            match poll_read(&mut attached.lease.io, cx, &mut scratch.read) {
                Poll::Ready(Ok(count)) if count > 0 => match self.judge_server(cx, scratch, count) {
                    Ok(()) => {}
                    Err(event) => return event,
                },
                _ => break,
            }
        }
        Event::ServerGone("the connection to the server broke")
    }
}

/// Why judging what the client sent has stopped, other than for want of more.
enum Stopped {
    /// The server connection cannot be written to.
    ServerGone,
    By(Event),
}

impl<B: Backend> Attached<B> {
    /// Takes note of where the connection stands.
    fn observe(&mut self, now: Instant) {
        let session = &self.lease.session;
        self.course
            .observe(session.state(), session, self.lease.pool().activity(), now);
    }
}
