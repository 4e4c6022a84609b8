//! The post office: everything that a delivery needs, shared by all connections.

use crate::auth::{Checker, Keys};
use crate::directory::{Directory, Target};
use crate::mailbox::{MailboxError, Mailboxes, NewMessage};
use crate::queue::{Entry, Queue, QueueError, Router, Runner, Waiting};
use crate::service::rate::Rates;
use crate::settings::Settings;
use crate::smtp::{Envelope, Mailbox, Reply, Ret};
use crate::trace::{Trace, message_id};
use chassis::clock::now_ms;
use chassis::{Chassis, Failure};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

/// Bytes of messages that are being received at the same time by all connections; beyond it 452.
const RECEIVING_BYTES_MAX: usize = 192 << 20;

/// Why a message could not be taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PostError {
    /// A mailbox refused it.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The queue refused it.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl PostError {
    /// What SMTP answers.
    pub fn reply(&self) -> Reply {
        match self {
            PostError::Mailbox(MailboxError::OverQuota { .. }) => {
                Reply::new(452, "4.2.2", "the mailbox is full")
            }
            PostError::Mailbox(error) if error.is_full() => Reply::new(452, "4.3.1", "the disk is full"),
            PostError::Queue(QueueError::Full) => Reply::new(452, "4.3.1", "the disk is full"),
            _ => Reply::new(451, "4.3.0", "the message could not be written, try again"),
        }
    }
}

/// The post office.
pub struct Post {
    /// The chassis.
    pub chassis: Chassis,
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    /// The queue.
    pub runner: Runner,
    /// DKIM keys.
    pub keys: Keys,
    /// Messages by network.
    pub rates: Rates,
    /// What happened to messages.
    pub trace: Trace,
    settings: RwLock<Arc<Settings>>,
    router: RwLock<Arc<Router>>,
    checker: RwLock<Arc<Checker>>,
    receiving: AtomicUsize,
}

/// A share of the memory for messages under way; given back when dropped.
pub struct Share<'a> {
    post: &'a Post,
    bytes: usize,
}

impl Post {
    /// Opens mailboxes, queue and keys.
    pub async fn open(chassis: &Chassis, mailboxes: Mailboxes) -> Result<Post, Failure> {
        let settings: Settings = chassis.config().get()?;
        let router = Arc::new(Router::new(&settings));
        let checker = Arc::new(Checker::new(&router));
        Ok(Post {
            mailboxes,
            runner: Runner::new(Queue::open(chassis.store())?)?,
            keys: Keys::open(chassis).await?,
            rates: Rates::default(),
            trace: Trace::default(),
            settings: RwLock::new(Arc::new(settings)),
            router: RwLock::new(router),
            checker: RwLock::new(checker),
            receiving: AtomicUsize::new(0),
            chassis: chassis.clone(),
        })
    }

    /// Takes over changes of the settings until the machine stops.
    pub async fn follow_settings(self: Arc<Self>) {
        let config = self.chassis.config::<Settings>();
        let mut commits = config.watch();
        loop {
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                () = self.chassis.stopping() => return,
            }
            match config.get() {
                Ok(new) => self.take_settings(new),
                Err(error) => tracing::error!(%error, "mail.toml cannot be read; the settings before stay"),
            }
        }
    }

    /// Puts settings in force.
    pub fn take_settings(&self, new: Settings) {
        if new != *self.settings() {
            let router = Arc::new(Router::new(&new));
            *write(&self.checker) = Arc::new(Checker::new(&router));
            *write(&self.router) = router;
            *write(&self.settings) = Arc::new(new);
            tracing::info!("mail.toml has changed and is in force");
        }
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The way out.
    pub fn router(&self) -> Arc<Router> {
        self.router.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// SPF, DKIM, DMARC and ARC.
    pub fn checker(&self) -> Arc<Checker> {
        self.checker.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Our name.
    pub fn hostname(&self) -> String {
        let settings = self.settings();
        if settings.hostname.is_empty() {
            format!("mail.{}", self.chassis.domain())
        } else {
            settings.hostname.clone()
        }
    }

    /// Asks the directory.
    pub fn directory<T>(&self, ask: impl FnOnce(&Directory<'_>) -> T) -> T {
        let settings = self.settings();
        let accounts = WithFirst(self.chassis.accounts());
        ask(&Directory { domain: self.chassis.domain(), settings: &settings, known: &accounts })
    }

    /// Takes a share of the memory for messages; `None` when there is none left.
    pub fn share(&self) -> Share<'_> {
        Share { post: self, bytes: 0 }
    }

    /// Puts a message into an account; resolves after the flush. A detail names a mailbox when there is one of that
    /// name; `mailbox` is where it goes otherwise.
    pub async fn deliver(
        &self,
        user: &str,
        detail: Option<&str>,
        mailbox: &str,
        raw: Vec<u8>,
        flags: &[&str],
    ) -> Result<(), MailboxError> {
        let account = self.mailboxes.account(user).await?;
        let state = account.state();
        let named = detail.and_then(|d| state.folders.keys().find(|k| k.eq_ignore_ascii_case(d))).cloned();
        let wanted = named.unwrap_or_else(|| mailbox.to_owned());
        let mailbox = if state.folders.contains_key(&wanted) { wanted } else { "INBOX".to_owned() };
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        let message = NewMessage { raw, flags, date: (now_ms() / 1000) as i64 };
        account.append(&mailbox, vec![message], self.settings().quota_bytes).await?;
        Ok(())
    }

    /// Sends a message of our own making: local recipients get it, others are queued; resolves after the flush.
    pub async fn route(
        &self,
        from: Option<String>,
        user: &str,
        recipients: &[(Mailbox, Waiting)],
        raw: &[u8],
        junk: bool,
        envelope: &Envelope,
    ) -> Result<Option<String>, PostError> {
        let mut local = BTreeSet::new();
        let mut remote: Vec<Waiting> = Vec::new();
        for (to, waiting) in recipients {
            for target in self.directory(|d| {
                if d.is_ours(&to.domain) { d.targets(to) } else { [Target::Remote(to.clone())].into() }
            }) {
                match target {
                    Target::Local { user, detail } => drop(local.insert((user, detail))),
                    Target::Remote(address) => {
                        let text = address.to_string();
                        if remote.iter().all(|w| w.to != text) {
                            remote.push(Waiting { to: text, ..waiting.clone() });
                        }
                    }
                }
            }
        }
        let mut id = None;
        if !remote.is_empty() {
            let subject = crate::message::first_value(raw, "Subject").unwrap_or_default();
            let entry = Entry {
                id: String::new(),
                created_ms: now_ms(),
                from: from.clone(),
                user: user.to_owned(),
                size: raw.len() as u64,
                ret: envelope.ret.map(|r| if r == Ret::Full { "FULL".into() } else { "HDRS".into() }),
                envid: envelope.envid.clone(),
                subject: crate::message::decode_words(subject.as_bytes()),
                recipients: remote,
            };
            let queued = self.runner.add(entry, bytes::Bytes::copy_from_slice(raw)).await?;
            self.trace.note(&[&queued, &message_id(raw)], "queued for other hosts");
            id = Some(queued);
        }
        let return_path = format!("Return-Path: <{}>\r\n", from.unwrap_or_default());
        for (user, detail) in local {
            let text = [return_path.as_bytes(), raw].concat();
            let mailbox = if junk { "Junk" } else { "INBOX" };
            self.deliver(&user, detail.as_deref(), mailbox, text, &[]).await?;
            self.trace.note(&[&message_id(raw)], format!("in the mailbox of {user}"));
        }
        Ok(id)
    }

    /// Sends a delivery notice.
    pub async fn send_notice(&self, to: &str, raw: Vec<u8>) -> Result<(), PostError> {
        let Ok(to) = Mailbox::parse(to) else { return Ok(()) };
        let waiting = Waiting::new(&to, None, None);
        let envelope = Envelope {
            from: None,
            recipients: Vec::new(),
            size: None,
            eight_bit: false,
            smtputf8: false,
            ret: None,
            envid: None,
        };
        self.route(None, "", &[(to, waiting)], &raw, false, &envelope).await?;
        Ok(())
    }
}

impl Share<'_> {
    /// Makes the share larger; `false` when there is no more.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let before = self.post.receiving.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= RECEIVING_BYTES_MAX
    }

    /// Gives it back.
    pub fn clear(&mut self) {
        self.post.receiving.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The accounts, where the empty name is the first admin: who gets mail for postmaster.
struct WithFirst<'a>(&'a chassis::accounts::Accounts);

impl crate::directory::Known for WithFirst<'_> {
    fn user(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            let all = self.0.all();
            return all.iter().find(|a| a.admin).or_else(|| all.first()).map(|a| a.user.clone());
        }
        crate::directory::Known::user(self.0, name)
    }
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
