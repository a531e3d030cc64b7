//! T-SQL's functions of dates.

use rusqlite::types::Value;

use super::functions::{number, text};
use crate::mssql::{
    calendar::{self, Moment},
    failure::Failure,
    wire::types::SqlType,
};

pub(super) fn moment(a: &[Value], at: usize, body: impl Fn(Moment) -> Value) -> std::result::Result<Value, Failure> {
    Ok(match &a[at] {
        Value::Null => Value::Null,
        value => body(calendar::parse(&text(value))?),
    })
}

pub(super) fn part_of(a: &[Value], body: impl Fn(Moment) -> i64) -> std::result::Result<Value, Failure> {
    moment(a, 0, |m| Value::Integer(body(m)))
}

fn unit(part: &str) -> Option<(&'static str, i128)> {
    let second = i128::from(calendar::TICKS);
    Some(match part {
        "year" | "yy" | "yyyy" => ("month", 12),
        "quarter" | "qq" | "q" => ("month", 3),
        "month" | "mm" | "m" => ("month", 1),
        "week" | "wk" | "ww" => ("ticks", 7 * 86400 * second),
        "day" | "dd" | "d" | "dayofyear" | "dy" | "y" | "weekday" | "dw" => ("ticks", 86400 * second),
        "hour" | "hh" => ("ticks", 3600 * second),
        "minute" | "mi" | "n" => ("ticks", 60 * second),
        "second" | "ss" | "s" => ("ticks", second),
        "millisecond" | "ms" => ("ticks", second / 1000),
        "microsecond" | "mcs" => ("ticks", second / 1_000_000),
        "nanosecond" | "ns" => ("ticks", 1),
        _ => return None,
    })
}

fn unknown_part(part: &str) -> Failure {
    Failure::new(155, 15, 1, format!("'{part}' is not a recognized datepart option."))
}

pub(super) fn date_add(a: &[Value]) -> std::result::Result<Value, Failure> {
    let part = text(&a[0]);
    let (what, size) = unit(&part).ok_or_else(|| unknown_part(&part))?;
    if a[1] == Value::Null {
        return Ok(Value::Null);
    }
    let amount = i128::from(number(&a[1]));
    let only_date = text(&a[2]).len() == 10;
    moment(a, 2, |start| {
        let end = if what == "ticks" {
            start.plus(amount * size)
        } else {
            let (year, month, day) = start.date();
            let months = i128::from(year) * 12 + i128::from(month) - 1 + amount * size;
            let (year, month) = (months.div_euclid(12) as i32, months.rem_euclid(12) as u32 + 1);
            Moment {
                days: calendar::days_of(year, month, day.min(calendar::month_days(year, month))),
                ..start
            }
        };
        Value::Text(calendar::format(
            &end,
            if only_date && end.ticks == 0 {
                SqlType::Date
            } else {
                SqlType::DateTime2(7)
            },
        ))
    })
}

pub(super) fn date_difference(a: &[Value]) -> std::result::Result<Value, Failure> {
    let part = text(&a[0]);
    let (what, size) = unit(&part).ok_or_else(|| unknown_part(&part))?;
    if a[1] == Value::Null || a[2] == Value::Null {
        return Ok(Value::Null);
    }
    let (from, to) = (calendar::parse(&text(&a[1]))?, calendar::parse(&text(&a[2]))?);
    let boundary = |m: Moment| {
        if what == "month" {
            (i128::from(m.date().0) * 12 + i128::from(m.date().1) - 1).div_euclid(size)
        } else {
            (i128::from(m.days) * i128::from(86400 * calendar::TICKS) + i128::from(m.ticks)).div_euclid(size)
        }
    };
    Ok(Value::Integer((boundary(to) - boundary(from)) as i64))
}

pub(super) fn date_part(part: &str, m: Moment) -> Option<i64> {
    let ((year, month, day), (hour, minute, second, ticks)) = (m.date(), m.time());
    Some(i64::from(match part {
        "year" | "yy" | "yyyy" => year as u32,
        "quarter" | "qq" | "q" => month.div_ceil(3),
        "month" | "mm" | "m" => month,
        "day" | "dd" | "d" => day,
        "dayofyear" | "dy" | "y" => (m.days - calendar::days_of(year, 1, 1) + 1) as u32,
        "hour" | "hh" => hour,
        "minute" | "mi" | "n" => minute,
        "second" | "ss" | "s" => second,
        "millisecond" | "ms" => ticks / 10_000,
        "microsecond" | "mcs" => ticks / 10,
        "nanosecond" | "ns" => ticks * 100,
        _ => return None,
    }))
}

pub(super) fn date_name(part: &str, m: Moment) -> Value {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    match part {
        "month" | "mm" | "m" => Value::Text(MONTHS[m.date().1 as usize - 1].to_owned()),
        "weekday" | "dw" => Value::Text(DAYS[m.days.rem_euclid(7) as usize].to_owned()),
        other => date_part(other, m).map_or(Value::Null, |number| Value::Text(number.to_string())),
    }
}
