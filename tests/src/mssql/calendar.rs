//! Dates and times: ISO text as the engine keeps them, days and 100-nanosecond ticks as the wire has them.

use super::{failure::Failure, wire::types::SqlType};

/// Ticks of a second.
pub(crate) const TICKS: u64 = 10_000_000;
/// Days from 0001-01-01 to 1900-01-01, from where `datetime` counts.
pub(crate) const DAYS_TO_1900: i32 = 693_595;
const DAYS_TO_1970: i64 = 719_162;

/// A point in local time, with the offset of that locality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Since 0001-01-01.
    pub(crate) days: i32,
    /// Since midnight.
    pub(crate) ticks: u64,
    /// Minutes east of Greenwich.
    pub(crate) offset: i16,
}

impl Moment {
    pub(crate) fn now() -> Moment {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            days: (DAYS_TO_1970 + (since.as_secs() / 86400) as i64) as i32,
            ticks: (since.as_secs() % 86400) * TICKS + u64::from(since.subsec_nanos() / 100),
            offset: 0,
        }
    }

    fn total(self) -> i128 {
        i128::from(self.days) * i128::from(86400 * TICKS) + i128::from(self.ticks)
    }

    /// So many ticks later.
    pub(crate) fn plus(self, ticks: i128) -> Moment {
        let total = self.total() + ticks;
        let day = i128::from(86400 * TICKS);
        Moment {
            days: total.div_euclid(day) as i32,
            ticks: total.rem_euclid(day) as u64,
            offset: self.offset,
        }
    }

    /// The same moment in Greenwich.
    pub(crate) fn utc(self) -> Moment {
        Moment {
            offset: 0,
            ..self.plus(-i128::from(self.offset) * i128::from(60 * TICKS))
        }
    }

    /// Of a moment in UTC: the same one as that place's clocks show it.
    pub(crate) fn at_offset(self, offset: i16) -> Moment {
        Moment {
            offset,
            ..self.plus(i128::from(offset) * i128::from(60 * TICKS))
        }
    }

    /// Year, month, day.
    pub(crate) fn date(self) -> (i32, u32, u32) {
        let days = i64::from(self.days) + 306;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year as i32, month, day)
    }

    /// Hour, minute, second, ticks of the second.
    pub(crate) fn time(self) -> (u32, u32, u32, u32) {
        let seconds = self.ticks / TICKS;
        (
            (seconds / 3600) as u32,
            (seconds / 60 % 60) as u32,
            (seconds % 60) as u32,
            (self.ticks % TICKS) as u32,
        )
    }
}

/// Days since 0001-01-01.
pub(crate) fn days_of(year: i32, month: u32, day: u32) -> i32 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 306) as i32
}

/// Days of a month.
pub(crate) fn month_days(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Ticks of a `datetime`'s time: its 300ths of a second, to the millisecond that SQL Server shows.
pub(crate) fn milliseconds_of_300ths(units: u32) -> u64 {
    (u64::from(units) * 10 + 1) / 3 * 10_000
}

/// Reads ISO text: date, time, both, with or without an offset.
pub(crate) fn parse(text: &str) -> Result<Moment, Failure> {
    parse_text(text.trim()).ok_or_else(|| {
        Failure::new(
            241,
            16,
            1,
            "Conversion failed when converting date and/or time from character string.",
        )
    })
}

fn parse_text(text: &str) -> Option<Moment> {
    let mut moment = Moment {
        days: DAYS_TO_1900,
        ..Moment::default()
    };
    let (date, rest) = match text.find([' ', 'T']) {
        Some(at) => (Some(&text[..at]), text[at + 1..].trim()),
        None if text.contains(':') => (None, text),
        None => (Some(text), ""),
    };
    if let Some(date) = date {
        let digits: String = date.chars().filter(|c| *c != '-' && *c != '/').collect();
        let dashed = date.len() == 10 && (date.as_bytes()[4] == b'-' || date.as_bytes()[4] == b'/');
        if digits.len() != 8 || !(dashed || date.len() == 8) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, month, day) = (
            digits[..4].parse().ok()?,
            digits[4..6].parse().ok()?,
            digits[6..].parse().ok()?,
        );
        if year < 1 || !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
            return None;
        }
        moment.days = days_of(year, month, day);
    }
    let (time, offset) = match rest.find(['+', 'Z']).or_else(|| rest.rfind('-')) {
        Some(at) => (rest[..at].trim(), &rest[at..]),
        None => (rest, ""),
    };
    if !time.is_empty() {
        moment.ticks = parse_time(time)?;
    }
    if let Some(sign) = offset.chars().next().filter(|sign| *sign != 'Z') {
        let (hours, minutes) = offset[1..].split_once(':')?;
        let total = hours.parse::<i16>().ok()? * 60 + minutes.parse::<i16>().ok()?;
        moment.offset = if sign == '-' { -total } else { total };
    }
    Some(moment)
}

fn parse_time(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let ticks: u64 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<7}")[..7].parse().ok()?
    };
    Some((hour * 3600 + minute * 60 + second) * TICKS + ticks)
}

/// As the engine keeps a value of this type. Rounds to what the type can hold.
pub(crate) fn format(moment: &Moment, kind: SqlType) -> String {
    let step = match kind {
        SqlType::Time(scale) | SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => {
            10u64.pow(7 - u32::from(scale.min(7)))
        }
        SqlType::SmallDateTime => 60 * TICKS,
        _ => 1,
    };
    let mut moment = *moment;
    if kind == SqlType::DateTime {
        moment.ticks = milliseconds_of_300ths(((moment.ticks * 3 + 50_000) / 100_000) as u32);
    } else {
        moment.ticks = (moment.ticks + step / 2) / step * step;
    }
    if moment.ticks >= 86400 * TICKS {
        moment.ticks = 0;
        moment.days += i32::from(!matches!(kind, SqlType::Time(_)));
    }
    let (year, month, day) = moment.date();
    let date = format!("{year:04}-{month:02}-{day:02}");
    let (hour, minute, second, ticks) = moment.time();
    let fraction = if ticks == 0 {
        String::new()
    } else {
        format!(".{}", format!("{ticks:07}").trim_end_matches('0'))
    };
    let time = format!("{hour:02}:{minute:02}:{second:02}{fraction}");
    match kind {
        SqlType::Date => date,
        SqlType::Time(_) => time,
        SqlType::DateTimeOffset(_) => {
            let sign = if moment.offset < 0 { '-' } else { '+' };
            let offset = moment.offset.unsigned_abs();
            format!("{date} {time} {sign}{:02}:{:02}", offset / 60, offset % 60)
        }
        _ => format!("{date} {time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        assert_eq!(days_of(1, 1, 1), 0);
        assert_eq!(days_of(1900, 1, 1), DAYS_TO_1900);
        for days in (0..3_652_059).step_by(97) {
            let (year, month, day) = Moment {
                days,
                ..Moment::default()
            }
            .date();
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn text_comes_back() {
        for (text, kind) in [
            ("2024-02-29", SqlType::Date),
            ("23:59:59.9999999", SqlType::Time(7)),
            ("2024-02-29 12:30:00.25", SqlType::DateTime2(3)),
            ("2024-02-29 12:30:00.25 -05:30", SqlType::DateTimeOffset(3)),
            ("2024-02-29 12:30:00.123", SqlType::DateTime),
        ] {
            assert_eq!(format(&parse(text).unwrap(), kind), text);
        }
        assert!(parse("2023-02-29").is_err());
        assert!(parse("yesterday").is_err());
    }
}
