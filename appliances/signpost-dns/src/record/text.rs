//! A record's data as master file text (RFC 1035 section 5, RFC 3597 section 5).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};

use super::RecordType;
use super::data;
use super::types::Field;
use crate::calendar;
use crate::name::{Name, unescape};

/// The words of an entry that are left, escapes still in them.
pub struct Words<'a> {
    words: &'a [String],
    origin: Option<&'a Name>,
}

impl<'a> Words<'a> {
    /// Words, and the origin for relative names.
    pub fn new(words: &'a [String], origin: Option<&'a Name>) -> Words<'a> {
        Words { words, origin }
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Result<&'a str, String> {
        let (first, rest) = self.words.split_first().ok_or("the record ends too early")?;
        self.words = rest;
        Ok(first)
    }

    /// The origin for relative names.
    pub(super) fn origin(&self) -> Option<&'a Name> {
        self.origin
    }

    /// All words that are left.
    pub(super) fn rest(&mut self) -> &'a [String] {
        std::mem::take(&mut self.words)
    }
}

/// Reads the data of a record from its words.
///
/// # Errors
/// A sentence that says which word does not fit.
pub fn from_text(rtype: RecordType, mut words: Words<'_>) -> Result<Vec<u8>, String> {
    if words.words.first().map(String::as_str) == Some("\\#") {
        return generic(rtype, &words.words[1..]);
    }
    let layout =
        rtype.layout().ok_or_else(|| format!("the data of {rtype} must be written as \\# LENGTH HEX"))?;
    let mut out = Vec::new();
    for &field in layout {
        field_from_text(field, &mut words, &mut out).map_err(|why| format!("{rtype}: {why}"))?;
    }
    if !words.words.is_empty() {
        return Err(format!("{rtype}: {:?} is too much", words.words[0]));
    }
    data::check(rtype, &out).map_err(|why| format!("{rtype}: {why}"))?;
    Ok(out)
}

fn generic(rtype: RecordType, words: &[String]) -> Result<Vec<u8>, String> {
    let (length, hex) = words.split_first().ok_or("\\# needs a length")?;
    let length: usize = length.parse().map_err(|_| format!("\\# {length}: not a length"))?;
    let octets =
        HEXLOWER_PERMISSIVE.decode(hex.concat().as_bytes()).map_err(|_| "\\#: not base 16".to_string())?;
    if octets.len() != length || length > 65_535 {
        return Err(format!("\\# says {length} octets, {} follow", octets.len()));
    }
    data::check(rtype, &octets).map_err(|why| format!("{rtype}: {why}"))?;
    Ok(octets)
}

fn field_from_text(field: Field, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
        word.parse().map_err(|_| format!("{word:?} is not a number that fits"))
    }
    let not = |word: &str, what: &str| format!("{word:?} is not {what}");
    match field {
        Field::U8 => out.push(number(words.next()?)?),
        Field::U16 => {
            let word = words.next()?;
            out.extend_from_slice(&number::<u16>(word)?.to_be_bytes());
        }
        Field::U32 => out.extend_from_slice(&number::<u32>(words.next()?)?.to_be_bytes()),
        Field::Ttl => {
            let word = words.next()?;
            out.extend_from_slice(&ttl(word).ok_or_else(|| not(word, "a time in seconds"))?.to_be_bytes());
        }
        Field::Time => {
            let word = words.next()?;
            let time = if word.len() == 14 { calendar::from_compact(word) } else { word.parse().ok() };
            out.extend_from_slice(&time.ok_or_else(|| not(word, "a time"))?.to_be_bytes());
        }
        Field::Type => {
            let word = words.next()?;
            out.extend_from_slice(
                &RecordType::from_text(word).ok_or_else(|| not(word, "a type"))?.0.to_be_bytes(),
            );
        }
        Field::CompressibleName | Field::LowerName | Field::CasedName => {
            out.extend_from_slice(Name::from_text(words.next()?, words.origin)?.octets());
        }
        Field::Ipv4 => {
            let word = words.next()?;
            out.extend_from_slice(
                &word.parse::<Ipv4Addr>().map_err(|_| not(word, "an IPv4 address"))?.octets(),
            );
        }
        Field::Ipv6 => {
            let word = words.next()?;
            out.extend_from_slice(
                &word.parse::<Ipv6Addr>().map_err(|_| not(word, "an IPv6 address"))?.octets(),
            );
        }
        Field::Chars => chars_from_text(words.next()?, out)?,
        Field::CharsRest => {
            chars_from_text(words.next()?, out)?;
            for word in words.rest() {
                chars_from_text(word, out)?;
            }
        }
        Field::TextRest => {
            let word = words.next()?;
            out.extend_from_slice(&unescape_all(word).ok_or_else(|| not(word, "a text"))?);
        }
        Field::HexRest => {
            let all = words.rest().concat();
            out.extend(HEXLOWER_PERMISSIVE.decode(all.as_bytes()).map_err(|_| not(&all, "base 16"))?);
        }
        Field::Base64Rest => {
            let all = words.rest().concat();
            out.extend(BASE64.decode(all.as_bytes()).map_err(|_| not(&all, "base 64"))?);
        }
        Field::Salt | Field::Hash32 => {
            let word = words.next()?;
            let octets = match (field, word) {
                (Field::Salt, "-") => Ok(Vec::new()),
                (Field::Salt, word) => HEXLOWER_PERMISSIVE.decode(word.as_bytes()),
                (_, word) => BASE32HEX_NOPAD.decode(word.to_ascii_uppercase().as_bytes()),
            }
            .map_err(|_| not(word, "a salt or hash"))?;
            out.push(u8::try_from(octets.len()).map_err(|_| not(word, "short enough"))?);
            out.extend(octets);
        }
        Field::Bitmap => {
            let known = |word: &String| RecordType::from_text(word).ok_or_else(|| not(word, "a type"));
            out.extend(data::bitmap(words.rest().iter().map(known).collect::<Result<Vec<_>, _>>()?));
        }
        Field::SvcParams => out.extend(super::svcb::from_text(words.rest())?),
        Field::Node64 => {
            let word = words.next()?;
            for group in word.split(':') {
                out.extend(
                    u16::from_str_radix(group, 16).map_err(|_| not(word, "four groups"))?.to_be_bytes(),
                );
            }
        }
        Field::Eui48 | Field::Eui64 => {
            let word = words.next()?;
            for pair in word.split('-') {
                out.push(u8::from_str_radix(pair, 16).map_err(|_| not(word, "pairs of base 16"))?);
            }
        }
        Field::Shaped(shape) => shape.read_text(words, out)?,
    }
    Ok(())
}

fn chars_from_text(word: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let octets = unescape_all(word).ok_or_else(|| format!("{word:?} has a bad escape"))?;
    out.push(
        u8::try_from(octets.len()).map_err(|_| "a character string has more than 255 octets".to_string())?,
    );
    out.extend(octets);
    Ok(())
}

/// The octets of text with `\DDD` and `\X` escapes.
pub fn unescape_all(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut octets) = (Vec::with_capacity(text.len()), text.bytes().peekable());
    while let Some(octet) = octets.next() {
        out.push(if octet == b'\\' { unescape(&mut octets)? } else { octet });
    }
    Some(out)
}

/// Appends octets as they stand between quotes.
pub fn escape_into(out: &mut String, octets: &[u8]) {
    for &octet in octets {
        let _ = match octet {
            b'"' | b'\\' => write!(out, "\\{}", octet as char),
            0x20..=0x7E => write!(out, "{}", octet as char),
            other => write!(out, "\\{other:03}"),
        };
    }
}

/// Seconds, or a sum with units as `1h30m` (s, m, h, d, w), at most 2^31-1.
pub fn ttl(word: &str) -> Option<u32> {
    let (mut total, mut digits, mut open) = (0u64, 0u64, false);
    for octet in word.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                digits = digits.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
                open = true;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if !open {
            return None;
        }
        total = total.checked_add(digits.checked_mul(unit)?)?;
        (digits, open) = (0, false);
    }
    if word.is_empty() {
        return None;
    }
    u32::try_from(total.checked_add(digits)?).ok().filter(|&all| all <= crate::limits::TTL_S_MAX)
}

/// The data as text; data that does not fit its type is written as RFC 3597 says.
pub fn to_text(rtype: RecordType, data: &[u8]) -> String {
    match rtype.layout().and_then(|layout| data::check(rtype, data).is_ok().then_some(layout)) {
        Some(layout) => layout_to_text(layout, data),
        None if data.is_empty() => "\\# 0".to_string(),
        None => format!("\\# {} {}", data.len(), HEXLOWER.encode(data)),
    }
}

fn layout_to_text(layout: &[Field], mut data: &[u8]) -> String {
    let mut out = String::new();
    for &field in layout {
        if !out.is_empty() && !matches!(field, Field::SvcParams | Field::Bitmap) {
            out.push(' ');
        }
        data = field_to_text(field, data, &mut out);
    }
    out
}

/// Writes one field of data that was checked before; gives what follows it.
fn field_to_text<'a>(field: Field, data: &'a [u8], out: &mut String) -> &'a [u8] {
    let u16_at = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
    let u32_here = || u32::from_be_bytes([data[0], data[1], data[2], data[3]]);
    let (octets, text) = match field {
        Field::U8 => (1, data[0].to_string()),
        Field::U16 => (2, u16_at(0).to_string()),
        Field::Type => (2, RecordType(u16_at(0)).to_string()),
        Field::U32 | Field::Ttl => (4, u32_here().to_string()),
        Field::Time => (4, calendar::to_compact(u32_here())),
        Field::Ipv4 => (4, Ipv4Addr::from(u32_here()).to_string()),
        Field::Ipv6 => (16, Ipv6Addr::from(*data.first_chunk::<16>().unwrap_or(&[0; 16])).to_string()),
        Field::CompressibleName | Field::LowerName | Field::CasedName => {
            let mut at = 0;
            let name = Name::from_message(data, &mut at).unwrap_or_else(|_| Name::root());
            (at, name.to_string())
        }
        Field::Chars => (1 + data[0] as usize, quoted(&data[1..=data[0] as usize])),
        Field::CharsRest => {
            let (mut rest, mut texts) = (data, Vec::new());
            while let Some(&octets) = rest.first() {
                texts.push(quoted(&rest[1..=octets as usize]));
                rest = &rest[1 + octets as usize..];
            }
            (data.len(), texts.join(" "))
        }
        Field::TextRest => (data.len(), quoted(data)),
        Field::HexRest => (data.len(), HEXUPPER.encode(data)),
        Field::Base64Rest => (data.len(), BASE64.encode(data)),
        Field::Salt if data[0] == 0 => (1, "-".to_string()),
        Field::Salt => (1 + data[0] as usize, HEXUPPER.encode(&data[1..=data[0] as usize])),
        Field::Hash32 => (1 + data[0] as usize, BASE32HEX_NOPAD.encode(&data[1..=data[0] as usize])),
        Field::Bitmap => {
            let types = data::bitmap_types(data).unwrap_or_default();
            (data.len(), types.iter().fold(String::new(), |all, one| format!("{all} {one}")))
        }
        Field::SvcParams => (data.len(), super::svcb::to_text(data)),
        Field::Node64 => (8, [0, 2, 4, 6].map(|at| format!("{:04x}", u16_at(at))).join(":")),
        Field::Eui48 | Field::Eui64 => {
            let octets = if field == Field::Eui48 { 6 } else { 8 };
            (octets, data[..octets].iter().map(|one| format!("{one:02x}")).collect::<Vec<_>>().join("-"))
        }
        Field::Shaped(shape) => (data.len(), shape.to_text(data)),
    };
    out.push_str(&text);
    &data[octets..]
}

fn quoted(octets: &[u8]) -> String {
    let mut out = String::from("\"");
    escape_into(&mut out, octets);
    out.push('"');
    out
}
