//! A record's data in wire form: checked and expanded from messages, canonical, and where its names stand.

use super::RecordType;
use super::types::Field;
use crate::name::{Malformed, Name};

/// Reads the data of a record in a message: checked against its type, names expanded (RFC 3597 section 4).
///
/// # Errors
/// `Malformed` when the data does not fit the type exactly.
pub fn from_message(
    rtype: RecordType,
    message: &[u8],
    start: usize,
    length: usize,
) -> Result<Vec<u8>, Malformed> {
    let end = start + length;
    let raw = message.get(start..end).ok_or(Malformed::Short)?;
    let Some(layout) = rtype.layout() else { return Ok(raw.to_vec()) };
    let mut data = Vec::with_capacity(length + 32);
    let mut at = start;
    for &field in layout {
        match field {
            Field::CompressibleName | Field::LowerName | Field::CasedName => {
                data.extend_from_slice(Name::from_message(&message[..end], &mut at)?.octets());
            }
            other => {
                let octets = extent(other, &message[at..end])?;
                data.extend_from_slice(&message[at..at + octets]);
                at += octets;
            }
        }
    }
    if at == end { Ok(data) } else { Err(Malformed::Data) }
}

/// Checks uncompressed data against its type.
///
/// # Errors
/// `Malformed` when it does not fit.
pub fn check(rtype: RecordType, data: &[u8]) -> Result<(), Malformed> {
    match from_message(rtype, data, 0, data.len()) {
        Ok(same) if same == data => Ok(()),
        Ok(_) => Err(Malformed::Pointer),
        Err(error) => Err(error),
    }
}

/// How many octets the field takes of `rest`, when they are well formed.
fn extent(field: Field, rest: &[u8]) -> Result<usize, Malformed> {
    let counted = || {
        let octets = 1 + *rest.first().ok_or(Malformed::Data)? as usize;
        if octets <= rest.len() { Ok(octets) } else { Err(Malformed::Data) }
    };
    let exactly = |octets: usize| if octets <= rest.len() { Ok(octets) } else { Err(Malformed::Data) };
    match field {
        Field::U8 => exactly(1),
        Field::U16 | Field::Type => exactly(2),
        Field::U32 | Field::Ttl | Field::Time | Field::Ipv4 => exactly(4),
        Field::Ipv6 => exactly(16),
        Field::Node64 | Field::Eui64 => exactly(8),
        Field::Eui48 => exactly(6),
        Field::Chars | Field::Salt => counted(),
        // RFC 5155 section 3.1.7: a hash has one octet at least, and as text none could not be told.
        Field::Hash32 => {
            counted().and_then(|octets| if octets > 1 { Ok(octets) } else { Err(Malformed::Data) })
        }
        Field::CharsRest => {
            let mut at = 0;
            while at < rest.len() {
                at += 1 + rest[at] as usize;
            }
            if at == rest.len() && at > 0 { Ok(at) } else { Err(Malformed::Data) }
        }
        Field::Bitmap => bitmap_types(rest).map(|_| rest.len()),
        Field::SvcParams => super::svcb::check(rest).map(|()| rest.len()),
        Field::Shaped(shape) => shape.check(rest).map(|()| rest.len()),
        Field::TextRest | Field::HexRest | Field::Base64Rest => Ok(rest.len()),
        Field::CompressibleName | Field::LowerName | Field::CasedName => Err(Malformed::Data),
    }
}

/// The offsets within uncompressed data at which names stand, and what kind they are.
pub fn names(rtype: RecordType, data: &[u8]) -> Vec<(usize, usize, Field)> {
    let (mut found, mut at) = (Vec::new(), 0);
    for &field in rtype.layout().unwrap_or_default() {
        match field {
            Field::CompressibleName | Field::LowerName | Field::CasedName => {
                let mut behind = at;
                let Ok(_) = Name::from_message(data, &mut behind) else { return found };
                found.push((at, behind, field));
                at = behind;
            }
            other => match extent(other, data.get(at..).unwrap_or_default()) {
                Ok(octets) => at += octets,
                Err(_) => return found,
            },
        }
    }
    found
}

/// The canonical form of data: names that RFC 4034 section 6.2 and RFC 6840 section 5.1 list in lower case.
pub fn canonical(rtype: RecordType, data: &[u8]) -> Vec<u8> {
    let mut same = data.to_vec();
    for (start, end, kind) in names(rtype, data) {
        if kind != Field::CasedName {
            same[start..end].make_ascii_lowercase();
        }
    }
    same
}

/// Whether two records' data are the same to DNS: names compare without case (RFC 2136 section 1.1.1).
pub fn same(rtype: RecordType, one: &[u8], other: &[u8]) -> bool {
    one == other || (one.len() == other.len() && canonical(rtype, one) == canonical(rtype, other))
}

/// The name that stands at `offset` of the data (a CNAME's target at 0, an MX's host at 2).
pub fn name_at(data: &[u8], mut offset: usize) -> Option<Name> {
    Name::from_message(data, &mut offset).ok()
}

/// Type bit maps from a sorted list of types (RFC 4034 section 4.1.2).
pub fn bitmap(types: impl IntoIterator<Item = RecordType>) -> Vec<u8> {
    let mut sorted: Vec<u16> = types.into_iter().map(|one| one.0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut out = Vec::new();
    for window in sorted.chunk_by(|a, b| a >> 8 == b >> 8) {
        let octets = (window[window.len() - 1] & 0xFF) as usize / 8 + 1;
        out.extend_from_slice(&[(window[0] >> 8) as u8, octets as u8]);
        let start = out.len();
        out.resize(start + octets, 0);
        for one in window {
            let low = (one & 0xFF) as usize;
            out[start + low / 8] |= 0x80 >> (low % 8);
        }
    }
    out
}

/// The types of a bit map.
///
/// # Errors
/// `Malformed::Data` when windows are out of order, empty or too long.
pub fn bitmap_types(mut rest: &[u8]) -> Result<Vec<RecordType>, Malformed> {
    let (mut found, mut last) = (Vec::new(), -1i32);
    while !rest.is_empty() {
        let [window, octets, tail @ ..] = rest else { return Err(Malformed::Data) };
        let octets = *octets as usize;
        if i32::from(*window) <= last || !(1..=32).contains(&octets) || tail.len() < octets {
            return Err(Malformed::Data);
        }
        for (index, bits) in tail[..octets].iter().enumerate() {
            for bit in 0..8 {
                if bits & (0x80 >> bit) != 0 {
                    found.push(RecordType(u16::from(*window) << 8 | (index * 8 + bit) as u16));
                }
            }
        }
        last = i32::from(*window);
        rest = &tail[octets..];
    }
    Ok(found)
}
