//! The one who carries the mail out: takes what is due, tries it, writes the result, tells the sender.
//!
//! A job is one domain's recipients of one message. Its result is on the disk before the sender is told and before
//! anything else happens to that message, and no other domain waits for it.

use super::entry::{Entry, Queue, QueueError, RecipientState};
use super::notice::{Kind, Writer, notice};
use super::progress::Tried;
use super::route::RouteError;
use super::send::{Attempt, send};
use crate::message::seven_bit;
use crate::service::Post;
use crate::smtp::{Mailbox, Outcome, Outgoing, OutgoingRecipient, Reply};
use chassis::clock::now_ms;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Connections to other hosts at the same time.
const AT_ONCE: usize = 20;
/// Of them to one domain: one that is slow must not keep the others waiting (Postfix: 20 of 100).
const AT_ONCE_TO_DOMAIN: usize = 4;
/// Jobs that run or wait for their turn; what is due beyond them waits in the queue.
const JOBS_MAX: usize = 200;
/// A look at the queue at least so often.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// What runs the queue: new mail is put here, commands ask here. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    queue: Queue,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    busy: Arc<Mutex<HashSet<Job>>>,
    /// Results of one message are written one after another.
    writing: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
    domains: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
    places: Arc<Semaphore>,
    wake: Arc<Notify>,
}

/// A message and a domain; an empty domain for what is only to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Job {
    id: String,
    domain: String,
}

impl Runner {
    /// Takes over what is in the queue.
    pub fn new(queue: Queue) -> Result<Runner, QueueError> {
        let entries = queue.all()?.into_iter().map(|e| (e.id.clone(), e)).collect();
        Ok(Runner {
            queue,
            entries: Arc::new(Mutex::new(entries)),
            busy: Arc::default(),
            writing: Arc::default(),
            domains: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
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

    /// Jobs that are due and not under way, and when the next one will be.
    fn due(&self, now: u64) -> (Vec<Job>, Option<u64>) {
        let busy = lock(&self.busy);
        let entries = lock(&self.entries);
        let (mut due, mut next) = (BTreeSet::new(), None::<u64>);
        for entry in entries.values() {
            let job = |domain: String| Job { id: entry.id.clone(), domain };
            for r in entry.recipients.iter().filter(|r| r.state == RecipientState::Waiting) {
                if r.next_ms > now {
                    next = Some(next.map_or(r.next_ms, |n| n.min(r.next_ms)));
                } else {
                    due.insert(job(r.domain()));
                }
            }
            // A stop between the result and the notice: the notice is still to be written.
            if entry.has_ends_to_tell() && !busy.iter().any(|b| b.id == entry.id) {
                due.insert(job(String::new()));
            }
        }
        let room = JOBS_MAX.saturating_sub(busy.len());
        (due.into_iter().filter(|job| !busy.contains(job)).take(room).collect(), next)
    }

    /// The turns of a domain.
    fn turns(&self, domain: &str) -> Arc<Semaphore> {
        shared(&self.domains, domain, || Semaphore::new(AT_ONCE_TO_DOMAIN))
    }
}

/// Runs the queue until the machine stops.
pub async fn start(post: Arc<Post>) {
    let runner = post.runner.clone();
    loop {
        let (due, next) = runner.due(now_ms());
        for job in due {
            lock(&runner.busy).insert(job.clone());
            let (post, runner) = (post.clone(), runner.clone());
            tokio::spawn(async move {
                carry(&post, &runner, &job).await;
                lock(&runner.busy).remove(&job);
                runner.wake.notify_one();
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

/// Does a job: waits for its turn, tries, writes the result, tells the sender.
async fn carry(post: &Arc<Post>, runner: &Runner, job: &Job) {
    let turns = runner.turns(&job.domain);
    let (Ok(_turn), Ok(_place)) = (turns.acquire().await, runner.places.acquire().await) else { return };
    let Some(entry) = lock(&runner.entries).get(&job.id).cloned() else { return };
    let now = now_ms();
    let chosen: Vec<usize> = (0..entry.recipients.len())
        .filter(|i| {
            let r = &entry.recipients[*i];
            r.state == RecipientState::Waiting && r.next_ms <= now && r.domain() == job.domain
        })
        .collect();
    let message = match runner.queue.message(&job.id) {
        Ok(message) => message,
        Err(QueueError::Unknown(_)) => return drop(lock(&runner.entries).remove(&job.id)),
        Err(error) => {
            tracing::error!(id = job.id, %error, "a queued message cannot be read; it is tried again in a minute");
            if let Some(entry) = lock(&runner.entries).get_mut(&job.id) {
                chosen.iter().for_each(|i| entry.recipients[*i].next_ms = now + 60_000);
            }
            return;
        }
    };
    let Attempt { tried, farewells, .. } = match chosen.is_empty() {
        true => Attempt::without_hosts(Vec::new()),
        false => to_domain(post, &entry, &job.domain, &chosen, message.to_vec()).await,
    };
    settle(post, runner, &job.id, chosen.into_iter().zip(tried), &message).await;
    for farewell in farewells {
        farewell.say().await;
    }
}

/// Tries one domain's recipients.
async fn to_domain(post: &Post, entry: &Entry, domain: &str, chosen: &[usize], message: Vec<u8>) -> Attempt {
    let settings = post.settings();
    let all = |code: u16, status: &str, why: String| {
        let outcome = Outcome::Refused(Reply::new(code, status, why));
        let nowhere = Tried { outcome, host: String::new(), dsn_passed_on: false };
        Attempt::without_hosts(vec![nowhere; chosen.len()])
    };
    let routes = match post.router().routes(domain, &settings, &post.hostname()).await {
        Ok(routes) => routes,
        Err(error @ RouteError::NoDomain(_)) => return all(550, "5.1.2", error.to_string()),
        Err(error @ RouteError::NoHost(_)) => return all(550, "5.4.4", error.to_string()),
        Err(error @ RouteError::Loop(_)) => return all(554, "5.4.6", error.to_string()),
        Err(error @ RouteError::NullMx(_)) => return all(556, "5.1.10", error.to_string()),
        Err(error @ RouteError::Later(_)) => return all(451, "4.4.3", error.to_string()),
    };
    let recipients = chosen.iter().filter_map(|i| {
        let r = &entry.recipients[*i];
        let notify = r.notify.map(|_| r.wants());
        Some(OutgoingRecipient { to: Mailbox::parse(&r.to).ok()?, notify, orcpt: r.orcpt.clone() })
    });
    let outgoing = Outgoing {
        from: entry.from.as_deref().and_then(|f| Mailbox::parse(f).ok()),
        recipients: recipients.collect(),
        seven_bit: plain(post, entry, &message),
        message: Arc::new(message),
        smtputf8: entry.smtputf8,
        ret: entry.ret(),
        envid: entry.envid.clone(),
    };
    let attempt = send(&routes, &outgoing, &post.hostname()).await;
    tracing::info!(id = entry.id, tls = attempt.tls, domain, "tried");
    attempt
}

/// The text for hosts without 8BITMIME: what was signed here is signed anew, for the signature is of other octets.
fn plain(post: &Post, entry: &Entry, message: &[u8]) -> Option<Arc<Vec<u8>>> {
    if message.is_ascii() {
        return None;
    }
    let converted = seven_bit(message)?;
    Some(Arc::new(if entry.user.is_empty() { converted } else { post.keys.sign_anew(&converted) }))
}

/// Writes what happened to recipients of a message, then tells the sender, then writes that.
async fn settle(
    post: &Arc<Post>,
    runner: &Runner,
    id: &str,
    results: impl Iterator<Item = (usize, Tried)>,
    message: &[u8],
) {
    let turn = shared(&runner.writing, id, || tokio::sync::Mutex::new(()));
    let _turn = turn.lock().await;
    let days = post.settings().queue_days;
    let now = now_ms();
    let mut changed = false;
    let entry = {
        let mut entries = lock(&runner.entries);
        let Some(entry) = entries.get_mut(id) else { return };
        for (i, tried) in results {
            changed = true;
            entry.record(i, tried, now, days);
            log(post, entry, i);
        }
        entry.clone()
    };
    if changed && !write(post, runner, &entry).await {
        return;
    }
    let telling = entry.to_tell(now);
    if telling.is_empty() {
        return;
    }
    let mut told = entry;
    for (kind, chosen) in telling {
        match tell(post, &told, kind, &chosen, message).await {
            Ok(()) => told.told(kind, &chosen),
            Err(error) => {
                tracing::error!(id, %error, "the sender could not be told; it is tried again in a minute");
                let wake = runner.wake.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    wake.notify_one();
                });
                return;
            }
        }
    }
    write(post, runner, &told).await;
}

async fn tell(
    post: &Arc<Post>,
    entry: &Entry,
    kind: Kind,
    chosen: &[usize],
    message: &[u8],
) -> Result<(), crate::service::PostError> {
    let tag = format!("{}.{}", entry.id, chassis::accounts::new_token::<6>().replace(['_', '-'], "x"));
    let recipients: Vec<_> = chosen.iter().map(|i| &entry.recipients[*i]).collect();
    let (hostname, days) = (post.hostname(), post.settings().queue_days);
    let by = Writer { hostname: &hostname, now_ms: now_ms(), days, tag: &tag };
    let raw = notice(kind, by, entry, &recipients, message);
    post.send_notice(entry.from.as_deref().unwrap_or_default(), raw).await
}

/// Writes an entry until that succeeds; `false` when the machine stops first.
async fn write(post: &Post, runner: &Runner, entry: &Entry) -> bool {
    while let Err(error) = runner.queue.update(entry).await {
        tracing::error!(id = entry.id, %error, "the result of a delivery cannot be written; it is tried again");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            () = post.chassis.stopping() => return false,
        }
    }
    let mut entries = lock(&runner.entries);
    match entry.is_done() {
        true => drop(entries.remove(&entry.id)),
        // Not where it was removed by a command meanwhile.
        false => drop(entries.get_mut(&entry.id).map(|e| *e = entry.clone())),
    }
    true
}

fn log(post: &Post, entry: &Entry, i: usize) {
    let r = &entry.recipients[i];
    let (id, to, host, answer) = (&entry.id, &r.to, &r.host, &r.answer);
    match r.state {
        RecipientState::Delivered => tracing::info!(id, to, host, answer, "delivered"),
        RecipientState::Failed => tracing::warn!(id, to, host, answer, "failed"),
        RecipientState::Waiting => tracing::info!(id, to, host, answer, next_ms = r.next_ms, "delayed"),
    }
    post.trace.note(&[id], format!("{to} at {host}: {answer} ({:?})", r.state));
}

/// What stands under a key, made when nobody has it; forgotten when nobody has it any more.
fn shared<T>(map: &Mutex<HashMap<String, Weak<T>>>, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
    let mut map = lock(map);
    if let Some(found) = map.get(key).and_then(Weak::upgrade) {
        return found;
    }
    map.retain(|_, held| held.strong_count() > 0);
    let made = Arc::new(make());
    map.insert(key.to_owned(), Arc::downgrade(&made));
    made
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
