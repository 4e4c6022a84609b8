//! Pushes our commits to a remote.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::remote::{Remote, discover};
use super::{Answer, ClientError, Progress, Transport, expect_type};
use crate::pkt::{DeBand, Packet, read_packet, trim, write_flush, write_line};
use crate::serve::{AGENT, PackSender};
use crate::walk::{Filter, History, Selection, select};
use crate::{Limits, ObjectId, Repository, View};

/// A ref to be moved at the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRef {
    /// Its full name there.
    pub name: Vec<u8>,
    /// What it shall name; zero deletes it.
    pub new: ObjectId,
    /// Also when commits would be lost from it.
    pub force: bool,
    /// Only if it names this at the remote, zero for nothing; then commits may be lost from it.
    pub lease: Option<ObjectId>,
}

/// What became of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name.
    pub name: Vec<u8>,
    /// What it named before; zero when it is new.
    pub old: ObjectId,
    /// What was asked for.
    pub new: ObjectId,
    /// The remote's verdict, with its words when it refused. A ref that was there already is `Ok`.
    pub verdict: Result<(), String>,
}

/// Pushes. With `atomic` the remote moves all refs or none.
pub fn push(
    repository: &dyn Repository,
    transport: &mut dyn Transport,
    wanted: &[PushRef],
    atomic: bool,
    progress: &mut dyn Progress,
    limits: &Limits,
) -> Result<Vec<Pushed>, ClientError> {
    let Remote::V0(capabilities, remote) = discover(transport, "git-receive-pack", limits)? else {
        return Err(ClientError::Protocol("it offers pushing in version 2, which Git does not have".into()));
    };
    let can = |word: &str| capabilities.iter().any(|one| one == word);
    let view = repository.view()?;
    let there: HashMap<&[u8], ObjectId> = remote.refs.iter().map(|one| (&one.name[..], one.id)).collect();
    let mut results: Vec<Pushed> = Vec::new();
    for one in wanted {
        let old = there.get(&one.name[..]).copied().unwrap_or(ObjectId::ZERO);
        let verdict = may_move(&*view, one, old)?;
        results.push(Pushed { name: one.name.clone(), old, new: one.new, verdict });
    }
    if atomic && results.iter().any(|one| one.verdict.is_err()) {
        for one in results.iter_mut().filter(|one| one.verdict.is_ok() && one.old != one.new) {
            one.verdict = Err("not sent, since another one was refused".into());
        }
    }
    let moving: Vec<usize> = (0..results.len())
        .filter(|place| results[*place].old != results[*place].new && results[*place].verdict.is_ok())
        .collect();
    if moving.is_empty() {
        return Ok(results);
    }
    for (word, needed) in [("report-status", true), ("atomic", atomic)] {
        if needed && !can(word) {
            return Err(ClientError::Protocol(format!("it has no {word}")));
        }
    }
    let mut words = vec!["report-status", AGENT];
    words.extend(["side-band-64k", "ofs-delta"].iter().filter(|word| can(word)));
    words.extend(atomic.then_some("atomic"));
    let mut head = Vec::new();
    for (place, index) in moving.iter().enumerate() {
        let one = &results[*index];
        let mut line = [format!("{} {} ", one.old, one.new).as_bytes(), &one.name].concat();
        if place == 0 {
            line.push(0);
            line.extend_from_slice(format!(" {}", words.join(" ")).as_bytes());
        }
        write_line(&mut head, &line)?;
    }
    write_flush(&mut head)?;
    let wants: Vec<ObjectId> = moving.iter().map(|at| results[*at].new).filter(|id| !id.is_zero()).collect();
    let mut had = Vec::new();
    for one in &remote.refs {
        if view.header(&one.id)?.is_some() {
            had.push(one.id);
        }
    }
    let history = History::new(&*view, HashSet::new());
    let selection = match wants.is_empty() {
        true => None,
        false => Some(select(&*view, &history, &wants, &had, Filter::default(), limits)?),
    };
    let headers = [
        ("Content-Type", "application/x-git-receive-pack-request"),
        ("Accept", "application/x-git-receive-pack-result"),
    ];
    let answer = send(transport, &headers, view, head, selection, can("ofs-delta"), progress);
    let mut answer = expect_type(answer?, "application/x-git-receive-pack-result")?;
    let mut report = Vec::new();
    if can("side-band-64k") {
        let mut says = |text: &[u8]| progress.remote_says(&String::from_utf8_lossy(text));
        DeBand::new(&mut *answer, &mut says).take(REPORT_BYTES_MAX).read_to_end(&mut report)?;
    } else {
        answer.take(REPORT_BYTES_MAX).read_to_end(&mut report)?;
    }
    read_report(&report, &mut results, &moving)?;
    Ok(results)
}

/// Whether a ref may be asked to move, with words when not.
fn may_move(view: &dyn View, wanted: &PushRef, old: ObjectId) -> Result<Result<(), String>, ClientError> {
    if let Some(expected) = wanted.lease {
        return Ok(match expected == old {
            true => Ok(()),
            false => Err("it moved since it was fetched; fetch, look at it, and push again".into()),
        });
    }
    let moves = !old.is_zero() && !wanted.new.is_zero() && old != wanted.new;
    if !moves || wanted.force {
        return Ok(Ok(()));
    }
    if wanted.name.starts_with(b"refs/tags/") {
        return Ok(Err("the remote has another tag of that name; force it to replace that".into()));
    }
    if wanted.name.starts_with(b"refs/heads/") && !descends(view, wanted.new, old)? {
        let short = old.short();
        return Ok(Err(format!(
            "the remote has commits ({short}) that are not in it; fetch and merge first"
        )));
    }
    Ok(Ok(()))
}

fn descends(view: &dyn View, new: ObjectId, old: ObjectId) -> Result<bool, ClientError> {
    if view.header(&old)?.is_none() {
        return Ok(false);
    }
    let history = History::new(view, HashSet::new());
    Ok(history.all_reach(&[new], &HashSet::from([old]), usize::MAX)?)
}

/// `unpack ok`, `ok REF`, `ng REF why`.
fn read_report(mut report: &[u8], results: &mut [Pushed], moving: &[usize]) -> Result<(), ClientError> {
    for index in moving {
        results[*index].verdict = Err("the remote does not say what became of it".into());
    }
    while let Some(packet) = read_packet(&mut report)? {
        let Packet::Line(line) = packet else { break };
        let line = trim(&line);
        if let Some(status) = line.strip_prefix(b"unpack ")
            && status != b"ok"
        {
            return Err(ClientError::Remote(String::from_utf8_lossy(status).into_owned()));
        }
        let (name, verdict) = match (line.strip_prefix(b"ok "), line.strip_prefix(b"ng ")) {
            (Some(name), _) => (name, Ok(())),
            (_, Some(rest)) => {
                let space = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                let why = String::from_utf8_lossy(rest.get(space + 1..).unwrap_or(b"")).into_owned();
                (&rest[..space], Err(why))
            }
            _ => continue,
        };
        for one in results.iter_mut().filter(|one| one.name == name) {
            one.verdict = verdict.clone();
        }
    }
    Ok(())
}

/// Posts commands and pack. The pack is made by a thread of its own while it is sent: a few pieces wait at a time, however
/// large an object is.
fn send(
    transport: &mut dyn Transport,
    headers: &[(&str, &str)],
    view: Box<dyn View + '_>,
    head: Vec<u8>,
    selection: Option<Selection>,
    ofs_delta: bool,
    progress: &mut dyn Progress,
) -> Result<Answer, ClientError> {
    let total = selection.as_ref().map_or(0, |selection| selection.len() as u64);
    let done = AtomicU64::new(0);
    let (pieces, sent) = sync_channel::<Vec<u8>>(PIECES_WAITING);
    std::thread::scope(|scope| {
        let counted = &done;
        let making = scope
            .spawn(move || make(&*view, selection.as_ref(), ofs_delta, Pieces::new(pieces, head), counted));
        let mut body =
            Body { sent, piece: Vec::new(), at: 0, progress, done: &done, total, cancelled: false };
        let answer = transport.post("/git-receive-pack", headers, &mut body);
        let cancelled = body.cancelled;
        // Nobody takes more pieces: the maker ends.
        drop(body);
        let made =
            making.join().unwrap_or_else(|_| Err(io::Error::other("the pack could not be made").into()));
        match made {
            _ if cancelled => Err(ClientError::Cancelled),
            // A host may answer before it has all; its answer says why.
            Ok(()) | Err(ClientError::Io(_)) => answer,
            Err(error) => Err(error),
        }
    })
}

fn make(
    view: &dyn View,
    selection: Option<&Selection>,
    ofs_delta: bool,
    out: Pieces,
    done: &AtomicU64,
) -> Result<(), ClientError> {
    let Some(selection) = selection else { return Ok(out.finish()?) };
    let mut sender = PackSender::new(view, selection, ofs_delta, out)?;
    while sender.step()? {
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(sender.finish()?.finish()?)
}

/// Collects what is written and hands it on piece by piece.
struct Pieces {
    to: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn new(to: SyncSender<Vec<u8>>, piece: Vec<u8>) -> Pieces {
        Pieces { to, piece }
    }

    fn finish(mut self) -> io::Result<()> {
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.to.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The request's body, as it is made.
struct Body<'a> {
    sent: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    progress: &'a mut dyn Progress,
    done: &'a AtomicU64,
    total: u64,
    cancelled: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            self.progress.objects(self.done.load(Ordering::Relaxed), self.total);
            if self.progress.is_cancelled() {
                self.cancelled = true;
                return Err(io::Error::other("cancelled"));
            }
            match self.sent.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                // The maker is done, or failed, which is asked later; an error here ends the request either way.
                Err(_) if self.done.load(Ordering::Relaxed) == self.total => return Ok(0),
                Err(_) => return Err(io::Error::other("the pack could not be made")),
            }
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

const PIECE_BYTES: usize = 64 << 10;
const PIECES_WAITING: usize = 4;
const REPORT_BYTES_MAX: u64 = 16 << 20;
