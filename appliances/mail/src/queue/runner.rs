//! The one who carries the mail out: takes what is due, tries it, writes the result, tells the sender.

use super::entry::{Entry, Queue, QueueError, RecipientState, Waiting};
use super::notice::{Kind, notice};
use super::route::RouteError;
use super::schedule;
use super::send::send;
use crate::service::Post;
use crate::smtp::{Mailbox, Outcome, Outgoing, OutgoingRecipient};
use chassis::clock::now_ms;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Messages that are tried at the same time.
const AT_ONCE: usize = 20;
/// A look at the queue at least so often.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// What runs the queue: new mail is put here, commands ask here. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    queue: Queue,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    busy: Arc<Mutex<HashSet<String>>>,
    wake: Arc<Notify>,
}

impl Runner {
    /// Takes over what is in the queue.
    pub fn new(queue: Queue) -> Result<Runner, QueueError> {
        let entries = queue.all()?.into_iter().map(|e| (e.id.clone(), e)).collect();
        Ok(Runner {
            queue,
            entries: Arc::new(Mutex::new(entries)),
            busy: Arc::default(),
            wake: Arc::default(),
        })
    }

    /// Adds a message; resolves after the flush.
    pub async fn add(&self, entry: Entry, message: bytes::Bytes) -> Result<String, QueueError> {
        let entry = self.queue.add(entry, message).await?;
        let id = entry.id.clone();
        lock(&self.entries).insert(id.clone(), entry);
        self.wake.notify_one();
        Ok(id)
    }

    /// Everything that waits, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = lock(&self.entries).values().cloned().collect();
        all.sort_by_key(|e| e.created_ms);
        all
    }

    /// Makes everything (or one message) due now; says how many messages.
    pub fn flush(&self, id: Option<&str>) -> usize {
        let mut entries = lock(&self.entries);
        let chosen = entries.values_mut().filter(|e| id.is_none_or(|id| e.id == id));
        let count = chosen.map(|e| e.recipients.iter_mut().for_each(|r| r.next_ms = 0)).count();
        self.wake.notify_one();
        count
    }

    /// Removes a message without telling anybody.
    pub async fn remove(&self, id: &str) -> Result<(), QueueError> {
        lock(&self.entries).remove(id);
        self.queue.remove(id).await
    }

    /// The text of a queued message.
    pub fn message(&self, id: &str) -> Result<bytes::Bytes, QueueError> {
        self.queue.message(id)
    }

    fn due(&self, now: u64) -> (Vec<Entry>, Option<u64>) {
        let busy = lock(&self.busy);
        let entries = lock(&self.entries);
        let idle = entries.values().filter(|e| !busy.contains(&e.id));
        let (due, later): (Vec<&Entry>, Vec<&Entry>) =
            idle.partition(|e| e.next_ms().is_some_and(|n| n <= now));
        (due.into_iter().cloned().collect(), later.iter().filter_map(|e| e.next_ms()).min())
    }
}

/// Runs the queue until the machine stops.
pub async fn start(post: Arc<Post>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let runner = post.runner.clone();
    loop {
        let now = now_ms();
        let (due, next) = runner.due(now);
        for entry in due {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            lock(&runner.busy).insert(entry.id.clone());
            let (post, runner) = (post.clone(), runner.clone());
            tokio::spawn(async move {
                let id = entry.id.clone();
                attempt(&post, &runner, entry).await;
                lock(&runner.busy).remove(&id);
                runner.wake.notify_one();
                drop(place);
            });
        }
        let pause = next
            .map_or(LOOK_TIME, |n| Duration::from_millis(n.saturating_sub(now_ms()).max(50)).min(LOOK_TIME));
        tokio::select! {
            () = runner.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = post.chassis.stopping() => return,
        }
    }
}

async fn attempt(post: &Arc<Post>, runner: &Runner, mut entry: Entry) {
    let message = match runner.queue.message(&entry.id) {
        Ok(message) => message,
        Err(QueueError::Unknown(_)) => return drop(lock(&runner.entries).remove(&entry.id)),
        Err(error) => {
            tracing::error!(id = entry.id, %error, "a queued message cannot be read");
            entry.recipients.iter_mut().for_each(|r| r.next_ms = now_ms() + 60_000);
            lock(&runner.entries).insert(entry.id.clone(), entry);
            return;
        }
    };
    let now = now_ms();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, r) in entry.recipients.iter().enumerate() {
        if r.state == RecipientState::Waiting && r.next_ms <= now {
            let domain = Mailbox::parse(&r.to).map(|m| m.domain).unwrap_or_default();
            groups.entry(domain).or_default().push(i);
        }
    }
    let text = Arc::new(message.to_vec());
    let mut running = tokio::task::JoinSet::new();
    for (domain, indexes) in groups {
        let (post, text, entry) = (post.clone(), text.clone(), entry.clone());
        running.spawn(async move {
            let results = to_domain(&post, &entry, &domain, &indexes, text).await;
            indexes.into_iter().zip(results).collect::<Vec<_>>()
        });
    }
    while let Some(done) = running.join_next().await {
        for (i, (outcome, host)) in done.unwrap_or_default() {
            settle(&mut entry, i, outcome, host, post.settings().queue_days);
            let r = &entry.recipients[i];
            post.trace.note(&[&entry.id], format!("{} at {}: {} ({:?})", r.to, r.host, r.answer, r.state));
        }
    }
    finish(post, runner, entry, &message).await;
}

/// Tries one domain's recipients.
async fn to_domain(
    post: &Post,
    entry: &Entry,
    domain: &str,
    indexes: &[usize],
    text: Arc<Vec<u8>>,
) -> Vec<(Outcome, String)> {
    let settings = post.settings();
    let all = |code: u16, status: &str, why: String| {
        let reply = crate::smtp::Reply::new(code, status, why);
        indexes.iter().map(|_| (Outcome::Refused(reply.clone()), String::new())).collect()
    };
    let routes = match post.router().routes(domain, &settings).await {
        Ok(routes) => routes,
        Err(error @ RouteError::NoDomain(_)) => return all(550, "5.1.2", error.to_string()),
        Err(error @ RouteError::NullMx(_)) => return all(556, "5.1.10", error.to_string()),
        Err(error @ RouteError::Later(_)) => return all(451, "4.4.3", error.to_string()),
    };
    let recipients = indexes.iter().filter_map(|i| {
        let r = &entry.recipients[*i];
        let notify = r.notify.map(|_| r.wants());
        Some(OutgoingRecipient { to: Mailbox::parse(&r.to).ok()?, notify, orcpt: r.orcpt.clone() })
    });
    let outgoing = Outgoing {
        from: entry.from.as_deref().and_then(|f| Mailbox::parse(f).ok()),
        recipients: recipients.collect(),
        message: text,
        ret: entry.ret(),
        envid: entry.envid.clone(),
    };
    let attempt = send(&routes, &outgoing, &post.hostname()).await;
    tracing::info!(id = entry.id, host = attempt.host, tls = attempt.tls, domain, "tried");
    attempt.outcomes.into_iter().map(|o| (o, attempt.host.clone())).collect()
}

/// Notes an outcome.
fn settle(entry: &mut Entry, i: usize, outcome: Outcome, host: String, days: u32) {
    let now = now_ms();
    let expired = schedule::expired(entry.created_ms, now, days);
    let r = &mut entry.recipients[i];
    r.attempts += 1;
    r.host = host;
    let (answer, status, permanent) = match &outcome {
        Outcome::Delivered(reply) => {
            r.state = RecipientState::Delivered;
            (r.answer, r.status) = (reply.to_string(), reply.status());
            tracing::info!(id = entry.id, to = r.to, host = r.host, answer = r.answer, "delivered");
            return;
        }
        Outcome::Refused(reply) => (reply.to_string(), reply.status(), !reply.is_transient()),
        Outcome::Broken { why, .. } => (why.clone(), "4.4.2".to_owned(), false),
    };
    (r.answer, r.status) = (answer, status);
    if permanent || expired {
        r.state = RecipientState::Failed;
        if !permanent {
            r.answer = format!("given up after {days} days; the last answer was: {}", r.answer);
            r.status = "5.4.7".into();
        }
        tracing::warn!(id = entry.id, to = r.to, host = r.host, answer = r.answer, "failed");
    } else {
        r.next_ms = schedule::next_attempt_ms(r.attempts, now, entry.created_ms ^ i as u64);
        tracing::info!(
            id = entry.id,
            to = r.to,
            host = r.host,
            answer = r.answer,
            next_ms = r.next_ms,
            "delayed"
        );
    }
}

/// Tells the sender what is to be told, then writes the result: a crash between repeats a notice, never loses one.
async fn finish(post: &Arc<Post>, runner: &Runner, mut entry: Entry, message: &[u8]) {
    let now = now_ms();
    let late = now.saturating_sub(entry.created_ms) >= schedule::DELAY_NOTICE_MS;
    let settled_now =
        |r: &&Waiting, state: RecipientState| r.state == state && r.next_ms <= now && r.attempts > 0;
    let failed: Vec<&Waiting> = entry
        .recipients
        .iter()
        .filter(|r| settled_now(r, RecipientState::Failed) && r.wants().failure && !r.was_told())
        .collect();
    let handed: Vec<&Waiting> = entry
        .recipients
        .iter()
        .filter(|r| settled_now(r, RecipientState::Delivered) && r.wants().success && !r.was_told())
        .collect();
    let delayed: Vec<&Waiting> = entry
        .recipients
        .iter()
        .filter(|r| r.state == RecipientState::Waiting && late && !r.delay_told && r.wants().delay)
        .collect();
    for (kind, recipients) in [(Kind::Failed, &failed), (Kind::Delivered, &handed), (Kind::Delayed, &delayed)]
    {
        if entry.from.is_some() && !recipients.is_empty() {
            let tag =
                format!("{}.{}", entry.id, chassis::accounts::new_token::<6>().replace(['_', '-'], "x"));
            let raw = notice(kind, &post.hostname(), &entry, recipients, message, now, &tag);
            if let Err(error) = post.send_notice(entry.from.as_deref().unwrap_or_default(), raw).await {
                tracing::error!(id = entry.id, %error, "the sender could not be told");
            }
        }
    }
    for r in &mut entry.recipients {
        match r.state {
            RecipientState::Waiting => r.delay_told |= late,
            // Told: `next_ms` in the far future keeps a settled recipient from being told of again.
            _ => r.next_ms = u64::MAX,
        }
    }
    while let Err(error) = runner.queue.update(&entry).await {
        tracing::error!(id = entry.id, %error, "the result of a delivery cannot be written; it is tried again");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            () = post.chassis.stopping() => return,
        }
    }
    let mut entries = lock(&runner.entries);
    if entry.is_done() {
        drop(entries.remove(&entry.id))
    } else {
        drop(entries.insert(entry.id.clone(), entry))
    }
}

impl Waiting {
    /// Whether its end was told already.
    fn was_told(&self) -> bool {
        self.next_ms == u64::MAX
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
