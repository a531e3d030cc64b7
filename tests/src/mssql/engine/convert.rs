//! Values from one type into another, with SQL Server's errors where they do not go.

use rusqlite::types::Value;

use crate::mssql::{
    calendar, code_page,
    failure::Failure,
    wire::{
        types::{MAX, SqlType},
        values::{guid_bytes, guid_text},
    },
};

use SqlType as T;

/// A value as a type holds it. Text is not cut: see [`cut`] and [`store`].
pub(crate) fn convert(value: &Value, kind: SqlType) -> Result<Value, Failure> {
    if *value == Value::Null {
        return Ok(Value::Null);
    }
    match kind {
        T::Bit => bit(value),
        T::TinyInt => integer(value, kind, 0, 255),
        T::SmallInt => integer(value, kind, i64::from(i16::MIN), i64::from(i16::MAX)),
        T::Int => integer(value, kind, i64::from(i32::MIN), i64::from(i32::MAX)),
        T::BigInt => integer(value, kind, i64::MIN, i64::MAX),
        T::Real => Ok(Value::Real(f64::from(float(value, kind)? as f32))),
        T::Float => Ok(Value::Real(float(value, kind)?)),
        T::SmallMoney => decimal(value, kind, 10, 4),
        T::Money => decimal(value, kind, 19, 4),
        T::Decimal { precision, scale } | T::Numeric { precision, scale } => decimal(value, kind, precision, scale),
        T::Date | T::Time(_) | T::SmallDateTime | T::DateTime | T::DateTime2(_) | T::DateTimeOffset(_) => match value {
            Value::Text(text) => Ok(Value::Text(calendar::format(&calendar::parse(text)?, kind))),
            _ => Err(Failure::unknown(&format!("a number or bytes as {}", kind.name()))),
        },
        T::UniqueIdentifier => match value {
            Value::Text(text) => Ok(Value::Text(guid_text(&guid_bytes(text)?))),
            Value::Blob(bytes) if bytes.len() == 16 => Ok(Value::Text(guid_text(bytes))),
            _ => Err(failed(value, kind)),
        },
        T::Char(length) | T::NChar(length) => {
            let text = to_text(value, None).unwrap_or_default();
            let missing = usize::from(length).saturating_sub(text.encode_utf16().count());
            Ok(Value::Text(text + &" ".repeat(missing)))
        }
        T::VarChar(_) | T::NVarChar(_) | T::Text | T::NText | T::Xml => {
            Ok(Value::Text(to_text(value, None).unwrap_or_default()))
        }
        T::Binary(length) => {
            let mut bytes = bytes(value, kind)?;
            bytes.resize(bytes.len().max(usize::from(length)), 0);
            Ok(Value::Blob(bytes))
        }
        T::VarBinary(_) | T::Image => Ok(Value::Blob(bytes(value, kind)?)),
        T::Variant => Ok(value.clone()),
    }
}

/// As CAST and assignment do it: what is too long is cut.
pub(crate) fn cut(value: &Value, kind: SqlType) -> Result<Value, Failure> {
    let value = convert(value, kind)?;
    let (Some(most), true) = (limit(kind), value != Value::Null) else {
        return Ok(value);
    };
    Ok(match value {
        Value::Text(text) if text.encode_utf16().count() > most => {
            let units: Vec<u16> = text.encode_utf16().take(most).collect();
            Value::Text(String::from_utf16_lossy(&units))
        }
        Value::Blob(mut bytes) if bytes.len() > most => {
            bytes.truncate(most);
            Value::Blob(bytes)
        }
        other => other,
    })
}

/// As INSERT and UPDATE do it: what is too long is an error.
pub(crate) fn store(value: &Value, kind: SqlType, table: &str, column: &str) -> Result<Value, Failure> {
    let value = convert(value, kind)?;
    let Some(most) = limit(kind) else { return Ok(value) };
    let (length, shown) = match &value {
        Value::Text(text) => (text.encode_utf16().count(), text.chars().take(most).collect::<String>()),
        Value::Blob(bytes) => (bytes.len(), String::new()),
        _ => return Ok(value),
    };
    if length <= most {
        return Ok(value);
    }
    let text = format!(
        "String or binary data would be truncated in table 'dbo.{table}', column '{column}'. Truncated value: '{shown}'."
    );
    Err(Failure::new(2628, 16, 1, text))
}

fn limit(kind: SqlType) -> Option<usize> {
    match kind {
        T::Char(n) | T::VarChar(n) | T::NChar(n) | T::NVarChar(n) | T::Binary(n) | T::VarBinary(n) if n != MAX => {
            Some(usize::from(n))
        }
        _ => None,
    }
}

fn bit(value: &Value) -> Result<Value, Failure> {
    let on = match value {
        Value::Integer(number) => *number != 0,
        Value::Real(number) => *number != 0.0,
        Value::Text(text) if text.eq_ignore_ascii_case("true") || text == "1" => true,
        Value::Text(text) if text.eq_ignore_ascii_case("false") || text == "0" => false,
        _ => return Err(failed(value, T::Bit)),
    };
    Ok(Value::Integer(i64::from(on)))
}

fn integer(value: &Value, kind: SqlType, least: i64, most: i64) -> Result<Value, Failure> {
    let number = match value {
        Value::Integer(number) => *number,
        Value::Real(number) if number.abs() < 9.3e18 => *number as i64,
        Value::Real(_) => return Err(overflow(kind)),
        Value::Text(text) if text.trim().is_empty() => 0,
        Value::Text(text) => text.trim().parse().map_err(|_| failed(value, kind))?,
        Value::Blob(bytes) => bytes
            .iter()
            .rev()
            .take(8)
            .rev()
            .fold(0, |sum, byte| (sum << 8) | i64::from(*byte)),
        Value::Null => 0,
    };
    if (least..=most).contains(&number) {
        Ok(Value::Integer(number))
    } else {
        Err(overflow(kind))
    }
}

fn float(value: &Value, kind: SqlType) -> Result<f64, Failure> {
    match value {
        Value::Integer(number) => Ok(*number as f64),
        Value::Real(number) => Ok(*number),
        Value::Text(text) => text.trim().parse().map_err(|_| {
            Failure::new(
                8114,
                16,
                5,
                format!("Error converting data type varchar to {}.", kind.name()),
            )
        }),
        _ => Err(failed(value, kind)),
    }
}

fn decimal(value: &Value, kind: SqlType, precision: u8, scale: u8) -> Result<Value, Failure> {
    if let Value::Integer(number) = value {
        let digits = number.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
        return if digits <= u32::from(precision - scale.min(precision)).max(1) {
            Ok(value.clone())
        } else {
            Err(overflow(kind))
        };
    }
    if let Value::Text(text) = value
        && let Ok(whole) = text.trim().parse::<i64>()
    {
        return decimal(&Value::Integer(whole), kind, precision, scale);
    }
    if let Value::Text(text) = value
        && text.bytes().filter(u8::is_ascii_digit).count() > 15
    {
        return Err(Failure::new(
            50_000,
            16,
            1,
            "The stand-in server keeps decimals of up to 15 digits.",
        ));
    }
    let number = float(value, kind)?;
    let factor = 10f64.powi(i32::from(scale));
    let rounded = (number * factor).round() / factor;
    if !rounded.is_finite() || rounded.abs() >= 10f64.powi(i32::from(precision) - i32::from(scale)) {
        return Err(overflow(kind));
    }
    Ok(if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        Value::Integer(rounded as i64)
    } else {
        Value::Real(rounded)
    })
}

fn bytes(value: &Value, kind: SqlType) -> Result<Vec<u8>, Failure> {
    match value {
        Value::Blob(bytes) => Ok(bytes.clone()),
        Value::Integer(number) => match i32::try_from(*number) {
            Ok(number) => Ok(number.to_be_bytes().to_vec()),
            Err(_) => Ok(number.to_be_bytes().to_vec()),
        },
        _ => Err(Failure::new(
            257,
            16,
            3,
            format!(
                "Implicit conversion from data type varchar to {} is not allowed. Use the CONVERT function to run this query.",
                kind.base_name()
            ),
        )),
    }
}

fn overflow(kind: SqlType) -> Failure {
    Failure::new(
        8115,
        16,
        2,
        format!(
            "Arithmetic overflow error converting expression to data type {}.",
            kind.base_name()
        ),
    )
}

fn failed(value: &Value, kind: SqlType) -> Failure {
    let shown = to_text(value, None).unwrap_or_default();
    Failure::new(
        245,
        16,
        1,
        format!(
            "Conversion failed when converting the varchar value '{shown}' to data type {}.",
            kind.base_name()
        ),
    )
}

/// As SQL Server writes it. With the type of a decimal, all its digits; None for NULL.
pub(crate) fn to_text(value: &Value, kind: Option<SqlType>) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Integer(number) => match kind {
            Some(T::Decimal { scale, .. } | T::Numeric { scale, .. }) if scale > 0 => {
                format!("{number}.{}", "0".repeat(usize::from(scale)))
            }
            Some(T::Money | T::SmallMoney) => format!("{number}.00"),
            _ => number.to_string(),
        },
        Value::Real(number) => match kind {
            Some(T::Decimal { scale, .. } | T::Numeric { scale, .. }) => format!("{number:.*}", usize::from(scale)),
            Some(T::Money | T::SmallMoney) => format!("{number:.2}"),
            _ => number.to_string(),
        },
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => code_page::decode(bytes),
    })
}
