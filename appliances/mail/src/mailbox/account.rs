//! Accounts: where sessions and deliveries come to read and to change mailboxes.

use super::draft::{Added, Draft, NewMessage};
use super::error::MailboxError;
use super::heads::Head;
use super::load;
use super::rows::{Row, Rows};
use super::state::State;
use super::writer::{self, Change};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Branch, Store};
use tokio::sync::{mpsc, oneshot, watch};

/// All accounts' mailboxes in one store. A cheap handle.
#[derive(Clone)]
pub struct Mailboxes {
    store: Store,
    domain: Arc<str>,
    accounts: Arc<Mutex<HashMap<String, Arc<Account>>>>,
}

/// One account's mailboxes.
pub struct Account {
    shared: Arc<Shared>,
    changes: mpsc::Sender<Change>,
}

/// What the writer and everybody else share.
pub(super) struct Shared {
    pub store: Store,
    pub branch: Branch,
    pub name: String,
    domain: Arc<str>,
    state: RwLock<Arc<State>>,
    version: watch::Sender<u64>,
}

impl Mailboxes {
    /// Mailboxes in a store; `domain` is what the accounts' addresses end in, for commits.
    pub fn new(store: Store, domain: &str) -> Mailboxes {
        Mailboxes { store, domain: domain.into(), accounts: Arc::default() }
    }

    /// The mailboxes of an account, which must be known to exist. INBOX and the special folders are made with the first
    /// look. Needs a tokio runtime, in which the account's writer lives.
    pub async fn account(&self, name: &str) -> Result<Arc<Account>, MailboxError> {
        let account = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            match accounts.get(name) {
                Some(account) => account.clone(),
                None => {
                    let account = Arc::new(Account::open(self.store.clone(), name, self.domain.clone())?);
                    accounts.insert(name.to_owned(), account.clone());
                    account
                }
            }
        };
        account.make_first_folders().await?;
        Ok(account)
    }
}

impl Account {
    /// The branch that holds an account's mail.
    pub fn branch_name(account: &str) -> String {
        format!("mail/{account}")
    }

    fn open(store: Store, name: &str, domain: Arc<str>) -> Result<Account, MailboxError> {
        let branch = store.branch(Account::branch_name(name))?;
        let state = load::state(&branch.snapshot()?)?;
        let shared = Arc::new(Shared {
            store,
            branch,
            name: name.to_owned(),
            domain,
            state: RwLock::new(Arc::new(state)),
            version: watch::Sender::new(0),
        });
        let (changes, waiting) = mpsc::channel(CHANGES_WAITING_MAX);
        tokio::spawn(writer::run(Arc::downgrade(&shared), waiting));
        Ok(Account { shared, changes })
    }

    async fn make_first_folders(&self) -> Result<(), MailboxError> {
        if self.state().folders.contains_key("INBOX") {
            return Ok(());
        }
        self.change(|draft| {
            for (name, special_use) in FIRST_FOLDERS {
                if !draft.state().folders.contains_key(name) {
                    draft.create(name, special_use)?;
                    draft.subscribe(name, true)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The store that holds it.
    pub(super) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What it holds now.
    pub fn state(&self) -> Arc<State> {
        self.shared.state()
    }

    /// Told of every new state. Whoever waits compares what it knows with [`Account::state`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Makes a change. Resolves when it is on the device; others that wait share the flush. `make` must leave the draft
    /// as it was when it fails. The change happens even if the future is dropped.
    pub async fn change<T: Send + 'static>(
        &self,
        make: impl FnOnce(&mut Draft<'_>) -> Result<T, MailboxError> + Send + 'static,
    ) -> Result<T, MailboxError> {
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |draft| match make(draft) {
            Ok(value) => Some(Box::new(move |outcome: Result<(), MailboxError>| {
                let _ = answer.send(outcome.map(|()| value));
            })),
            Err(refused) => {
                let _ = answer.send(Err(refused));
                None
            }
        });
        self.changes.send(change).await.map_err(|_| MailboxError::Stopping)?;
        answered.await.unwrap_or(Err(MailboxError::Stopping))
    }

    /// Puts messages into a mailbox. `quota_bytes` of zero is no quota.
    pub async fn append(
        &self,
        mailbox: &str,
        messages: Vec<NewMessage>,
        quota_bytes: u64,
    ) -> Result<Added, MailboxError> {
        let mailbox = mailbox.to_owned();
        self.change(move |draft| draft.append(&mailbox, messages, quota_bytes)).await
    }

    /// The rows of a mailbox, loaded where they are not. Mark the mailbox as viewed first, so that they stay.
    pub async fn rows(&self, mailbox: &str) -> Result<Rows, MailboxError> {
        let state = self.state();
        let folder =
            state.folders.get(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))?;
        if let Some(rows) = &folder.rows {
            return Ok(rows.clone());
        }
        let mailbox = mailbox.to_owned();
        self.change(move |draft| draft.rows(&mailbox)).await
    }

    /// The bytes of a message; nothing where it was forgotten meanwhile.
    pub fn read(&self, row: &Row) -> Result<Option<Bytes>, MailboxError> {
        Ok(self.shared.store.blob(&row.blob)?)
    }

    /// Header and structure of a message.
    pub fn head(&self, row: &Row) -> Result<Option<Head>, MailboxError> {
        if let Some(head) = Head::read(&self.shared.store, &row.blob)? {
            return Ok(Some(head));
        }
        Ok(self.read(row)?.map(|raw| Head::of(&raw)))
    }

    /// Looks whether the branch was moved by somebody else (a push, a merge), and takes over what is there.
    pub async fn refresh(&self) -> Result<(), MailboxError> {
        if self.shared.branch.head() == self.state().head { Ok(()) } else { self.change(|_| Ok(())).await }
    }

    /// Keeps the rows of a mailbox in the derived table, for a quick opening next time.
    pub fn keep_rows(&self, mailbox: &str) -> Result<(), MailboxError> {
        let state = self.state();
        match state.folders.get(mailbox) {
            Some(folder) => load::keep(&self.shared.store, &state, folder),
            None => Ok(()),
        }
    }
}

impl Shared {
    pub fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn publish(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        self.version.send_modify(|version| *version += 1);
    }

    pub fn address(&self) -> String {
        format!("{}@{}", self.name, self.domain)
    }

    pub fn now_s(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
    }
}

/// What a new account has (RFC 6154).
const FIRST_FOLDERS: [(&str, &str); 6] = [
    ("INBOX", ""),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
];
/// Changes that may wait before whoever makes more has to wait.
const CHANGES_WAITING_MAX: usize = 256;
