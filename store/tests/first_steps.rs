//! The public interface, end to end, on a device in memory and in a file.

use std::sync::Arc;
use std::time::Duration;

use store::merge::{Counter, LineSet, Resolution, Rule};
use store::{Author, Error, FileDevice, MemoryDevice, Options, Result, Store};

fn ada() -> Author {
    Author::new("Ada", "ada@example.org")
}

fn small() -> Options {
    Options::new().segment_bytes(64 << 10)
}

fn write(store: &Store, branch: &str, files: &[(&str, &str)]) -> Result<store::CommitId> {
    let mut change = store.branch(branch)?.begin()?;
    for (path, content) in files {
        change.put(path, content.as_bytes().to_vec())?;
    }
    Ok(*change.commit(ada(), "write")?)
}

#[test]
fn what_is_committed_is_read_after_opening_again() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.store");
    let store = Store::create_path(&path, small())?;
    for round in 0..200 {
        write(&store, "main", &[(&format!("a/{}/{round}", round % 7), &"x".repeat(round * 10))])?;
    }
    let head = store.branch("main")?.head();
    drop(store);
    let store = Store::open_path(&path, small())?;
    assert_eq!(store.branch("main")?.head(), head);
    let snapshot = store.branch("main")?.snapshot()?;
    for round in 0..200 {
        let read = snapshot.read(format!("a/{}/{round}", round % 7))?.unwrap();
        assert_eq!(read.len(), round * 10);
    }
    assert_eq!(snapshot.walk("")?.count(), 200);
    assert_eq!(snapshot.list("a")?.len(), 7);
    assert!(
        matches!(FileDevice::open(&path).map(|_| ()), Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy)
    );
    Ok(())
}

#[test]
fn a_transaction_reads_its_own_edits() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    write(&store, "main", &[("d/a", "1"), ("d/e/b", "2"), ("c", "3")])?;
    let mut change = store.branch("main")?.begin()?;
    change.put("d/n", "new")?;
    change.rename("d", "moved")?;
    assert_eq!(change.read("moved/e/b")?.as_deref(), Some(&b"2"[..]));
    assert_eq!(change.read("moved/n")?.as_deref(), Some(&b"new"[..]));
    assert_eq!(change.read("d/a")?, None);
    assert!(change.remove("moved/a")?);
    assert!(!change.remove("moved/a")?);
    assert_eq!(
        change.list("moved")?.iter().map(|entry| entry.name().into_owned()).collect::<Vec<_>>(),
        ["e", "n"]
    );
    assert_eq!(change.entry("moved/a")?, None);
    change.put("moved/a/deep", "x")?;
    change.commit(ada(), "rename")?;
    let snapshot = store.branch("main")?.snapshot()?;
    let paths: Vec<String> = snapshot.walk("")?.map(|entry| entry.unwrap().path.to_string()).collect();
    assert_eq!(paths, ["c", "moved/a/deep", "moved/e/b", "moved/n"]);
    assert_eq!(snapshot.read("moved/a/deep")?.as_deref(), Some(&b"x"[..]));
    Ok(())
}

#[test]
fn writers_that_raced_are_merged_and_expectations_hold() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small().merge(Rule::below("flags")?, LineSet))?;
    let main = store.branch("main")?;
    write(&store, "main", &[("flags", "a\nb\n"), ("x", "1")])?;
    let (mut one, mut two, mut three) = (main.begin()?, main.begin()?, main.begin()?);
    one.put("flags", "a\nb\nc\n")?;
    two.put("flags", "b\n")?;
    let seen = main.snapshot()?.entry("flags")?.map(|entry| entry.id);
    three.expect("flags", seen)?;
    three.put("x", "2")?;
    one.commit(ada(), "one")?;
    two.commit(ada(), "two")?;
    assert!(matches!(three.commit(ada(), "three"), Err(Error::Stale { path }) if path == "flags"));
    assert_eq!(main.snapshot()?.read("flags")?.as_deref(), Some(&b"b\nc\n"[..]));
    assert_eq!(main.history("")?.count(), 3);
    Ok(())
}

#[test]
fn branches_merge_conflict_and_settle() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small().merge(Rule::suffix(".n"), Counter))?;
    let text = "one\ntwo\nthree\nfour\nfive\n";
    let root = write(&store, "main", &[("t", text), ("c.n", "5"), ("both", "base\n"), ("gone", "g\n")])?;
    let side = store.create_branch("side", root)?;
    write(
        &store,
        "main",
        &[("t", "ONE\ntwo\nthree\nfour\nfive\n"), ("c.n", "7"), ("both", "ours\n"), ("gone", "changed\n")],
    )?;
    let mut change = side.begin()?;
    change.put("t", "one\ntwo\nthree\nfour\nFIVE\n")?;
    change.put("c.n", "4")?;
    change.put("both", "theirs\n")?;
    change.remove("gone")?;
    change.put("added", "here")?;
    change.commit(ada(), "side")?;
    let main = store.branch("main")?;
    let merged = main.merge(side.head().unwrap(), ada(), "Merge side")?;
    let snapshot = main.snapshot()?;
    assert_eq!(snapshot.read("t")?.as_deref(), Some(&b"ONE\ntwo\nthree\nfour\nFIVE\n"[..]));
    assert_eq!(snapshot.read("c.n")?.as_deref(), Some(&b"6\n"[..]));
    assert_eq!(snapshot.read("added")?.as_deref(), Some(&b"here"[..]));
    assert_eq!(merged.conflicts.len(), 2);
    let mut conflicts = store.conflicts(&main)?;
    conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(conflicts[0].path, "both");
    assert!(conflicts[0].ours.is_some() && conflicts[0].base.is_some());
    assert_eq!(conflicts[1].theirs, None);
    main.settle(&conflicts[0].key, Resolution::Theirs, ada())?;
    main.settle(&conflicts[1].key, Resolution::Removed, ada())?;
    assert!(main.conflicts()?.is_empty());
    let snapshot = main.snapshot()?;
    assert_eq!(snapshot.read("both")?.as_deref(), Some(&b"theirs\n"[..]));
    assert_eq!(snapshot.read("gone")?, None);
    assert_eq!(snapshot.entry(".conflicts")?, None);
    assert_eq!(store.merge_base(side.head().unwrap(), main.head().unwrap())?, side.head());
    Ok(())
}

#[test]
fn a_branch_is_no_directory_of_another_one() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    let root = write(&store, "a", &[("f", "f")])?;
    let in_the_way =
        |made: Result<()>| matches!(made, Err(Error::Exists { what }) if what.contains("refs/heads/a"));
    assert!(in_the_way(store.create_branch("a/b", root).map(drop)));
    assert!(in_the_way(store.create_branch("a/b/c", root).map(drop)));
    let mut change = store.branch("a/b")?.begin()?;
    change.put("g", "g")?;
    assert!(in_the_way(change.commit(ada(), "below a").map(drop)));
    store.create_branch("ab", root)?;
    store.tag("a/b", root, None)?;
    store.delete_branch("a")?;
    store.create_branch("a/b", root)?;
    assert!(in_the_way(store.create_branch("a", root).map(drop)));
    Ok(())
}

#[test]
fn a_change_follows_a_moved_file_and_a_revert_takes_it_back() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    let root = write(&store, "main", &[("old/name", "a\nb\nc\nd\ne\nf\n"), ("z", "z")])?;
    let side = store.create_branch("side", root)?;
    let mut change = side.begin()?;
    change.rename("old/name", "new/name")?;
    change.commit(ada(), "move")?;
    let edited = write(&store, "main", &[("old/name", "a\nb\nc\nd\ne\nF\n")])?;
    let main = store.branch("main")?;
    let merged = main.merge(side.head().unwrap(), ada(), "merge")?;
    assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
    assert_eq!(main.snapshot()?.read("new/name")?.as_deref(), Some(&b"a\nb\nc\nd\ne\nF\n"[..]));
    assert_eq!(main.snapshot()?.read("old/name")?, None);
    write(&store, "main", &[("later", "l")])?;
    let reverted = main.revert(edited, ada(), "revert")?;
    assert!(reverted.conflicts.is_empty());
    assert_eq!(main.snapshot()?.read("new/name")?.as_deref(), Some(&b"a\nb\nc\nd\ne\nf\n"[..]));
    assert_eq!(main.snapshot()?.read("later")?.as_deref(), Some(&b"l"[..]));
    Ok(())
}

#[test]
fn what_is_added_to_a_directory_follows_it_when_the_other_side_renamed_it() -> Result<()> {
    for merge_into_mover in [false, true] {
        let store = Store::create(MemoryDevice::new(), small())?;
        let files =
            [("mail/old/1", "one\n"), ("mail/old/2", "two\n"), ("mail/old/sub/3", "three\n"), ("x", "x")];
        let root = write(&store, "main", &files)?;
        let side = store.create_branch("side", root)?;
        let mut change = side.begin()?;
        change.rename("mail/old", "archive/new")?;
        change.commit(ada(), "rename")?;
        write(
            &store,
            "main",
            &[("mail/old/4", "four"), ("mail/old/sub/5", "five"), ("mail/old/2", "two\nmore\n")],
        )?;
        let main = store.branch("main")?;
        let (into, other) = if merge_into_mover { (&side, &main) } else { (&main, &side) };
        let merged = into.merge(other.head().unwrap(), ada(), "merge")?;
        assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
        let snapshot = into.snapshot()?;
        let paths: Vec<String> = snapshot.walk("")?.map(|entry| entry.unwrap().path.to_string()).collect();
        let new = [
            "archive/new/1",
            "archive/new/2",
            "archive/new/4",
            "archive/new/sub/3",
            "archive/new/sub/5",
            "x",
        ];
        assert_eq!(paths, new);
        assert_eq!(snapshot.read("archive/new/2")?.as_deref(), Some(&b"two\nmore\n"[..]));
    }
    Ok(())
}

#[test]
fn criss_cross_histories_merge_also_where_files_were_removed() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    let root = write(&store, "main", &[("a", "a\n"), ("b", "b\n"), ("c", "1\n2\n3\n4\n5\n")])?;
    let (main, side) = (store.branch("main")?, store.create_branch("side", root)?);
    let ours = write(&store, "main", &[("c", "one\n2\n3\n4\n5\n"), ("new", "n\n")])?;
    let theirs = write(&store, "side", &[("c", "1\n2\n3\n4\nfive\n")])?;
    main.merge(theirs, ada(), "cross")?;
    side.merge(ours, ada(), "criss")?;
    assert_eq!(store.merge_bases(main.head().unwrap(), side.head().unwrap())?.len(), 2);
    write(&store, "main", &[("c", "one\n2\nthree\n4\nfive\n")])?;
    let mut change = side.begin()?;
    change.remove("c")?;
    change.put("b", "changed\n")?;
    change.commit(ada(), "remove")?;
    let merged = main.merge(side.head().unwrap(), ada(), "merge")?;
    assert_eq!(merged.conflicts.len(), 1, "{:?}", merged.conflicts);
    assert_eq!(main.snapshot()?.read("b")?.as_deref(), Some(&b"changed\n"[..]));
    Ok(())
}

#[test]
fn watches_tell_everything_once_in_order() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small())?;
    let first = write(&store, "main", &[("in/a", "1")])?;
    let main = store.branch("main")?;
    let mut watch = main.watch("in", None)?;
    assert_eq!(watch.try_next()?, None);
    let second = write(&store, "main", &[("in/b", "2")])?;
    write(&store, "main", &[("out/c", "3")])?;
    let fourth = write(&store, "main", &[("in/a", "4")])?;
    for watch in [&mut watch, &mut main.watch("in", Some(first))?] {
        let event = watch.next()?;
        assert_eq!((event.commit, event.changes.len()), (Some(second), 1));
        assert!(event.changes[0].is_added());
        let event = watch.next()?;
        assert_eq!(event.commit, Some(fourth));
        assert_eq!(event.changes[0].path, "in/a");
        assert_eq!(watch.next_within(Duration::from_millis(5))?, None);
    }
    let waiting = std::thread::spawn(move || watch.next());
    std::thread::sleep(Duration::from_millis(20));
    write(&store, "main", &[("in/d", "5")])?;
    assert_eq!(waiting.join().unwrap()?.changes[0].path, "in/d");
    Ok(())
}

#[test]
fn derived_tables_change_with_their_commit() -> Result<()> {
    let device = Arc::new(MemoryDevice::new());
    let store = Store::create(device.clone(), small())?;
    let mut change = store.branch("main")?.begin()?;
    change.put("m", "1")?;
    change.index("uid").put(*b"k1", *b"v1");
    let commit = change.commit(ada(), "m")?;
    let uid = store.index("uid")?;
    assert_eq!(uid.at()?, Some(*commit));
    let moved = write(&store, "main", &[("n", "2")])?;
    assert_eq!(uid.at()?, Some(*commit), "the table must say that it is behind");
    let mut edits = store::IndexEdits::new();
    edits.put(*b"k2", *b"v2");
    uid.advance(Some(*commit), Some(moved), edits.clone())?;
    assert!(uid.advance(Some(*commit), Some(moved), edits).is_err());
    drop((store, uid));
    let uid = Store::open(device, small())?.index("uid")?;
    assert_eq!(
        uid.range(b"", None, 10)?,
        [(b"k1".to_vec(), b"v1".to_vec()), (b"k2".to_vec(), b"v2".to_vec())]
    );
    uid.clear()?;
    assert_eq!((uid.range(b"", None, 10)?.len(), uid.at()?), (0, None));
    Ok(())
}

#[test]
fn sixteen_writers_lose_nothing() -> Result<()> {
    let store = Store::create(MemoryDevice::new(), small().merge(Rule::suffix(".n"), Counter))?;
    write(&store, "main", &[("count.n", "0")])?;
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let main = store.branch("main").unwrap();
            std::thread::spawn(move || {
                for round in 0..20 {
                    let mut change = main.begin().unwrap();
                    let count: i32 = String::from_utf8_lossy(&change.read("count.n").unwrap().unwrap())
                        .trim()
                        .parse()
                        .unwrap();
                    change.put("count.n", format!("{}\n", count + 1)).unwrap();
                    change.put(format!("w{writer}/r{round}"), "x").unwrap();
                    change.commit(ada(), "count").unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let main = store.branch("main")?;
    assert_eq!(main.snapshot()?.read("count.n")?.as_deref(), Some(&b"320\n"[..]));
    assert_eq!(main.history("")?.count(), 321);
    assert_eq!(main.snapshot()?.walk("")?.count(), 321);
    Ok(())
}

#[test]
fn large_files_stream_through_bounded_pieces() -> Result<()> {
    use std::io::Read;
    let store = Store::create(MemoryDevice::new(), small())?;
    let main = store.branch("main")?;
    let noise = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
    let content: Vec<u8> = (0..3_000_001).map(noise).collect();
    let mut change = main.begin()?;
    let id = change.put_reader("big", content.len() as u64, &content[..])?;
    change.put("empty-too", "")?;
    change.put_reader("nothing", 0, &b""[..])?;
    assert!(change.put_reader("short", 10, &b"only"[..]).is_err());
    change.commit(ada(), "big")?;
    assert_eq!(id, store::ObjectId::of(store::Kind::Blob, &content).unwrap());
    let mut read = Vec::new();
    main.snapshot()?.reader("big")?.unwrap().read_to_end(&mut read)?;
    assert!(read == content);
    assert_eq!(main.snapshot()?.read("nothing")?.as_deref(), Some(&b""[..]));
    assert_eq!(main.snapshot()?.size_bytes("big")?, Some(content.len() as u64));
    Ok(())
}

#[test]
fn an_entry_that_the_transaction_itself_made_can_be_put() {
    let store = Store::create(store::MemoryDevice::new(), Options::new()).unwrap();
    let main = store.branch("main").unwrap();
    let mut change = main.begin().unwrap();
    change.put("incoming", "hello").unwrap();
    let made = change.entry("incoming").unwrap().unwrap();
    change.put_entry("kept", &made).unwrap();
    change.remove("incoming").unwrap();
    change.commit(Author::new("Ada", "ada@example.org"), "kept under its name").unwrap();
    assert_eq!(main.snapshot().unwrap().read("kept").unwrap().as_deref(), Some(&b"hello"[..]));
}
