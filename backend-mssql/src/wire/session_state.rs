//! SESSIONSTATE: the server says what of its session could be recovered, and what could not.
//!
//! Pure. Must not know what a state id means: nobody documents it.

use super::read::{Read, Reader, Stop, whole};
use crate::limits;

/// A SESSIONSTATE token (TDS 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState<'a> {
    /// Counts the tokens; `u32::MAX` turns them off for ever.
    pub sequence: u32,
    /// Whether these states could be recovered on another connection.
    pub recoverable: bool,
    entries: &'a [u8],
}

impl<'a> SessionState<'a> {
    /// Reads a whole token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let mut reader = Reader::new(bytes);
        let state = whole(SessionState::read(&mut reader), TOO_SHORT)?;
        let mut entries = Reader::new(state.entries);
        while !entries.rest().is_empty() {
            whole(entry(&mut entries), TOO_SHORT)?;
        }
        Ok(state)
    }

    fn read(reader: &mut Reader<'a>) -> Read<Self> {
        reader.u8()?;
        let length = reader.u32()? as usize;
        let mut inner = Reader::new(reader.take(length)?);
        Ok(SessionState {
            sequence: inner.u32()?,
            recoverable: inner.u8()? & 1 != 0,
            entries: inner.rest(),
        })
    }

    /// State ids with their values.
    pub fn entries(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        states(self.entries)
    }
}

/// State ids with their values, from a list as it also stands in FEATUREEXTACK; ends at the first that is cut short.
pub fn states(list: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut reader = Reader::new(list);
    std::iter::from_fn(move || entry(&mut reader).ok())
}

/// Bytes of the token at the front of `bytes`.
///
/// # Errors
/// [`Stop`]: not all of it is there, or it is too long.
pub fn measure(bytes: &[u8]) -> Read<usize> {
    let mut reader = Reader::new(bytes);
    reader.u8()?;
    let length = reader.u32()? as usize;
    if length > limits::MAX_SESSION_STATE {
        return Err(Stop::Fault("SESSIONSTATE too long"));
    }
    reader.take(length)?;
    Ok(reader.at())
}

fn entry<'a>(reader: &mut Reader<'a>) -> Read<(u8, &'a [u8])> {
    let id = reader.u8()?;
    let length = match reader.u8()? {
        0xff => reader.u32()? as usize,
        length => usize::from(length),
    };
    Ok((id, reader.take(length)?))
}

const TOO_SHORT: &str = "SESSIONSTATE shorter than what it says";
