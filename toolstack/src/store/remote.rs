//! The commands that talk to other repositories.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use git_wire::client::{self, HttpTransport, PushRef};
use git_wire::{Limits, ObjectId, Repository};
use serde_json::json;
use store::{Author, Store};

use super::bare::{export_bare, import_bare};
use super::serve::{MOUNT, serve as serve_http};
use super::show::{Ink, Show, plain};
use super::{Failure, Login};

pub fn fetch(show: &Show, store: &Store, url: &str, name: &str, login: Login) -> Result<i32, Failure> {
    let mut transport = connect(url, login)?;
    let heads = format!("refs/remotes/{name}/");
    let map = |remote: &[u8]| match remote.strip_prefix(b"refs/heads/") {
        Some(branch) => Some([heads.as_bytes(), branch].concat()),
        None => remote.starts_with(b"refs/tags/").then(|| remote.to_vec()),
    };
    let mut tries = 0;
    let fetched = loop {
        let mut bar = show.bar("receiving");
        match client::fetch(store, &mut transport, &map, &mut bar, &Limits::default()) {
            // Git's protocol cannot go on in the middle of a pack; all is asked for again, after a while.
            Err(error) if error.is_passing() && tries < TRIES_MAX => {
                tries += 1;
                drop(bar);
                show.aside(format!("{error}; trying again in {} s", 2 * tries));
                std::thread::sleep(Duration::from_secs(2 * tries));
            }
            fetched => break fetched?,
        }
    };
    for update in &fetched.updates {
        let name = String::from_utf8_lossy(&update.name);
        let old = if update.old.is_zero() { "new".to_owned() } else { update.old.short() };
        let value = json!({ "ref": name, "old": id(update.old), "new": update.new.to_string() });
        show.line(value, format!("{} {old} -> {}", show.ink(Ink::Name, plain(&name)), update.new.short()));
    }
    let value = json!({ "objects": fetched.objects, "refs": fetched.updates.len() });
    show.line(value, format!("{} objects, {} refs moved", fetched.objects, fetched.updates.len()));
    if !fetched.updates.is_empty() {
        show.note(format!("merge one with: nymote store merge FILE refs/remotes/{name}/main"));
    }
    Ok(0)
}

/// How often a fetch that broke off is begun again.
const TRIES_MAX: u64 = 3;

/// Fetches, then merges as `nymote store merge` would.
pub fn pull(
    show: &Show,
    store: &Store,
    url: &str,
    name: &str,
    branch: &str,
    login: Login,
    author: Author,
) -> Result<i32, Failure> {
    fetch(show, store, url, name, login)?;
    let theirs = format!("refs/remotes/{name}/{branch}");
    if store.resolve(&theirs).is_err() {
        return Err(Failure(format!(
            "{url} has no branch {branch}; `nymote store branch` lists ours, `git ls-remote` theirs"
        )));
    }
    super::change::merge(show, store, &theirs, branch, Some(format!("Merge {branch} of {url}")), author)
}

/// How a push is meant.
pub struct How {
    pub force: bool,
    /// The name of the remote whose refs, as they were fetched last, must still be there.
    pub lease: Option<String>,
    pub atomic: bool,
}

pub fn push(
    show: &Show,
    store: &Store,
    url: &str,
    refs: Vec<String>,
    how: How,
    login: Login,
) -> Result<i32, Failure> {
    let refs = if refs.is_empty() { vec!["main".to_owned()] } else { refs };
    let mut wanted = Vec::new();
    for one in &refs {
        let (ours, theirs) = one.split_once(':').unwrap_or((one, one));
        let new = if ours.is_empty() { ObjectId::ZERO } else { named(store, ours)? };
        let is_tag = store.tags().iter().any(|(tag, _)| tag == ours);
        let name = match theirs.starts_with("refs/") {
            true => theirs.to_owned(),
            false => format!("refs/{}/{theirs}", if is_tag { "tags" } else { "heads" }),
        };
        let lease = how.lease.as_ref().map(|remote| {
            let kept =
                name.strip_prefix("refs/heads/").map(|branch| format!("refs/remotes/{remote}/{branch}"));
            kept.and_then(|kept| store.resolve(&kept).ok()).map_or(ObjectId::ZERO, |commit| commit.0)
        });
        wanted.push(PushRef { name: name.into_bytes(), new, force: how.force, lease });
    }
    let mut transport = connect(url, login)?;
    let mut bar = show.bar("sending");
    let pushed = client::push(store, &mut transport, &wanted, how.atomic, &mut bar, &Limits::default())?;
    drop(bar);
    let mut refused = false;
    for one in &pushed {
        let name = String::from_utf8_lossy(&one.name);
        let why = one.verdict.as_ref().err();
        refused |= why.is_some();
        let value = json!({ "ref": name, "old": id(one.old), "new": id(one.new), "refused": why });
        let text = match why {
            Some(why) => format!("{} {name}: {}", show.ink(Ink::Removed, "refused"), plain(why)),
            None if one.old == one.new => format!("{name} is up to date"),
            None => {
                format!("{name} -> {}", if one.new.is_zero() { "deleted".into() } else { one.new.short() })
            }
        };
        show.line(value, text);
    }
    Ok(i32::from(refused))
}

/// A tag's own object, else the commit.
fn named(store: &Store, name: &str) -> Result<ObjectId, Failure> {
    match store.tags().into_iter().find(|(tag, _)| tag == name) {
        Some((_, id)) => Ok(id),
        None => Ok(store.resolve(name)?.0),
    }
}

fn id(id: ObjectId) -> Option<String> {
    (!id.is_zero()).then(|| id.to_string())
}

fn connect(url: &str, login: Login) -> Result<HttpTransport, Failure> {
    let mut transport = HttpTransport::new(url)?;
    if let Some(user) = login.user {
        let file = login.password_file.ok_or_else(|| Failure::new("--user wants a --password-file"))?;
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(|error| Failure(format!("{}: {error}", file.display())))?;
        transport.log_in(&user, text.lines().next().unwrap_or(""));
    }
    Ok(transport)
}

pub fn export(show: &Show, store: &Store, directory: &Path) -> Result<i32, Failure> {
    let mut bar = show.bar("writing");
    let count = export_bare(store, directory, &mut bar, &Limits::default())?;
    drop(bar);
    let shown = directory.display();
    show.line(
        json!({ "objects": count }),
        format!("{count} objects are in {shown}; try: git -C {shown} log --graph"),
    );
    Ok(0)
}

pub fn import(show: &Show, store: &Store, directory: &Path) -> Result<i32, Failure> {
    let mut bar = show.bar("reading");
    let imported = import_bare(store, directory, &mut bar, &Limits::default())?;
    // What the branches reach is found out, and noted, now rather than by the first clone.
    let heads: Vec<ObjectId> = store.branches().into_iter().map(|(_, commit)| commit.0).collect();
    store.view()?.closure(&heads, &[])?;
    drop(bar);
    let value = json!({ "objects": imported.objects, "refs": imported.refs });
    show.line(value, format!("{} objects, {} refs", imported.objects, imported.refs));
    Ok(0)
}

pub fn serve(
    show: &Show,
    store: Store,
    file: &Path,
    listen: SocketAddr,
    allow_push: bool,
) -> Result<i32, Failure> {
    let store = Arc::new(store);
    let announce = |address: SocketAddr| {
        let url = format!("http://{address}{MOUNT}");
        show.line(json!({ "url": url, "push": allow_push }), format!("git clone {url}"));
        if allow_push && !address.ip().is_loopback() {
            show.note("whoever reaches this address may push");
        }
    };
    if let Err(error) = super::control::listen(file, store.clone()) {
        show.note(format!("commands on {} have to wait until it is served no more: {error}", file.display()));
    }
    serve_http(store, listen, allow_push, announce)
        .map_err(|error| Failure(format!("{listen}: {error}; is another server there?")))?;
    Ok(0)
}
