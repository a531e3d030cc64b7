//! Single transactions and logins, for those who ask for them: a log line for each slow one, and a sample of all for
//! traces. Nobody asks by default, and then it costs two looks at memory that nobody writes to.
//!
//! One watcher for the process, like its log. Invariants: a report names who and how long, and nothing that a client has
//! said; whoever takes it must not wait.

use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{RefusalKind, TimeSplit};
use crate::{backend::Work, clock::Instant, front::Identity};

/// A transaction that is over, or what a client has sent in one go.
#[derive(Clone, Debug)]
pub struct TransactionReport {
    /// Whose it was.
    pub identity: Identity,
    /// Where it ran: `primary`, `replica`.
    pub role: &'static str,
    /// The connection: see [`crate::pool::Lease::number`].
    pub server: u64,
    /// When it had a server connection.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What the time went into; waiting and connecting were before it began.
    pub split: TimeSplit,
    /// What was done in it.
    pub work: Work,
    /// Bytes that the client sent.
    pub from_client: u64,
    /// Bytes that the server sent.
    pub from_server: u64,
}

/// A login that is over.
#[derive(Clone, Debug)]
pub struct LoginReport {
    /// The listener's name.
    pub listener: Arc<str>,
    /// When the connection was accepted.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// Why it was refused; `None` for one that was accepted.
    pub refused: Option<RefusalKind>,
}

/// Takes a sample of what happens.
pub trait Watcher: Send + Sync {
    /// A transaction is over.
    fn transaction(&self, report: TransactionReport);
    /// A login is over.
    fn login(&self, report: LoginReport);
}

/// Nanoseconds; transactions that take longer are logged.
static SLOW: AtomicU64 = AtomicU64::new(u64::MAX);
/// Of 2^32 transactions, so many are shown to the watcher.
static SAMPLE: AtomicU64 = AtomicU64::new(0);
static WATCHER: OnceLock<Box<dyn Watcher>> = OnceLock::new();

/// From now on, transactions that take longer are logged, the wait before them included.
pub fn log_slow(longer_than: Duration) {
    SLOW.store(u64::try_from(longer_than.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

/// What [`sample`] draws is shown to `watcher`. Once in a process: a second watcher is ignored.
pub fn watch(watcher: Box<dyn Watcher>) {
    // Whoever set the first one knows of it.
    let _ = WATCHER.set(watcher);
}

/// From now on, a share of `ratio` (0 to 1) of all transactions and logins is shown to the watcher.
pub fn sample(ratio: f64) {
    SAMPLE.store((ratio.clamp(0.0, 1.0) * 2_f64.powi(32)) as u64, Relaxed);
}

/// Whether anybody wants to know of a transaction that took so long.
#[inline]
pub(crate) fn is_wanted(took: Duration) -> Wanted {
    let (slow, sample) = (SLOW.load(Relaxed), SAMPLE.load(Relaxed));
    Wanted {
        log: slow != u64::MAX && took.as_nanos() >= u128::from(slow),
        watcher: sample > 0 && is_drawn(sample),
    }
}

/// See [`is_wanted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    log: bool,
    watcher: bool,
}

impl Wanted {
    #[inline]
    pub(crate) fn is_any(self) -> bool {
        self.log || self.watcher
    }

    /// Tells those who want to know.
    pub(crate) fn tell(self, report: TransactionReport) {
        if self.log {
            let seconds = |time: Duration| time.as_secs_f64();
            let TimeSplit {
                waiting,
                connecting,
                resetting,
                server,
                client,
            } = report.split;
            tracing::info!(
                client = %report.identity,
                role = report.role,
                took = seconds(waiting + connecting + resetting + server + client),
                waiting = seconds(waiting),
                connecting = seconds(connecting),
                resetting = seconds(resetting),
                server = seconds(server),
                thinking = seconds(client),
                queries = report.work.queries,
                from_client = report.from_client,
                from_server = report.from_server,
                "slow transaction"
            );
        }
        if let (true, Some(watcher)) = (self.watcher, WATCHER.get()) {
            watcher.transaction(report);
        }
    }
}

/// The same for a login.
pub(crate) fn login(report: impl FnOnce() -> LoginReport) {
    let sample = SAMPLE.load(Relaxed);
    if let (true, Some(watcher)) = (sample > 0 && is_drawn(sample), WATCHER.get()) {
        watcher.login(report());
    }
}

/// One draw of a lottery of 2^32 tickets, of which so many win.
fn is_drawn(winning: u64) -> bool {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    // xorshift64: not for secrets, and good enough to draw samples.
    let mut state = STATE.get();
    if state == 0 {
        state = getrandom::u64().unwrap_or(1) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    (state >> 32) < winning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_as_large_as_it_should_be() {
        let share = |ratio: f64| {
            let winning = (ratio * 2_f64.powi(32)) as u64;
            (0..100_000).filter(|_| is_drawn(winning)).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 100_000));
        let tenth = share(0.1);
        assert!((9_000..11_000).contains(&tenth), "{tenth}");
    }

    #[test]
    fn nobody_wants_anything_by_default() {
        assert!(!is_wanted(Duration::from_secs(100_000)).is_any());
    }
}
