//! The index: what the log said lately, in memory, over sorted runs on the device.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::run::{Cursor, Run};
use super::{Edits, Engine};
use crate::Result;

/// The index, newest first.
#[derive(Default)]
pub struct Tables {
    /// Since the last checkpoint; `None` hides what is older.
    pub recent: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// About how many bytes that is.
    pub recent_bytes: usize,
    /// The newest first.
    pub runs: Arc<Vec<Arc<Run>>>,
}

impl Tables {
    pub fn apply(&mut self, edits: Edits) {
        for (key, value) in edits {
            self.recent_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + 96;
            self.recent.insert(key, value);
        }
    }
}

/// The value under a key.
pub fn get(engine: &Engine, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let runs = {
        let tables = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(value) = tables.recent.get(key) {
            return Ok(value.clone());
        }
        tables.runs.clone()
    };
    for run in runs.iter() {
        if let Some(value) = run.get(engine, key)? {
            return Ok(value);
        }
    }
    Ok(None)
}

/// Keys and values of a range, at most `limit`.
pub fn scan(engine: &Engine, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    if from >= to || limit == 0 {
        return Ok(found);
    }
    // What is in memory is copied a page at a time, so that the writer never waits for a reader's reads.
    let mut from = from.to_vec();
    loop {
        let (recent, runs) = {
            let tables = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            let range = (Bound::Included(from.as_slice()), Bound::Excluded(to));
            let recent = tables.recent.range::<[u8], _>(range).take(limit.saturating_add(64));
            (recent.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>(), tables.runs.clone())
        };
        let whole = recent.len() <= limit;
        let end = recent.last().filter(|_| !whole).map(|(key, _)| key.clone());
        let mut merged = Merged::new(engine, recent, &runs, &from)?;
        while let Some((key, value)) = merged.next(engine)? {
            if key.as_slice() >= to {
                return Ok(found);
            }
            let last_page = end.as_ref() == Some(&key);
            if last_page {
                from.clone_from(&key);
                from.push(0);
            }
            if let Some(value) = value {
                found.push((key, value));
                if found.len() == limit {
                    return Ok(found);
                }
            }
            if last_page {
                break;
            }
        }
        if end.is_none() {
            return Ok(found);
        }
    }
}

/// Walks what is in memory and several runs side by side; the newest of equal keys counts.
pub struct Merged {
    recent: std::iter::Peekable<std::vec::IntoIter<(Vec<u8>, Option<Vec<u8>>)>>,
    cursors: Vec<Cursor>,
}

impl Merged {
    pub fn new(
        engine: &Engine,
        recent: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        runs: &[Arc<Run>],
        from: &[u8],
    ) -> Result<Merged> {
        let cursors = runs.iter().map(|run| run.cursor(engine, from)).collect::<Result<_>>()?;
        Ok(Merged { recent: recent.into_iter().peekable(), cursors })
    }

    #[allow(clippy::type_complexity)]
    pub fn next(&mut self, engine: &Engine) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>> {
        if let ([cursor], None) = (&mut self.cursors[..], self.recent.peek()) {
            return cursor.take(engine);
        }
        let in_recent = self.recent.peek().map(|(key, _)| key.as_slice());
        let heads = self.cursors.iter().map(|cursor| cursor.peek());
        let Some(least) = std::iter::once(in_recent).chain(heads).flatten().min().map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        let mut value = None;
        if self.recent.peek().is_some_and(|(key, _)| *key == least) {
            value = self.recent.next();
        }
        for cursor in &mut self.cursors {
            if cursor.peek() == Some(&least) {
                let older = cursor.take(engine)?;
                value = value.or(older);
            }
        }
        Ok(value)
    }
}
