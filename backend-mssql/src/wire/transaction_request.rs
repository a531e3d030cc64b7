//! Transaction manager requests: begin, commit, roll back, save, and the distributed ones.
//!
//! Pure. Must not know what state a transaction is in.

use bytes::{BufMut, BytesMut};

use super::{
    read::{Read, Reader, Stop},
    utf16::Utf16,
};

const GET_DTC_ADDRESS: u16 = 0;
const PROPAGATE: u16 = 1;
const BEGIN: u16 = 5;
const PROMOTE: u16 = 6;
const COMMIT: u16 = 7;
const ROLLBACK: u16 = 8;
const SAVE: u16 = 9;

/// `fBeginXact`: begin the next transaction at once.
const BEGIN_NEXT: u8 = 1;

/// A request, without its ALL_HEADERS (TDS 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionRequest<'a> {
    /// Asks for the address of the coordinator of distributed transactions.
    GetDtcAddress,
    /// Joins a distributed transaction.
    Propagate,
    /// Begins one.
    Begin(Begin<'a>),
    /// Makes the current one a distributed one.
    Promote,
    /// Commits the current one.
    Commit {
        /// The transaction's name; servers ignore it.
        name: Utf16<'a>,
        /// What begins right after it.
        next: Option<Begin<'a>>,
    },
    /// Rolls back: to a savepoint, if it has this name, otherwise everything.
    Rollback {
        /// Empty for everything.
        name: Utf16<'a>,
        /// What begins right after it.
        next: Option<Begin<'a>>,
    },
    /// Makes a savepoint.
    Save {
        /// Its name.
        name: Utf16<'a>,
    },
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Begin<'a> {
    /// 0: as the session has it; 1 READ UNCOMMITTED, 2 READ COMMITTED, 3 REPEATABLE READ, 4 SERIALIZABLE, 5 SNAPSHOT.
    /// Anything but 0 stays for the session.
    pub isolation: u8,
    /// Usually empty.
    pub name: Utf16<'a>,
}

impl<'a> TransactionRequest<'a> {
    /// Reads a whole request: the payload of the message behind ALL_HEADERS.
    ///
    /// # Errors
    /// [`Stop::Need`]: more of it is needed, or it is cut short. [`Stop::Fault`]: it is none, or longer than it says.
    pub fn read(body: &'a [u8]) -> Read<TransactionRequest<'a>> {
        let mut reader = Reader::new(body);
        let request = match reader.u16()? {
            GET_DTC_ADDRESS => {
                reader.us_varbyte()?;
                TransactionRequest::GetDtcAddress
            }
            PROPAGATE => {
                reader.us_varbyte()?;
                TransactionRequest::Propagate
            }
            BEGIN => TransactionRequest::Begin(Begin::read(&mut reader)?),
            PROMOTE => TransactionRequest::Promote,
            COMMIT => {
                let (name, next) = ended(&mut reader)?;
                TransactionRequest::Commit { name, next }
            }
            ROLLBACK => {
                let (name, next) = ended(&mut reader)?;
                TransactionRequest::Rollback { name, next }
            }
            SAVE => TransactionRequest::Save {
                name: Utf16(reader.b_varbyte()?),
            },
            _ => return Err(Stop::Fault("unknown transaction manager request")),
        };
        match reader.rest() {
            [] => Ok(request),
            _ => Err(Stop::Fault("transaction manager request longer than it says")),
        }
    }
}

impl<'a> Begin<'a> {
    fn read(reader: &mut Reader<'a>) -> Read<Self> {
        Ok(Begin {
            isolation: reader.u8()?,
            name: Utf16(reader.b_varbyte()?),
        })
    }
}

fn ended<'a>(reader: &mut Reader<'a>) -> Read<(Utf16<'a>, Option<Begin<'a>>)> {
    let name = Utf16(reader.b_varbyte()?);
    let next = match reader.u8()? & BEGIN_NEXT {
        0 => None,
        _ => Some(Begin::read(reader)?),
    };
    Ok((name, next))
}

/// Writes a begin, without ALL_HEADERS. A name longer than 127 units is left out: it could not be told apart there.
pub fn write_begin(isolation: u8, name: Utf16<'_>, out: &mut BytesMut) {
    out.put_u16_le(BEGIN);
    out.put_u8(isolation);
    put_name(name, out);
}

/// Writes a commit that begins nothing.
pub fn write_commit(name: Utf16<'_>, out: &mut BytesMut) {
    out.put_u16_le(COMMIT);
    put_name(name, out);
    out.put_u8(0);
}

/// Writes a rollback that begins nothing.
pub fn write_rollback(name: Utf16<'_>, out: &mut BytesMut) {
    out.put_u16_le(ROLLBACK);
    put_name(name, out);
    out.put_u8(0);
}

fn put_name(name: Utf16<'_>, out: &mut BytesMut) {
    let name = if name.0.len() > usize::from(u8::MAX) {
        &[]
    } else {
        name.0
    };
    out.put_u8(name.len() as u8);
    out.put_slice(name);
}
