//! Sends the objects of a selection as a pack.

use std::io::Write;

use super::ServeError;
use crate::pack::{PackWriter, deflate};
use crate::walk::{Selection, WalkError};
use crate::{ObjectId, Objects};

/// Writes a pack. Stored streams are copied; a stored delta is sent as one when its base is in the pack, else made whole.
pub fn send_pack<W: Write>(
    objects: &dyn Objects,
    selection: &Selection,
    ofs_delta: bool,
    out: W,
) -> Result<W, ServeError> {
    let count = u32::try_from(selection.len()).map_err(|_| WalkError::TooMany(u32::MAX as usize))?;
    let mut pack = PackWriter::new(out, count)?;
    // Offsets cost eight bytes an object; a delta against an id costs twenty in the pack.
    let mut offsets = Offsets::new(if ofs_delta { selection.len() } else { 0 });
    for (place, id) in selection.iter().enumerate() {
        offsets.note(place, pack.offset());
        let mut stored = objects.stored(&id)?.ok_or(WalkError::Missing(id))?;
        match stored.base.and_then(|base| Some((base, selection.place(&base)?))) {
            None if stored.base.is_none() => pack.whole(stored.kind, stored.size_bytes, &mut stored.zlib)?,
            None => {
                drop(stored);
                whole(objects, id, &mut pack)?;
            }
            Some((base, base_place)) => match offsets.get(base_place, place) {
                Some(offset) => pack.ofs_delta(offset, stored.size_bytes, &mut stored.zlib)?,
                None => pack.ref_delta(base, stored.size_bytes, &mut stored.zlib)?,
            },
        }
    }
    Ok(pack.finish()?)
}

fn whole<W: Write>(objects: &dyn Objects, id: ObjectId, pack: &mut PackWriter<W>) -> Result<(), ServeError> {
    let object = objects.read(&id, u64::MAX)?.ok_or(WalkError::Missing(id))?;
    Ok(pack.whole(object.kind, object.content.len() as u64, &mut &deflate(&object.content)[..])?)
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
