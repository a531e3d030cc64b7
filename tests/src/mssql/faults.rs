//! What goes wrong on purpose.

use std::time::Duration;

use parking_lot::Mutex;

/// Faults, each on its own. All off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every byte of an answer goes out in a segment of its own.
    pub split_writes: bool,
    /// Answers come in packets of at most so many bytes of payload, the last one alone marked as such. (SQL Server may
    /// send short packets at any time.)
    pub short_packets: Option<usize>,
    /// The answer to a request ends after so many bytes, in a packet that claims to be the last.
    pub early_end: Option<usize>,
    /// The acknowledgement of an Attention comes this much later.
    pub late_attention: Option<Duration>,
    /// A reset is done and not acknowledged.
    pub missing_reset_acknowledgement: bool,
    /// A token of this number stands before the first token of an answer.
    pub unknown_token: Option<u8>,
    /// Prepared statements are gone when they are to be executed.
    pub forgotten_handles: bool,
    /// The answer to LOGIN7 comes this much later.
    pub slow_login: Option<Duration>,
    /// Connections end here.
    pub drop_at: Option<DropPoint>,
    /// The other faults hit requests only whose text contains this.
    pub only_texts_with: Option<String>,
}

/// Where a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropPoint {
    /// When it is accepted.
    Accept,
    /// Instead of the answer to PRELOGIN.
    Prelogin,
    /// Instead of the answer to LOGIN7.
    Login,
    /// When a request has come, which is not run.
    Request,
    /// When a request has been run, after so many bytes of its answer.
    Answer(usize),
}

/// The faults of now.
#[derive(Debug, Default)]
pub(crate) struct Switch(Mutex<Faults>);

impl Switch {
    pub(crate) fn set(&self, faults: Faults) {
        *self.0.lock() = faults;
    }

    pub(crate) fn now(&self) -> Faults {
        self.0.lock().clone()
    }

    /// Those that hit a request of this text.
    pub(crate) fn for_text(&self, text: &str) -> Faults {
        let faults = self.now();
        match &faults.only_texts_with {
            Some(part) if !text.contains(part.as_str()) => Faults::default(),
            _ => faults,
        }
    }
}
