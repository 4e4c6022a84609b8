//! Criterion benchmarks: the store's common calls, and redb beside it doing the same (decision 0200).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use store::{Author, Options, Store};

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

fn ada() -> Author {
    Author::new("Ada", "ada@example.org").at(1_700_000_000, 0)
}

/// Four kilobytes that deflate as text does.
fn text(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"etaoinshrdlu cmfwypvbgkjqxz\n"[(state >> 40) as usize % 28]
    };
    (0..4096).map(|_| letter()).collect()
}

fn path(number: u64) -> String {
    format!("mail/inbox/{:04}/{:02}/{number:08}.eml", number / 10_000, number / 100 % 100)
}

fn commits(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut group = criterion.benchmark_group("durable commit of 4 kB");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let store = Store::create_path(directory.path().join("one.store"), Options::new()).expect("a store");
    let main = store.branch("main").expect("a branch");
    let number = AtomicU64::new(0);
    group.bench_function("store: objects, trees, commit, branch", |bench| {
        bench.iter(|| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let mut change = main.begin().expect("a transaction");
            change.put(path(number), text(number)).expect("a file");
            change.commit(ada(), "add").expect("a commit");
        });
    });
    // The same four or five objects as keys and values: what an engine of trees of pages would have to write.
    let redb = Database::create(directory.path().join("one.redb")).expect("a database");
    group.bench_function("redb: the same six objects and a ref as values", |bench| {
        bench.iter(|| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let content = text(number);
            let mut write = redb.begin_write().expect("a transaction");
            write.set_durability(Durability::Immediate).expect("durable");
            {
                let mut table = write.open_table(OBJECTS).expect("a table");
                for (part, size) in [(0, 2400), (1, 150), (2, 60), (3, 60), (4, 90), (5, 120)] {
                    let id = store::ObjectId::of(
                        store::Kind::Blob,
                        &[&number.to_le_bytes()[..], &[part]].concat(),
                    )
                    .expect("an id");
                    table.insert(&id.0[..], &content[..size]).expect("a value");
                }
                table.insert(&b"refs/heads/main"[..], &number.to_le_bytes()[..]).expect("a ref");
            }
            write.commit().expect("a commit");
        });
    });
    group.finish();
    let bytes = |name: &str| std::fs::metadata(directory.path().join(name)).map_or(0, |file| file.len());
    println!("files after that: store {} bytes, redb {} bytes", bytes("one.store"), bytes("one.redb"));
}

fn reads(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::create_path(directory.path().join("one.store"), Options::new()).expect("a store");
    let main = store.branch("main").expect("a branch");
    let redb = Database::create(directory.path().join("one.redb")).expect("a database");
    let mut ids = Vec::new();
    for first in (0..50_000).step_by(5_000) {
        let mut change = main.begin().expect("a transaction");
        let write = redb.begin_write().expect("a transaction");
        {
            let mut table = write.open_table(OBJECTS).expect("a table");
            for number in first..first + 5_000u64 {
                let content = text(number)[..300].to_vec();
                table
                    .insert(
                        &store::ObjectId::of(store::Kind::Blob, &content).expect("an id").0[..],
                        &content[..],
                    )
                    .expect("a value");
                ids.push(change.put(path(number), content).expect("a file"));
            }
        }
        write.commit().expect("a commit");
        change.commit(ada(), "fill").expect("a commit");
    }
    let mut group = criterion.benchmark_group("read one of 50,000 by id");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut at = 0usize;
    group.bench_function("store", |bench| {
        bench.iter(|| {
            at = (at + 7919) % ids.len();
            store.blob(&ids[at]).expect("a blob").expect("there")
        });
    });
    group.bench_function("redb", |bench| {
        bench.iter(|| {
            at = (at + 7919) % ids.len();
            let read = redb.begin_read().expect("a transaction");
            let table = read.open_table(OBJECTS).expect("a table");
            table.get(&ids[at].0[..]).expect("a value").expect("there").value().to_vec()
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    drop((store, main));
    group.bench_function("a store of 50,000 files", |bench| {
        bench.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let begun = Instant::now();
                let store =
                    Store::open_path(directory.path().join("one.store"), Options::new()).expect("a store");
                spent += begun.elapsed();
                drop(store);
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);
