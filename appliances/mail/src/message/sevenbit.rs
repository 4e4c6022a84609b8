//! A message for hosts that take no octets above 127 (RFC 6152 section 3): bodies become quoted-printable or base64.

use super::header::fields;
use super::mime::{Entity, parse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The message in 7 bits, readable as the same. Nothing where that cannot be: octets above 127 in a header, in a part
/// that is encoded already, or under a signature that would break (RFC 1847 2.1).
pub fn seven_bit(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 4);
    write(raw, &parse(raw), &mut out)?;
    out.is_ascii().then_some(out)
}

fn write(raw: &[u8], part: &Entity, out: &mut Vec<u8>) -> Option<()> {
    let (header, body) = (&raw[part.header.clone()], &raw[part.body.clone()]);
    if !header.is_ascii() {
        return None;
    }
    if body.is_ascii() {
        out.extend_from_slice(header);
        out.extend_from_slice(body);
        return Some(());
    }
    if part.mime.is("multipart", "signed") {
        return None;
    }
    if part.children.is_empty() {
        return write_leaf(part, header, body, out);
    }
    // What holds parts may not be encoded itself (RFC 2045 6.4).
    header_with(header, None, out);
    let mut at = part.body.start;
    for child in &part.children {
        between(&raw[at..child.header.start], out);
        write(raw, child, out)?;
        at = child.body.end;
    }
    between(&raw[at..part.body.end], out);
    Some(())
}

fn write_leaf(part: &Entity, header: &[u8], body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !matches!(part.encoding.as_str(), "7bit" | "8bit" | "binary") {
        return None;
    }
    if part.mime.kind.eq_ignore_ascii_case("text") {
        header_with(header, Some("quoted-printable"), out);
        quoted_printable(body, out);
    } else {
        header_with(header, Some("base64"), out);
        for line in body.chunks(57) {
            out.extend_from_slice(STANDARD.encode(line).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    Some(())
}

/// Preamble, boundaries, epilogue: nobody reads what is above 127 there.
fn between(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|b| if b.is_ascii() { *b } else { b'?' }));
}

/// The header with another Content-Transfer-Encoding, or without any.
fn header_with(header: &[u8], encoding: Option<&str>, out: &mut Vec<u8>) {
    for field in fields(header).filter(|f| !f.is("Content-Transfer-Encoding")) {
        out.extend_from_slice(field.raw);
    }
    if let Some(encoding) = encoding {
        out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Quoted-printable of text whose lines end with CRLF (RFC 2045 6.7).
pub fn quoted_printable(text: &[u8], out: &mut Vec<u8>) {
    let mut lines = text.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let more = lines.peek().is_some();
        let line = if more { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let mut width = 0;
        for (i, b) in line.iter().enumerate() {
            let at_end = i + 1 == line.len();
            let plain = matches!(b, b'!'..=b'<' | b'>'..=b'~') || (matches!(b, b' ' | b'\t') && !at_end);
            let piece = if plain { 1 } else { 3 };
            if width + piece > 75 {
                out.extend_from_slice(b"=\r\n");
                width = 0;
            }
            match plain {
                true => out.push(*b),
                false => out.extend_from_slice(format!("={b:02X}").as_bytes()),
            }
            width += piece;
        }
        if more {
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode_body, parse};
    use super::*;

    #[test]
    fn rfc6152_3_text_becomes_quoted_printable_and_files_base64() {
        let raw = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nprä\r\n--b\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße = a \r\n.\r\n--b\r\n\
             Content-Type: application/x\r\n\r\n\u{80}\u{81}\r\n--b--\r\n";
        let out = seven_bit(raw.as_bytes()).unwrap();
        assert!(out.is_ascii());
        let (before, after) = (parse(raw.as_bytes()), parse(&out));
        for i in 0..2 {
            let of = |raw: &[u8], tree: &Entity| decode_body(raw, &tree.children[i]).into_owned();
            assert_eq!(of(&out, &after), of(raw.as_bytes(), &before), "{}", String::from_utf8_lossy(&out));
        }
        assert!(!String::from_utf8_lossy(&out).contains("8bit"));
    }

    #[test]
    fn what_must_not_change_is_left_alone() {
        assert!(seven_bit("Subject: ü\r\n\r\nx".as_bytes()).is_none());
        let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n";
        assert!(seven_bit(signed.as_bytes()).is_none());
        let plain = b"Subject: x\r\n\r\nhello\r\n";
        assert_eq!(seven_bit(plain).unwrap(), plain);
    }

    proptest::proptest! {
        #[test]
        fn quoted_printable_comes_back(text in "[a =.\\tü\\r\\n]{0,200}") {
            let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            let raw = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}");
            if let Some(out) = seven_bit(raw.as_bytes()) {
                let tree = parse(&out);
                proptest::prop_assert_eq!(decode_body(&out, &tree).into_owned(), text.clone().into_bytes());
                proptest::prop_assert!(out.split(|b| *b == b'\n').all(|l| l.len() <= 78));
            }
        }
    }
}
