//! The time in front of a line of a log.

use std::time::{SystemTime, UNIX_EPOCH};

/// As QEMU writes it: UTC by ISO 8601, with microseconds, and a space.
pub(crate) fn stamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z ")
}

/// Year, month and day of a day since 1970-01-01. Counted from March of the year 0, a leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::stamp;

    #[test]
    fn stamps_are_those_of_date_and_qemu() {
        for (seconds, micros, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z "),
            (951_782_399, 999_999, "2000-02-28T23:59:59.999999Z "),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z "),
            (951_868_800, 7, "2000-03-01T00:00:00.000007Z "),
            (1_795_368_230, 3266, "2026-11-22T17:23:50.003266Z "),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z "),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
            assert_eq!(stamp(time), expected);
        }
    }
}
