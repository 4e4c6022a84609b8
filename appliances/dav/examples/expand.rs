//! Reads events from standard input, one a line with `|` between content lines, and writes the starts of each between 1990
//! and 2060 as UTC, comma-separated: for comparing with other programs (tests/dav/recurrence).

use std::io::{BufRead, Write};

use dav::calendar::civil::Day;
use dav::calendar::series::series_of;
use dav::calendar::zone::Zone;
use dav::reading::read;

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let day = |year| Day::new(year, 1, 1).map_or(Day(0), |day| day).midnight();
    for line in std::io::stdin().lock().lines() {
        let body = line?.replace('|', "\r\n");
        let text =
            format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n{body}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
        let series = read(text.as_bytes()).ok().and_then(|all| series_of(&all[0]).ok());
        let answer = match series.as_ref().and_then(|all| all.first()) {
            None => "unreadable".to_string(),
            Some(series) => match series.instances(day(1990), day(2060), &Zone::UTC, 400) {
                Err(error) => error.to_string(),
                Ok(all) => all.iter().map(|one| one.start.basic()).collect::<Vec<_>>().join(","),
            },
        };
        writeln!(out, "{answer}")?;
    }
    out.flush()
}
