//! Reading a request without allocating: header, one question, EDNS; everything else is only noticed.

use crate::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use crate::record::RecordType;

/// Response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 6891 section 6.1.3, RFC 7873 section 8).
pub mod rcode {
    #![allow(missing_docs)]
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const YXDOMAIN: u16 = 6;
    pub const YXRRSET: u16 = 7;
    pub const NXRRSET: u16 = 8;
    pub const NOTAUTH: u16 = 9;
    pub const NOTZONE: u16 = 10;
    pub const BADVERS: u16 = 16;
}

/// Operation codes.
pub mod opcode {
    #![allow(missing_docs)]
    pub const QUERY: u8 = 0;
    pub const NOTIFY: u8 = 4;
    pub const UPDATE: u8 = 5;
}

/// EDNS of a request (RFC 6891).
#[derive(Debug, Clone, Copy, Default)]
pub struct Edns<'a> {
    /// The asker's UDP size.
    pub udp_octets: u16,
    /// The version; only 0 exists.
    pub version: u8,
    /// DNSSEC OK.
    pub dnssec: bool,
    /// The cookie option, as sent (RFC 7873).
    pub cookie: Option<&'a [u8]>,
    /// Whether the server's identity is asked for (RFC 5001).
    pub nsid: bool,
    /// Whether the keepalive option is there (RFC 7828).
    pub keepalive: bool,
    /// Whether the padding option is there (RFC 7830).
    pub padding: bool,
}

/// A request that has a question.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The whole message.
    pub message: &'a [u8],
    /// The opcode.
    pub opcode: u8,
    /// Where the question ends.
    pub question_end: usize,
    lower: [u8; NAME_OCTETS_MAX],
    name_octets: usize,
    /// The type asked for.
    pub qtype: RecordType,
    /// The class asked for.
    pub qclass: u16,
    /// EDNS, if there is an OPT record.
    pub edns: Option<Edns<'a>>,
    /// Where a TSIG or SIG(0) record begins, which is then the last.
    pub signature_at: Option<usize>,
    /// Records in the answer and authority sections, as an UPDATE or IXFR has.
    pub has_records: bool,
}

impl Query<'_> {
    /// The asked name in lower case, wire form.
    pub fn lower(&self) -> &[u8] {
        &self.lower[..self.name_octets]
    }
}

/// What a datagram is.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one request, and is never moved far"
)]
pub enum Incoming<'a> {
    /// Not a request: too short, or a response. No answer, or two servers would talk for ever.
    Nothing,
    /// A request that can only be answered with this response code, without a question.
    Wrong(u16),
    /// A request without a question but with EDNS: for a cookie (RFC 7873 section 5.4).
    Bare(Edns<'a>),
    /// A request with one question.
    Query(Query<'a>),
}

/// Reads a request.
pub fn read(message: &[u8]) -> Incoming<'_> {
    if message.len() < 12 || message[2] & 0x80 != 0 {
        return Incoming::Nothing;
    }
    let opcode = message[2] >> 3 & 0x0F;
    if !matches!(opcode, opcode::QUERY | opcode::NOTIFY | opcode::UPDATE) {
        return Incoming::Wrong(rcode::NOTIMP);
    }
    let count = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let (questions, answers, authorities, additionals) = (count(4), count(6), count(8), count(10));
    if questions != 1 {
        let bare = questions == 0 && opcode == opcode::QUERY && answers + authorities == 0;
        return match read_additional(message, 12, additionals) {
            Some((Some(edns), None)) if bare && edns.cookie.is_some() => Incoming::Bare(edns),
            _ => Incoming::Wrong(rcode::FORMERR),
        };
    }
    let mut query = Query {
        message,
        opcode,
        question_end: 0,
        lower: [0; NAME_OCTETS_MAX],
        name_octets: 0,
        qtype: RecordType(0),
        qclass: 0,
        edns: None,
        signature_at: None,
        has_records: answers + authorities > 0,
    };
    if read_question(message, &mut query).is_none() {
        return Incoming::Wrong(rcode::FORMERR);
    }
    let mut at = query.question_end;
    for _ in 0..answers + authorities {
        match skip_record(message, at) {
            Some(behind) => at = behind,
            None => return Incoming::Wrong(rcode::FORMERR),
        }
    }
    match read_additional(message, at, additionals) {
        Some((edns, signature_at)) => (query.edns, query.signature_at) = (edns, signature_at),
        None => return Incoming::Wrong(rcode::FORMERR),
    }
    Incoming::Query(query)
}

/// The question is the first thing in a message: a pointer in it could only lead into the header, so it has none.
fn read_question(message: &[u8], query: &mut Query<'_>) -> Option<()> {
    let mut at = 12;
    loop {
        let length = *message.get(at)? as usize;
        if length > LABEL_OCTETS_MAX || at - 12 + length + 1 > NAME_OCTETS_MAX {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            break;
        }
    }
    let name = message.get(12..at)?;
    if name.len() > NAME_OCTETS_MAX {
        return None;
    }
    let lower = &mut query.lower[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    query.name_octets = name.len();
    let fixed = message.get(at..at + 4)?;
    query.qtype = RecordType(u16::from_be_bytes([fixed[0], fixed[1]]));
    query.qclass = u16::from_be_bytes([fixed[2], fixed[3]]);
    query.question_end = at + 4;
    Some(())
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length as usize,
            0xC0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

fn skip_record(message: &[u8], at: usize) -> Option<usize> {
    let fixed = skip_name(message, at)?;
    let length = message.get(fixed + 8..fixed + 10)?;
    let behind = fixed + 10 + u16::from_be_bytes([length[0], length[1]]) as usize;
    (behind <= message.len()).then_some(behind)
}

/// EDNS and the place of a signature; none when the section is malformed: two OPTs (RFC 6891 section 6.1.1), a
/// signature that is not last (RFC 8945 section 5.2), octets behind the last record.
fn read_additional(message: &[u8], mut at: usize, count: usize) -> Option<(Option<Edns<'_>>, Option<usize>)> {
    let (mut edns, mut signature_at) = (None, None);
    for left in (0..count).rev() {
        let fixed = skip_name(message, at)?;
        let behind = skip_record(message, at)?;
        let number =
            |offset: usize| u16::from_be_bytes([message[fixed + offset], message[fixed + offset + 1]]);
        match number(0) {
            41 => {
                if edns.is_some() || fixed != at + 1 {
                    return None;
                }
                let mut found = Edns {
                    udp_octets: number(2),
                    version: message[fixed + 5],
                    dnssec: message[fixed + 6] & 0x80 != 0,
                    ..Edns::default()
                };
                read_options(&message[fixed + 10..behind], &mut found)?;
                edns = Some(found);
            }
            250 if left > 0 => return None,
            250 | 24 if left == 0 => signature_at = Some(at),
            _ => {}
        }
        at = behind;
    }
    (at == message.len()).then_some((edns, signature_at))
}

fn read_options<'a>(mut rest: &'a [u8], edns: &mut Edns<'a>) -> Option<()> {
    while !rest.is_empty() {
        let (fixed, tail) = rest.split_first_chunk::<4>()?;
        let octets = u16::from_be_bytes([fixed[2], fixed[3]]) as usize;
        let value = tail.get(..octets)?;
        match u16::from_be_bytes([fixed[0], fixed[1]]) {
            3 => edns.nsid = true,
            // RFC 7873 section 5.2.2: a client's cookie has 8 octets, a server's 8 to 32 more.
            10 if octets == 8 || (16..=40).contains(&octets) => edns.cookie = Some(value),
            10 => return None,
            11 => edns.keepalive = true,
            12 => edns.padding = true,
            _ => {}
        }
        rest = &tail[octets..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn question(flags: u8) -> Vec<u8> {
        let mut message = vec![1, 2, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x01A\x04test\0\0\x01\0\x01");
        message
    }

    fn rcode_of(message: &[u8]) -> Option<u16> {
        match read(message) {
            Incoming::Wrong(code) => Some(code),
            _ => None,
        }
    }

    #[test]
    fn rfc8906_malformed_is_formerr() {
        let good = question(0);
        assert!(matches!(read(&good), Incoming::Query(query) if query.lower() == b"\x01a\x04test\0"));
        for cut in 12..good.len() {
            assert_eq!(rcode_of(&good[..cut]), Some(rcode::FORMERR), "{cut}");
        }
        assert_eq!(rcode_of(&[&good[..], &[0]].concat()), Some(rcode::FORMERR));
        let mut pointer = good.clone();
        pointer[12] = 0xC0;
        assert_eq!(rcode_of(&pointer), Some(rcode::FORMERR));
        assert!(matches!(read(&question(0x80)), Incoming::Nothing));
        assert_eq!(rcode_of(&question(15 << 3)), Some(rcode::NOTIMP));
        let opt = [0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0];
        let mut two = [&good[..], &opt, &opt].concat();
        two[11] = 2;
        assert_eq!(rcode_of(&two), Some(rcode::FORMERR));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = read(&octets);
        }
        #[test]
        fn mutated_questions_are_read(at in 0usize..30, with in proptest::num::u8::ANY) {
            let mut message = [&question(0)[..], &[0, 0, 41, 4, 0, 0, 0, 128, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
            message[11] = 1;
            message[at] = with;
            let _ = read(&message);
        }
    }
}
