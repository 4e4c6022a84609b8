//! The post office: everything that a delivery needs, shared by all connections.

use crate::auth::{Checker, Keys};
use crate::directory::{Directory, Target};
use crate::mailbox::{MailboxError, Mailboxes, NewMessage};
use crate::queue::{Entry, Queue, QueueError, Router, Runner, Waiting};
use crate::service::rate::{Crowd, Rates};
use crate::service::srs::Rewriter;
use crate::settings::Settings;
use crate::smtp::{Mailbox, Reply, Ret};
use crate::trace::{Trace, message_id};
use chassis::clock::now_ms;
use chassis::{Chassis, Failure};
use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Messages that are worked on at the same time, in KiB; each is in memory up to three times then. One of the largest
/// size always fits.
const WORKING_KIB_MAX: u32 = 64 << 10;

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
    /// Messages by address.
    pub rates: Rates,
    /// Messages by the network around an address.
    pub networks: Rates,
    /// SMTP connections.
    pub crowd: Crowd,
    /// How it goes with other servers of our accounts.
    pub rounds: crate::twins::Rounds,
    /// Bytes of messages that are being worked on, of `WORKING_KIB_MAX`.
    working: Semaphore,
    /// What happened to messages.
    pub trace: Trace,
    rewriter: Rewriter,
    settings: RwLock<Arc<Settings>>,
    router: RwLock<Arc<Router>>,
    checker: RwLock<Arc<Checker>>,
}

/// A message on its way to its recipients.
#[derive(Debug, Clone, Default)]
pub struct Parcel<'a> {
    /// The sender; `None` for `<>`.
    pub from: Option<String>,
    /// The account that sends it; empty for what came from outside, and for notices.
    pub user: &'a str,
    /// The recipients.
    pub recipients: &'a [Waiting],
    /// The message.
    pub raw: Vec<u8>,
    /// Whether it goes to Junk.
    pub junk: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<&'a str>,
    /// Fields put before what goes on to other hosts.
    pub seal: &'a str,
}

impl Post {
    /// Opens mailboxes, queue and keys.
    pub async fn open(chassis: &Chassis, mailboxes: Mailboxes) -> Result<Post, Failure> {
        let settings: Settings = chassis.config().get()?;
        let router = Arc::new(Router::new(&settings));
        let checker = Arc::new(Checker::new(&router));
        let keys = Keys::open(chassis).await?;
        Ok(Post {
            mailboxes,
            runner: Runner::new(Queue::open(chassis.store())?)?,
            rewriter: Rewriter::new(&keys.secret()),
            keys,
            rates: Rates::default(),
            networks: Rates::default(),
            crowd: Crowd::default(),
            rounds: crate::twins::Rounds::default(),
            working: Semaphore::new(WORKING_KIB_MAX as usize),
            trace: Trace::open(chassis.store())?,
            settings: RwLock::new(Arc::new(settings)),
            router: RwLock::new(router),
            checker: RwLock::new(checker),
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
        let rewritten = |local: &str| self.rewriter.recover(local, now_ms());
        ask(&Directory {
            domain: self.chassis.domain(),
            settings: &settings,
            known: &accounts,
            rewritten: &rewritten,
        })
    }

    /// Waits until there is memory for work on a message of this size: what is read in whole, written, signed.
    pub async fn memory_for(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(WORKING_KIB_MAX);
        self.working.acquire_many(kib).await.ok()
    }

    /// Where messages under way are spooled; nothing on a machine without files.
    pub fn spool_directory(&self) -> Option<&std::path::Path> {
        self.chassis.options().dir.as_deref()
    }

    /// Puts a message into a mailbox of an account, into INBOX where that is gone; resolves after the flush.
    pub async fn deliver(
        &self,
        user: &str,
        mailbox: &str,
        raw: Vec<u8>,
        flags: &[&str],
    ) -> Result<(), MailboxError> {
        let account = self.mailboxes.account(user).await?;
        let mailbox = if account.state().folders.contains_key(mailbox) { mailbox } else { "INBOX" };
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        let message = NewMessage { raw, flags, date: (now_ms() / 1000) as i64 };
        account.append(mailbox, vec![message], self.settings().quota_bytes).await?;
        Ok(())
    }

    /// The mailbox for an address with this detail: one of that name, where there is one, else `otherwise`.
    async fn mailbox_for(
        &self,
        user: &str,
        detail: Option<&str>,
        otherwise: &str,
    ) -> Result<String, MailboxError> {
        let state = self.mailboxes.account(user).await?.state();
        let named = detail.and_then(|d| state.folders.keys().find(|name| name.eq_ignore_ascii_case(d)));
        Ok(named.map_or(otherwise, String::as_str).to_owned())
    }

    /// Takes a message to where it goes: local recipients get it, others are queued; resolves after the flush. Gives the
    /// id in the queue, when it is there.
    pub async fn route(&self, mut parcel: Parcel<'_>) -> Result<Option<String>, PostError> {
        let (local, remote) = self.targets(parcel.recipients);
        let message_id = message_id(&parcel.raw);
        let id = if remote.is_empty() { None } else { Some(self.queue(&parcel, remote).await?) };
        let return_path = format!("Return-Path: <{}>\r\n", parcel.from.as_deref().unwrap_or_default());
        let mailbox = if parcel.junk { "Junk" } else { "INBOX" };
        let mut text = std::mem::take(&mut parcel.raw);
        text.splice(0..0, return_path.into_bytes());
        // However many addresses of the message lead to a mailbox, it gets one.
        let mut mailboxes = BTreeSet::new();
        for (user, detail) in local {
            let mailbox = self.mailbox_for(&user, detail.as_deref(), mailbox).await?;
            mailboxes.insert((user, mailbox));
        }
        let mut left = mailboxes.len();
        for (user, mailbox) in mailboxes {
            left -= 1;
            // The last one gets the text itself: most messages are never copied.
            let copy = if left == 0 { std::mem::take(&mut text) } else { text.clone() };
            self.deliver(&user, &mailbox, copy, &[]).await?;
            self.trace.note(&[&message_id], format!("in {mailbox} of {user}"));
        }
        Ok(id)
    }

    /// Where recipients lead: accounts here with the detail of the address, and addresses elsewhere, each once.
    fn targets(&self, recipients: &[Waiting]) -> (BTreeSet<(String, Option<String>)>, Vec<Waiting>) {
        let (mut local, mut remote) = (BTreeSet::new(), Vec::<Waiting>::new());
        for waiting in recipients {
            let Ok(to) = Mailbox::parse(&waiting.to) else { continue };
            for target in self.directory(|d| {
                if d.is_ours(&to.domain) { d.targets(&to) } else { [Target::Remote(to.clone())].into() }
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
        (local, remote)
    }

    /// Whether mail for any of these recipients goes on to another host.
    pub fn goes_on(&self, recipients: &[Waiting]) -> bool {
        !self.targets(recipients).1.is_empty()
    }

    async fn queue(&self, parcel: &Parcel<'_>, recipients: Vec<Waiting>) -> Result<String, PostError> {
        let subject = crate::message::first_value(&parcel.raw, "Subject").unwrap_or_default();
        let message = bytes::Bytes::from([parcel.seal.as_bytes(), &parcel.raw].concat());
        let entry = Entry {
            id: String::new(),
            created_ms: now_ms(),
            from: self.outer_sender(parcel),
            user: parcel.user.to_owned(),
            size: message.len() as u64,
            smtputf8: parcel.smtputf8,
            ret: parcel.ret.map(|r| if r == Ret::Full { "FULL".into() } else { "HDRS".into() }),
            envid: parcel.envid.map(str::to_owned),
            subject: crate::message::decode_words(subject.as_bytes()),
            recipients,
        };
        let queued = self.runner.add(entry, message).await?;
        self.trace.note(&[&queued, &message_id(&parcel.raw)], "queued for other hosts");
        Ok(queued)
    }

    /// Forwarded mail gets a sender of ours: SPF would fail with somebody else's.
    fn outer_sender(&self, parcel: &Parcel<'_>) -> Option<String> {
        let from = parcel.from.clone()?;
        match Mailbox::parse(&from) {
            Ok(sender) if parcel.user.is_empty() && !self.directory(|d| d.is_ours(&sender.domain)) => {
                Some(self.rewriter.rewrite(&sender, self.chassis.domain(), now_ms()).to_string())
            }
            _ => Some(from),
        }
    }

    /// Sends a delivery notice.
    pub async fn send_notice(&self, to: &str, raw: Vec<u8>) -> Result<(), PostError> {
        let Ok(to) = Mailbox::parse(to) else { return Ok(()) };
        let recipients = [Waiting::new(&to, None, None)];
        let signed = self.keys.sign(&raw);
        self.route(Parcel { recipients: &recipients, raw: signed, ..Parcel::default() }).await?;
        Ok(())
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
