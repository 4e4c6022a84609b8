//! Line ends: CRLF in mail, LF in files.

/// Makes CRLF of every bare LF in text that comes in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineEnds {
    after_cr: bool,
    bare_cr: bool,
}

impl LineEnds {
    /// Adds the next piece to `out`.
    pub(crate) fn add(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(len) = memchr::memchr2(b'\r', b'\n', &piece[at..]) {
            let end = at + len;
            self.bare_cr |= self.after_cr && (len > 0 || piece[end] == b'\r');
            out.extend_from_slice(&piece[at..end]);
            match piece[end] {
                b'\n' if len > 0 || !self.after_cr => out.extend_from_slice(b"\r\n"),
                other => out.push(other),
            }
            self.after_cr = piece[end] == b'\r';
            at = end + 1;
        }
        if at < piece.len() {
            self.bare_cr |= std::mem::take(&mut self.after_cr);
            out.extend_from_slice(&piece[at..]);
        }
    }

    /// Whether a CR stood alone, were this the end.
    pub(crate) fn has_bare_cr(&self) -> bool {
        self.bare_cr || self.after_cr
    }

    /// Whether a CR stood alone before what comes next.
    pub(crate) fn had_bare_cr(&self) -> bool {
        self.bare_cr
    }
}

/// Text whose lines end with CRLF; not copied where they do.
pub(crate) fn with_crlf(text: Vec<u8>) -> Vec<u8> {
    let bare = |at: usize| at == 0 || text[at - 1] != b'\r';
    if !memchr::memchr_iter(b'\n', &text).any(bare) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    LineEnds::default().add(&text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_lf_becomes_crlf_wherever_it_is_cut() {
        for text in [&b"a\nb\r\n\n\r\n.\n"[..], b"\n\n", b"\r\n", b"a\rb", b"\r\r\n", b"a\r", b"\r\n\r"] {
            let alone = (0..text.len()).any(|i| text[i] == b'\r' && text.get(i + 1) != Some(&b'\n'));
            let wanted = String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\n', "\r\n");
            for cut in 0..=text.len() {
                let (mut ends, mut out) = (LineEnds::default(), Vec::new());
                ends.add(&text[..cut], &mut out);
                ends.add(b"", &mut out);
                ends.add(&text[cut..], &mut out);
                assert_eq!(ends.has_bare_cr(), alone, "{text:?} {cut}");
                assert!(alone || out == wanted.as_bytes(), "{text:?} {cut}: {out:?}");
            }
            assert!(alone || with_crlf(text.to_vec()) == wanted.as_bytes());
        }
    }
}
