//! A client is gone and left a server connection behind: bring it to rest, or close it (I5, S8).
//!
//! What the server still answers is judged as ever and thrown away. Time and bytes are bounded; beyond that a new login
//! is cheaper than waiting.

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::BytesMut;

use super::{
    Attached, Ending,
    cancel::Cancel,
    lane::{Body, Lane, Verdict},
    scratch::{Scratch, Turn, poll_read, with_scratch},
};
use crate::{
    backend::{Backend, Dialogue, Leave, Outbox, SessionState, TransactionDetection},
    clock,
    front::Terms,
    limits,
};

/// The lanes as the client left them.
pub(super) struct Unfinished {
    pub(super) to_client: Lane,
    pub(super) to_server: Lane,
}

/// How long what runs may go on by itself when the client vanished, before it is cancelled: most statements are over
/// by then, and a cancel costs the database a process.
const CANCEL_AFTER: Duration = Duration::from_millis(100);

/// Brings the connection to rest and gives it back, or closes it.
pub(super) async fn discard_or_recover<B: Backend>(
    mut attached: Attached<B>,
    mut dialogue: B::Dialogue,
    mut lanes: Unfinished,
    mut cancel: Cancel,
    terms: &Terms,
    ending: Ending,
) {
    let patience = attached.lease.pool().recovery(terms.timeouts.recovery);
    let outcome = tokio::time::timeout(
        patience,
        recover(&mut attached, &mut dialogue, &mut lanes, &mut cancel, terms, ending),
    );
    let outcome = outcome
        .await
        .unwrap_or(Err("its client left, and it did not come to rest in time"));
    let outcome = outcome.and(if cancel.is_over() && !cancel.take_doubt() {
        Ok(())
    } else {
        Err("a cancel request for it did not come back")
    });
    let (session, activity) = (&attached.lease.session, attached.lease.pool().activity());
    attached.course.cut(session, activity, clock::now());
    match outcome {
        Ok(()) => {
            dialogue.release(&mut attached.lease.session);
            attached.lease.finish();
        }
        Err(why) => attached.lease.discard(why),
    }
}

async fn recover<B: Backend>(
    attached: &mut Attached<B>,
    dialogue: &mut B::Dialogue,
    lanes: &mut Unfinished,
    cancel: &mut Cancel,
    terms: &Terms,
    ending: Ending,
) -> Result<(), &'static str> {
    let half_said = matches!(lanes.to_server.body(), Body::Forward(_));
    lanes.to_server.sender_gone();
    lanes.to_client.receiver_gone();
    let mut may_cancel = leave(attached, dialogue, lanes, half_said)?;
    // Who says good-bye with a statement under way (fire and forget) means it to be carried out.
    let grace = if ending == Ending::Goodbye {
        terms.timeouts.recovery / 2
    } else {
        CANCEL_AFTER
    };
    let mut grace = std::pin::pin!(tokio::time::sleep(grace));
    let mut budget = limits::MAX_DRAIN;
    loop {
        let step = poll_fn(|cx| {
            cancel.poll(cx);
            if may_cancel && grace.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Pause::Cancel));
            }
            with_scratch(clock::now(), |scratch| {
                poll_rest(cx, scratch, attached, dialogue, lanes, &mut budget)
            })
        });
        match step.await? {
            Pause::Cancel => {
                may_cancel = false;
                if attached.lease.session.state() == SessionState::Busy {
                    let mut out = Outbox::default();
                    dialogue.cancel_in_band(&mut attached.lease.session, &mut out);
                    lanes.to_server.push(&mut out.to_server);
                    cancel.start(
                        attached.lease.pool(),
                        attached.lease.cancel_key.clone(),
                        terms.timeouts.cancel_wait,
                    );
                }
            }
            Pause::InTransaction => may_cancel &= leave(attached, dialogue, lanes, false)?,
            Pause::AtRest => {
                cancel.over().await;
                return Ok(());
            }
        }
    }
}

/// A point at which recovery has to decide something.
enum Pause {
    Cancel,
    InTransaction,
    AtRest,
}

/// Lets the dialogue write what ends the conversation; whether what runs may be cancelled.
fn leave<B: Backend>(
    attached: &mut Attached<B>,
    dialogue: &mut B::Dialogue,
    lanes: &mut Unfinished,
    half_said: bool,
) -> Result<bool, &'static str> {
    let mut out = Outbox::default();
    let leave = dialogue.leave(&mut attached.lease.session, half_said, &mut out);
    lanes.to_server.push(&mut out.to_server);
    match leave {
        Leave::Drain { cancel } => Ok(cancel),
        Leave::Discard(why) => Err(why),
    }
}

/// Writes what is owed to the server, reads and judges its answers, until it has come to some rest.
fn poll_rest<B: Backend>(
    cx: &mut std::task::Context<'_>,
    scratch: &mut Scratch,
    attached: &mut Attached<B>,
    dialogue: &mut B::Dialogue,
    lanes: &mut Unfinished,
    budget: &mut u64,
) -> Poll<Result<Pause, &'static str>> {
    let broke = "the connection broke after its client had left";
    loop {
        let lease = &mut attached.lease;
        if lanes
            .to_server
            .poll_send(&mut lease.io, cx, &mut scratch.turn.gather, &[])
            .is_err()
        {
            return Poll::Ready(Err(broke));
        }
        let quiet =
            lanes.to_server.is_flushed() && lanes.to_client.unjudged() == 0 && lanes.to_client.body() == Body::None;
        match lease.session.state() {
            SessionState::Idle if quiet => return Poll::Ready(Ok(Pause::AtRest)),
            SessionState::InTransaction { .. } if quiet => return Poll::Ready(Ok(Pause::InTransaction)),
            SessionState::Pinned(_) if quiet => return Poll::Ready(Err("pinned to a client that has left")),
            SessionState::Broken(why) => return Poll::Ready(Err(why)),
            _ => {}
        }
        let count = match poll_read(&mut lease.io, cx, &mut scratch.read) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(broke)),
            Poll::Ready(Ok(count)) => count,
        };
        *budget = match budget.checked_sub(count as u64) {
            Some(rest) => rest,
            None => return Poll::Ready(Err("its client left behind too large an answer")),
        };
        let Scratch { read, turn } = scratch;
        let Turn { gather, out, .. } = turn;
        lanes.to_client.keep(&read[..count]);
        if !lanes.to_client.is_worth_judging(0) {
            continue;
        }
        let mut bytes: BytesMut = lanes.to_client.take_unjudged();
        let session = &mut lease.session;
        let judged = lanes.to_client.judge(&bytes, gather, out, |bytes, out| {
            dialogue.from_server(bytes, session, out)
        });
        lanes.to_server.push(&mut out.to_server);
        out.to_client.clear();
        gather.clear();
        bytes::Buf::advance(&mut bytes, judged.consumed);
        lanes.to_client.put_back(bytes);
        if let Verdict::Fault(_) = judged.verdict {
            return Poll::Ready(Err("protocol violation by the server"));
        }
    }
}

use std::future::Future as _;
