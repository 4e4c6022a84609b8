//! The index: what the log said lately, in memory, over sorted runs on the device.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::run::{Cursor, Run};
use super::{Edits, Engine};
use crate::Result;

/// Keys that are copied at a time out of what is in memory.
pub const PAGE_KEYS: usize = 1024;

/// The index, newest first.
#[derive(Default)]
pub struct Tables {
    /// Since the last checkpoint; `None` hides what is older.
    pub recent: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// About how many bytes that is.
    pub recent_bytes: usize,
    /// How often something was written.
    pub changes: u64,
    /// The newest first.
    pub runs: Arc<Vec<Arc<Run>>>,
}

impl Tables {
    pub fn apply(&mut self, edits: Edits) {
        self.changes += 1;
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

/// Shows the keys and values of a range, in order, until `then` says that it is enough. What is written meanwhile is
/// seen or not.
pub fn visit(
    engine: &Engine,
    from: &[u8],
    to: &[u8],
    page: usize,
    then: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    // What is in memory is copied a page at a time, so that the writer never waits for a reader's reads.
    let mut from = from.to_vec();
    let mut seen: Option<Arc<Vec<Arc<Run>>>> = None;
    let mut cursors = Vec::new();
    loop {
        let (recent, runs) = {
            let tables = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            let range = (Bound::Included(from.as_slice()), Bound::Excluded(to));
            let recent = tables.recent.range::<[u8], _>(range).take(page);
            (recent.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>(), tables.runs.clone())
        };
        let end = recent.last().filter(|_| recent.len() == page).map(|(key, _)| key.clone());
        // Between two pages what was in memory may have become a run.
        if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &runs)) {
            cursors = runs.iter().map(|run| run.cursor(engine, &from)).collect::<Result<_>>()?;
        }
        let mut merged = Merged::of(recent, cursors);
        while let Some((key, value)) = merged.next(engine)? {
            if key >= to {
                return Ok(());
            }
            if let Some(value) = value
                && !then(key, value)?
            {
                return Ok(());
            }
            if end.as_deref() == Some(key) {
                break;
            }
        }
        let Some(end) = end else { return Ok(()) };
        from = end;
        from.push(0);
        cursors = merged.into_cursors(engine)?;
        seen = Some(runs);
    }
}

/// Keys and values of a range, at most `limit`.
pub fn scan(engine: &Engine, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    visit(engine, from, to, limit.saturating_add(64).min(PAGE_KEYS), &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// Walks what is in memory and several runs side by side; the newest of equal keys counts.
pub struct Merged {
    recent: std::vec::IntoIter<(Vec<u8>, Option<Vec<u8>>)>,
    /// The newest first.
    cursors: Vec<Cursor>,
    /// Which of them stand at the key that was given last; what is in memory is the last one.
    due: Vec<bool>,
}

impl Merged {
    pub fn new(
        engine: &Engine,
        recent: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        runs: &[Arc<Run>],
        from: &[u8],
    ) -> Result<Merged> {
        let cursors = runs.iter().map(|run| run.cursor(engine, from)).collect::<Result<_>>()?;
        Ok(Merged::of(recent, cursors))
    }

    fn of(recent: Vec<(Vec<u8>, Option<Vec<u8>>)>, cursors: Vec<Cursor>) -> Merged {
        let due = vec![false; cursors.len() + 1];
        Merged { recent: recent.into_iter(), cursors, due }
    }

    /// The next key, and what stands under it.
    #[allow(clippy::type_complexity)]
    pub fn next(&mut self, engine: &Engine) -> Result<Option<(&[u8], Option<&[u8]>)>> {
        self.pass(engine)?;
        let in_recent = self.recent.as_slice().first().map(|(key, _)| key.as_slice());
        let heads = self.cursors.iter().map(Cursor::key);
        let Some(least) = std::iter::once(in_recent).chain(heads).flatten().min() else { return Ok(None) };
        let at = |key: Option<&[u8]>| key == Some(least);
        for (due, cursor) in self.due.iter_mut().zip(&self.cursors) {
            *due = at(cursor.key());
        }
        if let Some(due) = self.due.last_mut() {
            *due = at(in_recent);
        }
        if at(in_recent) {
            let pair = self.recent.as_slice().first();
            return Ok(pair.map(|(key, value)| (&key[..], value.as_deref())));
        }
        let newest = self.cursors.iter().find(|cursor| at(cursor.key()));
        Ok(newest.map(|cursor| (least, cursor.value())))
    }

    /// Leaves the key that was given last behind.
    fn pass(&mut self, engine: &Engine) -> Result<()> {
        if let Some(due) = self.due.last_mut()
            && std::mem::take(due)
        {
            self.recent.next();
        }
        for (due, cursor) in self.due.iter_mut().zip(&mut self.cursors) {
            if std::mem::take(due) {
                cursor.advance(engine)?;
            }
        }
        Ok(())
    }

    fn into_cursors(mut self, engine: &Engine) -> Result<Vec<Cursor>> {
        self.pass(engine)?;
        Ok(self.cursors)
    }
}
