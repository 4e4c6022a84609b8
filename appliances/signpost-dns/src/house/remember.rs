//! Which signed requests were seen, on the device: one that comes again gets the answer that it got and does nothing, after
//! a kill too. A change of a zone carries it along; an update that changed nothing, or a view, waits for it here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::{House, errands, unlocked};
use crate::keeper::{KeepError, REQUESTS, derived};

/// Who waits for it, and how far it is.
#[derive(Default)]
pub(super) struct Memory {
    asked: AtomicU64,
    wanted: Notify,
    written: watch::Sender<u64>,
}

impl House {
    /// Takes in which signed requests were seen before this start; rows that are too old go.
    pub(super) fn restore_requests(&self) -> Result<(), KeepError> {
        let index = self.store.index(REQUESTS)?;
        let (mut seen, mut old) = (unlocked(self.seen.lock()), store::IndexEdits::new());
        derived::each(&index, |key, value| {
            if seen.restore(key, &value, errands::now()) {
                old.delete(key);
            }
        })?;
        Ok(derived::write(&index, old)?)
    }

    /// Writes which signed requests were seen since the last change of a zone.
    ///
    /// # Errors
    /// What the store says.
    pub fn save_requests(&self) -> Result<(), KeepError> {
        let rows = unlocked(self.seen.lock()).unsaved();
        if rows.is_empty() {
            return Ok(());
        }
        let mut edits = store::IndexEdits::new();
        for (key, value) in rows.iter().cloned() {
            match value {
                Some(value) => edits.put(key, value),
                None => edits.delete(key),
            }
        }
        let written = derived::write(&self.store.index(REQUESTS)?, edits);
        if written.is_err() {
            unlocked(self.seen.lock()).give_back(rows);
        }
        Ok(written?)
    }

    /// Waits until the requests noted so far are on the device. Those that come together share a flush.
    pub(super) async fn remembered(&self) {
        let turn = self.memory.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut written = self.memory.written.subscribe();
        self.memory.wanted.notify_one();
        let _ = written.wait_for(|upto| *upto >= turn).await;
    }

    /// Writes whenever somebody waits for it. Must be called within a tokio runtime.
    pub(super) fn remember(self: &Arc<Self>) {
        let (memory, house) = (self.memory.clone(), Arc::downgrade(self));
        tokio::spawn(async move {
            loop {
                memory.wanted.notified().await;
                let turn = memory.asked.load(Ordering::SeqCst);
                let Some(house) = house.upgrade() else { return };
                let written = chassis::aside::aside(move || house.save_requests()).await;
                if let Some(Err(error)) = written {
                    tracing::error!(%error, "which requests were seen was not written");
                }
                memory.written.send_replace(turn);
            }
        });
    }
}
