//! How answers look: colour and progress on a terminal, plain text in a pipe, JSON for programs.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use git_wire::client::Progress;
use serde_json::{Value, json};

/// How to answer.
pub struct Show {
    pub json: bool,
    colour: bool,
    terminal: bool,
    ends: Ends,
}

type Out = Arc<Mutex<Box<dyn Write + Send>>>;

/// Where answers go, and where input comes from.
pub struct Ends {
    out: Out,
    err: Out,
    input: Mutex<Box<dyn BufRead + Send>>,
    /// Whether somebody can be asked.
    person: bool,
    /// Whether they are those of another process.
    far: bool,
    gone: AtomicBool,
}

impl Ends {
    /// Those of this process.
    fn own() -> Ends {
        Ends {
            out: Arc::new(Mutex::new(Box::new(io::stdout()))),
            err: Arc::new(Mutex::new(Box::new(io::stderr()))),
            input: Mutex::new(Box::new(BufReader::new(io::stdin()))),
            person: io::stdin().is_terminal(),
            far: false,
            gone: AtomicBool::new(false),
        }
    }

    /// Those of a process that asked this one to run a command.
    pub fn far(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        input: Box<dyn BufRead + Send>,
        person: bool,
    ) -> Ends {
        let (out, err) = (Arc::new(Mutex::new(out)), Arc::new(Mutex::new(err)));
        Ends { out, err, input: Mutex::new(input), person, far: true, gone: AtomicBool::new(false) }
    }
}

fn lock(out: &Out) -> MutexGuard<'_, Box<dyn Write + Send>> {
    out.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether this process's answers are to be coloured.
pub fn wants_colour(json: bool) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !json && !plain && io::stdout().is_terminal()
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
        Show::with(json, wants_colour(json), !json && io::stderr().is_terminal(), Ends::own())
    }

    pub fn with(json: bool, colour: bool, terminal: bool, ends: Ends) -> Show {
        Show { json, colour, terminal, ends }
    }

    /// Prints bytes as they are; false when nobody reads any more.
    fn raw(&self, bytes: &[u8]) -> bool {
        let written = lock(&self.ends.out).write_all(bytes).is_ok();
        // Nobody reads any more (`| head`): there is nobody to tell either.
        if !written && !self.ends.far {
            std::process::exit(0);
        }
        if !written {
            self.ends.gone.store(true, Ordering::SeqCst);
        }
        written
    }

    /// Prints a file's bytes.
    pub fn copy(&self, from: &mut dyn Read) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer)? {
                0 => break,
                count if self.raw(&buffer[..count]) => {}
                _ => return Ok(()),
            }
        }
        lock(&self.ends.out).flush()
    }

    /// Whether somebody still reads, for commands that wait.
    pub fn is_heard(&self) -> bool {
        if self.ends.far && lock(&self.ends.out).flush().is_err() {
            self.ends.gone.store(true, Ordering::SeqCst);
        }
        !self.ends.gone.load(Ordering::SeqCst)
    }

    /// Standard input, to its end.
    pub fn input(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut input = self.ends.input.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        input.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Asks the person at the terminal; `None` when there is none.
    pub fn ask(&self, question: &str) -> io::Result<Option<String>> {
        if self.json || !self.ends.person {
            return Ok(None);
        }
        lock(&self.ends.err).write_all(question.as_bytes())?;
        let mut answer = String::new();
        let mut input = self.ends.input.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        input.by_ref().take(1_000).read_line(&mut answer)?;
        Ok(Some(answer))
    }

    /// Prints one answer: the JSON value, or the line for people.
    pub fn line(&self, value: Value, text: impl AsRef<str>) {
        let text = if self.json { value.to_string() } else { text.as_ref().to_owned() };
        self.raw((text + "\n").as_bytes());
    }

    /// Prints a line for people only.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            self.line(Value::Null, text);
        }
    }

    /// Says something to a person beside the answer.
    pub fn aside(&self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(lock(&self.ends.err), "{}", plain(text.as_ref()));
        }
    }

    pub fn failure(&self, text: &str) {
        if self.json {
            self.line(json!({ "error": text }), "");
        } else {
            let _ = writeln!(lock(&self.ends.err), "nymote store: {}", plain(text));
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
        Bar { what, shown: self.terminal, drawn: None, quiet: self.json, err: self.ends.err.clone() }
    }
}

/// Shows how far a transfer is.
pub struct Bar {
    what: &'static str,
    shown: bool,
    drawn: Option<Instant>,
    quiet: bool,
    err: Out,
}

impl Progress for Bar {
    fn remote_says(&mut self, text: &str) {
        if !self.quiet && self.shown {
            for line in text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()) {
                // What a stranger sends is not to move the cursor.
                let clean: String = line.chars().filter(|one| !one.is_control()).collect();
                let _ = writeln!(lock(&self.err), "\r\x1b[Kremote: {clean}");
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
            let _ = write!(
                lock(&self.err),
                "\r\x1b[K{} [{}{}] {done}/{total}",
                self.what,
                "#".repeat(filled),
                " ".repeat(30 - filled)
            );
            let _ = lock(&self.err).flush();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = writeln!(lock(&self.err));
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

/// A name or a message that others made, for people: one line, and nothing that moves the cursor or changes colours.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            one if one.is_control() || BIDI.contains(&one) => out.extend(one.escape_unicode()),
            one => out.push(one),
        }
    }
    out
}

/// Marks that turn the order of what stands behind them.
const BIDI: [char; 9] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];

/// A size for people.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// `1 object`, `2 objects`.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
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
