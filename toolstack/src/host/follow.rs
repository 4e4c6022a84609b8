//! The repository that is followed: fetched, checked, never trusted further than its signatures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::git::Git;
use crate::trouble::Trouble;

/// A commit that may be carried out.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its id.
    pub commit: String,
    /// Each machine's directory, as the id of its tree: equal trees are equal machines.
    pub machines: BTreeMap<String, String>,
    /// The accounts' directory, as the id of its tree; empty without one.
    pub accounts: String,
    /// The data goes back to where it was before this commit's reverted one: `Data: restore` in the message.
    pub restores: Option<String>,
}

/// The host's copy of the repository.
#[derive(Debug)]
pub struct Follow {
    git: Git,
    source: String,
    signers: PathBuf,
}

impl Follow {
    /// Opens the copy, or makes it.
    pub fn new(source: &str, signers: &Path, state: &Path) -> Result<Follow, Trouble> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Trouble::io("find", path, error));
        let signers = absolute(signers)?;
        if !signers.exists() {
            return Err(Trouble::new(format!("there are no signers in {}", signers.display()))
                .advise("put the line into it that `nymote deploy` prints: NAME KEY"));
        }
        let source = if Path::new(source).exists() {
            absolute(Path::new(source))?.display().to_string()
        } else {
            source.to_owned()
        };
        let dir = state.join("repository.git");
        if !dir.join("HEAD").exists() {
            fs::create_dir_all(&dir).map_err(|error| Trouble::io("make", &dir, error))?;
            Git::at(&dir).run(&["init", "-q", "--bare", "-b", "main"])?;
        }
        Ok(Follow { git: Git::at(dir), source, signers })
    }

    /// The commit that runs, from an earlier life of this host too.
    pub fn running(&self) -> Option<String> {
        self.git.run(&["rev-parse", "-q", "--verify", "refs/nymote/running"]).ok()
    }

    /// Notes that a commit was carried out (or tried, and what failed in it rolled back).
    pub fn settle(&self, commit: &str) -> Result<(), Trouble> {
        self.git.run(&["update-ref", "refs/nymote/running", commit]).map(drop)
    }

    /// Fetches, and gives the head if it may be carried out.
    pub fn look(&self) -> Result<Head, Trouble> {
        self.git.run(&[
            "fetch",
            "-q",
            "--no-tags",
            "--force",
            &self.source,
            "refs/heads/main:refs/nymote/incoming",
        ])?;
        let incoming = self.git.run(&["rev-parse", "refs/nymote/incoming"])?;
        let running = self.running();
        if let Some(running) = &running
            && !self.git.asks(&["merge-base", "--is-ancestor", running, &incoming])
        {
            return Err(Trouble::new(format!(
                "the history was rewritten: {} does not follow {}, which runs",
                short(&incoming),
                short(running)
            ))
            .advise("nothing was changed; bring the branch back, or revert with a new commit"));
        }
        let range = running.as_ref().map_or(incoming.clone(), |running| format!("{running}..{incoming}"));
        for commit in self.git.run(&["rev-list", "--reverse", &range])?.lines() {
            if !self.git.is_signed(commit, &self.signers) {
                return Err(Trouble::new(format!(
                    "commit {} is not signed by an allowed key",
                    short(commit)
                ))
                .advise(format!("nothing was changed; the allowed keys are in {}", self.signers.display())));
            }
        }
        self.head_at(&incoming)
    }

    /// A commit that was checked before.
    pub fn head_at(&self, commit: &str) -> Result<Head, Trouble> {
        let mut machines = BTreeMap::new();
        if self.git.asks(&["cat-file", "-e", &format!("{commit}:machines")]) {
            for line in self.git.run(&["ls-tree", &format!("{commit}:machines")])?.lines() {
                let (meta, name) = line.split_once('\t').unwrap_or_default();
                let mut meta = meta.split(' ').skip(1);
                if meta.next() == Some("tree") && crate::suite::member(name).is_some() {
                    machines.insert(name.to_owned(), meta.next().unwrap_or_default().to_owned());
                }
            }
        }
        let accounts = self.git.run(&["rev-parse", "-q", "--verify", &format!("{commit}:accounts")]);
        let message = self.git.run(&["log", "-1", "--format=%B", commit])?;
        Ok(Head {
            commit: commit.to_owned(),
            machines,
            accounts: accounts.unwrap_or_default(),
            restores: restored(&message),
        })
    }

    /// A file of a tree.
    pub fn file(&self, tree: &str, name: &str) -> Result<Vec<u8>, Trouble> {
        let path = if tree.contains(':') { format!("{tree}/{name}") } else { format!("{tree}:{name}") };
        self.git.bytes(&["cat-file", "blob", &path])
    }

    /// The same, where there may be none.
    pub fn file_if_any(&self, tree: &str, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
        let there = self.git.asks(&["cat-file", "-e", &format!("{tree}:{name}")]);
        if there { self.file(tree, name).map(Some) } else { Ok(None) }
    }

    /// The accounts of a commit, as their files.
    pub fn accounts(&self, commit: &str) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
        if !self.git.asks(&["cat-file", "-e", &format!("{commit}:accounts")]) {
            return Ok(Vec::new());
        }
        let names = self.git.run(&["ls-tree", "--name-only", &format!("{commit}:accounts")])?;
        let file =
            |name: &str| self.file(&format!("{commit}:accounts"), name).map(|bytes| (name.to_owned(), bytes));
        names.lines().map(file).collect()
    }
}

/// The commit whose data is to come back: the one that a message with `Data: restore` says it reverts.
fn restored(message: &str) -> Option<String> {
    let wants = message.lines().any(|line| line.trim().eq_ignore_ascii_case("data: restore"));
    let reverted = message.lines().find_map(|line| line.trim().strip_prefix("This reverts commit "))?;
    wants.then(|| reverted.trim_end_matches('.').to_owned())
}

/// A commit's name for people.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_back_only_when_asked_for() {
        let revert = "Revert \"Deploy\"\n\nThis reverts commit 0123456789abcdef.\n";
        assert_eq!(restored(revert), None);
        assert_eq!(restored(&format!("{revert}Data: restore\n")).as_deref(), Some("0123456789abcdef"));
        assert_eq!(restored("Data: restore"), None);
    }
}
