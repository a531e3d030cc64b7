//! The only reader of time in the workspace; clippy bans the others.
//!
//! It is tokio's clock, so that tests may pause and advance it. A moment is one word here: what the relay and the pool do
//! with moments, several times for each request, is to compare and to subtract them.

use std::{
    ops::{Add, Sub},
    sync::LazyLock,
    time::Duration,
};

/// A moment on the clock that timers use. It counts nanoseconds, and reaches 584 years ahead: what would lie behind that
/// lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// What moments are counted from. A good while ahead of the first one that anybody asks for: paused clocks of tests may
/// have begun earlier than the process asked for the time at all.
static EPOCH: LazyLock<tokio::time::Instant> = LazyLock::new(|| {
    let now = read();
    now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
});

/// Now, on the clock that timers use.
#[inline]
pub fn now() -> Instant {
    let epoch = *EPOCH;
    Instant(nanoseconds(read().saturating_duration_since(epoch)))
}

/// What the calendar says, to be shown to people; never to measure time by.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[allow(clippy::disallowed_methods)]
fn read() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos()))
}

impl Instant {
    /// How much later this is than `earlier`; zero if it is not.
    #[inline]
    pub fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long ago this was; zero if it is still to come.
    pub fn elapsed(self) -> Duration {
        now().duration_since(self)
    }

    /// This long after it; `None` where the clock ends.
    #[inline]
    pub fn checked_add(self, duration: Duration) -> Option<Instant> {
        let later = self.0.checked_add(nanoseconds(duration))?;
        (later != u64::MAX).then_some(Instant(later))
    }

    /// This long before it; `None` before the clock began.
    pub fn checked_sub(self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(nanoseconds(duration)).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanoseconds(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// For tokio's timers, which bound by themselves what is too far ahead.
impl From<Instant> for tokio::time::Instant {
    fn from(moment: Instant) -> Self {
        let since = Duration::from_nanos(moment.0);
        EPOCH.checked_add(since).unwrap_or_else(|| *EPOCH + FAR)
    }
}

/// Thirty years, as tokio has it for timers that have no end.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences() {
        let now = now();
        let second = Duration::from_secs(1);
        assert_eq!((now + second) - now, second);
        assert_eq!(now - (now + second), Duration::ZERO, "not before zero");
        assert_eq!(now.checked_add(second), Some(now + second));
        assert_eq!(now.checked_add(Duration::MAX), None, "the clock ends");
        assert_eq!(now + Duration::MAX, now + Duration::MAX + second, "and stands there");
        assert_eq!((now + second).checked_sub(second), Some(now));
        assert_eq!(now.checked_sub(Duration::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_timers_clock() {
        let began = now();
        tokio::time::sleep_until((began + Duration::from_secs(100)).into()).await;
        assert!(began.elapsed() >= Duration::from_secs(100));
        assert!(began.elapsed() < Duration::from_secs(101));
        // What is too far ahead for the system's clock does not panic.
        let _ = tokio::time::Instant::from(began + Duration::MAX);
    }
}
