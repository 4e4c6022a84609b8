//! receive-pack (gitprotocol-pack): refs to move, a pack, and a report. All is checked before anything moves.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};

use super::{Hook, RefChange, ServeError, check_capability, check_ref_name};
use crate::pack::{PackError, receive};
use crate::pkt::{Packet, SideBand, read_packet, trim, write_flush, write_line};
use crate::walk::{Filter, History, Selection, WalkError, select, unreachable};
use crate::{Head, Kind, Limits, ObjectId, Quarantine, RefUpdate, Repository, View};

struct Push {
    updates: Vec<RefUpdate>,
    capabilities: Vec<Vec<u8>>,
    options: Vec<Vec<u8>>,
}

/// Serves one push. `refs_max` bytes and lines are bounded by `limits`; `user` is only passed on to `may_update`.
pub fn receive_pack(
    repository: &dyn Repository,
    user: &str,
    input: &mut dyn Read,
    out: &mut dyn Write,
    limits: &Limits,
    may_update: &mut Hook<'_>,
) -> Result<(), ServeError> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let push = read_commands(&mut input, limits)?;
    if push.updates.is_empty() {
        return Ok(());
    }
    let can = |word: &str| push.capabilities.iter().any(|one| one == word.as_bytes());
    let mut band = if can("side-band-64k") { SideBand::large(out) } else { SideBand::none(out) };
    let outcome = take(repository, user, &push, &mut input, limits, may_update, can("atomic"));
    // Git writes all of its pack before it reads; one that was refused early is read to its end, within reason.
    if !matches!(outcome, Ok((Ok(()), _))) {
        drain(&mut input);
    }
    let (unpacked, verdicts) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let verdict = || Err("the repository failed; nothing was changed".to_owned());
            (Err(error.to_string()), push.updates.iter().map(|_| verdict()).collect())
        }
    };
    if can("report-status") || can("report-status-v2") {
        let mut report = Vec::new();
        let status = unpacked.as_ref().map_or_else(|error| one_line(error), |()| "ok".to_owned());
        write_line(&mut report, format!("unpack {status}\n").as_bytes())?;
        for (update, verdict) in push.updates.iter().zip(&verdicts) {
            let line = match verdict {
                Ok(()) => [b"ok ", &update.name[..], b"\n"].concat(),
                Err(why) => [b"ng ", &update.name[..], b" ", one_line(why).as_bytes(), b"\n"].concat(),
            };
            write_line(&mut report, &line)?;
        }
        write_flush(&mut report)?;
        band.write_all(&report)?;
    }
    band.flush()?;
    if can("side-band-64k") {
        write_flush(out)?;
    }
    Ok(out.flush()?)
}

fn one_line(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(900).collect()
}

fn drain(input: &mut dyn Read) {
    let mut left = DRAIN_BYTES_MAX;
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        match input.read(&mut buffer) {
            Ok(count) if count > 0 => left = left.saturating_sub(count as u64),
            _ => return,
        }
    }
}

/// `old new name\0capabilities`, `old new name`, `shallow ID`, up to a flush; then options up to another.
fn read_commands(input: &mut dyn Read, limits: &Limits) -> Result<Push, ServeError> {
    let mut push = Push { updates: Vec::new(), capabilities: Vec::new(), options: Vec::new() };
    let mut lines = 0;
    loop {
        let line = match read_packet(input)? {
            Some(Packet::Line(line)) => line,
            Some(Packet::Flush) => break,
            None if lines == 0 => return Ok(push),
            _ => return Err(ServeError::Client("the commands of the push are cut short".into())),
        };
        lines += 1;
        if lines > limits.lines_max {
            return Err(ServeError::Client("the push has too many commands".into()));
        }
        let (line, capabilities) = match line.iter().position(|byte| *byte == 0) {
            Some(nul) => (&line[..nul], trim(&line[nul + 1..])),
            None => (trim(&line), &b""[..]),
        };
        let words = capabilities.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.clone().try_for_each(check_capability)?;
        push.capabilities.extend(words.map(<[u8]>::to_vec));
        if line.starts_with(b"shallow ") {
            continue;
        }
        push.updates.push(parse_command(line)?);
    }
    if push.capabilities.iter().any(|one| one == b"push-options") {
        while let Some(Packet::Line(line)) = read_packet(input)? {
            if push.options.len() == 1_000 {
                return Err(ServeError::Client("the push has too many options".into()));
            }
            push.options.push(trim(&line).to_vec());
        }
    }
    Ok(push)
}

fn parse_command(line: &[u8]) -> Result<RefUpdate, ServeError> {
    let parse = || {
        let (old, rest) = line.split_at_checked(40)?;
        let (new, name) = rest.strip_prefix(b" ")?.split_at_checked(40)?;
        let name = name.strip_prefix(b" ")?.to_vec();
        Some(RefUpdate { name, old: ObjectId::from_hex(old).ok()?, new: ObjectId::from_hex(new).ok()? })
    };
    parse()
        .ok_or_else(|| ServeError::Client(format!("malformed command '{}'", String::from_utf8_lossy(line))))
}

type Verdicts = (Result<(), String>, Vec<Result<(), String>>);

/// Receives, checks and publishes. The first result is that of the pack, the others those of the refs.
fn take(
    repository: &dyn Repository,
    user: &str,
    push: &Push,
    input: &mut dyn BufRead,
    limits: &Limits,
    may_update: &mut Hook<'_>,
    atomic: bool,
) -> Result<Verdicts, ServeError> {
    let view = repository.view()?;
    let mut quarantine = repository.quarantine()?;
    let (mut arrived, mut tips) = (Selection::default(), None);
    if push.updates.iter().any(|update| !update.new.is_zero()) {
        let received = receive(input, &mut *quarantine, limits, &[], &mut |_, _| Ok(()));
        let seen = received.and_then(|(checked, _)| {
            only_of_what_is_seen(&*view, &checked.external)?;
            Ok((checked.arrived, checked.tips))
        });
        match seen {
            Ok(all) => (arrived, tips) = all,
            Err(PackError::Repository(error)) => return Err(error.into()),
            Err(error) => {
                let verdicts = push.updates.iter().map(|_| Err("unpacker error".to_owned()));
                return Ok((Err(error.to_string()), verdicts.collect()));
            }
        }
    }
    let mut judge = Judge::new(&*view, &*quarantine, &arrived, tips.as_deref(), &push.updates, limits)?;
    let mut verdicts = Vec::new();
    for update in &push.updates {
        let verdict = match judge.fault(update)? {
            Some(why) => Err(why),
            None => may_update(&judge.change(user, update, &push.options)),
        };
        verdicts.push(verdict);
    }
    let first = judge.first.take();
    let mut names = HashSet::new();
    for (update, verdict) in push.updates.iter().zip(&mut verdicts) {
        if !names.insert(&update.name) {
            *verdict = Err("the push names this ref twice".into());
        }
    }
    if atomic && verdicts.iter().any(Result::is_err) {
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
            *verdict = Err("atomic push failed".into());
        }
    }
    let accepted: Vec<usize> = (0..verdicts.len()).filter(|place| verdicts[*place].is_ok()).collect();
    if accepted.is_empty() {
        return Ok((Ok(()), verdicts));
    }
    let updates: Vec<RefUpdate> = accepted.iter().map(|place| push.updates[*place].clone()).collect();
    if let Some((head, reached)) = first.filter(|(head, _)| updates.iter().any(|update| update.new == *head))
    {
        quarantine.will_reach(head, reached.unwrap_or(arrived));
    }
    let published = quarantine.publish(&updates, atomic)?;
    for (place, outcome) in accepted.into_iter().zip(published) {
        verdicts[place] = outcome;
    }
    Ok((Ok(()), verdicts))
}

/// What a push builds on without bringing it must be reached by a ref that the pusher sees. Otherwise whoever knows the
/// id of somebody else's object could name it in a tree of his own, and clone it.
fn only_of_what_is_seen(view: &dyn View, external: &[ObjectId]) -> Result<(), PackError> {
    let hidden = unreachable(view, external).map_err(|error| match error {
        WalkError::Repository(error) => PackError::Repository(error),
        other => PackError::Limit(other.to_string()),
    })?;
    let Some(first) = hidden.iter().min().copied() else { return Ok(()) };
    let kind = view.header(&first)?.map_or(Kind::Blob, |header| header.kind);
    Err(PackError::Missing { count: hidden.len(), first, kind })
}

/// What speaks against moving a ref, whoever wants it.
struct Judge<'a> {
    quarantine: &'a dyn Quarantine,
    arrived: &'a Selection,
    limits: &'a Limits,
    refs: BTreeMap<Vec<u8>, ObjectId>,
    head: Option<Head>,
    /// New targets that were there before, and that no ref reaches.
    hidden: HashSet<ObjectId>,
    all_walkable: bool,
    /// The first branch of a repository that had no ref, and everything that it reaches; `None` that this is all that
    /// arrived.
    first: Option<(ObjectId, Option<Selection>)>,
}

impl<'a> Judge<'a> {
    fn new(
        view: &'a dyn View,
        quarantine: &'a dyn Quarantine,
        arrived: &'a Selection,
        tips: Option<&[ObjectId]>,
        updates: &[RefUpdate],
        limits: &'a Limits,
    ) -> Result<Judge<'a>, ServeError> {
        let refs = view.refs(&[])?.into_iter().map(|one| (one.name, one.id)).collect();
        let targets: HashSet<ObjectId> =
            updates.iter().map(|update| update.new).filter(|id| !id.is_zero()).collect();
        let targets: Vec<ObjectId> = targets.into_iter().collect();
        let old: Vec<ObjectId> = targets.iter().filter(|id| !arrived.contains(id)).copied().collect();
        let hidden = if old.is_empty() { HashSet::new() } else { unreachable(view, &old)? };
        let head = view.head()?;
        let mut judge =
            Judge { quarantine, arrived, limits, refs, head, hidden, all_walkable: false, first: None };
        let walkable: Vec<ObjectId> =
            targets.into_iter().filter(|target| !judge.hidden.contains(target)).collect();
        judge.first = judge.first_branch(updates, tips)?;
        let is_known = tips.is_some() && walkable.iter().all(|target| arrived.contains(target));
        judge.all_walkable = is_known || judge.walk(&walkable)?.is_ok();
        Ok(judge)
    }

    /// Walks the first branch of a repository without refs; the one that HEAD stands for, if that is among them.
    fn first_branch(
        &self,
        updates: &[RefUpdate],
        tips: Option<&[ObjectId]>,
    ) -> Result<Option<(ObjectId, Option<Selection>)>, ServeError> {
        let is_branch = |update: &&RefUpdate| {
            update.name.starts_with(b"refs/heads/") && self.arrived.contains(&update.new)
        };
        let is_head = |update: &&RefUpdate| self.head.as_ref().is_some_and(|head| head.target == update.name);
        let found = updates.iter().filter(is_branch).find(is_head);
        let found = found.or_else(|| updates.iter().find(is_branch)).filter(|_| self.refs.is_empty());
        let Some(update) = found else { return Ok(None) };
        if tips == Some(&[update.new]) {
            return Ok(Some((update.new, None)));
        }
        let walked = self.select(&[update.new], &[], Filter::default())?;
        Ok(walked.ok().map(|reached| (update.new, Some(reached))))
    }

    fn fault(&self, update: &RefUpdate) -> Result<Option<String>, ServeError> {
        if let Err(why) = check_ref_name(&update.name) {
            return Ok(Some(format!("funny refname: {why}")));
        }
        let is_branch = update.name.starts_with(b"refs/heads/");
        if update.new.is_zero() {
            if self.head.as_ref().is_some_and(|head| head.target == update.name) {
                return Ok(Some("deletion of the current branch prohibited".into()));
            }
        } else {
            let header = self.quarantine.header(&update.new)?;
            match header.filter(|_| !self.hidden.contains(&update.new)) {
                None => return Ok(Some("missing necessary objects".into())),
                Some(header) if is_branch && header.kind != Kind::Commit => {
                    return Ok(Some(format!("a branch names a commit, not a {}", header.kind)));
                }
                Some(_) => {}
            }
        }
        if self.refs.get(&update.name).copied().unwrap_or(ObjectId::ZERO) != update.old {
            return Ok(Some("fetch first: the ref has moved meanwhile".into()));
        }
        if !self.all_walkable
            && !update.new.is_zero()
            && let Err(why) = self.walk(&[update.new])?
        {
            return Ok(Some(why));
        }
        Ok(None)
    }

    /// What is taken must be possible to send: all there, and no deeper than we walk.
    fn walk(&self, targets: &[ObjectId]) -> Result<Result<(), String>, ServeError> {
        let mut had: Vec<ObjectId> = self.refs.values().copied().collect();
        had.extend(self.first.as_ref().map(|(id, _)| *id));
        // Blobs have no depth, and that none is missing is known.
        let trees = Filter { blob_bytes_max: Some(0), ..Filter::default() };
        Ok(self.select(targets, &had, trees)?.map(|_| ()))
    }

    fn select(
        &self,
        targets: &[ObjectId],
        had: &[ObjectId],
        filter: Filter,
    ) -> Result<Result<Selection, String>, ServeError> {
        let history = History::new(self.quarantine, HashSet::new());
        match select(self.quarantine, &history, targets, had, filter, self.limits) {
            Ok(found) => Ok(Ok(found)),
            Err(WalkError::Repository(error)) => Err(error.into()),
            Err(other) => Ok(Err(other.to_string())),
        }
    }

    fn change<'c>(&'c self, user: &'c str, update: &'c RefUpdate, options: &'c [Vec<u8>]) -> RefChange<'c> {
        RefChange {
            user,
            name: &update.name,
            old: update.old,
            new: update.new,
            options,
            objects: self.quarantine,
            arrived: self.arrived,
            limits: self.limits,
        }
    }
}

/// How much of a refused push is read so that its sender hears why.
const DRAIN_BYTES_MAX: u64 = 1 << 30;
