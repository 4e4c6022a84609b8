//! A whole message, taken apart: for updates and transfers, where speed matters less than completeness.

use crate::name::{Malformed, Name};
use crate::query::opcode;
use crate::record::{Record, RecordType, data};

/// A message. EDNS and signatures are left to [`crate::query`], which has seen them already.
#[derive(Debug, Clone)]
pub struct Message {
    /// The id.
    pub id: u16,
    /// The four octets' worth of flags, opcode and response code.
    pub flags: u16,
    /// The zone section of an update, the question of a query.
    pub question: (Name, RecordType, u16),
    /// Answers, or prerequisites.
    pub answers: Vec<Record>,
    /// Authority, or updates.
    pub authorities: Vec<Record>,
}

impl Message {
    /// Takes a message apart that has exactly one question.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(message: &[u8]) -> Result<Message, Malformed> {
        let head = message.first_chunk::<12>().ok_or(Malformed::Short)?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        if word(4) != 1 {
            return Err(Malformed::Section);
        }
        let mut at = 12;
        let name = Name::from_message(message, &mut at)?;
        let fixed = message.get(at..at + 4).ok_or(Malformed::Short)?;
        let question = (
            name,
            RecordType(u16::from_be_bytes([fixed[0], fixed[1]])),
            u16::from_be_bytes([fixed[2], fixed[3]]),
        );
        at += 4;
        let update = head[2] >> 3 & 0x0F == opcode::UPDATE;
        let mut section = |count: u16| -> Result<Vec<Record>, Malformed> {
            (0..count).map(|_| read_record(message, &mut at, update)).collect()
        };
        let answers = section(word(6))?;
        let authorities = section(word(8))?;
        Ok(Message { id: word(0), flags: word(2), question, answers, authorities })
    }
}

/// Reads one record; in an update, data may be missing (RFC 2136 section 2.4).
pub fn read_record(message: &[u8], at: &mut usize, update: bool) -> Result<Record, Malformed> {
    let name = Name::from_message(message, at)?;
    let fixed = message.get(*at..*at + 10).ok_or(Malformed::Short)?;
    let word = |from: usize| u16::from_be_bytes([fixed[from], fixed[from + 1]]);
    let (rtype, class, length) = (RecordType(word(0)), word(2), word(8) as usize);
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    *at += 10;
    let data = match length {
        0 if update => Vec::new(),
        _ => data::from_message(rtype, message, *at, length)?,
    };
    *at += length;
    Ok(Record { name, rtype, class, ttl, data })
}

/// Appends a record, its owner uncompressed.
pub fn push_record(out: &mut Vec<u8>, record: &Record) {
    out.extend_from_slice(record.name.octets());
    out.extend_from_slice(&record.rtype.0.to_be_bytes());
    out.extend_from_slice(&record.class.to_be_bytes());
    out.extend_from_slice(&record.ttl.to_be_bytes());
    out.extend_from_slice(&(record.data.len() as u16).to_be_bytes());
    out.extend_from_slice(&record.data);
}

/// A reply of header and question alone.
pub fn bare_reply(request: &[u8], question_end: usize, rcode: u16) -> Vec<u8> {
    let mut out = request[..question_end].to_vec();
    out[2] = 0x80 | request[2] & 0x79;
    out[3] = request[3] & 0x10 | (rcode & 0x0F) as u8;
    out[6..12].fill(0);
    out
}
