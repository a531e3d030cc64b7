//! ENVCHANGE: the server says what changed in the session. The begin and end of transactions among it.
//!
//! Pure. Invariant: the length of a token is computed here and nowhere else, as one of its types lies about it.

use bytes::{BufMut, BytesMut};

use super::{
    read::{Read, Reader, Stop, whole},
    token,
    utf16::{self, Utf16},
};
use crate::limits;

/// Types of ENVCHANGE (TDS 4.3).
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const DATABASE: u8 = 1;
    pub const LANGUAGE: u8 = 2;
    pub const PACKET_SIZE: u8 = 4;
    pub const COLLATION: u8 = 7;
    pub const BEGIN: u8 = 8;
    pub const COMMIT: u8 = 9;
    pub const ROLLBACK: u8 = 10;
    pub const ENLIST: u8 = 11;
    pub const DEFECT: u8 = 12;
    pub const MIRROR: u8 = 13;
    pub const PROMOTE: u8 = 15;
    pub const MANAGER_ADDRESS: u8 = 16;
    pub const ENDED: u8 = 17;
    pub const RESET_ACK: u8 = 18;
    pub const USER_INSTANCE: u8 = 19;
    pub const ROUTING: u8 = 20;
    pub const ENHANCED_ROUTING: u8 = 21;
}

/// How a transaction changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionChange {
    /// 8
    Begin,
    /// 9
    Commit,
    /// 10
    Rollback,
    /// 11: joined a distributed one.
    Enlist,
    /// 12: left it.
    Defect,
    /// 17: ended by itself.
    Ended,
}

impl TransactionChange {
    /// The type byte.
    pub fn kind(self) -> u8 {
        match self {
            TransactionChange::Begin => kind::BEGIN,
            TransactionChange::Commit => kind::COMMIT,
            TransactionChange::Rollback => kind::ROLLBACK,
            TransactionChange::Enlist => kind::ENLIST,
            TransactionChange::Defect => kind::DEFECT,
            TransactionChange::Ended => kind::ENDED,
        }
    }
}

/// What an ENVCHANGE says. Values borrow from the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvChange<'a> {
    /// The current database.
    Database {
        /// Now.
        new: Utf16<'a>,
        /// Before.
        old: Utf16<'a>,
    },
    /// The language.
    Language {
        /// Now.
        new: Utf16<'a>,
        /// Before.
        old: Utf16<'a>,
    },
    /// The packet size, in decimal. Only in a login.
    PacketSize {
        /// Now.
        new: Utf16<'a>,
        /// Before.
        old: Utf16<'a>,
    },
    /// The collation: five bytes, or none.
    Collation {
        /// Now.
        new: &'a [u8],
        /// Before.
        old: &'a [u8],
    },
    /// A transaction began or ended.
    Transaction {
        /// How.
        change: TransactionChange,
        /// Which one: the descriptor, wherever it stands in the token; 0 if none is given.
        descriptor: u64,
        /// Where in the token those eight bytes stand, so that they can be replaced.
        at: Option<usize>,
    },
    /// The session was reset, as a request asked for.
    ResetAck,
    /// "Log in over there."
    Routing {
        /// Where.
        host: Utf16<'a>,
        /// At which port.
        port: u16,
    },
    /// Anything else, by its type byte.
    Other(u8),
}

impl EnvChange<'_> {
    /// Reads a whole token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<EnvChange<'_>, &'static str> {
        let mut reader = Reader::new(bytes);
        whole(EnvChange::read(&mut reader), "ENVCHANGE shorter than what it says")
    }

    fn read<'a>(reader: &mut Reader<'a>) -> Read<EnvChange<'a>> {
        reader.take(3)?;
        let kind = reader.u8()?;
        let change = match kind {
            kind::DATABASE => {
                let (new, old) = texts(reader)?;
                return Ok(EnvChange::Database { new, old });
            }
            kind::LANGUAGE => {
                let (new, old) = texts(reader)?;
                return Ok(EnvChange::Language { new, old });
            }
            kind::PACKET_SIZE => {
                let (new, old) = texts(reader)?;
                return Ok(EnvChange::PacketSize { new, old });
            }
            kind::COLLATION => {
                let (new, old) = (reader.b_varbyte()?, reader.b_varbyte()?);
                return Ok(EnvChange::Collation { new, old });
            }
            kind::RESET_ACK => return Ok(EnvChange::ResetAck),
            kind::ROUTING => return routing(reader),
            kind::BEGIN => TransactionChange::Begin,
            kind::COMMIT => TransactionChange::Commit,
            kind::ROLLBACK => TransactionChange::Rollback,
            kind::ENLIST => TransactionChange::Enlist,
            kind::DEFECT => TransactionChange::Defect,
            kind::ENDED => TransactionChange::Ended,
            other => return Ok(EnvChange::Other(other)),
        };
        transaction(change, reader)
    }
}

fn texts<'a>(reader: &mut Reader<'a>) -> Read<(Utf16<'a>, Utf16<'a>)> {
    Ok((Utf16(reader.b_varchar()?), Utf16(reader.b_varchar()?)))
}

/// New and old value are read alike for all of them: documents disagree on which one holds the descriptor.
fn transaction<'a>(change: TransactionChange, reader: &mut Reader<'a>) -> Read<EnvChange<'a>> {
    let mut found = (0, None);
    for _ in 0..2 {
        let value = reader.b_varbyte()?;
        match <[u8; 8]>::try_from(value) {
            Ok(descriptor) => found = (u64::from_le_bytes(descriptor), Some(reader.at() - 8)),
            Err(_) if value.is_empty() || change == TransactionChange::Enlist => {}
            Err(_) => return Err(Stop::Fault("a transaction descriptor is not eight bytes long")),
        }
    }
    Ok(EnvChange::Transaction {
        change,
        descriptor: found.0,
        at: found.1,
    })
}

/// `u16 length, protocol u8 = 0, port u16, host US_VARCHAR`, then an empty old value.
fn routing<'a>(reader: &mut Reader<'a>) -> Read<EnvChange<'a>> {
    let length = usize::from(reader.u16()?);
    let mut inner = Reader::new(reader.take(length)?);
    if inner.u8()? != 0 {
        return Err(Stop::Fault("routing over something that is not TCP"));
    }
    let port = inner.u16()?;
    let host = Utf16(inner.us_varchar()?);
    Ok(EnvChange::Routing { host, port })
}

/// Bytes of the token at the front of `bytes`.
///
/// Type 15 announces a length of 1, and then has a value with a length of four bytes (TDS 4.3).
///
/// # Errors
/// [`Stop`]: not all of it is there, or it is none.
pub fn measure(bytes: &[u8]) -> Read<usize> {
    let mut reader = Reader::new(bytes);
    reader.u8()?;
    let length = usize::from(reader.u16()?);
    if length == 0 {
        return Err(Stop::Fault("ENVCHANGE without a type"));
    }
    if reader.u8()? == kind::PROMOTE {
        let token = reader.u32()? as usize;
        if token > limits::MAX_ELEMENT {
            return Err(Stop::Fault("token of a promoted transaction too long"));
        }
        reader.take(token)?;
        let old = usize::from(reader.u8()?);
        reader.take(old)?;
        return Ok(reader.at());
    }
    reader.take(length - 1)?;
    Ok(reader.at())
}

/// Writes a transaction's begin (8) with its descriptor as the new value, or its end (9, 10, 12, 17) as the old one.
pub fn write_transaction(change: TransactionChange, descriptor: u64, out: &mut BytesMut) {
    out.put_slice(&[token::ENV_CHANGE, 11, 0, change.kind()]);
    if matches!(change, TransactionChange::Begin | TransactionChange::Enlist) {
        out.put_u8(8);
        out.put_u64_le(descriptor);
        out.put_u8(0);
    } else {
        out.put_slice(&[0, 8]);
        out.put_u64_le(descriptor);
    }
}

/// Writes the acknowledgement of a reset.
pub fn write_reset_ack(out: &mut BytesMut) {
    out.put_slice(&[token::ENV_CHANGE, 3, 0, kind::RESET_ACK, 0, 0]);
}

/// Writes a change of the current database.
pub fn write_database(new: &str, old: &str, out: &mut BytesMut) {
    write_texts(kind::DATABASE, new, old, out);
}

/// Writes a change of the language.
pub fn write_language(new: &str, old: &str, out: &mut BytesMut) {
    write_texts(kind::LANGUAGE, new, old, out);
}

/// Writes the negotiated packet size.
pub fn write_packet_size(new: u16, old: u16, out: &mut BytesMut) {
    write_texts(kind::PACKET_SIZE, &new.to_string(), &old.to_string(), out);
}

/// Writes the collation of a login.
pub fn write_collation(new: [u8; 5], out: &mut BytesMut) {
    out.put_slice(&[token::ENV_CHANGE, 8, 0, kind::COLLATION, 5]);
    out.put_slice(&new);
    out.put_u8(0);
}

fn write_texts(kind: u8, new: &str, old: &str, out: &mut BytesMut) {
    token::with_length(token::ENV_CHANGE, out, |out| {
        out.put_u8(kind);
        utf16::put_b_varchar(out, new);
        utf16::put_b_varchar(out, old);
    });
}
