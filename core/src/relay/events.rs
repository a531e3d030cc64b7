//! What happens to a client apart from bytes: cancel requests, drain, time limits, a server connection that is lost.

use super::{
    Attached, Ending, Held, Life, Prospect,
    lane::Body,
    timers::{Expired, Watch},
};
use crate::{
    backend::{Backend, Dialogue, Onward, Outbox, SessionState, TransactionDetection},
    clock, front,
    observe::RefusalKind,
    refusal::Refusal,
};

impl<B: Backend> Life<B> {
    /// Says no in the client's protocol. The client's request is dealt with by that.
    pub(super) fn refuse(&mut self, why: &Refusal) -> Option<Ending> {
        self.count_refusal(why);
        tracing::info!(client = %self.identity, reason = %why, "refused");
        let mut out = Outbox::default();
        let onward = self.dialogue.refuse(why, &mut out);
        self.to_client.push(&mut out.to_client);
        self.held = Held::Again;
        (onward == Onward::Finish).then_some(Ending::Told("refused"))
    }

    fn count_refusal(&self, why: &Refusal) {
        self.route.source.refusals().count(RefusalKind::from(why));
    }

    pub(super) fn on_inbox(&mut self, event: front::Event) -> Option<Ending> {
        match event {
            front::Event::Cancel(ticket) => {
                self.cancel.want(ticket);
                self.start_wanted_cancel();
                None
            }
            front::Event::Drain(farewell) => {
                self.prospect = Prospect::Draining(farewell);
                self.on_drain()
            }
            front::Event::Renew => {
                if self.attached.is_none() {
                    self.renew_terms();
                }
                None
            }
            front::Event::Move(successor) => {
                self.may_move_to(successor);
                None
            }
            front::Event::Terminate => {
                if self.attached.is_none() {
                    self.refuse(&Refusal::Terminated);
                }
                Some(Ending::Told("terminated"))
            }
        }
    }

    /// Ends the client if it is between transactions; else it is asked again when it has moved.
    pub(super) fn on_drain(&mut self) -> Option<Ending> {
        if !self.is_between_transactions() {
            return None;
        }
        self.refuse(&self.farewell());
        Some(Ending::Told("shutting down"))
    }

    /// Why the client has to go.
    pub(super) fn farewell(&self) -> Refusal {
        match self.prospect {
            Prospect::Draining(front::Farewell::SourceRemoved) => Refusal::SourceRemoved {
                source: self.route.source.name.clone(),
            },
            Prospect::Draining(front::Farewell::Stopping) | Prospect::Open => Refusal::ShuttingDown,
        }
    }

    /// Takes over what is declared of the source by now. Between transactions only: a limit that runs stays.
    pub(super) fn renew_terms(&mut self) {
        if self.terms.renew(&self.route) {
            self.watch = Watch::for_limits(&self.terms.timeouts);
        }
    }

    /// Whether the client holds nothing, or only what it is pinned to.
    pub(super) fn is_between_transactions(&self) -> bool {
        match &self.attached {
            None => true,
            Some(Attached { lease, .. }) => {
                matches!(lease.session.state(), SessionState::Pinned(_)) && !lease.session.may_be_in_transaction()
            }
        }
    }

    /// Asks the server whether the client is in a transaction, if that is in doubt. `true` if it was.
    pub(super) fn ask_for_transaction(&mut self) -> bool {
        let Some(Attached { lease, .. }) = &mut self.attached else {
            return false;
        };
        if !lease.session.may_be_in_transaction() {
            return false;
        }
        let mut out = Outbox::default();
        self.dialogue.ask_for_transaction(&mut lease.session, &mut out);
        self.to_server.push(&mut out.to_server);
        true
    }

    /// Sends a cancel request on its way as soon as there is something of the client's own to cancel (S6.2).
    pub(super) fn start_wanted_cancel(&mut self) {
        if !self.cancel.is_wanted() {
            return;
        }
        let is_held = self.held == Held::UntilAnswered;
        match &self.attached {
            // Only work of the gateway's own runs; the client's is still held back behind it.
            Some(Attached { lease, .. }) if is_held && !self.dialogue.has_request_under_way(&lease.session) => {}
            Some(Attached { lease, .. }) if lease.session.state() == SessionState::Busy => {
                self.cancel
                    .start(lease.pool(), lease.cancel_key.clone(), self.terms.timeouts.cancel_wait);
            }
            _ => self.cancel.decline(),
        }
    }

    pub(super) fn on_expired(&mut self, expired: Expired) -> Option<Ending> {
        if expired == Expired::Linger {
            // What is at rest goes back with the next look at it.
            return None;
        }
        let refusal = expired.refusal(&self.terms);
        match expired {
            Expired::ClientIdle => self.refuse(&refusal).or(Some(Ending::Told("idle"))),
            Expired::IdleInTransaction | Expired::TransactionAtRest => {
                self.count_refusal(&refusal);
                if let Some(attached) = &mut self.attached {
                    tracing::info!(client = %self.identity, reason = %refusal, "transaction rolled back");
                    let mut out = Outbox::default();
                    self.dialogue
                        .abandon_transaction(&mut attached.lease.session, &refusal, &mut out);
                    self.to_server.push(&mut out.to_server);
                    self.to_client.push(&mut out.to_client);
                }
                None
            }
            Expired::Query | Expired::TransactionRunning => {
                self.count_refusal(&refusal);
                if let Some(Attached { lease, .. }) = &mut self.attached {
                    tracing::info!(client = %self.identity, reason = %refusal, "cancelling");
                    self.dialogue.cancelled_for(&mut lease.session, &refusal);
                    let mut out = Outbox::default();
                    self.dialogue.cancel_in_band(&mut lease.session, &mut out);
                    self.to_server.push(&mut out.to_server);
                    self.cancel
                        .start(lease.pool(), lease.cancel_key.clone(), self.terms.timeouts.cancel_wait);
                }
                None
            }
            Expired::InDoubt => {
                self.ask_for_transaction();
                None
            }
            Expired::Linger => None,
            Expired::Grace => self.on_server_gone("the server did not obey a cancel request or a rollback in time"),
        }
    }

    pub(super) fn on_server_gone(&mut self, why: &'static str) -> Option<Ending> {
        let Attached {
            mut lease, mut course, ..
        } = self.attached.take()?;
        self.route.source.refusals().count(RefusalKind::ServerLost);
        course.cut(&lease.session, lease.pool().activity(), clock::now());
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
}
