//! What became of the peers that connected to one listener, counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Histogram, RefusalCounts, RefusalKind, Snapshot};

/// One listener's. Written by the task of each connection, once.
#[derive(Debug, Default)]
pub struct Logins {
    accepted: Histogram,
    refused: RefusalCounts,
    cancels: AtomicU64,
    broken_off: AtomicU64,
}

/// [`Logins`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginsView {
    /// Those who are clients now, or users of the console; and how long it took from accept to "ready".
    pub accepted: Snapshot,
    /// Those who were told why not.
    pub refused: Vec<(RefusalKind, u64)>,
    /// Connections that brought a cancel request.
    pub cancels: u64,
    /// Connections that ended before there was anything to refuse: port scans, health checks of load balancers, peers
    /// that went away, a TLS handshake that failed.
    pub broken_off: u64,
}

impl Logins {
    pub(crate) fn accepted(&self, took: Duration) {
        self.accepted.record(took);
    }

    pub(crate) fn refused(&self, why: RefusalKind) {
        self.refused.count(why);
    }

    pub(crate) fn cancel(&self) {
        self.cancels.fetch_add(1, Relaxed);
    }

    pub(crate) fn broken_off(&self) {
        self.broken_off.fetch_add(1, Relaxed);
    }

    /// What they hold.
    pub fn view(&self) -> LoginsView {
        LoginsView {
            accepted: self.accepted.snapshot(),
            refused: self.refused.view(),
            cancels: self.cancels.load(Relaxed),
            broken_off: self.broken_off.load(Relaxed),
        }
    }
}
