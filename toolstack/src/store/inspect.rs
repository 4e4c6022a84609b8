//! `nymote store fsck` and `stat`: what is in a store, and whether it is what it says.

use std::path::Path;

use git_wire::client::Progress;
use git_wire::object::{EntryKind, check, commit_links, tag_link, tree_entries};
use git_wire::walk::Selection;
use git_wire::{Kind, Object, ObjectId, Objects, Repository};
use serde_json::{Value, json};
use store::{FileDevice, Options, Problem, Store};

use super::Failure;
use super::show::{Ink, Show, bytes, count, plain};

/// Larger objects are counted, and their presence is checked; they are not read into memory.
const READ_BYTES_MAX: u64 = 64 << 20;

/// First the store's own check: every object and table that it holds, reached or not, against its checksum and id. Then
/// what branches and tags reach must be well-formed as `git fsck --strict` has it, and name only what is there. Exit
/// code 1 when something is wrong.
pub fn fsck(show: &Show, store: &Store) -> Result<i32, Failure> {
    let checked = store.fsck()?;
    for problem in &checked.problems {
        let (value, text) = problem_in_words(problem);
        show.line(value, show.ink(Ink::Removed, text));
    }
    let view = store.view()?;
    let mut reached = Selection::default();
    let mut faults = checked.problems.len();
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
        0 => format!(
            "{} in the store ({}), {place} of them reached by {}: nothing wrong",
            count(checked.objects, "object"),
            bytes(checked.bytes),
            count(checked.refs, "ref")
        ),
        _ => format!(
            "{}; what is sound can still be cloned or exported; keep the file",
            count(faults as u64, "fault")
        ),
    };
    let value = json!({
        "objects": checked.objects,
        "bytes": checked.bytes,
        "refs": checked.refs,
        "reached": place,
        "faults": faults,
    });
    show.line(value, text);
    Ok(i32::from(faults > 0))
}

/// Makes the index anew from what can be read, puts the rest aside and says which files that hits; then checks. The exit
/// code is that of the check: what is lost is no fault any more.
pub fn repair(show: &Show, file: &Path, options: Options) -> Result<i32, Failure> {
    let device = FileDevice::open(file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    let (store, repaired) =
        Store::repair(device, options).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    for note in &repaired.notes {
        show.line(json!({ "mended": note }), format!("mended: {}", plain(note)));
    }
    for (id, why) in &repaired.aside {
        let text = format!("{id} is lost: {}", plain(why));
        show.line(json!({ "lost": id.to_string(), "why": why }), show.ink(Ink::Removed, text));
    }
    for (name, old, new) in &repaired.refs {
        let value =
            json!({ "ref": name, "old": old.to_string(), "new": new.as_ref().map(ObjectId::to_string) });
        let now = new.map_or("nothing".to_owned(), |new| new.short());
        show.line(value, format!("{} named {}, and names {now} now", plain(name), old.short()));
    }
    for hit in &repaired.hits {
        let (commit, path) = (hit.commit.0, hit.path.to_str());
        let value = json!({
            "ref": hit.name,
            "commit": commit.to_string(),
            "path": path,
            "object": hit.object.to_string(),
        });
        show.line(value, format!("{} at {}: {} is hit", plain(&hit.name), commit.short(), plain(&path)));
    }
    if !repaired.aside.is_empty() {
        show.note("a fetch or push of who has the lost objects brings them back");
    }
    fsck(show, &store)
}

fn problem_in_words(problem: &Problem) -> (Value, String) {
    match problem {
        Problem::Object { id, why } => {
            (json!({ "object": id.to_string(), "fault": why }), format!("{id}: {why}"))
        }
        Problem::Link { from, to } => (
            json!({ "object": from.to_string(), "fault": "names what is missing", "missing": to.to_string() }),
            format!("{from} names {to}, which is missing"),
        ),
        Problem::Ref { name, id } => (
            json!({ "ref": name, "fault": "names what is missing", "missing": id.to_string() }),
            format!("{name} names {id}, which is missing or of the wrong kind"),
        ),
        Problem::Index { why } => (json!({ "index": true, "fault": why }), format!("the index: {why}")),
    }
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
    let statistics = store.statistics()?;
    let (branches, tags) = (store.branches(), store.tags());
    let head = store.default_branch()?;
    let mut conflicts = 0;
    for (name, _) in &branches {
        conflicts += store.branch(name)?.conflicts()?.len();
    }
    let value = json!({
        "bytes": statistics.capacity_bytes,
        "used_bytes": statistics.used_bytes,
        "objects": statistics.objects,
        "object_bytes": statistics.object_bytes,
        "branches": branches.len(),
        "tags": tags.len(),
        "default_branch": head,
        "conflicts": conflicts,
        "read_only_since": store.failure(),
    });
    let text = format!(
        "{}: {} of {} in use by {} ({} of them)\n{}, {}; a clone checks out {head}; {}",
        file.display(),
        bytes(statistics.used_bytes),
        bytes(statistics.capacity_bytes),
        count(statistics.objects, "object"),
        bytes(statistics.object_bytes),
        match branches.len() {
            1 => "1 branch".into(),
            number => format!("{number} branches"),
        },
        count(tags.len() as u64, "tag"),
        match conflicts {
            0 => "nothing to settle".into(),
            number => format!("{} to settle: `nymote store conflicts`", count(number as u64, "conflict")),
        }
    );
    show.line(value, text);
    Ok(0)
}
