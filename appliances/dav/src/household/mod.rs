//! The trees of all accounts, over the store: each account has a branch of its own, `accounts/NAME`, so that nobody's
//! clone or sync sees another's. Reads answer from memory; a change is one commit, durable when it returns.

pub mod names;
pub mod properties;
mod purge;
pub mod summary;
pub mod view;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Author, Branch, CommitId, IndexEdits, ObjectId, Snapshot, Store, Transaction};

use properties::{Kind, Properties, Share};
use summary::Summary;
use view::{Collection, View};

/// The trees of all accounts. Cheap to clone.
#[derive(Clone)]
pub struct Household(Arc<Inner>);

struct Inner {
    store: Store,
    accounts: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    views: Mutex<HashMap<String, Arc<View>>>,
    /// UIDs that a change under way is about to use: account, collection, UID.
    reserved: Mutex<HashSet<(String, String, String)>>,
    /// Account that a new account's collections were made for.
    prepared: Mutex<HashSet<String>>,
    /// Held by whoever makes them: a second one must not go on before they are there.
    preparing: tokio::sync::Mutex<()>,
}

/// Who asks: for histories, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: String,
    /// What the owner calls the device.
    pub device: String,
    /// The program.
    pub program: String,
}

/// A UID that is reserved until this is dropped.
pub struct Reservation {
    household: Household,
    key: (String, String, String),
}

/// The table of summaries, by blob.
const SUMMARIES: &str = "dav/summaries";
/// How often a change begins again because somebody else was quicker.
pub const ATTEMPTS: usize = 16;
/// How many commits back the base of an offline change is looked for.
const HISTORY_STEPS_MAX: usize = 2_000;

impl Household {
    /// The trees in a store; `accounts` lists the login names that exist.
    pub fn new(store: Store, accounts: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Household {
        Household(Arc::new(Inner {
            store,
            accounts: Box::new(accounts),
            views: Mutex::default(),
            reserved: Mutex::default(),
            prepared: Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
        }))
    }

    /// The store behind them.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Login names that exist.
    pub fn accounts(&self) -> Vec<String> {
        (self.0.accounts)()
    }

    /// An account's branch.
    pub fn branch(&self, account: &str) -> store::Result<Branch> {
        self.0.store.branch(branch_name(account))
    }

    /// An account's tree as of now.
    pub fn view(&self, account: &str) -> store::Result<Arc<View>> {
        let branch = self.branch(account)?;
        let head = branch.head();
        let known = lock(&self.0.views).get(account).cloned();
        if let Some(known) = &known
            && known.snapshot.commit() == head
        {
            return Ok(known.clone());
        }
        // Made outside of the lock: a slow reading keeps nobody else waiting. Two that make the same agree.
        let snapshot = branch.snapshot()?;
        let missing = Mutex::new(IndexEdits::new());
        let found = Mutex::new(0usize);
        let table = self.0.store.index(SUMMARIES)?;
        let summarise = |snapshot: &Snapshot, path: &str, id: ObjectId, kind: Kind| {
            if let Some(summary) = table.get(summary_key(kind, id))?.as_deref().and_then(Summary::decode) {
                return Ok(summary);
            }
            let bytes = snapshot.read(path)?.unwrap_or_default();
            let summary = summarise_anew(&bytes, kind, seconds_of(&self.0.store, snapshot));
            if summary.uid.len() < 4_000 {
                lock(&missing).put(summary_key(kind, id), summary.encode());
                *lock(&found) += 1;
            }
            Ok(summary)
        };
        let view = match &known {
            Some(known) if known.snapshot.commit().is_some() => {
                let changes = snapshot.diff(&known.snapshot, "")?;
                known.advanced(snapshot, &changes, &summarise)?
            }
            _ => View::load(self.0.store.clone(), snapshot, None, &summarise)?,
        };
        let view = Arc::new(view);
        lock(&self.0.views).insert(account.to_string(), view.clone());
        if *lock(&found) > 0 {
            let at = table.at()?;
            // Somebody else may move the table meanwhile; then these are made again another time.
            let _ = table.advance(at, at, missing.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(view)
    }

    /// Makes a new account's calendar and book, once.
    pub async fn prepare(&self, account: &str) -> store::Result<()> {
        if lock(&self.0.prepared).contains(account) {
            return Ok(());
        }
        let _alone = self.0.preparing.lock().await;
        let branch = self.branch(account)?;
        if branch.head().is_none() {
            let mut change = branch.begin()?;
            let mut calendar = Properties::new(Kind::Calendar, "Calendar");
            calendar.color = Some("#2E6FBAFF".into());
            change.put("calendar/.collection", calendar.write())?;
            change.expect("calendar", None)?;
            change.put("contacts/.collection", Properties::new(Kind::AddressBook, "Contacts").write())?;
            change.put(".account", format!("{account}\n"))?;
            let author = Author::new(account, format!("{account}@localhost"));
            match change.commit_async(author, "A calendar and an address book").await {
                Ok(_) | Err(store::Error::Stale { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        lock(&self.0.prepared).insert(account.to_string());
        Ok(())
    }

    /// Makes a change durable. `edit` may be asked again, with a newer tree, when somebody else was quicker.
    pub async fn change<T, E: From<store::Error>>(
        &self,
        account: &str,
        caller: &Caller,
        mut edit: impl FnMut(&Arc<View>, &mut Transaction) -> Result<(T, String), E>,
    ) -> Result<(T, Arc<View>), E> {
        let mut attempt = 0;
        loop {
            let view = self.view(account)?;
            let branch = self.branch(account)?;
            let mut change = match view.snapshot.commit() {
                Some(commit) => branch.begin_at(commit)?,
                None => branch.begin()?,
            };
            let (value, message) = edit(&view, &mut change)?;
            attempt += 1;
            let done = change.commit_async(caller.author(), caller.message(&message)).await;
            match done {
                Ok(_) => return Ok((value, self.view(account)?)),
                Err(store::Error::Stale { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts a summary beside a change.
    pub fn note(change: &mut Transaction, kind: Kind, id: ObjectId, summary: &Summary) {
        if summary.uid.len() < 4_000 {
            change.index(SUMMARIES).put(summary_key(kind, id), summary.encode());
        }
    }

    /// Keeps a UID for a change under way; `None` while another change uses it.
    pub fn reserve(&self, account: &str, collection: &Collection, uid: &str) -> Option<Reservation> {
        let key = (account.to_string(), collection.path.clone(), uid.to_string());
        let fresh = lock(&self.0.reserved).insert(key.clone());
        fresh.then(|| Reservation { household: self.clone(), key })
    }

    /// The commit at which a path held a blob, looked for in its history.
    pub fn when_it_was(&self, account: &str, path: &str, id: ObjectId) -> store::Result<Option<CommitId>> {
        for found in self.branch(account)?.history(path)?.take(HISTORY_STEPS_MAX) {
            let (commit, _) = found?;
            let snapshot = self.0.store.snapshot_at(commit)?;
            if snapshot.entry(path)?.is_some_and(|entry| entry.id == id) {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// Collections of others that an account may use: owner, collection, how.
    pub fn shared_with(&self, account: &str) -> Vec<(String, Arc<Collection>, Share)> {
        let mut out = Vec::new();
        for owner in self.accounts().into_iter().filter(|owner| owner != account) {
            let Ok(view) = self.view(&owner) else { continue };
            for collection in view.collections.values() {
                if let Some(share) = collection.properties.shares.get(account) {
                    out.push((owner.clone(), collection.clone(), *share));
                }
            }
        }
        out
    }
}

impl Caller {
    /// Who a commit is by.
    pub fn author(&self) -> Author {
        Author::new(&self.account, format!("{}@localhost", self.account))
    }

    /// A commit's message, with what it came from.
    pub fn message(&self, what: &str) -> String {
        let clean =
            |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        format!("{}\n\nDevice: {}\nProgram: {}\n", clean(what), clean(&self.device), clean(&self.program))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.household.0.reserved).remove(&self.key);
    }
}

/// The name of an account's branch.
pub fn branch_name(account: &str) -> String {
    format!("accounts/{account}")
}

/// A summary of whatever stands in a collection; what does not belong there is a file.
pub fn summarise_anew(bytes: &[u8], kind: Kind, now: i64) -> Summary {
    let summary = match kind {
        Kind::Plain => Ok(Summary::of_file(bytes, now)),
        Kind::Calendar => Summary::of_calendar(bytes, now),
        Kind::AddressBook => Summary::of_card(bytes, now),
    };
    summary.unwrap_or_else(|_| Summary::of_file(bytes, now))
}

/// The same bytes are summed up differently in a calendar, a book and a folder.
fn summary_key(kind: Kind, id: ObjectId) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(&id.0);
    key
}

fn seconds_of(store: &Store, snapshot: &Snapshot) -> i64 {
    let commit = snapshot.commit().and_then(|commit| store.commit(commit).ok());
    commit.map_or(0, |commit| commit.committer.seconds)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
