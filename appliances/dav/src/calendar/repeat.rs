//! What a rule generates: wall-clock times in rising order, without a zone, without COUNT and UNTIL (those are counted and
//! compared after the zone is applied, in `instances`). RFC 5545 section 3.3.10.
//!
//! A rule is a walk over periods (years, months, weeks, days, or steps of hours, minutes, seconds). A period has a set of
//! days and a set of times; BYSETPOS picks from their product. Finer frequencies jump over days, hours and minutes that the
//! rule excludes. The walk may begin near a wanted time instead of at DTSTART. Every period costs a step, and steps are
//! bounded.

use super::civil::{Civil, DAY_S, Day, days_from_civil, days_in_month, days_in_year};
use super::rule::{Freq, Rule, Skip, WeekdayNum};
use crate::limits::{RULE_STEPS_MAX, YEAR_MAX};

/// The walk examined [`RULE_STEPS_MAX`] periods and the question was still open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the recurrence rule examined {RULE_STEPS_MAX} periods without an end")]
pub struct TooManySteps;

/// The walk over a rule's times.
pub struct Repeat {
    rule: Rule,
    start: Civil,
    /// Last time of interest: the walk ends after the first period beyond it.
    last: Civil,
    /// Number of the next period.
    period: i64,
    steps: u64,
    times: Vec<i64>,
    days: Vec<Day>,
    picked: Option<Vec<Civil>>,
    at: usize,
    year: YearShape,
    emitted: Option<Civil>,
    ended: bool,
}

/// What BYWEEKNO needs to know of a year.
#[derive(Clone, Copy)]
struct YearShape {
    year: i32,
    first: i32,
}

impl Repeat {
    /// The times of `rule` from `start` on, none before `from` wanted, none after `last` wanted. Times before `from` may
    /// still come; none between `from` and `last` is missing.
    pub fn new(rule: &Rule, start: Civil, from: Civil, last: Civil) -> Repeat {
        let rule = completed(rule, start);
        let mut walk = Repeat {
            times: times_of_day(&rule),
            start,
            last,
            period: 0,
            steps: 0,
            days: Vec::new(),
            picked: None,
            at: 0,
            year: YearShape { year: i32::MIN, first: 0 },
            emitted: None,
            ended: false,
            rule,
        };
        walk.period = walk.first_period(from);
        walk
    }

    /// The next time, `None` at the end.
    pub fn next_time(&mut self) -> Result<Option<Civil>, TooManySteps> {
        loop {
            while let Some(time) = self.of_period() {
                if time >= self.start && self.emitted.is_none_or(|before| time > before) {
                    self.emitted = Some(time);
                    return Ok(Some(time));
                }
            }
            if self.ended {
                return Ok(None);
            }
            self.steps += 1;
            if self.steps > RULE_STEPS_MAX {
                return Err(TooManySteps);
            }
            self.next_period();
        }
    }

    fn of_period(&mut self) -> Option<Civil> {
        let at = self.at;
        self.at += 1;
        match &self.picked {
            Some(picked) => picked.get(at).copied(),
            None => {
                let per_day = self.times.len();
                if per_day == 0 {
                    return None;
                }
                self.days.get(at / per_day).map(|day| Civil::new(*day, self.times[at % per_day]))
            }
        }
    }

    fn first_period(&self, from: Civil) -> i64 {
        if from <= self.start {
            return 0;
        }
        let interval = i64::from(self.rule.interval);
        let (y0, m0, _) = self.start.day().ymd();
        let (y1, m1, _) = from.day().ymd();
        let periods = match self.rule.freq {
            Freq::Yearly => i64::from(y1 - y0),
            Freq::Monthly => i64::from((y1 - y0) * 12 + m1 as i32 - m0 as i32),
            Freq::Weekly => i64::from(from.day().0 - self.start.day().0) / 7,
            Freq::Daily => i64::from(from.day().0 - self.start.day().0),
            Freq::Hourly => (from.0 - self.start.0) / 3600,
            Freq::Minutely => (from.0 - self.start.0) / 60,
            Freq::Secondly => from.0 - self.start.0,
        };
        (periods / interval - 2).max(0)
    }

    fn next_period(&mut self) {
        self.at = 0;
        self.picked = None;
        self.days.clear();
        let number = self.period.saturating_mul(i64::from(self.rule.interval));
        self.period += 1;
        let begin = match self.rule.freq {
            Freq::Yearly => self.fill_year(number),
            Freq::Monthly => self.fill_month(number),
            Freq::Weekly => self.fill_week(number),
            Freq::Daily => self.fill_day(number),
            _ => return self.fill_clock(number),
        };
        match begin {
            Some(begin) if begin.midnight() <= self.last => self.pick(),
            _ => self.end(),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.days.clear();
        self.picked = Some(Vec::new());
    }

    fn fill_year(&mut self, number: i64) -> Option<Day> {
        let year = i64::from(self.start.day().year()).saturating_add(number);
        let year = i32::try_from(year).ok().filter(|year| *year <= YEAR_MAX)?;
        let first = Day::new(year, 1, 1)?;
        for offset in 0..days_in_year(year) {
            self.consider(Day(first.0 + offset));
        }
        if !self.rule.by_month_day.is_empty() {
            for month in 1..=12 {
                if self.rule.by_month.is_empty() || self.rule.by_month.contains(&month) {
                    self.skipped_days(year, month);
                }
            }
        }
        Some(first)
    }

    fn fill_month(&mut self, number: i64) -> Option<Day> {
        let (year, month, _) = self.start.day().ymd();
        let total = (i64::from(year) * 12 + i64::from(month) - 1).saturating_add(number);
        let year = i32::try_from(total.div_euclid(12)).ok().filter(|year| *year <= YEAR_MAX)?;
        let month = total.rem_euclid(12) as u32 + 1;
        let first = Day::new(year, month, 1)?;
        if self.rule.by_month.is_empty() || self.rule.by_month.contains(&month) {
            for offset in 0..days_in_month(year, month) as i32 {
                self.consider(Day(first.0 + offset));
            }
            self.skipped_days(year, month);
        }
        Some(first)
    }

    fn fill_week(&mut self, number: i64) -> Option<Day> {
        let first = i64::from(self.start.day().week_begin(self.rule.week_start).0)
            .saturating_add(number.saturating_mul(7));
        let first = i32::try_from(first).ok().map(Day).filter(|day| day.year() <= YEAR_MAX)?;
        for offset in 0..7 {
            self.consider(Day(first.0 + offset));
        }
        Some(first)
    }

    fn fill_day(&mut self, number: i64) -> Option<Day> {
        let day = i64::from(self.start.day().0).saturating_add(number);
        let day = i32::try_from(day).ok().map(Day).filter(|day| day.year() <= YEAR_MAX)?;
        self.consider(day);
        Some(day)
    }

    /// One step of an hourly, minutely or secondly rule; a step that a day, hour or minute excludes jumps past it.
    fn fill_clock(&mut self, number: i64) {
        let unit = match self.rule.freq {
            Freq::Hourly => 3600,
            Freq::Minutely => 60,
            _ => 1,
        };
        let base = self.start.0 - self.start.0.rem_euclid(unit);
        let begin = Civil(base.saturating_add(number.saturating_mul(unit)));
        if begin > self.last || begin.0 > i64::from(days_from_civil(YEAR_MAX, 12, 31) + 1) * DAY_S {
            return self.end();
        }
        let (hour, minute, second) = begin.hms();
        let outside = |list: &[u32], value: u32| !list.is_empty() && !list.contains(&value);
        let (year, month, _) = begin.day().ymd();
        let jump_to = if outside(&self.rule.by_month, month) {
            Some(Day(days_from_civil(year + i32::from(month == 12), month % 12 + 1, 1)).midnight().0)
        } else if !self.day_matches(begin.day()) {
            Some(Day(begin.day().0 + 1).midnight().0)
        } else if outside(&self.rule.by_hour, hour) {
            Some(begin.0 - begin.0.rem_euclid(3600) + 3600)
        } else if self.rule.freq > Freq::Hourly && outside(&self.rule.by_minute, minute) {
            Some(begin.0 - begin.0.rem_euclid(60) + 60)
        } else {
            None
        };
        self.picked = Some(Vec::new());
        if let Some(target) = jump_to {
            let stride = unit * i64::from(self.rule.interval);
            self.period = self.period.max((target - base + stride - 1) / stride);
            return;
        }
        if self.rule.freq == Freq::Secondly && outside(&self.rule.by_second, second) {
            return;
        }
        let all: Vec<Civil> = self.times.iter().map(|offset| Civil(begin.0 + offset)).collect();
        self.picked = Some(positions(&self.rule.by_set_pos, all.len()).map(|at| all[at]).collect());
    }

    fn consider(&mut self, day: Day) {
        if self.day_matches(day) {
            self.days.push(day);
        }
    }

    /// Days that the month does not have, moved by RFC 7529's SKIP.
    fn skipped_days(&mut self, year: i32, month: u32) {
        let length = days_in_month(year, month);
        if self.rule.skip == Skip::Omit || !self.rule.by_month_day.iter().any(|day| *day > length as i32) {
            return;
        }
        let last = Day(days_from_civil(year, month, length));
        self.days.push(if self.rule.skip == Skip::Backward { last } else { Day(last.0 + 1) });
        self.days.sort_unstable();
        self.days.dedup();
    }

    fn pick(&mut self) {
        if self.rule.by_set_pos.is_empty() {
            return;
        }
        let per_day = self.times.len();
        let total = self.days.len() * per_day;
        let picked = positions(&self.rule.by_set_pos, total)
            .map(|at| Civil::new(self.days[at / per_day], self.times[at % per_day]))
            .collect();
        self.picked = Some(picked);
    }

    fn day_matches(&mut self, day: Day) -> bool {
        let (year, month, of_month) = day.ymd();
        let rule = &self.rule;
        if !rule.by_month.is_empty() && !rule.by_month.contains(&month) {
            return false;
        }
        if !rule.by_month_day.is_empty() {
            let back = of_month as i32 - days_in_month(year, month) as i32 - 1;
            if !rule.by_month_day.contains(&(of_month as i32)) && !rule.by_month_day.contains(&back) {
                return false;
            }
        }
        if !rule.by_day.is_empty() && !rule.by_day.iter().any(|wanted| weekday_matches(rule, wanted, day)) {
            return false;
        }
        if rule.by_year_day.is_empty() && rule.by_week_no.is_empty() {
            return true;
        }
        if self.year.year != year {
            self.year = YearShape { year, first: days_from_civil(year, 1, 1) };
        }
        let of_year = day.0 - self.year.first + 1;
        let back = of_year - days_in_year(year) - 1;
        if !rule.by_year_day.is_empty()
            && !rule.by_year_day.contains(&of_year)
            && !rule.by_year_day.contains(&back)
        {
            return false;
        }
        if rule.by_week_no.is_empty() {
            return true;
        }
        let (week, weeks) = week_number(day, rule.week_start);
        rule.by_week_no.contains(&week) || rule.by_week_no.contains(&(week - weeks - 1))
    }
}

/// The rule with what it leaves open taken from DTSTART.
fn completed(rule: &Rule, start: Civil) -> Rule {
    let mut rule = rule.clone();
    let (_, month, day) = start.day().ymd();
    if rule.by_week_no.is_empty()
        && rule.by_year_day.is_empty()
        && rule.by_month_day.is_empty()
        && rule.by_day.is_empty()
    {
        match rule.freq {
            Freq::Yearly => {
                if rule.by_month.is_empty() {
                    rule.by_month = vec![month];
                }
                rule.by_month_day = vec![day as i32];
            }
            Freq::Monthly => rule.by_month_day = vec![day as i32],
            Freq::Weekly => rule.by_day = vec![WeekdayNum { nth: 0, weekday: start.day().weekday() }],
            _ => {}
        }
    }
    let (hour, minute, second) = start.hms();
    if rule.by_hour.is_empty() && rule.freq < Freq::Hourly {
        rule.by_hour = vec![hour];
    }
    if rule.by_minute.is_empty() && rule.freq < Freq::Minutely {
        rule.by_minute = vec![minute];
    }
    if rule.by_second.is_empty() && rule.freq < Freq::Secondly {
        rule.by_second = vec![second];
    }
    rule
}

/// Seconds after the beginning of the period's day (or hour, or minute) at which the rule fires.
fn times_of_day(rule: &Rule) -> Vec<i64> {
    let zero = vec![0];
    let hours = if rule.freq >= Freq::Hourly { &zero } else { &rule.by_hour };
    let minutes = if rule.freq >= Freq::Minutely { &zero } else { &rule.by_minute };
    let seconds = if rule.freq >= Freq::Secondly { &zero } else { &rule.by_second };
    let mut out = Vec::with_capacity(hours.len() * minutes.len() * seconds.len());
    for hour in hours {
        for minute in minutes {
            out.extend(seconds.iter().map(|second| i64::from(hour * 3600 + minute * 60 + second)));
        }
    }
    out
}

fn weekday_matches(rule: &Rule, wanted: &WeekdayNum, day: Day) -> bool {
    if wanted.weekday != day.weekday() {
        return false;
    }
    if wanted.nth == 0 || rule.freq > Freq::Monthly {
        return true;
    }
    let (year, month, of_month) = day.ymd();
    let (at, length) = if rule.freq == Freq::Monthly || !rule.by_month.is_empty() {
        (of_month as i32, days_in_month(year, month) as i32)
    } else {
        (day.0 - days_from_civil(year, 1, 1) + 1, days_in_year(year))
    };
    let nth = if wanted.nth > 0 { (at - 1) / 7 + 1 } else { -((length - at) / 7 + 1) };
    nth == wanted.nth
}

/// The week that a day is in, and how many weeks that week's year has: a week belongs to the year that has four or more
/// of its days (ISO 8601 with any first day of the week).
fn week_number(day: Day, week_start: u32) -> (i32, i32) {
    let begin = day.week_begin(week_start);
    let year = Day(begin.0 + 3).year();
    let first = first_week(year, week_start);
    ((begin.0 - first) / 7 + 1, (first_week(year + 1, week_start) - first) / 7)
}

fn first_week(year: i32, week_start: u32) -> i32 {
    Day(days_from_civil(year, 1, 4)).week_begin(week_start).0
}

/// Indexes that BYSETPOS picks out of `total`, rising, each once; all of them when the part is absent.
fn positions(by_set_pos: &[i32], total: usize) -> impl Iterator<Item = usize> {
    let mut out: Vec<usize> = if by_set_pos.is_empty() {
        (0..total).collect()
    } else {
        let signed = total as i64;
        by_set_pos
            .iter()
            .map(|pos| i64::from(*pos))
            .map(|pos| if pos > 0 { pos - 1 } else { signed + pos })
            .filter(|at| (0..signed).contains(at))
            .map(|at| at as usize)
            .collect()
    };
    out.sort_unstable();
    out.dedup();
    out.into_iter()
}
