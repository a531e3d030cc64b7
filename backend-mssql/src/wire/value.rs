//! Skipping values: whole rows at once where they are there, piece by piece where they are not.
//!
//! Pure. Invariants: no value is ever held, whatever its length; nothing is allocated. Must not know what a value means.

use super::type_info::Kind;

/// Total of a chunked value that is NULL.
const CHUNKS_NULL: u64 = u64::MAX;

/// Where in a value we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct ValueWalk {
    state: State,
    /// A length of which not all bytes have arrived.
    prefix: [u8; 8],
    have: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    /// The pointer and timestamp of a TEXT.
    Pointer(u64),
    /// The length of a TEXT.
    PointerLength,
    /// The length of the next chunk.
    Chunk,
    /// The rest of a chunk.
    ChunkData(u64),
    /// The rest of the value.
    Data(u64),
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// This many bytes of lengths and the like.
    Frame(usize),
    /// This many bytes of the value itself.
    Data(usize),
    /// The value is over, before the input.
    End,
    /// The input is over, before the value.
    More,
}

impl ValueWalk {
    /// What comes next in `input`. The caller cuts what was found off its front.
    pub(crate) fn step(&mut self, kind: Kind, input: &[u8]) -> Part {
        match self.state {
            State::Start => self.start(kind, input),
            State::Pointer(left) => self.skip(left, input, State::Pointer, State::PointerLength, Part::Frame),
            State::PointerLength => self.length(4, input, |length| Some(State::Data(length))),
            State::Chunk => self.length(4, input, |length| (length > 0).then_some(State::ChunkData(length))),
            State::ChunkData(left) => self.skip(left, input, State::ChunkData, State::Chunk, Part::Data),
            State::Data(0) => self.end(),
            State::Data(left) => self.skip(left, input, State::Data, State::Data(0), Part::Data),
        }
    }

    fn start(&mut self, kind: Kind, input: &[u8]) -> Part {
        match kind {
            Kind::Empty => self.end(),
            Kind::Fixed(length) => {
                self.state = State::Data(u64::from(length));
                self.step(kind, input)
            }
            Kind::Byte => self.length(1, input, |length| Some(State::Data(length))),
            Kind::Short => self.length(2, input, |length| (length != 0xffff).then_some(State::Data(length))),
            Kind::Long => self.length(4, input, |length| {
                (length != 0xffff_ffff).then_some(State::Data(length))
            }),
            Kind::Variant => self.length(4, input, |length| Some(State::Data(length))),
            Kind::Pointer => self.length(1, input, |length| (length > 0).then_some(State::Pointer(length + 8))),
            Kind::Chunks => self.length(8, input, |total| (total != CHUNKS_NULL).then_some(State::Chunk)),
        }
    }

    fn end(&mut self) -> Part {
        *self = ValueWalk::default();
        Part::End
    }

    fn skip(&mut self, left: u64, input: &[u8], again: fn(u64) -> State, then: State, part: fn(usize) -> Part) -> Part {
        if input.is_empty() {
            return Part::More;
        }
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        self.state = match left - taken as u64 {
            0 => then,
            left => again(left),
        };
        part(taken)
    }

    /// A length of `size` bytes; `then` says where it leads, `None`: the value is over.
    fn length(&mut self, size: u8, input: &[u8], then: impl FnOnce(u64) -> Option<State>) -> Part {
        if input.is_empty() {
            return Part::More;
        }
        let taken = usize::from(size - self.have).min(input.len());
        let start = usize::from(self.have);
        self.prefix[start..start + taken].copy_from_slice(&input[..taken]);
        self.have += taken as u8;
        if self.have == size {
            let length = u64::from_le_bytes(self.prefix);
            // `Data(0)`: the bytes just taken are handed out first, the end with the next step.
            *self = ValueWalk {
                state: then(length).unwrap_or(State::Data(0)),
                ..ValueWalk::default()
            };
        }
        Part::Frame(taken)
    }
}

/// End of a whole value of this kind that starts at `at`; `None` if not all of it is there. What it gives may lie behind
/// the end of `bytes`: then the value is not whole either.
#[inline]
pub(crate) fn value_end(kind: Kind, bytes: &[u8], at: usize) -> Option<usize> {
    let end = match kind {
        Kind::Empty => at,
        Kind::Fixed(length) => at + usize::from(length),
        Kind::Byte => at + 1 + usize::from(*bytes.get(at)?),
        Kind::Short => match u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?) {
            u16::MAX => at + 2,
            length => at + 2 + usize::from(length),
        },
        Kind::Long => match u32_at(bytes, at)? {
            u32::MAX => at + 4,
            length => (at + 4).saturating_add(length as usize),
        },
        Kind::Variant => (at + 4).saturating_add(u32_at(bytes, at)? as usize),
        Kind::Pointer => match *bytes.get(at)? {
            0 => at + 1,
            length => {
                let at = at + 1 + usize::from(length) + 8;
                (at + 4).saturating_add(u32_at(bytes, at)? as usize)
            }
        },
        Kind::Chunks => return chunks_end(bytes, at),
    };
    Some(end)
}

fn chunks_end(bytes: &[u8], at: usize) -> Option<usize> {
    let total = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    let mut at = at + 8;
    if total == CHUNKS_NULL {
        return Some(at);
    }
    loop {
        let length = u32_at(bytes, at)? as usize;
        at += 4;
        if length == 0 {
            return Some(at);
        }
        at = at.saturating_add(length);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Bytes of a whole row (without its token byte) at the front of `bytes`; `None` if not all of it is there.
#[inline]
pub(crate) fn row(kinds: &[Kind], bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for kind in kinds {
        at = value_end(*kind, bytes, at)?;
    }
    (at <= bytes.len()).then_some(at)
}

/// The same for a row with a bitmap of NULLs in front, whose columns are absent.
#[inline]
pub(crate) fn nbc_row(kinds: &[Kind], bytes: &[u8]) -> Option<usize> {
    let mut at = kinds.len().div_ceil(8);
    let bitmap = bytes.get(..at)?;
    for (kinds, nulls) in kinds.chunks(8).zip(bitmap) {
        let mut nulls = *nulls;
        for kind in kinds {
            if nulls & 1 == 0 {
                at = value_end(*kind, bytes, at)?;
            }
            nulls >>= 1;
        }
    }
    (at <= bytes.len()).then_some(at)
}
