//! The text of DATA: end-of-data found exactly, dots unstuffed and stuffed (RFC 5321 4.1.1.4, 4.5.2).

/// Takes the bytes after 354 and gives the message with CRLF at every line end. A bare LF ends a line, as it does for
/// Postfix and for scripts that send text as it lies in a file, but no line that touches one ends the data: that is
/// CRLF `.` CRLF alone, and a lone dot elsewhere is text. A bare CR is remembered: such a message must be refused
/// (decision 0412).
#[derive(Debug, Clone)]
pub struct DataDecoder {
    state: State,
    bare_cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a line; `after_crlf` unless the line before ended with a bare LF.
    LineStart {
        after_crlf: bool,
    },
    Line,
    Cr,
    Dot {
        after_crlf: bool,
    },
    DotCr {
        after_crlf: bool,
    },
    End,
}

impl Default for DataDecoder {
    fn default() -> Self {
        DataDecoder { state: State::LineStart { after_crlf: true }, bare_cr: false }
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
                (State::LineStart { after_crlf }, b'.') => self.state = State::Dot { after_crlf },
                (State::Dot { after_crlf }, b'\r') => self.state = State::DotCr { after_crlf },
                (State::DotCr { after_crlf: true }, b'\n') => self.state = State::End,
                (State::DotCr { after_crlf: false }, b'\n') => {
                    out.extend_from_slice(b".\r\n");
                    self.state = State::LineStart { after_crlf: true };
                }
                (State::Dot { .. }, b'\n') => {
                    out.extend_from_slice(b".\r\n");
                    self.state = State::LineStart { after_crlf: false };
                }
                // The dot was stuffing.
                (State::Dot { .. }, _) => {
                    self.state = State::Line;
                    continue;
                }
                (State::Cr, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.state = State::LineStart { after_crlf: true };
                }
                (State::Cr | State::DotCr { .. }, _) => {
                    self.bare_cr = true;
                    out.push(b'\r');
                    self.state = State::Line;
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.state = State::LineStart { after_crlf: false };
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

    /// Whether a bare CR was seen.
    pub fn has_bare_cr(&self) -> bool {
        self.bare_cr
    }
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

    /// What comes of `wire` cut in two: the text, what follows the end, whether a bare CR was seen.
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
        (out, done.then(|| wire[used..].to_vec()), decoder.has_bare_cr())
    }

    #[test]
    fn rfc5321_4_5_2_end_of_data_and_dots_split_anywhere() {
        let cases: [(&[u8], &[u8]); 12] = [
            (b".\r\nQUIT", b""),
            (b"a\r\n.\r\nQUIT", b"a\r\n"),
            (b"..\r\n..a\r\n.b\r\n.\r\nQUIT", b".\r\n.a\r\nb\r\n"),
            (b"\r\n\r\n.\r\nQUIT", b"\r\n\r\n"),
            (b"a.\r\n.\r\nQUIT", b"a.\r\n"),
            // Lines that end with LF: as if they ended with CRLF, unless they would end the data.
            (b"a\nb\n\nc\r\n.\r\nQUIT", b"a\r\nb\r\n\r\nc\r\n"),
            (b"a\n..\n..b\n.c\n\r\n.\r\nQUIT", b"a\r\n.\r\n.b\r\nc\r\n\r\n"),
            (b"a\n.\nb\r\n.\r\nQUIT", b"a\r\n.\r\nb\r\n"),
            (b"a\n.\r\nb\r\n.\r\nQUIT", b"a\r\n.\r\nb\r\n"),
            (b"a\r\n.\nb\r\n.\r\nQUIT", b"a\r\n.\r\nb\r\n"),
            (b".\n.\n\n.\n.\r\n.\r\nQUIT", b".\r\n.\r\n\r\n.\r\n.\r\n"),
            (b"a\r\n\0.\r\n.\0\r\n. \r\n.\r\nQUIT", b"a\r\n\0.\r\n\0\r\n \r\n"),
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
                let text = [b"a", end, b"M"].concat();
                let cr_alone = (0..text.len()).any(|i| text[i] == b'\r' && text[i + 1] != b'\n');
                assert_eq!(bare, cr_alone, "{end:?}");
            }
        }
    }

    /// Every string of dots, CR, LF and a letter up to this length: nothing that is taken holds an end of data when it is
    /// sent on, and the host that gets it reads the same text.
    #[test]
    fn smuggling_what_is_taken_goes_out_as_one_message() {
        let signs = b"a.\r\n";
        for length in 0..=7u32 {
            for number in 0..signs.len().pow(length) {
                let text: Vec<u8> =
                    (0..length).map(|i| signs[number / signs.len().pow(i) % signs.len()]).collect();
                let wire = [&text, &b"\r\n.\r\n"[..]].concat();
                let (taken, rest, bare) = decode(&wire, wire.len() / 2);
                let Some(rest) = rest else { panic!("{wire:?} does not end") };
                if bare {
                    continue;
                }
                let crlf = wire.windows(5).position(|w| w == b"\r\n.\r\n");
                let first = if wire.starts_with(b".\r\n") { Some(3) } else { crlf.map(|at| at + 5) };
                assert_eq!(Some(wire.len() - rest.len()), first, "{wire:?} ends elsewhere");
                let mut out = Vec::new();
                stuff(&taken, &mut out);
                assert_eq!(decode(&out, out.len() / 2), (taken, Some(Vec::new()), false), "{wire:?}");
                assert!(!has_bare_line_end(&out));
            }
        }
    }

    /// Whether `bytes`, a whole message, has a CR or LF that is not part of a CRLF.
    fn has_bare_line_end(bytes: &[u8]) -> bool {
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
