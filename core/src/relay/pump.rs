//! Moving bytes: one read, one look, one write, in each direction, until neither side has more to give or take.
//!
//! Invariants: a side is read only while the other takes what was read; a server connection goes back only when nothing
//! of this client is left in it, in either direction.

use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};

use super::{
    Attached, Event, Held, Life, Prospect,
    course::{Course, Delay, Wait},
    lane::{Body, Verdict},
    log_pin,
    scratch::{Scratch, Supply, Turn, poll_read, with_scratch},
};
use crate::{
    backend::{Access, Backend, Dialogue, Heard, Outbox, SessionState, TransactionDetection},
    clock::{self, Instant},
    front::{Rung, Share},
    limits,
    pool::{Acquire, Lease, engine::Wish},
    refusal::Fault,
};

impl<B: Backend> Life<B> {
    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event<B>> {
        if let Poll::Ready(event) = self.registration.poll_event(cx, &mut self.rung) {
            return Poll::Ready(Event::Inbox(event));
        }
        let now = clock::now();
        if let Err(event) = with_scratch(now, |scratch| self.pump(cx, scratch)) {
            return Poll::Ready(event);
        }
        match &mut self.watch {
            Some(watch) => {
                let session = self.attached.as_ref().map(|attached| &attached.lease.session);
                watch.observe(session, now);
                watch.poll(cx).map(Event::Expired)
            }
            None => Poll::Pending,
        }
    }

    /// Moves bytes until neither side has any more to give or take.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event<B>> {
        let mut round = Round::First;
        loop {
            let had_nothing_to_send = self.to_client.is_flushed() && self.to_server.is_flushed();
            self.flush(cx, scratch)?;
            let from_server = self.pump_server(cx, scratch)?;
            let from_client = self.pump_client(cx, scratch)?;
            if round == Round::Next && had_nothing_to_send && !(from_server || from_client) {
                // Nothing has changed since the end of the last round.
                return self.come_to_rest(scratch);
            }
            round = Round::Next;
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
                return self.come_to_rest(scratch);
            }
        }
    }

    /// Neither side has any more to give or take at this time.
    fn come_to_rest(&mut self, scratch: &Scratch) -> Result<(), Event<B>> {
        self.note_reading(scratch.turn.now);
        match self.successor.is_some() && self.is_at_rest() {
            true => Err(Event::MayMove),
            false => Ok(()),
        }
    }

    /// Takes note of a client that does not read what the server has sent, and of one that reads on.
    fn note_reading(&mut self, now: Instant) {
        if let Some(attached) = &mut self.attached {
            let is_full = !self.to_client.is_flushed();
            attached.course.reading(is_full, now);
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event<B>> {
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
    fn answer_bell(&mut self, scratch: &mut Scratch) -> Result<bool, Event<B>> {
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
    pub(super) fn pump_server(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event<B>> {
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
    ) -> Result<(), Event<B>> {
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
    pub(super) fn pump_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event<B>> {
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
    ) -> Result<(), Event<B>> {
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
    fn judge_request(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        bytes: &[u8],
    ) -> (usize, Result<(), Stopped<B>>) {
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
                return (consumed, self.obey(judged.verdict, turn.now).map_err(Stopped::By));
            };
            if let Err(place) = self.lease_at_once(access, cx, turn, bytes.len() - consumed) {
                return (consumed, Err(Stopped::By(Event::Wait(access, turn.now, place))));
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

    fn obey(&mut self, verdict: Verdict, now: Instant) -> Result<(), Event<B>> {
        match verdict {
            Verdict::More => Ok(()),
            Verdict::Hold => {
                self.held = Held::UntilAnswered;
                Ok(())
            }
            Verdict::Lease(access) => Err(Event::Wait(access, now, None)),
            Verdict::Finish => Err(Event::Finish),
            Verdict::Fault(Fault::Client(what)) => Err(Event::ClientFault(what)),
            Verdict::Fault(Fault::Server(what)) => Err(Event::ServerGone(what)),
        }
    }

    /// Takes an idle server connection, if there is one, for a request of which `sent` bytes have arrived; else a place
    /// in the queue, unless the connections of the client's user are counted: then that comes first.
    fn lease_at_once(
        &mut self,
        access: Access,
        cx: &Context<'_>,
        turn: &mut Turn,
        sent: usize,
    ) -> Result<(), Option<Box<Acquire<B>>>> {
        if let Some(attached) = &mut self.attached {
            // Another one than the one at hand, which is at rest: a write after a read on a replica.
            attached.observe(turn.now);
            self.give_back(turn.now);
        }
        let share = self.terms.allowance.as_ref().map(|allowance| allowance.try_take());
        if let Some(None) = share {
            return Err(None);
        }
        self.renew_terms();
        let wish = Wish {
            mark: self.last_lease,
            likeness: self.dialogue.likeness(),
        };
        let pool = self.route.pool(access);
        let lease = match &share {
            Some(_) => pool
                .try_acquire_near(&self.profile, wish, cx.waker(), turn.now)
                .ok_or(None)?,
            None => pool
                .ask(&self.profile, wish, cx.waker(), turn.now)
                .map_err(|place| Some(Box::new(place.within(self.terms.pool_timeout(&pool)))))?,
        };
        // The pool has just looked.
        turn.server = Supply::Dry;
        self.attach(lease, share.flatten(), sent, None, turn.now, &mut turn.out);
        Ok(())
    }

    /// The client has a server connection; `sent` bytes of its request have arrived. `since`: when it began to wait for
    /// the connection, if it had to.
    pub(super) fn attach(
        &mut self,
        mut lease: Lease<B>,
        share: Option<Share>,
        sent: usize,
        since: Option<Instant>,
        now: Instant,
        out: &mut Outbox,
    ) {
        let card = self.registration.card().clone();
        let wait = Wait {
            since,
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
    fn last_words(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Event<B> {
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

/// Whether everything has been looked at once in this poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    First,
    Next,
}

/// Why judging what the client sent has stopped, other than for want of more.
enum Stopped<B: Backend> {
    /// The server connection cannot be written to.
    ServerGone,
    By(Event<B>),
}

impl<B: Backend> Attached<B> {
    /// Takes note of where the connection stands.
    fn observe(&mut self, now: Instant) {
        let session = &self.lease.session;
        self.course
            .observe(session.state(), session, self.lease.pool().activity(), now);
    }
}
