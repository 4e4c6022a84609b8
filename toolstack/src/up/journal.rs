//! One log for all appliances: kept as JSON lines in a file that stays small, shown in colours.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::trouble::Trouble;

/// What is shown of the log.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these appliances; all when empty.
    pub only: Vec<String>,
    /// The least level.
    pub level: String,
}

impl Filter {
    /// Whether a line is shown.
    pub fn lets(&self, line: &Value) -> bool {
        let by = line["appliance"].as_str().unwrap_or_default();
        let rank = |level: &str| LEVELS.iter().position(|one| *one == level).unwrap_or(LEVELS.len());
        let own = self.only.is_empty() || self.only.iter().any(|one| one == by);
        own && rank(line["level"].as_str().unwrap_or("info")) <= rank(&self.level)
    }
}

/// The log, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    shown: Option<Filter>,
    colours: bool,
    trouble_told: bool,
}

impl Journal {
    /// Opens the log of a household. `shown`: what goes to standard error too.
    pub fn open(dir: &Path, shown: Option<Filter>) -> Result<Journal, Trouble> {
        let dir = dir.join(LOG_DIR);
        fs::create_dir_all(&dir).map_err(|error| Trouble::io("make", &dir, error))?;
        let path = dir.join(LOG_FILE);
        let file = open(&path).map_err(|error| Trouble::io("open", &path, error))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let colours = std::io::stderr().is_terminal();
        Ok(Journal { path, file, bytes, shown, colours, trouble_told: false })
    }

    /// Keeps a line that an appliance wrote to standard error. What is no JSON (a panic) is kept as an error in its words.
    pub fn line(&mut self, appliance: &str, text: &str) {
        match serde_json::from_str::<Value>(text) {
            Ok(line) if line.is_object() => self.keep(&line),
            _ if text.trim().is_empty() => {}
            _ => self.keep(&entry(appliance, "error", text)),
        }
    }

    /// Keeps something that the supervisor has to say.
    pub fn say(&mut self, appliance: &str, level: &str, text: &str) {
        self.keep(&entry(appliance, level, text));
    }

    fn keep(&mut self, line: &Value) {
        let text = format!("{line}\n");
        if self.bytes + text.len() as u64 > LOG_BYTES_MAX {
            self.rotate();
        }
        match self.file.write_all(text.as_bytes()) {
            Ok(()) => {
                self.bytes += text.len() as u64;
                self.trouble_told = false;
            }
            // A full disk must not stop the appliances, nor fill the terminal.
            Err(error) if !self.trouble_told => {
                self.trouble_told = true;
                eprintln!("nymote: the log {} cannot be written: {error}", self.path.display());
            }
            Err(_) => {}
        }
        if self.shown.as_ref().is_some_and(|filter| filter.lets(line)) {
            let _ = writeln!(std::io::stderr().lock(), "{}", paint(line, self.colours));
        }
    }

    fn rotate(&mut self) {
        let older = self.path.with_extension("1.log");
        if fs::rename(&self.path, older).is_ok()
            && let Ok(file) = open(&self.path)
        {
            self.file = file;
            self.bytes = 0;
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn entry(appliance: &str, level: &str, message: &str) -> Value {
    json!({
        "at": chassis::clock::rfc3339(chassis::clock::now_ms()),
        "level": level, "appliance": appliance, "target": "nymote::up", "message": message,
    })
}

/// A line of the log for people: time, appliance in its colour, message, fields.
pub fn paint(line: &Value, colours: bool) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let (appliance, level) = (text("appliance"), text("level"));
    let at = text("at");
    let time = at.get(11..19).unwrap_or(at);
    let mut fields = String::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        if !KNOWN.contains(&name.as_str()) {
            let value = value.as_str().map_or_else(|| value.to_string(), printable);
            fields.push_str(&format!(" {name}={value}"));
        }
    }
    let (dim, plain) = if colours { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let (own, loud) = if colours { (colour_of(appliance), colour_of_level(level)) } else { ("", "") };
    let mark = if matches!(level, "error" | "warn") { format!("{level}: ") } else { String::new() };
    let message = printable(text("message"));
    format!("{dim}{time}{plain} {own}{appliance:<9}{plain} {loud}{mark}{message}{plain}{dim}{fields}{plain}")
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn colour_of(appliance: &str) -> &'static str {
    match appliance {
        "mail" => "\x1b[36m",
        "contacts" => "\x1b[35m",
        "calendar" => "\x1b[34m",
        "signpost" => "\x1b[32m",
        _ => "\x1b[1m",
    }
}

fn colour_of_level(level: &str) -> &'static str {
    match level {
        "error" => "\x1b[31m",
        "warn" => "\x1b[33m",
        _ => "",
    }
}

/// The log's directory in a household.
pub const LOG_DIR: &str = "log";
/// The log's name in its directory.
pub const LOG_FILE: &str = "suite.log";
/// Then it becomes `suite.1.log`, and the one before that is dropped.
const LOG_BYTES_MAX: u64 = 8 << 20;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const KNOWN: [&str; 5] = ["at", "level", "appliance", "target", "message"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_painted_and_filtered() {
        let line = json!({"at": "2026-11-21T04:05:06Z", "level": "warn", "appliance": "mail", "target": "x",
            "message": "login refused\u{1b}[2J", "user": "anna"});
        assert_eq!(paint(&line, false), "04:05:06 mail      warn: login refused\u{fffd}[2J user=anna");
        let filter = |only: &[&str], level: &str| Filter {
            only: only.iter().map(|one| (*one).to_owned()).collect(),
            level: level.into(),
        };
        assert!(filter(&[], "info").lets(&line));
        assert!(filter(&["mail"], "warn").lets(&line));
        assert!(!filter(&["dav"], "info").lets(&line));
        assert!(!filter(&[], "error").lets(&line));
    }

    #[test]
    fn a_panic_s_words_are_kept_as_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), None).unwrap();
        journal.line("mail", "thread 'main' panicked");
        journal.line("mail", "");
        let text = fs::read_to_string(dir.path().join(LOG_DIR).join(LOG_FILE)).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"level\":\"error\"") && text.contains("panicked"));
    }
}
