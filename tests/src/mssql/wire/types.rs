//! The types of SQL Server: their names, their TYPE_INFO, their values on the wire.
//!
//! A value is what the SQL engine holds: integers, floats, text, bytes. Dates are text in ISO form with the fraction
//! trimmed, a decimal is a number (the engine keeps 15 digits: more are refused, not rounded), a GUID is upper-case text.

use rusqlite::types::Value;

use super::{Malformed, Put, Take, utf16};
use crate::mssql::{
    calendar::{self, Moment},
    failure::Failure,
};

/// SQL_Latin1_General_CP1_CI_AS, of every character column here.
pub(crate) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];
/// Length of `varchar(max)` and its like.
pub(crate) const MAX: u16 = 0xFFFF;

/// A type. Lengths are in characters (`n`-types) or bytes, [`MAX`] for `(max)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SqlType {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Real,
    Float,
    SmallMoney,
    Money,
    Decimal { precision: u8, scale: u8 },
    Numeric { precision: u8, scale: u8 },
    Date,
    Time(u8),
    SmallDateTime,
    DateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    UniqueIdentifier,
    Char(u16),
    VarChar(u16),
    NChar(u16),
    NVarChar(u16),
    Binary(u16),
    VarBinary(u16),
    Text,
    NText,
    Image,
    Xml,
    Variant,
}

use SqlType as T;

impl SqlType {
    /// The type of this name: `nvarchar(50)`, `decimal(18, 4)`, `int`.
    pub(crate) fn parse(name: &str) -> Option<SqlType> {
        let name = name.trim().to_ascii_lowercase();
        let (word, arguments) = match name.split_once('(') {
            Some((word, rest)) => (word.trim(), rest.trim_end().strip_suffix(')')?.trim().to_owned()),
            None => (name.as_str(), String::new()),
        };
        let numbers: Vec<u16> = arguments
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| {
                if part.trim() == "max" {
                    Some(MAX)
                } else {
                    part.trim().parse().ok()
                }
            })
            .collect::<Option<_>>()?;
        let length = |most: u16| {
            numbers
                .first()
                .copied()
                .unwrap_or(1)
                .min(if numbers.first() == Some(&MAX) { MAX } else { most })
        };
        let scale = || numbers.first().copied().unwrap_or(7).min(7) as u8;
        let precision = numbers.first().copied().unwrap_or(18).min(38) as u8;
        let digits = numbers.get(1).copied().unwrap_or(0).min(38) as u8;
        Some(match word {
            "bit" => T::Bit,
            "tinyint" => T::TinyInt,
            "smallint" => T::SmallInt,
            "int" | "integer" => T::Int,
            "bigint" => T::BigInt,
            "real" => T::Real,
            "float" | "double precision" => {
                if numbers.first().is_some_and(|bits| *bits <= 24) {
                    T::Real
                } else {
                    T::Float
                }
            }
            "smallmoney" => T::SmallMoney,
            "money" => T::Money,
            "decimal" | "dec" => T::Decimal {
                precision,
                scale: digits,
            },
            "numeric" => T::Numeric {
                precision,
                scale: digits,
            },
            "date" => T::Date,
            "time" => T::Time(scale()),
            "smalldatetime" => T::SmallDateTime,
            "datetime" => T::DateTime,
            "datetime2" => T::DateTime2(scale()),
            "datetimeoffset" => T::DateTimeOffset(scale()),
            "uniqueidentifier" => T::UniqueIdentifier,
            "char" | "character" => T::Char(length(8000)),
            "varchar" => T::VarChar(length(8000)),
            "nchar" => T::NChar(length(4000)),
            "nvarchar" => T::NVarChar(length(4000)),
            "sysname" => T::NVarChar(128),
            "binary" => T::Binary(length(8000)),
            "varbinary" => T::VarBinary(length(8000)),
            "text" => T::Text,
            "ntext" => T::NText,
            "image" => T::Image,
            "xml" => T::Xml,
            "sql_variant" => T::Variant,
            "timestamp" | "rowversion" => T::Binary(8),
            _ => return None,
        })
    }

    /// As [`SqlType::parse`] reads it.
    pub(crate) fn name(self) -> String {
        let sized = |word: &str, length: u16| {
            if length == MAX {
                format!("{word}(max)")
            } else {
                format!("{word}({length})")
            }
        };
        match self {
            T::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            T::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
            T::Time(scale) => format!("time({scale})"),
            T::DateTime2(scale) => format!("datetime2({scale})"),
            T::DateTimeOffset(scale) => format!("datetimeoffset({scale})"),
            T::Char(length) => sized("char", length),
            T::VarChar(length) => sized("varchar", length),
            T::NChar(length) => sized("nchar", length),
            T::NVarChar(length) => sized("nvarchar", length),
            T::Binary(length) => sized("binary", length),
            T::VarBinary(length) => sized("varbinary", length),
            other => other.base_name().to_owned(),
        }
    }

    /// The name without a length.
    pub(crate) fn base_name(self) -> &'static str {
        match self {
            T::Bit => "bit",
            T::TinyInt => "tinyint",
            T::SmallInt => "smallint",
            T::Int => "int",
            T::BigInt => "bigint",
            T::Real => "real",
            T::Float => "float",
            T::SmallMoney => "smallmoney",
            T::Money => "money",
            T::Decimal { .. } => "decimal",
            T::Numeric { .. } => "numeric",
            T::Date => "date",
            T::Time(_) => "time",
            T::SmallDateTime => "smalldatetime",
            T::DateTime => "datetime",
            T::DateTime2(_) => "datetime2",
            T::DateTimeOffset(_) => "datetimeoffset",
            T::UniqueIdentifier => "uniqueidentifier",
            T::Char(_) => "char",
            T::VarChar(_) => "varchar",
            T::NChar(_) => "nchar",
            T::NVarChar(_) => "nvarchar",
            T::Binary(_) => "binary",
            T::VarBinary(_) => "varbinary",
            T::Text => "text",
            T::NText => "ntext",
            T::Image => "image",
            T::Xml => "xml",
            T::Variant => "sql_variant",
        }
    }

    /// As `sys.types` numbers it.
    pub(crate) fn system_id(self) -> i64 {
        match self {
            T::Image => 34,
            T::Text => 35,
            T::UniqueIdentifier => 36,
            T::Date => 40,
            T::Time(_) => 41,
            T::DateTime2(_) => 42,
            T::DateTimeOffset(_) => 43,
            T::TinyInt => 48,
            T::SmallInt => 52,
            T::Int => 56,
            T::SmallDateTime => 58,
            T::Real => 59,
            T::Money => 60,
            T::DateTime => 61,
            T::Float => 62,
            T::Variant => 98,
            T::NText => 99,
            T::Bit => 104,
            T::Decimal { .. } => 106,
            T::Numeric { .. } => 108,
            T::SmallMoney => 122,
            T::BigInt => 127,
            T::VarBinary(_) => 165,
            T::VarChar(_) => 167,
            T::Binary(_) => 173,
            T::Char(_) => 175,
            T::NVarChar(_) => 231,
            T::NChar(_) => 239,
            T::Xml => 241,
        }
    }

    /// What SQLite shall keep in a column of it.
    pub(crate) fn affinity(self) -> &'static str {
        match self {
            T::Bit | T::TinyInt | T::SmallInt | T::Int | T::BigInt => "INT",
            T::Real | T::Float => "REAL",
            T::SmallMoney | T::Money | T::Decimal { .. } | T::Numeric { .. } => "NUMERIC",
            T::Binary(_) | T::VarBinary(_) | T::Image | T::Variant => "BLOB",
            _ => "TEXT COLLATE NOCASE",
        }
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(
            self,
            T::Char(_) | T::VarChar(_) | T::NChar(_) | T::NVarChar(_) | T::Text | T::NText | T::Xml
        )
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, T::Bit | T::TinyInt | T::SmallInt | T::Int | T::BigInt)
    }

    pub(crate) fn scale(self) -> Option<u8> {
        match self {
            T::Decimal { scale, .. } | T::Numeric { scale, .. } => Some(scale),
            T::Money | T::SmallMoney => Some(4),
            T::Time(scale) | T::DateTime2(scale) | T::DateTimeOffset(scale) => Some(scale),
            T::DateTime => Some(3),
            _ => None,
        }
    }

    /// Higher wins where two meet.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            T::Variant => 30,
            T::Xml => 29,
            T::DateTimeOffset(_) => 28,
            T::DateTime2(_) => 27,
            T::DateTime => 26,
            T::SmallDateTime => 25,
            T::Date => 24,
            T::Time(_) => 23,
            T::Float => 22,
            T::Real => 21,
            T::Decimal { .. } | T::Numeric { .. } => 20,
            T::Money => 19,
            T::SmallMoney => 18,
            T::BigInt => 17,
            T::Int => 16,
            T::SmallInt => 15,
            T::TinyInt => 14,
            T::Bit => 13,
            T::NText => 12,
            T::Text => 11,
            T::Image => 10,
            T::UniqueIdentifier => 8,
            T::NVarChar(_) => 7,
            T::NChar(_) => 6,
            T::VarChar(_) => 5,
            T::Char(_) => 4,
            T::VarBinary(_) => 3,
            T::Binary(_) => 2,
        }
    }

    /// What a client of this TDS version is told instead: it knows no types that came later.
    pub(crate) fn for_version(self, version: u32) -> SqlType {
        match self {
            T::Date if version < 0x730A_0003 => T::NVarChar(10),
            T::Time(_) | T::DateTime2(_) | T::DateTimeOffset(_) if version < 0x730A_0003 => T::NVarChar(40),
            other => other,
        }
    }

    /// TYPE_INFO as in COLMETADATA and RETURNVALUE, without TableName.
    pub(crate) fn put_info(self, out: &mut Vec<u8>) {
        let sized = |out: &mut Vec<u8>, byte: u8, bytes: u16| {
            out.u8(byte);
            out.u16(bytes);
        };
        match self {
            T::Bit => out.raw(&[0x68, 1]),
            T::TinyInt => out.raw(&[0x26, 1]),
            T::SmallInt => out.raw(&[0x26, 2]),
            T::Int => out.raw(&[0x26, 4]),
            T::BigInt => out.raw(&[0x26, 8]),
            T::Real => out.raw(&[0x6D, 4]),
            T::Float => out.raw(&[0x6D, 8]),
            T::SmallMoney => out.raw(&[0x6E, 4]),
            T::Money => out.raw(&[0x6E, 8]),
            T::Decimal { precision, scale } => out.raw(&[0x6A, decimal_bytes(precision) as u8 + 1, precision, scale]),
            T::Numeric { precision, scale } => out.raw(&[0x6C, decimal_bytes(precision) as u8 + 1, precision, scale]),
            T::Date => out.u8(0x28),
            T::Time(scale) => out.raw(&[0x29, scale]),
            T::DateTime2(scale) => out.raw(&[0x2A, scale]),
            T::DateTimeOffset(scale) => out.raw(&[0x2B, scale]),
            T::SmallDateTime => out.raw(&[0x6F, 4]),
            T::DateTime => out.raw(&[0x6F, 8]),
            T::UniqueIdentifier => out.raw(&[0x24, 16]),
            T::Binary(length) => sized(out, 0xAD, length),
            T::VarBinary(length) => sized(out, 0xA5, length),
            T::Char(length) => sized(out, 0xAF, length),
            T::VarChar(length) => sized(out, 0xA7, length),
            T::NChar(length) => sized(out, 0xEF, length * 2),
            T::NVarChar(length) => sized(out, 0xE7, if length == MAX { MAX } else { length * 2 }),
            T::Text => out.raw(&[0x23, 0xFF, 0xFF, 0xFF, 0x7F]),
            T::NText => out.raw(&[0x63, 0xFE, 0xFF, 0xFF, 0x7F]),
            T::Image => out.raw(&[0x22, 0xFF, 0xFF, 0xFF, 0x7F]),
            T::Xml => out.raw(&[0xF1, 0]),
            T::Variant => out.raw(&[0x62, 0x49, 0x1F, 0, 0]),
        }
        if self.is_text() && self != T::Xml {
            out.raw(&COLLATION);
        }
    }
}

/// Bytes of a decimal's magnitude.
fn decimal_bytes(precision: u8) -> usize {
    match precision {
        0..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        _ => 16,
    }
}

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

fn time_bytes(scale: u8) -> usize {
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
