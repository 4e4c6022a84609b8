//! Who read what and when: kept in memory by device and collection, since a read changes nothing that would be kept. What
//! was changed stands in the history of the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::household::Caller;
use crate::path::Place;
use crate::server::Request;

/// The reads that were seen since the start.
#[derive(Debug, Default)]
pub struct Activity(Mutex<BTreeMap<Key, Seen>>);

type Key = (String, String, String, String);

/// What one device read of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the owner calls the device.
    pub device: String,
    /// The program.
    pub program: String,
    /// The collection's path, for people.
    pub collection: String,
    /// How often.
    pub times: u64,
    /// The last time, milliseconds since 1970.
    pub at_ms: u64,
}

/// Entries that are kept; the oldest make room.
const SEEN_MAX: usize = 2_000;

impl Activity {
    /// Notes a request that was answered.
    pub fn saw(&self, caller: &Caller, request: &Request, status: u16) {
        if !matches!(request.method.as_str(), "GET" | "PROPFIND" | "REPORT") || !matches!(status, 200 | 207) {
            return;
        }
        let collection = match Place::parse(&request.target) {
            Ok(Place::In(_, names, _)) => names.first().cloned().unwrap_or_default(),
            _ => return,
        };
        let key = (caller.account.clone(), caller.device.clone(), caller.program.clone(), collection.clone());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX
            && !seen.contains_key(&key)
            && let Some(oldest) = seen.iter().min_by_key(|(_, seen)| seen.at_ms).map(|(key, _)| key.clone())
        {
            seen.remove(&oldest);
        }
        let entry = seen.entry(key).or_insert(Seen {
            device: caller.device.clone(),
            program: caller.program.clone(),
            collection,
            times: 0,
            at_ms: 0,
        });
        entry.times += 1;
        entry.at_ms = request.now_ms;
    }

    /// What was read of an account's tree, the latest first.
    pub fn of(&self, account: &str) -> Vec<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out: Vec<Seen> =
            seen.iter().filter(|(key, _)| key.0 == account).map(|(_, seen)| seen.clone()).collect();
        out.sort_by_key(|seen| std::cmp::Reverse(seen.at_ms));
        out
    }
}
