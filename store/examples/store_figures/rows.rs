//! The rows of the table.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use store::wire::serve::{ClosureSender, send_pack};
use store::wire::walk::{Filter, History, select};
use store::wire::{Limits, Repository};
use store::{Device, FileDevice, Options, Result, Store};

use crate::{ada, create, mail};

/// Counts what is written.
struct Counted(FileDevice, Arc<AtomicU64>);

impl Device for Counted {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.1.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.0.write(offset, data)
    }

    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }

    fn grow(&self, len: u64) -> std::io::Result<()> {
        self.0.grow(len)
    }

    fn room_to_grow(&self, len: u64) -> bool {
        self.0.room_to_grow(len)
    }

    fn shrink(&self, len: u64) -> std::io::Result<bool> {
        self.0.shrink(len)
    }
}

/// Durable commits of one 4 kB file each, by so many writers on one branch.
pub fn commits(path: &Path, writers: u64, count: u64) -> Result<()> {
    let store = create(path)?;
    let (begun, before) = (Instant::now(), written_bytes());
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let main = store.branch("main").expect("a branch");
            scope.spawn(move || {
                for round in 0..count / writers {
                    let mut change = main.begin().expect("a transaction");
                    let number = writer * 1_000_000 + round;
                    change.put(mail::path(number), mail::message(number, 4096)).expect("a file");
                    change.commit(ada(), "add").expect("a commit");
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(store.branch("main")?.history("")?.count() as u64, count / writers * writers);
    let bytes = (written_bytes() - before) / count;
    drop(store);
    let size = std::fs::metadata(path)?.len() / count;
    println!("{{\"per_s\": {:.1}, \"bytes\": {bytes}, \"size\": {size}}}", count as f64 / seconds);
    Ok(())
}

/// Bytes that this process has handed to the system to be written.
pub fn written_bytes() -> u64 {
    let about = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let found = about.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
    found.unwrap_or(0)
}

/// A mailbox of so many messages, in a few large commits.
pub fn fill(path: &Path, messages: u64, size: usize) -> Result<()> {
    let begun = Instant::now();
    let main = create(path)?.branch("main")?;
    for first in (1..=messages).step_by(10_000) {
        let mut change = main.begin()?;
        for uid in first..(first + 10_000).min(messages + 1) {
            change.put(mail::path(uid), mail::message(uid, size))?;
        }
        change.commit(ada(), "fill")?;
    }
    println!("{{\"seconds\": {:.1}}}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A commit for each message, as mail comes.
pub fn mailbox(path: &Path, messages: u64) -> Result<()> {
    let begun = Instant::now();
    let main = create(path)?.branch("main")?;
    for uid in 1..=messages {
        let mut change = main.begin()?;
        change.put(mail::path(uid), mail::message(uid, 4096))?;
        change.commit(ada(), "add")?;
    }
    println!("{{\"seconds\": {:.1}}}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// What adding a message costs: time of the median, and bytes that go to the device.
pub fn add(path: &Path, first: u64, count: u64) -> Result<()> {
    let written = Arc::new(AtomicU64::new(0));
    let store = Store::open(Counted(FileDevice::open(path)?, written.clone()), Options::new())?;
    let main = store.branch("main")?;
    let mut times = Vec::new();
    let before = written.load(Ordering::Relaxed);
    for uid in first..first + count {
        let begun = Instant::now();
        let mut change = main.begin()?;
        change.put(mail::path(uid), mail::message(uid, 4096))?;
        change.commit(ada(), "add")?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let mean = times.iter().sum::<f64>() / count as f64;
    times.sort_by(f64::total_cmp);
    let bytes = (written.load(Ordering::Relaxed) - before) / count;
    let median = times[times.len() / 2];
    println!("{{\"median_us\": {median:.0}, \"mean_us\": {mean:.0}, \"bytes\": {bytes}}}");
    Ok(())
}

/// Opens a store and reads its head, as every program does first.
pub fn open(path: &Path) -> Result<()> {
    let begun = Instant::now();
    let store = Store::open_path(path, Options::new())?;
    let there = store.branch("main")?.head().is_some();
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    let objects = store.statistics()?.objects;
    println!("{{\"ms\": {ms:.2}, \"peak_kb\": {kb}, \"objects\": {objects}, \"there\": {there}}}");
    Ok(())
}

/// Collects; says how large the file is then.
pub fn gc(path: &Path) -> Result<()> {
    let begun = Instant::now();
    let store = Store::open_path(path, Options::new())?;
    let collected = store.gc()?;
    let seconds = begun.elapsed().as_secs_f64();
    let statistics = store.statistics()?;
    drop(store);
    let bytes = std::fs::metadata(path)?.len();
    println!(
        "{{\"seconds\": {seconds:.1}, \"bytes\": {bytes}, \"used_bytes\": {}, \"object_bytes\": {}, \"objects\": {}, \"removed\": {}}}",
        statistics.used_bytes, statistics.object_bytes, statistics.objects, collected.removed
    );
    Ok(())
}

pub const MERGE_FILES: u64 = 100_000;

/// A hundred thousand files in a thousand directories.
pub fn merge_path(number: u64) -> String {
    format!("{:02}/{:02}/{:02}.txt", number % 40, number / 40 % 25, number / 1000)
}

pub fn merge_content(number: u64, side: &str) -> String {
    format!("first line\nnumber {number}\nof {side}\nlast line\n")
}

/// The files that a side changes; no file is changed by both.
pub fn merge_change(side: u64, change: u64) -> u64 {
    (change * 97 + side * 50_021) % MERGE_FILES
}

/// The two branches.
pub fn merge_make(path: &Path) -> Result<()> {
    let store = create(path)?;
    let main = store.branch("main")?;
    let mut change = main.begin()?;
    for number in 0..MERGE_FILES {
        change.put(merge_path(number), merge_content(number, ""))?;
    }
    let root = *change.commit(ada(), "add")?;
    store.create_branch("side", root)?;
    for (side, branch) in ["main", "side"].into_iter().enumerate() {
        let mut change = store.branch(branch)?.begin()?;
        for number in 0..1000 {
            let number = merge_change(side as u64, number);
            change.put(merge_path(number), merge_content(number, branch))?;
        }
        change.commit(ada(), "change")?;
    }
    println!("{{}}");
    Ok(())
}

/// Merges one into the other, durably, after a fresh start.
pub fn merge(path: &Path) -> Result<()> {
    let begun = Instant::now();
    let store = Store::open_path(path, Options::new())?;
    let side = store.resolve("side")?;
    let before = store.branch("main")?.head();
    let merged = store.branch("main")?.merge(side, ada(), "merge")?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    assert!(merged.conflicts.is_empty() && !merged.fast_forward);
    let tree = store.commit(*merged.commit)?.tree;
    // Put back, for the next round.
    if let Some(before) = before {
        store.branch("main")?.reset(Some(*merged.commit), before)?;
    }
    println!("{{\"ms\": {ms:.2}, \"tree\": \"{tree}\"}}");
    Ok(())
}

/// What serving a clone costs without client and network: the walk, and the pack into nothing.
pub fn serve(path: &Path) -> Result<()> {
    let store = Store::open_path(path, Options::new())?;
    let fail = |error: String| store::Error::Malformed(error);
    let begun = Instant::now();
    let view = store.view().map_err(|error| fail(error.to_string()))?;
    let wanted: Vec<_> =
        view.refs(&[]).map_err(|error| fail(error.to_string()))?.iter().map(|one| one.id).collect();
    if let Some(closure) = view.closure(&wanted, &[]).map_err(|error| fail(error.to_string()))? {
        let (count, walked) = (closure.count, begun.elapsed().as_secs_f64());
        let mut sender = ClosureSender::new(closure, &Limits::default(), std::io::sink())
            .map_err(|error| fail(error.to_string()))?;
        while sender.step().map_err(|error| fail(error.to_string()))? {}
        sender.finish().map_err(|error| fail(error.to_string()))?;
        let packed = begun.elapsed().as_secs_f64() - walked;
        println!("{{\"objects\": {count}, \"known_s\": {walked:.2}, \"pack_s\": {packed:.2}}}");
        return Ok(());
    }
    let history = History::new(&*view, Default::default());
    let limits = Limits::default();
    let selection = select(&*view, &history, &wanted, &[], Filter::default(), &limits)
        .map_err(|error| fail(error.to_string()))?;
    let walked = begun.elapsed().as_secs_f64();
    send_pack(&*view, &selection, true, std::io::sink()).map_err(|error| fail(error.to_string()))?;
    println!(
        "{{\"objects\": {}, \"walk_s\": {walked:.2}, \"pack_s\": {:.2}}}",
        selection.len(),
        begun.elapsed().as_secs_f64() - walked
    );
    Ok(())
}
