//! Conflicts, as they stand in the tree: `.conflicts/KEY/` holds `about` and the versions `base`, `ours`, `theirs`.
//! Whoever clones the store can read them.

use git_wire::{Kind, ObjectId};

use super::entry::Found;
use super::tree::Sides;
use crate::core::Core;
use crate::edits::EditTree;
use crate::object::{Mode, Signature};
use crate::staging::Staging;
use crate::{Error, Result, TreePath};

/// The directory that holds the conflicts of a branch. Transactions cannot write there.
pub const CONFLICTS: &str = ".conflicts";

/// Two changes that contradict each other, with all that is needed to settle them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Names it, as long as it is not settled: sixteen hexadecimal digits.
    pub key: String,
    /// The file that both sides changed.
    pub path: TreePath,
    /// Mode and blob of the common base; `None` when there was none.
    pub base: Option<(Mode, ObjectId)>,
    /// Ours, and `None` when we removed it.
    pub ours: Option<(Mode, ObjectId)>,
    /// Theirs.
    pub theirs: Option<(Mode, ObjectId)>,
    /// Who made our side, and when.
    pub ours_by: Option<Signature>,
    /// Who made their side, and when.
    pub theirs_by: Option<Signature>,
    /// Which policy was asked.
    pub policy: String,
    /// What contradicts what, for people.
    pub why: String,
}

/// How a conflict is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// As it was before both changes.
    Base,
    /// Our side.
    Ours,
    /// Their side.
    Theirs,
    /// What stands at the path now, edited or not.
    Kept,
    /// This.
    Content(Vec<u8>),
    /// Neither: the file is removed.
    Removed,
}

impl Conflict {
    pub(super) fn new(
        path: TreePath,
        base: Found,
        ours: Found,
        theirs: Found,
        sides: &Sides,
        policy: String,
        why: String,
    ) -> Conflict {
        let mut hashed = path.as_bytes().to_vec();
        for found in [base, ours, theirs] {
            hashed.extend_from_slice(&found.map_or(ObjectId::ZERO, |(_, id)| id).0);
        }
        // Not a name of content: a collision would only make two conflicts share a directory.
        let key = ObjectId::of(Kind::Blob, &hashed).map_or_else(|_| "0".repeat(40), |id| id.to_string());
        let key = key[..16].to_owned();
        let (ours_by, theirs_by) = (sides.ours.clone(), sides.theirs.clone());
        Conflict { key, path, base, ours, theirs, ours_by, theirs_by, policy, why }
    }

    fn about(&self) -> String {
        let mut text = format!("path: {}\npolicy: {}\nwhy: {}\n", self.path, self.policy, self.why);
        let path: String = self.path.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("path-bytes: {path}\n"));
        for (side, by) in [("ours", &self.ours_by), ("theirs", &self.theirs_by)] {
            if let Some(by) = by {
                text.push_str(&format!("{side}: {by}\n"));
            }
        }
        text
    }
}

/// Puts a conflict into the tree.
pub(super) fn write(staging: &mut Staging<'_>, edits: &mut EditTree, conflict: &Conflict) -> Result<()> {
    let directory = TreePath::new(CONFLICTS)?.child(conflict.key.as_bytes());
    let about = staging.put(Kind::Blob, conflict.about())?;
    edits.set(&directory.child(b"about"), Some((Mode::File, about)));
    for (name, found) in [("base", conflict.base), ("ours", conflict.ours), ("theirs", conflict.theirs)] {
        if found.is_some() {
            edits.set(&directory.child(name.as_bytes()), found);
        }
    }
    Ok(())
}

/// The conflicts in a tree, in order of their keys.
pub(crate) fn list(core: &Core, tree: Option<ObjectId>) -> Result<Vec<Conflict>> {
    let staging = &Staging::new(core);
    let Some((Mode::Directory, directory)) = staging.lookup(tree, &TreePath::new(CONFLICTS)?)? else {
        return Ok(Vec::new());
    };
    let entries = staging.tree(Some(directory))?.into_iter().filter(|entry| entry.mode == Mode::Directory);
    entries.map(|entry| read(staging, &String::from_utf8_lossy(&entry.name), entry.id)).collect()
}

/// Where the conflicts about a path, or about what is below it, stand in a tree. What cannot be read is about nothing.
pub(crate) fn about(core: &Core, tree: Option<ObjectId>, path: &TreePath) -> Result<Vec<TreePath>> {
    let conflicts = TreePath::new(CONFLICTS)?;
    let Some((Mode::Directory, directory)) = core.lookup(tree, &conflicts)? else { return Ok(Vec::new()) };
    let staging = &Staging::new(core);
    let mut found = Vec::new();
    for entry in core.tree(&directory)?.into_iter().filter(|entry| entry.mode == Mode::Directory) {
        let key = String::from_utf8_lossy(&entry.name);
        if read(staging, &key, entry.id).is_ok_and(|conflict| conflict.path.is_under(path)) {
            found.push(conflicts.child(&entry.name));
        }
    }
    Ok(found)
}

/// The conflict of that key in a tree.
pub(crate) fn find(staging: &Staging<'_>, tree: ObjectId, key: &str) -> Result<Option<Conflict>> {
    let directory = TreePath::new(format!("{CONFLICTS}/{key}"))?;
    match staging.lookup(Some(tree), &directory)? {
        Some((Mode::Directory, id)) => read(staging, key, id).map(Some),
        _ => Ok(None),
    }
}

fn read(staging: &Staging<'_>, key: &str, directory: ObjectId) -> Result<Conflict> {
    let find = |name: &str| staging.lookup(Some(directory), &TreePath::new(name)?);
    let broken = || Error::Malformed(format!("conflict {key} does not say what it is about"));
    let (_, about) = find("about")?.ok_or_else(broken)?;
    let about = staging.typed(&about, Kind::Blob)?;
    let about = String::from_utf8_lossy(&about);
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let hex = field("path-bytes").ok_or_else(broken)?;
    let digit = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let path: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digit).collect();
    let by = |side: &str| field(side).and_then(|by| Signature::parse(by.as_bytes()).ok());
    Ok(Conflict {
        key: key.to_owned(),
        path: TreePath::new(path.ok_or_else(broken)?)?,
        base: find("base")?,
        ours: find("ours")?,
        theirs: find("theirs")?,
        ours_by: by("ours"),
        theirs_by: by("theirs"),
        policy: field("policy").unwrap_or_default().to_owned(),
        why: field("why").unwrap_or_default().to_owned(),
    })
}

/// The edits that settle a conflict.
pub(crate) fn resolve(staging: &mut Staging<'_>, conflict: &Conflict, by: Resolution) -> Result<EditTree> {
    let mut edits = EditTree::default();
    let version = match by {
        Resolution::Kept => None,
        Resolution::Base => Some(conflict.base),
        Resolution::Ours => Some(conflict.ours),
        Resolution::Theirs => Some(conflict.theirs),
        Resolution::Removed => Some(None),
        Resolution::Content(bytes) => {
            let mode = conflict.ours.or(conflict.theirs).map_or(Mode::File, |(mode, _)| mode);
            Some(Some((mode, staging.put(Kind::Blob, bytes)?)))
        }
    };
    if let Some(version) = version {
        edits.set(&conflict.path, version);
    }
    edits.set(&TreePath::new(CONFLICTS)?.child(conflict.key.as_bytes()), None);
    Ok(edits)
}
