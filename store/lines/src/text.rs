//! The encodings of values: backslashes, carets, quoted-printable.

use std::borrow::Cow;

/// Undoes the escapes of a TEXT value (RFC 5545 3.3.11, RFC 6350 3.4): `\n`, `\N`, `\,`, `\;`, `\\`, and the `\:` that
/// Apple writes. An unknown escape keeps its backslash.
pub fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(one) = rest.next() {
        if one != '\\' {
            out.push(one);
            continue;
        }
        match rest.next() {
            Some('n' | 'N') => out.push('\n'),
            Some(escaped @ (',' | ';' | '\\' | ':')) => out.push(escaped),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Escapes a text for a TEXT value; line ends of any kind become `\n`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(one) = rest.next() {
        match one {
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push_str("\\n");
            }
            '\n' => out.push_str("\\n"),
            ',' | ';' | '\\' => out.extend(['\\', one]),
            other => out.push(other),
        }
    }
    out
}

/// Cuts a value at each `separator` that no backslash stands before: the list of CATEGORIES at `,`, the parts of N at `;`.
pub fn split(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < value.len() {
        if value[at] == b'\\' {
            at += 2;
            continue;
        }
        if value[at] == separator {
            parts.push(&value[from..at]);
            from = at + 1;
        }
        at += 1;
    }
    parts.push(&value[from..]);
    parts
}

/// Undoes RFC 6868 in a parameter value: `^n`, `^'`, `^^`. Other carets stay.
pub fn caret_decode(value: Cow<'_, str>) -> Cow<'_, str> {
    if !value.contains('^') {
        return value;
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value.chars().peekable();
    while let Some(one) = rest.next() {
        let decoded = match (one, rest.peek()) {
            ('^', Some('n')) => '\n',
            ('^', Some('\'')) => '"',
            ('^', Some('^')) => '^',
            _ => {
                out.push(one);
                continue;
            }
        };
        rest.next();
        out.push(decoded);
    }
    Cow::Owned(out)
}

/// Writes a parameter value: RFC 6868 for what cannot stand there, quotes around `,`, `;` and `:`. Other control
/// characters cannot be written and become spaces.
pub fn parameter_encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    let mut quote = value.is_empty();
    let mut rest = value.chars().peekable();
    while let Some(one) = rest.next() {
        match one {
            '^' => out.push_str("^^"),
            '"' => out.push_str("^'"),
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push_str("^n");
            }
            '\n' => out.push_str("^n"),
            '\t' => out.push('\t'),
            control if control.is_ascii_control() => out.push(' '),
            other => {
                quote |= matches!(other, ',' | ';' | ':');
                out.push(other);
            }
        }
    }
    if quote { format!("\"{out}\"") } else { out }
}

/// Undoes quoted-printable (RFC 2045 6.7) as vCard 2.1 uses it; what is no escape stays.
pub fn quoted_printable_decode(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let digit = |offset: usize| value.get(at + offset).and_then(|byte| (*byte as char).to_digit(16));
        match (value[at], digit(1), digit(2)) {
            (b'=', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Folds a logical line so that no physical line is longer than 75 octets, line end not counted, and no UTF-8
/// character is cut (RFC 5545 3.1). Octets that are no UTF-8 may be cut anywhere.
pub fn fold(line: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + line.len() / 70 * 3 + 2);
    let (mut from, mut room) = (0, OCTETS_MAX);
    while line.len() - from > room {
        let mut to = from + room;
        // A character has at most three continuation octets; more of them in a row are no UTF-8.
        let back = (0..4).find(|back| line[to - back] & 0xc0 != 0x80).unwrap_or(0);
        to -= back;
        out.extend_from_slice(&line[from..to]);
        out.extend_from_slice(line_end);
        out.push(b' ');
        (from, room) = (to, OCTETS_MAX - 1);
    }
    out.extend_from_slice(&line[from..]);
    out.extend_from_slice(line_end);
    out
}

/// Folds a logical line of vCard 2.1 (2.1.3, 2.1.5): quoted-printable by soft breaks, base 64 anywhere, all else in front of
/// blanks that are there, since a fold's blank belongs to the value. A word that is longer than a line stays whole.
pub fn fold_21(line: &[u8], line_end: &[u8]) -> Vec<u8> {
    let head = line.iter().position(|byte| *byte == b':').map_or(line.len(), |colon| colon + 1);
    let says = |word: &[u8]| line[..head].to_ascii_uppercase().windows(word.len()).any(|at| at == word);
    let (quoted, base64) = (says(b"QUOTED-PRINTABLE"), says(b"BASE64"));
    let mut out = Vec::with_capacity(line.len() + line.len() / 50 * 3 + 2);
    let (mut from, mut room) = (0, OCTETS_MAX);
    while line.len() - from > room {
        let latest = from + room;
        let to = if quoted {
            // Neither an escape nor a character is cut, and the soft break needs an octet of its own.
            let whole =
                |at: &usize| line[at - 2..*at].iter().all(|byte| *byte != b'=') && line[*at] & 0xc0 != 0x80;
            (head.max(from + 3)..latest).rev().find(whole)
        } else if base64 {
            Some(latest).filter(|to| *to > head)
        } else {
            let blank =
                |at: &usize| matches!(line[*at], b' ' | b'\t') && !matches!(line[at - 1], b' ' | b'\t');
            // With none in reach, the first one behind.
            (head.max(from) + 1..=latest).rev().find(blank).or((latest + 1..line.len()).find(blank))
        };
        let Some(to) = to else { break };
        out.extend_from_slice(&line[from..to]);
        out.extend_from_slice(if quoted { b"=" } else { b"" });
        out.extend_from_slice(line_end);
        out.extend_from_slice(if base64 { b" " } else { b"" });
        (from, room) = (to, OCTETS_MAX - usize::from(base64));
    }
    out.extend_from_slice(&line[from..]);
    out.extend_from_slice(line_end);
    out
}

/// RFC 5545 3.1: lines should not be longer, excluding the line break.
const OCTETS_MAX: usize = 75;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_of_rfc5545_3_3_11() {
        assert_eq!(unescape(r"a\nb\Nc\,d\;e\\f\\ng\:h\t"), "a\nb\nc,d;e\\f\\ng:h\\t");
        assert_eq!(escape("a\r\nb,c;d\\e"), r"a\nb\,c\;d\\e");
        assert_eq!(split(br"a\,b,c,", b','), [&br"a\,b"[..], b"c", b""]);
    }

    #[test]
    fn carets_of_rfc6868() {
        assert_eq!(caret_decode("^'Babe^' ^n^^n^x^".into()), "\"Babe\" \n^n^x^");
        assert_eq!(parameter_encode("\"a\"^\n"), "^'a^'^^^n");
        assert_eq!(parameter_encode("a:b"), "\"a:b\"");
    }

    proptest! {
        #[test]
        fn text_goes_round(text in "[^\r]{0,60}") {
            prop_assert_eq!(unescape(&escape(&text)), text);
        }

        #[test]
        fn parameters_go_round(text in r#"[^\x00-\x08\x0b-\x1f\x7f]{0,60}"#) {
            let written = parameter_encode(&text);
            let bare = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&written);
            prop_assert!(!bare.contains('"') && !bare.contains('\n'));
            prop_assert_eq!(caret_decode(bare.into()), text);
        }

        #[test]
        fn folds_are_short_and_cut_no_character(text in "\\PC{0,300}") {
            let folded = fold(text.as_bytes(), b"\r\n");
            for physical in String::from_utf8(folded.clone()).expect("no character was cut").split("\r\n") {
                prop_assert!(physical.len() <= 75);
            }
            prop_assert_eq!(String::from_utf8(folded).unwrap().replace("\r\n ", "").trim_end_matches("\r\n").to_owned(), text);
        }

        #[test]
        fn folds_of_vcard_21_are_undone_by_its_reader(
            encoding in 0usize..3,
            words in proptest::collection::vec("[a-zA-Z0-9é=+/]{0,40}", 0..20),
        ) {
            let (head, value) = match encoding {
                0 => ("NOTE;ENCODING=QUOTED-PRINTABLE:", words.join(" ").replace('=', "=3D")),
                1 => ("PHOTO;ENCODING=BASE64:", words.concat().replace(['=', 'é'], "")),
                _ => ("NOTE:", words.join(" ")),
            };
            let line = format!("{head}{value}");
            let folded = String::from_utf8(fold_21(line.as_bytes(), b"\r\n")).unwrap();
            let short = folded.split("\r\n").all(|physical| {
                physical.len() <= 75 || (encoding == 2 && !physical[76.min(physical.len())..].contains(' '))
            });
            prop_assert!(short || encoding == 2, "{folded}");
            let card = format!("BEGIN:VCARD\r\nVERSION:2.1\r\n{folded}END:VCARD\r\n");
            let document = crate::Document::parse(card.as_bytes(), &crate::Limits::default()).unwrap();
            prop_assert_eq!(document.lines().len(), 4, "{}", folded);
            let read = String::from_utf8(document.lines()[2].unfolded().to_vec()).unwrap();
            prop_assert_eq!(read, line);
        }

        #[test]
        fn any_octets_fold_within_bounds(line in proptest::collection::vec(any::<u8>(), 0..400)) {
            let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
            for physical in fold(&line, b"\n").split(|byte| *byte == b'\n') {
                prop_assert!(physical.len() <= 75);
            }
        }
    }
}
