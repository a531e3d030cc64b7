//! Moving bytes: one read, one look, one write, in each direction, until neither side has more to give or take.
//!
//! Invariants: a side is read only while the other takes what was read; a server connection goes back only when nothing
//! of this client is left in it, in either direction.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;

use super::{
    Attached, Event, Held, Life, Prospect,
    course::{Course, Delay, Wait},
    lane::{Body, Verdict},
    log_pin,
    scratch::{Scratch, poll_read, with_scratch},
};
use crate::{
    backend::{Backend, Dialogue, Heard, Outbox, SessionState, TransactionDetection},
    clock::Instant,
    front::{Rung, Share},
    limits,
    pool::{Lease, Pool, engine::Wish},
    refusal::Fault,
};

impl<B: Backend> Life<B> {
    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.registration.poll_event(cx, &mut self.rung) {
            return Poll::Ready(Event::Inbox(event));
        }
        self.cancel.poll(cx);
        if let Err(event) = with_scratch(|scratch| self.pump(cx, scratch)) {
            return Poll::Ready(event);
        }
        match &mut self.watch {
            Some(watch) => {
                let session = self.attached.as_ref().map(|attached| &attached.lease.session);
                watch.observe(session);
                watch.poll(cx).map(Event::Expired)
            }
            None => Poll::Pending,
        }
    }

    /// Moves bytes until neither side has any more to give or take.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        loop {
            self.flush(cx, scratch)?;
            let from_server = self.pump_server(cx, scratch)?;
            let from_client = self.pump_client(cx, scratch)?;
            self.start_wanted_cancel();
            // One that has just begun has to be looked at once: else nothing wakes it.
            self.cancel.poll(cx);
            let told = self.answer_bell(scratch)?;
            let released = self.release_if_at_rest(scratch);
            if matches!(self.prospect, Prospect::Draining(_)) && self.is_between_transactions() {
                return Err(Event::Drained);
            }
            if !(from_server || from_client || told || released) {
                self.note_reading();
                if self.successor.is_some() && self.is_at_rest() {
                    return Err(Event::MayMove);
                }
                return Ok(());
            }
        }
    }

    /// Takes note of a client that does not read what the server has sent, and of one that reads on.
    fn note_reading(&mut self) {
        if let Some(attached) = &mut self.attached {
            let is_full = !self.to_client.is_flushed();
            attached.course.reading(is_full);
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        if !self.to_client.is_flushed() {
            let sent = self.to_client.poll_send(&mut self.io, cx, &mut scratch.gather, &[]);
            sent.map_err(|_| Event::ClientGone)?;
        }
        if let Some(attached) = &mut self.attached
            && !self.to_server.is_flushed()
        {
            let sent = self
                .to_server
                .poll_send(&mut attached.lease.io, cx, &mut scratch.gather, &[]);
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
        let out = &mut scratch.out;
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
        if !self.to_client.is_flushed() {
            return Ok(false);
        }
        let count = match poll_read(&mut attached.lease.io, cx, &mut scratch.read) {
            Poll::Pending => return Ok(false),
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
        let Scratch { read, gather, out } = scratch;
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
        if server_is_full || stopped_and_full || self.to_client.owed() >= limits::MAX_OWED {
            return Ok(false);
        }
        let count = match poll_read(&mut self.io, cx, &mut scratch.read) {
            Poll::Pending => return Ok(false),
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
        let Scratch { read, gather, out } = scratch;
        let mut kept = bytes::BytesMut::new();
        if self.to_server.unjudged() > 0 {
            self.to_server.keep(&read[..count]);
            if !self.to_server.is_worth_judging(0) {
                return Ok(());
            }
            kept = self.to_server.take_unjudged();
        }
        let is_kept = !kept.is_empty();
        let bytes = if is_kept { &kept[..] } else { &read[..count] };
        let mut session = self.attached.as_mut().map(|attached| &mut attached.lease.session);
        let dialogue = &mut self.dialogue;
        let judged = self.to_server.judge(bytes, gather, out, |bytes, out| {
            dialogue.from_client(bytes, session.as_deref_mut(), out)
        });
        self.to_client.push(&mut out.to_client);
        let sent = match &mut self.attached {
            Some(attached) => self
                .to_server
                .poll_send(&mut attached.lease.io, cx, gather, &bytes[judged.run.clone()]),
            None => {
                debug_assert!(
                    gather.is_empty() && judged.run.is_empty(),
                    "bytes for a server that is not there"
                );
                gather.clear();
                Ok(())
            }
        };
        if is_kept {
            kept.advance(judged.consumed);
            self.to_server.put_back(kept);
        } else {
            self.to_server.keep(&bytes[judged.consumed..]);
        }
        if sent.is_err() {
            return Err(self.last_words(cx, scratch));
        }
        self.obey(judged.verdict)
    }

    pub(super) fn obey(&mut self, verdict: Verdict) -> Result<(), Event> {
        if let Some(attached) = &mut self.attached {
            // A request that is held back while nothing of the client's runs waits for work of our own.
            let is_ours = verdict == Verdict::Hold && !self.dialogue.has_request_under_way(&attached.lease.session);
            attached
                .course
                .delayed(if is_ours { Delay::Resetting } else { Delay::None });
        }
        match verdict {
            Verdict::More => Ok(()),
            Verdict::Hold => {
                self.held = Held::UntilAnswered;
                Ok(())
            }
            Verdict::Lease(access) => {
                // Another one than the one at hand, which is at rest: a write after a read on a replica.
                self.give_back();
                let share = self.terms.allowance.as_ref().map(|allowance| allowance.try_take());
                if let Some(None) = share {
                    return Err(Event::Lease(access));
                }
                self.renew_terms();
                let pool = self.route.pool(access);
                let wish = Wish {
                    mark: self.last_lease,
                    likeness: self.dialogue.likeness(),
                };
                match pool.try_acquire_near(&self.profile, wish) {
                    Some(lease) => {
                        self.attach(lease, pool, share.flatten(), None);
                        Ok(())
                    }
                    None => Err(Event::Lease(access)),
                }
            }
            Verdict::Finish => Err(Event::Finish),
            Verdict::Fault(Fault::Client(what)) => Err(Event::ClientFault(what)),
            Verdict::Fault(Fault::Server(what)) => Err(Event::ServerGone(what)),
        }
    }

    /// The client has a server connection; `since`: when it began to wait for it, if it had to.
    pub(super) fn attach(
        &mut self,
        mut lease: Lease<B>,
        pool: Arc<Pool<B>>,
        share: Option<Share>,
        since: Option<Instant>,
    ) {
        let mut out = Outbox::default();
        let (card, sent) = (self.registration.card().clone(), self.to_server.unjudged());
        let wait = Wait {
            since,
            connect_time: lease.take_connect_time(),
        };
        let course = Course::begin(&lease.session, lease.number(), card, sent, wait);
        self.dialogue.adopt(&mut lease.session, &mut out);
        self.to_server.push(&mut out.to_server);
        self.to_client.push(&mut out.to_client);
        self.attached = Some(Attached {
            lease,
            pool,
            _share: share,
            course,
        });
        self.held = Held::Again;
        if let Some(watch) = &mut self.watch {
            watch.lease_started();
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
            let activity = attached.pool.activity();
            attached.course.observe(&attached.lease.session, activity);
        }
        let told = self.note_pin(scratch);
        let at_rest = state == SessionState::Idle
            && self.held == Held::Nothing
            && self.cancel.is_over()
            && self.to_client.unjudged() == 0
            && self.to_client.body() == Body::None
            && self.to_server.body() == Body::None
            && self.to_server.is_flushed();
        if at_rest && self.lingers() {
            return told;
        }
        if at_rest {
            self.give_back();
        }
        at_rest || told
    }

    /// Whether the client keeps a connection at rest for a moment, to ask what it wrote. Not one that has to go.
    fn lingers(&mut self) -> bool {
        if self.prospect != Prospect::Open {
            return false;
        }
        match (&mut self.watch, &self.attached) {
            (Some(watch), Some(attached)) => watch.lingers(self.dialogue.writes(&attached.lease.session)),
            _ => false,
        }
    }

    /// Takes note when the client begins or ceases to keep its server connection: in the log, the counters, what others
    /// see of it, and to the client if it is to be told. Whether it was told anything.
    fn note_pin(&mut self, scratch: &mut Scratch) -> bool {
        let Some(Attached {
            lease, course, pool, ..
        }) = &mut self.attached
        else {
            return false;
        };
        let is_between_messages = self.to_client.unjudged() == 0 && self.to_client.body() == Body::None;
        if !is_between_messages {
            return false;
        }
        let dialogue = &self.dialogue;
        let Some(news) = course.note_pin(lease.session.state(), pool.activity(), || {
            dialogue.pin_cause(&lease.session)
        }) else {
            return false;
        };
        log_pin(news, &self.identity);
        self.dialogue.tell_pin(news, &mut scratch.out);
        let told = !scratch.out.to_client.is_empty();
        self.to_client.push(&mut scratch.out.to_client);
        told
    }

    /// Gives the server connection back, which is at rest.
    pub(super) fn give_back(&mut self) {
        if let Some(Attached {
            mut lease,
            mut course,
            pool,
            ..
        }) = self.attached.take()
        {
            course.observe(&lease.session, pool.activity());
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
                lease.finish();
            }
        }
    }

    /// Before a connection that cannot be written to is given up: what the server said last.
    fn last_words(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Event {
        scratch.gather.clear();
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
