//! Damage, and what a repair makes of it: what can be read comes back, and of the rest it is said what is hit.

mod content;

use std::sync::Arc;

use content::{ada, is_long, noise};
use store::wire::walk::{Filter, History, select};
use store::wire::{Limits, Repository};
use store::{Device, MemoryDevice, Options, Result, Store};

fn small() -> Options {
    Options::new().segment_bytes(32 << 10)
}

const FILES: u64 = 60;

/// A store of sixty commits, one branch more, a tag and a table; collected or not.
fn image(collected: bool) -> Result<Vec<u8>> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), small())?;
    let main = store.branch("main")?;
    for file in 0..FILES {
        let mut change = main.begin()?;
        change.put(format!("d{}/{file}", file % 5), noise(file, 2_000))?;
        change.index("table").put(file.to_be_bytes(), noise(file, 40));
        change.commit(ada(), format!("file {file}"))?;
        if file == 30 {
            store.create_branch("side", main.head().unwrap())?;
            store.tag("v1", main.head().unwrap(), Some((ada(), "thirty")))?;
        }
    }
    if collected {
        store.gc()?;
    }
    drop((main, store));
    Ok(memory.image())
}

/// How many of the files can be read, and whether a repair's word on the others is kept.
fn readable(image: Vec<u8>) -> Result<(u64, store::Repaired)> {
    let memory = Arc::new(MemoryDevice::from_image(image));
    let (store, repaired) = Store::repair(memory.clone(), small())?;
    let snapshot = store.branch("main")?.snapshot()?;
    let mut right = 0;
    for file in 0..FILES {
        let path = format!("d{}/{file}", file % 5);
        if let Ok(Some(content)) = snapshot.read(&path) {
            assert_eq!(content, noise(file, 2_000), "{path} is not what was written");
            right += 1;
        }
    }
    // What was mended opens as any store, takes changes and is collected.
    let head = store.branch("main")?.head();
    drop((snapshot, store));
    let store = Store::open(memory, small())?;
    assert_eq!(store.branch("main")?.head(), head);
    let mut change = store.branch("main")?.begin()?;
    change.put("later", "later")?;
    if repaired.hits.is_empty() {
        change.commit(ada(), "later")?;
        store.gc()?;
        assert_eq!(store.fsck()?.problems, []);
    }
    Ok((right, repaired))
}

#[test]
fn a_store_without_damage_comes_out_as_it_was() -> Result<()> {
    for collected in [false, true] {
        let (right, repaired) = readable(image(collected)?)?;
        assert_eq!(right, FILES);
        assert!(repaired.is_clean(), "{repaired:?}");
    }
    Ok(())
}

#[test]
fn without_superblocks_everything_is_found_in_the_log() -> Result<()> {
    let mut damaged = image(false)?;
    damaged[..512].fill(0xff);
    damaged[4096..4608].fill(0xff);
    assert!(Store::open(MemoryDevice::from_image(damaged.clone()), small()).is_err());
    let (right, repaired) = readable(damaged)?;
    assert_eq!(right, FILES, "{repaired:?}");
    assert!(!repaired.notes.is_empty() && repaired.aside.is_empty() && repaired.hits.is_empty());
    Ok(())
}

#[test]
fn without_superblocks_copies_of_a_collection_are_found_too() -> Result<()> {
    let mut damaged = image(true)?;
    damaged[..512].fill(0xff);
    damaged[4096..4608].fill(0xff);
    let (right, repaired) = readable(damaged)?;
    assert_eq!(right, FILES, "{repaired:?}");
    Ok(())
}

#[test]
fn a_damaged_file_is_put_aside_and_named() -> Result<()> {
    for collected in [false, true] {
        let mut damaged = image(collected)?;
        // The middle of the bytes of one file, which deflate as they are.
        let wanted = noise(17, 2_000);
        let (piece, mut flipped) = (&wanted[900..964], 0);
        for at in 0..damaged.len() - 64 {
            if damaged[at..at + 64] == *piece {
                damaged[at] ^= 0x10;
                flipped += 1;
            }
        }
        assert!(flipped > 0);
        let (right, repaired) = readable(damaged)?;
        assert_eq!(right, FILES - 1, "{repaired:?}");
        assert_eq!(repaired.hits.iter().map(|hit| hit.path.to_string()).collect::<Vec<_>>(), ["d2/17"]);
        assert_eq!(repaired.aside.len(), 1);
    }
    Ok(())
}

#[test]
fn what_was_lost_and_is_put_again_is_cloned() -> Result<()> {
    let mut damaged = image(true)?;
    let wanted = noise(17, 2_000);
    for at in 0..damaged.len() - 64 {
        if damaged[at..at + 64] == wanted[900..964] {
            damaged[at] ^= 0x10;
        }
    }
    let (store, repaired) = Store::repair(MemoryDevice::from_image(damaged), small())?;
    assert_eq!(repaired.aside.len(), 1);
    let mut change = store.branch("main")?.begin()?;
    change.put("d2/17 again", wanted)?;
    let head = (*change.commit(ada(), "again")?).0;
    let view = store.view().unwrap();
    let history = History::new(&*view, Default::default());
    let walked = select(&*view, &history, &[head], &[], Filter::default(), &Limits::default()).unwrap();
    assert_eq!(view.closure(&[head], &[]).unwrap().unwrap().count, walked.len() as u64);
    Ok(())
}

#[test]
fn wherever_a_sector_is_lost_the_rest_comes_back() -> Result<()> {
    for collected in [false, true] {
        let whole = image(collected)?;
        let (mut tried, mut lost) = (0, 0);
        let step = if is_long() { 512 } else { 512 * 7 };
        for at in (0..whole.len()).step_by(step) {
            if whole[at..at + 512].iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut damaged = whole.clone();
            damaged[at..at + 512].fill(0xa5);
            let (right, repaired) = readable(damaged)?;
            tried += 1;
            lost += FILES - right;
            // A sector holds parts of one file at most, or a tree that names up to twelve, or a commit.
            // Packed, a sector may hold many small deltas that others are made from.
            assert!(
                collected || right + 13 >= FILES || !repaired.refs.is_empty(),
                "sector {at}: {right}, {repaired:?}"
            );
            // The last commit, when its record is gone, is known to nothing else: the branch stands where it was before, and
            // the notes say that something of the log is lost.
            let is_last =
                right + 1 == FILES && repaired.notes.iter().any(|note| note.ends_with("of the log are lost"));
            assert!(
                right == FILES || !repaired.hits.is_empty() || !repaired.refs.is_empty() || is_last,
                "sector {at}: {repaired:?}"
            );
        }
        println!("{tried} sectors lost one by one, {lost} files with them");
    }
    Ok(())
}

#[test]
fn a_torn_tail_is_no_damage() -> Result<()> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), small())?;
    let mut change = store.branch("main")?.begin()?;
    change.put("a", "1")?;
    change.commit(ada(), "a")?;
    let before = memory.image();
    let mut change = store.branch("main")?.begin()?;
    change.put("b", noise(1, 3_000))?;
    change.commit(ada(), "b")?;
    let mut torn = memory.image();
    // The last record was written half.
    let differs = (0..before.len()).rev().find(|at| before[*at] != torn[*at]).unwrap();
    torn[differs / 512 * 512 - 512..].fill(0);
    let (store, repaired) = Store::repair(MemoryDevice::from_image(torn), small())?;
    assert!(repaired.aside.is_empty() && repaired.hits.is_empty(), "{repaired:?}");
    assert_eq!(store.branch("main")?.snapshot()?.read("a")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(store.branch("main")?.snapshot()?.read("b")?, None);
    Ok(())
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let Err(error) = Store::repair(MemoryDevice::from_image(vec![7; 1 << 20]), small()) else {
        panic!("mended")
    };
    assert!(error.to_string().contains("no store"), "{error}");
    let empty = MemoryDevice::new();
    assert!(empty.is_empty().unwrap());
    assert!(Store::repair(empty, small()).is_err());
}
