//! The harness's own reader of time, because it shares no code with what it tests.

pub use tokio::time::Instant;

/// Now.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}
