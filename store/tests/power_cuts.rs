//! Power cuts at every flush of a workload, failing calls, flipped bytes: every acknowledged commit is there, every
//! other one wholly or not at all, and what is damaged is never taken for right.
//!
//! `NYMOTE_LONG=1` takes many more points, `NYMOTE_SEED` others.

mod content;

use std::collections::BTreeMap;
use std::sync::Arc;

use content::{ada, is_long, noise};
use store::device::{Fault, Operation, PowerCuts, Trace};
use store::merge::{LineSet, Rule};
use store::{CommitId, Device, Error, MemoryDevice, Options, Result, Store};

fn options() -> Options {
    let options = Options::new()
        .segment_bytes(32 << 10)
        .clock(|| std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000));
    options.merge(Rule::below("flags").unwrap(), LineSet)
}

/// One commit of the workload: files come, change and go, a table is kept, some are larger than a segment's record.
fn step(store: &Store, round: u64) -> Result<CommitId> {
    let mut change = store.branch("main")?.begin()?;
    let len = match round % 17 {
        3 => 9_000,
        11 if round.is_multiple_of(3) => 70_000,
        other => other as usize * 60,
    };
    change.put(format!("inbox/{:02}/{round}", round % 13), noise(round, len))?;
    if round % 5 == 4 {
        change.remove(format!("inbox/{:02}/{}", (round - 4) % 13, round - 4))?;
    }
    change.put("count", round.to_string())?;
    change.index("rounds").put(*b"last", round.to_string());
    change.index("rounds").put(round.to_be_bytes(), noise(round, 30));
    Ok(*change.commit(ada(), format!("round {round}"))?)
}

/// What every store that was opened after an accident must satisfy; gives how many commits it holds.
fn verify(store: &Store, commits: &[CommitId], acknowledged: usize, thoroughly: bool) -> usize {
    let main = store.branch("main").unwrap();
    let count = match main.head() {
        None => 0,
        Some(head) => {
            1 + commits.iter().position(|commit| *commit == head).expect("a head that was never made")
        }
    };
    assert!(count >= acknowledged, "{acknowledged} commits were acknowledged, {count} are there");
    if count == 0 {
        return 0;
    }
    let snapshot = main.snapshot().unwrap();
    let last = (count - 1).to_string();
    assert_eq!(snapshot.read("count").unwrap().unwrap(), last.as_bytes());
    let table = store.index("rounds").unwrap();
    assert_eq!(table.get(b"last").unwrap().unwrap(), last.as_bytes());
    assert_eq!(table.at().unwrap(), main.head());
    if thoroughly {
        assert_eq!(table.range(&[], None, 10_000).unwrap().len(), count + 1);
        assert_eq!(main.history("").unwrap().map(|one| one.unwrap().0).collect::<Vec<_>>().len(), count);
        for entry in snapshot.walk("").unwrap() {
            snapshot.read(&entry.unwrap().path).unwrap().unwrap();
        }
        let checked = store.fsck().unwrap();
        assert_eq!(checked.problems, []);
    }
    count
}

struct Workload {
    operations: Vec<Operation>,
    commits: Vec<CommitId>,
    /// How many operations had been asked when each commit returned.
    acknowledged: Vec<usize>,
}

fn workload(rounds: u64) -> Workload {
    let trace = Arc::new(Trace::new(MemoryDevice::new()));
    let store = Store::create(trace.clone(), options()).unwrap();
    let (mut commits, mut acknowledged) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        commits.push(step(&store, round).unwrap());
        if round % 70 == 69 {
            // What a collection moves is at stake, too.
            store.gc().unwrap();
        }
        acknowledged.push(trace.len_traced());
    }
    drop(store);
    Workload { operations: trace.take(), commits, acknowledged }
}

#[test]
fn power_cuts_at_every_flush_lose_nothing_acknowledged() {
    let rounds = if is_long() { 2_000 } else { 260 };
    let seeds: u64 = if is_long() { 200 } else { 36 };
    // A long history takes long to go through: its every object is read after fewer of the cuts, though still after more.
    let rarely: u64 = if is_long() { 5 } else { 1 };
    let first: u64 = std::env::var("NYMOTE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let work = workload(rounds);
    let mut cuts = PowerCuts::new(Vec::new());
    let (mut points, mut kept_more) = (0u64, 0u64);
    // The store exists once its creation has flushed twice.
    let created =
        work.operations.iter().enumerate().filter(|(_, one)| **one == Operation::Flush).nth(1).unwrap().0;
    for (at, operation) in work.operations.iter().enumerate() {
        let before_flush = *operation == Operation::Flush && !cuts.is_all_durable();
        if at > created && before_flush {
            let acknowledged =
                work.acknowledged.iter().take_while(|acknowledged| **acknowledged <= at).count();
            for seed in first..first + seeds {
                points += 1;
                let device = Arc::new(cuts.cut_device(seed ^ (at as u64) << 20));
                let store = Store::open(device.clone(), options())
                    .unwrap_or_else(|error| panic!("cut at {at}, seed {seed}: {error}"));
                let count = verify(&store, &work.commits, acknowledged, points.is_multiple_of(331 * rarely));
                kept_more += u64::from(count > acknowledged);
                if points.is_multiple_of(20_000) {
                    println!("{points} power cuts so far, {acknowledged} of {rounds} commits acknowledged");
                }
                if points.is_multiple_of(41 * rarely) && count > 0 {
                    // Collections after an accident, too: nothing may be given up that the index still lies in.
                    if points.is_multiple_of(205 * rarely) {
                        store.gc().unwrap();
                    }
                    // Life goes on after the accident, also after a second one right behind it.
                    let next = step(&store, count as u64).unwrap();
                    drop(store);
                    let store = Store::open(device, options()).unwrap();
                    assert_eq!(store.branch("main").unwrap().head(), Some(next));
                    assert_eq!(store.fsck().unwrap().problems, []);
                }
            }
        }
        cuts.pass(operation);
    }
    println!("{points} power cuts, {kept_more} of them left a commit that was not acknowledged yet");
    assert!(points >= 10_000, "only {points} points");
    assert!(
        kept_more > 0,
        "no cut left a whole unacknowledged commit: the layer tears too much to test anything"
    );
}

#[test]
fn whichever_call_fails_no_acknowledged_commit_is_lost() {
    let rounds = if is_long() { 60 } else { 24 };
    for for_good in [false, true] {
        for fails_at in 0.. {
            let memory = Arc::new(MemoryDevice::new());
            let fault = if for_good {
                Fault::for_good(memory.clone(), fails_at)
            } else {
                Fault::once(memory.clone(), fails_at)
            };
            let fault = Arc::new(fault);
            let Ok(store) = Store::create(fault.clone(), options()) else { continue };
            let mut commits = Vec::new();
            let mut failed = false;
            for round in 0..rounds {
                match step(&store, commits.len() as u64) {
                    Ok(commit) => commits.push(commit),
                    Err(Error::Stale { .. }) => panic!("round {round}: a failing device is no lost race"),
                    Err(_) => failed = true,
                }
                if round % 12 == 11 {
                    failed |= store.gc().is_err();
                }
            }
            if store.failure().is_some() {
                let refused = matches!(step(&store, 999), Err(Error::ReadOnly { .. } | Error::Device(_)));
                assert!(refused, "a failed flush is final");
            }
            let asked = fault.asked();
            drop(store);
            let store = Store::open(MemoryDevice::from_image(memory.image()), options()).unwrap();
            let head = store.branch("main").unwrap().head();
            if let Some(last) = commits.last() {
                assert!(
                    store.is_ancestor(*last, head.unwrap()).unwrap(),
                    "call {fails_at}: an acknowledged commit is gone"
                );
            }
            assert_eq!(store.fsck().unwrap().problems, [], "call {fails_at}");
            if !failed && asked <= fails_at {
                break;
            }
        }
    }
}

/// Everything that can be read from a store, or `None` when any of it fails.
fn everything(image: Vec<u8>) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let store = Store::open(MemoryDevice::from_image(image), options()).ok()?;
    let mut found = BTreeMap::new();
    for (name, head) in store.branches() {
        found.insert(format!("branch {name}").into_bytes(), head.to_string().into_bytes());
        for one in store.branch(&name).ok()?.history("").ok()? {
            let (id, commit) = one.ok()?;
            found.insert(id.to_string().into_bytes(), commit.message.into_bytes());
            let snapshot = store.snapshot_at(id).ok()?;
            for entry in snapshot.walk("").ok()? {
                let entry = entry.ok()?;
                let content = snapshot.read(&entry.path).ok()??;
                found.insert(entry.id.to_string().into_bytes(), content.to_vec());
            }
        }
    }
    for (key, value) in store.index("rounds").ok()?.range(&[], None, 10_000).ok()? {
        found.insert([b"rounds ", &key[..]].concat(), value);
    }
    Some(found)
}

/// The image of a store of some rounds, in the middle of which it was collected.
fn image_of(rounds: u64, collected: bool) -> Vec<u8> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), options()).unwrap();
    for round in 0..rounds {
        step(&store, round).unwrap();
        if collected && round == rounds / 2 {
            // Copies, runs and notes of a collection are flipped, too.
            store.gc().unwrap();
        }
    }
    drop(store);
    memory.image()
}

/// Flips one byte of an image; says whether that was noticed. What is not noticed must be harmless.
fn flip(image: &[u8], right: &BTreeMap<Vec<u8>, Vec<u8>>, at: usize) -> bool {
    let mut damaged = image.to_vec();
    damaged[at] ^= 1 << (at % 8) | if at.is_multiple_of(3) { 0x41 } else { 0 };
    let found = everything(damaged);
    found.inspect(|found| assert_eq!(found, right, "byte {at} was flipped and nobody noticed")).is_none()
}

#[test]
fn every_single_byte_of_a_small_image_flipped_is_noticed_or_harmless() {
    for collected in [false, true] {
        let image = image_of(3, collected);
        let right = everything(image.clone()).expect("an undamaged image");
        let noticed = (0..image.len()).filter(|at| flip(&image, &right, *at)).count();
        println!("all of {} bytes flipped, {noticed} noticed, the others harmless", image.len());
        assert!(noticed > 1_000);
    }
}

#[test]
fn flipped_bytes_of_a_larger_image_are_noticed_or_harmless() {
    let image = image_of(if is_long() { 40 } else { 10 }, true);
    let right = everything(image.clone()).expect("an undamaged image");
    // Which bytes matter at all is told by what is read; a sample of the others is tried too.
    let trace = Arc::new(Trace::new(MemoryDevice::from_image(image.clone())));
    everything_of(trace.clone());
    let mut read = vec![false; image.len()];
    for operation in trace.take() {
        if let Operation::Read(offset, len) = operation {
            read[offset as usize..offset as usize + len].fill(true);
        }
    }
    // Long stretches of noise are alike: of payload bytes every 29th is tried, of all others each one; in the long form
    // all of them.
    let (mut tried, mut noticed) = (0, 0);
    for (at, is_read) in read.into_iter().enumerate() {
        let sampled = if is_read { at % 512 < 150 || at % 29 == 0 } else { at % 4001 == 0 };
        if sampled || is_long() {
            tried += 1;
            noticed += usize::from(flip(&image, &right, at));
        }
    }
    println!("{tried} of {} bytes flipped, {noticed} noticed, the others harmless", image.len());
    assert!(noticed > 0);
}

fn everything_of(trace: Arc<Trace<MemoryDevice>>) {
    let store = Store::open(trace, options()).unwrap();
    for one in store.branch("main").unwrap().history("").unwrap() {
        let snapshot = store.snapshot_at(one.unwrap().0).unwrap();
        for entry in snapshot.walk("").unwrap() {
            snapshot.read(&entry.unwrap().path).unwrap();
        }
    }
    store.index("rounds").unwrap().range(&[], None, 10_000).unwrap();
}

#[test]
fn a_full_device_is_refused_before_damage() {
    let memory = Arc::new(MemoryDevice::with_limit(512 << 10));
    let store = Store::create(memory.clone(), options()).unwrap();
    let mut commits = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        match step(&store, commits.len() as u64) {
            Ok(commit) => commits.push(commit),
            Err(Error::Full { capacity_bytes }) => {
                refused += 1;
                assert!(capacity_bytes <= 512 << 10);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && commits.len() > 5);
    assert_eq!(store.failure(), None, "a full device is no failed device");
    verify(&store, &commits, commits.len(), true);
    drop(store);
    let store = Store::open(memory.clone(), options()).unwrap();
    verify(&store, &commits, commits.len(), true);
    assert!(memory.len().unwrap() <= 512 << 10);
}
