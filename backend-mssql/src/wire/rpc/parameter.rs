//! The head of a parameter, with the value of an integer.
//!
//! Pure.

use super::Read;
use crate::wire::{
    column_metadata,
    read::Reader,
    return_value::{self, Value},
    type_info::{self, Kind, Place, TypeInfo},
    utf16::Utf16,
};

/// Bits of a parameter's status.
pub mod status {
    /// An output parameter.
    pub const OUTPUT: u8 = 0x01;
    /// Its default.
    pub const DEFAULT: u8 = 0x02;
    /// Encrypted by the client.
    pub const ENCRYPTED: u8 = 0x08;
}

/// A parameter, with its value if that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Where it starts behind ALL_HEADERS.
    pub at: u64,
    /// Its head, and its value unless that [follows](ParameterValue::Follows).
    pub bytes: &'a [u8],
    /// Which parameter of its call, from 0.
    pub ordinal: u32,
    /// Its name, with the `@`; usually empty.
    pub name: Utf16<'a>,
    /// See [`status`].
    pub status: u8,
    /// The type byte.
    pub type_id: u8,
    /// Its value.
    pub value: ParameterValue<'a>,
}

/// A parameter's value, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterValue<'a> {
    /// NULL, of an integer or of a text that is looked at.
    Null,
    /// An integer.
    Integer {
        /// Its value.
        value: i64,
        /// Where in the parameter's bytes it stands.
        at: usize,
        /// How many bytes: 1, 2, 4 or 8.
        size: usize,
    },
    /// A text in UTF-16, of a procedure whose texts are looked at.
    Text(Utf16<'a>),
    /// Something else, or a text over the limit: its bytes follow, or those of them that are not in the parameter's.
    Follows,
}

/// What is known of a parameter by its head. Holds no borrow, so that its bytes may wait for more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of it, with the value of an integer.
    pub(super) length: usize,
    pub(super) status: u8,
    /// `None`: a table.
    pub(super) kind: Option<Kind>,
    pub(super) value: ParameterValue<'static>,
    described: TypeInfo,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Read<Head> {
        let mut reader = Reader::new(bytes);
        reader.b_varchar()?;
        let status = reader.u8()?;
        if bytes.get(reader.at()) == Some(&type_info::id::TABLE) {
            return Ok(Head {
                length: reader.at() + 1,
                status,
                kind: None,
                value: ParameterValue::Follows,
                described: TypeInfo {
                    id: type_info::id::TABLE,
                    kind: Kind::Empty,
                },
            });
        }
        let described = TypeInfo::read(&mut reader, Place::Parameter)?;
        let value = match described.is_integer() && status & status::ENCRYPTED == 0 {
            true => match return_value::integer(&mut reader, described.kind)? {
                Value::Integer { value, at, size } => ParameterValue::Integer { value, at, size },
                Value::Null | Value::Follows => ParameterValue::Null,
            },
            false => ParameterValue::Follows,
        };
        Ok(Head {
            length: reader.at(),
            status,
            kind: Some(described.kind),
            value,
            described,
        })
    }

    pub(super) fn is_text(self) -> bool {
        self.described.is_unicode_text() && self.status & status::ENCRYPTED == 0
    }

    /// Bytes of the length in front of a value that is in one piece; 0 for chunks.
    pub(super) fn prefix(self) -> usize {
        match self.kind {
            Some(Kind::Short) => 2,
            Some(Kind::Long) => 4,
            _ => 0,
        }
    }

    /// The text of a value that is there as a whole, NULL told from empty.
    pub(super) fn text<'a>(self, bytes: &'a [u8], text: &'a [u8]) -> ParameterValue<'a> {
        let value = bytes.get(self.length..).unwrap_or_default();
        let is_null = match self.kind {
            Some(Kind::Short) => value == [0xff; 2],
            Some(Kind::Long) => value == [0xff; 4],
            _ => value == [0xff; 8],
        };
        match is_null {
            true => ParameterValue::Null,
            false => ParameterValue::Text(Utf16(text)),
        }
    }

    /// The parameter whose bytes are these.
    pub(super) fn parameter<'a>(
        self,
        at: u64,
        bytes: &'a [u8],
        ordinal: u32,
        value: ParameterValue<'a>,
    ) -> Parameter<'a> {
        Parameter {
            at,
            bytes,
            ordinal,
            // The head was read before, so the name is there.
            name: Utf16(Reader::new(bytes).b_varchar().unwrap_or_default()),
            status: self.status,
            type_id: self.described.id,
            value,
        }
    }
}

/// What follows the value of an encrypted parameter.
pub(super) fn cipher(bytes: &[u8]) -> Read<((), usize)> {
    let mut reader = Reader::new(bytes);
    TypeInfo::read(&mut reader, Place::Parameter)?;
    column_metadata::algorithm(&mut reader)?;
    // Kind of encryption, database, key, its version, its metadata's version, version of the normalisation.
    reader.take(1 + 4 + 4 + 4 + 8 + 1)?;
    Ok(((), reader.at()))
}
