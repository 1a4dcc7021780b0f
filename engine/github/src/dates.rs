//! The two forms in which GitHub writes a moment, as seconds since 1970: `Fri, 02 Jan 2026 03:04:05 GMT` in headers and
//! `2026-01-02T03:04:05Z` in bodies.
//!
//! No calendar beyond that, and no clock. A text that is not in these forms is `None`, never a wrong moment.

/// A moment as it stands in a `date` or `retry-after` header.
pub fn http_date_s(text: &str) -> Option<u64> {
    let text = text.trim().strip_suffix(" GMT")?;
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = number(parts.next()?)?;
    let name = parts.next()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| *month == name)? as u64 + 1;
    let year = number(parts.next()?)?;
    let time = time_s(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    Some(days(year, month, day)? * 86_400 + time)
}

/// A moment as it stands in a body: RFC 3339 with `Z` or an offset; fractions of a second are cut off.
pub fn rfc3339_s(text: &str) -> Option<u64> {
    let (date, rest) = text.trim().split_once(['T', 't', ' '])?;
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let (clock, offset_s) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (&rest[..at], offset_s(&rest[at..])?),
        None => return None,
    };
    let clock = clock.split_once('.').map_or(clock, |(seconds, _)| seconds);
    let local = days(year, month, day)? * 86_400 + time_s(clock)?;
    u64::try_from(i64::try_from(local).ok()? - offset_s).ok()
}

/// A moment in RFC 3339, in UTC.
pub fn rfc3339(seconds: u64) -> String {
    // civil from days, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn number(text: &str) -> Option<u64> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn time_s(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let is_time = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    is_time.then_some(hour * 3600 + minute * 60 + second)
}

fn offset_s(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let minutes = number(hours)? * 60 + number(minutes)?;
    (minutes < 24 * 60).then(|| sign * minutes as i64 * 60)
}

/// Days since 1970 (the inverse of the algorithm above).
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_moment() {
        assert_eq!(http_date_s("Fri, 02 Jan 2026 03:04:05 GMT"), Some(1_767_323_045));
        assert_eq!(rfc3339_s("2026-01-02T03:04:05Z"), Some(1_767_323_045));
        assert_eq!(rfc3339_s("2026-01-02T05:04:05.123+02:00"), Some(1_767_323_045));
        assert_eq!(rfc3339(1_767_323_045), "2026-01-02T03:04:05Z");
        assert_eq!(rfc3339_s("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(http_date_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn what_is_in_no_form_is_no_moment() {
        for text in
            ["", "GMT", "Fri, 02 Foo 2026 03:04:05 GMT", "60", "Fri, 02 Jan 2026 03:04 GMT", "x, é GMT"]
        {
            assert_eq!(http_date_s(text), None, "{text}");
        }
        for text in
            ["", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "1960-01-01T00:00:00Z", "T+é"]
        {
            assert_eq!(rfc3339_s(text), None, "{text}");
        }
    }
}
