//! The clocks of one client's life, folded into one timer.
//!
//! The timer is armed for the earliest deadline that may apply and not touched per query: when it fires early, it is
//! armed again for what applies by then. A client without time limits has no `Watch` at all.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    alarm::Alarm,
    backend::{SessionState, TransactionDetection},
    clock::{self, Instant},
    front::Terms,
    refusal::{Limit, Refusal},
    settings::Timeouts,
};

pub(super) struct Watch {
    limits: Timeouts,
    phase: Phase,
    since: Instant,
    completed: u64,
    transactions: u64,
    lease_since: Instant,
    linger: Option<Linger>,
    alarm: Alarm,
}

/// A client that keeps a connection which is at rest.
#[derive(Clone, Copy, Debug)]
struct Linger {
    /// Because of this many writes.
    writes: u64,
    /// `None`: it has had its time.
    until: Option<Instant>,
}

/// What the client is doing, as far as time limits care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Holds no server connection, or holds one outside of a transaction.
    AtRest,
    Running,
    InTransaction,
    /// Perhaps in a transaction: nobody has asked the server yet.
    InDoubt,
    /// It is being asked because of a limit; without an answer in time the connection is closed.
    Asking(Instant),
    /// A cancel request was sent because of a limit; next the connection is closed.
    Grace(Instant),
    /// The transaction is being rolled back because of a limit; if that is not answered in time, the connection is closed.
    RollingBack(Instant),
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    ClientIdle,
    IdleInTransaction,
    Query,
    TransactionRunning,
    TransactionAtRest,
    /// One of these two, if a transaction is open.
    InDoubt,
    /// The client has had its moment to ask what it wrote.
    Linger,
    /// The server did not react to a cancel request, or to the end of a transaction.
    Grace,
}

impl Watch {
    /// A watch, if there is anything to watch.
    pub(super) fn for_limits(limits: &Timeouts) -> Option<Box<Self>> {
        let any = [
            limits.query,
            limits.idle_in_transaction,
            limits.transaction,
            limits.client_idle,
            limits.linger,
        ];
        any.iter().any(Option::is_some).then(|| {
            let now = clock::now();
            Box::new(Watch {
                limits: limits.clone(),
                phase: Phase::AtRest,
                since: now,
                completed: 0,
                transactions: 0,
                lease_since: now,
                linger: None,
                alarm: Alarm::Off,
            })
        })
    }

    pub(super) fn lease_started(&mut self, now: Instant) {
        self.lease_since = now;
        self.linger = None;
    }

    /// Whether the client, whose connection is at rest, still keeps it because of so many writes. The time counts from the
    /// last of them.
    pub(super) fn lingers(&mut self, writes: u64, now: Instant) -> bool {
        let Some(limit) = self.limits.linger else { return false };
        if writes == 0 {
            return false;
        }
        match self.linger {
            Some(linger) if linger.writes == writes => linger.until.is_some_and(|until| now < until),
            _ => {
                let until = Some(now + limit);
                self.linger = Some(Linger { writes, until });
                true
            }
        }
    }

    /// Takes note of where the client stands.
    pub(super) fn observe(&mut self, session: Option<&impl TransactionDetection>, now: Instant) {
        let phase = match session.map(TransactionDetection::state) {
            Some(SessionState::Busy) => Phase::Running,
            Some(SessionState::Pinned(_)) if session.is_some_and(TransactionDetection::may_be_in_transaction) => {
                Phase::InDoubt
            }
            None | Some(SessionState::Idle | SessionState::Pinned(_) | SessionState::Broken(_)) => Phase::AtRest,
            Some(SessionState::InTransaction { .. }) => Phase::InTransaction,
        };
        let completed = session.map_or(0, TransactionDetection::completed);
        let transactions = session.map_or(0, |session| session.work().transactions);
        if self.transactions != transactions {
            // One has ended, and the next one may have begun since.
            self.transactions = transactions;
            self.lease_since = now;
        }
        if matches!((self.phase, phase), (Phase::Asking(_), Phase::InTransaction)) {
            // It was open all the while.
            self.phase = phase;
            self.completed = completed;
        }
        let same = match (self.phase, phase) {
            (Phase::Asking(_), Phase::Running) => true,
            (Phase::Grace(_), Phase::Running) => true,
            (Phase::RollingBack(_), Phase::Running | Phase::InTransaction) => true,
            (before, present) => before == present,
        };
        if !same || completed != self.completed {
            // A session-pinned client starts its next transaction without a new lease.
            if self.phase == Phase::AtRest && phase != Phase::AtRest {
                self.lease_since = now;
            }
            self.phase = phase;
            self.completed = completed;
            self.since = now;
        }
    }

    /// The limit that has been reached, if any, or a wake-up at the next one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Expired> {
        let Some((deadline, expired)) = self.next_deadline() else {
            self.alarm.tidy(now);
            return Poll::Pending;
        };
        if now < deadline {
            self.alarm.wake_by(deadline, cx, now);
            return Poll::Pending;
        }
        self.phase = match expired {
            Expired::Query | Expired::TransactionRunning => Phase::Grace(now + self.limits.cancel_wait),
            Expired::IdleInTransaction | Expired::TransactionAtRest => Phase::RollingBack(now + self.limits.recovery),
            Expired::InDoubt => Phase::Asking(now + self.limits.recovery),
            Expired::ClientIdle | Expired::Grace | Expired::Linger => self.phase,
        };
        if let (Expired::Linger, Some(linger)) = (expired, &mut self.linger) {
            linger.until = None;
        }
        Poll::Ready(expired)
    }

    fn next_deadline(&self) -> Option<(Instant, Expired)> {
        let after = |limit: Option<Duration>, since: Instant, what| limit.map(|limit| (since + limit, what));
        let candidates = match self.phase {
            Phase::AtRest => [
                after(self.limits.client_idle, self.since, Expired::ClientIdle),
                self.linger
                    .and_then(|linger| linger.until)
                    .map(|until| (until, Expired::Linger)),
            ],
            Phase::Running => [
                after(self.limits.query, self.since, Expired::Query),
                after(self.limits.transaction, self.lease_since, Expired::TransactionRunning),
            ],
            Phase::InTransaction => [
                after(self.limits.idle_in_transaction, self.since, Expired::IdleInTransaction),
                after(self.limits.transaction, self.lease_since, Expired::TransactionAtRest),
            ],
            Phase::InDoubt => [
                after(self.shorter_idle(), self.since, Expired::InDoubt),
                after(self.limits.transaction, self.lease_since, Expired::InDoubt),
            ],
            Phase::Grace(end) | Phase::RollingBack(end) | Phase::Asking(end) => [Some((end, Expired::Grace)), None],
        };
        candidates.into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }

    /// How long a client may rest, if nobody knows whether it is in a transaction.
    fn shorter_idle(&self) -> Option<Duration> {
        let limits = [self.limits.idle_in_transaction, self.limits.client_idle];
        limits.into_iter().flatten().min()
    }
}

impl Expired {
    /// In words, with the limit and where it is set.
    pub(super) fn refusal(self, terms: &Terms) -> Refusal {
        let limit = |name: &'static str, value: Option<Duration>| Limit {
            name,
            value: format!("{} s", value.unwrap_or_default().as_secs_f64()),
            set_in: terms.origins.of(name).to_owned(),
        };
        let timeouts = &terms.timeouts;
        match self {
            Expired::ClientIdle => Refusal::ClientIdle(limit("client_idle_timeout", timeouts.client_idle)),
            Expired::IdleInTransaction => {
                Refusal::IdleInTransaction(limit("idle_in_transaction_timeout", timeouts.idle_in_transaction))
            }
            Expired::Query => Refusal::QueryTimeout(limit("query_timeout", timeouts.query)),
            Expired::TransactionRunning | Expired::TransactionAtRest => {
                Refusal::TransactionTimeout(limit("transaction_timeout", timeouts.transaction))
            }
            // Nobody is told of these.
            Expired::InDoubt => {
                Refusal::IdleInTransaction(limit("idle_in_transaction_timeout", timeouts.idle_in_transaction))
            }
            Expired::Linger => Refusal::ClientIdle(limit("linger_ms", timeouts.linger)),
            Expired::Grace => Refusal::QueryTimeout(limit("cancel_wait", Some(timeouts.cancel_wait))),
        }
    }
}
