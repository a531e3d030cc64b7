//! RPC requests: calls of procedures with parameters of any type and length, walked through as they stream by.
//!
//! Pure. Invariants: every byte behind ALL_HEADERS is handed out exactly once, in order, so that a call can be rewritten
//! by replacing some pieces and passing the others on; any split of the input gives the same pieces, but for where passed
//! bytes are cut; only heads, integers and, up to a limit, the texts of statements are held. Must not know what a handle
//! stands for.

mod call;
mod parameter;
mod procedure;
mod table;
pub mod write;

pub use call::{Call, Enclave, NO_METADATA};
pub use parameter::{Parameter, ParameterValue, status};
pub use procedure::{Procedure, WellKnown};

use super::{
    element::{Carry, Gathered},
    read::{Read, whole},
    type_info::Kind,
    value::{self, Part, ValueWalk},
    version::TdsVersion,
};
use crate::limits;
use parameter::Head;
use table::Table;

/// Between two calls since TDS 7.2, before it, and when the call in front must not be executed.
const SEPARATOR: u8 = 0xff;
const OLD_SEPARATOR: u8 = 0x80;
const NO_EXECUTION: u8 = 0xfe;

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcPiece<'a> {
    /// Values that nobody looks at.
    Pass(&'a [u8]),
    /// A call begins.
    Call(Call<'a>),
    /// A parameter of it.
    Parameter(Parameter<'a>),
    /// The call is over.
    Separator(Separator<'a>),
}

impl<'a> RpcPiece<'a> {
    /// As it came.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            RpcPiece::Pass(bytes) => bytes,
            RpcPiece::Call(call) => call.bytes,
            RpcPiece::Parameter(parameter) => parameter.bytes,
            RpcPiece::Separator(separator) => separator.bytes,
        }
    }
}

/// What stands behind a call, if another one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator<'a> {
    /// Where it stands behind ALL_HEADERS.
    pub at: u64,
    /// The byte itself.
    pub bytes: &'a [u8],
    /// The call in front of it must not be executed.
    pub suppresses: bool,
}

/// Walks through the calls of requests, one request after the other (TDS 7.1).
#[derive(Debug)]
pub struct RpcReader {
    version: TdsVersion,
    enclave: Enclave,
    text_limit: usize,
    state: State,
    /// Whether texts of the current call are looked at.
    captures: Captures,
    ordinal: u32,
    table: Table,
    value: ValueWalk,
    carry: Carry,
    /// What is in `carry` has been handed out.
    delivered: bool,
    /// A text that came in chunks.
    text: Vec<u8>,
    position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Captures {
    None,
    /// Those among the first few parameters.
    Texts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the head of a call, or in one that is being gathered.
    Call,
    /// At a parameter or a separator, or in a parameter's head that is being gathered.
    Parameter,
    /// In a text that is looked at: what has arrived of its parameter is in the carry.
    Text { head: Head },
    /// In a value that is passed on.
    Value { kind: Kind, then: Then },
    /// Behind the value of an encrypted parameter.
    Cipher,
    /// In a table-valued parameter.
    Table { then: Then },
    /// This was wrong; nothing that follows means anything.
    Broken(&'static str),
}

/// What follows a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Parameter,
    Cipher,
}

impl Then {
    fn state(self) -> State {
        match self {
            Then::Parameter => State::Parameter,
            Then::Cipher => State::Cipher,
        }
    }
}

impl RpcReader {
    /// At the start of a request. Texts are looked at up to `text_limit` bytes.
    pub fn new(version: TdsVersion, enclave: Enclave, text_limit: usize) -> Self {
        RpcReader {
            version,
            enclave,
            text_limit,
            state: State::Call,
            captures: Captures::None,
            ordinal: 0,
            table: Table::default(),
            value: ValueWalk::default(),
            carry: Carry::default(),
            delivered: false,
            text: Vec::new(),
            position: 0,
        }
    }

    /// At the start of the next request.
    pub fn begin(&mut self) {
        *self = RpcReader::new(self.version, self.enclave, self.text_limit);
    }

    /// Bytes handed out so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were taken but not handed out.
    pub fn held(&self) -> usize {
        match self.state {
            State::Call | State::Parameter | State::Text { .. } if !self.delivered => self.carry.bytes().len(),
            _ => 0,
        }
    }

    /// Whether the request may end here: behind a call, or behind one of its parameters.
    pub fn is_complete(&self) -> bool {
        self.state == State::Parameter && self.held() == 0
    }

    /// What comes next in `input`, the payload behind ALL_HEADERS, from whose front it takes what it hands out or holds.
    /// `None`: all of it is taken.
    ///
    /// # Errors
    /// What the client did wrong. Every later call says the same, up to [`RpcReader::begin`].
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<RpcPiece<'a>>, &'static str> {
        if std::mem::take(&mut self.delivered) {
            self.carry.clear();
            self.text = Vec::new();
        }
        let bytes: &'i [u8] = input;
        let mut passed = 0;
        while passed < bytes.len() {
            match self.stream(&bytes[passed..]) {
                Ok(Some(count)) => passed += count,
                Ok(None) => break,
                Err(what) => return self.broken(what),
            }
        }
        if passed > 0 {
            let pass = self.take(input, passed);
            return Ok(Some(RpcPiece::Pass(pass)));
        }
        let Some(first) = bytes.first() else { return Ok(None) };
        match self.state {
            State::Call => self.call(input),
            State::Text { head } => self.text(head, input),
            _ if self.carry.is_empty() && self.separates(*first) => Ok(Some(self.separator(input))),
            _ => self.parameter(input),
        }
    }

    /// From here on every call says the same.
    fn broken<T>(&mut self, what: &'static str) -> Result<T, &'static str> {
        self.state = State::Broken(what);
        Err(what)
    }

    fn take<'i>(&mut self, input: &mut &'i [u8], count: usize) -> &'i [u8] {
        let (taken, rest) = input.split_at(count);
        *input = rest;
        self.position += count as u64;
        taken
    }

    fn separates(&self, byte: u8) -> bool {
        match byte {
            SEPARATOR | NO_EXECUTION => true,
            OLD_SEPARATOR => !self.version.is_wide(),
            _ => false,
        }
    }

    fn separator<'i>(&mut self, input: &mut &'i [u8]) -> RpcPiece<'i> {
        let at = self.position;
        self.state = State::Call;
        let bytes = self.take(input, 1);
        RpcPiece::Separator(Separator {
            at,
            bytes,
            suppresses: bytes == [NO_EXECUTION],
        })
    }

    /// Passes over bytes at the front of `input`, which is not empty: at least one, or `None` where nothing is passed
    /// unseen.
    fn stream(&mut self, input: &[u8]) -> Result<Option<usize>, &'static str> {
        let taken = match self.state {
            State::Call | State::Parameter | State::Text { .. } => return Ok(None),
            State::Broken(what) => return Err(what),
            State::Value { kind, then } => self.value(kind, then, input),
            State::Table { then } => {
                let (taken, over) = self.table.pass(input)?;
                if over {
                    self.table = Table::default();
                    self.state = then.state();
                }
                taken
            }
            State::Cipher => match self.carry.read(input, limits::MAX_ELEMENT, parameter::cipher)? {
                Gathered::Whole((), taken) => {
                    self.state = State::Parameter;
                    taken
                }
                Gathered::Partial => input.len(),
            },
        };
        Ok(Some(taken))
    }

    fn value(&mut self, kind: Kind, then: Then, input: &[u8]) -> usize {
        let mut at = 0;
        loop {
            match self.value.step(kind, &input[at..]) {
                Part::Frame(count) | Part::Data(count) => at += count,
                Part::More => return at,
                Part::End => {
                    self.state = then.state();
                    return at;
                }
            }
        }
    }

    fn call<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<RpcPiece<'a>>, &'static str> {
        let enclave = self.enclave;
        let measured = self.carry.gather(input, limits::MAX_ELEMENT, |bytes| {
            let call = Call::read(bytes, 0, enclave)?;
            Ok((call.procedure.has_texts(), call.bytes.len()))
        });
        let (has_texts, taken) = match measured {
            Ok(Gathered::Whole(has_texts, taken)) => (has_texts, taken),
            Ok(Gathered::Partial) => {
                *input = &[];
                return Ok(None);
            }
            Err(what) => return self.broken(what),
        };
        self.captures = if has_texts { Captures::Texts } else { Captures::None };
        self.ordinal = 0;
        self.state = State::Parameter;
        let (at, bytes) = self.deliver(input, taken);
        let call = whole(Call::read(bytes, at, enclave), "call cut short")?;
        Ok(Some(RpcPiece::Call(call)))
    }

    fn parameter<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<RpcPiece<'a>>, &'static str> {
        let measured = self.carry.gather(input, limits::MAX_ELEMENT, |bytes| {
            let head = Head::read(bytes)?;
            Ok((head, head.length))
        });
        let (head, taken) = match measured {
            Ok(Gathered::Whole(head, taken)) => (head, taken),
            Ok(Gathered::Partial) => {
                *input = &[];
                return Ok(None);
            }
            Err(what) => return self.broken(what),
        };
        let ordinal = self.ordinal;
        self.ordinal = ordinal.saturating_add(1);
        let is_looked_at = self.captures == Captures::Texts && ordinal < limits::MAX_TEXT_PARAMETERS;
        if is_looked_at && head.is_text() {
            return self.begin_text(head, taken, input);
        }
        self.state = self.behind(head);
        let (at, bytes) = self.deliver(input, taken);
        Ok(Some(RpcPiece::Parameter(
            head.parameter(at, bytes, ordinal, head.value),
        )))
    }

    /// Where a parameter's head leads.
    fn behind(&self, head: Head) -> State {
        let then = match head.status & status::ENCRYPTED {
            0 => Then::Parameter,
            _ => Then::Cipher,
        };
        match (head.value, head.kind) {
            (ParameterValue::Follows, Some(Kind::Empty)) => then.state(),
            (ParameterValue::Follows, Some(kind)) => State::Value { kind, then },
            (ParameterValue::Follows, None) => State::Table { then },
            _ => State::Parameter,
        }
    }

    /// At a text that is looked at: in one go if it is there in one piece.
    fn begin_text<'a, 'i: 'a>(
        &'a mut self,
        head: Head,
        taken: usize,
        input: &mut &'i [u8],
    ) -> Result<Option<RpcPiece<'a>>, &'static str> {
        let bytes: &'i [u8] = input;
        let prefix = head.prefix();
        if self.carry.is_empty()
            && prefix > 0
            && let Some(kind) = head.kind
            && let Some(whole) = value::value_end(kind, bytes, head.length).and_then(|end| bytes.get(..end))
            && whole.len() <= self.text_limit
        {
            self.state = State::Parameter;
            let at = self.position;
            let bytes = self.take(input, whole.len());
            let value = head.text(bytes, bytes.get(head.length + prefix..).unwrap_or_default());
            let parameter = head.parameter(at, bytes, self.ordinal - 1, value);
            return Ok(Some(RpcPiece::Parameter(parameter)));
        }
        // A head that came in one piece is put beside what follows it.
        if self.carry.is_empty() {
            self.carry.extend(&bytes[..taken]);
        }
        *input = &bytes[taken..];
        self.state = State::Text { head };
        self.text(head, input)
    }

    /// In a text that is looked at, of which pieces arrive.
    fn text<'a, 'i: 'a>(&'a mut self, head: Head, input: &mut &'i [u8]) -> Result<Option<RpcPiece<'a>>, &'static str> {
        let kind = head.kind.unwrap_or(Kind::Empty);
        let mut over = false;
        while !over && self.carry.bytes().len() <= self.text_limit {
            let bytes: &'i [u8] = input;
            let count = match self.value.step(kind, bytes) {
                Part::More => return Ok(None),
                Part::End => {
                    over = true;
                    0
                }
                Part::Frame(count) => count,
                Part::Data(count) => {
                    self.text.extend_from_slice(&bytes[..count]);
                    count
                }
            };
            self.carry.extend(&bytes[..count]);
            *input = &bytes[count..];
        }
        // A text over the limit may be over as well, with its last byte.
        self.state = match over || self.value.step(kind, &[]) == Part::End {
            true => State::Parameter,
            false => State::Value {
                kind,
                then: Then::Parameter,
            },
        };
        self.delivered = true;
        let at = self.position;
        self.position += self.carry.bytes().len() as u64;
        let bytes = self.carry.bytes();
        let value = match over {
            true => head.text(bytes, &self.text),
            false => ParameterValue::Follows,
        };
        let parameter = head.parameter(at, bytes, self.ordinal - 1, value);
        Ok(Some(RpcPiece::Parameter(parameter)))
    }

    /// Hands out an element whose last `taken` bytes are at the front of `input`.
    fn deliver<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], taken: usize) -> (u64, &'a [u8]) {
        let at = self.position;
        self.delivered = !self.carry.is_empty();
        if !self.delivered {
            return (at, self.take(input, taken));
        }
        *input = &input[taken..];
        self.position += self.carry.bytes().len() as u64;
        (at, self.carry.bytes())
    }
}
