//! receive-pack (gitprotocol-pack): refs to move, a pack, and a report. All is checked before anything moves.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};

use super::{ServeError, check_ref_name};
use crate::object::{EntryKind, commit_links, tree_entries};
use crate::pack::{PackError, receive};
use crate::pkt::{Packet, SideBand, read_packet, trim, write_flush, write_line};
use crate::walk::{Filter, History, WalkError, select};
use crate::{Kind, Limits, ObjectId, Quarantine, RefUpdate, Repository, View};

/// One ref that a push would move, as a hook sees it.
pub struct RefChange<'a> {
    /// Who pushes, as the caller knows them.
    pub user: &'a str,
    /// The ref's full name.
    pub name: &'a [u8],
    /// What it names now; zero for a new ref.
    pub old: ObjectId,
    /// What it shall name; zero to delete it.
    pub new: ObjectId,
    /// False when commits would be lost from the branch.
    pub fast_forward: bool,
    /// What differs between old and new, and what any new commit changed on the way.
    pub paths: ChangedPaths,
    /// What the pusher said with `-o`.
    pub options: &'a [Vec<u8>],
}

/// Paths that a push changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedPaths {
    /// All of them, sorted.
    All(Vec<Vec<u8>>),
    /// Too many to be listed, or not to be found out; a hook that cares should refuse.
    Many,
}

/// Decides for one ref; `Err` holds a few words for the pusher.
pub type Hook<'a> = dyn FnMut(&RefChange<'_>) -> Result<(), String> + 'a;

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
    let mut commits = Vec::new();
    if push.updates.iter().any(|update| !update.new.is_zero()) {
        match receive(input, &mut *quarantine, limits, &[], &mut |_, _| Ok(())) {
            Ok((checked, _)) => commits = checked.commits,
            Err(error) => {
                let error = match error {
                    PackError::Repository(error) => return Err(error.into()),
                    error => error.to_string(),
                };
                return Ok((
                    Err(error),
                    push.updates.iter().map(|_| Err("unpacker error".to_owned())).collect(),
                ));
            }
        }
    }
    let fresh: HashSet<ObjectId> = commits.into_iter().collect();
    let mut verdicts = Vec::new();
    for update in &push.updates {
        verdicts.push(judge(&*view, &*quarantine, user, update, &push.options, &fresh, limits, may_update)?);
    }
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
    let published = quarantine.publish(&updates, atomic)?;
    for (place, outcome) in accepted.into_iter().zip(published) {
        verdicts[place] = outcome;
    }
    Ok((Ok(()), verdicts))
}

#[allow(clippy::too_many_arguments)]
fn judge(
    view: &dyn View,
    quarantine: &dyn Quarantine,
    user: &str,
    update: &RefUpdate,
    options: &[Vec<u8>],
    fresh: &HashSet<ObjectId>,
    limits: &Limits,
    may_update: &mut Hook<'_>,
) -> Result<Result<(), String>, ServeError> {
    if let Err(why) = check_ref_name(&update.name) {
        return Ok(Err(format!("funny refname: {why}")));
    }
    let is_branch = update.name.starts_with(b"refs/heads/");
    if update.new.is_zero() {
        if view.head()?.is_some_and(|head| head.target == update.name) {
            return Ok(Err("deletion of the current branch prohibited".into()));
        }
    } else {
        match quarantine.header(&update.new)? {
            None => return Ok(Err("missing necessary objects".into())),
            Some(header) if is_branch && header.kind != Kind::Commit => {
                return Ok(Err(format!("a branch names a commit, not a {}", header.kind)));
            }
            Some(_) => {}
        }
    }
    let current =
        view.refs(std::slice::from_ref(&update.name))?.into_iter().find(|one| one.name == update.name);
    let current = current.map_or(ObjectId::ZERO, |one| one.id);
    if current != update.old {
        return Ok(Err("fetch first: the ref has moved meanwhile".into()));
    }
    if let Err(error) = walkable(view, quarantine, update.new, limits) {
        return match error {
            WalkError::Repository(error) => Err(error.into()),
            other => Ok(Err(other.to_string())),
        };
    }
    let mut paths = Paths { objects: quarantine, found: Some(HashSet::new()), limits };
    let fast_forward = paths.collect(update, fresh);
    let change = RefChange {
        user,
        name: &update.name,
        old: update.old,
        new: update.new,
        fast_forward,
        paths: paths.finish(),
        options,
    };
    Ok(may_update(&change))
}

/// What is taken must be possible to send: all there, and no deeper than we walk.
fn walkable(
    view: &dyn View,
    quarantine: &dyn Quarantine,
    new: ObjectId,
    limits: &Limits,
) -> Result<(), WalkError> {
    if new.is_zero() {
        return Ok(());
    }
    let had: Vec<ObjectId> = view.refs(&[])?.into_iter().map(|one| one.id).collect();
    let history = History::new(quarantine, HashSet::new());
    select(quarantine, &history, &[new], &had, Filter::default(), limits).map(|_| ())
}

/// Finds the paths that a push changes. Anything that cannot be found out makes it "many".
struct Paths<'a> {
    objects: &'a dyn Quarantine,
    found: Option<HashSet<Vec<u8>>>,
    limits: &'a Limits,
}

impl Paths<'_> {
    /// Returns whether the old commit is an ancestor of the new one.
    fn collect(&mut self, update: &RefUpdate, fresh: &HashSet<ObjectId>) -> bool {
        let (old, new) = (self.tree_of(update.old), self.tree_of(update.new));
        if !update.old.is_zero() {
            self.diff(old, new, &mut Vec::new(), 0);
        }
        let mut fast_forward = update.old.is_zero() || update.old == update.new;
        let mut seen = HashSet::new();
        let mut todo = vec![update.new];
        while let Some(id) = todo.pop() {
            fast_forward |= id == update.old;
            if !fresh.contains(&id) || !seen.insert(id) {
                continue;
            }
            let Some(links) = self.read(id, Kind::Commit).and_then(|content| commit_links(&content).ok())
            else {
                self.found = None;
                return false;
            };
            // A merge's own changes are those against its first parent.
            let parent = links.parents.first().and_then(|parent| self.tree_of(*parent));
            self.diff(parent, Some(links.tree), &mut Vec::new(), 0);
            todo.extend(links.parents);
        }
        fast_forward || self.reaches(update.new, update.old)
    }

    /// Among older commits too: a push may move a branch to commits that are there already.
    fn reaches(&self, from: ObjectId, wanted: ObjectId) -> bool {
        if from.is_zero() {
            return false;
        }
        let history = History::new(self.objects, HashSet::new());
        history.all_reach(&[from], &HashSet::from([wanted]), 100_000).unwrap_or(false)
    }

    fn tree_of(&self, id: ObjectId) -> Option<ObjectId> {
        let content = self.read(id, Kind::Commit)?;
        commit_links(&content).ok().map(|links| links.tree)
    }

    fn read(&self, id: ObjectId, kind: Kind) -> Option<Vec<u8>> {
        let object = self.objects.read(&id, 32 << 20).ok()??;
        (object.kind == kind).then_some(object.content)
    }

    fn diff(&mut self, old: Option<ObjectId>, new: Option<ObjectId>, path: &mut Vec<u8>, level: usize) {
        if old == new || self.found.is_none() {
            return;
        }
        if level > self.limits.tree_depth_max {
            self.found = None;
            return;
        }
        let read = |id: Option<ObjectId>| id.map(|id| self.read(id, Kind::Tree)).unwrap_or(Some(Vec::new()));
        let (Some(old), Some(new)) = (read(old), read(new)) else {
            self.found = None;
            return;
        };
        let mut names: std::collections::BTreeMap<&[u8], [Option<(EntryKind, ObjectId, &[u8])>; 2]> =
            Default::default();
        for (side, content) in [&old, &new].into_iter().enumerate() {
            for entry in tree_entries(content).flatten() {
                names.entry(entry.name).or_default()[side] = Some((entry.kind(), entry.id, entry.mode));
            }
        }
        for (name, [old, new]) in names.into_iter().filter(|(_, [old, new])| old != new) {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let tree = |one: Option<(EntryKind, ObjectId, &[u8])>| {
                one.filter(|(kind, ..)| *kind == EntryKind::Tree).map(|(_, id, _)| id)
            };
            let file = |one: Option<(EntryKind, ObjectId, &[u8])>| {
                one.is_some_and(|(kind, ..)| kind != EntryKind::Tree)
            };
            if file(old) || file(new) {
                self.note(path);
            }
            if tree(old).is_some() || tree(new).is_some() {
                self.diff(tree(old), tree(new), path, level + 1);
            }
            path.truncate(length);
        }
    }

    fn note(&mut self, path: &[u8]) {
        if let Some(found) = &mut self.found {
            found.insert(path.to_vec());
            if found.len() > self.limits.changed_paths_max {
                self.found = None;
            }
        }
    }

    fn finish(self) -> ChangedPaths {
        match self.found {
            Some(found) => {
                let mut paths: Vec<Vec<u8>> = found.into_iter().collect();
                paths.sort_unstable();
                ChangedPaths::All(paths)
            }
            None => ChangedPaths::Many,
        }
    }
}

/// How much of a refused push is read so that its sender hears why.
const DRAIN_BYTES_MAX: u64 = 1 << 30;
