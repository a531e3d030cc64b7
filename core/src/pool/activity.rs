//! What the clients of a pool do, counted as they do it: numbers for metrics and views.
//!
//! Invariants: counting takes no lock and never waits (pins, which are rare, share one of their own); sums never go back;
//! a [`Pin`] is counted as long as it lives, whatever ends it. The numbers are read one by one, so that two of them may
//! be a moment apart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    backend::{PinReason, Work},
    clock::{self, Instant},
    observe::Latency,
};

/// The counters of one pool.
#[derive(Debug, Default)]
pub struct Activity {
    role: &'static str,
    transactions: AtomicU64,
    queries: AtomicU64,
    from_clients: AtomicU64,
    from_servers: AtomicU64,
    latency: Latency,
    pins: Mutex<[Pins; PinReason::ALL.len()]>,
}

/// What was done since the pool began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doings {
    /// Requests and transactions that came to their end.
    pub work: Work,
    /// Time in transactions, statements on their own included.
    pub transaction_time: Duration,
    /// The part of it in which the server was at work.
    pub query_time: Duration,
    /// Bytes that clients sent.
    pub from_clients: u64,
    /// Bytes that servers sent.
    pub from_servers: u64,
}

/// Clients that keep or kept their server connection for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinCount {
    /// Since the pool began.
    pub total: u64,
    /// At the moment.
    pub now: u32,
    /// How long together, up to now.
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pins {
    total: u64,
    now: u32,
    /// Of those that are over.
    ended: Duration,
    /// The sum of the beginnings of those that last, on the clock of [`epoch`].
    begun: Duration,
}

impl Activity {
    /// Of a pool that is this part of its source: `primary`, `replica`.
    pub(super) fn of(role: &'static str) -> Arc<Self> {
        Arc::new(Activity {
            role,
            ..Activity::default()
        })
    }

    /// Which part of its source the pool is.
    pub(crate) fn role(&self) -> &'static str {
        self.role
    }

    /// Adds what was done.
    pub(crate) fn count(&self, work: Work, from_clients: u64, from_servers: u64) {
        let add = |counter: &AtomicU64, amount: u64| {
            if amount > 0 {
                counter.fetch_add(amount, Relaxed);
            }
        };
        add(&self.transactions, work.transactions);
        add(&self.queries, work.queries);
        add(&self.from_clients, from_clients);
        add(&self.from_servers, from_servers);
    }

    /// How long things take.
    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Everything counted so far.
    pub fn total(&self) -> Doings {
        Doings {
            work: Work {
                transactions: self.transactions.load(Relaxed),
                queries: self.queries.load(Relaxed),
            },
            transaction_time: self.latency.transaction.sum(),
            query_time: self.latency.query.sum(),
            from_clients: self.from_clients.load(Relaxed),
            from_servers: self.from_servers.load(Relaxed),
        }
    }

    /// A client begins to keep its server connection.
    pub fn pin(self: &Arc<Self>, reason: PinReason) -> Pin {
        let since = clock::now();
        let pins = &mut self.pins.lock()[reason.index()];
        pins.total += 1;
        pins.now += 1;
        pins.begun += since.duration_since(epoch());
        Pin {
            activity: self.clone(),
            reason,
            since,
        }
    }

    /// The pins for each reason, in the order of [`PinReason::ALL`].
    pub fn pins(&self) -> [(PinReason, PinCount); PinReason::ALL.len()] {
        let now = clock::now().duration_since(epoch());
        let pins = *self.pins.lock();
        PinReason::ALL.map(|reason| {
            let Pins {
                total,
                now: lasting,
                ended,
                begun,
            } = pins[reason.index()];
            let time = ended + now.saturating_mul(lasting).saturating_sub(begun);
            let now = lasting;
            (reason, PinCount { total, now, time })
        })
    }
}

/// A client that keeps its server connection, counted until it is dropped.
#[derive(Debug)]
pub struct Pin {
    activity: Arc<Activity>,
    reason: PinReason,
    since: Instant,
}

impl Pin {
    /// Why.
    pub fn reason(&self) -> PinReason {
        self.reason
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let lasted = self.since.elapsed();
        let pins = &mut self.activity.pins.lock()[self.reason.index()];
        pins.now -= 1;
        pins.ended += lasted;
        pins.begun = pins.begun.saturating_sub(self.since.duration_since(epoch()));
    }
}

/// Some moment before the first pin of this process.
fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(clock::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pins_are_counted_while_they_last_and_when_they_are_over() {
        let activity = Arc::new(Activity::default());
        let count = || activity.pins()[PinReason::Listen.index()].1;
        epoch();
        tokio::time::advance(Duration::from_secs(5)).await;
        let first = activity.pin(PinReason::Listen);
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = activity.pin(PinReason::Listen);
        tokio::time::advance(Duration::from_secs(3)).await;
        let expected = |total, now, seconds| PinCount {
            total,
            now,
            time: Duration::from_secs(seconds),
        };
        assert_eq!(count(), expected(2, 2, 5 + 3));
        drop(first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(count(), expected(2, 1, 5 + 4));
        drop(second);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(count(), expected(2, 0, 5 + 4));
        let others: u64 = activity.pins().iter().map(|(_, pins)| pins.total).sum();
        assert_eq!(others, 2);
    }

    #[test]
    fn doings_add_up() {
        let activity = Activity::default();
        let work = Work {
            transactions: 1,
            queries: 3,
        };
        for _ in 0..2 {
            activity.count(work, 100, 2_000);
            activity.latency().transaction.record(Duration::from_micros(70));
        }
        let total = activity.total();
        assert_eq!((total.work.queries, total.work.transactions), (6, 2));
        assert_eq!(total.transaction_time, Duration::from_micros(140));
        assert_eq!((total.from_clients, total.from_servers), (200, 4_000));
    }
}
