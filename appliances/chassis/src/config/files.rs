//! The files of the `config` branch as bytes: read, list, commit, watch.

use bytes::Bytes;
use store::{Author, Branch, Store};
use tokio::sync::watch;

use super::ConfigError;
use crate::limits;

/// The files of the branch. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct ConfigFiles {
    branch: Branch,
    commits: watch::Sender<u64>,
}

/// One edit of a commit.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes a file.
    Put {
        /// Its path on the branch.
        path: String,
        /// Its whole content.
        bytes: Vec<u8>,
    },
    /// Removes a file.
    Remove {
        /// Its path on the branch.
        path: String,
    },
}

impl Change {
    /// Writes a file.
    pub fn put(path: &str, bytes: impl Into<Vec<u8>>) -> Change {
        Change::Put { path: path.to_owned(), bytes: bytes.into() }
    }
    /// Removes a file.
    pub fn remove(path: &str) -> Change {
        Change::Remove { path: path.to_owned() }
    }
}

impl ConfigFiles {
    /// The branch `config` of a store. Needs a runtime: a task tells the watchers of every commit, whoever made it.
    pub fn of(store: &Store) -> Result<ConfigFiles, ConfigError> {
        let branch = store.branch(BRANCH)?;
        let files = ConfigFiles { branch, commits: watch::Sender::new(0) };
        let mut events = files.branch.watch("", None)?;
        let commits = files.commits.clone();
        tokio::spawn(async move {
            while events.next_async().await.is_ok() {
                commits.send_modify(|count| *count += 1);
            }
        });
        Ok(files)
    }

    /// The content of a file; `None` when there is none.
    pub fn read(&self, path: &str) -> Result<Option<Bytes>, ConfigError> {
        Ok(self.branch.snapshot()?.read(path)?)
    }

    /// The names of the files in a directory, sorted.
    pub fn list(&self, dir: &str) -> Result<Vec<String>, ConfigError> {
        let entries = self.branch.snapshot()?.list(dir)?;
        let mut names: Vec<String> = entries.iter().map(|entry| entry.name().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Makes all changes as one commit, flushed. `author` is an account or a part of the program.
    pub async fn commit(&self, author: &str, message: &str, changes: Vec<Change>) -> Result<(), ConfigError> {
        let mut transaction = self.branch.begin()?;
        for change in changes {
            match change {
                Change::Put { path, bytes } if bytes.len() > limits::CONFIG_BYTES_MAX => {
                    return Err(ConfigError::TooLarge(path));
                }
                Change::Put { path, bytes } => drop(transaction.put(path, bytes)?),
                Change::Remove { path } => drop(transaction.remove(path)?),
            }
        }
        let author = Author::new(author, format!("{author}@localhost"));
        transaction.commit_async(author, message).await?;
        Ok(())
    }

    /// The branch itself, for its history.
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Counts commits: changes after each.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }
}

impl std::fmt::Debug for ConfigFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfigFiles")
    }
}

/// The branch's name. It holds verifiers of passwords and private keys: never serve it to anybody.
pub(super) const BRANCH: &str = "config";
