//! RETURNVALUE: an output parameter, and RETURNSTATUS: what a procedure returned. The handles of prepared statements and cursors come this way.
//!
//! Pure. Invariant: of a value that is no integer nothing is held: it streams behind the head.

use bytes::{BufMut, BytesMut};

use super::{
    column_metadata::{self, ColumnEncryption},
    read::{Read, Reader, Stop},
    token,
    type_info::{self, Kind, Place, TypeInfo},
    utf16::Utf16,
    version::TdsVersion,
};

/// A RETURNVALUE token, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnValue<'a> {
    /// Which parameter.
    pub ordinal: u16,
    /// The name that the client gave it; drivers insist on it.
    pub name: Utf16<'a>,
    /// 1: an output parameter, 2: the value of a function.
    pub status: u8,
    /// Its type.
    pub described: TypeInfo,
    /// What it says.
    pub value: Value,
}

/// A value, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL, of an integer type.
    Null,
    /// An integer.
    Integer {
        /// Its value.
        value: i64,
        /// Where in the token its bytes stand, so that they can be replaced.
        at: usize,
        /// How many bytes: 1, 2, 4 or 8.
        size: usize,
    },
    /// Something else: its bytes are not part of the token as it is handed out, but follow it.
    Follows,
}

impl<'a> ReturnValue<'a> {
    /// Reads the token at the front of `bytes`: gives its length too, without a value that follows.
    ///
    /// # Errors
    /// [`Stop`]: not all of it is there, or it is none.
    pub fn read(bytes: &'a [u8], version: TdsVersion, encryption: ColumnEncryption) -> Read<(Self, usize)> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let ordinal = reader.u16()?;
        let name = Utf16(reader.b_varchar()?);
        let status = reader.u8()?;
        let described = column_metadata::described(&mut reader, Place::ReturnValue, version, encryption)?;
        let value = match described.is_integer() {
            true => integer(&mut reader, described.kind)?,
            false => Value::Follows,
        };
        let read = ReturnValue {
            ordinal,
            name,
            status,
            described,
            value,
        };
        Ok((read, reader.at()))
    }
}

/// An integer with or without its length in front.
pub(crate) fn integer(reader: &mut Reader<'_>, kind: Kind) -> Read<Value> {
    let size = match kind {
        Kind::Fixed(size) => usize::from(size),
        _ => usize::from(reader.u8()?),
    };
    let at = reader.at();
    let bytes = reader.take(size)?;
    let value = match *bytes {
        [] => return Ok(Value::Null),
        // The smallest of them has no sign.
        [byte] => i64::from(byte),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(
            bytes
                .try_into()
                .map_err(|_| Stop::Fault("an integer of impossible length"))?,
        ),
    };
    Ok(Value::Integer { value, at, size })
}

/// Writes an output parameter of type `int`: a handle of the gateway's own. `name` is cut at 255 units.
pub fn write_integer(ordinal: u16, name: Utf16<'_>, value: i32, version: TdsVersion, out: &mut BytesMut) {
    const OUTPUT: u8 = 1;
    let name = &name.0[..name.0.len().min(255 * 2) & !1];
    out.put_u8(token::RETURN_VALUE);
    out.put_u16_le(ordinal);
    out.put_u8((name.len() / 2) as u8);
    out.put_slice(name);
    out.put_u8(OUTPUT);
    out.put_bytes(0, if version.is_wide() { 4 } else { 2 });
    out.put_u16_le(0);
    out.put_slice(&[type_info::id::INTN, 4, 4]);
    out.put_i32_le(value);
}

/// Writes a RETURNSTATUS.
pub fn write_status(status: i32, out: &mut BytesMut) {
    out.put_u8(token::RETURN_STATUS);
    out.put_i32_le(status);
}
