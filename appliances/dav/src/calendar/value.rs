//! The value types of iCalendar that time is made of: DATE, DATE-TIME, DURATION, UTC-OFFSET (RFC 5545 section 3.3).

use super::civil::{Civil, DAY_S, Day};

/// What a DATE or DATE-TIME value says by itself, before its TZID is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// A whole day.
    Date(Day),
    /// A wall-clock time; in the property's TZID, or floating.
    Local(Civil),
    /// A time in UTC.
    Utc(Civil),
}

impl Written {
    /// The numbers on the clock; a DATE is its midnight.
    pub fn civil(self) -> Civil {
        match self {
            Written::Date(day) => day.midnight(),
            Written::Local(civil) | Written::Utc(civil) => civil,
        }
    }
}

/// A DURATION, RFC 5545 section 3.3.6: days and weeks are nominal (they follow the wall clock), the rest is exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Duration {
    /// Days, weeks included; negative for a time before.
    pub days: i64,
    /// Seconds, hours and minutes included; the same sign.
    pub seconds: i64,
}

impl Duration {
    /// The length when every day has 24 hours.
    pub fn total_seconds(self) -> i64 {
        self.days * DAY_S + self.seconds
    }
}

/// Reads `20240520`, `20240520T090000`, `20240520T090000Z`. A second of 60 is read as 59 (RFC 5545 section 3.3.12 asks
/// systems without leap seconds to).
pub fn date_or_time(text: &str) -> Option<Written> {
    let text = text.trim();
    if !text.is_ascii() {
        return None;
    }
    if text.len() == 8 {
        return Day::parse_basic(text).map(Written::Date);
    }
    let (body, utc) = match text.strip_suffix(['Z', 'z']) {
        Some(body) => (body, true),
        None => (text, false),
    };
    if body.len() != 15 || !matches!(body.as_bytes()[8], b'T' | b't') {
        return None;
    }
    let day = Day::parse_basic(&body[..8])?;
    let digits = &body[9..];
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hour, minute, second): (i64, i64, i64) =
        (digits[..2].parse().ok()?, digits[2..4].parse().ok()?, digits[4..].parse().ok()?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let civil = Civil::new(day, hour * 3600 + minute * 60 + second.min(59));
    Some(if utc { Written::Utc(civil) } else { Written::Local(civil) })
}

/// Reads a UTC date-time of a filter or report (`20240520T090000Z`, and nothing else).
pub fn utc(text: &str) -> Option<Civil> {
    match date_or_time(text)? {
        Written::Utc(civil) => Some(civil),
        _ => None,
    }
}

/// Reads `P1DT2H`, `-PT15M`, `P2W`; mixed forms that clients write (`P1WT1H`) too. `None` when nothing is said.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let body = body.strip_prefix(['P', 'p'])?;
    let (mut out, mut number, mut in_time, mut any) = (Duration::default(), None::<i64>, false, false);
    for c in body.bytes() {
        if c.is_ascii_digit() {
            let value = number.unwrap_or(0) * 10 + i64::from(c - b'0');
            if value > 4_000_000_000 {
                return None;
            }
            number = Some(value);
            continue;
        }
        let upper = c.to_ascii_uppercase();
        if upper == b'T' {
            if in_time || number.is_some() {
                return None;
            }
            in_time = true;
            continue;
        }
        let value = number.take()?;
        match (upper, in_time) {
            (b'W', _) => out.days += value * 7,
            (b'D', _) => out.days += value,
            (b'H', true) => out.seconds += value * 3600,
            (b'M', true) => out.seconds += value * 60,
            (b'S', true) => out.seconds += value,
            _ => return None,
        }
        any = true;
    }
    if number.is_some() || !any {
        return None;
    }
    if negative {
        out = Duration { days: -out.days, seconds: -out.seconds };
    }
    Some(out)
}

/// Reads `+0100`, `-053000`, and what Thunderbird writes, `+020000`; seconds east of UTC. Offsets of 24 hours and more
/// are refused.
pub fn utc_offset(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => (1, text),
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| digits[at..at + 2].parse::<i32>().unwrap_or(99);
    let seconds = if digits.len() == 6 { two(4) } else { 0 };
    if two(0) > 23 || two(2) > 59 || seconds > 59 {
        return None;
    }
    Some(sign * (two(0) * 3600 + two(2) * 60 + seconds))
}

/// Writes an offset as `+0100`, with seconds when it has some.
pub fn write_utc_offset(offset_s: i32) -> String {
    let sign = if offset_s < 0 { '-' } else { '+' };
    let s = offset_s.abs();
    let mut out = format!("{sign}{:02}{:02}", s / 3600, s / 60 % 60);
    if s % 60 != 0 {
        out.push_str(&format!("{:02}", s % 60));
    }
    out
}

/// Writes seconds as a DURATION (`PT1H30M`, `P1D`, `-PT15M`, `PT0S`).
pub fn write_duration(seconds: i64) -> String {
    let (sign, s) = if seconds < 0 { ("-", -seconds) } else { ("", seconds) };
    let (days, rest) = (s / DAY_S, s % DAY_S);
    let mut out = format!("{sign}P");
    if days > 0 {
        out.push_str(&format!("{days}D"));
    }
    if rest > 0 || days == 0 {
        out.push('T');
        let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
        if h > 0 {
            out.push_str(&format!("{h}H"));
        }
        if m > 0 {
            out.push_str(&format!("{m}M"));
        }
        if s > 0 || (h == 0 && m == 0) {
            out.push_str(&format!("{s}S"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5545_3_3_6_durations() {
        assert_eq!(duration("P15DT5H0M20S").unwrap().total_seconds(), 15 * DAY_S + 5 * 3600 + 20);
        assert_eq!(duration("P7W").unwrap().days, 49);
        assert_eq!(duration("-PT15M").unwrap().seconds, -900);
        for bad in ["", "P", "PT", "15M", "P1", "PT5", "P1H", "PT1D2", "P99999999999D", "PTT1H"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for s in [0, 1, 60, 3600, 3660, DAY_S, DAY_S + 1, -900, 90_061] {
            assert_eq!(duration(&write_duration(s)).unwrap().total_seconds(), s);
        }
    }

    #[test]
    fn offsets_as_thunderbird_writes_them() {
        assert_eq!(utc_offset("+020000"), Some(7200));
        assert_eq!(utc_offset("-0530"), Some(-19_800));
        assert_eq!(utc_offset("+00:53:28"), Some(3208));
        assert_eq!(utc_offset("+2500"), None);
        assert_eq!(write_utc_offset(-19_800), "-0530");
        assert_eq!(write_utc_offset(3208), "+005328");
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date_or_time("20240229").unwrap().civil().basic(), "20240229T000000");
        assert_eq!(date_or_time("20240229T235960Z").unwrap().civil().basic(), "20240229T235959");
        for bad in ["20230229", "2024022", "20240229T24", "20240229T240000", "20240229T1000", "T", "é0240229"]
        {
            assert_eq!(date_or_time(bad), None, "{bad}");
        }
    }
}
