//! How answers look: colour and progress on a terminal, plain text in a pipe, JSON for programs.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use git_wire::client::Progress;
use serde_json::{Value, json};

/// How to answer.
pub struct Show {
    pub json: bool,
    colour: bool,
    terminal: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy)]
pub enum Ink {
    Added,
    Removed,
    Changed,
    Name,
    Faint,
}

impl Show {
    pub fn new(json: bool) -> Show {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Show {
            json,
            colour: !json && !plain && std::io::stdout().is_terminal(),
            terminal: !json && std::io::stderr().is_terminal(),
        }
    }

    /// Prints one answer: the JSON value, or the line for people.
    pub fn line(&self, value: Value, text: impl AsRef<str>) {
        let text = if self.json { value.to_string() } else { text.as_ref().to_owned() };
        // Nobody reads any more (`| head`): there is nobody to tell either.
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// Prints a line for people only.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            self.line(Value::Null, text);
        }
    }

    pub fn failure(&self, text: &str) {
        if self.json {
            self.line(json!({ "error": text }), "");
        } else {
            eprintln!("nymote store: {text}");
        }
    }

    pub fn ink(&self, ink: Ink, text: impl AsRef<str>) -> String {
        let number = match ink {
            Ink::Added => "32",
            Ink::Removed => "31",
            Ink::Changed => "33",
            Ink::Name => "36",
            Ink::Faint => "2",
        };
        let text = text.as_ref();
        if self.colour { format!("\x1b[{number}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A bar on the terminal, nothing elsewhere.
    pub fn bar(&self, what: &'static str) -> Bar {
        Bar { what, shown: self.terminal, drawn: None, quiet: self.json }
    }
}

/// Shows how far a transfer is.
pub struct Bar {
    what: &'static str,
    shown: bool,
    drawn: Option<Instant>,
    quiet: bool,
}

impl Progress for Bar {
    fn remote_says(&mut self, text: &str) {
        if !self.quiet && self.shown {
            for line in text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()) {
                // What a stranger sends is not to move the cursor.
                let clean: String = line.chars().filter(|one| !one.is_control()).collect();
                eprintln!("\r\x1b[Kremote: {clean}");
            }
        }
    }

    fn objects(&mut self, done: u64, total: u64) {
        if !self.shown || total == 0 {
            return;
        }
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() > Duration::from_millis(100));
        if due || done == total {
            self.drawn = Some(Instant::now());
            let filled = (done * 30 / total) as usize;
            eprint!(
                "\r\x1b[K{} [{}{}] {done}/{total}",
                self.what,
                "#".repeat(filled),
                " ".repeat(30 - filled)
            );
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            eprintln!();
        }
    }
}

/// Seconds since 1970 as a date in UTC (RFC 3339), by the days-from-civil calculation.
pub fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(super::date(seconds), wanted);
        }
    }
}
