//! The little of DNS that a stub resolver needs (RFC 1035, EDNS of RFC 6891): a question out, addresses in.

use alloc::vec::Vec;
use core::net::IpAddr;

/// Longest answer that a server may send as one datagram, in bytes: what passes every network whole (RFC 9715).
pub const DATAGRAM_BYTES_MAX: usize = 1232;
/// Longest answer over TCP that is looked at.
pub const STREAM_BYTES_MAX: usize = 16 << 10;
/// How many records of an answer are looked at.
const RECORDS_MAX: u16 = 64;

/// The kinds of record that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses.
    Aaaa = 28,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The addresses, maybe none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// It cannot say: ask another.
    Failed,
    /// It does not understand the question, maybe because of EDNS: ask without.
    NotUnderstood,
    /// It had more to say than fits: ask over TCP.
    Cut,
}

/// A question for `name`, or `None` when that is not a name. With `edns` it says how long an answer may be.
pub fn question(id: u16, name: &str, kind: Kind, edns: bool) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, edns.into()]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || !label.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, kind as u8, 0, 1]);
    if edns {
        // The root's name, OPT, the length, no flags, no options.
        let [high, low] = (DATAGRAM_BYTES_MAX as u16).to_be_bytes();
        message.extend_from_slice(&[0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
    }
    Some(message)
}

/// Reads an answer to `question`; `None` when it is the answer to something else, or damaged.
pub fn reply(question: &[u8], answer: &[u8]) -> Option<Reply> {
    let header = answer.first_chunk::<12>()?;
    let same_id = header[..2] == question[..2];
    let is_response = header[2] & 0x80 != 0;
    // The name's end, type and class: what stands after them is not repeated.
    let asked = question.get(12..skip_name(question, 12)? + 4)?;
    let echoed = answer.get(12..12 + asked.len())?;
    if !same_id || !is_response || !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }
    match header[3] & 15 {
        0 => {}
        3 => return Some(Reply::NoSuchName),
        1 | 4 => return Some(Reply::NotUnderstood),
        _ => return Some(Reply::Failed),
    }
    if header[2] & 2 != 0 {
        return Some(Reply::Cut);
    }
    let kind = u16::from(asked[asked.len() - 3]);
    let count = u16::from_be_bytes([header[6], header[7]]).min(RECORDS_MAX);
    let mut at = 12 + asked.len();
    let mut addresses = Vec::new();
    for _ in 0..count {
        at = skip_name(answer, at)?;
        let fixed = answer.get(at..at + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = answer.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        let here = u16::from_be_bytes([fixed[0], fixed[1]]);
        // Aliases (CNAME) stand before the addresses they lead to; the recursive server has followed them.
        if here == kind && fixed[2..4] == [0, 1] {
            let address = match data.len() {
                4 => data.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
                16 => data.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
                _ => None,
            };
            addresses.extend(address);
        }
    }
    Some(Reply::Addresses(addresses))
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn rfc1035_a_question_and_its_answer() {
        let asked = question(0x1234, "www.example.org", Kind::A, false).unwrap();
        assert_eq!(asked[12..17], [3, b'w', b'w', b'w', 7]);
        let mut answer = asked.clone();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        answer.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 16]);
        answer.extend_from_slice(&[0xc0, 16, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
        assert_eq!(reply(&asked, &answer), Some(Reply::Addresses(vec![IpAddr::from([192, 0, 2, 7])])));
        answer[3] = 0x83;
        assert_eq!(reply(&asked, &answer), Some(Reply::NoSuchName));
        answer[0] ^= 1;
        assert_eq!(reply(&asked, &answer), None);
    }

    #[test]
    fn rfc6891_a_question_says_how_long_an_answer_may_be() {
        let asked = question(1, "a.b", Kind::A, true).unwrap();
        assert_eq!(asked[10..12], [0, 1]);
        assert_eq!(asked[asked.len() - 11..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        let mut answer = asked.clone();
        answer[2..4].copy_from_slice(&[0x83, 0x80]);
        assert_eq!(reply(&asked, &answer), Some(Reply::Cut));
        answer[2..4].copy_from_slice(&[0x81, 0x81]);
        assert_eq!(reply(&asked, &answer), Some(Reply::NotUnderstood));
    }

    #[test]
    fn what_is_not_a_name_is_not_asked_for() {
        for name in ["", ".", "a..b", "sp ace", &"x".repeat(64), &"a.".repeat(130)] {
            assert_eq!(question(1, name, Kind::Aaaa, true), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_fall(tail in proptest::collection::vec(any::<u8>(), 0..200), count: u8) {
            let asked = question(7, "a.b", Kind::A, false).unwrap();
            let mut answer = asked.clone();
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, count]);
            answer.extend(tail);
            let _ = reply(&asked, &answer);
        }
    }
}
