//! The commands that make commits, branches and stores.

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde_json::json;
use store::merge::Resolution;
use store::{Author, FileDevice, Merged, Mode, Options, Store, Transaction};

use super::look::find;
use super::show::{Ink, Show, plain};
use super::{Failure, SettleBy};

pub fn init(show: &Show, file: &Path, force: bool) -> Result<i32, Failure> {
    let there = std::fs::metadata(file).ok();
    let is_device = there.as_ref().is_some_and(|there| there.file_type().is_block_device());
    let shown = file.display();
    if is_device && !force && Store::open_path(file, Options::new()).is_ok() {
        return Err(Failure(format!("{shown} holds a store; --force gives it up")));
    }
    if there.is_some() && !is_device && !force {
        return Err(Failure(format!("{shown} exists; --force overwrites it")));
    }
    let made = match there {
        // Opened, so that a store which somebody uses is not overwritten.
        Some(_) => FileDevice::open(file)
            .map_err(store::Error::from)
            .and_then(|device| Store::create(device, Options::new())),
        None => Store::create_path(file, Options::new()),
    };
    made.map_err(|error| Failure(format!("{shown}: {error}")))?;
    show.line(json!({ "made": shown.to_string() }), format!("an empty store is in {shown}"));
    Ok(0)
}

pub fn put(
    show: &Show,
    store: &Store,
    path: &str,
    source: Option<&Path>,
    branch: &str,
    message: Option<String>,
    author: Author,
) -> Result<i32, Failure> {
    let mut change = begin(store, branch)?;
    if path.ends_with('/') || change.entry(path)?.is_some_and(|entry| entry.is_directory()) {
        return Err(Failure(format!("{path} names a directory; name a file, or `nymote store rm` it first")));
    }
    match source.filter(|source| source.as_os_str() != "-") {
        Some(source) => {
            let failed = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", source.display()));
            let file = std::fs::File::open(source).map_err(|error| failed(&error))?;
            let about = file.metadata().map_err(|error| failed(&error))?;
            if about.is_dir() {
                return Err(failed(&"it is a directory; put its files one by one, or push with git"));
            }
            if about.is_file() && about.len() > LARGE_BYTES {
                change.put_reader(path, about.len(), file)?;
            } else {
                let mut content = Vec::new();
                let mut file = file;
                file.read_to_end(&mut content).map_err(|error| failed(&error))?;
                let executable = about.is_file() && about.permissions().mode() & 0o111 != 0;
                change.put_as(path, if executable { Mode::Executable } else { Mode::File }, content)?;
            }
        }
        None => drop(change.put(path, show.input()?)?),
    }
    let commit = change.commit(author, message.unwrap_or_else(|| format!("Put {path}")))?;
    committed(show, branch, commit.into_inner());
    Ok(0)
}

/// A change of a branch that is there; the one that a clone checks out begins with its first commit.
fn begin(store: &Store, name: &str) -> Result<Transaction, Failure> {
    let branch = store.branch(name)?;
    if branch.head().is_none() && name != "main" && name != store.default_branch()? {
        return Err(Failure(format!(
            "there is no branch {name}; `nymote store branch FILE {name}` makes it"
        )));
    }
    Ok(branch.begin()?)
}

/// A larger file goes through in pieces.
const LARGE_BYTES: u64 = 8 << 20;

pub fn rm(
    show: &Show,
    store: &Store,
    path: &str,
    branch: &str,
    message: Option<String>,
    author: Author,
) -> Result<i32, Failure> {
    let mut change = begin(store, branch)?;
    if !change.remove(path)? {
        return Err(Failure(format!("there is no {path} on {branch}")));
    }
    let commit = change.commit(author, message.unwrap_or_else(|| format!("Remove {path}")))?;
    committed(show, branch, commit.into_inner());
    Ok(0)
}

fn committed(show: &Show, branch: &str, commit: store::CommitId) {
    let value = json!({ "branch": branch, "commit": commit.0.to_string() });
    show.line(value, format!("{branch} is at {}", show.ink(Ink::Changed, commit.0.short())));
}

pub fn branch(
    show: &Show,
    store: &Store,
    name: Option<&str>,
    at: &str,
    delete: bool,
) -> Result<i32, Failure> {
    match name {
        None => {
            for (name, commit) in store.branches() {
                let value = json!({ "branch": name, "commit": commit.0.to_string() });
                show.line(value, format!("{} {}", show.ink(Ink::Changed, commit.0.short()), name));
            }
        }
        Some(name) if delete => {
            if name == store.default_branch()? {
                return Err(Failure(format!("{name} is what a clone checks out; it cannot be deleted")));
            }
            store.delete_branch(name)?;
            show.line(json!({ "deleted": name }), format!("{name} is no branch any more"));
        }
        Some(name) => {
            let at = store.resolve(at)?;
            store.create_branch(name, at)?;
            committed(show, name, at);
        }
    }
    Ok(0)
}

pub fn merge(
    show: &Show,
    store: &Store,
    from: &str,
    into: &str,
    message: Option<String>,
    author: Author,
) -> Result<i32, Failure> {
    let other = store.resolve(from)?;
    let message = message.unwrap_or_else(|| format!("Merge {from} into {into}"));
    let merged = store.branch(into)?.merge(other, author, message)?;
    Ok(report(show, into, merged))
}

pub fn revert(
    show: &Show,
    store: &Store,
    commit: &str,
    branch: &str,
    message: Option<String>,
    author: Author,
) -> Result<i32, Failure> {
    let id = store.resolve(commit)?;
    let summary = store.commit(id)?.summary().to_owned();
    let message =
        message.unwrap_or_else(|| format!("Revert \"{summary}\"\n\nThis reverts commit {}.\n", id.0));
    let merged = store.branch(branch)?.revert(id, author, message)?;
    Ok(report(show, branch, merged))
}

/// Conflicts are no failure: the merge is made, and waits for a person.
fn report(show: &Show, branch: &str, merged: Merged) -> i32 {
    let keys: Vec<&str> = merged.conflicts.iter().map(|conflict| &conflict.key[..]).collect();
    let commit = merged.commit.into_inner();
    let value = json!({
        "branch": branch,
        "commit": commit.0.to_string(),
        "fast_forward": merged.fast_forward,
        "conflicts": keys,
    });
    show.line(value, format!("{branch} is at {}", show.ink(Ink::Changed, commit.0.short())));
    for conflict in &merged.conflicts {
        let (path, why) = (plain(&conflict.path.to_str()), plain(&conflict.why));
        show.note(format!("conflict {} at {path}: {why}", conflict.key));
    }
    if !merged.conflicts.is_empty() {
        show.note(
            "both sides are kept; `nymote store conflicts` shows them, `nymote store settle` settles one",
        );
    }
    0
}

pub fn settle(
    show: &Show,
    store: &Store,
    key: &str,
    by: SettleBy,
    branch: &str,
    author: Author,
) -> Result<i32, Failure> {
    let resolution = match by {
        SettleBy { ours: true, .. } => Resolution::Ours,
        SettleBy { theirs: true, .. } => Resolution::Theirs,
        SettleBy { base: true, .. } => Resolution::Base,
        SettleBy { kept: true, .. } => Resolution::Kept,
        SettleBy { remove: true, .. } => Resolution::Removed,
        SettleBy { with: Some(file), .. } => {
            let content = std::fs::read(&file);
            Resolution::Content(content.map_err(|error| Failure(format!("{}: {error}", file.display())))?)
        }
        SettleBy { .. } => {
            return Err(Failure::new("say how: --ours, --theirs, --base, --kept, --remove or --with FILE"));
        }
    };
    let branch_handle = store.branch(branch)?;
    let key = find(&branch_handle.conflicts()?, key)?.key.clone();
    let commit = branch_handle.settle(&key, resolution, author)?;
    committed(show, branch, commit.into_inner());
    Ok(0)
}
