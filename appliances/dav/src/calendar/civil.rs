//! Dates and wall-clock times without a zone, as plain numbers. The proleptic Gregorian calendar, years 1 to 9999.

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(pub i32);

/// A wall-clock time: seconds from 1970-01-01T00:00:00 on a clock whose zone is not said here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Civil(pub i64);

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

impl Day {
    /// The day of year, month (1–12) and day (1–31); `None` when there is no such day.
    pub fn new(year: i32, month: u32, day: u32) -> Option<Day> {
        if !(1..=9999).contains(&year)
            || !(1..=12).contains(&month)
            || day == 0
            || day > days_in_month(year, month)
        {
            return None;
        }
        Some(Day(days_from_civil(year, month, day)))
    }

    /// Year, month (1–12), day (1–31).
    pub fn ymd(self) -> (i32, u32, u32) {
        let z = i64::from(self.0) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
        let year = (yoe + era * 400) as i32 + i32::from(month <= 2);
        (year, month, day)
    }

    /// The year.
    pub fn year(self) -> i32 {
        self.ymd().0
    }

    /// Day of the week, Monday 0 to Sunday 6.
    pub fn weekday(self) -> u32 {
        (self.0 + 3).rem_euclid(7) as u32
    }

    /// Midnight at which the day begins.
    pub fn midnight(self) -> Civil {
        Civil(i64::from(self.0) * DAY_S)
    }

    /// The first day of the week that holds this day; weeks begin on `week_start` (Monday 0).
    pub fn week_begin(self, week_start: u32) -> Day {
        Day(self.0 - ((self.weekday() + 7 - week_start) % 7) as i32)
    }

    /// This day, `months` months on, the day of the month kept within the month.
    pub fn add_months(self, months: i32) -> Day {
        let (year, month, day) = self.ymd();
        let total = year * 12 + month as i32 - 1 + months;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
        Day(days_from_civil(year, month, day.min(days_in_month(year, month))))
    }
}

impl Civil {
    /// The time of a day and seconds since its midnight.
    pub fn new(day: Day, second: i64) -> Civil {
        Civil(i64::from(day.0) * DAY_S + second)
    }

    /// The day it falls on.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(DAY_S).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
    }

    /// Seconds since that day's midnight.
    pub fn second_of_day(self) -> i64 {
        self.0.rem_euclid(DAY_S)
    }

    /// Hour, minute, second.
    pub fn hms(self) -> (u32, u32, u32) {
        let s = self.second_of_day() as u32;
        (s / 3600, s / 60 % 60, s % 60)
    }

    /// `YYYYMMDDTHHMMSS`, RFC 5545 section 3.3.5.
    pub fn basic(self) -> String {
        let (hour, minute, second) = self.hms();
        format!("{}T{hour:02}{minute:02}{second:02}", self.day().basic())
    }
}

impl Day {
    /// `YYYYMMDD`, RFC 5545 section 3.3.4.
    pub fn basic(self) -> String {
        let (year, month, day) = self.ymd();
        format!("{year:04}{month:02}{day:02}")
    }

    /// `YYYY-MM-DD`.
    pub fn iso(self) -> String {
        let (year, month, day) = self.ymd();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// Reads `YYYYMMDD`.
    pub fn parse_basic(text: &str) -> Option<Day> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Day::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?)
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse_iso(text: &str) -> Option<Day> {
        let mut parts = text.splitn(3, '-');
        let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
        Day::new(y.parse().ok()?, m.parse().ok()?, d.parse().ok()?)
    }
}

/// Whether the year has a 29 February.
pub fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a year.
pub fn days_in_year(year: i32) -> i32 {
    365 + i32::from(is_leap(year))
}

/// Days of a month (1–12).
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The number of the first day of a month, also for years outside 1–9999.
pub(crate) fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let y = i64::from(year) - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    (era * 146_097 + doe - 719_468) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_round_trips() {
        let mut day = Day::new(1, 1, 1).unwrap();
        let last = Day::new(9999, 12, 31).unwrap();
        let mut weekday = 0; // 0001-01-01 is a Monday
        while day <= last {
            let (y, m, d) = day.ymd();
            assert_eq!(Day::new(y, m, d), Some(day));
            assert_eq!(day.weekday(), weekday);
            weekday = (weekday + 1) % 7;
            day.0 += 1;
        }
    }

    #[test]
    fn no_such_day() {
        assert_eq!(Day::new(2023, 2, 29), None);
        assert_eq!(Day::new(1900, 2, 29), None);
        assert!(Day::new(2000, 2, 29).is_some());
        assert_eq!(Day::parse_basic("2024０１01"), None);
    }

    #[test]
    fn months_are_added_within_the_month() {
        assert_eq!(Day::new(2024, 1, 31).unwrap().add_months(1), Day::new(2024, 2, 29).unwrap());
        assert_eq!(Day::new(2024, 1, 31).unwrap().add_months(-2), Day::new(2023, 11, 30).unwrap());
    }
}
