//! Walks over the tokens of every response, whatever its slices: hands out what matters as whole tokens, and everything
//! else as bytes to pass on.
//!
//! Pure. Invariants: every byte of the payload is handed out exactly once, in order; any split of the input gives the
//! same tokens; rows are never held and cost no allocation; what is held has a limit; an unknown token is an error, as
//! nothing behind it can be trusted. Must not know what a token means for a session.

mod metadata;
mod rows;
mod tokens;

pub use tokens::{Content, Layout, Piece, Token};

use super::{
    column_metadata::{self, ColumnEncryption},
    data_classification::Classification,
    done::Done,
    element::{Carry, Gathered},
    read::{Read, Reader},
    return_value::{ReturnValue, Value},
    token,
    type_info::Kind,
    value::ValueWalk,
};
use crate::limits;
use tokens::{Class, content, measure};

/// Walks over responses, one after the other.
#[derive(Debug)]
pub struct Walker {
    layout: Layout,
    state: State,
    /// Kinds of the columns of the rows that come.
    columns: Columns,
    /// Of ALTMETADATA, by id.
    alternates: Vec<(u16, Vec<Kind>)>,
    /// NULLs of the row we are in.
    bitmap: Vec<u8>,
    value: ValueWalk,
    carry: Carry,
    /// The token in `carry` has been handed out.
    delivered: bool,
    /// Bytes handed out so far.
    position: u64,
    last: Last,
    row_status: RowStatus,
}

/// What the last token was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Row,
    Done(Done),
    /// Anything else, or there was none.
    Other,
}

/// Whether rows may have a column that no metadata describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowStatus {
    /// They have not.
    Described,
    /// They may have.
    MayBeMissing,
    /// Those of this result set have: it is known by now.
    Found,
}

#[derive(Debug, Default)]
struct Columns {
    kinds: Vec<Kind>,
    /// Whether there are any: rows without metadata cannot be skipped.
    known: Known,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    No,
    Yes,
    /// All columns are fixed: a row has this many bytes behind its token byte.
    FixedRow(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first byte of a token, or in one that is being gathered.
    Token,
    /// This many bytes to pass on.
    Skip(u64),
    /// A length of two bytes, and then as many bytes.
    Length,
    /// The number of entries of the table of encryption keys, then columns.
    KeyCount { columns: u16 },
    /// Entries of that table.
    Keys { left: u16, columns: u16 },
    /// Values of one entry.
    KeyValues { values: u8, left: u16, columns: u16 },
    /// Columns still to come.
    Columns { left: u16 },
    /// The head of ALTMETADATA.
    AlternateHead,
    /// Its columns; they belong to the last entry of the table.
    AlternateColumns { left: u16 },
    /// The id of an ALTROW.
    AlternateRow,
    /// The bitmap of an NBCROW.
    Bitmap,
    /// Values.
    Values { of: Of, column: usize },
    /// In DATACLASSIFICATION.
    Classification(Classification),
    /// This was wrong; nothing that follows means anything.
    Broken(&'static str),
}

/// Whose values they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Row,
    NbcRow,
    Alternate(usize),
    ReturnValue(Kind),
}

impl Walker {
    /// At the start of a response.
    pub fn new(layout: Layout) -> Self {
        Walker {
            layout,
            state: State::Token,
            columns: Columns::default(),
            alternates: Vec::new(),
            bitmap: Vec::new(),
            value: ValueWalk::default(),
            carry: Carry::default(),
            delivered: false,
            position: 0,
            last: Last::Other,
            row_status: RowStatus::Described,
        }
    }

    /// At the start of the next response. Memory for columns stays, up to [`limits::KEPT_COLUMNS`].
    pub fn begin(&mut self) {
        self.state = State::Token;
        self.columns.known = Known::No;
        self.columns.kinds.clear();
        self.columns.kinds.shrink_to(limits::KEPT_COLUMNS);
        self.bitmap.clear();
        self.bitmap.shrink_to(limits::KEPT_COLUMNS / 8);
        self.alternates = Vec::new();
        self.value = ValueWalk::default();
        self.carry.clear();
        self.delivered = false;
        self.position = 0;
        self.last = Last::Other;
        self.row_status = RowStatus::Described;
    }

    /// The request that is answered fetches from a cursor. Servers of the "probe" kind (TDS 4.3a) then send the status of
    /// each row behind its columns, but describe it only when the cursor is opened; drivers, who know it from there, do
    /// not mind. To be called after [`Walker::begin`].
    pub fn expect_cursor_rows(&mut self) {
        self.row_status = RowStatus::MayBeMissing;
    }

    /// The layout that it walks by.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of the response that have been handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were taken but not handed out: the front of a token of which not all has arrived.
    pub fn held(&self) -> usize {
        match self.state == State::Token && !self.delivered {
            true => self.carry.bytes().len(),
            false => 0,
        }
    }

    /// Whether it stands between two tokens.
    pub fn is_at_boundary(&self) -> bool {
        self.state == State::Token && (self.carry.is_empty() || self.delivered)
    }

    /// The DONE that the last token was, if it was one.
    pub fn last_done(&self) -> Option<Done> {
        match self.last {
            Last::Done(done) if self.is_at_boundary() => Some(done),
            _ => None,
        }
    }

    /// Whether the response may end here: at a boundary, behind a DONE or DONEPROC after which no more comes. At the end
    /// of a message where this is `false`, the server is not where we believe (TDS 0.3).
    pub fn is_complete(&self) -> bool {
        self.last_done().is_some_and(Done::is_final)
    }

    /// What comes next in `input`, the payload without headers, from whose front it takes what it hands out or holds.
    /// `None`: all of it is taken.
    ///
    /// # Errors
    /// What the server did wrong. Every later call says the same, up to [`Walker::begin`].
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'a>>, &'static str> {
        if std::mem::take(&mut self.delivered) {
            self.carry.clear();
        }
        let bytes: &'i [u8] = input;
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            let class = match self.state {
                State::Token => Class::of(self.carry.bytes().first().copied().unwrap_or(rest[0])),
                _ => Class::Streamed,
            };
            match class {
                Class::Streamed => match self.stream(rest) {
                    Ok(count) => passed += count,
                    Err(what) => return self.broken(what),
                },
                // What was passed is handed out first; the token is looked at with the next call.
                _ if passed > 0 => break,
                Class::Unknown if self.is_missing_row_status(rest[0]) => self.describe_row_status(),
                Class::Unknown => return self.broken("unknown token"),
                Class::Whole => {
                    return match self.gather(rest) {
                        Ok(Gathered::Whole(length, taken)) => self.token(input, length, taken).map(Some),
                        Ok(Gathered::Partial) => {
                            *input = &[];
                            Ok(None)
                        }
                        Err(what) => self.broken(what),
                    };
                }
            }
        }
        let (pass, rest) = bytes.split_at(passed);
        *input = rest;
        self.position += passed as u64;
        Ok((passed > 0).then_some(Piece::Pass(pass)))
    }

    /// From here on every call says the same.
    fn broken<T>(&mut self, what: &'static str) -> Result<T, &'static str> {
        self.state = State::Broken(what);
        Err(what)
    }

    /// Measures a token that is handed out whole.
    fn gather(&mut self, input: &[u8]) -> Result<Gathered<usize>, &'static str> {
        let layout = self.layout;
        self.carry.gather(input, limits::MAX_TOKEN, |bytes| {
            measure(bytes, layout).map(|length| (length, length))
        })
    }

    /// Hands out a token of `length` bytes, the last `taken` of which are at the front of `input`.
    fn token<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        length: usize,
        taken: usize,
    ) -> Result<Piece<'a>, &'static str> {
        let (front, rest) = input.split_at(taken);
        *input = rest;
        let at = self.position;
        self.position += length as u64;
        self.delivered = !self.carry.is_empty();
        self.last = Last::Other;
        let bytes: &'a [u8] = match self.delivered {
            true => self.carry.bytes(),
            false => front,
        };
        let content = match content(bytes, self.layout) {
            Ok(content) => content,
            Err(what) => {
                self.state = State::Broken(what);
                return Err(what);
            }
        };
        match content {
            Content::Done(done) => self.last = Last::Done(done),
            Content::ColumnMetadata { columns } => {
                self.columns.kinds.clear();
                self.columns.known = Known::No;
                self.alternates.clear();
                if self.row_status == RowStatus::Found {
                    self.row_status = RowStatus::MayBeMissing;
                }
                self.state = match (columns, self.layout.column_encryption) {
                    (None, _) => State::Token,
                    (Some(columns), ColumnEncryption::On) => State::KeyCount { columns },
                    (Some(left), ColumnEncryption::Off) => columns_state(&mut self.columns, left),
                };
            }
            Content::ReturnValue(ReturnValue {
                value: Value::Follows,
                described,
                ..
            }) => {
                self.state = self.values_state(Of::ReturnValue(described.kind), 0);
            }
            _ => {}
        }
        Ok(Piece::Token(Token { at, bytes, content }))
    }

    /// Passes over bytes at the front of `input`, which is not empty. At least one.
    fn stream(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::Broken(what) => Err(what),
            State::Token => self.begin_streamed(input),
            State::Skip(left) => {
                let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.state = skip(left - count as u64);
                Ok(count)
            }
            State::Length => self.element(input, u16_element, |_, length| Ok(skip(u64::from(length)))),
            State::Values { of, column } => self.values(of, column, input),
            State::Bitmap => Ok(self.gather_bitmap(input)),
            State::Columns { left } => {
                let (version, column_encryption) = (self.layout.version, self.layout.column_encryption);
                let read = move |bytes: &[u8]| column_metadata::column(bytes, version, column_encryption);
                self.element(input, read, |walker, kind| {
                    walker.columns.kinds.push(kind);
                    Ok(columns_state(&mut walker.columns, left - 1))
                })
            }
            State::KeyCount { .. } | State::Keys { .. } | State::KeyValues { .. } => self.keys(input),
            State::AlternateHead | State::AlternateColumns { .. } | State::AlternateRow => self.alternate(input),
            State::Classification(at) => {
                let version = self.layout.data_classification;
                let read = move |bytes: &[u8]| at.read(bytes, version);
                self.element(input, read, |_, next| {
                    Ok(next.map_or(State::Token, State::Classification))
                })
            }
        }
    }

    /// Reads one element that is passed on, whether all of it is there or not.
    fn element<T>(
        &mut self,
        input: &[u8],
        read: impl Fn(&[u8]) -> Read<(T, usize)>,
        then: impl FnOnce(&mut Self, T) -> Result<State, &'static str>,
    ) -> Result<usize, &'static str> {
        match self.carry.read(input, limits::MAX_ELEMENT, read)? {
            Gathered::Whole(element, taken) => {
                self.state = then(self, element)?;
                Ok(taken)
            }
            Gathered::Partial => Ok(input.len()),
        }
    }

    /// At a token that is passed on as it comes.
    fn begin_streamed(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        self.last = match input[0] {
            token::ROW | token::NBC_ROW => Last::Row,
            _ => Last::Other,
        };
        self.state = match input[0] {
            token::ROW => return self.rows(input),
            token::NBC_ROW => return self.nbc_rows(input),
            token::OFFSET => State::Skip(4),
            token::ALTERNATE_METADATA => State::AlternateHead,
            token::ALTERNATE_ROW => State::AlternateRow,
            token::DATA_CLASSIFICATION => State::Classification(Classification::LabelCount),
            // ORDER, TABNAME, COLINFO
            _ => State::Length,
        };
        Ok(1)
    }
}

fn u16_element(bytes: &[u8]) -> Read<(u16, usize)> {
    let mut reader = Reader::new(bytes);
    Ok((reader.u16()?, reader.at()))
}

fn skip(left: u64) -> State {
    match left {
        0 => State::Token,
        left => State::Skip(left),
    }
}

/// With the last column the rows are known.
fn columns_state(columns: &mut Columns, left: u16) -> State {
    if left > 0 {
        return State::Columns { left };
    }
    let fixed = columns.kinds.iter().try_fold(0, |sum, kind| match kind {
        Kind::Empty => Some(sum),
        Kind::Fixed(length) => Some(sum + usize::from(*length)),
        _ => None,
    });
    columns.known = fixed.map_or(Known::Yes, Known::FixedRow);
    State::Token
}
