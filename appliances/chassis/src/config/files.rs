//! The files of the `config` branch as bytes: read, list, commit, watch.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use tokio::sync::watch;

use super::ConfigError;
use crate::limits;

/// The files of the branch. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct ConfigFiles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    writing: Mutex<()>,
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
    /// Opens or makes the files in a directory.
    pub fn in_dir(dir: &Path) -> Result<ConfigFiles, ConfigError> {
        fs::create_dir_all(dir).map_err(failed)?;
        let inner = Inner { dir: dir.to_owned(), writing: Mutex::new(()), commits: watch::Sender::new(0) };
        Ok(ConfigFiles(Arc::new(inner)))
    }

    /// The content of a file; `None` when there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        match fs::read(self.0.dir.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The names of the files in a directory, sorted.
    pub fn list(&self, dir: &str) -> Result<Vec<String>, ConfigError> {
        let entries = match fs::read_dir(self.0.dir.join(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Makes all changes, flushed, then tells the watchers.
    pub async fn commit(
        &self,
        _author: &str,
        _message: &str,
        changes: Vec<Change>,
    ) -> Result<(), ConfigError> {
        let files = self.clone();
        let written = tokio::task::spawn_blocking(move || files.write(changes)).await;
        written.map_err(|error| ConfigError::Store(error.to_string()))??;
        self.0.commits.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Counts commits: changes after each.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), ConfigError> {
        let _writing = self.0.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for change in changes {
            match change {
                Change::Put { path, bytes } if bytes.len() > limits::CONFIG_BYTES_MAX => {
                    return Err(ConfigError::TooLarge(path));
                }
                Change::Put { path, bytes } => {
                    let path = self.0.dir.join(path);
                    fs::create_dir_all(path.parent().unwrap_or(&self.0.dir)).map_err(failed)?;
                    let beside = path.with_extension("new");
                    fs::write(&beside, bytes).map_err(failed)?;
                    fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(failed)?;
                    fs::rename(&beside, &path).map_err(failed)?;
                }
                Change::Remove { path } => fs::remove_file(self.0.dir.join(path)).map_err(failed)?,
            }
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> ConfigError {
    ConfigError::Store(error.to_string())
}
