//! One suite for every kind of device: in memory, a file, and a block device where this machine lets us make one.

mod content;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use content::{ada, noise};
use store::merge::Resolution;
use store::{Device, Error, FileDevice, MemoryDevice, Options, Result, Retention, Store};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

/// The whole suite, on a device that can be opened again and again.
fn conforms(open: &dyn Fn() -> Box<dyn Device>, fixed: bool) -> Result<()> {
    // What was there is no part of the new store, also when it was a store.
    for round in 0..2u64 {
        let store = Store::create(Boxed(open()), options())?;
        assert_eq!(store.branches(), []);
        let main = store.branch("main")?;
        for file in 0..40 {
            let mut change = main.begin()?;
            change.put(format!("d{}/{file}", file % 4), noise(round * 1000 + file, 3_000))?;
            change.index("sizes").put(file.to_be_bytes(), *b"3000");
            change.commit(ada(), format!("file {file}"))?;
        }
    }
    // Everything is there after an open, and the rest of the calls work on what was opened.
    let store = Store::open(Boxed(open()), options())?;
    let main = store.branch("main")?;
    assert_eq!(main.history("")?.count(), 40);
    assert_eq!(main.snapshot()?.read("d3/39")?.as_deref(), Some(&noise(1039, 3_000)[..]));
    assert_eq!(store.index("sizes")?.range(&[], None, 100)?.len(), 40);
    // Branches, conflicts, reverts, tags.
    let root = main.head().unwrap();
    let side = store.create_branch("side", root)?;
    for (branch, word) in [(&main, "ours"), (&side, "theirs")] {
        let mut change = branch.begin()?;
        change.put("both", word)?;
        change.put(word, word)?;
        change.commit(ada(), word)?;
    }
    let merged = main.merge(side.head().unwrap(), ada(), "merge")?;
    assert_eq!(merged.conflicts.len(), 1);
    main.settle(&merged.conflicts[0].key, Resolution::Theirs, ada())?;
    assert_eq!(main.snapshot()?.read("both")?.as_deref(), Some(&b"theirs"[..]));
    store.tag("v1", root, Some((ada(), "first")))?;
    let reverted = main.revert(side.head().unwrap(), ada(), "without")?;
    assert!(reverted.conflicts.is_empty());
    // A large file, a purge, retention, collection, and all of it in order afterwards.
    let mut change = main.begin()?;
    change.put_reader("large", 400_000, &noise(7, 400_000)[..])?;
    change.commit(ada(), "large")?;
    store.purge("d0/0", ada())?;
    store.retain(Retention { all_days: 1, daily_days: 2 })?;
    store.gc()?;
    assert_eq!(store.fsck()?.problems, []);
    drop((merged, change_of(&store)?, main, side));
    drop(store);
    let store = Store::open(Boxed(open()), options())?;
    assert_eq!(store.fsck()?.problems, []);
    assert_eq!(store.branch("main")?.snapshot()?.entry("d0/0")?, None);
    assert_eq!(store.branch("main")?.snapshot()?.size_bytes("large")?, Some(400_000));
    // A second opener is refused by files, and a full device refuses before anything is damaged.
    if fixed {
        let main = store.branch("main")?;
        let mut refused = false;
        for round in 0..2_000 {
            let mut change = main.begin()?;
            change.put(format!("fill/{round}"), noise(round, 60_000))?;
            match change.commit(ada(), "fill") {
                Ok(_) => {}
                Err(Error::Full { .. }) => {
                    refused = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        assert!(refused, "a device of fixed size is full at some time");
        assert_eq!((store.failure(), store.fsck()?.problems), (None, vec![]));
    }
    drop(store);
    let (store, repaired) = Store::repair(Boxed(open()), options())?;
    assert!(repaired.is_clean(), "{repaired:?}");
    assert_eq!(store.branch("main")?.snapshot()?.size_bytes("large")?, Some(400_000));
    Ok(())
}

/// A transaction that is begun and dropped.
fn change_of(store: &Store) -> Result<()> {
    store.branch("main")?.begin()?.put("dropped", "nothing")?;
    Ok(())
}

/// A boxed device is one.
struct Boxed(Box<dyn Device>);

impl Device for Boxed {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
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

#[test]
fn memory_conforms() -> Result<()> {
    let memory = Arc::new(MemoryDevice::new());
    conforms(&|| Box::new(memory.clone()), false)
}

#[test]
fn memory_of_fixed_size_conforms() -> Result<()> {
    let memory = Arc::new(MemoryDevice::with_limit(8 << 20));
    conforms(&|| Box::new(memory.clone()), true)
}

#[test]
fn a_file_conforms() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.store");
    let open = || -> Box<dyn Device> {
        let device = if path.exists() { FileDevice::open(&path) } else { FileDevice::create(&path) };
        Box::new(device.unwrap())
    };
    conforms(&open, false)
}

/// A loop device over a file; gone when dropped.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> std::result::Result<Loop, String> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let made = made.map_err(|error| format!("losetup: {error}"))?;
        let name = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        if made.status.success() && !name.is_empty() {
            Ok(Loop(name.into()))
        } else {
            Err(String::from_utf8_lossy(&made.stderr).trim().to_owned())
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_conforms() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("disk");
    std::fs::write(&file, vec![0x5a; 8 << 20]).unwrap();
    let device = match Loop::over(&file) {
        Ok(device) => device,
        Err(why) => {
            println!("skipped: no loop device can be made here ({why})");
            return Ok(());
        }
    };
    conforms(&|| Box::new(FileDevice::open(&device.0).unwrap()), true)
}
