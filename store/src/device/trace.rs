//! A layer that writes down everything that is asked of the device below, and can say what a power cut would leave.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, RwLock};

use super::{Device, SECTOR_BYTES};

/// One thing that was asked of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes were read: from where, how many.
    Read(u64, usize),
    /// These bytes were written there.
    Write(u64, Vec<u8>),
    /// What was written before is durable.
    Flush,
    /// The device has this many bytes from now on.
    Grow(u64),
}

/// Passes everything on, and remembers it.
pub struct Trace<D> {
    below: D,
    operations: Mutex<Vec<Operation>>,
}

impl<D: Device> Trace<D> {
    /// Watches a device.
    pub fn new(below: D) -> Trace<D> {
        Trace { below, operations: Mutex::default() }
    }

    /// How much was asked so far.
    pub fn len_traced(&self) -> usize {
        self.operations.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }

    /// Everything that was asked so far, and forgets it.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.operations.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn note(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(operation);
    }
}

impl<D: Device> Device for Trace<D> {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.note(Operation::Read(offset, buffer.len()));
        self.below.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Operation::Write(offset, data.to_vec()));
        self.below.write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        // Noted as it begins: what others write while it lasts is none of its business.
        self.note(Operation::Flush);
        self.below.flush()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.note(Operation::Grow(len));
        self.below.grow(len)
    }

    fn room_to_grow(&self, len: u64) -> bool {
        self.below.room_to_grow(len)
    }
}

/// What a device holds after a power cut, for one point after another of a trace.
pub struct PowerCuts {
    /// Everything up to the last flush; shared with the devices that were cut from it, as long as they are there.
    durable: Arc<Vec<u8>>,
    pending: Vec<(u64, Vec<u8>)>,
}

impl PowerCuts {
    /// Begins with what the device held before the trace.
    pub fn new(image: Vec<u8>) -> PowerCuts {
        PowerCuts { durable: Arc::new(image), pending: Vec::new() }
    }

    /// Goes past an operation.
    pub fn pass(&mut self, operation: &Operation) {
        match operation {
            Operation::Read(..) => {}
            Operation::Write(offset, data) => self.pending.push((*offset, data.clone())),
            Operation::Grow(len) => {
                let len = (*len as usize).max(self.durable.len());
                Arc::make_mut(&mut self.durable).resize(len, 0);
            }
            Operation::Flush => {
                let durable = Arc::make_mut(&mut self.durable);
                for (offset, data) in std::mem::take(&mut self.pending) {
                    let start = offset as usize;
                    durable[start..start + data.len()].copy_from_slice(&data);
                }
            }
        }
    }

    /// Whether anything is lost by a cut here.
    pub fn is_all_durable(&self) -> bool {
        self.pending.is_empty()
    }

    /// What a cut here leaves. Each write that was not flushed is kept, dropped, or torn sector by sector, as the seed
    /// has it; later writes may be there without earlier ones.
    pub fn cut(&self, seed: u64) -> Vec<u8> {
        let mut image = (*self.durable).clone();
        self.survivors(seed, |place, bytes| image[place..place + bytes.len()].copy_from_slice(bytes));
        image
    }

    /// The same as a device that can be used on. It costs as much as what was not flushed, not as the whole.
    pub fn cut_device(&self, seed: u64) -> CutDevice {
        let device = CutDevice {
            base: self.durable.clone(),
            state: RwLock::new((self.durable.len() as u64, HashMap::new())),
        };
        self.survivors(seed, |place, bytes| device.put(place as u64, bytes));
        device
    }

    fn survivors(&self, seed: u64, mut then: impl FnMut(usize, &[u8])) {
        let mut dice = Dice(seed);
        for (offset, data) in &self.pending {
            let fate = dice.roll() % 4;
            let mut at = 0;
            while at < data.len() {
                let place = *offset as usize + at;
                let to_boundary = SECTOR_BYTES as usize - place % SECTOR_BYTES as usize;
                let len = to_boundary.min(data.len() - at);
                let kept = match fate {
                    0 => false,
                    1 => true,
                    _ => dice.roll().is_multiple_of(2),
                };
                if kept {
                    then(place, &data[at..at + len]);
                }
                at += len;
            }
        }
    }
}

type Sectors = HashMap<u64, [u8; SECTOR_BYTES as usize]>;

/// A device after a power cut: shared bytes, and over them the sectors that are its own.
pub struct CutDevice {
    base: Arc<Vec<u8>>,
    /// Length, and sectors by number.
    state: RwLock<(u64, Sectors)>,
}

impl CutDevice {
    fn put(&self, mut place: u64, mut data: &[u8]) {
        let mut state = self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !data.is_empty() {
            let (sector, within) = (place / SECTOR_BYTES, (place % SECTOR_BYTES) as usize);
            let len = data.len().min(SECTOR_BYTES as usize - within);
            let own = state.1.entry(sector).or_insert_with(|| shared(&self.base, sector));
            own[within..within + len].copy_from_slice(&data[..len]);
            data = &data[len..];
            place += len as u64;
        }
    }
}

fn shared(base: &[u8], sector: u64) -> [u8; SECTOR_BYTES as usize] {
    let mut bytes = [0; SECTOR_BYTES as usize];
    let start = ((sector * SECTOR_BYTES) as usize).min(base.len());
    let there = &base[start..base.len().min(start + SECTOR_BYTES as usize)];
    bytes[..there.len()].copy_from_slice(there);
    bytes
}

impl Device for CutDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).0)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > state.0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let (sector, within) = (place / SECTOR_BYTES, (place % SECTOR_BYTES) as usize);
            let len = (buffer.len() - at).min(SECTOR_BYTES as usize - within);
            let bytes = state.1.get(&sector).copied().unwrap_or_else(|| shared(&self.base, sector));
            buffer[at..at + len].copy_from_slice(&bytes[within..within + len]);
            at += len;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.put(offset, data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.0 = state.0.max(len);
        Ok(())
    }

    fn room_to_grow(&self, _: u64) -> bool {
        true
    }
}

/// A small generator of reproducible chances (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn a_cut_keeps_what_was_flushed_and_tears_the_rest() {
        let trace = Trace::new(MemoryDevice::new());
        trace.grow(4096).unwrap();
        trace.write(0, &[1; 1024]).unwrap();
        trace.flush().unwrap();
        trace.write(512, &[2; 2048]).unwrap();
        let mut cuts = PowerCuts::new(Vec::new());
        trace.take().iter().for_each(|operation| cuts.pass(operation));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let image = cuts.cut(seed);
            assert_eq!(image[..512], [1; 512]);
            let (device, mut read) = (cuts.cut_device(seed), vec![0; image.len()]);
            device.read(0, &mut read).unwrap();
            assert_eq!(read, image);
            device.write(700, &[9; 600]).unwrap();
            device.read(699, &mut read[..602]).unwrap();
            assert_eq!((read[0], &read[1..601], read[601]), (image[699], &[9; 600][..], image[1300]));
            let sector = |at: usize| image[at * 512];
            assert!(image.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            seen.insert((sector(1), sector(2), sector(3), sector(4)));
        }
        assert_eq!(seen.len(), 16, "every combination of sectors must come up");
    }
}
