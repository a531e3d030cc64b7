//! The bounds of all histograms, and why these.
//!
//! One set for everything that is measured, so that any two histograms can be added: from a microsecond, which is less
//! than anything that we wait for, to a thousand seconds, which is more than anybody does. Ten per decade: neighbours
//! differ by a third at most, so a percentile is off by less than that. They are decimal and not powers of two because
//! people ask decimal questions ("how many took longer than 0.3 s?"), and those are then answered exactly: every bound
//! that is published ([`HASURA_WAIT`], [`LATENCY`]) is one of them.

/// How many there are. Above the last one is one more bucket, for what took longer than anything should.
pub(super) const COUNT: usize = DECADES * STEPS.len() + 1;

/// Of one decade, in hundredths.
const STEPS: [u64; 10] = [100, 125, 150, 200, 250, 300, 400, 500, 600, 800];

/// From a microsecond to a thousand seconds.
const DECADES: usize = 9;

/// Upper bounds of the buckets, in nanoseconds; each belongs to its bucket.
pub(super) const BOUNDS: [u64; COUNT] = bounds();

/// Where to begin the search: by the number of significant bits of the value, the first bucket that it can be in.
const START: [u8; 65] = start();

/// The bounds of Hasura's `hasura_postgres_pool_wait_time`, in nanoseconds.
pub const HASURA_WAIT: [u64; 10] = [
    1_000,
    100_000,
    10_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
    30_000_000_000,
    100_000_000_000,
];

/// The bounds of our own histograms as they are published, in nanoseconds: 1, 2.5 and 5 of each decade from 100 µs,
/// below which a round trip to a database is as good as it gets, to 100 s.
pub const LATENCY: [u64; 19] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    25_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

/// The bucket of a value: the first whose bound is not below it, or [`COUNT`].
#[inline]
pub(super) fn bucket_of(nanos: u64) -> usize {
    let bits = (u64::BITS - nanos.leading_zeros()) as usize;
    let mut bucket = usize::from(START[bits]);
    // A few steps: there are three bounds or four between a power of two and the next.
    while bucket < COUNT && BOUNDS[bucket] < nanos {
        bucket += 1;
    }
    bucket
}

const fn bounds() -> [u64; COUNT] {
    let mut bounds = [0; COUNT];
    let mut decade = 1_000;
    let mut index = 0;
    while index < COUNT {
        bounds[index] = decade / 100 * STEPS[index % STEPS.len()];
        index += 1;
        if index.is_multiple_of(STEPS.len()) {
            decade *= 10;
        }
    }
    bounds
}

const fn start() -> [u8; 65] {
    let mut start = [0; 65];
    let mut bits = 1;
    while bits < start.len() {
        let least = 1_u64 << (bits - 1);
        let mut bucket = 0;
        while bucket < COUNT && BOUNDS[bucket] < least {
            bucket += 1;
        }
        start[bits] = bucket as u8;
        bits += 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_by_a_third_at_most() {
        assert_eq!((BOUNDS[0], BOUNDS[COUNT - 1]), (1_000, 1_000_000_000_000));
        for pair in BOUNDS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] * 3 <= pair[0] * 4, "{pair:?}");
        }
    }

    #[test]
    fn what_is_published_is_exact() {
        for bound in HASURA_WAIT.iter().chain(&LATENCY) {
            assert!(BOUNDS.contains(bound), "{bound}");
        }
    }

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let by_looking = |nanos| BOUNDS.iter().position(|bound| *bound >= nanos).unwrap_or(COUNT);
        let mut values: Vec<u64> = BOUNDS.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]).collect();
        values.extend((0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        values.push(u64::MAX);
        for nanos in values {
            assert_eq!(bucket_of(nanos), by_looking(nanos), "{nanos}");
        }
    }
}
