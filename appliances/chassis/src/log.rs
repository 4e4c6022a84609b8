//! Structured logs: a small subscriber for `tracing` that writes one line an event to standard error, as JSON or for
//! people. Fields of the spans around an event stand on its line, so that one `grep` follows a session or a message.
//!
//! Not here: filters by module, files, rotation. Whoever starts an appliance reads its standard error.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock;

/// Starts logging for this process. A second call changes nothing (several appliances in one test process).
pub fn start(appliance: &'static str, json: bool, level: Level) {
    let colour = !json && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines =
        Lines { appliance, json, colour, level, next: AtomicU64::new(1), spans: Mutex::new(HashMap::new()) };
    let _ = tracing::subscriber::set_global_default(lines);
}

struct Lines {
    appliance: &'static str,
    json: bool,
    colour: bool,
    level: Level,
    next: AtomicU64,
    spans: Mutex<HashMap<u64, Span>>,
}

struct Span {
    fields: Map<String, Value>,
    parent: Option<u64>,
    handles: usize,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies speak only when something is wrong: rustls and hyper report every odd client otherwise.
        let own = !QUIET.iter().any(|name| metadata.target().starts_with(name));
        *metadata.level() <= if own { self.level } else { self.level.min(Level::WARN) }
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields::default();
        span.record(&mut fields);
        let parent = match span.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if span.is_contextual() => ENTERED.with_borrow(|entered| entered.last().copied()),
            None => None,
        };
        let mut spans = lock(&self.spans);
        if let Some(parent) = parent.and_then(|parent| spans.get_mut(&parent)) {
            parent.handles += 1;
        }
        spans.insert(id, Span { fields: fields.0, parent, handles: 1 });
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = lock(&self.spans).get_mut(&id.into_u64()) {
            span.fields.append(&mut fields.0);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = match fields.0.remove("message") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let around = self.fields_around();
        let line = if self.json {
            self.json_line(event.metadata(), message, around, fields.0)
        } else {
            self.human_line(event.metadata(), &message, around, fields.0)
        };
        // Nobody is left to be told when standard error is gone.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(at) = entered.iter().rposition(|one| *one == id.into_u64()) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = lock(&self.spans).get_mut(&id.into_u64()) {
            span.handles += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = lock(&self.spans);
        let mut closing = Some(id.into_u64());
        let mut closed = false;
        while let Some(id) = closing.take() {
            let Some(span) = spans.get_mut(&id) else { break };
            span.handles -= 1;
            if span.handles == 0 {
                closing = spans.remove(&id).and_then(|span| span.parent);
                closed = true;
            }
        }
        closed
    }
}

impl Lines {
    fn fields_around(&self) -> Map<String, Value> {
        let mut around = Map::new();
        let mut at = ENTERED.with_borrow(|entered| entered.last().copied());
        let spans = lock(&self.spans);
        while let Some(span) = at.and_then(|id| spans.get(&id)) {
            for (name, value) in &span.fields {
                around.entry(name.clone()).or_insert_with(|| value.clone());
            }
            at = span.parent;
        }
        around
    }

    fn json_line(
        &self,
        metadata: &Metadata<'_>,
        message: String,
        around: Map<String, Value>,
        fields: Map<String, Value>,
    ) -> String {
        let mut line = Map::new();
        line.insert("at".into(), clock::rfc3339(clock::now_ms()).into());
        line.insert("level".into(), metadata.level().as_str().to_ascii_lowercase().into());
        line.insert("appliance".into(), self.appliance.into());
        line.insert("target".into(), metadata.target().into());
        line.insert("message".into(), message.into());
        for (name, value) in around.into_iter().chain(fields) {
            line.insert(name, value);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        text
    }

    fn human_line(
        &self,
        metadata: &Metadata<'_>,
        message: &str,
        around: Map<String, Value>,
        fields: Map<String, Value>,
    ) -> String {
        let time = clock::rfc3339(clock::now_ms());
        let mut text = format!("{} ", &time[11..19]);
        let (paint, plain) = if self.colour { (colour(metadata.level()), "\x1b[0m") } else { ("", "") };
        let _ =
            write!(text, "{paint}{:5}{plain} {} {}", metadata.level(), self.appliance, printable(message));
        for (name, value) in around.into_iter().chain(fields) {
            match value {
                Value::String(value) => _ = write!(text, " {name}={}", printable(&value)),
                value => _ = write!(text, " {name}={value}"),
            }
        }
        text.push('\n');
        text
    }
}

/// Control characters from a peer must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

/// Crates whose everyday events are not ours.
const QUIET: [&str; 7] = ["rustls", "tokio_rustls", "hyper", "h2", "mio", "tokio", "hickory"];
