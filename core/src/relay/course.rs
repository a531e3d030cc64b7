//! The course of one lease, counted: transactions, statements, their times and bytes, and why a client keeps what it
//! holds.
//!
//! Cheap on purpose: the clock is read when a transaction or a statement in it begins or ends, counters are added to when
//! a transaction ends, nothing is allocated. Whatever ends a lease, a pin ends with it.

use std::sync::Arc;

use crate::{
    backend::{PinNews, SessionState, TransactionDetection, Work},
    clock::{self, Instant},
    front::{Card, Pinned, Standing},
    pool::{Activity, Doings, Pin},
};

/// See the module.
pub(super) struct Course {
    card: Arc<Card>,
    stage: Stage,
    transaction_since: Instant,
    query_since: Instant,
    rest_since: Instant,
    /// What the connection had done when it was counted last.
    counted: Work,
    doings: Doings,
    pin: Option<Pin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AtRest,
    /// The server is at work.
    Busy,
    /// In a transaction, and the client is thinking.
    InTransaction,
}

impl Course {
    /// A lease begins. `sent`: bytes that the client has sent for it already.
    pub(super) fn begin(session: &impl TransactionDetection, server: u64, card: Arc<Card>, sent: usize) -> Self {
        let now = clock::now();
        card.hold(Some(server));
        card.stand(Standing::Active, now);
        Course {
            card,
            stage: Stage::Busy,
            transaction_since: now,
            query_since: now,
            rest_since: now,
            counted: session.work(),
            doings: Doings {
                from_clients: sent as u64,
                ..Doings::default()
            },
            pin: None,
        }
    }

    pub(super) fn client_sent(&mut self, count: usize) {
        self.doings.from_clients += count as u64;
    }

    pub(super) fn server_sent(&mut self, count: usize) {
        self.doings.from_servers += count as u64;
    }

    /// Takes note of where the connection stands.
    pub(super) fn observe(&mut self, session: &impl TransactionDetection, activity: &Activity) {
        let stage = match session.state() {
            SessionState::Idle | SessionState::Pinned(_) | SessionState::Broken(_) => Stage::AtRest,
            SessionState::Busy => Stage::Busy,
            SessionState::InTransaction { .. } => Stage::InTransaction,
        };
        if stage == self.stage {
            return;
        }
        let now = clock::now();
        match self.stage {
            Stage::AtRest => {
                self.transaction_since = now;
                self.card.stand(Standing::Active, now);
            }
            Stage::Busy => self.doings.query_time += now.saturating_duration_since(self.query_since),
            Stage::InTransaction => {}
        }
        match stage {
            Stage::AtRest => {
                self.doings.transaction_time += now.saturating_duration_since(self.transaction_since);
                self.rest_since = now;
                self.card.stand(Standing::Holding, now);
                self.count(session, activity);
            }
            Stage::Busy => {
                self.query_since = now;
                self.card.turn(Standing::Active);
            }
            Stage::InTransaction => self.card.turn(Standing::InTransaction),
        }
        self.stage = stage;
    }

    /// Adds what has happened to the pool's counters.
    pub(super) fn count(&mut self, session: &impl TransactionDetection, activity: &Activity) {
        let work = session.work();
        let mut doings = std::mem::take(&mut self.doings);
        doings.work = Work {
            transactions: work.transactions.wrapping_sub(self.counted.transactions),
            queries: work.queries.wrapping_sub(self.counted.queries),
        };
        self.counted = work;
        activity.count(doings);
    }

    /// Takes note of why the client keeps the connection, if that has changed.
    pub(super) fn note_pin(
        &mut self,
        state: SessionState,
        activity: &Arc<Activity>,
        cause: impl FnOnce() -> Option<Box<str>>,
    ) -> Option<PinNews> {
        let reason = match state {
            SessionState::Pinned(reason) => Some(reason),
            SessionState::Idle => None,
            SessionState::InTransaction { .. } | SessionState::Busy | SessionState::Broken(_) => return None,
        };
        let before = self.pin.as_ref().map(Pin::reason);
        if reason == before {
            return None;
        }
        self.pin = reason.map(|reason| activity.pin(reason));
        self.card.pin(self.pin.as_ref().map(|pin| Pinned {
            reason: pin.reason(),
            since: pin.since(),
            statement: cause(),
        }));
        match (reason, before) {
            (Some(reason), _) => Some(PinNews::Begun(reason)),
            (None, Some(reason)) => Some(PinNews::Over(reason)),
            (None, None) => None,
        }
    }
}

impl Course {
    /// The connection, which is at rest, goes back: the client is idle since it came to rest.
    pub(super) fn over(self) {
        self.card.stand(Standing::Idle, self.rest_since);
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.card.hold(None);
        self.card.stand_down();
        if self.pin.take().is_some() {
            self.card.pin(None);
        }
    }
}
