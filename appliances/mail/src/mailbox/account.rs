//! Accounts: where sessions and deliveries come to read and to change mailboxes.

use super::draft::{Added, Draft};
use super::error::MailboxError;
use super::heads::{self, Head, Heads};
use super::incoming::{Incoming, NewMessage};
use super::load::{self, Place};
use super::name;
use super::rows::{Row, Rows};
use super::state::{Folder, State};
use super::texts::{self, Candidates, Filter, Signature, Texts};
use super::upkeep;
use super::writer::{self, Change};
use crate::message;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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

/// A change that the writer has.
pub struct Begun<T>(oneshot::Receiver<Result<T, MailboxError>>);

impl<T> Begun<T> {
    /// Resolves when the change is on the device, or was refused.
    pub async fn end(self) -> Result<T, MailboxError> {
        self.0.await.unwrap_or(Err(MailboxError::Stopping))
    }
}

/// What the writer and everybody else share.
pub(super) struct Shared {
    pub store: Store,
    pub branch: Branch,
    pub name: String,
    domain: Arc<str>,
    state: RwLock<Arc<State>>,
    version: watch::Sender<u64>,
    /// Held by who reads or extends an index of texts.
    indexing: Mutex<()>,
}

impl Mailboxes {
    /// Mailboxes in a store; `domain` is what the accounts' addresses end in, for commits.
    pub fn new(store: Store, domain: &str) -> Mailboxes {
        Mailboxes { store, domain: domain.into(), accounts: Arc::default() }
    }

    /// The mailboxes of an account, which must be known to exist. INBOX and the special folders are made with the first
    /// look. Needs a tokio runtime, in which the account's writer lives.
    pub async fn account(&self, name: &str) -> Result<Arc<Account>, MailboxError> {
        let (account, is_new) = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            match accounts.get(name) {
                Some(account) => (account.clone(), false),
                None => {
                    let account = Arc::new(Account::open(self.store.clone(), name, self.domain.clone())?);
                    accounts.insert(name.to_owned(), account.clone());
                    (account, true)
                }
            }
        };
        account.make_first_folders().await?;
        if is_new {
            tokio::spawn(upkeep::run(Arc::downgrade(&account)));
        }
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
            indexing: Mutex::default(),
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
        self.begin(make).await?.end().await
    }

    /// Hands a change to the writer and does not wait for it: changes are made in the order in which they were begun.
    pub async fn begin<T: Send + 'static>(
        &self,
        make: impl FnOnce(&mut Draft<'_>) -> Result<T, MailboxError> + Send + 'static,
    ) -> Result<Begun<T>, MailboxError> {
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
        Ok(Begun(answered))
    }

    /// Puts messages into a mailbox. `quota_bytes` of zero is no quota.
    pub async fn append(
        &self,
        mailbox: &str,
        messages: Vec<NewMessage>,
        quota_bytes: u64,
    ) -> Result<Added, MailboxError> {
        let (mailbox, messages) = (mailbox.to_owned(), Incoming::all(messages).await?);
        self.change(move |draft| draft.append(&mailbox, messages, quota_bytes)).await
    }

    /// The rows of a mailbox, loaded where they are not. Mark the mailbox as viewed first, so that they stay.
    pub async fn rows(&self, mailbox: &str) -> Result<Rows, MailboxError> {
        self.rows_at(&self.state(), mailbox)
    }

    /// The rows of a mailbox as of a state, which may be an older one.
    pub fn rows_at(&self, state: &State, mailbox: &str) -> Result<Rows, MailboxError> {
        let folder = state.folder(mailbox)?;
        match folder.rows() {
            Some(rows) => Ok(rows.clone()),
            None => Ok(folder.keep_rows(self.place(state, mailbox, folder)?.rows(&state.keywords)?)),
        }
    }

    /// UIDs that vanished from a mailbox after a mod-sequence, as ranges that may overlap; nothing where that is not known
    /// so far back.
    pub fn gone_after(
        &self,
        state: &State,
        mailbox: &str,
        modseq: u64,
    ) -> Result<Option<Vec<(u32, u32)>>, MailboxError> {
        self.place(state, mailbox, state.folder(mailbox)?)?.gone_after(modseq)
    }

    fn place<'p>(
        &'p self,
        state: &State,
        mailbox: &str,
        folder: &'p Folder,
    ) -> Result<Place<'p>, MailboxError> {
        let snapshot = match state.head {
            Some(head) => self.shared.store.snapshot_at(head)?,
            None => self.shared.branch.snapshot()?,
        };
        let (store, account, id) = (&self.shared.store, self.name(), folder.about.id.as_str());
        Ok(Place { store, account, snapshot, directory: name::directory(mailbox), id })
    }

    /// The bytes of a message; nothing where it was forgotten meanwhile.
    pub fn read(&self, row: &Row) -> Result<Option<Bytes>, MailboxError> {
        Ok(self.shared.store.blob(&row.blob)?)
    }

    /// A message that is read with many others and not again soon: nothing of it stays in memory.
    pub fn read_once(&self, row: &Row) -> Result<Option<Bytes>, MailboxError> {
        Ok(self.shared.store.blob_once(&row.blob)?)
    }

    /// The beginning of a message, with all of its header at least.
    pub fn read_header(&self, row: &Row) -> Result<Option<Bytes>, MailboxError> {
        let is_whole = |start: &[u8]| message::header_end(start) < start.len();
        Ok(self.shared.store.blob_start(&row.blob, &is_whole)?)
    }

    /// The heads of a mailbox, by its MAILBOXID.
    pub fn heads(&self, id: &str) -> Result<Heads, MailboxError> {
        Ok(Heads::open(&self.shared.store, self.name(), id)?)
    }

    /// Structure, thread and the fields that lists show, of one message.
    pub fn head(&self, mailbox: &str, row: &Row) -> Result<Option<Head>, MailboxError> {
        let id = self.state().folder(mailbox)?.about.id.clone();
        match self.heads(&id)?.get(row)? {
            Some(head) => Ok(Some(head)),
            None => Ok(self.read(row)?.map(|raw| Head::of(&raw))),
        }
    }

    /// Keeps heads that had to be computed, for the next time.
    pub fn keep_heads(&self, id: &str, heads: &[(Row, Head)]) -> Result<(), MailboxError> {
        let table = self.shared.store.index(heads::name(self.name(), id))?;
        let mut edits = store::IndexEdits::new();
        heads.iter().for_each(|(row, head)| heads::put(&mut edits, row, head));
        let at = table.at()?;
        match table.advance(at, at, edits) {
            Err(store::Error::RefMoved { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The messages of a mailbox that may match, by the index of texts.
    pub fn candidates(&self, id: &str, filter: &Filter) -> Result<Candidates, MailboxError> {
        let _reading = self.shared.indexing();
        Ok(Texts::open(&self.shared.store, self.name(), id)?.candidates(filter)?)
    }

    /// Takes messages into the index of texts that came since it was last looked after, a thousand at the most; whether
    /// there are more. Reads each of them.
    pub fn index_texts(&self, state: &State, mailbox: &str) -> Result<bool, MailboxError> {
        let folder = state.folder(mailbox)?;
        let _indexing = self.shared.indexing();
        let texts = Texts::open(&self.shared.store, self.name(), &folder.about.id)?;
        let from = texts.next()?;
        if from >= folder.about.uid_next {
            return Ok(false);
        }
        let rows = match folder.rows() {
            Some(rows) => rows.clone(),
            None => self.place(state, mailbox, folder)?.rows(&state.keywords)?,
        };
        let new: Vec<Row> = rows.with_uids(from, u32::MAX).take(texts::BLOCK).map(|(_, row)| *row).collect();
        let thin = texts.thin(&rows)?;
        let again =
            thin.iter().flat_map(|thin| &thin.uids).filter_map(|uid| rows.find(*uid)).map(|(_, row)| *row);
        let mut signatures = Vec::with_capacity(new.len());
        for row in again.chain(new.iter().copied()) {
            if let Some(raw) = self.read(&row)? {
                signatures.push((row.uid, Signature::of(&raw)));
            }
        }
        let is_last = new.len() < texts::BLOCK;
        let next = new.last().filter(|_| !is_last).map_or(folder.about.uid_next, |last| last.uid + 1);
        texts.extend(signatures, next, &rows, thin.as_ref())?;
        Ok(!is_last)
    }

    /// Looks whether the branch was moved by somebody else (a push, a merge), and takes over what is there.
    pub async fn refresh(&self) -> Result<(), MailboxError> {
        if self.shared.branch.head() == self.state().head { Ok(()) } else { self.change(|_| Ok(())).await }
    }
}

impl Shared {
    fn indexing(&self) -> MutexGuard<'_, ()> {
        self.indexing.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
