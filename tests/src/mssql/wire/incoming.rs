//! Types and values as a client sends them: parameters, cells of table parameters, rows of a bulk load.

use rusqlite::types::Value;

use super::{
    Malformed, Put as _, Take,
    types::{COLLATION, MAX, SqlType, SqlType as T},
    utf16,
    values::{guid_text, time_bytes},
};
use crate::mssql::calendar::{self, Moment};

/// How a parameter or a bulk column comes: its type, and how its value is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) kind: SqlType,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Fixed(usize),
    Byte,
    Short,
    Long,
    Plp,
    /// In bulk rows, `text` and its like stand behind a text pointer.
    Pointer,
    Null,
}

/// TYPE_INFO of a parameter or, with `bulk`, of a bulk column.
pub(crate) fn take_info(take: &mut Take<'_>, bulk: bool) -> Result<Incoming, Malformed> {
    use Counted::{Byte, Fixed, Long, Null, Plp, Pointer, Short};
    let byte = take.u8()?;
    let by_width = |width: u8, kinds: &[(u8, SqlType)]| {
        kinds
            .iter()
            .find(|(known, _)| *known == width)
            .map(|(_, kind)| (*kind, Byte))
            .ok_or_else(|| Malformed(format!("type {byte:#04x} of width {width}")))
    };
    let (kind, counted) = match byte {
        0x1F => (T::Int, Null),
        0x30 => (T::TinyInt, Fixed(1)),
        0x32 => (T::Bit, Fixed(1)),
        0x34 => (T::SmallInt, Fixed(2)),
        0x38 => (T::Int, Fixed(4)),
        0x3A => (T::SmallDateTime, Fixed(4)),
        0x3B => (T::Real, Fixed(4)),
        0x7A => (T::SmallMoney, Fixed(4)),
        0x3C => (T::Money, Fixed(8)),
        0x3D => (T::DateTime, Fixed(8)),
        0x3E => (T::Float, Fixed(8)),
        0x7F => (T::BigInt, Fixed(8)),
        0x24 => by_width(take.u8()?, &[(16, T::UniqueIdentifier)])?,
        0x26 => by_width(
            take.u8()?,
            &[(1, T::TinyInt), (2, T::SmallInt), (4, T::Int), (8, T::BigInt)],
        )?,
        0x68 => by_width(take.u8()?, &[(1, T::Bit)])?,
        0x6D => by_width(take.u8()?, &[(4, T::Real), (8, T::Float)])?,
        0x6E => by_width(take.u8()?, &[(4, T::SmallMoney), (8, T::Money)])?,
        0x6F => by_width(take.u8()?, &[(4, T::SmallDateTime), (8, T::DateTime)])?,
        0x6A | 0x6C | 0x37 | 0x3F => {
            let [_, precision, scale] = take.array()?;
            let decimal = byte == 0x6A || byte == 0x37;
            (
                if decimal {
                    T::Decimal { precision, scale }
                } else {
                    T::Numeric { precision, scale }
                },
                Byte,
            )
        }
        0x28 => (T::Date, Byte),
        0x29 => (T::Time(take.u8()?), Byte),
        0x2A => (T::DateTime2(take.u8()?), Byte),
        0x2B => (T::DateTimeOffset(take.u8()?), Byte),
        0x2F => (T::Char(u16::from(take.u8()?)), Byte),
        0x27 => (T::VarChar(u16::from(take.u8()?)), Byte),
        0x2D => (T::Binary(u16::from(take.u8()?)), Byte),
        0x25 => (T::VarBinary(u16::from(take.u8()?)), Byte),
        0xA5 | 0xAD | 0xA7 | 0xAF | 0xE7 | 0xEF => {
            let length = take.u16()?;
            let counted = if length == MAX { Plp } else { Short };
            if !matches!(byte, 0xA5 | 0xAD) {
                take.bytes(5)?;
            }
            let units = if length == MAX { MAX } else { (length / 2).max(1) };
            let kind = match byte {
                0xA5 => T::VarBinary(length.max(1)),
                0xAD => T::Binary(length.max(1)),
                0xA7 => T::VarChar(length.max(1)),
                0xAF => T::Char(length.max(1)),
                0xE7 => T::NVarChar(units),
                _ => T::NChar(units),
            };
            (kind, counted)
        }
        0x22 | 0x23 | 0x63 => {
            take.u32()?;
            if byte != 0x22 {
                take.bytes(5)?;
            }
            if bulk {
                for _ in 0..take.u8()? {
                    take.us_varchar()?;
                }
            }
            let kind = [(0x22, T::Image), (0x23, T::Text), (0x63, T::NText)]
                .into_iter()
                .find(|(known, _)| *known == byte);
            (kind.expect("one of the three").1, if bulk { Pointer } else { Long })
        }
        0x62 => {
            take.u32()?;
            (T::Variant, Long)
        }
        0xF1 => {
            if take.u8()? == 1 {
                take.b_varchar()?;
                take.b_varchar()?;
                take.us_varchar()?;
            }
            (T::Xml, Plp)
        }
        0xF4 => (T::NVarChar(MAX), Plp),
        other => {
            return Err(Malformed(format!(
                "a parameter of type {other:#04x}, which the stand-in does not know"
            )));
        }
    };
    Ok(Incoming { kind, counted })
}

/// A value of such a type.
pub(crate) fn take_value(take: &mut Take<'_>, incoming: Incoming) -> Result<Value, Malformed> {
    let bytes: Option<Vec<u8>> = match incoming.counted {
        Counted::Null => None,
        Counted::Fixed(length) => Some(take.bytes(length)?.to_vec()),
        Counted::Byte => match take.u8()? {
            0 => None,
            length => Some(take.bytes(usize::from(length))?.to_vec()),
        },
        Counted::Short => match take.u16()? {
            0xFFFF => None,
            length => Some(take.bytes(usize::from(length))?.to_vec()),
        },
        Counted::Long => match take.u32()? {
            0xFFFF_FFFF => None,
            0 if incoming.kind == T::Variant => None,
            length => Some(take.bytes(length as usize)?.to_vec()),
        },
        Counted::Pointer => match take.u8()? {
            0 => None,
            pointer => {
                take.bytes(usize::from(pointer) + 8)?;
                let length = take.u32()?;
                Some(take.bytes(length as usize)?.to_vec())
            }
        },
        Counted::Plp => plp(take)?,
    };
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    decode(&bytes, incoming.kind)
}

fn plp(take: &mut Take<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let total = take.u64()?;
    if total == u64::MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match take.u32()? {
            0 => break,
            length => bytes.extend_from_slice(take.bytes(length as usize)?),
        }
    }
    if total != u64::MAX - 1 && total != bytes.len() as u64 {
        return Err(Malformed(format!(
            "a value of {} bytes, announced as {total}",
            bytes.len()
        )));
    }
    Ok(Some(bytes))
}

fn decode(bytes: &[u8], kind: SqlType) -> Result<Value, Malformed> {
    let mut take = Take(bytes);
    Ok(match kind {
        T::Bit | T::TinyInt => Value::Integer(i64::from(take.u8()?)),
        T::SmallInt => Value::Integer(i64::from(take.u16()? as i16)),
        T::Int => Value::Integer(i64::from(take.i32()?)),
        T::BigInt => Value::Integer(take.u64()? as i64),
        T::Real => Value::Real(f64::from(f32::from_le_bytes(take.array()?))),
        T::Float => Value::Real(f64::from_le_bytes(take.array()?)),
        T::SmallMoney => number(i128::from(take.i32()?), 4)?,
        T::Money => {
            let high = i64::from(take.i32()?);
            number(i128::from((high << 32) | i64::from(take.u32()?)), 4)?
        }
        T::Decimal { scale, .. } | T::Numeric { scale, .. } => {
            let positive = take.u8()? != 0;
            let mut magnitude = [0; 16];
            magnitude
                .get_mut(..take.0.len())
                .ok_or_else(|| Malformed::new("a decimal of more than 16 bytes"))?
                .copy_from_slice(take.0);
            let magnitude = u128::from_le_bytes(magnitude) as i128;
            number(if positive { magnitude } else { -magnitude }, scale)?
        }
        T::Date | T::Time(_) | T::DateTime2(_) | T::DateTimeOffset(_) | T::DateTime | T::SmallDateTime => {
            Value::Text(take_moment(&mut take, kind)?)
        }
        T::UniqueIdentifier => Value::Text(guid_text(&take.array::<16>()?)),
        T::NChar(_) | T::NVarChar(_) | T::NText => Value::Text(utf16(bytes)?),
        T::Xml => Value::Text(utf16(bytes)?.trim_start_matches('\u{feff}').to_owned()),
        T::Char(_) | T::VarChar(_) | T::Text => Value::Text(crate::mssql::code_page::decode(bytes)),
        T::Binary(_) | T::VarBinary(_) | T::Image => Value::Blob(bytes.to_vec()),
        T::Variant => {
            let base = take.u8()?;
            let properties = usize::from(take.u8()?);
            let properties = take.bytes(properties)?;
            let mut info = vec![base];
            match base {
                0xE7 | 0xEF | 0xA7 | 0xAF => {
                    info.u16(8000);
                    info.raw(properties.get(..5).unwrap_or(&COLLATION));
                }
                0xA5 | 0xAD => info.u16(8000),
                0x6A | 0x6C => info.raw(&[
                    17,
                    properties.first().copied().unwrap_or(18),
                    properties.get(1).copied().unwrap_or(0),
                ]),
                0x29..=0x2B => info.u8(properties.first().copied().unwrap_or(7)),
                0x24 => info.u8(16),
                _ => {}
            }
            decode(take.0, take_info(&mut Take(&info), false)?.kind)?
        }
    })
}

/// A decimal as the engine keeps it.
fn number(units: i128, scale: u8) -> Result<Value, Malformed> {
    let factor = 10i128.pow(u32::from(scale.min(38)));
    if units % factor == 0
        && let Ok(whole) = i64::try_from(units / factor)
    {
        return Ok(Value::Integer(whole));
    }
    if units.unsigned_abs() >= 10u128.pow(15) {
        return Err(Malformed::new(
            "a decimal of more than 15 digits, which the stand-in cannot keep",
        ));
    }
    Ok(Value::Real(units as f64 / factor as f64))
}

fn take_moment(take: &mut Take<'_>, kind: SqlType) -> Result<String, Malformed> {
    let mut moment = Moment::default();
    let time = |take: &mut Take<'_>, scale: u8| -> Result<u64, Malformed> {
        let mut bytes = [0; 8];
        bytes[..time_bytes(scale)].copy_from_slice(take.bytes(time_bytes(scale))?);
        Ok(u64::from_le_bytes(bytes) * 10u64.pow(7 - u32::from(scale.min(7))))
    };
    let days = |take: &mut Take<'_>| -> Result<i32, Malformed> {
        let [a, b, c] = take.array()?;
        Ok(i32::from_le_bytes([a, b, c, 0]))
    };
    match kind {
        T::Date => moment.days = days(take)?,
        T::Time(scale) => moment.ticks = time(take, scale)?,
        T::DateTime2(scale) => {
            moment.ticks = time(take, scale)?;
            moment.days = days(take)?;
        }
        T::DateTimeOffset(scale) => {
            let ticks = time(take, scale)?;
            let days = days(take)?;
            let offset = take.u16()? as i16;
            moment = Moment { days, ticks, offset: 0 }.at_offset(offset);
        }
        T::SmallDateTime => {
            moment.days = calendar::DAYS_TO_1900 + i32::from(take.u16()?);
            moment.ticks = u64::from(take.u16()?) * 60 * calendar::TICKS;
        }
        _ => {
            moment.days = calendar::DAYS_TO_1900 + take.i32()?;
            moment.ticks = calendar::milliseconds_of_300ths(take.u32()?);
        }
    }
    Ok(calendar::format(&moment, kind))
}
