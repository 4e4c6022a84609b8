//! Sends everything that some objects reach, in the order in which the repository gives it.

use std::io::Write;

use super::ServeError;
use crate::pack::PackWriter;
use crate::{Closure, ClosureBase, Limits, RepositoryError, walk::WalkError};

/// A pack of a closure that is written object by object.
pub struct ClosureSender<W: Write> {
    closure: Closure,
    left: u64,
    pack: PackWriter<W>,
    /// Where the objects began that may be named as bases.
    offsets: Vec<u64>,
}

impl<W: Write> ClosureSender<W> {
    /// Begins the pack.
    pub fn new(closure: Closure, limits: &Limits, out: W) -> Result<ClosureSender<W>, ServeError> {
        let most = limits.sent_objects_max;
        let count = u32::try_from(closure.count).ok().filter(|count| *count as usize <= most);
        let pack = PackWriter::new(out, count.ok_or(WalkError::TooMany(most))?)?;
        Ok(ClosureSender { left: closure.count, closure, pack, offsets: Vec::new() })
    }

    /// Writes the next object; false when there is none left.
    pub fn step(&mut self) -> Result<bool, ServeError> {
        if self.left == 0 {
            return Ok(false);
        }
        let object = self.closure.objects.next()?.ok_or_else(moved)?;
        self.offsets.truncate(object.place as usize);
        self.offsets.push(self.pack.offset());
        match object.base {
            None => self.pack.whole(object.kind, object.size_bytes, object.zlib)?,
            Some(ClosureBase::Id(id)) => self.pack.ref_delta(id, object.size_bytes, object.zlib)?,
            Some(ClosureBase::Place(place)) => {
                let base = self.offsets[..self.offsets.len() - 1].get(place as usize).copied();
                self.pack.ofs_delta(base.ok_or_else(moved)?, object.size_bytes, object.zlib)?;
            }
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

fn moved() -> ServeError {
    RepositoryError::Failed("objects of the clone have moved or gone meanwhile; clone again".into()).into()
}
