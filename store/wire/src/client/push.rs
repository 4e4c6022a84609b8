//! Pushes our commits to a remote.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::rc::Rc;

use super::remote::{Remote, discover};
use super::{ClientError, Progress, Transport, expect_type};
use crate::pkt::{DeBand, Packet, read_packet, trim, write_flush, write_line};
use crate::serve::{AGENT, PackSender};
use crate::walk::{Filter, History, Selection, select};
use crate::{Limits, ObjectId, Repository};

/// A ref to be moved at the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRef {
    /// Its full name there.
    pub name: Vec<u8>,
    /// What it shall name; zero deletes it.
    pub new: ObjectId,
    /// Also when commits would be lost from it.
    pub force: bool,
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
    let mut results: Vec<Pushed> = Vec::new();
    for one in wanted {
        let old =
            remote.refs.iter().find(|there| there.name == one.name).map_or(ObjectId::ZERO, |there| there.id);
        results.push(Pushed { name: one.name.clone(), old, new: one.new, verdict: Ok(()) });
        let moves = !old.is_zero() && !one.new.is_zero() && old != one.new;
        if moves && !one.force && one.name.starts_with(b"refs/heads/") && !descends(&*view, one.new, old)? {
            return Err(ClientError::NotFastForward {
                name: String::from_utf8_lossy(&one.name).into(),
                remote: old,
            });
        }
    }
    let moving: Vec<usize> =
        (0..results.len()).filter(|place| results[*place].old != results[*place].new).collect();
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
    let mut body = Body::new(&*view, head, selection.as_ref(), can("ofs-delta"), progress)?;
    let headers = [
        ("Content-Type", "application/x-git-receive-pack-request"),
        ("Accept", "application/x-git-receive-pack-result"),
    ];
    let answer = transport.post("/git-receive-pack", &headers, &mut body);
    if let Some(error) = body.failed.take() {
        return Err(error);
    }
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

fn descends(view: &dyn crate::View, new: ObjectId, old: ObjectId) -> Result<bool, ClientError> {
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

/// The request's body: commands, then the pack, made while it is read.
struct Body<'a> {
    buffer: Buffer,
    at: usize,
    sender: Option<PackSender<'a, Buffer>>,
    progress: &'a mut dyn Progress,
    done: u64,
    total: u64,
    failed: Option<ClientError>,
}

/// What was written and not yet read.
#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Body<'a> {
    fn new(
        view: &'a dyn crate::View,
        head: Vec<u8>,
        selection: Option<&'a Selection>,
        ofs_delta: bool,
        progress: &'a mut dyn Progress,
    ) -> Result<Body<'a>, ClientError> {
        let buffer = Buffer(Rc::new(RefCell::new(head)));
        let total = selection.map_or(0, |selection| selection.len() as u64);
        let sender = selection
            .map(|selection| PackSender::new(view, selection, ofs_delta, buffer.clone()))
            .transpose()?;
        Ok(Body { buffer, at: 0, sender, progress, done: 0, total, failed: None })
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        self.buffer.0.borrow_mut().clear();
        self.at = 0;
        while self.buffer.0.borrow().len() < FILL_BYTES {
            let Some(sender) = &mut self.sender else { break };
            if sender.step()? {
                self.done += 1;
            } else if let Some(sender) = self.sender.take() {
                sender.finish()?;
            }
        }
        self.progress.objects(self.done, self.total);
        if self.progress.is_cancelled() { Err(ClientError::Cancelled) } else { Ok(()) }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.0.borrow().len()
            && let Err(error) = self.fill()
        {
            self.failed = Some(error);
            return Err(io::Error::other("the pack could not be made"));
        }
        let buffer = self.buffer.0.borrow();
        let count = out.len().min(buffer.len() - self.at);
        out[..count].copy_from_slice(&buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

const FILL_BYTES: usize = 64 << 10;
const REPORT_BYTES_MAX: u64 = 16 << 20;
