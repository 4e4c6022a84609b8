//! redb doing what the store does with one 4 kB file a commit: the same content, as durable, by as many writers.

use std::path::Path;
use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use store::{Kind, ObjectId, Result};

use crate::mail;
use crate::rows::written_bytes;

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

/// What one commit puts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Puts {
    /// The content under its id, and nothing else.
    Content,
    /// What the store puts: the content, four trees, a commit and a branch; as large as they are deflated.
    Objects,
}

/// One transaction for each message, each flushed before it returns. Writers queue for redb's one writer.
pub fn redb(path: &Path, writers: u64, count: u64, puts: Puts) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let base = Database::create(path).expect("a database");
    let (begun, before) = (Instant::now(), written_bytes());
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let base = &base;
            scope.spawn(move || {
                for round in 0..count / writers {
                    let number = writer * 1_000_000 + round;
                    put(base, number, &mail::message(number, 4096), puts).expect("a commit");
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = (written_bytes() - before) / count;
    let read = base.begin_read().expect("a transaction");
    let there = read.open_table(OBJECTS).expect("a table").len().expect("a length");
    assert!(there >= count / writers * writers);
    drop((read, base));
    let size = std::fs::metadata(path)?.len() / count;
    println!("{{\"per_s\": {:.1}, \"bytes\": {bytes}, \"size\": {size}}}", count as f64 / seconds);
    Ok(())
}

fn put(base: &Database, number: u64, content: &[u8], puts: Puts) -> std::result::Result<(), redb::Error> {
    let mut write = base.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut table = write.open_table(OBJECTS)?;
        let id = |part: u64| {
            let name = [number.to_le_bytes(), part.to_le_bytes()].concat();
            ObjectId::of(Kind::Blob, &name).expect("an id").0
        };
        match puts {
            Puts::Content => drop(table.insert(&id(0)[..], content)?),
            Puts::Objects => {
                for (part, size) in [2_400, 150, 60, 60, 90, 120].into_iter().enumerate() {
                    table.insert(&id(part as u64)[..], &content[..size])?;
                }
                table.insert(&b"refs/heads/main"[..], &id(5)[..])?;
            }
        }
    }
    Ok(write.commit()?)
}
