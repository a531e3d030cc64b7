//! The histograms of one pool, and what its clients' time went into.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Histogram, Snapshot};

/// What a pool measures. Written by the tasks of its clients and of its connections.
#[derive(Debug, Default)]
pub struct Latency {
    /// Waiting for a server connection, those included who gave up; without those who did not have to wait.
    pub(crate) wait: Histogram,
    /// Opening a server connection: name, connect, TLS, login, first settings.
    pub(crate) connect: Histogram,
    /// Resetting a server connection between two clients, where that takes a round trip of its own.
    pub(crate) reset: Histogram,
    /// Transactions, from the first request to the end. What a client sends in one go counts as one.
    pub(crate) transaction: Histogram,
    /// Round trips: from a request until everything that was asked for is answered and read.
    pub(crate) query: Histogram,
    waiting: AtomicU64,
    connecting: AtomicU64,
    resetting: AtomicU64,
    reading: AtomicU64,
}

/// The histograms of a pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyView {
    /// Waiting for a server connection: everybody who asked for one, those who got it at once with no time.
    pub wait: Snapshot,
    /// Opening one.
    pub connect: Snapshot,
    /// Resetting one, where that takes a round trip of its own.
    pub reset: Snapshot,
    /// Transactions.
    pub transaction: Snapshot,
    /// Statements: round trips between a request and the end of its answer.
    pub query: Snapshot,
    /// Where the time of transactions went.
    pub split: TimeSplit,
}

/// What the time of transactions went into. Together it is the time that clients experienced, from their first request
/// to the end of their transaction: "is it the pooler, the database or the application?"
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSplit {
    /// In the queue for a server connection.
    pub waiting: Duration,
    /// In it while the connection that came of it was being opened.
    pub connecting: Duration,
    /// Until the connection had been made the client's own, where that takes a round trip before its first request.
    pub resetting: Duration,
    /// The server was at work.
    pub server: Duration,
    /// The client was: thinking within a transaction, or not reading what it was sent.
    pub client: Duration,
}

impl TimeSplit {
    /// The parts with their names, in order.
    pub fn parts(&self) -> [(&'static str, Duration); 5] {
        [
            ("waiting", self.waiting),
            ("connecting", self.connecting),
            ("resetting", self.resetting),
            ("server", self.server),
            ("client", self.client),
        ]
    }
}

/// The parts of a transaction's time that are rarely there; the others follow from the histograms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RareTimes {
    pub(crate) waiting: Duration,
    pub(crate) connecting: Duration,
    pub(crate) resetting: Duration,
    /// The client did not read what the server had sent.
    pub(crate) reading: Duration,
}

impl RareTimes {
    /// What a transaction's time went into that took `transaction` and had the server at work for `queries`.
    pub(crate) fn split(self, transaction: Duration, queries: Duration) -> TimeSplit {
        TimeSplit {
            waiting: self.waiting,
            connecting: self.connecting,
            resetting: self.resetting,
            server: queries.saturating_sub(self.resetting + self.reading),
            client: transaction.saturating_sub(queries) + self.reading,
        }
    }
}

impl Latency {
    /// Adds what a transaction spent on what most do not spend time on.
    #[inline]
    pub(crate) fn add(&self, times: RareTimes) {
        let add = |sum: &AtomicU64, time: Duration| {
            if !time.is_zero() {
                sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(0), Relaxed);
            }
        };
        add(&self.waiting, times.waiting);
        add(&self.connecting, times.connecting);
        add(&self.resetting, times.resetting);
        add(&self.reading, times.reading);
    }

    /// All of it; `prompt` clients got a connection at once.
    pub(crate) fn view(&self, prompt: u64) -> LatencyView {
        let mut view = LatencyView {
            wait: self.wait.snapshot(),
            connect: self.connect.snapshot(),
            reset: self.reset.snapshot(),
            transaction: self.transaction.snapshot(),
            query: self.query.snapshot(),
            split: TimeSplit::default(),
        };
        view.wait.add_instant(prompt);
        view.split = self.split();
        view
    }

    fn split(&self) -> TimeSplit {
        let sum = |sum: &AtomicU64| Duration::from_nanos(sum.load(Relaxed));
        let times = RareTimes {
            waiting: sum(&self.waiting),
            connecting: sum(&self.connecting),
            resetting: sum(&self.resetting),
            reading: sum(&self.reading),
        };
        // Statements first: whatever ends between two looks is then in the transactions at least.
        let queries = self.query.sum();
        times.split(self.transaction.sum(), queries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_time_add_up_to_it() {
        let latency = Latency::default();
        let seconds = Duration::from_secs;
        latency.add(RareTimes {
            waiting: seconds(5),
            connecting: seconds(3),
            resetting: seconds(2),
            reading: seconds(1),
        });
        latency.query.record(seconds(10));
        latency.transaction.record(seconds(14));
        let view = latency.view(7);
        let parts = view.split.parts().map(|(_, time)| time.as_secs());
        assert_eq!(parts, [5, 3, 2, 7, 5]);
        assert_eq!(view.wait.count(), 7);
    }
}
