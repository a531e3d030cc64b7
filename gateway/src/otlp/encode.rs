//! Protocol Buffers, as far as OTLP needs them, and only to write.
//!
//! Pure. Every field is a key (its number and how it is written) and a value; a message within another is its bytes with
//! their length before them.

/// A message under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

/// How a value is written, the low three bits of its key.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// An empty one.
    pub(super) fn new() -> Self {
        Message::default()
    }

    /// Its bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A whole number: `int64`, `uint32`, `enum`, `bool`.
    #[must_use]
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    /// `fixed64`.
    #[must_use]
    pub(super) fn fixed(mut self, field: u64, value: u64) -> Self {
        self.key(field, FIXED_64);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// `fixed32`.
    #[must_use]
    pub(super) fn fixed_32(mut self, field: u64, value: u32) -> Self {
        self.key(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// `double`.
    #[must_use]
    pub(super) fn double(self, field: u64, value: f64) -> Self {
        self.fixed(field, value.to_bits())
    }

    /// `string`, `bytes`.
    #[must_use]
    pub(super) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A message within.
    #[must_use]
    pub(super) fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// `repeated fixed64` or `repeated double` (its bits), packed.
    #[must_use]
    pub(super) fn packed(self, field: u64, values: impl IntoIterator<Item = u64>) -> Self {
        let values: Vec<u8> = values.into_iter().flat_map(u64::to_le_bytes).collect();
        self.bytes(field, values)
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Protocol Buffers' own description of its encoding.
    #[test]
    fn fields_are_written_as_the_specification_says() {
        assert_eq!(Message::new().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::new().bytes(2, "testing");
        assert_eq!(text.into_bytes(), *b"\x12\x07testing");
        let within = Message::new().message(3, &Message::new().number(1, 150));
        assert_eq!(within.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let one = Message::new().double(4, 1.0);
        assert_eq!(one.into_bytes(), [0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        let packed = Message::new().packed(6, [1, 2]);
        assert_eq!(
            packed.into_bytes(),
            [0x32, 16, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(Message::new().fixed_32(16, 1).into_bytes(), [0x85, 0x01, 1, 0, 0, 0]);
        let largest = Message::new().number(1, u64::MAX).into_bytes();
        assert_eq!((largest.len(), largest[10]), (11, 1));
    }
}
