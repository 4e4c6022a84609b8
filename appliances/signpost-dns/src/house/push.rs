//! What others commit: checked before it is on the branch when it comes by `git push`, and taken in.

use std::collections::BTreeSet;
use std::sync::Arc;

use store::{Author, CommitId, Snapshot};

use super::{House, views};
use crate::keeper::{BRANCH, KeepError, files};
use crate::name::Name;
use crate::zone::Zone;

impl House {
    /// Takes a pushed commit: refused with what is wrong with it, or on the branch and served.
    ///
    /// # Errors
    /// `KeepError` that names the file and line at fault; nothing changed.
    pub async fn take_push(self: &Arc<Self>, who: &str, commit: CommitId) -> Result<(), KeepError> {
        let branch = self.store.branch(BRANCH)?;
        let (pushed, before) = (self.store.snapshot_at(commit)?, branch.snapshot()?);
        self.check_push(&pushed, &before)?;
        let author = Author::new(who, format!("{who}@signpost"));
        let merged = branch.merge(commit, author, "merged a push with what happened meanwhile")?;
        let changes = branch.snapshot()?.diff(&before, "")?;
        let paths = changes.iter().map(|change| String::from_utf8_lossy(change.path.as_ref()).into_owned());
        self.taken(&paths.collect::<Vec<_>>(), Some(*merged.commit)).await;
        Ok(())
    }

    /// Checks all zones and views of a commit that differ from what is there.
    fn check_push(&self, pushed: &Snapshot, before: &Snapshot) -> Result<(), KeepError> {
        let same = |path: &str| -> Result<bool, KeepError> {
            let id = |snapshot: &Snapshot| snapshot.entry(path).map(|entry| entry.map(|entry| entry.id));
            Ok(id(pushed)? == id(before)?)
        };
        let origins = files::origins(pushed)?;
        if let Some(gone) = files::origins(before)?.iter().find(|one| !origins.contains(one)) {
            return Err(KeepError::Other(format!(
                "zones/{}: the zone would be gone; `nymote signpost zone remove` does that",
                files::origin_text(gone)
            )));
        }
        if let Some(entry) = pushed.list("zones")?.iter().find(|entry| !entry.is_directory()) {
            return Err(KeepError::Other(format!("zones/{}: a zone is a directory of files", entry.name())));
        }
        let mut zones: Vec<(Name, Arc<Zone>)> = Vec::new();
        for origin in &origins {
            let zone = match self.keeper(origin) {
                Some(keeper) if same(&files::directory(origin))? => Ok(keeper.served()),
                Some(keeper) => keeper.look(pushed).map(Arc::new),
                None => files::load(pushed, origin).map(|loaded| Arc::new(loaded.zone)),
            };
            zones.push((origin.clone(), zone.map_err(|error| in_zone(origin, error))?));
        }
        for view in pushed.list("views")? {
            views::check_name(&view.name())?;
            for (origin, zone) in &zones {
                let sets = views::sets_of(views::read(pushed, &view.name(), origin)?.into_values().flatten());
                views::overlay(zone, &sets).map_err(|error| {
                    KeepError::Other(format!("views/{}/{}: {error}", view.name(), files::origin_text(origin)))
                })?;
            }
        }
        Ok(())
    }

    /// Takes in what was committed to these paths; a zone that is none is noted as trouble and stays as it was served.
    pub(super) async fn taken(self: &Arc<Self>, paths: &[String], commit: Option<CommitId>) {
        for origin in origins_of(paths) {
            let taken = match self.keeper(&origin) {
                Some(keeper) => keeper.take_in(commit).await.map(|changed| {
                    if changed.is_some() {
                        self.tell_secondaries(&origin);
                    }
                }),
                None => self.open_zone(&origin).map(drop),
            };
            if let Err(error) = &taken {
                tracing::error!(zone = %origin, %error, "what was committed is not served");
            }
            self.note_trouble(&origin, taken.err().map(|error| error.to_string()));
        }
        if paths.iter().any(|path| path.starts_with("views/")) {
            self.views_changed();
        }
    }
}

/// Says which zone an error is in, when it does not say so itself.
fn in_zone(origin: &Name, error: KeepError) -> KeepError {
    match error {
        KeepError::Zone(fault) => KeepError::Other(format!("zones/{}: {fault}", files::origin_text(origin))),
        other => other,
    }
}

/// The zones that paths belong to.
fn origins_of(paths: &[String]) -> BTreeSet<Name> {
    let origin = |path: &String| {
        Name::from_text(path.strip_prefix("zones/")?.split('/').next()?, Some(&Name::root())).ok()
    };
    paths.iter().filter_map(origin).collect()
}
