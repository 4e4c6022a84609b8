//! RRULE, read and written (RFC 5545 section 3.3.10; RFC 7529 for SKIP). What it generates is in `repeat`.

use super::value::{Written, date_or_time};

/// FREQ, finest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Freq {
    /// FREQ=YEARLY
    Yearly,
    /// FREQ=MONTHLY
    Monthly,
    /// FREQ=WEEKLY
    Weekly,
    /// FREQ=DAILY
    Daily,
    /// FREQ=HOURLY
    Hourly,
    /// FREQ=MINUTELY
    Minutely,
    /// FREQ=SECONDLY
    Secondly,
}

/// One BYDAY value: `MO`, `2TU`, `-1FR`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeekdayNum {
    /// Which one within the month or year; 0 is every one.
    pub nth: i32,
    /// Monday 0 to Sunday 6.
    pub weekday: u32,
}

/// What happens to a day that a month does not have (RFC 7529 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Skip {
    /// It is left out; RFC 5545.
    #[default]
    Omit,
    /// The last day of the month instead.
    Backward,
    /// The first day of the next month instead.
    Forward,
}

/// A recurrence rule. Empty lists mean that the part was not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// FREQ
    pub freq: Freq,
    /// INTERVAL, at least 1.
    pub interval: u32,
    /// COUNT
    pub count: Option<u64>,
    /// UNTIL, as it was written.
    pub until: Option<Written>,
    /// BYSECOND
    pub by_second: Vec<u32>,
    /// BYMINUTE
    pub by_minute: Vec<u32>,
    /// BYHOUR
    pub by_hour: Vec<u32>,
    /// BYDAY
    pub by_day: Vec<WeekdayNum>,
    /// BYMONTHDAY, never 0.
    pub by_month_day: Vec<i32>,
    /// BYYEARDAY, never 0.
    pub by_year_day: Vec<i32>,
    /// BYWEEKNO, never 0.
    pub by_week_no: Vec<i32>,
    /// BYMONTH
    pub by_month: Vec<u32>,
    /// BYSETPOS, never 0.
    pub by_set_pos: Vec<i32>,
    /// WKST, Monday 0.
    pub week_start: u32,
    /// SKIP
    pub skip: Skip,
}

/// Why an RRULE cannot be read: the part, as it was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the recurrence rule's part {0:?} cannot be read")]
pub struct BadRule(pub String);

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

impl Rule {
    /// A rule of that frequency and nothing else.
    pub fn every(freq: Freq) -> Rule {
        Rule {
            freq,
            interval: 1,
            count: None,
            until: None,
            by_second: vec![],
            by_minute: vec![],
            by_hour: vec![],
            by_day: vec![],
            by_month_day: vec![],
            by_year_day: vec![],
            by_week_no: vec![],
            by_month: vec![],
            by_set_pos: vec![],
            week_start: 0,
            skip: Skip::Omit,
        }
    }

    /// Reads the value of an RRULE. Unknown and `X-` parts are ignored; RSCALE is read as Gregorian whatever it says.
    pub fn parse(text: &str) -> Result<Rule, BadRule> {
        let mut rule = Rule::every(Freq::Daily);
        let mut freq = None;
        for part in text.trim().split(';').filter(|part| !part.trim().is_empty()) {
            let bad = || BadRule(part.chars().take(80).collect());
            let (name, value) = part.split_once('=').ok_or_else(bad)?;
            let value = value.trim();
            match name.trim().to_ascii_uppercase().as_str() {
                "FREQ" => freq = Some(freq_of(value).ok_or_else(bad)?),
                "INTERVAL" => rule.interval = value.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
                "COUNT" => rule.count = Some(value.parse().map_err(|_| bad())?),
                "UNTIL" => rule.until = Some(date_or_time(value).ok_or_else(bad)?),
                "BYSECOND" => rule.by_second = unsigned(value, 0, 60).ok_or_else(bad)?,
                "BYMINUTE" => rule.by_minute = unsigned(value, 0, 59).ok_or_else(bad)?,
                "BYHOUR" => rule.by_hour = unsigned(value, 0, 23).ok_or_else(bad)?,
                "BYMONTH" => rule.by_month = unsigned(value, 1, 12).ok_or_else(bad)?,
                "BYDAY" => rule.by_day = weekdays(value).ok_or_else(bad)?,
                "BYMONTHDAY" => rule.by_month_day = signed(value, 31).ok_or_else(bad)?,
                "BYYEARDAY" => rule.by_year_day = signed(value, 366).ok_or_else(bad)?,
                "BYWEEKNO" => rule.by_week_no = signed(value, 53).ok_or_else(bad)?,
                "BYSETPOS" => rule.by_set_pos = signed(value, 366).ok_or_else(bad)?,
                "WKST" => rule.week_start = weekday_of(value).ok_or_else(bad)?,
                "SKIP" => rule.skip = skip_of(value).ok_or_else(bad)?,
                _ => {}
            }
        }
        rule.freq = freq.ok_or_else(|| BadRule("FREQ".into()))?;
        rule.by_second.iter_mut().for_each(|s| *s = (*s).min(59));
        Ok(rule)
    }
}

impl std::fmt::Display for Rule {
    /// Writes the rule in the order that most clients use.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FREQ={}", self.freq.name())?;
        match self.until {
            Some(Written::Date(day)) => write!(f, ";UNTIL={}", day.basic())?,
            Some(Written::Local(civil)) => write!(f, ";UNTIL={}", civil.basic())?,
            Some(Written::Utc(civil)) => write!(f, ";UNTIL={}Z", civil.basic())?,
            None => {}
        }
        if let Some(count) = self.count {
            write!(f, ";COUNT={count}")?;
        }
        if self.interval != 1 {
            write!(f, ";INTERVAL={}", self.interval)?;
        }
        list(f, "BYSECOND", &self.by_second)?;
        list(f, "BYMINUTE", &self.by_minute)?;
        list(f, "BYHOUR", &self.by_hour)?;
        let days: Vec<String> = self.by_day.iter().map(WeekdayNum::to_string).collect();
        list(f, "BYDAY", &days)?;
        list(f, "BYMONTHDAY", &self.by_month_day)?;
        list(f, "BYYEARDAY", &self.by_year_day)?;
        list(f, "BYWEEKNO", &self.by_week_no)?;
        list(f, "BYMONTH", &self.by_month)?;
        list(f, "BYSETPOS", &self.by_set_pos)?;
        if self.week_start != 0 {
            write!(f, ";WKST={}", WEEKDAYS[self.week_start as usize])?;
        }
        match self.skip {
            Skip::Omit => Ok(()),
            Skip::Backward => f.write_str(";RSCALE=GREGORIAN;SKIP=BACKWARD"),
            Skip::Forward => f.write_str(";RSCALE=GREGORIAN;SKIP=FORWARD"),
        }
    }
}

impl std::fmt::Display for WeekdayNum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nth != 0 {
            write!(f, "{}", self.nth)?;
        }
        f.write_str(WEEKDAYS[self.weekday as usize])
    }
}

impl Freq {
    /// The word after `FREQ=`.
    pub fn name(self) -> &'static str {
        ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"][self as usize]
    }
}

fn list<T: ToString>(f: &mut std::fmt::Formatter<'_>, name: &str, values: &[T]) -> std::fmt::Result {
    if values.is_empty() {
        return Ok(());
    }
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    write!(f, ";{name}={}", values.join(","))
}

fn freq_of(text: &str) -> Option<Freq> {
    use Freq::*;
    [Yearly, Monthly, Weekly, Daily, Hourly, Minutely, Secondly]
        .into_iter()
        .find(|freq| freq.name().eq_ignore_ascii_case(text))
}

fn skip_of(text: &str) -> Option<Skip> {
    match text.to_ascii_uppercase().as_str() {
        "OMIT" => Some(Skip::Omit),
        "BACKWARD" => Some(Skip::Backward),
        "FORWARD" => Some(Skip::Forward),
        _ => None,
    }
}

fn weekday_of(text: &str) -> Option<u32> {
    WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|at| at as u32)
}

fn weekdays(text: &str) -> Option<Vec<WeekdayNum>> {
    let mut out = Vec::new();
    for one in text.split(',').map(str::trim) {
        if one.len() < 2 || !one.is_ascii() {
            return None;
        }
        let (nth, day) = one.split_at(one.len() - 2);
        let nth: i32 = if nth.is_empty() { 0 } else { nth.parse().ok().filter(|n| *n != 0)? };
        if nth.abs() > 53 {
            return None;
        }
        out.push(WeekdayNum { nth, weekday: weekday_of(day)? });
        if out.len() > 400 {
            return None;
        }
    }
    Some(out)
}

fn unsigned(text: &str, least: u32, most: u32) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for one in text.split(',') {
        // RFC 7529's leap months (`5L`) do not exist in the Gregorian calendar; the month itself is meant.
        let one = one.trim().trim_end_matches(['L', 'l']);
        out.push(one.parse().ok().filter(|n| (least..=most).contains(n))?);
    }
    out.sort_unstable();
    out.dedup();
    Some(out)
}

fn signed(text: &str, most: i32) -> Option<Vec<i32>> {
    let mut out = Vec::new();
    for one in text.split(',') {
        out.push(one.trim().parse().ok().filter(|n: &i32| *n != 0 && n.abs() <= most)?);
    }
    out.sort_unstable();
    out.dedup();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_and_written() {
        let text = "FREQ=YEARLY;UNTIL=20301231T235959Z;INTERVAL=2;BYSECOND=0,30;BYMINUTE=1;BYHOUR=9,10;BYDAY=-1SU,2MO;\
                    BYMONTHDAY=-1,15;BYYEARDAY=-1,100;BYWEEKNO=-1,20;BYMONTH=1,12;BYSETPOS=-1,1;WKST=SU";
        assert_eq!(Rule::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn unknown_parts_are_ignored_and_odd_case_is_read() {
        let rule = Rule::parse("rscale=GREGORIAN;freq=daily;X-FOO=1;skip=forward;count=0;").unwrap();
        assert_eq!((rule.freq, rule.skip, rule.count), (Freq::Daily, Skip::Forward, Some(0)));
    }

    #[test]
    fn nonsense_is_refused_with_its_part() {
        for (bad, part) in [
            ("COUNT=3", "FREQ"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0"),
            ("FREQ=DAILY;BYDAY=0MO", "BYDAY=0MO"),
            ("FREQ=DAILY;BYMONTHDAY=32", "BYMONTHDAY=32"),
            ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24"),
            ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY"),
            ("FREQ=DAILY;UNTIL=soon", "UNTIL=soon"),
            ("FREQ=DAILY;BYDAY=é", "BYDAY=é"),
            ("daily", "daily"),
        ] {
            assert_eq!(Rule::parse(bad), Err(BadRule(part.into())), "{bad}");
        }
    }
}
