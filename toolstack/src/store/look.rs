//! The commands that change nothing.

use std::time::Duration;

use serde_json::{Value, json};
use store::{Change, CommitId, Conflict, Entry, Mode, Signature, Store};

use super::Failure;
use super::graph::Graph;
use super::show::{Ink, Show, date, plain};

pub fn ls(show: &Show, store: &Store, path: &str, at: &str, recursive: bool) -> Result<i32, Failure> {
    let snapshot = match store.resolve(at) {
        Ok(commit) => store.snapshot_at(commit)?,
        // A store without commits is empty, not wrong.
        Err(_) if at == "main" => store.branch("main")?.snapshot()?,
        Err(error) => return Err(error.into()),
    };
    if !path.is_empty() && snapshot.entry(path)?.is_none() {
        return Err(Failure(format!("there is no {path} at {at}")));
    }
    let print = |entry: Entry| {
        let full = entry.path.to_str().into_owned();
        let value = json!({ "path": full, "kind": kind(entry.kind), "id": entry.id.to_string() });
        let name = plain(&if recursive { full } else { entry.name().into_owned() });
        let name = if entry.is_directory() { show.ink(Ink::Name, name + "/") } else { name };
        show.line(value, name);
    };
    if recursive {
        for entry in snapshot.walk(path)? {
            print(entry?);
        }
    } else {
        snapshot.list(path)?.into_iter().for_each(print);
    }
    Ok(0)
}

pub fn cat(show: &Show, store: &Store, path: &str, at: &str) -> Result<i32, Failure> {
    let snapshot = store.snapshot_at(store.resolve(at)?)?;
    let mut reader =
        snapshot.reader(path)?.ok_or_else(|| Failure(format!("there is no file {path} at {at}")))?;
    show.copy(&mut reader)?;
    Ok(0)
}

pub fn log(show: &Show, store: &Store, path: &str, branch: &str, count: usize) -> Result<i32, Failure> {
    if branch == "main" && store.branch(branch)?.head().is_none() {
        return Err(Failure::new(
            "there is no commit on main yet; `nymote store put` makes one, `branch` lists others",
        ));
    }
    let start = store.resolve(branch)?;
    let history = store.branch(branch).ok().filter(|branch| branch.head() == Some(start));
    let mut graph = Graph::new();
    let mut is_empty = true;
    let commits: Box<dyn Iterator<Item = store::Result<(CommitId, store::Commit)>>> = match history {
        Some(branch) => Box::new(branch.history(path)?),
        None => return Err(Failure(format!("{branch} is no branch; log shows the history of a branch"))),
    };
    for found in commits.take(count) {
        let (id, commit) = found?;
        is_empty = false;
        let value = json!({
            "commit": id.0.to_string(),
            "parents": commit.parents.iter().map(|parent| parent.0.to_string()).collect::<Vec<_>>(),
            "author": person(&commit.author),
            "committer": person(&commit.committer),
            "message": commit.message,
        });
        // The history of a path leaves commits out, so that there is no graph to draw.
        let parents: &[CommitId] = if path.is_empty() { &commit.parents } else { &[] };
        let drawn = graph.draw(id, parents);
        drawn.above.into_iter().for_each(|lanes| show.note(lanes));
        let head = format!(
            "{} {} {} {} {}",
            drawn.head,
            show.ink(Ink::Changed, id.0.short()),
            show.ink(Ink::Faint, date(commit.committer.seconds)),
            show.ink(Ink::Name, plain(&commit.author.name)),
            plain(commit.summary())
        );
        show.line(value, head);
        drawn.below.into_iter().for_each(|lanes| show.note(lanes));
    }
    if is_empty {
        show.note(format!("no commit of {branch} changed {path}"));
    }
    Ok(0)
}

pub fn diff(show: &Show, store: &Store, old: &str, new: &str, path: &str) -> Result<i32, Failure> {
    let (old, new) = (store.resolve(old)?, store.resolve(new)?);
    let changes = store.snapshot_at(new)?.diff(&store.snapshot_at(old)?, path)?;
    changes.iter().for_each(|change| print_change(show, change));
    Ok(0)
}

fn print_change(show: &Show, change: &Change) {
    let path = plain(&change.path.to_str());
    let (word, ink, sign) = if change.is_added() {
        ("added", Ink::Added, "A")
    } else if change.is_removed() {
        ("removed", Ink::Removed, "D")
    } else {
        ("changed", Ink::Changed, "M")
    };
    show.line(change_value(change, word), format!("{} {path}", show.ink(ink, sign)));
}

fn change_value(change: &Change, word: &str) -> Value {
    let id = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.id.to_string());
    json!({
        "path": change.path.to_str(),
        "change": word,
        "before": id(&change.before),
        "after": id(&change.after),
    })
}

pub fn conflicts(show: &Show, store: &Store, key: Option<&str>, branch: &str) -> Result<i32, Failure> {
    let all = store.branch(branch)?.conflicts()?;
    if let Some(key) = key {
        return show_conflict(show, store, find(&all, key)?);
    }
    for conflict in &all {
        let text = format!(
            "{} {}: {}",
            show.ink(Ink::Changed, &conflict.key),
            show.ink(Ink::Name, plain(&conflict.path.to_str())),
            plain(&conflict.why)
        );
        show.line(conflict_value(conflict), text);
    }
    if all.is_empty() {
        show.note(format!("nothing is to be settled on {branch}"));
    } else {
        show.note(
            "show one with its key; settle it with `nymote store settle FILE KEY --ours` (or --theirs, …)",
        );
    }
    Ok(0)
}

/// The conflict whose key begins so.
pub fn find<'a>(all: &'a [Conflict], key: &str) -> Result<&'a Conflict, Failure> {
    let mut found = all.iter().filter(|one| one.key.starts_with(key));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            Err(Failure(format!("no conflict has the key {key}; `nymote store conflicts` lists them")))
        }
        _ => Err(Failure(format!("several conflicts have keys that begin with {key}; give more digits"))),
    }
}

fn show_conflict(show: &Show, store: &Store, conflict: &Conflict) -> Result<i32, Failure> {
    show.line(
        conflict_value(conflict),
        format!("{} {}: {}", conflict.key, plain(&conflict.path.to_str()), plain(&conflict.why)),
    );
    let sides = [
        ("base", &conflict.base, None, Ink::Faint),
        ("ours", &conflict.ours, conflict.ours_by.as_ref(), Ink::Removed),
        ("theirs", &conflict.theirs, conflict.theirs_by.as_ref(), Ink::Added),
    ];
    for (name, side, by, ink) in sides.into_iter().filter(|_| !show.json) {
        let by = by.map_or(String::new(), |by| format!(" by {} at {}", plain(&by.name), date(by.seconds)));
        show.note(show.ink(ink, format!("--- {name}{by}")));
        match side {
            None => show.note(show.ink(Ink::Faint, "(not there)")),
            Some((_, id)) => {
                let content = store.blob(id)?.unwrap_or_default();
                show.note(String::from_utf8_lossy(&content).trim_end_matches('\n'));
            }
        }
    }
    Ok(0)
}

fn conflict_value(conflict: &Conflict) -> Value {
    let side = |side: &Option<(Mode, store::ObjectId)>| side.map(|(_, id)| id.to_string());
    json!({
        "key": conflict.key,
        "path": conflict.path.to_str(),
        "base": side(&conflict.base),
        "ours": side(&conflict.ours),
        "theirs": side(&conflict.theirs),
        "ours_by": conflict.ours_by.as_ref().map(person),
        "theirs_by": conflict.theirs_by.as_ref().map(person),
        "policy": conflict.policy,
        "why": conflict.why,
    })
}

pub fn watch(
    show: &Show,
    store: &Store,
    path: &str,
    branch: &str,
    from: Option<&str>,
    count: Option<usize>,
) -> Result<i32, Failure> {
    let from = from.map(|from| store.resolve(from)).transpose()?;
    let mut watch = store.branch(branch)?.watch(path, from)?;
    let mut left = count.unwrap_or(usize::MAX);
    while left > 0 {
        // Now and then it is asked whether somebody still listens.
        let Some(event) = watch.next_within(Duration::from_secs(1))? else {
            if show.is_heard() {
                continue;
            }
            break;
        };
        left -= 1;
        let id = event.commit.map(|commit| commit.0.to_string());
        let changes: Vec<Value> =
            event.changes.iter().map(|change| change_value(change, word(change))).collect();
        let value = json!({
            "commit": id,
            "before": event.before.map(|commit| commit.0.to_string()),
            "date": date(event.seconds),
            "changes": changes,
        });
        let name = event.commit.map_or("deleted".into(), |commit| commit.0.short());
        show.line(value, format!("{} {}", show.ink(Ink::Changed, name), date(event.seconds)));
        if !show.json {
            event.changes.iter().for_each(|change| print_change(show, change));
        }
    }
    Ok(0)
}

fn word(change: &Change) -> &'static str {
    match (change.is_added(), change.is_removed()) {
        (true, _) => "added",
        (_, true) => "removed",
        _ => "changed",
    }
}

fn person(signature: &Signature) -> Value {
    json!({ "name": signature.name, "email": signature.email, "date": date(signature.seconds) })
}

fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::File => "file",
        Mode::Executable => "executable",
        Mode::Link => "link",
        Mode::Directory => "directory",
        Mode::Submodule => "submodule",
    }
}
