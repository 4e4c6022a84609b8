//! A message while it comes: its start in memory, the rest in a file that has no name, so that many slow senders of large
//! messages cost disk and not memory. Where there are no files (a machine of its own) all of it is in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of one message that stay in memory; most messages are smaller.
const IN_MEMORY_MAX: usize = 128 << 10;

/// A message under way.
#[derive(Debug, Default)]
pub struct Spool {
    directory: Option<PathBuf>,
    memory: Vec<u8>,
    file: Option<File>,
    bytes: usize,
    problem: Option<io::ErrorKind>,
}

impl Spool {
    /// An empty one that overflows into `directory`.
    pub fn new(directory: Option<&Path>) -> Spool {
        Spool { directory: directory.map(Path::to_owned), ..Spool::default() }
    }

    /// Adds a piece. A piece that cannot be kept is remembered as a problem, and the rest is not kept either.
    pub fn push(&mut self, piece: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        self.bytes += piece.len();
        if let Err(error) = self.keep(piece) {
            tracing::warn!(%error, "a message under way cannot be spooled");
            self.clear();
            self.problem = Some(error.kind());
        }
    }

    fn keep(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.memory.len() + piece.len() <= IN_MEMORY_MAX {
            self.memory.extend_from_slice(piece);
            return Ok(());
        }
        let Some(directory) = self.directory.clone() else {
            self.memory.extend_from_slice(piece);
            return Ok(());
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(&directory)?),
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        self.memory.extend_from_slice(piece);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Why it could not be kept.
    pub fn problem(&self) -> Option<io::ErrorKind> {
        self.problem
    }

    /// The whole message; empty afterwards.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut whole = Vec::with_capacity(self.bytes);
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut whole)?;
        }
        match whole.is_empty() {
            true => whole = std::mem::take(&mut self.memory),
            false => whole.extend_from_slice(&self.memory),
        }
        self.clear();
        Ok(whole)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Spool { directory: self.directory.take(), ..Spool::default() };
    }
}

/// A file that is gone with its descriptor, whatever happens to us.
fn nameless(directory: &Path) -> io::Result<File> {
    let name = directory.join(format!("spool.{}", chassis::accounts::new_token::<9>()));
    let file = File::options().read(true).write(true).create_new(true).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_back_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(Some(directory.path()));
        let piece: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
        for size in [1usize, 3, 20] {
            for _ in 0..size {
                spool.push(&piece);
            }
            assert_eq!(spool.len(), size * piece.len());
            assert!(spool.memory.len() <= IN_MEMORY_MAX);
            assert!(spool.take().unwrap() == piece.repeat(size));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        let mut nowhere = Spool::new(Some(Path::new("/nowhere/at/all")));
        (0..4).for_each(|_| nowhere.push(&piece));
        assert_eq!(nowhere.problem(), Some(io::ErrorKind::NotFound));
        nowhere.clear();
        assert!(nowhere.problem().is_none() && nowhere.take().unwrap().is_empty());
    }
}
