//! Where a command ends: lines and literals, under limits (RFC 3501 2.2.1, RFC 7888 LITERAL+).

/// Bounds of one command.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a command outside of an APPEND's messages: its lines and small literals.
    pub command_bytes_max: usize,
    /// Bytes of one message in an APPEND.
    pub message_bytes_max: usize,
}

/// What the framer says of the bytes that have come so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// More bytes are needed.
    Incomplete,
    /// The client waits for `+` before it sends a literal.
    Continue,
    /// A whole command without its final line end; literals stand in it as sent.
    Command(Vec<u8>),
    /// The command is over a limit and was or will be passed over; answer `TAG NO [TOOBIG]` or `TAG BAD`.
    TooBig {
        /// The tag, where one could be read.
        tag: Option<String>,
        /// Whether it was a message that was too big, not the command.
        message: bool,
    },
    /// The client cannot be followed any more: say BYE and close.
    Lost,
}

/// Collects the bytes of a connection and cuts them into commands.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the line starts that is being looked for the end of.
    line_at: usize,
    /// How far the current line was searched for its end.
    searched: usize,
    /// Bytes of literals of messages in the current command: they do not count as command bytes.
    message_bytes: usize,
    /// Bytes of a refused literal that are still to be passed over.
    discard: u64,
    /// A command is being passed over up to its line end.
    skipping: Option<Skipping>,
    /// A synchronising literal was announced with `Continue` already.
    continued: bool,
}

#[derive(Debug, Clone)]
struct Skipping {
    tag: Option<String>,
    message: bool,
}

impl Framer {
    /// An empty framer.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Adds what came from the client.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that have come and were not given out yet. After STARTTLS there must be none (RFC 3501 6.2.1).
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets all that has come and not been given out.
    pub fn clear(&mut self) {
        *self = Framer::new();
    }

    /// The next line as it is, without its line end: for the client's part of AUTHENTICATE and for DONE.
    pub fn next_line(&mut self, max: usize) -> Result<Option<Vec<u8>>, Frame> {
        match memchr::memchr(b'\n', &self.buffer) {
            Some(end) if end <= max => {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.buffer.len() <= max => Ok(None),
            _ => Err(Frame::Lost),
        }
    }

    /// The next command, or what is to be done before it is whole. Call again after every answer but `Incomplete`.
    pub fn next(&mut self, limits: Limits) -> Frame {
        if !self.pass_over() {
            return Frame::Incomplete;
        }
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|i| i + self.searched)
            else {
                self.searched = self.buffer.len();
                // The last byte may be the CR of a line end.
                return if self.command_bytes() > limits.command_bytes_max + 1 {
                    self.skip(false)
                } else {
                    Frame::Incomplete
                };
            };
            if let Some(skipped) = self.skipping.take() {
                return self.end_of_skipped(skipped, end);
            }
            let line = &self.buffer[self.line_at..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.line_at + line.len() - self.message_bytes > limits.command_bytes_max {
                return self.skip(false);
            }
            let Some((len, synchronising)) = announced_literal(line) else {
                let command_end = self.line_at + line.len();
                return Frame::Command(self.take(command_end, end + 1));
            };
            match self.literal(end + 1, len, synchronising, limits) {
                Some(frame) => return frame,
                None => continue,
            }
        }
    }

    /// Reads the literal that starts at `start`; nothing when it is there and the line after it is next.
    fn literal(&mut self, start: usize, len: u64, synchronising: bool, limits: Limits) -> Option<Frame> {
        let append = is_append(&self.buffer);
        let free = limits.command_bytes_max.saturating_sub(start - self.message_bytes);
        let max = if append { limits.message_bytes_max.max(free) } else { free };
        if len > max as u64 {
            return Some(self.refuse_literal(start, len, synchronising, append));
        }
        let len = len as usize;
        if synchronising && !self.continued {
            self.continued = true;
            return Some(Frame::Continue);
        }
        if self.buffer.len() < start + len {
            return Some(Frame::Incomplete);
        }
        if append {
            self.message_bytes += len;
        }
        self.continued = false;
        self.line_at = start + len;
        self.searched = self.line_at;
        None
    }

    fn refuse_literal(&mut self, start: usize, len: u64, synchronising: bool, message: bool) -> Frame {
        let tag = tag_of(&self.buffer);
        if synchronising {
            // Refused before it is sent: the command ends here (RFC 3501 7.5).
            self.take(0, start);
            return Frame::TooBig { tag, message };
        }
        if len > DISCARD_MAX {
            self.clear();
            return Frame::Lost;
        }
        self.take(0, start);
        self.discard = len;
        self.skipping = Some(Skipping { tag, message });
        if self.pass_over() { self.next_skipped() } else { Frame::Incomplete }
    }

    fn next_skipped(&mut self) -> Frame {
        match (self.skipping.take(), memchr::memchr(b'\n', &self.buffer)) {
            (Some(skipped), Some(end)) => self.end_of_skipped(skipped, end),
            (skipped, _) => {
                self.skipping = skipped;
                self.searched = self.buffer.len();
                Frame::Incomplete
            }
        }
    }

    /// A line of a command that is passed over: another literal, or its end.
    fn end_of_skipped(&mut self, skipped: Skipping, end: usize) -> Frame {
        let line = self.buffer[..end].strip_suffix(b"\r").unwrap_or(&self.buffer[..end]);
        let literal = announced_literal(line);
        self.take(0, end + 1);
        match literal {
            Some((len, false)) if len <= DISCARD_MAX => {
                self.discard = len;
                self.skipping = Some(skipped);
                if self.pass_over() { self.next_skipped() } else { Frame::Incomplete }
            }
            Some((_, false)) => Frame::Lost,
            _ => Frame::TooBig { tag: skipped.tag, message: skipped.message },
        }
    }

    /// Passes over the rest of a line that is too long.
    fn skip(&mut self, message: bool) -> Frame {
        let skipped = Skipping { tag: tag_of(&self.buffer), message };
        match memchr::memchr(b'\n', &self.buffer[self.line_at..]).map(|i| i + self.line_at) {
            Some(end) => self.end_of_skipped(skipped, end),
            None => {
                // What came is dropped but for its end, which may be the beginning of a literal's announcement.
                self.take(0, self.buffer.len().saturating_sub(ANNOUNCEMENT_MAX));
                self.searched = self.buffer.len();
                self.skipping.get_or_insert(skipped);
                Frame::Incomplete
            }
        }
    }

    /// Passes over a refused literal; whether all of it has come.
    fn pass_over(&mut self) -> bool {
        let now = self.discard.min(self.buffer.len() as u64);
        self.buffer.drain(..now as usize);
        self.discard -= now;
        self.discard == 0
    }

    /// Gives out `..command_end`, drops `..frame_end` and starts afresh behind it.
    fn take(&mut self, command_end: usize, frame_end: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(frame_end);
        let mut command = std::mem::replace(&mut self.buffer, rest);
        command.truncate(command_end);
        (self.line_at, self.searched, self.message_bytes, self.continued) = (0, 0, 0, false);
        command
    }

    fn command_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.message_bytes)
    }
}

/// The length of the literal that a line announces at its end, and whether the client waits for `+`.
fn announced_literal(line: &[u8]) -> Option<(u64, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|b| *b == b'{')?;
    let digits = &inner[open + 1..];
    let (digits, synchronising) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let len = digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    Some((len, synchronising))
}

/// The tag at the start of a command, where it is one.
fn tag_of(command: &[u8]) -> Option<String> {
    let end = command.iter().take(100).position(|b| *b == b' ')?;
    let tag = &command[..end];
    let ok =
        !tag.is_empty() && tag.iter().all(|b| super::cursor::is_atom_char(*b) && *b != b'+' && b.is_ascii());
    ok.then(|| super::cursor::text(tag))
}

/// Whether the command is an APPEND, whose literals are messages.
fn is_append(command: &[u8]) -> bool {
    let after_tag = command.iter().take(100).position(|b| *b == b' ').map(|i| &command[i + 1..]);
    after_tag.and_then(|rest| rest.get(..7)).is_some_and(|verb| verb.eq_ignore_ascii_case(b"APPEND "))
}

/// `{`, nineteen digits, `+}` and a CR.
const ANNOUNCEMENT_MAX: usize = 23;
/// A non-synchronising literal that is too big is read and dropped up to this size; beyond it the connection ends.
const DISCARD_MAX: u64 = 1 << 30;
