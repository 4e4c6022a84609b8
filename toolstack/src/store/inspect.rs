//! `nymote store fsck` and `stat`: what is in a store, and whether it is what it says.

use std::path::Path;

use git_wire::client::Progress;
use git_wire::object::{EntryKind, check, commit_links, tag_link, tree_entries};
use git_wire::walk::Selection;
use git_wire::{Kind, Object, ObjectId, Objects, Repository};
use serde_json::json;
use store::Store;

use super::Failure;
use super::show::{Ink, Show};

/// Larger objects are counted, and their presence is checked; they are not read into memory.
const READ_BYTES_MAX: u64 = 64 << 20;

/// Reads everything that a branch or tag reaches: each object must be what its id says, be well-formed as
/// `git fsck --strict` has it, and name only what is there. Exit code 1 when something is wrong.
pub fn fsck(show: &Show, store: &Store) -> Result<i32, Failure> {
    let view = store.view()?;
    let mut reached = Selection::default();
    let mut faults = 0;
    for one in view.refs(&[])? {
        reached.insert(one.id);
    }
    let mut bar = show.bar("checking");
    let mut place = 0;
    while let Some(id) = reached.get(place) {
        place += 1;
        if place % 256 == 0 {
            bar.objects(place as u64, reached.len() as u64);
        }
        if let Err(why) = look_at(&*view, id, &mut reached) {
            faults += 1;
            show.line(
                json!({ "object": id.to_string(), "fault": why }),
                format!("{}: {why}", show.ink(Ink::Removed, id.to_string())),
            );
        }
    }
    drop(bar);
    let text = match faults {
        0 => format!("{place} objects, nothing wrong"),
        _ => format!(
            "{place} objects, {faults} faults; export or clone what is sound, and keep the damaged file"
        ),
    };
    show.line(json!({ "objects": place, "faults": faults }), text);
    Ok(i32::from(faults > 0))
}

fn look_at(objects: &dyn Objects, id: ObjectId, reached: &mut Selection) -> Result<(), String> {
    let header = objects.header(&id).map_err(|error| error.to_string())?.ok_or("it is missing")?;
    if header.size_bytes > READ_BYTES_MAX {
        return Ok(());
    }
    let object =
        objects.read(&id, READ_BYTES_MAX).map_err(|error| error.to_string())?.ok_or("it is missing")?;
    let Object { kind, content } = object;
    let found = ObjectId::of(kind, &content).map_err(|error| error.to_string())?;
    if found != id {
        return Err(format!("its content is that of {found}"));
    }
    check(kind, &content).map_err(|error| error.to_string())?;
    match kind {
        Kind::Blob => {}
        Kind::Tag => {
            let link = tag_link(&content).map_err(|error| error.to_string())?;
            reached.insert(link.target);
        }
        Kind::Commit => {
            let links = commit_links(&content).map_err(|error| error.to_string())?;
            reached.insert(links.tree);
            for parent in links.parents {
                reached.insert(parent);
            }
        }
        Kind::Tree => {
            for entry in tree_entries(&content).flatten().filter(|entry| entry.kind() != EntryKind::Submodule)
            {
                reached.insert(entry.id);
            }
        }
    }
    Ok(())
}

/// Sizes and counts, without reading the objects.
pub fn stat(show: &Show, store: &Store, file: &Path) -> Result<i32, Failure> {
    let bytes = std::fs::metadata(file)?.len();
    let (branches, tags) = (store.branches(), store.tags());
    let head = store.default_branch()?;
    let mut conflicts = 0;
    for (name, _) in &branches {
        conflicts += store.branch(name)?.conflicts()?.len();
    }
    let value = json!({
        "bytes": bytes,
        "branches": branches.len(),
        "tags": tags.len(),
        "default_branch": head,
        "conflicts": conflicts,
        "read_only_since": store.failure(),
    });
    let text = format!(
        "{} MB in {}; {} branches, {} tags; a clone checks out {head}; {conflicts} conflicts to settle",
        bytes.div_ceil(1 << 20),
        file.display(),
        branches.len(),
        tags.len()
    );
    show.line(value, text);
    Ok(0)
}
