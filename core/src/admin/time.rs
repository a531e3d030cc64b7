//! Moments as people read them.

use std::time::{Duration, SystemTime};

use crate::clock::{self, Instant};

/// The wall clock's time of a moment, `2026-11-20 11:14:15 UTC`.
pub(super) fn wall(moment: Instant) -> String {
    let ago = clock::now().duration_since(moment);
    let since_epoch = clock::wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    calendar(since_epoch.saturating_sub(ago).as_secs())
}

/// A moment for programs, `2026-11-20T11:14:15Z`.
pub fn iso(moment: SystemTime) -> String {
    let since_epoch = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    calendar(since_epoch.as_secs())
        .replacen(' ', "T", 1)
        .replacen(" UTC", "Z", 1)
}

/// The same with thousandths of a second, for logs.
pub fn iso_millis(moment: SystemTime) -> String {
    let since_epoch = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let millis = format!(".{:03}Z", since_epoch.subsec_millis());
    calendar(since_epoch.as_secs())
        .replacen(' ', "T", 1)
        .replacen(" UTC", &millis, 1)
}

fn calendar(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Year, month and day of the day with this number since 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last of its year; 719,468 days from year 0 to 1970.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_behind_the_point() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_735_689_599_042_999);
        assert_eq!(iso_millis(moment), "2024-12-31T23:59:59.042Z");
    }

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(calendar(seconds), expected);
            let iso_form = iso(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(iso_form, expected.replacen(' ', "T", 1).replacen(" UTC", "Z", 1));
        }
    }
}
