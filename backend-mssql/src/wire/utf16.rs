//! UTF-16LE text as it travels, viewed without copying.
//!
//! Pure. Invariants: nothing is decoded that nobody asks for; a decoded text is at most one and a half times as long as
//! its bytes. Must not know any SQL.

use std::{char, fmt};

use bytes::{BufMut, BytesMut};
use weir_core::secret::Secret;
use zeroize::Zeroizing;

/// Text in UTF-16LE. The bytes may be odd in number or hold half a surrogate pair: the methods say what they do then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Utf16<'a>(pub &'a [u8]);

impl<'a> Utf16<'a> {
    /// The units, without a dangling odd byte.
    pub fn units(self) -> impl DoubleEndedIterator<Item = u16> + ExactSizeIterator + Clone + 'a {
        self.0
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// Whether there are only whole units.
    pub fn is_even(self) -> bool {
        self.0.len().is_multiple_of(2)
    }

    /// How many units.
    pub fn len(self) -> usize {
        self.0.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The text; `None` if it is not valid UTF-16.
    pub fn decode(self) -> Option<String> {
        self.is_even().then_some(())?;
        // No unit takes more than three bytes, so that nothing is moved, and no copy of a secret is left behind.
        let mut text = String::with_capacity(self.len() * 3);
        for unit in char::decode_utf16(self.units()) {
            text.push(unit.ok()?);
        }
        Some(text)
    }

    /// The text, with replacement characters where it is not valid. For people.
    pub fn to_lossy(self) -> String {
        char::decode_utf16(self.units())
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    }

    /// The text as a secret; `None` if it is not valid UTF-16.
    pub fn decode_secret(self) -> Option<Secret<String>> {
        self.decode().map(Secret::new)
    }

    /// Whether the text is `other`, ASCII letters in either case. `other` should be ASCII.
    pub fn eq_ignore_ascii_case(self, other: &str) -> bool {
        self.is_even()
            && self.len() == other.len()
            && self
                .units()
                .zip(other.bytes())
                .all(|(unit, byte)| u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte)))
    }
}

impl fmt::Debug for Utf16<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_lossy())
    }
}

/// As UTF-16LE.
pub fn encode(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A secret text as UTF-16LE. Leaves no copies behind.
pub(crate) fn encode_secret(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 2));
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
    }
    bytes
}

/// Writes `B_VARCHAR`; a text longer than 255 units is cut there.
pub(crate) fn put_b_varchar(out: &mut BytesMut, text: &str) {
    let units = text.encode_utf16().count().min(usize::from(u8::MAX));
    out.put_u8(units as u8);
    put_units(out, text, units);
}

/// Writes `US_VARCHAR`; a text longer than `most` units is cut there.
pub(crate) fn put_us_varchar(out: &mut BytesMut, text: &str, most: u16) {
    let units = text.encode_utf16().count().min(usize::from(most));
    out.put_u16_le(units as u16);
    put_units(out, text, units);
}

fn put_units(out: &mut BytesMut, text: &str, units: usize) {
    text.encode_utf16().take(units).for_each(|unit| out.put_u16_le(unit));
}
