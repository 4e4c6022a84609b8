//! Times as DNSSEC writes them: `YYYYMMDDHHmmSS`, UTC, and 32 bits on the wire (RFC 4034 section 3.2).

/// Seconds since 1970 as `YYYYMMDDHHmmSS`. The 32 bits are read as unsigned: right until 2106.
pub fn to_compact(seconds: u32) -> String {
    let (day, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    let (year, month, day) = civil(day);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `2026-11-21 04:05:06` (UTC) for people.
pub fn to_readable(seconds: u64) -> String {
    let compact = to_compact(u32::try_from(seconds).unwrap_or(u32::MAX));
    let part = |from: usize, to: usize| &compact[from..to];
    format!("{}-{}-{} {}:{}:{}", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
}

/// Reads `YYYYMMDDHHmmSS`.
pub fn from_compact(text: &str) -> Option<u32> {
    if text.len() != 14 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    u32::try_from(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// Days since 1970 of a date of the Gregorian calendar; years begin in March so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(to_compact(0), "19700101000000");
        assert_eq!(
            from_compact("20260228235959").map(|s| to_compact(s + 1)),
            Some("20260301000000".to_string())
        );
        assert_eq!(from_compact("20240229120000").map(to_compact), Some("20240229120000".to_string()));
        assert_eq!(from_compact("20261332000000"), None);
    }
}
