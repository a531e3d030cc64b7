//! TYPE_INFO: the description of a type in front of columns and values, compiled to how its values are skipped.
//!
//! Pure. Invariant: an unknown type is an error, never a guess: everything behind it would be misread.

use super::read::{Read, Reader, Stop};

/// Type bytes that we look at.
pub mod id {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const NULL: u8 = 0x1f;
    pub const IMAGE: u8 = 0x22;
    pub const TEXT: u8 = 0x23;
    pub const INTN: u8 = 0x26;
    pub const INT1: u8 = 0x30;
    pub const BIT: u8 = 0x32;
    pub const INT2: u8 = 0x34;
    pub const INT4: u8 = 0x38;
    pub const NTEXT: u8 = 0x63;
    pub const INT8: u8 = 0x7f;
    pub const BIG_VARCHAR: u8 = 0xa7;
    pub const NVARCHAR: u8 = 0xe7;
    pub const NCHAR: u8 = 0xef;
    pub const UDT: u8 = 0xf0;
    pub const XML: u8 = 0xf1;
    pub const TABLE: u8 = 0xf3;
    pub const JSON: u8 = 0xf4;
    pub const VECTOR: u8 = 0xf5;
}

/// How a value says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No bytes at all.
    Empty,
    /// This many bytes, without a length.
    Fixed(u8),
    /// A length of one byte; 0 is NULL.
    Byte,
    /// A length of two bytes; FFFF is NULL.
    Short,
    /// A length of four bytes; FFFFFFFF is NULL.
    Long,
    /// SQL_VARIANT: a length of four bytes; 0 is NULL.
    Variant,
    /// TEXT and its like in a row: a pointer, a timestamp, a length of four bytes.
    Pointer,
    /// Partially length-prefixed: chunks, with a total in front.
    Chunks,
}

/// Where a type is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// COLMETADATA and ALTMETADATA.
    Column,
    /// RETURNVALUE.
    ReturnValue,
    /// A parameter of a request, or a cell of a table-valued one.
    Parameter,
}

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// The type byte.
    pub id: u8,
    /// How its values are skipped.
    pub kind: Kind,
}

impl TypeInfo {
    /// Whether a column of this type names its table in between (TDS 4.4).
    pub fn has_table_name(self) -> bool {
        matches!(self.id, id::TEXT | id::NTEXT | id::IMAGE)
    }

    /// Whether its values are integers, and how a value that has `length` bytes is read.
    pub fn is_integer(self) -> bool {
        matches!(self.id, id::INTN | id::INT1 | id::INT2 | id::INT4 | id::INT8)
    }

    /// Whether its values are text in UTF-16.
    pub fn is_unicode_text(self) -> bool {
        matches!(self.id, id::NVARCHAR | id::NCHAR | id::NTEXT)
    }

    /// Reads a TYPE_INFO (TDS 4.4). A table-valued parameter is none: see [`rpc`](super::rpc).
    ///
    /// # Errors
    /// [`Stop`]: not all of it is there, or a type that does not exist.
    pub fn read(reader: &mut Reader<'_>, place: Place) -> Read<TypeInfo> {
        let id = reader.u8()?;
        let kind = match id {
            0x1f => Kind::Empty,
            0x30 | 0x32 => Kind::Fixed(1),
            0x34 => Kind::Fixed(2),
            0x38 | 0x3a | 0x3b | 0x7a => Kind::Fixed(4),
            0x3c | 0x3d | 0x3e | 0x7f => Kind::Fixed(8),
            0x28 => Kind::Byte,
            0x24 | 0x25 | 0x26 | 0x27 | 0x29 | 0x2a | 0x2b | 0x2d | 0x2f | 0x68 | 0x6d | 0x6e | 0x6f => {
                reader.take(1)?;
                Kind::Byte
            }
            0x37 | 0x3f | 0x6a | 0x6c => {
                reader.take(3)?;
                Kind::Byte
            }
            0xa5 | 0xad => sized(reader, id == 0xa5, 0)?,
            0xa7 | 0xaf | 0xe7 | 0xef => sized(reader, matches!(id, 0xa7 | 0xe7), COLLATION)?,
            id::TEXT | id::NTEXT => long_text(reader, COLLATION, place)?,
            id::IMAGE => long_text(reader, 0, place)?,
            0x62 => {
                reader.take(4)?;
                Kind::Variant
            }
            id::XML => xml(reader)?,
            id::UDT => udt(reader, place)?,
            id::JSON => Kind::Chunks,
            id::VECTOR => {
                reader.take(3)?;
                Kind::Short
            }
            _ => return Err(Stop::Fault("a type that does not exist")),
        };
        Ok(TypeInfo { id, kind })
    }
}

const COLLATION: usize = 5;

fn sized(reader: &mut Reader<'_>, may_be_chunked: bool, collation: usize) -> Read<Kind> {
    let most = reader.u16()?;
    reader.take(collation)?;
    match most {
        u16::MAX if may_be_chunked => Ok(Kind::Chunks),
        u16::MAX => Err(Stop::Fault("a type of fixed length without a length")),
        _ => Ok(Kind::Short),
    }
}

fn long_text(reader: &mut Reader<'_>, collation: usize, place: Place) -> Read<Kind> {
    reader.take(4 + collation)?;
    Ok(match place {
        Place::Column => Kind::Pointer,
        Place::ReturnValue | Place::Parameter => Kind::Long,
    })
}

fn xml(reader: &mut Reader<'_>) -> Read<Kind> {
    if reader.u8()? != 0 {
        reader.b_varchar()?;
        reader.b_varchar()?;
        reader.us_varchar()?;
    }
    Ok(Kind::Chunks)
}

fn udt(reader: &mut Reader<'_>, place: Place) -> Read<Kind> {
    if place != Place::Parameter {
        reader.u16()?;
    }
    for _ in 0..3 {
        reader.b_varchar()?;
    }
    if place != Place::Parameter {
        reader.us_varchar()?;
    }
    Ok(Kind::Chunks)
}
