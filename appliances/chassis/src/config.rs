//! The `config` branch: typed settings in TOML files, every change a commit, watchers told of each.
//!
//! | file | what it holds |
//! |---|---|
//! | `household.toml` | the domain, and what all appliances share |
//! | `NAME.toml` | the settings of the appliance of that name |
//! | `accounts/USER.toml` | an account with its passwords' verifiers |
//! | `older` | a note that the data went back to an earlier state, until the appliance has started on it |
//! | `tls/*.pem` | the local authority, and real certificates |

mod files;
mod older;

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use files::{Change, ConfigFiles};
pub(crate) use older::OLDER;
pub use older::note_older;

/// Why the configuration could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is not what its type says; with line and column.
    #[error("{file}, line {line}: {reason}")]
    Wrong {
        /// The file on the branch.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The store could not read or write.
    #[error("the configuration cannot be kept: {0}")]
    Store(#[from] store::Error),
    /// Larger than a configuration file may be.
    #[error("{0} is larger than a configuration file may be")]
    TooLarge(String),
}

/// The settings of one file, as a type. Cheap to clone.
#[derive(Debug)]
pub struct Config<T> {
    files: ConfigFiles,
    path: String,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Config<T> {
        Config { files: self.files.clone(), path: self.path.clone(), kind: PhantomData }
    }
}

impl<T: DeserializeOwned + Serialize + Default> Config<T> {
    /// The file at `path`, read as a `T`.
    pub fn at(files: &ConfigFiles, path: impl Into<String>) -> Config<T> {
        Config { files: files.clone(), path: path.into(), kind: PhantomData }
    }

    /// The settings as they are now; `T::default()` when the file is not there.
    pub fn get(&self) -> Result<T, ConfigError> {
        match self.files.read(&self.path)? {
            Some(bytes) => parse(&self.path, &bytes),
            None => Ok(T::default()),
        }
    }

    /// Changes them by a commit. `author` is the account or part of the program that asked; `message` says what for.
    pub async fn change(
        &self,
        author: &str,
        message: &str,
        edit: impl FnOnce(&mut T),
    ) -> Result<T, ConfigError> {
        let mut settings = self.get()?;
        edit(&mut settings);
        let text = written(&self.path, &settings)?;
        self.files.commit(author, message, vec![Change::put(&self.path, text)]).await?;
        Ok(settings)
    }

    /// Told after each commit on the branch, also of other files: compare what you read.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.files.watch()
    }
}

/// Reads a TOML file as a `T`; the error has the line.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ConfigError> {
    let wrong = |line, reason: String| ConfigError::Wrong { file: file.to_owned(), line, reason };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "this is not UTF-8".to_owned()))?;
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        wrong(text[..at.min(text.len())].matches('\n').count() + 1, error.message().to_owned())
    })
}

/// Writes settings as TOML.
pub fn written<T: Serialize>(file: &str, settings: &T) -> Result<Vec<u8>, ConfigError> {
    let wrong = |error: toml::ser::Error| ConfigError::Wrong {
        file: file.to_owned(),
        line: 0,
        reason: error.to_string(),
    };
    toml::to_string(settings).map(String::into_bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        hops: u32,
        names: Vec<String>,
    }

    #[tokio::test]
    async fn a_change_is_read_back_and_announced() {
        let store = store::Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
        let files = ConfigFiles::of(&store).unwrap();
        let config = Config::<Sample>::at(&files, "sample.toml");
        let mut watching = config.watch();
        assert_eq!(config.get().unwrap(), Sample::default());
        config.change("anna", "more hops", |sample| sample.hops = 9).await.unwrap();
        watching.changed().await.unwrap();
        let again = Config::<Sample>::at(&ConfigFiles::of(&store).unwrap(), "sample.toml");
        assert_eq!(again.get().unwrap().hops, 9);
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse::<Sample>("x.toml", b"hops = 1\n\nnames = 7\n").unwrap_err().to_string();
        assert!(error.starts_with("x.toml, line 3: "), "{error}");
    }
}
