//! The queue's branch: messages come, change and go by commits.

use crate::smtp::{Mailbox, Notify, Ret};
use serde::{Deserialize, Serialize};
use store::{Author, Branch, Store};

/// Why the queue could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The disk is full; nothing was changed.
    #[error("the disk is full; nothing was queued")]
    Full,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// No such message.
    #[error("there is no message {0} in the queue")]
    Unknown(String),
}

impl From<store::Error> for QueueError {
    fn from(error: store::Error) -> QueueError {
        match error {
            store::Error::Full { .. } => QueueError::Full,
            other => QueueError::Store(other.to_string()),
        }
    }
}

/// How far a recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    /// To be tried.
    Waiting,
    /// A host has it.
    Delivered,
    /// Given up.
    Failed,
}

/// A recipient in the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// The address.
    pub to: String,
    /// NOTIFY: success, failure, delay; `None` when it was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<(bool, bool, bool)>,
    /// ORCPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
    /// How far it is.
    pub state: RecipientState,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it is tried, in milliseconds since 1970.
    pub next_ms: u64,
    /// The host that answered last.
    #[serde(default)]
    pub host: String,
    /// Its answer, or what went wrong.
    #[serde(default)]
    pub answer: String,
    /// RFC 3463 status of that answer.
    #[serde(default)]
    pub status: String,
    /// Whether the sender was told of the delay.
    #[serde(default)]
    pub delay_told: bool,
    /// Whether the sender was told of the end, where it is to be told.
    #[serde(default)]
    pub end_told: bool,
    /// Whether the host that has it tells of success itself (RFC 3461 5.2.2).
    #[serde(default)]
    pub dsn_passed_on: bool,
}

impl Waiting {
    /// A new recipient.
    pub fn new(to: &Mailbox, notify: Option<Notify>, orcpt: Option<String>) -> Waiting {
        Waiting {
            to: to.to_string(),
            notify: notify.map(|n| (n.success, n.failure, n.delay)),
            orcpt,
            state: RecipientState::Waiting,
            attempts: 0,
            next_ms: 0,
            host: String::new(),
            answer: String::new(),
            status: String::new(),
            delay_told: false,
            end_told: false,
            dsn_passed_on: false,
        }
    }

    /// The domain of its address, by which it is carried.
    pub fn domain(&self) -> String {
        Mailbox::parse(&self.to).map(|m| m.domain).unwrap_or_default()
    }

    /// NOTIFY with its default.
    pub fn wants(&self) -> Notify {
        self.notify.map_or_else(Notify::default, |(success, failure, delay)| Notify {
            success,
            failure,
            delay,
        })
    }
}

/// A message in the queue, without its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its directory.
    pub id: String,
    /// When it came, in milliseconds since 1970.
    pub created_ms: u64,
    /// `None` for `<>`.
    pub from: Option<String>,
    /// The account that sent it; empty for notices and forwarded mail.
    #[serde(default)]
    pub user: String,
    /// Size in bytes.
    pub size: u64,
    /// SMTPUTF8.
    #[serde(default)]
    pub smtputf8: bool,
    /// RET: `FULL` or `HDRS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// ENVID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// Subject, for people.
    #[serde(default)]
    pub subject: String,
    /// The recipients.
    pub recipients: Vec<Waiting>,
}

impl Entry {
    /// RET as SMTP has it.
    pub fn ret(&self) -> Option<Ret> {
        match self.ret.as_deref() {
            Some("FULL") => Some(Ret::Full),
            Some("HDRS") => Some(Ret::Headers),
            _ => None,
        }
    }

    /// Whether nobody waits any more, and the sender knows what it is to know.
    pub fn is_done(&self) -> bool {
        self.recipients.iter().all(|r| r.state != RecipientState::Waiting) && !self.has_ends_to_tell()
    }

    /// When somebody is due.
    pub fn next_ms(&self) -> Option<u64> {
        self.recipients.iter().filter(|r| r.state == RecipientState::Waiting).map(|r| r.next_ms).min()
    }
}

/// The durable queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    branch: Branch,
}

impl Queue {
    /// The queue in `store`.
    pub fn open(store: &Store) -> Result<Queue, QueueError> {
        Ok(Queue { branch: store.branch("queue")? })
    }

    /// Adds a message; resolves after the flush. Gives the entry with its id.
    pub async fn add(&self, mut entry: Entry, message: bytes::Bytes) -> Result<Entry, QueueError> {
        let random = chassis::accounts::random::<3>();
        let random = random.iter().fold(String::new(), |hex, b| format!("{hex}{b:02x}"));
        entry.id = format!("{:x}-{random}", entry.created_ms);
        let mut tx = self.branch.begin()?;
        tx.put(format!("{}/message.eml", entry.id), message)?;
        tx.put(format!("{}/envelope.json", entry.id), json(&entry)?)?;
        tx.commit_async(author(), format!("{} queued", entry.id)).await?;
        Ok(entry)
    }

    /// Writes what happened; a message whose recipients are all settled leaves the queue. Resolves after the flush.
    pub async fn update(&self, entry: &Entry) -> Result<(), QueueError> {
        let mut tx = self.branch.begin()?;
        let message = if entry.is_done() {
            tx.remove(&entry.id)?;
            format!("{} done", entry.id)
        } else {
            tx.put(format!("{}/envelope.json", entry.id), json(entry)?)?;
            format!("{} tried", entry.id)
        };
        tx.commit_async(author(), message).await?;
        Ok(())
    }

    /// Removes a message, whoever waits for it.
    pub async fn remove(&self, id: &str) -> Result<(), QueueError> {
        let mut tx = self.branch.begin()?;
        if !tx.remove(id)? {
            return Err(QueueError::Unknown(id.into()));
        }
        tx.commit_async(author(), format!("{id} removed")).await?;
        Ok(())
    }

    /// The text of a message.
    pub fn message(&self, id: &str) -> Result<bytes::Bytes, QueueError> {
        let text = self.branch.snapshot()?.read(format!("{id}/message.eml"))?;
        text.ok_or_else(|| QueueError::Unknown(id.into()))
    }

    /// Everything that is in the queue, the oldest first. An entry that cannot be read is passed over and logged.
    pub fn all(&self) -> Result<Vec<Entry>, QueueError> {
        let snapshot = self.branch.snapshot()?;
        let mut entries = Vec::new();
        for directory in snapshot.list("")?.into_iter().filter(store::Entry::is_directory) {
            let Some(text) = snapshot.read(format!("{}/envelope.json", directory.name()))? else { continue };
            match serde_json::from_slice::<Entry>(&text) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    tracing::error!(id = %directory.name(), %error, "a queued message cannot be read")
                }
            }
        }
        entries.sort_by_key(|e| e.created_ms);
        Ok(entries)
    }
}

fn author() -> Author {
    Author::new("queue", "queue@localhost")
}

fn json(entry: &Entry) -> Result<Vec<u8>, QueueError> {
    serde_json::to_vec_pretty(entry).map_err(|error| QueueError::Store(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_queued_is_there_after_opening_again_until_it_is_done() {
        let store = Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
        let queue = Queue::open(&store).unwrap();
        let to = Mailbox::parse("x@far.test").unwrap();
        let entry = Entry {
            id: String::new(),
            created_ms: 5,
            from: Some("a@b.test".into()),
            user: "a".into(),
            size: 2,
            smtputf8: false,
            ret: None,
            envid: None,
            subject: String::new(),
            recipients: vec![Waiting::new(&to, None, None)],
        };
        let mut entry = queue.add(entry, bytes::Bytes::from_static(b"hi")).await.unwrap();
        let again = Queue::open(&store).unwrap();
        assert_eq!(again.all().unwrap().len(), 1);
        assert_eq!(again.message(&entry.id).unwrap(), "hi");
        entry.recipients[0].state = RecipientState::Delivered;
        queue.update(&entry).await.unwrap();
        assert!(again.all().unwrap().is_empty());
        assert!(matches!(again.remove(&entry.id).await, Err(QueueError::Unknown(_))));
    }
}
