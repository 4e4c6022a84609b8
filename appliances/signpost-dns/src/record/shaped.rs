//! Types whose text is more than one word a field: LOC (RFC 1876), APL (RFC 3123), IPSECKEY (RFC 4025), HIP (RFC 8005),
//! AMTRELAY (RFC 8777).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE, HEXUPPER};

use super::text::Words;
use crate::name::{Malformed, Name};

/// One of these types' data, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A place on earth.
    Loc,
    /// Address ranges.
    Apl,
    /// A gateway and its key.
    Ipseckey,
    /// A host identity.
    Hip,
    /// A multicast relay.
    Amtrelay,
}

impl Shape {
    /// Checks data in wire form, all of it.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn check(self, data: &[u8]) -> Result<(), Malformed> {
        let good = match self {
            Shape::Loc => data.len() == 16 && data[0] == 0 && data[1..4].iter().all(|&one| is_size(one)),
            Shape::Apl => apl_items(data).is_some(),
            Shape::Ipseckey => {
                data.len() >= 3 && gateway_octets(data[1], &data[3..]).is_some_and(|at| at <= data.len() - 3)
            }
            Shape::Amtrelay => {
                data.len() >= 2 && gateway_octets(data[1] & 0x7F, &data[2..]) == Some(data.len() - 2)
            }
            Shape::Hip => hip_parts(data).is_some(),
        };
        if good { Ok(()) } else { Err(Malformed::Data) }
    }

    /// The data as text; it was checked before.
    pub fn to_text(self, data: &[u8]) -> String {
        match self {
            Shape::Loc => loc_to_text(data),
            Shape::Apl => {
                let items = apl_items(data).unwrap_or_default();
                items.iter().map(apl_to_text).collect::<Vec<_>>().join(" ")
            }
            Shape::Ipseckey => {
                let end = 3 + gateway_octets(data[1], &data[3..]).unwrap_or(0);
                let gateway = gateway_to_text(data[1], &data[3..end]);
                let text =
                    format!("{} {} {} {gateway} {}", data[0], data[1], data[2], BASE64.encode(&data[end..]));
                text.trim_end().to_string()
            }
            Shape::Amtrelay => {
                let kind = data[1] & 0x7F;
                format!("{} {} {kind} {}", data[0], data[1] >> 7, gateway_to_text(kind, &data[2..]))
            }
            Shape::Hip => {
                let Some((algorithm, hit, key, servers)) = hip_parts(data) else { return String::new() };
                let mut text = format!("{algorithm} {} {}", HEXUPPER.encode(hit), BASE64.encode(key));
                servers.iter().for_each(|name| {
                    let _ = write!(text, " {name}");
                });
                text
            }
        }
    }

    /// Reads the data from its words.
    ///
    /// # Errors
    /// A sentence that names the word at fault.
    pub fn read_text(self, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Shape::Loc => out.extend(loc_from_text(words)?),
            Shape::Apl => {
                for word in words.rest() {
                    out.extend(
                        apl_from_text(word).ok_or_else(|| format!("{word:?} is not [!]1:address/bits"))?,
                    );
                }
            }
            Shape::Ipseckey => {
                let numbers = [octet(words)?, octet(words)?, octet(words)?];
                out.extend(numbers);
                gateway_from_text(numbers[1], words, out)?;
                let key = words.rest().concat();
                out.extend(BASE64.decode(key.as_bytes()).map_err(|_| format!("{key:?} is not base 64"))?);
            }
            Shape::Amtrelay => {
                let (precedence, discovery, kind) = (octet(words)?, octet(words)?, octet(words)?);
                if discovery > 1 || kind > 127 {
                    return Err("the D bit is 0 or 1, the relay type at most 127".to_string());
                }
                out.extend([precedence, discovery << 7 | kind]);
                gateway_from_text(kind, words, out)?;
            }
            Shape::Hip => {
                let algorithm = octet(words)?;
                let (hit, key) = (words.next()?, words.next()?);
                let hit = HEXLOWER_PERMISSIVE
                    .decode(hit.as_bytes())
                    .map_err(|_| format!("{hit:?} is not base 16"))?;
                let key = BASE64.decode(key.as_bytes()).map_err(|_| format!("{key:?} is not base 64"))?;
                let too_long = |_| "the identity is too long".to_string();
                out.extend([u8::try_from(hit.len()).map_err(too_long)?, algorithm]);
                out.extend(u16::try_from(key.len()).map_err(too_long)?.to_be_bytes());
                out.extend(hit);
                out.extend(key);
                let origin = words.origin();
                for server in words.rest() {
                    out.extend_from_slice(Name::from_text(server, origin)?.octets());
                }
            }
        }
        Ok(())
    }
}

fn octet(words: &mut Words<'_>) -> Result<u8, String> {
    let word = words.next()?;
    word.parse().map_err(|_| format!("{word:?} is not a number up to 255"))
}

/// How many octets a gateway of a type takes (RFC 4025 section 2.3); none for a type that is not known.
fn gateway_octets(kind: u8, rest: &[u8]) -> Option<usize> {
    match kind {
        0 => Some(0),
        1 if rest.len() >= 4 => Some(4),
        2 if rest.len() >= 16 => Some(16),
        3 => plain_name(rest).map(|(_, octets)| octets),
        _ => None,
    }
}

fn gateway_to_text(kind: u8, data: &[u8]) -> String {
    match (kind, data.first_chunk::<4>(), data.first_chunk::<16>()) {
        (1, Some(four), _) => Ipv4Addr::from(*four).to_string(),
        (2, _, Some(six)) => Ipv6Addr::from(*six).to_string(),
        (3, ..) => plain_name(data).map_or_else(String::new, |(name, _)| name.to_string()),
        _ => ".".to_string(),
    }
}

fn gateway_from_text(kind: u8, words: &mut Words<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let origin = words.origin();
    let word = words.next()?;
    let wrong = || format!("{word:?} is not a gateway of type {kind}");
    match kind {
        0 if word == "." => {}
        1 => out.extend(word.parse::<Ipv4Addr>().map_err(|_| wrong())?.octets()),
        2 => out.extend(word.parse::<Ipv6Addr>().map_err(|_| wrong())?.octets()),
        3 => out.extend_from_slice(Name::from_text(word, origin)?.octets()),
        _ => return Err(wrong()),
    }
    Ok(())
}

/// A name without pointers at the beginning of `data`, and its octets.
fn plain_name(data: &[u8]) -> Option<(Name, usize)> {
    let mut at = 0;
    while *data.get(at)? != 0 {
        at += 1 + usize::from(*data.get(at).filter(|&&length| length <= 63)?);
    }
    Name::from_octets(&data[..=at]).ok().map(|name| (name, at + 1))
}

type HipParts<'a> = (u8, &'a [u8], &'a [u8], Vec<Name>);

fn hip_parts(data: &[u8]) -> Option<HipParts<'_>> {
    let (head, rest) = data.split_first_chunk::<4>()?;
    let (hit, rest) = rest.split_at_checked(usize::from(head[0]))?;
    let (key, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))?;
    if hit.is_empty() || key.is_empty() {
        return None;
    }
    let mut servers = Vec::new();
    while !rest.is_empty() {
        let (name, octets) = plain_name(rest)?;
        servers.push(name);
        rest = &rest[octets..];
    }
    Some((head[1], hit, key, servers))
}

/// One range: family, bits, negated, the address without its trailing zeros.
struct AplItem<'a> {
    family: u16,
    bits: u8,
    negated: bool,
    address: &'a [u8],
}

fn apl_items(mut rest: &[u8]) -> Option<Vec<AplItem<'_>>> {
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let (address, tail) = tail.split_at_checked(usize::from(head[3] & 0x7F))?;
        let family = u16::from_be_bytes([head[0], head[1]]);
        let width = match family {
            1 => 4,
            2 => 16,
            _ => return None,
        };
        // RFC 3123 section 4: trailing zero octets are left out.
        if address.len() > width || usize::from(head[2]) > width * 8 || address.last() == Some(&0) {
            return None;
        }
        items.push(AplItem { family, bits: head[2], negated: head[3] & 0x80 != 0, address });
        rest = tail;
    }
    Some(items)
}

fn apl_to_text(item: &AplItem<'_>) -> String {
    let mut whole = [0; 16];
    whole[..item.address.len()].copy_from_slice(item.address);
    let address = match item.family {
        1 => Ipv4Addr::new(whole[0], whole[1], whole[2], whole[3]).to_string(),
        _ => Ipv6Addr::from(whole).to_string(),
    };
    format!("{}{}:{address}/{}", if item.negated { "!" } else { "" }, item.family, item.bits)
}

fn apl_from_text(word: &str) -> Option<Vec<u8>> {
    let (negated, word) = word.strip_prefix('!').map_or((0, word), |rest| (0x80, rest));
    let (family, range) = word.split_once(':')?;
    let (address, bits) = range.split_once('/')?;
    let family: u16 = family.parse().ok()?;
    let mut octets = match family {
        1 => address.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
        2 => address.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
        _ => return None,
    };
    let bits = bits.parse::<u8>().ok().filter(|&bits| usize::from(bits) <= octets.len() * 8)?;
    while octets.last() == Some(&0) {
        octets.pop();
    }
    let mut out = family.to_be_bytes().to_vec();
    out.extend([bits, negated | octets.len() as u8]);
    out.extend(octets);
    Some(out)
}

/// The equator and the prime meridian (RFC 1876 section 2), in thousandths of a second of arc.
const MIDDLE: u32 = 1 << 31;
/// The reference spheroid's surface is 100 km above altitude 0, in centimetres.
const SURFACE_CM: i64 = 10_000_000;

fn is_size(one: u8) -> bool {
    one >> 4 <= 9 && one & 0x0F <= 9
}

fn size_to_text(one: u8) -> String {
    let centimetres = u64::from(one >> 4) * 10u64.pow(u32::from(one & 0x0F));
    if centimetres.is_multiple_of(100) {
        format!("{}m", centimetres / 100)
    } else {
        format!("{}.{:02}m", centimetres / 100, centimetres % 100)
    }
}

fn loc_to_text(data: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    let angle = |value: u32, positive: char, negative: char| {
        let side = if value >= MIDDLE { positive } else { negative };
        let off = value.abs_diff(MIDDLE);
        let (seconds, thousandths) = (off / 1000, off % 1000);
        format!("{} {} {}.{thousandths:03} {side}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    let altitude = i64::from(number(12)) - SURFACE_CM;
    let (sign, height) = (if altitude < 0 { "-" } else { "" }, altitude.abs());
    format!(
        "{} {} {sign}{}.{:02}m {} {} {}",
        angle(number(4), 'N', 'S'),
        angle(number(8), 'E', 'W'),
        height / 100,
        height % 100,
        size_to_text(data[1]),
        size_to_text(data[2]),
        size_to_text(data[3]),
    )
}

/// A decimal number as an integer of `10^-digits`; none when it has more digits behind the point.
fn scaled(word: &str, digits: usize) -> Option<i64> {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    if part.len() > digits || (whole.is_empty() && part.is_empty()) || whole.len() > 9 {
        return None;
    }
    if !whole.bytes().chain(part.bytes()).all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

/// Degrees, minutes and seconds up to the letter of the side.
fn angle_from_text(words: &mut Words<'_>, sides: [&str; 2], degrees_max: i64) -> Result<u32, String> {
    let mut parts = Vec::new();
    let side = loop {
        let word = words.next()?;
        if let Some(side) = sides.iter().position(|side| word.eq_ignore_ascii_case(side)) {
            break side;
        }
        let digits = if parts.len() == 2 { 3 } else { 0 };
        let number = scaled(word, digits).filter(|_| parts.len() < 3);
        parts.push(number.ok_or_else(|| format!("{word:?} is not part of an angle"))?);
    };
    let part = |at: usize| parts.get(at).copied().unwrap_or(0);
    let thousandths = (part(0) * 3600 + part(1) * 60) * 1000 + part(2);
    if parts.is_empty() || part(1) > 59 || part(2) > 59_999 || thousandths > degrees_max * 3_600_000 {
        return Err(format!("an angle before {} or {} is too large", sides[0], sides[1]));
    }
    let off = thousandths as u32;
    Ok(if side == 0 { MIDDLE + off } else { MIDDLE - off })
}

fn metres(word: &str) -> Result<i64, String> {
    let text = word.strip_suffix(['m', 'M']).unwrap_or(word);
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    scaled(digits, 2).map(|value| sign * value).ok_or_else(|| format!("{word:?} is not a length in metres"))
}

/// A length as one digit and a power of ten.
fn size_from_text(word: &str) -> Result<u8, String> {
    let mut value = metres(word)?;
    let mut power = 0;
    while value > 9 {
        (value, power) = (value / 10, power + 1);
    }
    if value < 0 || power > 9 {
        return Err(format!("{word:?} is not a size from 0 to 90000000m"));
    }
    Ok((value as u8) << 4 | power)
}

fn loc_from_text(words: &mut Words<'_>) -> Result<Vec<u8>, String> {
    let latitude = angle_from_text(words, ["N", "S"], 90)?;
    let longitude = angle_from_text(words, ["E", "W"], 180)?;
    let word = words.next()?;
    let altitude = u32::try_from(metres(word)? + SURFACE_CM).map_err(|_| format!("{word:?} is too deep"))?;
    // Section 3: what is left out is 1 m, 10,000 m and 10 m.
    let mut sizes = [0x12, 0x16, 0x13];
    let rest = words.rest();
    if rest.len() > sizes.len() {
        return Err(format!("{:?} is too much", rest[3]));
    }
    for (size, word) in sizes.iter_mut().zip(rest) {
        *size = size_from_text(word)?;
    }
    let mut out = vec![0];
    out.extend(sizes);
    [latitude, longitude, altitude].iter().for_each(|number| out.extend(number.to_be_bytes()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::name::Name;
    use crate::record::Record;
    use crate::zonefile;

    #[test]
    fn rfc1876_rfc3123_rfc4025_rfc8005_rfc8777_texts_read_back() {
        let origin = Name::from_text("example.test.", None).unwrap();
        for (given, printed) in [
            ("LOC 42 21 54 N 71 06 18 W -24m 30m", "LOC 42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m"),
            ("LOC 52 14 05 N 00 08 50 E 10m", "LOC 52 14 5.000 N 0 8 50.000 E 10.00m 1m 10000m 10m"),
            ("LOC 32 7 19 S 116 2 25 E 10m 0.02 1 2", "LOC 32 7 19.000 S 116 2 25.000 E 10.00m 0.02m 1m 2m"),
            (
                "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8",
                "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8",
            ),
            ("APL", "APL "),
            ("IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==", "="),
            ("IPSECKEY 10 0 2 . AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==", "="),
            ("IPSECKEY 10 3 2 gw.example.test. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==", "="),
            ("IPSECKEY 10 2 2 2001:db8::2000:1 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==", "="),
            ("HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAbdx rvs.example.test. rvs2.example.com.", "="),
            ("AMTRELAY 10 1 1 203.0.113.15", "="),
            ("AMTRELAY 10 0 3 relay.example.test.", "="),
        ] {
            let line = format!("x 5 IN {given}\n");
            let records =
                zonefile::parse(&line, &origin, None).unwrap_or_else(|error| panic!("{given}: {error}"));
            let wanted = if printed == "=" { given } else { printed };
            assert_eq!(records[0].to_line(), format!("x.example.test. 5 IN {wanted}"));
            assert_eq!(zonefile::parse(&records[0].to_line(), &origin, None).as_deref(), Ok(&records[..]));
            let generic = Record { data: records[0].data.clone(), ..records[0].clone() };
            assert_eq!(generic, records[0]);
        }
        for bad in [
            "LOC 91 N 0 E 0m",
            "LOC 1 60 N 0 E 0m",
            "APL 3:1/2",
            "APL 1:1.2.3.4/33",
            "IPSECKEY 1 4 2 . AA==",
            "HIP 2 00 AA== a..b",
        ] {
            assert!(zonefile::parse(&format!("x 5 IN {bad}\n"), &origin, None).is_err(), "{bad}");
        }
    }
}
