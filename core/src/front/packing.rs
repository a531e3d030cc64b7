//! The form in which clients are handed over, as far as it is the same for every protocol: a version, then fields one after
//! the other, numbers and lengths in big-endian order.
//!
//! Invariants: at most [`limits::MAX_PACKED`] bytes either way; what is read back is what was written, or an error; nothing
//! is ever allocated by a claimed length; another version is refused as a whole. Pure. Must not know what the fields mean.

use std::fmt;

use bytes::{Buf as _, BufMut as _};

use crate::limits;

/// Writes fields.
#[derive(Debug)]
pub struct Packer {
    out: Vec<u8>,
    /// There was no room for something.
    is_over: bool,
}

/// Reads fields; `None` of any of its functions: the bytes are not the form.
#[derive(Debug)]
pub struct Unpacker<'a> {
    rest: &'a [u8],
}

/// Why bytes are not what was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Of another version than this process reads.
    Version {
        /// Theirs.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// Longer than any.
    TooLong,
    /// Not the form.
    Malformed,
}

impl Packer {
    /// Of this version of a form.
    pub fn new(version: u8) -> Self {
        Packer {
            out: vec![version],
            is_over: false,
        }
    }

    /// Yes or no.
    pub fn flag(&mut self, flag: bool) {
        self.put(&[flag.into()]);
    }

    /// A number.
    pub fn u8(&mut self, number: u8) {
        self.put(&[number]);
    }

    /// A number.
    pub fn u16(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    /// A number.
    pub fn u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    /// A number.
    pub fn u64(&mut self, number: u64) {
        self.put(&number.to_be_bytes());
    }

    /// Bytes, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.put(bytes);
    }

    /// A text, with its length.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Elements, with their number.
    pub fn list<T>(&mut self, all: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.count(all.len());
        for element in all {
            one(self, element);
        }
    }

    /// All of it; `None` if it is too much.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.is_over).then_some(self.out)
    }

    fn count(&mut self, count: usize) {
        match u32::try_from(count) {
            Ok(count) => self.u32(count),
            Err(_) => self.is_over = true,
        }
    }

    /// Nothing more is kept once there is no room.
    fn put(&mut self, bytes: &[u8]) {
        self.is_over |= self.out.len() + bytes.len() > limits::MAX_PACKED;
        if !self.is_over {
            self.out.put_slice(bytes);
        }
    }
}

impl<'a> Unpacker<'a> {
    /// Reads all of `bytes` by `fields`, if they are of this version.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read<T>(bytes: &'a [u8], version: u8, fields: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Unreadable> {
        if bytes.len() > limits::MAX_PACKED {
            return Err(Unreadable::TooLong);
        }
        let mut rest = Unpacker { rest: bytes };
        match rest.u8() {
            Some(found) if found == version => {}
            Some(found) => return Err(Unreadable::Version { found, known: version }),
            None => return Err(Unreadable::Malformed),
        }
        let read = fields(&mut rest).ok_or(Unreadable::Malformed)?;
        match rest.rest.is_empty() {
            true => Ok(read),
            false => Err(Unreadable::Malformed),
        }
    }

    /// Yes or no.
    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A number.
    pub fn u8(&mut self) -> Option<u8> {
        self.rest.try_get_u8().ok()
    }

    /// A number.
    pub fn u16(&mut self) -> Option<u16> {
        self.rest.try_get_u16().ok()
    }

    /// A number.
    pub fn u32(&mut self) -> Option<u32> {
        self.rest.try_get_u32().ok()
    }

    /// A number.
    pub fn u64(&mut self) -> Option<u64> {
        self.rest.try_get_u64().ok()
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, after) = self.rest.split_at_checked(length)?;
        self.rest = after;
        Some(bytes.to_vec())
    }

    /// A text.
    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    /// Elements. Grows with what is there, not with the number that is claimed.
    pub fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Version { found, known } => {
                write!(
                    f,
                    "what is known of it has version {found}, and this process reads version {known}"
                )
            }
            Unreadable::TooLong => write!(f, "what is known of it is more than {} bytes", limits::MAX_PACKED),
            Unreadable::Malformed => f.write_str("what is known of it cannot be read"),
        }
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_nothing() {
        let mut packer = Packer::new(1);
        packer.bytes(&vec![0; limits::MAX_PACKED - 5]);
        assert_eq!(packer.finish().map(|bytes| bytes.len()), Some(limits::MAX_PACKED));
        let mut packer = Packer::new(1);
        packer.bytes(&vec![0; limits::MAX_PACKED - 4]);
        packer.flag(true);
        assert_eq!(packer.finish(), None);
    }

    #[test]
    fn what_is_claimed_is_not_believed() {
        let list = |bytes: &[u8]| Unpacker::read(bytes, 1, |rest| rest.list(Unpacker::bytes));
        assert_eq!(
            list(&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            Err(Unreadable::Malformed)
        );
        assert_eq!(list(&[1, 0, 0, 0, 1, 0, 0, 0, 1, 7]), Ok(vec![vec![7]]));
        assert_eq!(list(&[1, 0, 0, 0, 0, 7]), Err(Unreadable::Malformed));
        assert_eq!(list(&[2, 0, 0, 0, 0]), Err(Unreadable::Version { found: 2, known: 1 }));
        assert_eq!(list(&[]), Err(Unreadable::Malformed));
        assert_eq!(list(&vec![1; limits::MAX_PACKED + 1]), Err(Unreadable::TooLong));
    }
}
