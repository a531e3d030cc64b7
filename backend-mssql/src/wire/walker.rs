//! Walks over the tokens of every response, whatever its slices: hands out what matters as whole tokens, and everything
//! else as bytes to pass on.
//!
//! Pure. Invariants: every byte of the payload is handed out exactly once, in order; any split of the input gives the
//! same tokens; rows are never held and cost no allocation; what is held has a limit; an unknown token is an error, as
//! nothing behind it can be trusted. Must not know what a token means for a session.

use super::{
    column_metadata::{self, ColumnEncryption, NO_METADATA},
    data_classification::{Classification, ClassificationVersion},
    done::Done,
    element::{Carry, Gathered},
    env_change::{self, EnvChange},
    feature_ext,
    login_ack::LoginAck,
    message::ServerMessage,
    read::{Read, Reader, whole},
    return_value::{ReturnValue, Value},
    session_state::{self, SessionState},
    token,
    type_info::Kind,
    value::{self, Part, ValueWalk},
    version::TdsVersion,
};
use crate::limits;

/// What was negotiated that changes the layout of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// The version.
    pub version: TdsVersion,
    /// Always Encrypted.
    pub column_encryption: ColumnEncryption,
    /// Data classification.
    pub data_classification: ClassificationVersion,
}

/// A part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Nothing that anybody looks at: rows, names of columns, values.
    Pass(&'a [u8]),
    /// A token, whole.
    Token(Token<'a>),
}

impl<'a> Piece<'a> {
    /// As it came.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Piece::Pass(bytes) => bytes,
            Piece::Token(token) => token.bytes,
        }
    }
}

/// A token that may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Where it starts in the payload of the response.
    pub at: u64,
    /// All of it, as it came.
    pub bytes: &'a [u8],
    /// What it says.
    pub content: Content<'a>,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// COLMETADATA: only its head is in the token; the columns follow as bytes. `None`: "no metadata".
    ColumnMetadata {
        /// How many columns.
        columns: Option<u16>,
    },
    /// ENVCHANGE
    EnvChange(EnvChange<'a>),
    /// ERROR
    Error(ServerMessage<'a>),
    /// INFO
    Info(ServerMessage<'a>),
    /// LOGINACK
    LoginAck(LoginAck<'a>),
    /// FEATUREEXTACK: see [`feature_ext::parse_ack`].
    FeatureExtAck,
    /// SESSIONSTATE
    SessionState(SessionState<'a>),
    /// RETURNSTATUS
    ReturnStatus(i32),
    /// RETURNVALUE
    ReturnValue(ReturnValue<'a>),
    /// SSPI: the data.
    Sspi(&'a [u8]),
    /// FEDAUTHINFO: the data.
    FederatedAuthenticationInfo(&'a [u8]),
    /// DONE, DONEPROC, DONEINPROC
    Done(Done),
}

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
    Described,
    MayBeMissing,
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
    /// What the server did wrong. The walker cannot go on then.
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
                Class::Streamed => passed += self.stream(rest)?,
                // What was passed is handed out first; the token is looked at with the next call.
                _ if passed > 0 => break,
                Class::Unknown if self.is_missing_row_status(rest[0]) => self.describe_row_status(),
                Class::Unknown => return Err("unknown token"),
                Class::Whole => {
                    return match self.gather(rest)? {
                        Gathered::Whole(length, taken) => self.token(input, length, taken).map(Some),
                        Gathered::Partial => {
                            *input = &[];
                            Ok(None)
                        }
                    };
                }
            }
        }
        let (pass, rest) = bytes.split_at(passed);
        *input = rest;
        self.position += passed as u64;
        Ok((passed > 0).then_some(Piece::Pass(pass)))
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
        let content = content(bytes, self.layout)?;
        match content {
            Content::Done(done) => self.last = Last::Done(done),
            Content::ColumnMetadata { columns } => {
                self.columns.kinds.clear();
                self.columns.known = Known::No;
                self.alternates.clear();
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
                let Layout {
                    version,
                    column_encryption,
                    ..
                } = self.layout;
                let read = move |bytes: &[u8]| column_metadata::column(bytes, version, column_encryption);
                self.element(input, read, |walker, kind| {
                    walker.columns.kinds.push(kind);
                    Ok(columns_state(&mut walker.columns, left - 1))
                })
            }
            State::KeyCount { columns } => {
                self.element(input, u16_element, |walker, left| Ok(walker.keys_state(left, columns)))
            }
            State::Keys { left, columns } => self.element(input, column_metadata::key_head, |walker, values| {
                Ok(match values {
                    0 => walker.keys_state(left - 1, columns),
                    values => State::KeyValues { values, left, columns },
                })
            }),
            State::KeyValues { values, left, columns } => {
                self.element(input, column_metadata::key_value, |walker, ()| {
                    Ok(match values {
                        1 => walker.keys_state(left - 1, columns),
                        values => State::KeyValues {
                            values: values - 1,
                            left,
                            columns,
                        },
                    })
                })
            }
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

    fn keys_state(&mut self, left: u16, columns: u16) -> State {
        match left {
            0 => columns_state(&mut self.columns, columns),
            left => State::Keys { left, columns },
        }
    }

    /// 1 is a row that is there, 2 one that is gone; neither is a token.
    fn is_missing_row_status(&self, byte: u8) -> bool {
        self.row_status == RowStatus::MayBeMissing && self.last == Last::Row && matches!(byte, 1 | 2)
    }

    fn describe_row_status(&mut self) {
        self.row_status = RowStatus::Described;
        self.columns.kinds.push(ROW_STATUS);
        columns_state(&mut self.columns, 0);
        self.state = State::Values {
            of: Of::Row,
            column: self.columns.kinds.len() - 1,
        };
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

    /// As many whole rows as there are. Rows of fixed columns are a multiplication.
    fn rows(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        match self.columns.known {
            Known::No => return Err("row without metadata"),
            Known::FixedRow(length) => {
                while input.get(at) == Some(&token::ROW) && input.len() - at > length {
                    at += length + 1;
                }
            }
            Known::Yes => {
                while input.get(at) == Some(&token::ROW)
                    && let Some(length) = value::row(&self.columns.kinds, &input[at + 1..])
                {
                    at += length + 1;
                }
            }
        }
        if at == 0 {
            self.state = self.values_state(Of::Row, 0);
            at = 1;
        }
        Ok(at)
    }

    fn nbc_rows(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        if self.columns.known == Known::No {
            return Err("row without metadata");
        }
        let mut at = 0;
        while input.get(at) == Some(&token::NBC_ROW)
            && let Some(length) = value::nbc_row(&self.columns.kinds, &input[at + 1..])
        {
            at += length + 1;
        }
        if at == 0 {
            self.bitmap.clear();
            self.state = State::Bitmap;
            at = 1;
        }
        Ok(at)
    }

    /// The bitmap of a row of which not all is there. There is at least one column: a row of none is always whole.
    fn gather_bitmap(&mut self, input: &[u8]) -> usize {
        let needed = self.columns.kinds.len().div_ceil(8);
        let taken = (needed - self.bitmap.len()).min(input.len());
        self.bitmap.extend_from_slice(&input[..taken]);
        if self.bitmap.len() == needed {
            self.state = self.values_state(Of::NbcRow, 0);
        }
        taken
    }

    /// Values of which not all are there.
    fn values(&mut self, of: Of, mut column: usize, input: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while let Some(kind) = self.kind(of, column) {
            match self.value.step(kind, &input[at..]) {
                Part::Frame(count) | Part::Data(count) => at += count,
                Part::More => break,
                Part::End => column += 1,
            }
        }
        self.state = self.values_state(of, column);
        Ok(at)
    }

    /// The state at this value, past those that have no bytes.
    fn values_state(&self, of: Of, mut column: usize) -> State {
        loop {
            match self.kind(of, column) {
                None => return State::Token,
                Some(Kind::Empty) => column += 1,
                Some(_) => return State::Values { of, column },
            }
        }
    }

    /// How the value in this column is skipped; one that a bitmap says is NULL has no bytes.
    fn kind(&self, of: Of, column: usize) -> Option<Kind> {
        match of {
            Of::Row => self.columns.kinds.get(column).copied(),
            Of::NbcRow => {
                let kind = self.columns.kinds.get(column).copied()?;
                let is_null = self.bitmap.get(column / 8)? & 1 << (column % 8) != 0;
                Some(if is_null { Kind::Empty } else { kind })
            }
            Of::Alternate(index) => self.alternates.get(index)?.1.get(column).copied(),
            Of::ReturnValue(kind) => (column == 0).then_some(kind),
        }
    }

    fn alternate(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::AlternateHead => self.element(input, column_metadata::alternate_head, |walker, (count, id)| {
                walker.alternates.retain(|(known, _)| *known != id);
                if walker.alternates.len() == limits::MAX_ALTERNATES {
                    return Err("too many kinds of COMPUTE rows");
                }
                walker.alternates.push((id, Vec::new()));
                Ok(alternate_columns(count))
            }),
            State::AlternateColumns { left } => {
                let version = self.layout.version;
                let read = move |bytes: &[u8]| column_metadata::alternate_column(bytes, version);
                self.element(input, read, |walker, kind| {
                    if let Some((_, kinds)) = walker.alternates.last_mut() {
                        kinds.push(kind);
                    }
                    Ok(alternate_columns(left - 1))
                })
            }
            _ => self.element(input, u16_element, |walker, id| {
                let index = walker.alternates.iter().position(|(known, _)| *known == id);
                let index = index.ok_or("COMPUTE row without metadata")?;
                Ok(walker.values_state(Of::Alternate(index), 0))
            }),
        }
    }
}

/// How tokens are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Passed on as it comes.
    Streamed,
    /// Handed out whole.
    Whole,
    /// None that we know.
    Unknown,
}

impl Class {
    fn of(first: u8) -> Class {
        match first {
            token::ROW
            | token::NBC_ROW
            | token::OFFSET
            | token::ALTERNATE_METADATA
            | token::ALTERNATE_ROW
            | token::DATA_CLASSIFICATION
            | token::TABLE_NAME
            | token::COLUMN_INFO
            | token::ORDER => Class::Streamed,
            token::COLUMN_METADATA
            | token::ENV_CHANGE
            | token::ERROR
            | token::INFO
            | token::LOGIN_ACK
            | token::FEATURE_EXT_ACK
            | token::SESSION_STATE
            | token::RETURN_STATUS
            | token::RETURN_VALUE
            | token::SSPI
            | token::FEDERATED_AUTHENTICATION_INFO
            | token::DONE
            | token::DONE_PROC
            | token::DONE_IN_PROC => Class::Whole,
            _ => Class::Unknown,
        }
    }
}

/// Bytes of a token of [`Class::Whole`] at the front of `bytes`.
fn measure(bytes: &[u8], layout: Layout) -> Read<usize> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        token::COLUMN_METADATA => reader.take(2)?,
        token::RETURN_STATUS => reader.take(4)?,
        token::DONE | token::DONE_PROC | token::DONE_IN_PROC => {
            reader.take(if layout.version.is_wide() { 12 } else { 8 })?
        }
        token::ENV_CHANGE => return env_change::measure(bytes),
        token::SESSION_STATE => return session_state::measure(bytes),
        token::FEATURE_EXT_ACK => return feature_ext::measure_ack(bytes),
        token::RETURN_VALUE => {
            return ReturnValue::read(bytes, layout.version, layout.column_encryption).map(|(_, length)| length);
        }
        token::FEDERATED_AUTHENTICATION_INFO => {
            let length = reader.u32()? as usize;
            reader.take(length)?
        }
        // ERROR, INFO, LOGINACK, SSPI
        _ => reader.us_varbyte()?,
    };
    Ok(reader.at())
}

/// What a whole token says.
fn content(bytes: &[u8], layout: Layout) -> Result<Content<'_>, &'static str> {
    let rest = |from: usize| bytes.get(from..).unwrap_or_default();
    Ok(match bytes.first().copied().unwrap_or(0) {
        token::COLUMN_METADATA => {
            let count = u16_element(rest(1)).map_or(0, |(count, _)| count);
            let columns = (count != NO_METADATA).then_some(count);
            Content::ColumnMetadata { columns }
        }
        token::ENV_CHANGE => Content::EnvChange(EnvChange::parse(bytes)?),
        token::ERROR => Content::Error(ServerMessage::parse(bytes, layout.version)?),
        token::INFO => Content::Info(ServerMessage::parse(bytes, layout.version)?),
        token::LOGIN_ACK => Content::LoginAck(LoginAck::parse(bytes)?),
        token::FEATURE_EXT_ACK => Content::FeatureExtAck,
        token::SESSION_STATE => Content::SessionState(SessionState::parse(bytes)?),
        token::RETURN_STATUS => {
            let status = rest(1).first_chunk().map_or(0, |status| i32::from_le_bytes(*status));
            Content::ReturnStatus(status)
        }
        token::RETURN_VALUE => {
            let read = ReturnValue::read(bytes, layout.version, layout.column_encryption);
            Content::ReturnValue(whole(read, "RETURNVALUE is cut short")?.0)
        }
        token::SSPI => Content::Sspi(rest(3)),
        token::FEDERATED_AUTHENTICATION_INFO => Content::FederatedAuthenticationInfo(rest(5)),
        _ => Content::Done(whole(Done::read(bytes, layout.version), "DONE is cut short")?),
    })
}

/// The status of a row that a cursor fetched: an `int`.
const ROW_STATUS: Kind = Kind::Fixed(4);

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

fn alternate_columns(left: u16) -> State {
    match left {
        0 => State::Token,
        left => State::AlternateColumns { left },
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
