//! `fetch` of protocol version 2 (gitprotocol-v2).

use std::collections::HashSet;
use std::io::Write;

use super::{ClosureSender, ServeError, send_pack};
use crate::pkt::{SideBand, write_delimiter, write_flush, write_line, write_text};
use crate::walk::{
    Deepen, Filter, History, Selection, ShallowChange, deepen, reached_commits, select, unreachable,
};
use crate::{Closure, Kind, Limits, ObjectId, View};

/// What a client asks of upload-pack, in either protocol.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub wants: Vec<ObjectId>,
    pub haves: Vec<ObjectId>,
    pub done: bool,
    pub wait_for_done: bool,
    pub include_tag: bool,
    pub ofs_delta: bool,
    pub no_progress: bool,
    pub shallow: HashSet<ObjectId>,
    pub depth: Option<u32>,
    pub relative: bool,
    pub since_s: Option<i64>,
    pub not: Vec<Vec<u8>>,
    pub filter: Filter,
}

impl Request {
    /// Takes one line; false when it is none of those that both protocols share.
    pub fn take(&mut self, line: &[u8]) -> Result<bool, ServeError> {
        let (word, value) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (line, &b""[..]),
        };
        let bad = || ServeError::Client(format!("malformed line '{}'", String::from_utf8_lossy(line)));
        let id = || ObjectId::from_hex(value).map_err(|_| bad());
        let text = || std::str::from_utf8(value).map_err(|_| bad());
        match word {
            b"want" => self.wants.push(id()?),
            b"have" => self.haves.push(id()?),
            b"done" => self.done = true,
            b"shallow" => drop(self.shallow.insert(id()?)),
            b"deepen" => self.depth = Some(text()?.parse().ok().filter(|depth| *depth > 0).ok_or_else(bad)?),
            b"deepen-relative" => self.relative = true,
            b"deepen-since" => self.since_s = Some(text()?.parse().map_err(|_| bad())?),
            b"deepen-not" => self.not.push(value.to_vec()),
            b"filter" => {
                self.filter = Filter::parse(text()?).ok_or_else(|| {
                    ServeError::Client(format!(
                        "filter '{}' is not supported; blob:none, blob:limit=SIZE, tree:DEPTH and combinations are",
                        String::from_utf8_lossy(value)
                    ))
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Every want must be reached by a ref that the client sees; partial clones want trees and blobs too.
    pub fn check_wants(&self, view: &dyn View) -> Result<(), ServeError> {
        let hidden = unreachable(view, &self.wants)?;
        match self.wants.iter().find(|id| hidden.contains(id)) {
            Some(id) => Err(ServeError::Client(format!("upload-pack: not our ref {id}"))),
            None => Ok(()),
        }
    }

    /// Those of the haves that we have too, for this client.
    pub fn common(&self, view: &dyn View) -> Result<Vec<ObjectId>, ServeError> {
        Ok(if self.haves.is_empty() { Vec::new() } else { reached_commits(view, &self.haves)? })
    }

    /// Where the client's history is to end, if it wants that changed.
    pub fn deepened(&self, view: &dyn View) -> Result<Option<ShallowChange>, ServeError> {
        let how = match (self.depth, self.since_s, self.not.is_empty()) {
            (None, None, true) => return Ok(None),
            (Some(commits), None, true) => Deepen::Depth { commits, relative: self.relative },
            (Some(_), ..) => {
                return Err(ServeError::Client(
                    "deepen and deepen-since (or deepen-not) cannot be used together".into(),
                ));
            }
            (None, since_s, _) => Deepen::Until { since_s, not: self.resolve_not(view)? },
        };
        let known: HashSet<ObjectId> = self.known_shallow(view)?;
        Ok(Some(deepen(view, &self.commit_wants(view)?, &known, &how)?))
    }

    fn known_shallow(&self, view: &dyn View) -> Result<HashSet<ObjectId>, ServeError> {
        let mut known = HashSet::new();
        for id in &self.shallow {
            if view.header(id)?.is_some_and(|header| header.kind == Kind::Commit) {
                known.insert(*id);
            }
        }
        Ok(known)
    }

    fn commit_wants(&self, view: &dyn View) -> Result<Vec<ObjectId>, ServeError> {
        let mut commits = Vec::new();
        for id in &self.wants {
            if let Some(commit) = peel_to_commit(view, *id)? {
                commits.push(commit);
            }
        }
        Ok(commits)
    }

    fn resolve_not(&self, view: &dyn View) -> Result<Vec<ObjectId>, ServeError> {
        let mut ids = Vec::new();
        for name in &self.not {
            let candidates =
                [&b""[..], b"refs/", b"refs/tags/", b"refs/heads/"].map(|head| [head, name].concat());
            let refs = view.refs(&candidates)?;
            let found = refs.into_iter().find(|one| candidates.contains(&one.name));
            let found = found.ok_or_else(|| {
                ServeError::Client(format!("deepen-not: there is no ref '{}'", String::from_utf8_lossy(name)))
            })?;
            ids.extend(peel_to_commit(view, found.id)?);
        }
        Ok(ids)
    }

    /// Everything that is wanted, when the client has nothing, wants all of it, and the repository knows what that is.
    fn closure(
        &self,
        view: &dyn View,
        common: &[ObjectId],
        change: Option<&ShallowChange>,
    ) -> Result<Option<Closure>, ServeError> {
        if !common.is_empty()
            || change.is_some()
            || !self.shallow.is_empty()
            || self.filter != Filter::default()
            || !self.ofs_delta
        {
            return Ok(None);
        }
        let tags = if self.include_tag { view.refs(&[b"refs/tags/".to_vec()])? } else { Vec::new() };
        Ok(view.closure(&self.wants, &tags)?)
    }

    /// The objects of the answer.
    pub fn select(
        &self,
        view: &dyn View,
        common: &[ObjectId],
        change: Option<&ShallowChange>,
        limits: &Limits,
    ) -> Result<Selection, ServeError> {
        let mut cut = self.known_shallow(view)?;
        let mut wants = self.wants.clone();
        if let Some(change) = change {
            cut.extend(&change.shallow);
            let full = History::new(view, HashSet::new());
            for id in &change.unshallow {
                // The commit itself is there; what its new history adds is wanted.
                wants.extend(full.commit(*id)?.parents);
            }
        }
        let mut had = common.to_vec();
        had.extend(change.iter().flat_map(|change| &change.unshallow));
        let history = History::new(view, cut);
        let mut selection = select(view, &history, &wants, &had, self.filter, limits)?;
        if self.include_tag {
            for one in view.refs(&[b"refs/tags/".to_vec()])? {
                if one.peeled.is_some_and(|peeled| selection.contains(&peeled)) && !had.contains(&one.id) {
                    for tag in follow_tags(view, one.id)?.0 {
                        selection.insert(tag);
                    }
                }
            }
        }
        Ok(selection)
    }
}

pub(super) fn peel_to_commit(view: &dyn View, id: ObjectId) -> Result<Option<ObjectId>, ServeError> {
    let (_, id, kind) = follow_tags(view, id)?;
    Ok(kind.filter(|kind| *kind == Kind::Commit).map(|_| id))
}

/// The tags from an object on, each the target of the one before; then what is no tag, and its kind.
fn follow_tags(
    view: &dyn View,
    mut id: ObjectId,
) -> Result<(Vec<ObjectId>, ObjectId, Option<Kind>), ServeError> {
    let mut tags = Vec::new();
    loop {
        let kind = view.header(&id)?.map(|header| header.kind);
        if kind != Some(Kind::Tag) {
            return Ok((tags, id, kind));
        }
        let object = view.read(&id, TAG_BYTES_MAX)?;
        let Some(link) = object.and_then(|object| crate::object::tag_link(&object.content).ok()) else {
            return Ok((tags, id, kind));
        };
        tags.push(id);
        id = link.target;
    }
}

/// A tag with its words.
const TAG_BYTES_MAX: u64 = 1 << 20;

/// Answers `fetch`: acknowledgements, or the pack.
pub fn fetch(
    view: &dyn View,
    arguments: &[Vec<u8>],
    out: &mut dyn Write,
    limits: &Limits,
) -> Result<(), ServeError> {
    let mut request = Request::default();
    for line in arguments {
        if request.take(line)? {
            continue;
        }
        match &line[..] {
            b"thin-pack" => {}
            b"ofs-delta" => request.ofs_delta = true,
            b"no-progress" => request.no_progress = true,
            b"include-tag" => request.include_tag = true,
            b"wait-for-done" => request.wait_for_done = true,
            other => {
                return Err(ServeError::Client(format!(
                    "unexpected line: '{}'",
                    String::from_utf8_lossy(other)
                )));
            }
        }
    }
    request.check_wants(view)?;
    let common = request.common(view)?;
    // Without haves there is nothing to talk over: send.
    let send = request.done || (request.haves.is_empty() && !request.wait_for_done);
    if !send && !acknowledge(view, &request, &common, out)? {
        return Ok(write_flush(out)?);
    }
    let change = request.deepened(view)?;
    if let Some(change) = &change {
        write_text(out, "shallow-info")?;
        write_shallow(change, out)?;
        write_delimiter(out)?;
    }
    write_text(out, "packfile")?;
    let mut band = SideBand::large(out);
    send_selected(view, &request, &common, change.as_ref(), &mut band, limits)?;
    Ok(write_flush(out)?)
}

/// Writes the acknowledgements; true when the pack may follow at once.
fn acknowledge(
    view: &dyn View,
    request: &Request,
    common: &[ObjectId],
    out: &mut dyn Write,
) -> Result<bool, ServeError> {
    write_text(out, "acknowledgments")?;
    if common.is_empty() {
        write_text(out, "NAK")?;
    }
    for id in common {
        write_text(out, &format!("ACK {id}"))?;
    }
    let ready = !request.wait_for_done && enough(view, request, common)?;
    if ready {
        write_text(out, "ready")?;
        write_delimiter(out)?;
    }
    Ok(ready)
}

/// Whether what is common suffices to make a good pack: every want descends from something common.
pub(super) fn enough(view: &dyn View, request: &Request, common: &[ObjectId]) -> Result<bool, ServeError> {
    if common.is_empty() {
        return Ok(false);
    }
    let history = History::new(view, HashSet::new());
    let wants = request.commit_wants(view)?;
    Ok(history.all_reach(&wants, &common.iter().copied().collect(), NEGOTIATION_COMMITS_MAX)?)
}

pub(super) fn write_shallow(change: &ShallowChange, out: &mut dyn Write) -> Result<(), ServeError> {
    // Without a line feed, as git sends them: libgit2 takes them for malformed else.
    for id in &change.shallow {
        write_line(out, format!("shallow {id}").as_bytes())?;
    }
    for id in &change.unshallow {
        write_line(out, format!("unshallow {id}").as_bytes())?;
    }
    Ok(())
}

/// Selects, reports progress and sends. Once the response has begun an error can only be told on its band.
pub(super) fn send_selected(
    view: &dyn View,
    request: &Request,
    common: &[ObjectId],
    change: Option<&ShallowChange>,
    band: &mut SideBand<'_>,
    limits: &Limits,
) -> Result<(), ServeError> {
    if let Some(closure) = request.closure(view, common, change)? {
        let sent = send_closure(closure, request, band, limits);
        return ended(sent, band);
    }
    let sent = request.select(view, common, change, limits).and_then(|selection| {
        if !request.no_progress {
            band.progress(&format!("Enumerating objects: {0}, done.\nTotal {0}\n", selection.len()))?;
        }
        send_pack(view, &selection, request.ofs_delta, &mut *band).map(|_| ())
    });
    ended(sent, band)
}

fn send_closure(
    closure: Closure,
    request: &Request,
    band: &mut SideBand<'_>,
    limits: &Limits,
) -> Result<(), ServeError> {
    if !request.no_progress {
        band.progress(&format!("Enumerating objects: {0}, done.\nTotal {0}\n", closure.count))?;
    }
    let mut sender = ClosureSender::new(closure, limits, &mut *band)?;
    while sender.step()? {}
    sender.finish().map(|_| ())
}

fn ended(sent: Result<(), ServeError>, band: &mut SideBand<'_>) -> Result<(), ServeError> {
    match sent {
        Ok(()) => Ok(band.flush()?),
        Err(ServeError::Io(error)) => Err(error.into()),
        Err(error) => Ok(band.fatal(&error.to_string())?),
    }
}

/// Commits looked at before we let the client go on talking.
const NEGOTIATION_COMMITS_MAX: usize = 50_000;
