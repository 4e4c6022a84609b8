//! Encoded words (RFC 2047) and extended parameters (RFC 2231), read to UTF-8.

use super::header::unfold;
use base64::Engine;

/// Decodes the encoded words of an unfolded value; white space between two of them disappears (RFC 2047 6.2).
pub fn decode_words(value: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = value;
    let mut after_word = false;
    while let Some(start) = memchr::memmem::find(rest, b"=?") {
        let (before, from) = rest.split_at(start);
        match one_word(from) {
            Some((text, len)) => {
                if !(after_word && before.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))) {
                    out.push_str(&String::from_utf8_lossy(before));
                }
                out.push_str(&text);
                rest = &from[len..];
                after_word = true;
            }
            None => {
                out.push_str(&String::from_utf8_lossy(before));
                out.push_str("=?");
                rest = &from[2..];
                after_word = false;
            }
        }
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

/// A field's value as people read it and as searches see it: unfolded, its encoded words decoded, never copied twice.
pub fn field_text(value: &[u8]) -> String {
    let value = unfold(value);
    match memchr::memmem::find(&value, b"=?") {
        Some(_) => decode_words(&value),
        None => {
            String::from_utf8(value).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
        }
    }
}

/// Writes `text` as encoded words when it is not plain ASCII, else as it is. Each word stays below 75 characters.
pub fn encode_word(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return text.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
    }
    let mut words = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if piece.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    words.push(piece);
    let encode = |w: &String| format!("=?utf-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(w));
    words.iter().map(encode).collect::<Vec<_>>().join("\r\n ")
}

/// `=?charset?B|Q?text?=` at the start of `from`: its text and length.
fn one_word(from: &[u8]) -> Option<(String, usize)> {
    let inner = &from[2..];
    let inner = &inner[..inner.len().min(ENCODED_WORD_MAX)];
    let q1 = memchr::memchr(b'?', inner)?;
    let encoding = *inner.get(q1 + 1)?;
    if inner.get(q1 + 2) != Some(&b'?') {
        return None;
    }
    let data = &inner[q1 + 3..];
    let end = memchr::memmem::find(data, b"?=")?;
    let data_bytes = &data[..end];
    if data_bytes.contains(&b'\n') {
        return None;
    }
    let bytes = match encoding {
        b'B' | b'b' => base64_lenient(data_bytes),
        b'Q' | b'q' => q_decode(data_bytes),
        _ => return None,
    };
    let charset = inner[..q1].split(|b| *b == b'*').next().unwrap_or_default();
    Some((to_utf8(&String::from_utf8_lossy(charset), &bytes), 2 + q1 + 3 + end + 2))
}

/// Text in a named charset as UTF-8; an unknown charset is read as UTF-8 with replacement characters.
pub(super) fn to_utf8(charset: &str, bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_label(charset.trim().as_bytes()) {
        Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Base64 with line ends, missing padding and stray characters tolerated.
pub(super) fn base64_lenient(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0u8);
    for &b in data {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    out
}

fn q_decode(data: &[u8]) -> Vec<u8> {
    let underscores: Vec<u8> = data.iter().map(|b| if *b == b'_' { b' ' } else { *b }).collect();
    quoted_printable(&underscores)
}

/// Quoted-printable (RFC 2045 6.7), wrong escapes kept as they are.
pub(super) fn quoted_printable(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut at = 0;
    while at < data.len() {
        match &data[at..] {
            [b'=', b'\r', b'\n', ..] => at += 3,
            [b'=', b'\n', ..] => at += 2,
            [b'=', h, l, ..] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => {
                out.push(hex(*h) << 4 | hex(*l));
                at += 3;
            }
            [b, ..] => {
                out.push(*b);
                at += 1;
            }
            [] => break,
        }
    }
    out
}

/// Where the end of an encoded word is looked for; RFC 2047 2 allows 75 characters, programs write some thousand.
const ENCODED_WORD_MAX: usize = 4_096;

/// `name*number*=value` (RFC 2231 3 and 4).
pub(super) struct Piece {
    pub number: u32,
    pub encoded: bool,
    pub value: Vec<u8>,
}

/// Joins the numbered pieces of one parameter. Where one of them is encoded the whole is: `charset'language'text`.
pub(super) fn join_rfc2231(mut parts: Vec<Piece>) -> String {
    parts.sort_by_key(|p| p.number);
    let is_encoded = parts.iter().any(|part| part.encoded);
    let mut joined = String::new();
    for (i, Piece { encoded, value, .. }) in parts.into_iter().enumerate() {
        if is_encoded && i == 0 && !encoded {
            joined.push_str("''");
        }
        if !is_encoded {
            joined.push_str(&String::from_utf8_lossy(&value));
            continue;
        }
        for b in value {
            match b {
                b'%' | b'\'' if encoded => joined.push(char::from(b)),
                b if b.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&b) => {
                    joined.push(char::from(b))
                }
                b => joined.push_str(&format!("%{b:02X}")),
            }
        }
    }
    joined
}

/// The text of an encoded parameter, as [`join_rfc2231`] gives it.
pub(super) fn read_rfc2231(value: &str) -> String {
    let mut quotes = value.splitn(3, '\'');
    let (charset, text) = match (quotes.next(), quotes.next(), quotes.next()) {
        (Some(charset), Some(_), Some(text)) => (charset, text),
        _ => ("", value),
    };
    let mut bytes = Vec::with_capacity(text.len());
    percent(text.as_bytes(), &mut bytes);
    to_utf8(charset, &bytes)
}

fn percent(value: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < value.len() {
        match &value[at..] {
            [b'%', h, l, ..] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => {
                out.push(hex(*h) << 4 | hex(*l));
                at += 3;
            }
            _ => {
                out.push(value[at]);
                at += 1;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc2047_8_examples() {
        assert_eq!(decode_words(b"=?ISO-8859-1?Q?a?= b"), "a b");
        assert_eq!(decode_words(b"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?="), "ab");
        assert_eq!(decode_words(b"=?ISO-8859-1?Q?a_b?="), "a b");
        assert_eq!(decode_words(b"=?utf-8?B?R3LDvMOfZQ==?= x =? y"), "Grüße x =? y");
        assert_eq!(decode_words(b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?="), "日本");
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let text = "Grüße aus Wien, und noch viel mehr Text, damit es zwei Wörter werden müssen";
        let flat = encode_word(text).replace("\r\n", "");
        assert_eq!(decode_words(flat.as_bytes()), text);
    }
}
