//! The text of DATA: end-of-data found exactly, dots unstuffed and stuffed (RFC 5321 4.1.1.4, 4.5.2).

/// Takes the bytes after 354 and gives the message. Only CRLF ends a line; a bare CR or LF is remembered, and the
/// message that has one must be refused: two servers could see different ends in it.
#[derive(Debug, Clone)]
pub struct DataDecoder {
    state: State,
    bare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Line,
    Cr,
    Dot,
    DotCr,
    End,
}

impl Default for DataDecoder {
    fn default() -> Self {
        DataDecoder { state: State::LineStart, bare: false }
    }
}

impl DataDecoder {
    /// Decodes `input` into `out`; returns how much was consumed and whether end-of-data was reached. What follows
    /// the end is not consumed.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            let b = input[at];
            match (self.state, b) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => self.state = State::End,
                (State::DotCr, _) => {
                    // `.` CR and no LF: the dot was stuffing, the CR is bare.
                    self.bare = true;
                    out.push(b'\r');
                    self.state = State::Line;
                    continue;
                }
                (State::Dot, _) => {
                    self.state = State::Line;
                    continue;
                }
                (State::Cr, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.bare = true;
                    out.push(b'\r');
                    self.state = State::Line;
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n') => {
                    self.bare = true;
                    out.push(b'\n');
                    self.state = State::Line;
                }
                _ => {
                    let rest = &input[at..];
                    let len = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    out.extend_from_slice(&rest[..len]);
                    at += len;
                    self.state = State::Line;
                    continue;
                }
            }
            at += 1;
        }
        (at, self.state == State::End)
    }

    /// Whether end-of-data was reached.
    pub fn is_ended(&self) -> bool {
        self.state == State::End
    }

    /// Whether a bare CR or LF was seen.
    pub fn has_bare_line_end(&self) -> bool {
        self.bare
    }
}

/// Whether `bytes`, a whole message, has a CR or LF that is not part of a CRLF.
pub(crate) fn has_bare_line_end(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(hit) = memchr::memchr2(b'\r', b'\n', &bytes[at..]) {
        let i = at + hit;
        if bytes[i] == b'\n' || bytes.get(i + 1) != Some(&b'\n') {
            return true;
        }
        at = i + 2;
    }
    false
}

/// Writes `message` for DATA: every line end becomes CRLF (a bare CR or LF could smuggle), leading dots are doubled,
/// end-of-data is added.
pub fn stuff(message: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < message.len() {
        if message[at] == b'.' {
            out.push(b'.');
        }
        let rest = &message[at..];
        match memchr::memchr2(b'\r', b'\n', rest) {
            Some(len) => {
                out.extend_from_slice(&rest[..len]);
                let crlf = rest[len] == b'\r' && rest.get(len + 1) == Some(&b'\n');
                at += len + if crlf { 2 } else { 1 };
            }
            None => {
                out.extend_from_slice(rest);
                at = message.len();
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(wire: &[u8], cut: usize) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let mut decoder = DataDecoder::default();
        let mut out = Vec::new();
        let (used, done) = decoder.decode(&wire[..cut], &mut out);
        let (used, done) = if done {
            (used, true)
        } else {
            assert_eq!(used, cut);
            let (more, done) = decoder.decode(&wire[cut..], &mut out);
            (cut + more, done)
        };
        (out, done.then(|| wire[used..].to_vec()), decoder.has_bare_line_end())
    }

    #[test]
    fn rfc5321_4_5_2_end_of_data_and_dots_split_anywhere() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b".\r\nQUIT", b""),
            (b"a\r\n.\r\nQUIT", b"a\r\n"),
            (b"..\r\n..a\r\n.b\r\n.\r\nQUIT", b".\r\n.a\r\nb\r\n"),
            (b"\r\n\r\n.\r\nQUIT", b"\r\n\r\n"),
            (b"a.\r\n.\r\nQUIT", b"a.\r\n"),
        ];
        for (wire, wanted) in cases {
            for cut in 0..=wire.len() {
                assert_eq!(
                    decode(wire, cut),
                    (wanted.to_vec(), Some(b"QUIT".to_vec()), false),
                    "{wire:?} {cut}"
                );
            }
        }
    }

    #[test]
    fn smuggling_no_other_end_of_data_ends_it() {
        let ends: [&[u8]; 14] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\r\n.\r\r\n",
            b"\n.\r",
            b"\r.\n",
            b"\r\n.\r\r\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n. \r\n",
            b"\n\n.\n\n",
        ];
        for end in ends {
            let wire = [b"a", end, b"MAIL FROM:<x@y>\r\n"].concat();
            for cut in 0..=wire.len() {
                let (_, done, bare) = decode(&wire, cut);
                assert_eq!(done, None, "{end:?}");
                let clean = matches!(end, b"\r\n\0.\r\n" | b"\r\n.\0\r\n" | b"\r\n. \r\n");
                assert_eq!(bare, !clean, "{end:?} must be refused");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_stuffed_comes_back_with_crlf(message in proptest::collection::vec(
            proptest::sample::select(&b"a.\r\n"[..]), 0..60)) {
            let mut wire = Vec::new();
            stuff(&message, &mut wire);
            proptest::prop_assert!(!has_bare_line_end(&wire));
            let (out, rest, bare) = decode(&wire, wire.len() / 2);
            proptest::prop_assert_eq!(rest, Some(Vec::new()));
            proptest::prop_assert!(!bare);
            if !has_bare_line_end(&message) && (message.is_empty() || message.ends_with(b"\r\n")) {
                proptest::prop_assert_eq!(out, message);
            }
        }
    }
}
