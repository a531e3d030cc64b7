//! Things that are only understood when all of them is there, put together over any number of slices.
//!
//! Pure. Invariants: never takes a byte behind the end of the element; holds at most
//! [`MAX_ELEMENT`](crate::limits::MAX_ELEMENT) bytes, or the limit that its reader sets.

use super::read::{Read, Stop};

/// Bytes of an element of which not all has arrived.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
}

/// How far an element is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gathered<T> {
    /// It is there; this many bytes of the input belonged to it.
    Whole(T, usize),
    /// All of the input belonged to it, and it goes on.
    Partial,
}

impl Carry {
    /// What has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets it. Memory beyond the usual goes back.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }

    /// More of it.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads an element and forgets it.
    pub(crate) fn read<T>(
        &mut self,
        input: &[u8],
        most: usize,
        read: impl Fn(&[u8]) -> Read<(T, usize)>,
    ) -> Result<Gathered<T>, &'static str> {
        let gathered = self.gather(input, most, &read)?;
        if let Gathered::Whole(..) = gathered {
            self.clear();
        }
        Ok(gathered)
    }

    /// Reads an element; if it began in an earlier slice its bytes stay in [`Carry::bytes`].
    pub(crate) fn gather<T>(
        &mut self,
        input: &[u8],
        most: usize,
        read: impl Fn(&[u8]) -> Read<(T, usize)>,
    ) -> Result<Gathered<T>, &'static str> {
        if self.bytes.is_empty() {
            return match read(input) {
                Ok((element, length)) => {
                    bounded(length, most)?;
                    Ok(Gathered::Whole(element, length))
                }
                Err(Stop::Need(needed)) => {
                    bounded(needed, most)?;
                    self.bytes.extend_from_slice(input);
                    Ok(Gathered::Partial)
                }
                Err(Stop::Fault(what)) => Err(what),
            };
        }
        let mut taken = 0;
        loop {
            match read(&self.bytes) {
                Ok((element, _)) => return Ok(Gathered::Whole(element, taken)),
                Err(Stop::Fault(what)) => return Err(what),
                Err(Stop::Need(needed)) => {
                    bounded(needed, most)?;
                    let missing = needed - self.bytes.len();
                    let rest = &input[taken..];
                    if rest.is_empty() {
                        return Ok(Gathered::Partial);
                    }
                    let now = &rest[..missing.min(rest.len())];
                    self.bytes.extend_from_slice(now);
                    taken += now.len();
                }
            }
        }
    }
}

/// Capacity that is kept for the next element.
const KEPT: usize = 4 * 1024;

fn bounded(needed: usize, most: usize) -> Result<(), &'static str> {
    match needed <= most {
        true => Ok(()),
        false => Err("longer than anything of its kind may be"),
    }
}
