//! What happened to a message on its way, for `nymote mail trace`: the last events, by id.
//!
//! Events are noted in memory and written to a table of the store every two seconds and at a stop; a restart reads them
//! again. They are for people who ask, not for mail to depend on: no answer waits for them, and a power cut takes the last
//! two seconds of them.

use chassis::Chassis;
use chassis::clock::now_ms;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use store::{Index, IndexEdits, Store};

/// Events that are remembered.
const EVENTS_MAX: usize = 20_000;
/// The longest text of an event that is written; a peer's answer may be long.
const TEXT_MAX: usize = 2_000;
/// Between two writings.
const WRITE_TIME: Duration = Duration::from_secs(2);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The ids that it belongs to: of the Received field, of the queue, the Message-ID.
    pub ids: Vec<String>,
    /// What happened, in words.
    pub what: String,
}

/// The last events.
pub struct Trace {
    table: Index,
    events: Mutex<Events>,
}

/// Events in order, each with its number.
#[derive(Default)]
struct Events {
    all: VecDeque<Event>,
    /// The number of the first in `all`; numbers begin at 1 with the first event ever.
    first: u64,
    /// The number of the first that is not written yet.
    unwritten: u64,
    /// The number of the oldest that is in the table.
    oldest_kept: u64,
}

impl Events {
    fn next(&self) -> u64 {
        self.first + self.all.len() as u64
    }
}

impl Trace {
    /// Reads what is remembered.
    pub fn open(store: &Store) -> Result<Trace, store::Error> {
        let table = store.index("mail trace")?;
        let rows = table.prefix(b"", 2 * EVENTS_MAX)?;
        let number = |key: &[u8]| key.try_into().map(u64::from_be_bytes).unwrap_or(0);
        let first = rows.first().map_or(1, |(key, _)| number(key));
        let mut events = Events { first, oldest_kept: first, ..Events::default() };
        for (_, value) in rows {
            // One that cannot be read keeps its number.
            let unread = || Event { at_ms: 0, ids: Vec::new(), what: String::new() };
            events.all.push_back(serde_json::from_slice(&value).unwrap_or_else(|_| unread()));
        }
        events.unwritten = events.next();
        Ok(Trace { table, events: Mutex::new(events) })
    }

    /// Notes an event.
    pub fn note(&self, ids: &[&str], what: impl Into<String>) {
        let cut = |text: &str| text.chars().take(TEXT_MAX).collect::<String>();
        let ids = ids.iter().filter(|id| !id.is_empty()).take(4).map(|id| cut(id)).collect();
        let mut events = self.lock();
        if events.all.len() >= EVENTS_MAX {
            events.all.pop_front();
            events.first += 1;
        }
        events.all.push_back(Event { at_ms: now_ms(), ids, what: cut(&what.into()) });
    }

    /// Writes what is new; forgets what is too old.
    pub fn write(&self) -> Result<(), store::Error> {
        let mut edits = IndexEdits::new();
        let (next, first) = {
            let events = self.lock();
            let from = events.unwritten.max(events.first);
            if from >= events.next() {
                return Ok(());
            }
            for number in from..events.next() {
                let event = &events.all[(number - events.first) as usize];
                edits.put(number.to_be_bytes(), serde_json::to_vec(event).unwrap_or_default());
            }
            for number in events.oldest_kept..events.first.min(events.unwritten) {
                edits.delete(number.to_be_bytes());
            }
            (events.next(), events.first)
        };
        self.table.advance(None, None, edits)?;
        let mut events = self.lock();
        events.unwritten = next;
        events.oldest_kept = events.oldest_kept.max(first);
        Ok(())
    }

    /// Writes now and then until the machine stops, and once more then.
    pub async fn keep(&self, chassis: &Chassis) {
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(WRITE_TIME) => false,
                () = chassis.stopping() => true,
            };
            if let Err(error) = self.write() {
                tracing::warn!(%error, "what happened to messages cannot be written down");
            }
            if stopping {
                return;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Everything about a message, in order: events that share an id with one that has `id` belong to it too.
    pub fn of(&self, id: &str) -> Vec<Event> {
        let id = id.trim_matches(['<', '>']);
        let events = &self.lock().all;
        let mut known = vec![id.to_owned()];
        let related = |known: &[String], e: &Event| e.ids.iter().any(|i| known.contains(i));
        for _ in 0..3 {
            for event in events.iter() {
                if related(&known, event) {
                    let new: Vec<String> = event.ids.iter().filter(|i| !known.contains(i)).cloned().collect();
                    known.extend(new);
                }
            }
        }
        events.iter().filter(|e| related(&known, e)).cloned().collect()
    }
}

/// The Message-ID without its brackets.
pub fn message_id(raw: &[u8]) -> String {
    let value = crate::message::first_value(raw, "Message-ID").unwrap_or_default();
    value.trim_matches(['<', '>', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_followed_by_any_of_its_ids() {
        let store = Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
        let trace = Trace::open(&store).unwrap();
        trace.note(&["r1", "m1@x"], "received");
        trace.note(&["r2", "m2@x"], "another");
        trace.note(&["q1", "m1@x"], "queued");
        trace.note(&["q1"], "delivered");
        let whats: Vec<String> = trace.of("<m1@x>").into_iter().map(|e| e.what).collect();
        assert_eq!(whats, ["received", "queued", "delivered"]);
        assert_eq!(trace.of("r1").len(), 3);
        assert!(trace.of("nobody").is_empty());
        trace.write().unwrap();
        trace.note(&["r3"], "after a restart this is forgotten");
        let again = Trace::open(&store).unwrap();
        assert_eq!(again.of("q1"), trace.of("q1"));
        again.note(&["q1"], "asked again");
        again.write().unwrap();
        assert_eq!(Trace::open(&store).unwrap().of("m1@x").len(), 4);
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let store = Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
        let trace = Trace::open(&store).unwrap();
        for i in 0..EVENTS_MAX + 100 {
            trace.note(&["x"], format!("event {i}"));
            if i % 7_000 == 0 {
                trace.write().unwrap();
            }
        }
        trace.write().unwrap();
        let again = Trace::open(&store).unwrap().of("x");
        assert_eq!((again.len(), again[0].what.as_str()), (EVENTS_MAX, "event 100"));
    }
}
