//! The text of a SQL batch, kept up to a limit while it streams by.
//!
//! Pure. Must not know any SQL.

use super::utf16::Utf16;

/// Text in UTF-16LE that arrives in slices.
#[derive(Debug)]
pub struct TextCapture {
    limit: usize,
    seen: u64,
    bytes: Vec<u8>,
}

impl TextCapture {
    /// Keeps texts of up to `limit` bytes; of longer ones nothing.
    pub fn new(limit: usize) -> Self {
        TextCapture {
            limit,
            seen: 0,
            bytes: Vec::new(),
        }
    }

    /// The next slice of the text.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        if self.seen > self.limit as u64 {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Bytes seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The text so far; `None` if it is over the limit.
    pub fn text(&self) -> Option<Utf16<'_>> {
        (self.seen <= self.limit as u64).then_some(Utf16(&self.bytes))
    }

    /// At the start of another text.
    pub fn clear(&mut self) {
        self.seen = 0;
        self.bytes = Vec::new();
    }
}
