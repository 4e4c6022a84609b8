//! Counters and gauges, in the text form that Prometheus reads (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// A number that is counted or set; cheap to clone, safe from any thread.
#[derive(Debug, Clone, Default)]
pub struct Number(Arc<AtomicI64>);

impl Number {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }
    /// Adds `amount`, which may be negative for a gauge.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
    /// Sets a gauge.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All numbers of an appliance.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<String, Family>>>);

#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: &'static str,
    numbers: BTreeMap<String, Number>,
}

impl Metrics {
    /// The counter `name` with these labels; made when it is first asked for. Counters end in `_total`.
    pub fn counter(&self, name: &str, help: &'static str, labels: &[(&str, &str)]) -> Number {
        self.number("counter", name, help, labels)
    }

    /// The gauge `name` with these labels; its unit is the name's end (`_bytes`, `_seconds`).
    pub fn gauge(&self, name: &str, help: &'static str, labels: &[(&str, &str)]) -> Number {
        self.number("gauge", name, help, labels)
    }

    /// All numbers as text. Labels must come from our own code, never from a peer: each set is kept for good.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in self.lock().iter() {
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind);
            for (labels, number) in &family.numbers {
                let _ = writeln!(text, "{name}{labels} {}", number.get());
            }
        }
        text
    }

    fn number(&self, kind: &'static str, name: &str, help: &'static str, labels: &[(&str, &str)]) -> Number {
        let mut families = self.lock();
        let family = families.entry(name.to_owned()).or_insert_with(|| Family {
            kind,
            help,
            numbers: BTreeMap::new(),
        });
        family.numbers.entry(written(labels)).or_default().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_text_format() {
        let metrics = Metrics::default();
        metrics.counter("nymote_requests_total", "Requests answered.", &[("status", "2\"x")]).add(3);
        metrics.counter("nymote_requests_total", "Requests answered.", &[("status", "2\"x")]).increment();
        metrics.gauge("nymote_open", "Open connections.", &[]).set(7);
        let expected = "# HELP nymote_open Open connections.\n# TYPE nymote_open gauge\nnymote_open 7\n\
            # HELP nymote_requests_total Requests answered.\n# TYPE nymote_requests_total counter\n\
            nymote_requests_total{status=\"2\\\"x\"} 4\n";
        assert_eq!(metrics.text(), expected);
    }
}
