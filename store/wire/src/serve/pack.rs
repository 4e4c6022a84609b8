//! Sends the objects of a selection as a pack.

use std::io::Write;

use super::ServeError;
use crate::pack::{PackWriter, deflate};
use crate::walk::{Selection, WalkError};
use crate::{ObjectId, Objects, Zlib};

/// Writes a pack. Stored streams are copied; a stored delta is sent as one when its base is in the pack, else made whole.
pub fn send_pack<W: Write>(
    objects: &dyn Objects,
    selection: &Selection,
    ofs_delta: bool,
    out: W,
) -> Result<W, ServeError> {
    let mut sender = PackSender::new(objects, selection, ofs_delta, out)?;
    while sender.step()? {}
    sender.finish()
}

/// A pack that is written object by object.
pub struct PackSender<'a, W: Write> {
    objects: &'a dyn Objects,
    selection: &'a Selection,
    place: usize,
    pack: PackWriter<W>,
    offsets: Offsets,
}

impl<'a, W: Write> PackSender<'a, W> {
    /// Begins the pack of a selection.
    pub fn new(
        objects: &'a dyn Objects,
        selection: &'a Selection,
        ofs_delta: bool,
        out: W,
    ) -> Result<PackSender<'a, W>, ServeError> {
        let count = u32::try_from(selection.len()).map_err(|_| WalkError::TooMany(u32::MAX as usize))?;
        let pack = PackWriter::new(out, count)?;
        // Offsets cost eight bytes an object; a delta against an id costs twenty in the pack.
        let offsets = Offsets::new(if ofs_delta { selection.len() } else { 0 });
        Ok(PackSender { objects, selection, place: 0, pack, offsets })
    }

    /// Writes the next object; false when there is none left.
    pub fn step(&mut self) -> Result<bool, ServeError> {
        let Some(id) = self.selection.get(self.place) else { return Ok(false) };
        self.offsets.note(self.place, self.pack.offset());
        let stored = self.objects.stored(&id)?.ok_or(WalkError::Missing(id))?;
        match stored.base.and_then(|base| Some((base, self.selection.place(&base)?))) {
            None if stored.base.is_none() => {
                self.pack.whole(stored.kind, stored.size_bytes, stored.zlib)?;
            }
            None => {
                whole(self.objects, id, &mut self.pack)?;
            }
            Some((base, base_place)) => match self.offsets.get(base_place, self.place) {
                Some(offset) => self.pack.ofs_delta(offset, stored.size_bytes, stored.zlib)?,
                None => self.pack.ref_delta(base, stored.size_bytes, stored.zlib)?,
            },
        }
        self.place += 1;
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

fn whole<W: Write>(objects: &dyn Objects, id: ObjectId, pack: &mut PackWriter<W>) -> Result<(), ServeError> {
    let object = objects.read(&id, u64::MAX)?.ok_or(WalkError::Missing(id))?;
    Ok(pack.whole(object.kind, object.content.len() as u64, Zlib::Bytes(deflate(&object.content)))?)
}

/// Where each object began; kept only for packs that are not too large for it.
struct Offsets(Vec<u64>, bool);

const OFFSETS_MAX: usize = 1_000_000;

impl Offsets {
    fn new(count: usize) -> Offsets {
        Offsets(Vec::new(), count > 0 && count <= OFFSETS_MAX)
    }

    fn note(&mut self, place: usize, offset: u64) {
        if self.1 {
            debug_assert_eq!(self.0.len(), place);
            self.0.push(offset);
        }
    }

    fn get(&self, base: usize, place: usize) -> Option<u64> {
        self.0.get(base).copied().filter(|_| base < place)
    }
}
