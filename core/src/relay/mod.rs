//! One client's life: its bytes to whichever server connection it holds, the answers back, until one of them goes.
//!
//! One task per client, one loop for every backend. The loop reads into a scratch buffer of its worker thread, lets the
//! dialogue judge, and writes: one read and one write per direction and round trip, nothing allocated when nothing is
//! split or slow. It reads a side only while the other side takes what was read, so memory per client is bounded by one
//! scratch buffer each way, and two sides that both stopped reading cannot block each other (S4.3).
//!
//! Knows nothing of protocols: the dialogue says where messages end, when a server connection is needed and what to
//! answer in its place.

mod cancel;
mod lane;
mod recovery;
mod scratch;
mod timers;

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use tokio::io::AsyncWriteExt;

use self::{
    cancel::Cancel,
    lane::{Body, Lane, Toward, Verdict},
    scratch::{Scratch, poll_read, with_scratch},
    timers::{Expired, Watch},
};
use crate::{
    backend::{Access, Backend, Dialogue, Onward, Outbox, PinReason, SessionState, TransactionDetection},
    clock,
    front::{self, Allowance, Client, Identity, Registration, Share, Terms},
    limits,
    pool::{Lease, Pool},
    refusal::{Fault, Refusal},
    registry::Route,
};

/// Serves a client until it leaves or has to.
///
/// Not an `async fn`, and with rare stages in boxes: what an idle client costs is the size of this future (I8, M1).
pub fn serve<B: Backend>(client: Client<B>) -> impl std::future::Future<Output = ()> + Send {
    let mut life = Life::new(client);
    async move {
        tracing::debug!(client = %life.identity, "client connected");
        let ending = life.run().await;
        tracing::debug!(client = %life.identity, reason = ending.reason(), "client disconnected");
        Box::pin(life.end(ending)).await;
    }
}

/// How a client's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It said good-bye.
    Goodbye,
    /// Its connection broke or was closed.
    Vanished,
    /// It has been told why.
    Told(&'static str),
}

/// What needs more than moving bytes.
enum Event {
    Inbox(front::Event),
    Lease(Access),
    Finish,
    ClientGone,
    ClientFault(&'static str),
    ServerGone(&'static str),
    Expired(Expired),
    /// A transaction ended while a drain was asked for.
    Drained,
}

/// Whether bytes of the client wait unjudged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// No, or only the head of an incomplete message.
    Nothing,
    /// They deserve another look.
    Again,
    /// The server has to answer first.
    UntilAnswered,
}

/// Whether the client may begin another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Future {
    Open,
    Draining,
}

/// A server connection in the client's hands.
struct Attached<B: Backend> {
    lease: Lease<B>,
    pool: Arc<Pool<B>>,
    /// Of what its user may hold; given back with the lease.
    _share: Option<Share>,
    /// Why the client keeps it, as last told to the log.
    pinned: Option<PinReason>,
}

impl<B: Backend> Attached<B> {
    /// Tells the log when the client begins or ceases to keep its server connection between transactions.
    fn log_pin(&mut self, state: SessionState, client: &Identity) {
        let pinned = match state {
            SessionState::Pinned(reason) => Some(reason),
            SessionState::Idle => None,
            SessionState::InTransaction { .. } | SessionState::Busy | SessionState::Broken(_) => return,
        };
        if pinned == self.pinned {
            return;
        }
        let before = std::mem::replace(&mut self.pinned, pinned);
        match (pinned.or(before), pinned) {
            // By configuration or by the protocol, not by what the client did.
            (Some(PinReason::SessionMode | PinReason::Replication) | None, _) => {}
            (Some(reason), Some(_)) => {
                tracing::info!(%client, reason = reason.as_str(), "client keeps its server connection");
            }
            (Some(reason), None) => {
                tracing::info!(%client, reason = reason.as_str(), "client needs its server connection no more");
            }
        }
    }
}

struct Life<B: Backend> {
    io: B::ClientIo,
    dialogue: B::Dialogue,
    route: Route<B>,
    profile: B::Profile,
    terms: Terms,
    registration: Registration,
    identity: Identity,
    to_client: Lane,
    to_server: Lane,
    held: Held,
    attached: Option<Attached<B>>,
    cancel: Cancel,
    watch: Option<Box<Watch>>,
    future: Future,
}

impl<B: Backend> Life<B> {
    fn new(client: Client<B>) -> Self {
        let Client {
            io,
            read_ahead,
            dialogue,
            route,
            profile,
            terms,
            registration,
            identity,
        } = client;
        let mut to_server = Lane::new(Toward::Server);
        to_server.keep(&read_ahead);
        Life {
            io,
            dialogue,
            route,
            profile,
            watch: Watch::for_limits(&terms.timeouts),
            terms,
            registration,
            identity,
            to_client: Lane::new(Toward::Client),
            held: if read_ahead.is_empty() {
                Held::Nothing
            } else {
                Held::Again
            },
            to_server,
            attached: None,
            cancel: Cancel::default(),
            future: Future::Open,
        }
    }

    async fn run(&mut self) -> Ending {
        loop {
            let event = poll_fn(|cx| self.poll(cx)).await;
            let ending = match event {
                Event::Lease(access) => Box::pin(self.wait_for_lease(access)).await,
                Event::Inbox(event) => self.on_inbox(event),
                Event::Expired(expired) => self.on_expired(expired),
                Event::ServerGone(why) => self.on_server_gone(why),
                Event::ClientFault(what) => self
                    .refuse(&Refusal::ProtocolViolation(what))
                    .or(Some(Ending::Told(what))),
                Event::Drained => self.on_drain(),
                Event::Finish => Some(Ending::Goodbye),
                Event::ClientGone => Some(Ending::Vanished),
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    /// Moves what can be moved.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.registration.poll_event(cx) {
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
    fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
        loop {
            self.flush(cx, scratch)?;
            let from_server = self.pump_server(cx, scratch)?;
            let from_client = self.pump_client(cx, scratch)?;
            self.start_wanted_cancel();
            let released = self.release_if_at_rest();
            if released && self.future == Future::Draining {
                return Err(Event::Drained);
            }
            if !(from_server || from_client || released) {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Event> {
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

    /// One read from the server, judged and sent on. False when there was nothing to read, or no room for it.
    fn pump_server(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event> {
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
        self.judge_server(cx, scratch, count)?;
        Ok(true)
    }

    fn judge_server(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, count: usize) -> Result<(), Event> {
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
    fn pump_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<bool, Event> {
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
        if self.held == Held::UntilAnswered {
            self.to_server.keep(&scratch.read[..count]);
        } else {
            self.judge_client(cx, scratch, count)?;
        }
        Ok(true)
    }

    fn judge_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, count: usize) -> Result<(), Event> {
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

    fn obey(&mut self, verdict: Verdict) -> Result<(), Event> {
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
                let pool = self.route.pool(access);
                match pool.try_acquire(&self.profile) {
                    Some(lease) => {
                        let pool = pool.clone();
                        self.attach(lease, pool, share.flatten());
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

    fn attach(&mut self, mut lease: Lease<B>, pool: Arc<Pool<B>>, share: Option<Share>) {
        let mut out = Outbox::default();
        self.dialogue.adopt(&mut lease.session, &mut out);
        self.to_server.push(&mut out.to_server);
        self.to_client.push(&mut out.to_client);
        self.attached = Some(Attached {
            lease,
            pool,
            _share: share,
            pinned: None,
        });
        self.held = Held::Again;
        if let Some(watch) = &mut self.watch {
            watch.lease_started();
        }
    }

    /// Gives the server connection back if nothing ties the client to it.
    fn release_if_at_rest(&mut self) -> bool {
        let Some(attached) = &mut self.attached else {
            return false;
        };
        let state = attached.lease.session.state();
        attached.log_pin(state, &self.identity);
        let at_rest = state == SessionState::Idle
            && self.held == Held::Nothing
            && self.cancel.is_over()
            && self.to_client.unjudged() == 0
            && self.to_client.body() == Body::None
            && self.to_server.body() == Body::None
            && self.to_server.is_flushed();
        if at_rest {
            self.give_back();
        }
        at_rest
    }

    /// Gives the server connection back, which is at rest.
    fn give_back(&mut self) {
        if let Some(Attached { mut lease, .. }) = self.attached.take() {
            self.dialogue.release(&mut lease.session);
            if self.cancel.take_doubt() || !self.cancel.is_over() {
                self.cancel.forget();
                lease.discard("a cancel request for it did not come back");
            } else {
                lease.finish();
            }
        }
    }

    /// Waits in the queue for a server connection. Meanwhile the client may go away, cancel, or be told to end.
    async fn wait_for_lease(&mut self, access: Access) -> Option<Ending> {
        let mut pool = self.route.pool(access).clone();
        loop {
            let timeout = self.terms.pool_timeout.unwrap_or_else(|| pool.settings().pool_timeout);
            let waited = {
                let allowance = self.terms.allowance.clone();
                let mut acquire = pin!(acquire(pool.clone(), self.profile.clone(), allowance, timeout));
                poll_fn(|cx| {
                    if let Poll::Ready(answer) = acquire.as_mut().poll(cx) {
                        return Poll::Ready(Waited::Answer(answer));
                    }
                    if let Poll::Ready(event) = self.registration.poll_event(cx) {
                        return Poll::Ready(Waited::Inbox(event));
                    }
                    with_scratch(|scratch| self.listen_while_waiting(cx, scratch))
                })
                .await
            };
            return match waited {
                Waited::Answer(Ok((lease, share))) => {
                    self.attach(lease, pool, share);
                    None
                }
                Waited::Answer(Err(refusal)) => {
                    // A replica that cannot be reached is avoided, not suffered.
                    let other = self.route.pool(access);
                    if matches!(refusal, Refusal::Open { .. }) && !Arc::ptr_eq(other, &pool) {
                        pool = other.clone();
                        continue;
                    }
                    self.refuse(&refusal)
                }
                Waited::Inbox(front::Event::Cancel(ticket)) => {
                    let ending = self.refuse(&Refusal::Cancelled);
                    drop(ticket);
                    ending
                }
                Waited::Inbox(front::Event::Drain) => {
                    self.future = Future::Draining;
                    self.refuse(&Refusal::ShuttingDown)
                        .or(Some(Ending::Told("shutting down")))
                }
                Waited::Inbox(front::Event::Terminate) => {
                    self.refuse(&Refusal::Terminated).or(Some(Ending::Told("terminated")))
                }
                Waited::ClientGone => Some(Ending::Vanished),
            };
        }
    }

    fn listen_while_waiting(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Waited<B>> {
        if self
            .to_client
            .poll_send(&mut self.io, cx, &mut scratch.gather, &[])
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
        }
        Poll::Pending
    }

    /// Says no in the client's protocol. The client's request is dealt with by that.
    fn refuse(&mut self, why: &Refusal) -> Option<Ending> {
        tracing::info!(client = %self.identity, refusal = ?why, "refused");
        let mut out = Outbox::default();
        let onward = self.dialogue.refuse(why, &mut out);
        self.to_client.push(&mut out.to_client);
        self.held = Held::Again;
        (onward == Onward::Finish).then_some(Ending::Told("refused"))
    }

    fn on_inbox(&mut self, event: front::Event) -> Option<Ending> {
        match event {
            front::Event::Cancel(ticket) => {
                self.cancel.want(ticket);
                self.start_wanted_cancel();
                None
            }
            front::Event::Drain => {
                self.future = Future::Draining;
                self.on_drain()
            }
            front::Event::Terminate => {
                if self.attached.is_none() {
                    self.refuse(&Refusal::Terminated);
                }
                Some(Ending::Told("terminated"))
            }
        }
    }

    /// Ends the client if it is between transactions.
    fn on_drain(&mut self) -> Option<Ending> {
        let between = match &self.attached {
            None => true,
            Some(attached) => matches!(attached.lease.session.state(), SessionState::Pinned(_)),
        };
        if !between {
            return None;
        }
        self.refuse(&Refusal::ShuttingDown);
        Some(Ending::Told("shutting down"))
    }

    /// Sends a cancel request on its way as soon as there is something of the client's own to cancel (S6.2).
    fn start_wanted_cancel(&mut self) {
        if !self.cancel.is_wanted() || self.held == Held::UntilAnswered {
            return;
        }
        match &self.attached {
            Some(Attached { lease, pool, .. }) if lease.session.state() == SessionState::Busy => {
                self.cancel
                    .start(pool, lease.cancel_key.clone(), self.terms.timeouts.cancel_wait);
            }
            _ => self.cancel.forget(),
        }
    }

    fn on_expired(&mut self, expired: Expired) -> Option<Ending> {
        let refusal = expired.refusal(&self.terms);
        match expired {
            Expired::ClientIdle => self.refuse(&refusal).or(Some(Ending::Told("idle"))),
            Expired::IdleInTransaction | Expired::TransactionAtRest => {
                if let Some(attached) = &mut self.attached {
                    tracing::info!(client = %self.identity, refusal = ?refusal, "transaction rolled back");
                    let mut out = Outbox::default();
                    self.dialogue
                        .abandon_transaction(&mut attached.lease.session, &refusal, &mut out);
                    self.to_server.push(&mut out.to_server);
                    self.to_client.push(&mut out.to_client);
                }
                None
            }
            Expired::Query | Expired::TransactionRunning => {
                if let Some(Attached { lease, pool, .. }) = &mut self.attached {
                    tracing::info!(client = %self.identity, refusal = ?refusal, "cancelling");
                    self.dialogue.cancelled_for(&mut lease.session, &refusal);
                    self.cancel
                        .start(pool, lease.cancel_key.clone(), self.terms.timeouts.cancel_wait);
                }
                None
            }
            Expired::Grace => self.on_server_gone("the server did not obey a cancel request"),
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

    fn on_server_gone(&mut self, why: &'static str) -> Option<Ending> {
        let Attached { mut lease, .. } = self.attached.take()?;
        let mid_message = matches!(self.to_client.body(), Body::Forward(_));
        self.to_client.sender_gone();
        self.to_server.receiver_gone();
        self.cancel.forget();
        self.cancel.take_doubt();
        let mut out = Outbox::default();
        let onward = self.dialogue.server_lost(&mut lease.session, mid_message, &mut out);
        self.to_client.push(&mut out.to_client);
        lease.discard(why);
        self.held = Held::Again;
        (onward == Onward::Finish).then_some(Ending::Told(why))
    }

    /// Parts: the client gets what it is owed and is closed, the server connection is brought to rest.
    async fn end(self, ending: Ending) {
        let Life {
            io,
            dialogue,
            registration,
            mut to_client,
            to_server,
            attached,
            cancel,
            terms,
            ..
        } = self;
        drop(registration);
        let owed = to_client.split_unsent();
        let farewell = async {
            match ending {
                Ending::Told(_) => farewell(io, owed).await,
                Ending::Goodbye | Ending::Vanished => drop(io),
            }
        };
        let recovery = async {
            if let Some(attached) = attached {
                let lanes = recovery::Unfinished { to_client, to_server };
                recovery::discard_or_recover(attached, dialogue, lanes, cancel, &terms, ending).await;
            }
        };
        tokio::join!(farewell, recovery);
    }
}

/// A server connection, and the share of its user's that it takes, if the user's are counted; both within `timeout`.
async fn acquire<B: Backend>(
    pool: Arc<Pool<B>>,
    profile: B::Profile,
    allowance: Option<Arc<Allowance>>,
    timeout: Option<Duration>,
) -> Result<(Lease<B>, Option<Share>), Refusal> {
    let Some(allowance) = allowance else {
        return Ok((pool.acquire(profile, timeout).await?, None));
    };
    let began = clock::now();
    let share = allowance.take(pool.name(), timeout).await?;
    let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
    Ok((pool.acquire(profile, left).await?, Some(share)))
}

/// What waiting for a server connection came to.
enum Waited<B: Backend> {
    Answer(Result<(Lease<B>, Option<Share>), Refusal>),
    Inbox(front::Event),
    ClientGone,
}

/// How long a client that has to go gets to read what it is owed.
const FAREWELL: Duration = Duration::from_secs(5);

/// Sends the rest and closes the stream properly.
async fn farewell<I: crate::backend::Io>(mut io: I, mut lane: Lane) {
    let all = async {
        poll_fn(|cx| {
            let sent = lane.poll_send(&mut io, cx, &mut bytes::BytesMut::new(), &[]);
            if sent.is_err() || lane.is_flushed() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        // The peer may have closed already; there is nobody left to tell.
        let _ = io.shutdown().await;
    };
    let _ = tokio::time::timeout(FAREWELL, all).await;
}

impl Ending {
    fn reason(self) -> &'static str {
        match self {
            Ending::Goodbye => "said good-bye",
            Ending::Vanished => "connection closed by the client",
            Ending::Told(why) => why,
        }
    }
}

use std::future::Future as _;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::toy::Toy;

    /// Whatever is added here is paid ten thousand times over by idle clients.
    #[test]
    fn an_idle_client_costs_little_more_than_its_state() {
        fn future_of<F>(_: impl FnOnce(Client<Toy>) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let (future, life) = (future_of(serve::<Toy>), std::mem::size_of::<Life<Toy>>());
        assert!(
            future <= life + 256,
            "the future takes {future} bytes, the state in it {life}"
        );
    }
}
