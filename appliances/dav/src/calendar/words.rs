//! A recurrence rule in words: `every 2 weeks on Monday and Thursday, 10 times`.

use super::civil::Civil;
use super::rule::{Freq, Rule, WeekdayNum};
use super::value::Written;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Months in words.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The rule in words, for an event that begins at `start` on its own clock.
pub fn in_words(rule: &Rule, start: Civil) -> String {
    let unit = ["year", "month", "week", "day", "hour", "minute", "second"][rule.freq as usize];
    let mut out = match rule.interval {
        1 => format!("every {unit}"),
        2 => format!("every other {unit}"),
        n => format!("every {n} {unit}s"),
    };
    let months: Vec<String> = rule.by_month.iter().map(|m| MONTHS[*m as usize - 1].to_string()).collect();
    let (_, month, day) = start.day().ymd();
    let plain = rule.by_day.is_empty()
        && rule.by_month_day.is_empty()
        && rule.by_year_day.is_empty()
        && rule.by_week_no.is_empty();
    if plain {
        match rule.freq {
            Freq::Yearly if months.is_empty() => out += &format!(" on {day} {}", MONTHS[month as usize - 1]),
            Freq::Yearly => out += &format!(" on day {day} of {}", list(&months)),
            Freq::Monthly => out += &format!(" on day {day}"),
            Freq::Weekly => out += &format!(" on {}", WEEKDAYS[start.day().weekday() as usize]),
            _ => {}
        }
    }
    if !rule.by_set_pos.is_empty() {
        let which: Vec<String> = rule.by_set_pos.iter().map(|n| nth(*n)).collect();
        out += &format!(" on the {} of", list(&which));
    }
    if !rule.by_day.is_empty() {
        out += &format!(" {} {}", if rule.by_set_pos.is_empty() { "on" } else { "all" }, days(&rule.by_day));
    }
    if !rule.by_month_day.is_empty() {
        let each: Vec<String> = rule
            .by_month_day
            .iter()
            .map(|n| if *n > 0 { n.to_string() } else { format!("the {}", nth(*n)) })
            .collect();
        out += &format!(" on day {}", list(&each));
    }
    if !rule.by_year_day.is_empty() {
        let each: Vec<String> = rule.by_year_day.iter().map(|n| nth(*n)).collect();
        out += &format!(" on the {} day of the year", list(&each));
    }
    if !rule.by_week_no.is_empty() {
        let each: Vec<String> =
            rule.by_week_no.iter().map(|n| if *n > 0 { n.to_string() } else { nth(*n) }).collect();
        out += &format!(" in week {}", list(&each));
    }
    let said_with_the_day = plain && rule.freq == Freq::Yearly;
    if !months.is_empty() && !said_with_the_day {
        out += &format!(" in {}", list(&months));
    }
    if !rule.by_hour.is_empty() {
        let each: Vec<String> = rule.by_hour.iter().map(|h| format!("{h}:00")).collect();
        out += &format!(" at {}", list(&each));
    }
    match (rule.count, rule.until) {
        (Some(1), _) => out += ", once",
        (Some(n), _) => out += &format!(", {n} times"),
        (None, Some(until)) => {
            let day = match until {
                Written::Date(day) => day,
                other => other.civil().day(),
            };
            let (y, m, d) = day.ymd();
            out += &format!(", until {d} {} {y}", MONTHS[m as usize - 1]);
        }
        _ => {}
    }
    out
}

fn days(by_day: &[WeekdayNum]) -> String {
    let mut plain: Vec<u32> = by_day.iter().filter(|d| d.nth == 0).map(|d| d.weekday).collect();
    plain.sort_unstable();
    plain.dedup();
    match (plain.as_slice(), plain.len() == by_day.len()) {
        ([0, 1, 2, 3, 4], true) => return "working days".into(),
        ([0, 1, 2, 3, 4, 5, 6], true) => return "all days of the week".into(),
        _ => {}
    }
    let each: Vec<String> = by_day
        .iter()
        .map(|d| match d.nth {
            0 => WEEKDAYS[d.weekday as usize].to_string(),
            n => format!("the {} {}", nth(n), WEEKDAYS[d.weekday as usize]),
        })
        .collect();
    list(&each)
}

fn nth(n: i32) -> String {
    match n {
        -1 => "last".into(),
        1 => "first".into(),
        2 => "second".into(),
        3 => "third".into(),
        4 => "fourth".into(),
        5 => "fifth".into(),
        n if n < 0 => format!("{} last", ordinal(-n)),
        n => ordinal(n),
    }
}

fn ordinal(n: i32) -> String {
    let end = match (n % 10, n % 100) {
        (1, t) if t != 11 => "st",
        (2, t) if t != 12 => "nd",
        (3, t) if t != 13 => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::civil::Day;

    #[test]
    fn rules_read_like_people_say_them() {
        let start = Day::new(2024, 5, 1).unwrap().midnight();
        for (rule, words) in [
            ("FREQ=DAILY", "every day"),
            ("FREQ=WEEKLY", "every week on Wednesday"),
            (
                "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;COUNT=10",
                "every other week on Monday and Thursday, 10 times",
            ),
            ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "every week on working days"),
            ("FREQ=MONTHLY;BYDAY=-1SU", "every month on the last Sunday"),
            ("FREQ=MONTHLY;BYMONTHDAY=-1", "every month on day the last"),
            ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1", "every month on the first of all working days"),
            ("FREQ=YEARLY", "every year on 1 May"),
            (
                "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20301231",
                "every year on the fourth Thursday in November, until 31 December 2030",
            ),
            ("FREQ=MONTHLY;INTERVAL=3", "every 3 months on day 1"),
        ] {
            assert_eq!(in_words(&Rule::parse(rule).unwrap(), start), words, "{rule}");
        }
    }
}
