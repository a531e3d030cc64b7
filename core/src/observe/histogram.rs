//! How often something took how long: one counter for each of the [`super::bounds`], and the sum.
//!
//! Invariants: recording is two relaxed additions; a counter never goes back; the sum is of the values themselves, not of
//! their buckets.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::bounds::{BOUNDS, COUNT, bucket_of};

/// Counts durations. 744 bytes.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; COUNT + 1],
    /// In nanoseconds: enough for 584 years.
    sum: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counts: Box<[u64; COUNT + 1]>,
    sum: u64,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, time: Duration) {
        let nanos = nanos(time);
        self.counts[bucket_of(nanos)].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos, Relaxed);
    }

    /// All durations so far, together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum.load(Relaxed))
    }

    /// What it holds.
    pub fn snapshot(&self) -> Snapshot {
        let mut counts = Box::new([0; COUNT + 1]);
        for (copy, count) in counts.iter_mut().zip(&self.counts) {
            *copy = count.load(Relaxed);
        }
        Snapshot {
            counts,
            sum: self.sum.load(Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: [const { AtomicU64::new(0) }; COUNT + 1],
            sum: AtomicU64::new(0),
        }
    }
}

impl Snapshot {
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// How long one took on average; zero without any.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count()).unwrap_or(0))
    }

    /// The time that a share of `quantile` (0 to 1) did not exceed, to within a third; zero without any. What took longer
    /// than the last bound counts as that bound: 1000 s.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let count = self.count();
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let mut before = 0;
        for (bucket, &here) in self.counts.iter().enumerate() {
            if here > 0 && before + here >= rank {
                let upper = BOUNDS.get(bucket).copied().unwrap_or(BOUNDS[COUNT - 1]);
                let lower = if bucket == 0 { 0 } else { BOUNDS[bucket - 1] };
                // Those of one bucket are taken to be spread evenly over it.
                let share = (rank - before) as f64 / here as f64;
                return Duration::from_nanos(lower + ((upper - lower) as f64 * share) as u64);
            }
            before += here;
        }
        Duration::ZERO
    }

    /// How many took no longer than each of `bounds`, which are in nanoseconds and rise. Exact for bounds of
    /// [`super::HASURA_WAIT`] and [`super::LATENCY`].
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut bucket = 0;
        let mut total = 0;
        let counts = bounds.iter().map(|bound| {
            while bucket < COUNT && BOUNDS[bucket] <= *bound {
                total += self.counts[bucket];
                bucket += 1;
            }
            total
        });
        counts.collect()
    }

    /// What has been counted since `earlier`, a snapshot of the same histogram; to show what is, not what was.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut counts = self.counts.clone();
        for (count, before) in counts.iter_mut().zip(&*earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        Snapshot {
            counts,
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// Adds what another histogram held: the pools of a source together.
    pub fn add(&mut self, other: &Snapshot) {
        for (count, more) in self.counts.iter_mut().zip(&*other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// Adds so many that took no time.
    pub(super) fn add_instant(&mut self, count: u64) {
        self.counts[0] += count;
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            counts: Box::new([0; COUNT + 1]),
            sum: 0,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    // Without u128: five hundred years are out of reach of any clock.
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{HASURA_WAIT, LATENCY};

    fn of(micros: impl IntoIterator<Item = u64>) -> Snapshot {
        let histogram = Histogram::default();
        for value in micros {
            histogram.record(Duration::from_micros(value));
        }
        histogram.snapshot()
    }

    #[test]
    fn percentiles_are_within_a_third() {
        let snapshot = of(1..=100_000);
        assert_eq!(snapshot.count(), 100_000);
        assert_eq!(snapshot.sum(), Duration::from_micros(100_000 * 100_001 / 2));
        for percent in [1_u32, 10, 50, 90, 95, 99] {
            let found = snapshot.quantile(f64::from(percent) / 100.0).as_secs_f64();
            let exact = f64::from(percent) * 1e-3;
            assert!((found / exact - 1.0).abs() < 0.02, "p{percent}: {found} for {exact}");
        }
        let lonely = of([300]);
        for quantile in [0.0, 0.5, 1.0] {
            let found = lonely.quantile(quantile);
            assert!(found > Duration::from_micros(250) && found <= Duration::from_micros(300));
        }
        assert_eq!(of([]).quantile(0.5), Duration::ZERO);
        assert_eq!(of([]).mean(), Duration::ZERO);
        assert_eq!(of([2_000_000_000]).quantile(0.5), Duration::from_secs(1_000));
    }

    #[test]
    fn published_buckets_count_exactly() {
        let seconds = |bound: u64| bound / 1_000;
        for bounds in [HASURA_WAIT.as_slice(), &LATENCY] {
            for bound in bounds {
                let at = of([seconds(*bound), seconds(*bound) + 1]);
                let place = HASURA_WAIT.iter().position(|known| known == bound);
                if let Some(place) = place {
                    assert_eq!(at.cumulative(&HASURA_WAIT)[place], 1, "{bound}");
                }
                let place = LATENCY.iter().position(|known| known == bound);
                if let Some(place) = place {
                    assert_eq!(at.cumulative(&LATENCY)[place], 1, "{bound}");
                }
            }
        }
        let all = of([0, 50, 5_000, 999_999_999]);
        assert_eq!(all.cumulative(&HASURA_WAIT), [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn a_later_snapshot_without_an_earlier_one_is_what_came_between() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(5));
        let before = histogram.snapshot();
        histogram.record(Duration::from_millis(70));
        let between = histogram.snapshot().since(&before);
        assert_eq!((between.count(), between.sum()), (1, Duration::from_millis(70)));
        let mut both = before.clone();
        both.add(&between);
        assert_eq!(both, histogram.snapshot());
    }
}
