//! Wall times as text and back: RFC 3339 in UTC. Wall times are advisory; they are shown and chosen by, nothing more.

/// Days from 1970-01-01 to a civil date, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The civil date of a day since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Milliseconds since 1970 as `2026-11-21T00:14:21.123Z`. Years beyond 9999 are what some author wrote; they are shown as they are.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date_of(i64::try_from(days).unwrap_or(i64::MAX / 2));
    let (hours, minutes, seconds, ms) =
        (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Reads `2026-11-21`, `2026-11-21T00:14`, `2026-11-21 00:14:21.5Z` or with an offset `+02:00`. Without an offset it is UTC.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let date = text.get(..10)?;
    let fields = (number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..10)?)?);
    let (year, month, day) = fields;
    if date.as_bytes()[4] != b'-'
        || date.as_bytes()[7] != b'-'
        || date_of(days_of(year, month, day)) != fields
    {
        return None;
    }
    let mut rest = text.get(10..)?;
    let mut ms = 0;
    if let Some(time) = rest.strip_prefix(['T', 't', ' ']) {
        let end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
        let (clock, zone) = time.split_at(end);
        ms = clock_ms(clock)?;
        rest = zone;
    }
    let offset = match rest {
        "" | "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('+') { 1 } else { -1 };
            sign * clock_ms(zone.get(1..)?)?
        }
    };
    u64::try_from(days_of(year, month, day) * 86_400_000 + ms - offset).ok()
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fff`.
fn clock_ms(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let mut part = |max: i64| {
        let text = parts.next().unwrap_or("0");
        let two = text.len() <= 2 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|value| two && *value <= max)
    };
    let (hours, minutes, seconds) = (part(23)?, part(59)?, part(60)?);
    if parts.next().is_some() || !clock.contains(':') || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_text() {
        for ms in [0, 951_782_400_000, 951_868_799_999, 1_795_219_199_123, 253_402_300_799_999] {
            assert_eq!(parse_time(&rfc3339(ms)), Some(ms), "{}", rfc3339(ms));
        }
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert!(rfc3339(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn people_may_leave_out_what_they_do_not_mean() {
        let midnight = parse_time("2026-11-21").unwrap();
        assert_eq!(parse_time("2026-11-21T00:00:00Z"), Some(midnight));
        assert_eq!(parse_time("2026-11-21 01:30"), Some(midnight + 5_400_000));
        assert_eq!(parse_time("2026-11-21T02:00:00+02:00"), Some(midnight));
        assert_eq!(parse_time("2026-11-21T00:00:01.25Z"), Some(midnight + 1_250));
        for wrong in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-11-21T24:00",
            "2026-11-21Tx",
            "é026-11-21",
            "2026-11-21T1",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
