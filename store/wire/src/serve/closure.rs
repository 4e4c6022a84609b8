//! Sends everything that some objects reach, in the order in which the repository gives it.

use std::io::Write;

use super::ServeError;
use crate::pack::PackWriter;
use crate::{Closure, Limits, RepositoryError, walk::WalkError};

/// A pack of a closure that is written object by object. Deltas name their bases by id: nothing has to be remembered.
pub struct ClosureSender<W: Write> {
    closure: Closure,
    left: u64,
    pack: PackWriter<W>,
}

impl<W: Write> ClosureSender<W> {
    /// Begins the pack.
    pub fn new(closure: Closure, limits: &Limits, out: W) -> Result<ClosureSender<W>, ServeError> {
        let most = limits.sent_objects_max;
        let count = u32::try_from(closure.count).ok().filter(|count| *count as usize <= most);
        let pack = PackWriter::new(out, count.ok_or(WalkError::TooMany(most))?)?;
        Ok(ClosureSender { left: closure.count, closure, pack })
    }

    /// Writes the next object; false when there is none left.
    pub fn step(&mut self) -> Result<bool, ServeError> {
        if self.left == 0 {
            return Ok(false);
        }
        let changed = || RepositoryError::Failed("objects of the clone have gone; clone again".into());
        let (_, stored) = self.closure.objects.next().ok_or_else(changed)??;
        match stored.base {
            None => self.pack.whole(stored.kind, stored.size_bytes, stored.zlib)?,
            Some(base) => self.pack.ref_delta(base, stored.size_bytes, stored.zlib)?,
        }
        self.left -= 1;
        Ok(true)
    }

    /// Where the next object will begin.
    pub fn offset(&self) -> u64 {
        self.pack.offset()
    }

    /// Ends the pack with its checksum.
    pub fn finish(self) -> Result<W, ServeError> {
        Ok(self.pack.finish()?)
    }
}
