//! Replies: written by the server, read by the client (RFC 5321 4.2, RFC 2034).

use std::fmt;

/// A reply of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// `2.1.5`; empty when there is none.
    pub enhanced: String,
    /// The text lines, without codes.
    pub lines: Vec<String>,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, enhanced: &str, text: impl Into<String>) -> Reply {
        Reply { code, enhanced: enhanced.into(), lines: vec![text.into()] }
    }

    /// 2xx: done.
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx: to be tried again.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (i, line) in self.lines.iter().enumerate() {
            let dash = if i + 1 == self.lines.len() { ' ' } else { '-' };
            let gap = if self.enhanced.is_empty() { "" } else { " " };
            out.extend_from_slice(format!("{}{dash}{}{gap}", self.code, self.enhanced).as_bytes());
            // Text of ours may quote what a peer said: never a control character, never a second line.
            out.extend(line.bytes().map(|b| if b < b' ' || b == 127 { b' ' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The enhanced code, else one that follows from the code (RFC 3463).
    pub fn status(&self) -> String {
        match self.enhanced.is_empty() {
            false => self.enhanced.clone(),
            true => format!("{}.0.0", (self.code / 100).clamp(2, 5)),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.enhanced.is_empty() {
            write!(f, " {}", self.enhanced)?;
        }
        write!(f, " {}", self.lines.join(" / "))
    }
}

/// Reads replies from a byte stream, bounded in line length and number of lines.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    partial: Option<Reply>,
}

/// Longest reply line that is read, in bytes (RFC 5321 4.5.3.1.5 says 512; real servers exceed it).
const LINE_MAX: usize = 4096;
/// Most lines of one reply.
const LINES_MAX: usize = 200;

impl ReplyReader {
    /// Adds bytes from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets everything that was not read: after STARTTLS.
    pub fn clear(&mut self) {
        *self = ReplyReader::default();
    }

    /// The next whole reply; `Ok(None)` when more bytes are needed, `Err` when the peer does not speak SMTP.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, String> {
        loop {
            let Some(nl) = memchr::memchr(b'\n', &self.buffer) else {
                if self.buffer.len() > LINE_MAX {
                    return Err("a reply line is too long".into());
                }
                return Ok(None);
            };
            let line: Vec<u8> = self.buffer.drain(..=nl).collect();
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            let code = text.get(..3).and_then(|c| c.parse::<u16>().ok()).filter(|c| (200..600).contains(c));
            let Some(code) = code else { return Err(format!("not an SMTP reply: {text:?}")) };
            let last = !text[3..].starts_with('-');
            let rest = text.get(4..).unwrap_or("").to_owned();
            let reply = self.partial.get_or_insert_with(|| Reply {
                code,
                enhanced: String::new(),
                lines: Vec::new(),
            });
            let (enhanced, rest) = split_enhanced(code, &rest);
            if reply.lines.is_empty() {
                reply.enhanced = enhanced;
            }
            if reply.lines.len() >= LINES_MAX {
                return Err("a reply has too many lines".into());
            }
            reply.lines.push(rest);
            if last {
                return Ok(self.partial.take());
            }
        }
    }
}

fn split_enhanced(code: u16, text: &str) -> (String, String) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let numbers: Vec<&str> = word.split('.').collect();
    let valid = numbers.len() == 3
        && numbers.iter().all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
        && numbers[0].parse() == Ok(code / 100);
    if valid { (word.to_owned(), rest.to_owned()) } else { (String::new(), text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5321_4_2_1_multiline_replies_split_anywhere() {
        let wire = b"250-first\r\n250-2.1.0 second\r\n250 third\r\n550 5.1.1 no such user\r\n";
        for cut in 0..wire.len() {
            let mut reader = ReplyReader::default();
            let mut got = Vec::new();
            for piece in [&wire[..cut], &wire[cut..]] {
                reader.push(piece);
                while let Some(reply) = reader.next_reply().unwrap() {
                    got.push(reply);
                }
            }
            assert_eq!(got.len(), 2);
            assert_eq!(got[0].lines.len(), 3);
            assert_eq!((got[1].code, got[1].enhanced.as_str()), (550, "5.1.1"));
        }
    }

    #[test]
    fn noise_and_endless_lines_are_errors() {
        let mut reader = ReplyReader::default();
        reader.push(b"HTTP/1.1 400 Bad\r\n");
        assert!(reader.next_reply().is_err());
        let mut reader = ReplyReader::default();
        reader.push(&vec![b'2'; 5000]);
        assert!(reader.next_reply().is_err());
    }

    #[test]
    fn a_reply_of_ours_never_holds_a_second_line() {
        let mut out = Vec::new();
        Reply::new(550, "5.1.1", "<a\r\n250 ok>").write(&mut out);
        assert_eq!(out, b"550 5.1.1 <a  250 ok>\r\n");
    }
}
