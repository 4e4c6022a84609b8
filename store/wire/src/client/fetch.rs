//! Fetches what is missing, and moves our refs to it.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read};

use super::remote::{ACCEPT_UPLOAD, Remote, RemoteRefs, UPLOAD, discover, ls_refs, post_v2};
use super::{ClientError, Progress, Transport, expect_type};
use crate::pack::{PackError, receive};
use crate::pkt::{DeBand, Packet, read_packet, trim, write_delimiter, write_flush, write_text};
use crate::serve::{AGENT, check_ref_name};
use crate::walk::History;
use crate::{Kind, Limits, ObjectId, Quarantine, RefUpdate, Repository, View};

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Our refs that moved, with what they named before (zero when new).
    pub updates: Vec<RefUpdate>,
    /// Objects received.
    pub objects: u32,
    /// The remote's refs as they were.
    pub remote: RemoteRefs,
}

/// Fetches. `map` says for each ref of the remote which of our refs shall follow it, or that none shall.
pub fn fetch(
    repository: &dyn Repository,
    transport: &mut dyn Transport,
    map: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    progress: &mut dyn Progress,
    limits: &Limits,
) -> Result<Fetched, ClientError> {
    let (is_v2, capabilities, remote) = match discover(transport, "git-upload-pack", limits)? {
        Remote::V2(capabilities) => (true, capabilities, ls_refs(transport, &["HEAD", "refs/"], limits)?),
        Remote::V0(capabilities, refs) => (false, capabilities, refs),
    };
    let view = repository.view()?;
    let ours: HashMap<Vec<u8>, ObjectId> =
        view.refs(&[])?.into_iter().map(|one| (one.name, one.id)).collect();
    let mut updates = Vec::new();
    let (mut wants, mut wanted) = (Vec::new(), HashSet::new());
    for one in &remote.refs {
        let Some(name) = map(&one.name) else { continue };
        if let Err(why) = check_ref_name(&name) {
            return Err(ClientError::Protocol(format!("{}: {why}", String::from_utf8_lossy(&name))));
        }
        let old = ours.get(&name).copied().unwrap_or(ObjectId::ZERO);
        if old != one.id {
            updates.push(RefUpdate { name, old, new: one.id });
        }
        if wanted.insert(one.id) && view.header(&one.id)?.is_none() {
            wants.push(one.id);
        }
    }
    let mut quarantine = repository.quarantine()?;
    let mut objects = 0;
    if !wants.is_empty() {
        let mut round = Round { view: &*view, wants: &wants, limits, capabilities: &capabilities };
        objects = if is_v2 {
            round.v2(transport, &mut *quarantine, progress)?
        } else {
            round.v0(transport, &mut *quarantine, progress)?
        };
    }
    if !updates.is_empty() {
        let verdicts = quarantine.publish(&updates, true)?;
        if let Some((update, Err(why))) = updates.iter().zip(verdicts).find(|(_, verdict)| verdict.is_err()) {
            let name = String::from_utf8_lossy(&update.name).into_owned();
            return Err(crate::RepositoryError::Refused(format!("{name}: {why}")).into());
        }
    }
    Ok(Fetched { updates, objects, remote })
}

struct Round<'a> {
    view: &'a dyn View,
    wants: &'a [ObjectId],
    limits: &'a Limits,
    capabilities: &'a [String],
}

impl Round<'_> {
    /// Talks until the remote knows enough, then receives the pack.
    fn v2(
        &mut self,
        transport: &mut dyn Transport,
        quarantine: &mut dyn Quarantine,
        progress: &mut dyn Progress,
    ) -> Result<u32, ClientError> {
        let mut haves = Haves::new(self.view)?;
        let mut common: Vec<ObjectId> = Vec::new();
        let mut size = FIRST_HAVES;
        loop {
            let batch = haves.next(size)?;
            let done = batch.is_empty() || haves.given > HAVES_MAX;
            let mut request = Vec::new();
            write_text(&mut request, "command=fetch")?;
            write_text(&mut request, AGENT)?;
            write_text(&mut request, "object-format=sha1")?;
            write_delimiter(&mut request)?;
            for word in ["thin-pack", "ofs-delta"] {
                write_text(&mut request, word)?;
            }
            for id in self.wants {
                write_text(&mut request, &format!("want {id}"))?;
            }
            for id in common.iter().chain(&batch) {
                write_text(&mut request, &format!("have {id}"))?;
            }
            if done {
                write_text(&mut request, "done")?;
            }
            write_flush(&mut request)?;
            let mut body = post_v2(transport, &mut &request[..])?;
            if self.read_sections(&mut *body, &mut common)? {
                return self.pack(None, &mut *body, quarantine, progress);
            }
            if done {
                return Err(ClientError::Protocol("it sends no pack after 'done'".into()));
            }
            size = (size * 2).min(MOST_HAVES);
        }
    }

    /// Reads up to the pack; false when the remote wants to hear more.
    fn read_sections(&self, body: &mut dyn Read, common: &mut Vec<ObjectId>) -> Result<bool, ClientError> {
        let mut lines = 0;
        loop {
            let line = match read_packet(body)? {
                Some(Packet::Line(line)) => line,
                Some(Packet::Delimiter) => continue,
                Some(_) => return Ok(false),
                None => return Err(ClientError::Protocol("its answer is cut short".into())),
            };
            lines += 1;
            if lines > self.limits.lines_max {
                return Err(ClientError::Protocol("its answer has too many lines".into()));
            }
            let line = trim(&line);
            match line {
                b"packfile" => return Ok(true),
                b"acknowledgments" | b"NAK" | b"ready" | b"shallow-info" | b"wanted-refs" => {}
                _ => {
                    if let Some(why) = line.strip_prefix(b"ERR ") {
                        return Err(ClientError::Remote(String::from_utf8_lossy(why).trim().to_owned()));
                    }
                    if let Some(id) = line.strip_prefix(b"ACK ").and_then(|id| ObjectId::from_hex(id).ok())
                        && !common.contains(&id)
                    {
                        common.push(id);
                    }
                }
            }
        }
    }

    /// The first protocol: one request with everything that may be common.
    fn v0(
        &mut self,
        transport: &mut dyn Transport,
        quarantine: &mut dyn Quarantine,
        progress: &mut dyn Progress,
    ) -> Result<u32, ClientError> {
        let can = |word: &str| self.capabilities.iter().any(|one| one == word);
        if !can("side-band-64k") {
            return Err(ClientError::Protocol("it has no side-band-64k; Git has had it since 2006".into()));
        }
        let wanted = ["side-band-64k", "thin-pack", "ofs-delta"].iter().filter(|word| can(word));
        let words: Vec<&str> = wanted.copied().chain([AGENT]).collect();
        let mut request = Vec::new();
        for (place, id) in self.wants.iter().enumerate() {
            let words = if place == 0 { format!(" {}", words.join(" ")) } else { String::new() };
            write_text(&mut request, &format!("want {id}{words}"))?;
        }
        write_flush(&mut request)?;
        let mut haves = Haves::new(self.view)?;
        for id in haves.next(HAVES_MAX)? {
            write_text(&mut request, &format!("have {id}"))?;
        }
        write_text(&mut request, "done")?;
        let answer = transport.post("/git-upload-pack", &[UPLOAD, ACCEPT_UPLOAD], &mut &request[..])?;
        let mut body = expect_type(answer, "application/x-git-upload-pack-result")?;
        loop {
            match read_packet(&mut body)? {
                Some(Packet::Line(line)) if line.starts_with(b"ACK ") || line.starts_with(b"NAK") => {}
                Some(Packet::Line(line)) if line.starts_with(b"ERR ") => {
                    return Err(ClientError::Remote(String::from_utf8_lossy(trim(&line[4..])).into_owned()));
                }
                Some(Packet::Line(line)) => return self.pack(Some(line), &mut *body, quarantine, progress),
                _ => return Err(ClientError::Protocol("it sends no pack".into())),
            }
        }
    }

    fn pack(
        &self,
        first: Option<Vec<u8>>,
        body: &mut dyn Read,
        quarantine: &mut dyn Quarantine,
        progress: &mut dyn Progress,
    ) -> Result<u32, ClientError> {
        let progress = std::cell::RefCell::new(progress);
        let mut says = |text: &[u8]| progress.borrow_mut().remote_says(&String::from_utf8_lossy(text));
        let band = match first {
            Some(line) => DeBand::after(line, body, &mut says),
            None => DeBand::new(body, &mut says),
        };
        let stream = BufReader::with_capacity(64 << 10, band);
        let mut counted = |done: u32, total: u32| {
            progress.borrow_mut().objects(done.into(), total.into());
            match progress.borrow_mut().is_cancelled() {
                true => Err(PackError::Limit(CANCELLED.into())),
                false => Ok(()),
            }
        };
        match receive(stream, quarantine, self.limits, &[], &mut counted) {
            Ok((checked, mut rest)) => {
                std::io::copy(&mut rest, &mut std::io::sink())?;
                Ok(checked.objects)
            }
            Err(PackError::Limit(why)) if why == CANCELLED => Err(ClientError::Cancelled),
            Err(PackError::Io(error)) => Err(ClientError::Io(error)),
            Err(error) => Err(error.into()),
        }
    }
}

const CANCELLED: &str = "cancelled";

/// Our commits, those that refs name first, then their ancestors, youngest first.
struct Haves<'a> {
    history: History<'a>,
    queue: std::collections::BinaryHeap<(i64, ObjectId)>,
    seen: HashSet<ObjectId>,
    given: usize,
}

impl<'a> Haves<'a> {
    fn new(view: &'a dyn View) -> Result<Haves<'a>, ClientError> {
        let history = History::new(view, HashSet::new());
        let mut haves = Haves { history, queue: Default::default(), seen: HashSet::new(), given: 0 };
        for one in view.refs(&[])? {
            let id = one.peeled.unwrap_or(one.id);
            if view.header(&id)?.is_some_and(|header| header.kind == Kind::Commit) {
                haves.push(id)?;
            }
        }
        Ok(haves)
    }

    fn push(&mut self, id: ObjectId) -> Result<(), ClientError> {
        if self.seen.insert(id) {
            let commit = self.history.commit(id)?;
            self.queue.push((commit.committed_s, id));
        }
        Ok(())
    }

    fn next(&mut self, count: usize) -> Result<Vec<ObjectId>, ClientError> {
        let mut batch = Vec::new();
        while batch.len() < count {
            let Some((_, id)) = self.queue.pop() else { break };
            for parent in self.history.commit(id)?.parents {
                self.push(parent)?;
            }
            batch.push(id);
        }
        self.given += batch.len();
        Ok(batch)
    }
}

const FIRST_HAVES: usize = 32;
const MOST_HAVES: usize = 1_024;
/// Enough to find something common in any history that has something in common.
const HAVES_MAX: usize = 16_384;
