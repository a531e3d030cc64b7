//! Values on the wire, as a server writes them.

use rusqlite::types::Value;

use super::{
    Put,
    types::{COLLATION, MAX, SqlType, SqlType as T, decimal_bytes},
};
use crate::mssql::{
    calendar::{self, Moment},
    failure::Failure,
};

/// A value in a row or a RETURNVALUE.
///
/// # Errors
/// The value does not fit the type (8115, 245).
pub(crate) fn put_value(out: &mut Vec<u8>, kind: SqlType, value: &Value) -> Result<(), Failure> {
    let value = &crate::mssql::engine::convert::convert(value, kind)?;
    if *value == Value::Null {
        match kind {
            T::Char(_) | T::NChar(_) | T::Binary(_) => out.u16(0xFFFF),
            T::VarChar(MAX) | T::NVarChar(MAX) | T::VarBinary(MAX) | T::Xml => out.u64(u64::MAX),
            T::VarChar(_) | T::NVarChar(_) | T::VarBinary(_) => out.u16(0xFFFF),
            T::Variant => out.u32(0),
            _ => out.u8(0),
        }
        return Ok(());
    }
    match kind {
        T::Bit | T::TinyInt => short(out, &integer(value).to_le_bytes()[..1]),
        T::SmallInt => short(out, &integer(value).to_le_bytes()[..2]),
        T::Int => short(out, &integer(value).to_le_bytes()[..4]),
        T::BigInt => short(out, &integer(value).to_le_bytes()),
        T::Real => short(out, &(float(value) as f32).to_le_bytes()),
        T::Float => short(out, &float(value).to_le_bytes()),
        T::SmallMoney => short(out, &(scaled(value, 4) as i32).to_le_bytes()),
        T::Money => {
            let money = scaled(value, 4) as i64;
            out.u8(8);
            out.i32((money >> 32) as i32);
            out.u32(money as u32);
        }
        T::Decimal { precision, scale } | T::Numeric { precision, scale } => {
            let number = scaled(value, scale);
            let bytes = decimal_bytes(precision);
            out.u8(bytes as u8 + 1);
            out.u8(u8::from(number >= 0));
            out.raw(&number.unsigned_abs().to_le_bytes()[..bytes]);
        }
        T::Date | T::Time(_) | T::DateTime2(_) | T::DateTimeOffset(_) | T::DateTime | T::SmallDateTime => {
            moment_bytes(out, kind, &calendar::parse(text(value))?);
        }
        T::UniqueIdentifier => short(out, &guid_bytes(text(value))?),
        T::NChar(_) | T::NVarChar(_) | T::NText | T::Xml => {
            let mut bytes = Vec::new();
            bytes.utf16(text(value));
            long(out, kind, &bytes);
        }
        T::Char(_) | T::VarChar(_) | T::Text => long(out, kind, &crate::mssql::code_page::encode(text(value))),
        T::Binary(_) | T::VarBinary(_) | T::Image => long(out, kind, blob(value)),
        T::Variant => variant(out, value),
    }
    Ok(())
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.u8(bytes.len() as u8);
    out.raw(bytes);
}

/// The value of a character or binary type: PLP, counted by u16, or behind a text pointer.
fn long(out: &mut Vec<u8>, kind: SqlType, bytes: &[u8]) {
    match kind {
        T::Xml | T::VarChar(MAX) | T::NVarChar(MAX) | T::VarBinary(MAX) => {
            out.u64(bytes.len() as u64);
            for chunk in bytes.chunks(PLP_CHUNK) {
                out.u32(chunk.len() as u32);
                out.raw(chunk);
            }
            out.u32(0);
        }
        T::Text | T::NText | T::Image => {
            out.u8(16);
            out.raw(b"weir stand-in \0\0");
            out.raw(&[0; 8]);
            out.u32(bytes.len() as u32);
            out.raw(bytes);
        }
        _ => {
            out.u16(bytes.len() as u16);
            out.raw(bytes);
        }
    }
}

/// Bytes of a PLP chunk.
const PLP_CHUNK: usize = 8040;

fn variant(out: &mut Vec<u8>, value: &Value) {
    let mut inner = Vec::new();
    match value {
        Value::Integer(number) => match i32::try_from(*number) {
            Ok(number) => {
                inner.raw(&[0x38, 0]);
                inner.i32(number);
            }
            Err(_) => {
                inner.raw(&[0x7F, 0]);
                inner.raw(&number.to_le_bytes());
            }
        },
        Value::Real(number) => {
            inner.raw(&[0x3E, 0]);
            inner.raw(&number.to_le_bytes());
        }
        Value::Text(text) => {
            inner.raw(&[0xE7, 7]);
            inner.raw(&COLLATION);
            inner.u16(8000);
            inner.utf16(text);
        }
        Value::Blob(bytes) => {
            inner.raw(&[0xA5, 2]);
            inner.u16(8000);
            inner.raw(bytes);
        }
        Value::Null => {}
    }
    out.u32(inner.len() as u32);
    out.raw(&inner);
}

fn moment_bytes(out: &mut Vec<u8>, kind: SqlType, moment: &Moment) {
    match kind {
        T::Date => {
            out.u8(3);
            out.raw(&moment.days.to_le_bytes()[..3]);
        }
        T::Time(scale) => {
            out.u8(time_bytes(scale) as u8);
            put_time(out, scale, moment.ticks);
        }
        T::DateTime2(scale) => {
            out.u8(time_bytes(scale) as u8 + 3);
            put_time(out, scale, moment.ticks);
            out.raw(&moment.days.to_le_bytes()[..3]);
        }
        T::DateTimeOffset(scale) => {
            let utc = moment.utc();
            out.u8(time_bytes(scale) as u8 + 5);
            put_time(out, scale, utc.ticks);
            out.raw(&utc.days.to_le_bytes()[..3]);
            out.raw(&moment.offset.to_le_bytes());
        }
        T::SmallDateTime => {
            out.u8(4);
            out.u16((moment.days - calendar::DAYS_TO_1900) as u16);
            out.u16((moment.ticks / (60 * calendar::TICKS)) as u16);
        }
        _ => {
            out.u8(8);
            out.i32(moment.days - calendar::DAYS_TO_1900);
            out.u32(((moment.ticks * 3 + 50_000) / 100_000) as u32);
        }
    }
}

pub(super) fn time_bytes(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    }
}

fn put_time(out: &mut Vec<u8>, scale: u8, ticks: u64) {
    let units = ticks / 10u64.pow(7 - u32::from(scale));
    out.raw(&units.to_le_bytes()[..time_bytes(scale)]);
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        Value::Real(number) => *number as i64,
        _ => 0,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        _ => 0.0,
    }
}

fn scaled(value: &Value, scale: u8) -> i128 {
    let factor = 10i128.pow(u32::from(scale));
    match value {
        Value::Integer(number) => i128::from(*number) * factor,
        Value::Real(number) => (number * factor as f64).round() as i128,
        _ => 0,
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn blob(value: &Value) -> &[u8] {
    match value {
        Value::Blob(bytes) => bytes,
        _ => &[],
    }
}

pub(crate) fn guid_bytes(text: &str) -> Result<[u8; 16], Failure> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    if digits.len() != 32 {
        return Err(Failure::new(
            8169,
            16,
            2,
            "Conversion failed when converting from a character string to uniqueidentifier.",
        ));
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).expect("hexadecimal digits"), 16).expect("two digits");
    }
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Ok(bytes)
}

pub(crate) fn guid_text(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
