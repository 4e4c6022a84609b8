//! upload-pack of the first protocol (gitprotocol-pack), one request at a time as HTTP carries it.

use std::collections::HashSet;
use std::io::{Read, Write};

use super::fetch::{Request, enough, send_selected, write_shallow};
use super::{ServeError, check_capability};
use crate::pkt::{Packet, SideBand, read_packet, trim, write_flush, write_text};
use crate::{Limits, ObjectId, View};

/// How a client wants its haves acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    /// Only the first.
    Single,
    /// `multi_ack`.
    Multi,
    /// `multi_ack_detailed`.
    Detailed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bands {
    None,
    Small,
    Large,
}

/// Serves one request.
pub fn upload_pack_v0(
    view: &dyn View,
    input: &mut dyn Read,
    out: &mut dyn Write,
    limits: &Limits,
) -> Result<(), ServeError> {
    let mut request = Request::default();
    let mut capabilities = Vec::new();
    read_wants(input, &mut request, &mut capabilities, limits)?;
    if request.wants.is_empty() {
        return Ok(());
    }
    capabilities.iter().try_for_each(|word| check_capability(word))?;
    let can = |word: &str| capabilities.iter().any(|one: &Vec<u8>| one == word.as_bytes());
    let acks = match (can("multi_ack_detailed"), can("multi_ack")) {
        (true, _) => Acks::Detailed,
        (_, true) => Acks::Multi,
        _ => Acks::Single,
    };
    let bands = match (can("side-band-64k"), can("side-band")) {
        (true, _) => Bands::Large,
        (_, true) => Bands::Small,
        _ => Bands::None,
    };
    request.include_tag = can("include-tag");
    request.ofs_delta = can("ofs-delta");
    request.no_progress = can("no-progress");
    request.relative |= can("deepen-relative");
    request.check_wants(view)?;
    let change = request.deepened(view)?;
    if let Some(change) = &change {
        write_shallow(change, out)?;
        write_flush(out)?;
    }
    let Some(common) = negotiate(view, input, out, &mut request, acks, can("no-done"), limits)? else {
        return Ok(());
    };
    let mut band = match bands {
        Bands::Large => SideBand::large(out),
        Bands::Small => SideBand::small(out),
        Bands::None => SideBand::none(out),
    };
    send_selected(view, &request, &common, change.as_ref(), &mut band, limits)?;
    if bands != Bands::None {
        write_flush(out)?;
    }
    Ok(())
}

/// `want ID capabilities`, `want ID`, `shallow ID`, `deepen N`, `filter SPEC`, up to a flush.
fn read_wants(
    input: &mut dyn Read,
    request: &mut Request,
    capabilities: &mut Vec<Vec<u8>>,
    limits: &Limits,
) -> Result<(), ServeError> {
    for _ in 0..limits.lines_max {
        let line = match read_packet(input)? {
            Some(Packet::Line(line)) => line,
            Some(Packet::Flush) | None => return Ok(()),
            Some(_) => return Err(ServeError::Client("a packet of protocol version 2 in version 0".into())),
        };
        let line = trim(&line);
        let first = request.wants.is_empty() && line.starts_with(b"want ");
        let line = match line.get(45) {
            Some(b' ') if first => {
                let words = line[46..].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
                capabilities.extend(words.map(<[u8]>::to_vec));
                &line[..45]
            }
            _ => line,
        };
        if line.starts_with(b"have ") || !request.take(line)? {
            return Err(ServeError::Client(format!("unexpected line: '{}'", String::from_utf8_lossy(line))));
        }
    }
    Err(ServeError::Client("the request has too many lines".into()))
}

/// How a round of haves ends.
#[derive(PartialEq, Eq)]
enum End {
    /// With `done`: the pack is due.
    Done,
    /// With a flush, or with the request.
    Flush,
}

/// Reads the haves of a round. `None` without a single line: a client that only wanted to know where its history will
/// end; it asks again with its haves.
fn read_haves(input: &mut dyn Read, limits: &Limits) -> Result<Option<(Vec<ObjectId>, End)>, ServeError> {
    let mut haves = Vec::new();
    for round in 0..limits.lines_max {
        let line = match read_packet(input)? {
            Some(Packet::Line(line)) => line,
            None if round == 0 => return Ok(None),
            Some(Packet::Flush) | None => return Ok(Some((haves, End::Flush))),
            Some(_) => return Err(ServeError::Client("a packet of protocol version 2 in version 0".into())),
        };
        let line = trim(&line);
        if line == b"done" {
            return Ok(Some((haves, End::Done)));
        }
        let id = line.strip_prefix(b"have ").and_then(|id| ObjectId::from_hex(id).ok());
        haves.push(id.ok_or_else(|| {
            ServeError::Client(format!("expected 'have' or 'done', not '{}'", String::from_utf8_lossy(line)))
        })?);
    }
    Err(ServeError::Client("the request has too many lines".into()))
}

/// Answers haves as Git's `get_common_commits` does. `None` when the client is to ask again.
fn negotiate(
    view: &dyn View,
    input: &mut dyn Read,
    out: &mut dyn Write,
    request: &mut Request,
    acks: Acks,
    no_done: bool,
    limits: &Limits,
) -> Result<Option<Vec<ObjectId>>, ServeError> {
    let Some((haves, end)) = read_haves(input, limits)? else { return Ok(None) };
    request.haves = haves;
    let reached: HashSet<ObjectId> = request.common(view)?.into_iter().collect();
    let mut common: Vec<ObjectId> = Vec::new();
    let (mut got_other, mut sent_ready) = (false, false);
    let (mut asked_with, mut ready) = (0, false);
    for id in request.haves.clone() {
        if reached.contains(&id) {
            common.push(id);
            match acks {
                Acks::Detailed => write_text(out, &format!("ACK {id} common"))?,
                Acks::Multi => write_text(out, &format!("ACK {id} continue"))?,
                Acks::Single if common.len() == 1 => write_text(out, &format!("ACK {id}"))?,
                Acks::Single => {}
            }
            continue;
        }
        got_other = true;
        if acks == Acks::Single || common.is_empty() {
            continue;
        }
        // It is enough for so many in common, however much else the client names.
        if asked_with != common.len() {
            asked_with = common.len();
            ready = enough(view, request, &common)?;
        }
        if ready {
            sent_ready = true;
            let word = if acks == Acks::Detailed { "ready" } else { "continue" };
            write_text(out, &format!("ACK {id} {word}"))?;
        }
    }
    if end == End::Done {
        match common.last() {
            Some(last) if acks != Acks::Single => write_text(out, &format!("ACK {last}"))?,
            Some(_) => {}
            None => write_text(out, "NAK")?,
        }
        return Ok(Some(common));
    }
    if acks == Acks::Detailed && !common.is_empty() && !got_other && enough(view, request, &common)? {
        sent_ready = true;
        write_text(out, &format!("ACK {} ready", last(&common)))?;
    }
    if common.is_empty() || acks != Acks::Single {
        write_text(out, "NAK")?;
    }
    if no_done && sent_ready && acks == Acks::Detailed {
        write_text(out, &format!("ACK {}", last(&common)))?;
        return Ok(Some(common));
    }
    Ok(None)
}

fn last(common: &[ObjectId]) -> ObjectId {
    common.last().copied().unwrap_or(ObjectId::ZERO)
}
