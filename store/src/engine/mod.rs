//! The engine: a log of checksummed records on a device, and an ordered index of where everything is.
//!
//! It knows bytes, keys and places, nothing of Git but the form of an object's entry. Invariants:
//! - a transaction counts as a whole once its last record is on the device, and is acknowledged after a flush;
//! - no sector that holds acknowledged bytes is ever written again, until everything in its segment is elsewhere;
//! - after a failed write or flush nothing is written any more.

mod block;
mod checkpoint;
mod codec;
mod copies;
mod entry;
mod format;
pub(crate) mod keys;
mod log;
mod replay;
mod run;
mod salvage;
mod table;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use block::Places;
pub(crate) use codec::{Take, put_number};
pub(crate) use copies::Moved;
pub(crate) use entry::{Delta, ObjectEntry, Part, kind_from, kind_number};
use format::{BIRTH_OFFSET, LogPosition, SUPERBLOCK_OFFSETS, Superblock};
use log::Tail;
use table::Tables;

use crate::cache::Cache;
use crate::device::Device;
use crate::{Error, Result};

/// Smallest segment: the largest record that a test wants, and two superblocks.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 32 << 10;

/// Log that a store leaves behind for the next open when it is closed.
const LOG_LEFT_BYTES_MAX: u64 = 512 << 10;

/// More runs than this make writers wait for a merge.
const RUNS_MAX: usize = 48;

/// Keys and values to write; `None` deletes.
pub(crate) type Edits = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What one transaction writes: payloads, then entries that may name where they went.
#[derive(Default)]
pub(crate) struct Batch {
    pub objects: Vec<NewObject>,
    pub edits: Edits,
    /// The push that the objects belong to, as long as it is not published.
    pub quarantine: Option<u64>,
}

/// An object to be stored.
pub(crate) struct NewObject {
    pub id: git_wire::ObjectId,
    pub kind: git_wire::Kind,
    pub size_bytes: u64,
    pub delta: Option<Delta>,
    pub stream: Stream,
}

/// An object's zlib stream: still to be written, or on the device already.
pub(crate) enum Stream {
    Bytes(Vec<u8>),
    Parts(Vec<Part>),
}

/// See the module.
pub(crate) struct Engine {
    device: Box<dyn Device>,
    segment_bytes: u64,
    tail: Mutex<Tail>,
    tables: RwLock<Tables>,
    failure: RwLock<Option<String>>,
    /// Blocks of pairs, and of places: those are few and asked for at every look-up, so a scan must not drive them out.
    blocks: Cache<(u64, u32), Arc<[u8]>>,
    places: Cache<(u64, u32), Arc<Places>>,
    /// From which segment of the log on nothing may be collected, and how many ask for that.
    holds: Mutex<BTreeMap<(u64, u64), usize>>,
    /// Held by the one that merges runs.
    merging: Mutex<()>,
    /// Set when enough runs have come together.
    wants_merging: AtomicBool,
    /// Set when nothing that takes long should be begun or gone on with.
    closing: AtomicBool,
    /// Whether the device had no room when a writer asked for it last.
    full: AtomicBool,
    /// Set while a salvage reads: blocks of the index that are damaged are passed over.
    tolerates: AtomicBool,
}

impl Engine {
    /// Makes an empty store on a device, whatever was there.
    pub fn create(device: Box<dyn Device>, segment_bytes: u64, cache_bytes: usize) -> Result<Engine> {
        let segment_bytes = segment_bytes.max(SEGMENT_BYTES_MIN);
        grow(&*device, segment_bytes * 2)?;
        let start = LogPosition { segment: 1, offset: 0, seq: 1, chain: 0 };
        let superblock = Superblock {
            segment_bytes: segment_bytes as u32,
            store: random(),
            generation: 1,
            start,
            reached: 1,
            checkpoint: (0, 0, 0),
        };
        // An old log must not be taken for the beginning of the new one.
        device.write(segment_bytes, &[0; crate::device::SECTOR_BYTES as usize])?;
        device.flush()?;
        for offset in SUPERBLOCK_OFFSETS.into_iter().chain([BIRTH_OFFSET]) {
            device.write(offset, &superblock.encode())?;
        }
        device.flush()?;
        Engine::open(device, cache_bytes)
    }

    /// Opens a store: reads the log's end, which is all that is not in a checkpoint.
    pub fn open(device: Box<dyn Device>, cache_bytes: usize) -> Result<Engine> {
        let (superblock, replayed) = replay::open(&*device)?;
        let segment_bytes = u64::from(superblock.segment_bytes);
        if replayed.end.seq != superblock.reached {
            // What a killed process left in the system's cache is ours from now on, so it must be durable.
            device.flush()?;
        }
        let tail = Tail::new(superblock, &replayed);
        Ok(Engine::assemble(device, segment_bytes, tail, replayed.tables, cache_bytes))
    }

    /// Opens whatever can be read of a damaged store; says what could not. Nothing is written until [`Engine::mend`].
    pub fn salvage(device: Box<dyn Device>, cache_bytes: usize) -> Result<(Engine, Vec<String>)> {
        let (engine, notes) = salvage::open(device, cache_bytes)?;
        Ok((engine, notes.0))
    }

    /// Makes what a salvage found a store that opens: one new run of everything that can be read.
    pub fn mend(&self) -> Result<()> {
        self.checkpoint(&BTreeSet::new())?;
        checkpoint::merge_once(self, true)?;
        self.checkpoint(&BTreeSet::new())?;
        self.tolerates.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn assemble(
        device: Box<dyn Device>,
        segment_bytes: u64,
        tail: Tail,
        tables: Tables,
        cache_bytes: usize,
    ) -> Engine {
        Engine {
            device,
            segment_bytes,
            tail: Mutex::new(tail),
            tables: RwLock::new(tables),
            failure: RwLock::new(None),
            blocks: Cache::new(cache_bytes / 2),
            places: Cache::new(cache_bytes / 2),
            holds: Mutex::default(),
            merging: Mutex::default(),
            wants_merging: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            tolerates: AtomicBool::new(false),
        }
    }

    /// The value under a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        table::get(self, key)
    }

    /// Keys and values from `from` up to, not including, `to`; at most `limit` of them.
    pub fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        table::scan(self, from, to, limit)
    }

    /// Shows keys and values from `from` up to, not including, `to`, until `then` says that it is enough.
    pub fn visit(
        &self,
        from: &[u8],
        to: &[u8],
        then: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        table::visit(self, from, to, table::PAGE_KEYS, then)
    }

    /// The bytes of a part, checked.
    pub fn read_part(&self, part: &Part) -> Result<Vec<u8>> {
        let mut bytes = vec![0; part.len as usize];
        self.device.read(part.offset, &mut bytes)?;
        if crc32fast::hash(&bytes) != part.crc {
            return Err(Error::corrupt(format!("the checksum at byte {} is wrong", part.offset)));
        }
        Ok(bytes)
    }

    /// Reads bytes from a place on, as many as the segment has; unchecked.
    pub fn read_ahead(&self, offset: u64, len: u64, into: &mut Vec<u8>) -> Result<()> {
        let end = (offset / self.segment_bytes + 1) * self.segment_bytes;
        into.resize(len.min(end - offset) as usize, 0);
        Ok(self.device.read(offset, into)?)
    }

    /// Writes a transaction and flushes. When it returns `Ok`, all of it is durable and seen by readers.
    pub fn write(&self, batch: Batch) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        let edits = log::append(self, &mut tail, batch)?;
        self.final_on_failure(self.device.flush().map_err(Error::from))?;
        tail.flushed();
        self.apply(edits);
        self.checkpoint_when_due(&mut tail)
    }

    /// Writes without a flush: seen at once, durable with the next transaction.
    pub fn write_unflushed(&self, batch: Batch) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        let edits = log::append(self, &mut tail, batch)?;
        self.apply(edits);
        self.checkpoint_when_due(&mut tail)
    }

    /// Writes a piece of a large object's stream. It is durable with the next transaction, and garbage without one.
    pub fn write_piece(&self, bytes: &[u8]) -> Result<Vec<Part>> {
        self.refuse_after_failure()?;
        log::append_piece(self, &mut self.tail(), bytes)
    }

    /// Says where the log ends, so that damage to its end is not taken for a power cut. Called when a store closes. What
    /// the next open would have to read for long goes into a checkpoint.
    pub fn close(&self) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        if tail.since_checkpoint > LOG_LEFT_BYTES_MAX {
            match checkpoint::make(self, &mut tail, &BTreeSet::new(), None) {
                Ok(()) | Err(Error::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some((offset, superblock)) = tail.closing_superblock() {
            self.final_on_failure(self.device.write(offset, &superblock.encode()).map_err(Error::from))?;
            self.final_on_failure(self.device.flush().map_err(Error::from))?;
        }
        Ok(())
    }

    /// Makes a checkpoint now. The log's segments in `forget` are given up: nothing in them is named any more.
    pub fn checkpoint(&self, forget: &BTreeSet<u32>) -> Result<()> {
        self.refuse_after_failure()?;
        checkpoint::make(self, &mut self.tail(), forget, None)
    }

    /// Whether runs should be merged.
    pub fn wants_merging(&self) -> bool {
        self.wants_merging.load(Ordering::SeqCst) && !self.closing.load(Ordering::SeqCst)
    }

    /// Merges runs until no more are worth it, while others read and write.
    pub fn merge_runs(&self) -> Result<()> {
        self.refuse_after_failure()?;
        while checkpoint::merge_once(self, false)? {}
        Ok(())
    }

    /// Makes one run out of everything.
    pub fn merge_all_runs(&self) -> Result<()> {
        self.checkpoint(&BTreeSet::new())?;
        checkpoint::merge_once(self, true).map(drop)
    }

    /// Waits for a merge that is under way, when runs come faster than they are merged.
    pub fn slow_down(&self) {
        let runs = self.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).runs.len();
        if runs > RUNS_MAX {
            drop(self.merging.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        }
    }

    /// Breaks off what takes long; the store is about to be closed.
    pub fn hurry(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Keeps collections off what is written from now on. Gives the place in the log and the number of the next object.
    pub fn hold(&self) -> (u64, u64) {
        // Under the tail's lock, so that a collection either sees the hold or is seen by it.
        let tail = self.tail();
        let since = (tail.ordinal(), tail.next_number);
        *self.holds.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(since).or_default() += 1;
        since
    }

    /// Ends a hold.
    pub fn release(&self, since: (u64, u64)) {
        let mut holds = self.holds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = holds.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&since);
            }
        }
    }

    /// Numbers an object that is entered later.
    pub fn take_number(&self) -> u64 {
        let mut tail = self.tail();
        tail.next_number += 1;
        tail.next_number - 1
    }

    /// Counts what is written: as long as it stays the same, so does every answer.
    pub fn changes(&self) -> u64 {
        self.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).changes
    }

    /// Why nothing is written any more, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.failure.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn apply(&self, edits: Edits) {
        self.tables.write().unwrap_or_else(|poisoned| poisoned.into_inner()).apply(edits);
    }

    /// What was asked for is done and durable already; only a failure of the device matters now, and that is kept.
    fn checkpoint_when_due(&self, tail: &mut Tail) -> Result<()> {
        if checkpoint::is_due(self, tail) {
            match checkpoint::make(self, tail, &BTreeSet::new(), None) {
                // No room for a checkpoint: the log goes on, and an open reads more of it.
                Err(Error::Full { .. }) | Ok(()) => {}
                Err(error) => drop(self.final_on_failure::<()>(Err(error))),
            }
        }
        Ok(())
    }

    fn places(&self, part: &Part) -> Result<Arc<Places>> {
        if let Some(places) = self.places.get(&(part.offset, part.crc)) {
            return Ok(places);
        }
        let places = Arc::new(Places::decode(&self.read_part(part)?)?);
        self.places.put((part.offset, part.crc), places.clone(), places.memory());
        Ok(places)
    }

    /// A block of pairs, which may be kept for whoever asks next.
    fn block(&self, part: &Part, keep: bool) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.blocks.get(&(part.offset, part.crc)) {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = self.read_part(part)?.into();
        if keep {
            self.blocks.put((part.offset, part.crc), bytes.clone(), bytes.len());
        }
        Ok(bytes)
    }

    fn is_tolerant(&self) -> bool {
        self.tolerates.load(Ordering::SeqCst)
    }

    /// What was read, or nothing where a salvage passes over damage.
    fn or_skip<T>(&self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Err(Error::Corrupt { .. } | Error::Device(_)) if self.tolerates.load(Ordering::SeqCst) => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn refuse_after_failure(&self) -> Result<()> {
        self.failure().map_or(Ok(()), |why| Err(Error::ReadOnly { why }))
    }

    /// Fails when the store is about to be closed: what takes long ends.
    pub fn refuse_when_closing(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    /// A failed write or flush is final: what the device holds is unknown from here on.
    fn final_on_failure<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let why = error.to_string();
            *self.failure.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(why.clone());
            Error::ReadOnly { why }
        })
    }
}

/// Makes room, or says that there is none.
fn grow(device: &dyn Device, len: u64) -> Result<()> {
    if device.len()? >= len {
        return Ok(());
    }
    device.grow(len).map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => Error::Full { capacity_bytes: device.len().unwrap_or(0) },
        _ => error.into(),
    })
}

/// A number that no other open draws: the hasher's keys come from the system's entropy.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
