//! Header fields, one after another, as slices of the message.

/// One header field. Slices point into the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written, without the colon.
    pub name: &'a [u8],
    /// What follows the colon, folds included, the last line end excluded.
    pub value: &'a [u8],
    /// The whole field with its line end.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Iterates over the fields of a header; lines that are no field (no colon) are skipped.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of `header`, which may be a whole message: the iterator ends at the blank line.
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if self.rest.is_empty() || self.rest.starts_with(b"\r\n") || self.rest.starts_with(b"\n") {
                return None;
            }
            let end = field_end(self.rest);
            let (raw, rest) = self.rest.split_at(end);
            self.rest = rest;
            let Some(colon) = memchr::memchr(b':', raw) else { continue };
            let name = trim_end(&raw[..colon]);
            if name.is_empty() || name.iter().any(|b| *b <= b' ' || *b == 127) {
                continue;
            }
            return Some(Field { name, value: strip_line_end(&raw[colon + 1..]), raw });
        }
    }
}

/// The length of the first field of `bytes` with its continuation lines.
fn field_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(nl) = memchr::memchr(b'\n', &bytes[at..]) {
        at += nl + 1;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    bytes.len()
}

/// The offset of the body: just after the blank line, or the end when there is none.
pub fn header_end(message: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match &message[at..] {
            [b'\r', b'\n', ..] => return at + 2,
            [b'\n', ..] => return at + 1,
            rest => match memchr::memchr(b'\n', rest) {
                Some(nl) => at += nl + 1,
                None => return message.len(),
            },
        }
    }
}

/// Where a header stops without a blank line: at a line that is neither a field nor goes on with one. What stands there was
/// meant to be read. A first line `From …`, as an mbox has it, is passed over.
pub fn header_break(message: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < message.len() {
        let rest = &message[at..];
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |nl| nl + 1);
        let line = strip_line_end(&rest[..end]);
        let name = memchr::memchr(b':', line).map(|colon| trim_end(&line[..colon]));
        let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(|b| *b > b' ' && *b != 127);
        let goes_on = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        let is_mbox = at == 0 && (line.starts_with(b"From ") || line.starts_with(b">From "));
        if line.is_empty() {
            return None;
        }
        if !goes_on && !is_mbox && !name.is_some_and(is_name) {
            return Some(at);
        }
        at += end;
    }
    None
}

/// The value of the first field called `name`, unfolded and trimmed.
pub fn first_value(header: &[u8], name: &str) -> Option<String> {
    fields(header).find(|f| f.is(name)).map(|f| String::from_utf8_lossy(&unfold(f.value)).into_owned())
}

/// A value without its line ends and without surrounding white space (RFC 5322 2.2.3).
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.trim_ascii();
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
    out
}

/// The message ids in a References, In-Reply-To or Message-ID value, angle brackets kept, at most `max` of them.
pub fn message_ids(value: &[u8], max: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut rest = value;
    while ids.len() < max {
        let Some(open) = memchr::memchr(b'<', rest) else { break };
        let Some(close) = memchr::memchr(b'>', &rest[open..]) else { break };
        let id = unfold(&rest[open..=open + close]);
        ids.push(String::from_utf8_lossy(&id).replace(' ', ""));
        rest = &rest[open + close + 1..];
    }
    ids
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b != b' ' && *b != b'\t').map_or(0, |i| i + 1);
    &bytes[..end]
}

fn strip_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5322_2_2_3_folded_fields_stay_whole() {
        let raw = b"Subject: a\r\n b\r\nnot a field\r\nTo: x\r\n\r\nSubject: body\r\n";
        let all: Vec<_> = fields(raw).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(unfold(all[0].value), b"a b");
        assert_eq!(all[0].raw, b"Subject: a\r\n b\r\n");
        assert_eq!(header_end(raw), raw.len() - 15);
    }

    #[test]
    fn a_message_without_body_or_line_end_is_all_header() {
        assert_eq!(header_end(b"A: b"), 4);
        assert_eq!(header_end(b"\r\nx"), 2);
        assert_eq!(fields(b"A: b").next().unwrap().value, b" b");
    }

    #[test]
    fn text_that_follows_a_header_without_a_blank_line() {
        let breaks = |text: &str| header_break(text.as_bytes()).map(|at| text[at..].to_owned());
        assert_eq!(breaks("hello\r\nyou\r\n").as_deref(), Some("hello\r\nyou\r\n"));
        assert_eq!(breaks("A: b\r\n c\r\nDear Ann: hi\r\n\r\nx").as_deref(), Some("Dear Ann: hi\r\n\r\nx"));
        assert_eq!(breaks(" x\r\n").as_deref(), Some(" x\r\n"));
        for whole in ["", "A: b\r\n", "A : b\r\n\r\nhello\r\n", "\r\nhello\r\n", "From x Mon\r\nA: b\r\n\r\n"]
        {
            assert_eq!(breaks(whole), None, "{whole:?}");
        }
    }

    #[test]
    fn message_ids_are_found_in_noise() {
        assert_eq!(message_ids(b" <a@b>\r\n (c) <d@e> <f", 9), ["<a@b>", "<d@e>"]);
    }
}
