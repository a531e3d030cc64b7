//! What is measured: how long things take, as histograms and as sums by what the time was spent on.
//!
//! Invariants: measuring takes no lock, allocates nothing and never waits: a handful of relaxed atomics for each
//! transaction; nothing in it is a peer's text. Numbers are read one by one, so that two of them may be a moment apart.
//! Must not know how numbers are published (Prometheus, OTLP, the console): whoever publishes takes a snapshot.

mod bounds;
mod histogram;
mod latency;
mod logins;
mod refusals;
mod watching;

pub use bounds::{HASURA_WAIT, LATENCY};
pub use histogram::{Histogram, Snapshot};
pub(crate) use latency::RareTimes;
pub use latency::{Latency, LatencyView, TimeSplit};
pub use logins::{Logins, LoginsView};
pub use refusals::{RefusalCounts, RefusalKind};
pub use watching::{LoginReport, TransactionReport, Watcher, log_slow, sample, watch};
pub(crate) use watching::{is_wanted, login};
