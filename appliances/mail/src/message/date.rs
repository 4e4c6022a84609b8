//! Dates of mail: RFC 5322 3.3 read and written; civil time from Unix time.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Year, month (1 to 12), day, hour, minute, second, in UTC, of a Unix time in seconds.
pub fn civil(unix_s: i64) -> (i64, u32, u32, u32, u32, u32) {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400) as u32);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, day, second / 3600, second / 60 % 60, second % 60)
}

/// Unix time in seconds of a civil time in UTC.
pub fn unix_from_civil(year: i64, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    (era * 146_097 + doe - 719_468) * 86_400
        + i64::from(hour) * 3600
        + i64::from(minute) * 60
        + i64::from(second)
}

/// `Sat, 21 Nov 2026 03:56:09 +0000`.
pub fn format_rfc5322(unix_s: i64) -> String {
    let (y, mo, d, h, mi, s) = civil(unix_s);
    let day = DAYS[unix_s.div_euclid(86_400).rem_euclid(7) as usize];
    format!("{day}, {d:02} {} {y:04} {h:02}:{mi:02}:{s:02} +0000", MONTHS[mo as usize - 1])
}

/// Reads a Date value, obsolete forms too; Unix time in seconds and the zone in minutes east. `None` when it is no date.
pub fn parse_rfc5322(value: &[u8]) -> Option<(i64, i32)> {
    let text = String::from_utf8_lossy(&super::unfold(value)).into_owned();
    let mut words = text
        .split(|c: char| c.is_ascii_whitespace() || c == ',' || c == '-' && !text.contains(':'))
        .filter(|w| !w.is_empty())
        .peekable();
    if words.peek()?.chars().next()?.is_ascii_alphabetic() {
        words.next();
    }
    let day: u32 = words.next()?.parse().ok()?;
    let month = month_number(words.next()?)?;
    let year: i64 = match words.next()?.parse::<i64>().ok()? {
        short @ 0..50 => 2000 + short,
        short @ 50..1000 => 1900 + short,
        long => long,
    };
    let mut clock = words.next()?.split(':').map(|n| n.parse::<u32>().ok());
    let (hour, minute) = (clock.next()??, clock.next()??);
    let second = clock.next().flatten().unwrap_or(0);
    let zone = words.next().map_or(0, zone_minutes);
    let valid =
        (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61 && (1..=9999).contains(&year);
    valid.then(|| (unix_from_civil(year, month, day, hour, minute, second) - i64::from(zone) * 60, zone))
}

/// The number of a month by its English three letters, in any case.
pub(crate) fn month_number(name: &str) -> Option<u32> {
    let name = name.get(..3)?;
    MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name)).map(|i| i as u32 + 1)
}

/// ` 1-Feb-2026 03:56:09 +0000`: INTERNALDATE's form (RFC 3501 9, `date-time`), in UTC.
pub fn format_internal(unix_s: i64) -> String {
    let (y, mo, d, h, mi, s) = civil(unix_s);
    format!("{d:2}-{}-{y:04} {h:02}:{mi:02}:{s:02} +0000", MONTHS[mo as usize - 1])
}

fn zone_minutes(zone: &str) -> i32 {
    let signed =
        zone.starts_with(['+', '-']) && zone.len() == 5 && zone[1..].bytes().all(|b| b.is_ascii_digit());
    if signed {
        let number: i32 = zone[1..].parse().unwrap_or(0);
        let minutes = number / 100 * 60 + number % 100;
        return if zone.starts_with('-') { -minutes } else { minutes };
    }
    match zone.to_ascii_uppercase().as_str() {
        "EDT" => -4 * 60,
        "EST" | "CDT" => -5 * 60,
        "CST" | "MDT" => -6 * 60,
        "MST" | "PDT" => -7 * 60,
        "PST" => -8 * 60,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5322_3_3_dates() {
        let at = parse_rfc5322(b" Fri, 21 Nov 1997 09:55:06 -0600").unwrap();
        assert_eq!(at, (880_127_706, -360));
        assert_eq!(parse_rfc5322(b"21 Nov 97 09:55:06 GMT").unwrap().0, 880_106_106);
        assert_eq!(
            parse_rfc5322(b"Thu,\r\n      13\r\n Feb 1969 23:32 -0330 (Newfoundland)").unwrap().1,
            -210
        );
        assert_eq!(parse_rfc5322(b"yesterday"), None);
        assert_eq!(format_internal(880_127_706), "21-Nov-1997 15:55:06 +0000");
    }

    proptest::proptest! {
        #[test]
        fn civil_and_back(unix in -60_000_000_000i64..200_000_000_000) {
            let (y, mo, d, h, mi, s) = civil(unix);
            proptest::prop_assert_eq!(unix_from_civil(y, mo, d, h, mi, s), unix);
            if (0..200_000_000_000).contains(&unix) {
                proptest::prop_assert_eq!(parse_rfc5322(format_rfc5322(unix).as_bytes()).map(|p| p.0), Some(unix));
            }
        }
    }
}
