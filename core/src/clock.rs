//! The only reader of time in the workspace; clippy bans the others.
//!
//! It is tokio's clock, so that tests may pause and advance it.

pub use tokio::time::Instant;

/// Now, on the clock that timers use.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// What the calendar says, to be shown to people; never to measure time by.
#[allow(clippy::disallowed_methods)]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
