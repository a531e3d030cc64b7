//! How long to leave a database alone that said no: exponential back-off with jitter.

use std::time::Duration;

use super::Moment;

/// The pause after the first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause while clients wait for a database that does not answer, so that they are served within two
/// seconds after it does.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a refusal that asking again does not change. Some databases lock an account that logs in
/// wrongly too often.
pub(super) const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(5);

/// Failures in a row, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) failures: u32,
    pub(super) last: Moment,
    pause: Duration,
}

impl Trouble {
    /// One more failure. `jitter` is a random number; it moves the pause by up to a quarter either way.
    pub(super) fn noted(before: Option<Trouble>, now: Moment, longest: Duration, jitter: u64) -> Trouble {
        let failures = before.map_or(0, |trouble| trouble.failures).saturating_add(1);
        let doublings = (failures - 1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
        Trouble {
            failures,
            last: now,
            pause: pause * 3 / 4 + pause / 1000 * (jitter % 500) as u32,
        }
    }

    /// Not before this.
    pub(super) fn next(&self) -> Moment {
        self.last.saturating_add(self.pause)
    }
}

/// Random enough for jitter, the same for the same seed (xorshift).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed | 1)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}
