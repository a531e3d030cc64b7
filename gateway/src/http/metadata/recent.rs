//! What happened lately: the difference between now and an earlier look, so that rates and percentiles show what is, not
//! what was since the start.
//!
//! Invariants: looks are kept only while somebody asks, at most one in [`SPACING`] and for pools that exist; nothing runs
//! in between.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::{
    admin::{PoolView, SourceView},
    backend::Work,
    clock::{self, Instant},
    observe::Snapshot,
};

use super::pool_stats::latency;

/// Between two looks that are kept.
const SPACING: Duration = Duration::from_secs(10);

/// Looks that are kept for each pool: what is told covers between 50 and 60 seconds once somebody has asked for as long.
const LOOKS: usize = 6;

/// The looks that are kept.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<HashMap<u32, VecDeque<Look>>>);

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    work: Work,
    wait: Snapshot,
    transaction: Snapshot,
    query: Snapshot,
}

/// The earliest look at each pool that is kept.
pub(super) struct Recent {
    now: Instant,
    earliest: HashMap<u32, Look>,
}

impl Looks {
    /// Keeps this look, if it is time for one; what to compare with.
    pub(super) fn look(&self, sources: &[SourceView]) -> Recent {
        let now = clock::now();
        let mut before = self.0.lock();
        let mut looks = HashMap::new();
        let mut earliest = HashMap::new();
        for pool in sources.iter().flat_map(|source| &source.pools) {
            let mut kept = before.remove(&pool.number).unwrap_or_default();
            // After a gap the old looks are of another time.
            let horizon = SPACING * LOOKS as u32 + SPACING;
            kept.retain(|look| now.duration_since(look.at) <= horizon);
            if let Some(first) = kept.front() {
                earliest.insert(pool.number, first.clone());
            }
            let is_due = |last: &Look| now.duration_since(last.at) >= SPACING;
            if kept.back().is_none_or(is_due) {
                kept.push_back(Look::of(pool, now));
            }
            if kept.len() > LOOKS {
                kept.pop_front();
            }
            looks.insert(pool.number, kept);
        }
        *before = looks;
        Recent { now, earliest }
    }
}

impl Look {
    fn of(pool: &PoolView, at: Instant) -> Self {
        Look {
            at,
            work: pool.doings.work,
            wait: pool.latency.wait.clone(),
            transaction: pool.latency.transaction.clone(),
            query: pool.latency.query.clone(),
        }
    }
}

impl Recent {
    /// What the pool has done since its earliest look; null when nobody has asked before.
    pub(super) fn of(&self, pool: &PoolView) -> Value {
        let Some(look) = self.earliest.get(&pool.number) else {
            return Value::Null;
        };
        let seconds = self.now.duration_since(look.at).as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(0.001);
        let work = pool.doings.work;
        json!({
            "seconds": seconds,
            "transactions_per_second": rate(work.transactions, look.work.transactions),
            "queries_per_second": rate(work.queries, look.work.queries),
            "wait": latency(&pool.latency.wait.since(&look.wait)),
            "transaction": latency(&pool.latency.transaction.since(&look.transaction)),
            "query": latency(&pool.latency.query.since(&look.query)),
        })
    }
}
