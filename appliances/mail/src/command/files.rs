//! Maildir and mbox, read and written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A message of a Maildir or an mbox.
pub enum Source {
    /// A file of a Maildir.
    File(PathBuf),
    /// A piece of an mbox.
    Piece(Arc<Vec<u8>>, Range<usize>),
}

/// A message that was read.
pub struct Read {
    pub raw: Vec<u8>,
    pub flags: Vec<String>,
    pub date: Option<i64>,
}

/// The messages at a path, in order.
pub fn list(path: &Path) -> io::Result<Vec<Source>> {
    if path.is_dir() {
        let mut files = Vec::new();
        for part in ["cur", "new"] {
            let Ok(entries) = std::fs::read_dir(path.join(part)) else { continue };
            for entry in entries {
                files.push(entry?.path());
            }
        }
        if !path.join("cur").is_dir() {
            return Err(io::Error::other("this directory is no Maildir: it has no cur"));
        }
        files.sort();
        return Ok(files.into_iter().map(Source::File).collect());
    }
    let bytes = Arc::new(std::fs::read(path)?);
    let ranges = mbox(&bytes);
    if ranges.is_empty() && !bytes.is_empty() {
        return Err(io::Error::other("this file is no mbox: it does not begin with \"From \""));
    }
    Ok(ranges.into_iter().map(|r| Source::Piece(bytes.clone(), r)).collect())
}

impl Source {
    /// Reads it, with what its name or header says of flags and date.
    pub fn read(&self) -> io::Result<Read> {
        match self {
            Source::File(path) => {
                let modified = std::fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let date = modified.ok().map(|d| d.as_secs() as i64);
                Ok(Read { raw: std::fs::read(path)?, flags: maildir_flags(&name), date })
            }
            Source::Piece(bytes, range) => {
                let raw = unquoted(&bytes[range.clone()]);
                let status = crate::message::first_value(&raw, "Status").unwrap_or_default();
                let more = crate::message::first_value(&raw, "X-Status").unwrap_or_default();
                let letters = [
                    ("R", "\\Seen"),
                    ("A", "\\Answered"),
                    ("F", "\\Flagged"),
                    ("D", "\\Deleted"),
                    ("T", "\\Draft"),
                ];
                let has = |letter: &str| more.contains(letter) || (letter == "R" && status.contains('R'));
                let flags = letters.iter().filter(|(l, _)| has(l)).map(|(_, f)| (*f).to_owned()).collect();
                Ok(Read { raw, flags, date: None })
            }
        }
    }
}

/// `…:2,FRS`: flags as letters.
fn maildir_flags(name: &str) -> Vec<String> {
    let letters = name.rsplit_once(":2,").map_or("", |(_, l)| l);
    let known =
        [('S', "\\Seen"), ('R', "\\Answered"), ('F', "\\Flagged"), ('T', "\\Deleted"), ('D', "\\Draft")];
    known.iter().filter(|(l, _)| letters.contains(*l)).map(|(_, f)| (*f).to_owned()).collect()
}

/// Where the messages of an mbox lie: each begins after a line `From …` that follows an empty line (RFC 4155).
fn mbox(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let (mut at, mut blank) = (0, true);
    while at < bytes.len() {
        let len = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len() - at, |i| i + 1);
        let line = &bytes[at..at + len];
        if blank && line.starts_with(b"From ") {
            starts.push((at, at + len));
        }
        blank = line == b"\n" || line == b"\r\n";
        at += len;
    }
    let ends = starts.iter().skip(1).map(|(line, _)| *line).chain([bytes.len()]);
    starts.iter().zip(ends).map(|((_, from), to)| *from..to).collect()
}

/// A message without the blank line that separates it from the next, and without the `>` before quoted `From `.
fn unquoted(piece: &[u8]) -> Vec<u8> {
    let piece = piece.strip_suffix(b"\r\n\r\n").map(|p| [p, b"\r\n"].concat()).unwrap_or_else(|| {
        piece.strip_suffix(b"\n\n").map_or_else(|| piece.to_vec(), |p| [p, b"\n"].concat())
    });
    let mut out = Vec::with_capacity(piece.len());
    for line in piece.split_inclusive(|b| *b == b'\n') {
        let quotes = line.iter().take_while(|b| **b == b'>').count();
        out.extend_from_slice(if quotes > 0 && line[quotes..].starts_with(b"From ") {
            &line[1..]
        } else {
            line
        });
    }
    out
}

/// Writes an exported message into the Maildir of its mailbox.
pub fn write(dir: &Path, one: &Value) -> io::Result<()> {
    let text = |name: &str| one[name].as_str().unwrap_or_default();
    let mailbox: String =
        text("mailbox").chars().map(|c| if c == '/' || c == '\0' { '.' } else { c }).collect();
    let mailbox = if mailbox.starts_with('.') { format!("_{mailbox}") } else { mailbox };
    let root = dir.join(mailbox);
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(root.join(part))?;
    }
    let known =
        [("\\Draft", 'D'), ("\\Flagged", 'F'), ("\\Answered", 'R'), ("\\Seen", 'S'), ("\\Deleted", 'T')];
    let letters: String = known.iter().filter(|(f, _)| text("flags").contains(f)).map(|(_, l)| l).collect();
    let raw = STANDARD.decode(text("raw")).map_err(io::Error::other)?;
    let name = format!("{}.{}.nymote:2,{letters}", one["date"], one["uid"]);
    std::fs::write(root.join("cur").join(name), raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4155_a_mbox_is_cut_at_from_lines_and_unquoted() {
        let text = b"From a@b Mon\nSubject: 1\nStatus: RO\n\nx\n>From here\nFrom inside\n\nFrom c@d Tue\nSubject: 2\n\ny\n";
        let ranges = mbox(text);
        assert_eq!(ranges.len(), 2);
        let first = Source::Piece(Arc::new(text.to_vec()), ranges[0].clone()).read().unwrap();
        assert_eq!(first.raw, b"Subject: 1\nStatus: RO\n\nx\nFrom here\nFrom inside\n");
        assert_eq!(first.flags, ["\\Seen"]);
        assert!(mbox(b"no mbox").is_empty());
    }

    #[test]
    fn flags_of_a_maildir_name() {
        assert_eq!(maildir_flags("1.2.host:2,FS"), ["\\Seen", "\\Flagged"]);
        assert!(maildir_flags("1.2.host").is_empty());
    }
}
