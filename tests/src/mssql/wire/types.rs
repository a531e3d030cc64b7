//! The types of SQL Server: their names, their TYPE_INFO, their values on the wire.
//!
//! A value is what the SQL engine holds: integers, floats, text, bytes. Dates are text in ISO form with the fraction
//! trimmed, a decimal is a number (the engine keeps 15 digits: more are refused, not rounded), a GUID is upper-case text.

use super::Put;

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
            T::VarChar(MAX) if version < 0x7200_0000 => T::Text,
            T::NVarChar(MAX) | T::Xml if version < 0x7200_0000 => T::NText,
            T::VarBinary(MAX) if version < 0x7200_0000 => T::Image,
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
pub(super) fn decimal_bytes(precision: u8) -> usize {
    match precision {
        0..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        _ => 16,
    }
}
