//! What went wrong, to what, and what to do, as `nymote` says it.

use std::fmt;
use std::io;
use std::path::Path;

/// An error for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    what: String,
    advice: Vec<String>,
}

impl Trouble {
    /// What happened, as a sentence without its full stop.
    pub fn new(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), advice: Vec::new() }
    }

    /// Adds what to do.
    pub fn advise(mut self, advice: impl Into<String>) -> Trouble {
        self.advice.push(advice.into());
        self
    }

    /// A file or directory that could not be used.
    pub fn io(verb: &str, path: &Path, error: io::Error) -> Trouble {
        let trouble = Trouble::new(format!("cannot {verb} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                trouble.advise("make room on that disk; nothing was lost that had been acknowledged")
            }
            io::ErrorKind::PermissionDenied => {
                trouble.advise("run as the user who owns it, or choose another directory with --dir")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                trouble.advise("choose a directory on a writable disk with --dir")
            }
            _ => trouble,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.advice.iter().try_for_each(|advice| write!(f, "\n  {advice}"))
    }
}

impl std::error::Error for Trouble {}

impl From<chassis::control::CommandError> for Trouble {
    fn from(error: chassis::control::CommandError) -> Trouble {
        Trouble::new(error.0)
    }
}
