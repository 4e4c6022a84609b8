//! Two servers of one account meet, or a change is undone: branches merged, nothing lost and no UID broken.
//!
//! A client believes that it has seen everything below its server's UIDNEXT. So a message that is new to one of the
//! sides, with a UID below that side's UIDNEXT, cannot keep it: clients would never look there, or would take another
//! message for it. It gets a new UID above both. All others keep theirs. What changed for a side gets a mod-sequence
//! above that side's, so that CONDSTORE clients see it. The merge is made beside the branch, which then moves at once:
//! readers see the state before or the state after.

use super::account::Account;
use super::error::MailboxError;
use super::layout::{self, ABOUT, About, FileName};
use super::{load, name};
use chassis::aside::aside;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use store::merge::{Context, LineSet, Merge, Outcome, Removal, Rule};
use store::{Author, CommitId, Options, Snapshot, Store, Transaction};

/// Tries to move the branch before somebody else does.
const ATTEMPTS: usize = 20;

/// Teaches a store how the files of mailboxes merge; the appliance's store is opened with these.
pub fn merge_rules(options: Options) -> Options {
    options
        .merge(Rule::suffix("/flags"), FlagsFiles)
        .merge(Rule::suffix("/mailbox"), Abouts)
        .merge(Rule::suffix(load::KEYWORDS), Lists)
        .merge(Rule::suffix(load::SUBSCRIPTIONS), LineSet)
        .merge(Rule::suffix(load::UID_VALIDITY), LargestNumber)
}

/// A flags file as text: mod-sequence and words of each UID.
type Lines = BTreeMap<u32, (u64, BTreeSet<String>)>;

fn read_lines(text: &[u8]) -> Lines {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (uid, modseq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((uid, (modseq, words.map(str::to_owned).collect())))
    };
    text.lines().filter_map(line).collect()
}

fn write_lines(lines: &Lines) -> String {
    let mut out = String::new();
    for (uid, (modseq, words)) in lines {
        let _ = write!(out, "{uid:08} {modseq}");
        for word in words {
            let _ = write!(out, " {word}");
        }
        out.push('\n');
    }
    out
}

struct FlagsFiles;

impl Merge for FlagsFiles {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let (base, ours, theirs) =
            (read_lines(base.unwrap_or_default()), read_lines(ours), read_lines(theirs));
        let mut merged = Lines::new();
        for uid in ours.keys().chain(theirs.keys()) {
            let of = |side: &Lines| side.get(uid).cloned().unwrap_or_default();
            let (b, o, t) = (of(&base), of(&ours), of(&theirs));
            let kept =
                |w: &&String| if b.1.contains(*w) { o.1.contains(*w) && t.1.contains(*w) } else { true };
            merged.insert(*uid, (o.0.max(t.0), o.1.union(&t.1).filter(kept).cloned().collect()));
        }
        Outcome::Merged(write_lines(&merged).into_bytes())
    }

    fn on_removal(&self) -> Removal {
        Removal::Keep
    }

    fn name(&self) -> &str {
        "flags of messages"
    }
}

struct Abouts;

impl Merge for Abouts {
    fn merge(&self, _: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        match (About::parse(ours), About::parse(theirs)) {
            (Some(o), Some(t)) => {
                // Made on both sides: clients of the larger UIDVALIDITY stay, the others start anew (RFC 3501 2.3.1.1).
                let (first, second) =
                    if (o.uid_validity, &o.id) >= (t.uid_validity, &t.id) { (o, t) } else { (t, o) };
                let (uid_next, modseq) =
                    (first.uid_next.max(second.uid_next), first.modseq.max(second.modseq));
                // Counts are made anew when the merge is settled.
                Outcome::Merged(About { uid_next, modseq, ..first }.write().into_bytes())
            }
            (Some(_), None) => Outcome::Merged(ours.to_vec()),
            _ => Outcome::Merged(theirs.to_vec()),
        }
    }

    fn on_removal(&self) -> Removal {
        Removal::Keep
    }

    fn name(&self) -> &str {
        "what a mailbox knows of itself"
    }
}

/// Ours, then what only they have: positions of our entries stay.
struct Lists;

impl Merge for Lists {
    fn merge(&self, _: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let (ours, theirs) =
            (String::from_utf8_lossy(ours).into_owned(), String::from_utf8_lossy(theirs).into_owned());
        let mut all: Vec<&str> = ours.lines().collect();
        for line in theirs.lines() {
            if !all.iter().any(|known| known.eq_ignore_ascii_case(line)) {
                all.push(line);
            }
        }
        Outcome::Merged((all.join("\n") + "\n").into_bytes())
    }

    fn on_removal(&self) -> Removal {
        Removal::Keep
    }

    fn name(&self) -> &str {
        "keywords"
    }
}

struct LargestNumber;

impl Merge for LargestNumber {
    fn merge(&self, _: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let number = |t: &[u8]| String::from_utf8_lossy(t).trim().parse::<u64>().unwrap_or(0);
        Outcome::Merged(if number(ours) >= number(theirs) { ours.to_vec() } else { theirs.to_vec() })
    }

    fn on_removal(&self) -> Removal {
        Removal::Keep
    }

    fn name(&self) -> &str {
        "the last UIDVALIDITY"
    }
}

/// What is to be done to the branch.
#[derive(Debug, Clone, Copy)]
enum What {
    Merge(CommitId),
    Undo(CommitId),
}

impl Account {
    /// Merges what another server (or a person with git) made of this account; gives the new head.
    pub async fn merge(&self, theirs: CommitId) -> Result<CommitId, MailboxError> {
        self.with_branch(What::Merge(theirs)).await
    }

    /// Takes back what a commit changed, and leaves what came after it. Messages that come back have new UIDs.
    pub async fn undo(&self, commit: CommitId) -> Result<CommitId, MailboxError> {
        self.with_branch(What::Undo(commit)).await
    }

    async fn with_branch(&self, what: What) -> Result<CommitId, MailboxError> {
        let (store, user) = (self.store().clone(), self.name().to_owned());
        let done = aside(move || moved(&store, &user, what)).await;
        let head = done.ok_or(MailboxError::Stopping)??;
        self.refresh().await?;
        Ok(head)
    }
}

/// Makes the merge beside the branch and moves the branch there.
fn moved(store: &Store, user: &str, what: What) -> Result<CommitId, MailboxError> {
    let branch = store.branch(Account::branch_name(user))?;
    for _ in 0..ATTEMPTS {
        let ours = branch.head();
        let head = match (ours, what) {
            (Some(ours), What::Merge(theirs)) if store.is_ancestor(theirs, ours)? => ours,
            // Another server merged ours and settled it: a second settling would only make more commits, for ever.
            (Some(ours), What::Merge(theirs))
                if store.is_ancestor(ours, theirs)?
                    && is_settled(&store.snapshot_at(ours)?, &store.snapshot_at(theirs)?)? =>
            {
                theirs
            }
            // A server without a message that gets an account from another takes it as it is, UIDs and all.
            (Some(ours), What::Merge(theirs))
                if store.merge_base(ours, theirs)?.is_none() && is_blank(&store.snapshot_at(ours)?)? =>
            {
                theirs
            }
            (Some(ours), _) => beside(store, user, ours, what)?,
            (None, What::Merge(theirs)) => theirs,
            (None, What::Undo(_)) => {
                return Err(store::Error::NotFound { what: "anything to undo".into() }.into());
            }
        };
        match branch.reset(ours, head) {
            Err(store::Error::RefMoved { .. }) => {}
            moved => return Ok(*moved?),
        }
    }
    Err(store::Error::RefMoved { name: Account::branch_name(user) }.into())
}

fn beside(store: &Store, user: &str, ours: CommitId, what: What) -> Result<CommitId, MailboxError> {
    let name = format!("merging/{user}");
    let _ = store.delete_branch(&name);
    let scratch = store.create_branch(&name, ours)?;
    let author = Author::new(user, format!("{user}@localhost"));
    let (theirs, said) = match what {
        What::Merge(theirs) => {
            scratch.merge(theirs, author.clone(), "Merge of another server")?;
            (Some(store.snapshot_at(theirs)?), "merged: UIDs and counts settled".to_owned())
        }
        What::Undo(commit) => {
            let what = store.commit(commit)?.message.lines().next().unwrap_or_default().to_owned();
            scratch.revert(commit, author.clone(), format!("undone: {what}"))?;
            (None, "undone: UIDs and counts settled".to_owned())
        }
    };
    let ours = store.snapshot_at(ours)?;
    let mut tx = scratch.begin()?;
    settle(&mut tx, &ours, theirs.as_ref())?;
    let head = tx.commit(author, said)?;
    store.delete_branch(&name)?;
    Ok(*head)
}

/// Whether there was never a message in any mailbox.
fn is_blank(side: &Snapshot) -> Result<bool, MailboxError> {
    for entry in side.walk(name::FOLDERS)? {
        let entry = entry?;
        let used = entry.name() == ABOUT
            && side.read(&entry.path)?.as_deref().and_then(About::parse).is_some_and(|a| a.uid_next > 1);
        if used {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether every mailbox went on from `older` to `newer` as a server makes it: new messages at UIDNEXT or above, a higher
/// mod-sequence, the number of messages right. What people push with git does not, and is settled.
fn is_settled(older: &Snapshot, newer: &Snapshot) -> Result<bool, MailboxError> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut lowest: BTreeMap<String, u32> = BTreeMap::new();
    let mut highest: BTreeMap<String, u32> = BTreeMap::new();
    for change in newer.diff(older, name::FOLDERS)? {
        let path = change.path.to_str().into_owned();
        let Some((folder, _)) = name::of_path(&path) else { continue };
        let count = counts.entry(folder.clone()).or_default();
        let Some(file) = path.rsplit('/').next().and_then(FileName::parse) else { continue };
        if change.is_removed() {
            *count -= 1;
        } else if change.is_added() {
            *count += 1;
            let low = lowest.entry(folder.clone()).or_insert(file.uid);
            *low = file.uid.min(*low);
            let high = highest.entry(folder).or_insert(file.uid);
            *high = file.uid.max(*high);
        } else {
            return Ok(false);
        }
    }
    let about = |side: &Snapshot, folder: &str| -> Result<Option<About>, MailboxError> {
        let path = format!("{}/{ABOUT}", name::directory(folder));
        Ok(side.read(path)?.as_deref().and_then(About::parse))
    };
    for (folder, count) in counts {
        let (before, after) = (about(older, &folder)?, about(newer, &folder)?);
        let Some(after) = after else { continue };
        let messages = before.as_ref().map_or(0, |b| i64::from(b.messages)) + count;
        let next = before.as_ref().map_or(1, |b| b.uid_next);
        let goes_on = after.modseq > before.as_ref().map_or(0, |b| b.modseq) && after.uid_next >= next;
        let new_above = lowest.get(&folder).is_none_or(|uid| *uid >= next)
            && highest.get(&folder).is_none_or(|uid| *uid < after.uid_next);
        if !goes_on || !new_above || messages != i64::from(after.messages) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn settle(tx: &mut Transaction, ours: &Snapshot, theirs: Option<&Snapshot>) -> Result<(), MailboxError> {
    let merged = tx.base().clone();
    let mut folders = BTreeSet::new();
    for side in [Some(ours), theirs].into_iter().flatten() {
        for change in merged.diff(side, name::FOLDERS)? {
            folders.extend(name::of_path(&change.path.to_str()).map(|(folder, _)| folder));
        }
    }
    let mut words = BTreeSet::new();
    for folder in folders {
        words.extend(Folder::read(&merged, ours, theirs, &folder)?.settle(tx)?);
    }
    settle_keywords(tx, &words)
}

/// Keywords that were written into flags files by hand become keywords of the account, as far as there is room.
fn settle_keywords(tx: &mut Transaction, words: &BTreeSet<String>) -> Result<(), MailboxError> {
    let known = tx.read(load::KEYWORDS)?.unwrap_or_default();
    let mut keywords = super::Keywords::default();
    for line in String::from_utf8_lossy(&known).lines().filter(|line| !line.is_empty()) {
        keywords.intern(line)?;
    }
    let before = keywords.names().len();
    let is_keyword =
        |word: &&String| word.bytes().all(|b| (b'!'..=b'~').contains(&b) && !b"(){%*\"\\]".contains(&b));
    for word in words.iter().filter(is_keyword) {
        if keywords.intern(word).is_err() {
            tracing::warn!(word, "the account has no room for this keyword; it is not shown");
        }
    }
    if keywords.names().len() > before {
        tx.put(load::KEYWORDS, keywords.names().join("\n") + "\n")?;
    }
    Ok(())
}

/// One mailbox that is being settled.
struct Folder<'a> {
    directory: String,
    about: Option<About>,
    sides: Vec<(&'a Snapshot, Option<About>)>,
    merged: Snapshot,
    files: Vec<FileName>,
    /// Of each side the messages that it does not have, by path.
    missing: Vec<BTreeSet<String>>,
}

impl<'a> Folder<'a> {
    fn read(
        merged: &Snapshot,
        ours: &'a Snapshot,
        theirs: Option<&'a Snapshot>,
        folder: &str,
    ) -> Result<Folder<'a>, MailboxError> {
        let directory = name::directory(folder);
        let about = |side: &Snapshot| -> Result<Option<About>, MailboxError> {
            Ok(side.read(format!("{directory}/{ABOUT}"))?.as_deref().and_then(About::parse))
        };
        let (mut sides, mut missing) = (Vec::new(), Vec::new());
        for side in [Some(ours), theirs].into_iter().flatten() {
            sides.push((side, about(side)?));
            let added = merged.diff(side, &directory)?.into_iter().filter(store::Change::is_added);
            missing.push(added.map(|change| change.path.to_str().into_owned()).collect());
        }
        let mut files = Vec::new();
        for entry in merged.walk(&directory)? {
            files.extend(FileName::parse(&entry?.name()));
        }
        let about = about(merged)?
            .or_else(|| sides.iter().find_map(|(_, a)| a.clone()).filter(|_| !files.is_empty()));
        Ok(Folder { about, sides, merged: merged.clone(), files, missing, directory })
    }

    /// Gives the words of its flags.
    fn settle(mut self, tx: &mut Transaction) -> Result<BTreeSet<String>, MailboxError> {
        let Some(mut about) = self.about.take() else { return Ok(BTreeSet::new()) };
        let known = self.sides.iter().filter_map(|(_, a)| a.as_ref());
        about.uid_next =
            known.clone().map(|a| a.uid_next).max().unwrap_or(about.uid_next).max(about.uid_next);
        about.modseq = known.map(|a| a.modseq).max().unwrap_or(0).max(about.modseq) + 1;
        let mut lines = self.lines(&self.merged)?;
        let of_sides: Vec<Lines> =
            self.sides.iter().map(|(side, _)| self.lines(side)).collect::<Result<_, _>>()?;
        let mut order = std::mem::take(&mut self.files);
        order.sort_by_key(|f| (f.date, f.mark, f.uid));
        let (mut files, mut touched) = (Vec::new(), BTreeSet::new());
        for file in order {
            let new_to = self.new_to(&file);
            let below = |i: &usize| self.sides[*i].1.as_ref().is_some_and(|a| file.uid < a.uid_next);
            if !new_to.iter().any(below) {
                if !new_to.is_empty() {
                    lines.entry(file.uid).or_default().0 = about.modseq;
                    touched.insert(file.uid / 100);
                }
                files.push(file);
                continue;
            }
            // The side that has it knows its flags; the merged line may be of another message with that UID.
            let home = (0..self.sides.len()).find(|i| !new_to.contains(i));
            let words = home
                .map_or_else(|| lines.get(&file.uid), |i| of_sides[i].get(&file.uid))
                .map(|l| l.1.clone());
            let moved = FileName { uid: about.uid_next, modseq: about.modseq, ..file };
            tx.rename(
                format!("{}/{}", self.directory, file.path()),
                format!("{}/{}", self.directory, moved.path()),
            )?;
            about.uid_next += 1;
            touched.extend([file.uid / 100, moved.uid / 100]);
            lines.insert(moved.uid, (about.modseq, words.unwrap_or_default()));
            files.push(moved);
        }
        let uids: BTreeSet<u32> = files.iter().map(|f| f.uid).collect();
        for (uid, line) in &mut lines {
            let differs = |side: &Lines| side.get(uid).map(|l| &l.1).cloned().unwrap_or_default() != line.1;
            if of_sides.iter().any(differs) {
                line.0 = about.modseq;
                touched.insert(uid / 100);
            }
        }
        touched.extend(lines.keys().filter(|uid| !uids.contains(uid)).map(|uid| uid / 100));
        lines.retain(|uid, _| uids.contains(uid));
        self.write(tx, &lines, &touched)?;
        about.messages = files.len() as u32;
        about.bytes = files.iter().map(|f| u64::from(f.size)).sum();
        let with = |word: &str| {
            lines.values().filter(|l| l.1.iter().any(|w| w.eq_ignore_ascii_case(word))).count() as u32
        };
        about.unseen = about.messages.saturating_sub(with("\\Seen"));
        about.deleted = with("\\Deleted");
        tx.put(format!("{}/{ABOUT}", self.directory), about.write())?;
        Ok(lines.into_values().flat_map(|(_, words)| words).collect())
    }

    /// The sides that do not have this file.
    fn new_to(&self, file: &FileName) -> Vec<usize> {
        let path = format!("{}/{}", self.directory, file.path());
        (0..self.missing.len()).filter(|i| self.missing[*i].contains(&path)).collect()
    }

    /// All flags of the mailbox as of a snapshot.
    fn lines(&self, side: &Snapshot) -> Result<Lines, MailboxError> {
        let mut all = Lines::new();
        for entry in side.walk(&self.directory)? {
            let entry = entry?;
            if entry.name() == "flags" {
                all.extend(read_lines(&side.read(&entry.path)?.unwrap_or_default()));
            }
        }
        Ok(all)
    }

    fn write(
        &self,
        tx: &mut Transaction,
        lines: &Lines,
        touched: &BTreeSet<u32>,
    ) -> Result<(), MailboxError> {
        for bucket in touched {
            let path = format!("{}/{}", self.directory, layout::flags_file(bucket * 100));
            let of: Lines =
                lines.range(bucket * 100..bucket * 100 + 100).map(|(u, l)| (*u, l.clone())).collect();
            if of.is_empty() {
                tx.remove(path)?;
            } else {
                tx.put(path, write_lines(&of))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
