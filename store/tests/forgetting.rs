//! Collection, retention and purge, while others read and write.

mod content;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use content::{ada, noise};
use store::{CommitId, Device, MemoryDevice, Options, Result, Retention, Store};

fn small() -> Options {
    Options::new().segment_bytes(32 << 10)
}

fn put(store: &Store, branch: &str, path: &str, content: Vec<u8>) -> Result<CommitId> {
    let mut change = store.branch(branch)?.begin()?;
    change.put(path, content)?;
    Ok(*change.commit(ada(), format!("put {path}"))?)
}

#[test]
fn what_nothing_reaches_is_freed_and_the_rest_stays() -> Result<()> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), small())?;
    let first = put(&store, "main", "kept", noise(1, 5_000))?;
    store.create_branch("scratch", first)?;
    for round in 0..60 {
        put(&store, "scratch", &format!("big/{round}"), noise(100 + round, 10_000))?;
        put(&store, "main", &format!("d/{round}"), noise(1_000 + round, 300))?;
    }
    let held = store.branch("scratch")?.snapshot()?;
    store.delete_branch("scratch")?;
    let before = store.statistics()?;
    store.gc()?;
    assert_eq!(held.walk("")?.count(), 61, "an open snapshot is spared");
    for entry in held.walk("")? {
        held.read(entry?.path)?.unwrap();
    }
    drop(held);
    // The note that the branch was deleted still names its last commit, for watchers that are away.
    let later = Options::new().clock(|| std::time::SystemTime::now() + Duration::from_secs(31 * 86_400));
    drop(store);
    let store = Store::open(memory.clone(), later)?;
    let collected = store.gc()?;
    assert!(collected.removed > 100, "{collected:?}");
    let after = store.statistics()?;
    assert!(after.used_bytes * 3 < before.used_bytes, "{before:?} {after:?}");
    assert!(memory.len().unwrap() < before.capacity_bytes);
    assert_eq!(store.fsck()?.problems, []);
    assert_eq!(store.branch("main")?.history("")?.count(), 61);
    drop(store);
    let store = Store::open(memory, small())?;
    assert_eq!(store.fsck()?.problems, []);
    assert_eq!(store.branch("main")?.snapshot()?.read("kept")?.unwrap(), noise(1, 5_000));
    // Twice is once.
    assert_eq!(store.gc()?.removed, 0);
    Ok(())
}

#[test]
fn collections_go_on_while_others_read_and_write() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    put(&store, "main", "start", noise(0, 100))?;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3u64)
        .map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut round = 0;
                while (!stop.load(Ordering::SeqCst) || round < 20) && round < 60 {
                    let content = noise(writer * 1_000_000 + round, 2_000);
                    put(&store, "main", &format!("w{writer}/{}", round % 30), content.clone()).unwrap();
                    // The same blob again, under a name that a collection may just have forgotten.
                    put(&store, "main", &format!("w{writer}/again"), content).unwrap();
                    let scratch = format!("scratch{writer}");
                    let made =
                        store.create_branch(&scratch, store.branch("main").unwrap().head().unwrap()).unwrap();
                    put(&store, made.name(), "x", noise(round, 3_000)).unwrap();
                    store.delete_branch(&scratch).unwrap();
                    round += 1;
                }
                round
            })
        })
        .collect();
    let reader = {
        let (store, stop) = (store.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let snapshot = store.branch("main").unwrap().snapshot().unwrap();
                for entry in snapshot.walk("").unwrap() {
                    snapshot.read(entry.unwrap().path).unwrap().unwrap();
                }
            }
        })
    };
    for _ in 0..6 {
        store.gc()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::SeqCst);
    let rounds: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    reader.join().unwrap();
    store.gc()?;
    assert_eq!(store.fsck()?.problems, []);
    assert_eq!(store.branch("main")?.history("")?.count() as u64, 2 * rounds + 1);
    Ok(())
}

#[test]
fn a_full_store_can_be_made_smaller() -> Result<()> {
    let memory = Arc::new(MemoryDevice::with_limit(1 << 20));
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = now.clone();
    let options =
        small().clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst) as u64));
    let store = Store::create(memory, options)?;
    let mut root = None;
    for round in 0.. {
        match put(&store, "junk", &format!("{round}"), noise(round, 20_000)) {
            Ok(commit) => root = root.or(Some(commit)),
            Err(store::Error::Full { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    assert!(store.is_full());
    // Deleting needs a little room, which is kept for that.
    while matches!(put(&store, "junk", "small", Vec::new()), Err(store::Error::Full { .. })) {
        if store.branch("junk")?.head().is_some() {
            break;
        }
    }
    store.delete_branch("junk")?;
    now.fetch_add(40 * 86_400, Ordering::SeqCst);
    store.gc()?;
    assert_eq!(store.fsck()?.problems, []);
    for round in 0..20 {
        put(&store, "main", &format!("{round}"), noise(round, 20_000))?;
    }
    assert!(!store.is_full());
    Ok(())
}

#[test]
fn a_purged_path_is_gone_from_history_and_device() -> Result<()> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), small())?;
    let secret = b"correct horse battery staple, in the clear".to_vec();
    put(&store, "main", "a/public", b"hello".to_vec())?;
    let seen = put(&store, "main", "a/secret", noise(5, 3_000))?;
    let root = put(&store, "main", "b/other", secret.clone())?;
    let mut change = store.branch("main")?.begin()?;
    change.remove("a/secret")?;
    change.index("words").put(*b"horse", *b"b/other");
    let before = *change.commit(ada(), "remove it, too late")?;
    store.create_branch("side", root)?;
    store.tag("v1", seen, Some((ada(), "one")))?;
    let forgotten = store.purge("a/secret", ada())?;
    assert!(forgotten.rewritten >= 3, "{forgotten:?}");
    assert_eq!(store.fsck()?.problems, []);
    for (name, _) in store.branches() {
        for one in store.branch(&name)?.history("")? {
            let snapshot = store.snapshot_at(one?.0)?;
            assert_eq!(snapshot.entry("a/secret")?, None);
            assert_eq!(snapshot.read("a/public")?.as_deref(), Some(&b"hello"[..]));
        }
    }
    assert_eq!(store.branch("main")?.snapshot()?.read("b/other")?.unwrap(), secret);
    assert!(store.commit(before).is_err());
    assert_eq!(store.index("words")?.at()?, None);
    assert_eq!(store.purges()?[0].message.lines().next(), Some("Purge a/secret"));
    let tag = store.tag_object(store.tags()[0].1)?;
    assert_eq!(tag.message, "one\n");
    // A watcher that stood on a commit that was made again goes on from what it became.
    let mut watch = store.branch("main")?.watch("", Some(before))?;
    let after = put(&store, "main", "n", b"n".to_vec())?;
    assert!(watch.next()?.commit.is_some());
    assert!(store.is_ancestor(watch.position().unwrap(), after)?);
    drop(store);
    let stream = noise(5, 3_000);
    let image = memory.image();
    assert!(
        !image.windows(64).any(|window| window == &stream[1_000..1_064]),
        "the bytes are still on the device"
    );
    Ok(())
}

#[test]
fn a_purge_takes_conflicts_and_words_about_the_path_too() -> Result<()> {
    let memory = Arc::new(MemoryDevice::new());
    let store = Store::create(memory.clone(), small())?;
    put(&store, "main", "other", noise(1, 300))?;
    let base = put(&store, "main", "d/secret", noise(2, 3_000))?;
    store.create_branch("side", base)?;
    put(&store, "side", "d/secret", noise(3, 3_000))?;
    put(&store, "side", "other", noise(4, 300))?;
    put(&store, "main", "d/secret", noise(5, 3_000))?;
    put(&store, "main", "other", noise(6, 300))?;
    let main = store.branch("main")?;
    main.merge(store.branch("side")?.head().unwrap(), ada(), "merge")?;
    assert_eq!(main.conflicts()?.len(), 2);
    let mut change = main.begin()?;
    change.remove("d/secret")?;
    change.commit(ada(), "no more of my diary")?;
    store.purge("d/secret", ada())?;
    assert_eq!(store.fsck()?.problems, []);
    let left: Vec<_> = main.conflicts()?.into_iter().map(|conflict| conflict.path).collect();
    assert_eq!(left, ["other"]);
    let said: Vec<String> =
        main.history("")?.map(|one| one.map(|(_, commit)| commit.message)).collect::<Result<_>>()?;
    assert!(said.iter().all(|message| !message.contains("secret") && !message.contains("diary")), "{said:?}");
    assert_eq!(said.iter().filter(|message| message.contains("put other")).count(), 3, "{said:?}");
    drop(store);
    let image = memory.image();
    for seed in [2, 3, 5] {
        let gone = &noise(seed, 3_000)[1_000..1_064];
        assert!(!image.windows(64).any(|window| window == gone), "version {seed} is still on the device");
    }
    Ok(())
}

#[test]
fn a_purge_spares_somebody_else_s_file_of_that_name() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    put(&store, "of/anna", "meeting", noise(1, 300))?;
    let hers = put(&store, "of/anna", "rest", noise(2, 300))?;
    let his = put(&store, "of/ben", "meeting", noise(3, 300))?;
    store.tag("before/of/anna", hers, None)?;
    store.tag("before/of/ben", his, None)?;
    store.purge_but("meeting", ada(), &["of/ben".to_string()])?;
    assert_eq!(store.fsck()?.problems, []);
    assert_eq!(store.branch("of/ben")?.head(), Some(his));
    assert_eq!(store.resolve("before/of/ben")?, his);
    assert_eq!(store.branch("of/anna")?.snapshot()?.entry("meeting")?, None);
    assert_eq!(store.snapshot_at(store.resolve("before/of/anna")?)?.entry("meeting")?, None);
    assert!(store.commit(hers).is_err());
    Ok(())
}

#[test]
fn retention_keeps_all_then_days_then_weeks() -> Result<()> {
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = now.clone();
    let options =
        small().clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst) as u64));
    let store = Store::create(MemoryDevice::new(), options)?;
    // Four commits a day for a hundred days.
    for round in 0..400 {
        put(&store, "main", &format!("f{}", round % 50), noise(round, 200))?;
        now.fetch_add(21_600, Ordering::SeqCst);
    }
    let head = store.branch("main")?.snapshot()?;
    let middle = store.branch("main")?.history("")?.nth(200).unwrap()?.0;
    let mut watch = store.branch("main")?.watch("", Some(middle))?;
    let forgotten = store.retain(Retention { all_days: 10, daily_days: 40 })?;
    let kept = store.branch("main")?.history("")?.count();
    // 40 of the last ten days, one for each of thirty days, one for each of about nine weeks.
    assert!((76..=84).contains(&kept), "{kept} commits are kept, {forgotten:?}");
    assert_eq!(forgotten.commits as usize, 400 - kept);
    assert_eq!(store.fsck()?.problems, []);
    let after = store.branch("main")?.snapshot()?;
    assert_eq!(after.diff(&head, "")?, [], "the files are what they were");
    let again = store.retain(Retention { all_days: 10, daily_days: 40 })?;
    assert_eq!((again.commits, again.rewritten), (0, 0));
    // The watch goes on; what it has not seen yet it still sees.
    let mut seen = 0;
    while let Some(event) = watch.try_next()? {
        seen += event.changes.len();
    }
    assert!(seen > 0);
    Ok(())
}
