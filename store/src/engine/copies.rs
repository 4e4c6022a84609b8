//! Copies that a collection makes, as the log holds them.
//!
//! Their places are told to the index in memory, and stand on the device with the next checkpoint: a crash before that
//! loses copies and nothing else. So the log needs no keys for them. What it lists instead, a few bytes each, is what a
//! repair needs to find them again: kind, number, size, and the number of the base.

use super::codec::{Take, put_number};
use super::entry::{kind_from, kind_number};
use super::format::FLAG_COPIES;
use super::log::{BODY_BYTES_WISHED, Tail, Writer, make_room};
use super::{Edits, Engine, ObjectEntry, Part, keys};
use crate::Result;
use crate::{Kind, ObjectId};

/// An object that is copied to another place; it keeps its number.
pub(crate) struct Moved {
    pub id: ObjectId,
    pub entry: ObjectEntry,
    /// The number of the object that it is a delta against.
    pub base_number: u64,
    /// Its stream, or `None` when the entry says already where that is.
    pub stream: Option<Vec<u8>>,
}

/// Appends copies; gives what the index is to say from now on.
pub fn append(engine: &Engine, tail: &mut Tail, moved: Vec<Moved>) -> Result<Edits> {
    let bytes =
        moved.iter().map(|one| one.stream.as_ref().map_or(0, Vec::len) + 20 * one.entry.parts.len() + 96);
    make_room(engine, tail, bytes.sum::<usize>() as u64)?;
    let most = BODY_BYTES_WISHED.min(engine.segment_bytes / 2);
    let (mut edits, mut rest) = (Edits::new(), Vec::new());
    let mut writer = Writer::new(engine, tail);
    writer.flags = FLAG_COPIES;
    for one in moved {
        match &one.stream {
            Some(stream) if (stream.len() as u64) < most => edits.push(copy(&mut writer, one)?),
            _ => rest.push(one),
        }
    }
    writer.emit(false)?;
    // What is in several parts, or goes into several, is entered as a whole transaction of its own.
    let mut writer = Writer::new(engine, tail);
    for Moved { id, mut entry, stream, .. } in rest {
        if let Some(stream) = stream {
            entry.parts = writer.stream(&stream)?;
        }
        writer.edit(keys::object(&id), Some(entry.encode()))?;
    }
    if !writer.edits.is_empty() {
        writer.emit(false)?;
    }
    edits.append(&mut writer.edits);
    Ok(edits)
}

fn copy(writer: &mut Writer<'_>, moved: Moved) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let Moved { id, mut entry, base_number, stream } = moved;
    let stream = stream.unwrap_or_default();
    let wanted = stream.len() as u64 + 64;
    if writer.room() < wanted && writer.body_len() > 0 {
        writer.emit(false)?;
    }
    if writer.left_in_segment() < wanted {
        writer.jump()?;
    }
    entry.parts = vec![Part {
        offset: writer.body_offset() + writer.payload.len() as u64,
        len: stream.len() as u32,
        crc: crc32fast::hash(&stream),
    }];
    writer.payload.extend_from_slice(&stream);
    let out = &mut writer.entries;
    out.push(kind_number(entry.kind) | if entry.delta.is_some() { 0x80 } else { 0 });
    put_number(out, entry.number);
    put_number(out, entry.size_bytes);
    if let Some(delta) = entry.delta {
        put_number(out, base_number);
        put_number(out, delta.size_bytes);
        out.push(delta.depth);
    }
    put_number(out, stream.len() as u64);
    Ok((keys::object(&id), Some(entry.encode())))
}

/// A copy, as the log lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub kind: Kind,
    pub number: u64,
    pub size_bytes: u64,
    /// Number of the base, size of the inflated delta, depth.
    pub delta: Option<(u64, u64, u8)>,
    pub len: u64,
}

/// Reads the list of a record; the streams lie in its payload in this order.
pub fn list(entries: &[u8]) -> Result<Vec<Listed>> {
    let mut take = Take(entries);
    let mut found = Vec::new();
    while !take.is_empty() {
        let first = take.byte()?;
        let (kind, number, size_bytes) = (kind_from(first)?, take.number()?, take.number()?);
        let delta =
            if first & 0x80 == 0 { None } else { Some((take.number()?, take.number()?, take.byte()?)) };
        found.push(Listed { kind, number, size_bytes, delta, len: take.number()? });
    }
    Ok(found)
}
