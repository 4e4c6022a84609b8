//! What happened to a message on its way, for `nymote mail trace`: the last events of this process, by id.

use chassis::clock::now_ms;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Events that are remembered.
const EVENTS_MAX: usize = 20_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The ids that it belongs to: of the Received field, of the queue, the Message-ID.
    pub ids: Vec<String>,
    /// What happened, in words.
    pub what: String,
}

/// The last events.
#[derive(Debug, Default)]
pub struct Trace(Mutex<VecDeque<Event>>);

impl Trace {
    /// Notes an event.
    pub fn note(&self, ids: &[&str], what: impl Into<String>) {
        let ids = ids.iter().filter(|id| !id.is_empty()).map(|id| (*id).to_owned()).collect();
        let mut events = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { at_ms: now_ms(), ids, what: what.into() });
    }

    /// Everything about a message, in order: events that share an id with one that has `id` belong to it too.
    pub fn of(&self, id: &str) -> Vec<Event> {
        let id = id.trim_matches(['<', '>']);
        let events = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
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
        let trace = Trace::default();
        trace.note(&["r1", "m1@x"], "received");
        trace.note(&["r2", "m2@x"], "another");
        trace.note(&["q1", "m1@x"], "queued");
        trace.note(&["q1"], "delivered");
        let whats: Vec<String> = trace.of("<m1@x>").into_iter().map(|e| e.what).collect();
        assert_eq!(whats, ["received", "queued", "delivered"]);
        assert_eq!(trace.of("r1").len(), 3);
        assert!(trace.of("nobody").is_empty());
    }
}
