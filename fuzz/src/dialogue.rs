//! What the dialogues of both protocols are fuzzed with: a script, and a lane of bytes with the rules that every step keeps.

use bytes::{Buf as _, BytesMut};
use weir_core::limits::MAX_PEEK;

/// The first byte chooses the settings; then, again and again: what happens, how long it is, its bytes. `None` when there
/// is nothing to choose by.
pub(crate) fn script(data: &[u8]) -> Option<(u8, impl Iterator<Item = (u8, &[u8])>)> {
    let (settings, mut rest) = data.split_first()?;
    let events = std::iter::from_fn(move || {
        let (&[kind, length], behind) = rest.split_first_chunk::<2>()?;
        let (bytes, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        Some((kind, bytes))
    });
    Some((*settings, events))
}

/// The bytes of one direction, as far as they are not judged.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) unjudged: BytesMut,
    /// Bytes of the message under way that have not been seen.
    body: u64,
    /// Whether any of the message under way has been passed on.
    passed: bool,
}

impl Lane {
    /// Lets go of what belongs to the message under way; whether anything is left to judge.
    pub(crate) fn has_more(&mut self) -> bool {
        let count = self.body.min(self.unjudged.len() as u64);
        self.unjudged.advance(count as usize);
        self.body -= count;
        self.passed &= self.body > 0;
        !self.unjudged.is_empty()
    }

    /// The verdict: so many bytes are passed on.
    pub(crate) fn forward(&mut self, count: u64) {
        assert!(count > 0, "a step of no bytes");
        (self.body, self.passed) = (count, true);
    }

    /// The verdict: so many bytes are left out.
    pub(crate) fn skip(&mut self, count: u64) {
        assert!(count > 0, "a step of no bytes");
        self.body = count;
    }

    /// The verdict: so many are to be seen first.
    pub(crate) fn check_need(&self, count: usize) {
        let given = self.unjudged.len();
        assert!(count > given, "Need({count}) with {given} bytes given");
        assert!(count <= MAX_PEEK, "Need({count}) is beyond MAX_PEEK");
    }

    /// Whether a part of a message has been passed on, and the rest of it has not come.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.passed && self.body > 0
    }

    /// Whether no message is under way.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.body == 0
    }
}
