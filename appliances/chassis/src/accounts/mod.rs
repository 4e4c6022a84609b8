//! Accounts: who may enter, with which password, from which device, and when that was last.
//!
//! Every protocol asks here: SMTP and IMAP with a name and a password or by SCRAM, DAV by HTTP Basic, the pages by a
//! cookie. A verified password is remembered for an hour (as a keyed hash, in memory), so that a client which sends it
//! with each request does not cost argon2 each time; a revoked one is forgotten at once.

mod login;
mod record;
mod saslprep;
mod scram;
mod secret;
mod seen;
mod throttle;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use ring::hmac;
use tokio::sync::{Semaphore, broadcast};

pub use login::{Login, LoginError, ScramLogin};
pub use record::{Account, Credential, Secret, Verifier, check_user};
pub use scram::{ClientFirst, Exchange, ScramError, ScramKeys};
pub use secret::{equal, fingerprint, new_password, new_token, random};

use crate::aside::aside;
use crate::clock;
use crate::config::{self, Change, ConfigError, ConfigFiles};
use crate::limits;
use throttle::Throttle;

/// Why accounts could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name cannot be one.
    #[error("{0:?} cannot be a login name: {1}")]
    BadName(String, &'static str),
    /// The password is too short or too long.
    #[error("a password has {min} to {max} characters", min = limits::PASSWORD_CHARS_MIN, max = limits::PASSWORD_BYTES_MAX)]
    BadPassword,
    /// There is one of that name.
    #[error("there is an account {0:?} already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no account {0:?}")]
    Unknown(String),
    /// There is no such device password.
    #[error("there is no device {0:?}")]
    UnknownDevice(String),
    /// A bound is reached.
    #[error("there are {0} already, which is the most there can be")]
    TooMany(usize),
    /// The thread that hashes failed.
    #[error("the password could not be hashed")]
    Hashing,
    /// The configuration could not be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// When, from where and with what a credential was last used.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct LastUse {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The address that it came from.
    pub from: IpAddr,
    /// The protocol or program: `imap`, `Firefox on Linux`.
    pub with: String,
}

/// All accounts of an appliance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: ConfigFiles,
    known: RwLock<BTreeMap<String, Arc<Account>>>,
    changing: tokio::sync::Mutex<()>,
    hashing: Semaphore,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
    verified_key: hmac::Key,
    throttle: Mutex<Throttle>,
    last_use: Mutex<HashMap<(String, Option<String>), LastUse>>,
    changes: broadcast::Sender<AccountChange>,
}

/// What happened to an account here.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountChange {
    /// It is new, or different from before.
    Changed(Box<Account>),
    /// The account of this login name is no more.
    Removed(String),
}

/// A password that was right: whose, which, until when that is taken for granted.
#[derive(Debug, Clone)]
struct Verified {
    user: String,
    credential: Option<String>,
    until: Instant,
}

impl Accounts {
    /// Reads the accounts of the configuration.
    pub fn open(files: &ConfigFiles) -> Result<Accounts, AccountError> {
        let accounts = Accounts(Arc::new(Inner {
            files: files.clone(),
            known: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            hashing: Semaphore::new(limits::HASHES_AT_ONCE),
            verified: Mutex::default(),
            verified_key: hmac::Key::new(hmac::HMAC_SHA256, &secret::random::<32>()),
            throttle: Mutex::default(),
            last_use: Mutex::default(),
            changes: broadcast::Sender::new(64),
        }));
        accounts.reload()?;
        Ok(accounts)
    }

    /// Reads them again, after the branch changed under us (a push, a revert).
    pub fn reload(&self) -> Result<(), AccountError> {
        let mut known = BTreeMap::new();
        for name in self.0.files.list(DIR)? {
            let path = format!("{DIR}/{name}");
            let Some(user) = name.strip_suffix(".toml") else { continue };
            let Some(bytes) = self.0.files.read(&path)? else { continue };
            let account: Account = config::parse(&path, &bytes)?;
            known.insert(user.to_owned(), Arc::new(account));
        }
        let before = {
            let mut kept = self.0.known.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            std::mem::replace(&mut *kept, known)
        };
        // A password stays verified only where its account is the same as before.
        let same = |user: &String| {
            self.find(user).is_some_and(|now| before.get(user).is_some_and(|old| *old == now))
        };
        lock(&self.0.verified).retain(|_, one| same(&one.user));
        Ok(())
    }

    /// The account of a login name or of a mail address, in any case.
    pub fn find(&self, name: &str) -> Option<Arc<Account>> {
        let name = name.to_lowercase();
        let known = self.0.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.get(&name).or_else(|| known.values().find(|one| one.address.to_lowercase() == name)).cloned()
    }

    /// All accounts, by login name.
    pub fn all(&self) -> Vec<Arc<Account>> {
        let known = self.0.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.values().cloned().collect()
    }

    /// Makes an account with this password.
    pub async fn create(
        &self,
        user: &str,
        address: &str,
        name: &str,
        password: &str,
        admin: bool,
    ) -> Result<Arc<Account>, AccountError> {
        check_user(user).map_err(|reason| AccountError::BadName(user.to_owned(), reason))?;
        check_password(password)?;
        let (for_user, for_address, for_password) =
            (user.to_owned(), address.to_owned(), password.to_owned());
        let mut account = self.hashed(move || Account::new(&for_user, &for_address, &for_password)).await?;
        account.name = name.to_owned();
        account.admin = admin;
        let _changing = self.0.changing.lock().await;
        if self.find(user).is_some() || self.find(address).is_some() {
            return Err(AccountError::Exists(user.to_owned()));
        }
        let count = self.all().len();
        if count >= limits::ACCOUNTS_MAX {
            return Err(AccountError::TooMany(count));
        }
        self.keep_and_tell(account, "accounts", &format!("Account {user}")).await
    }

    /// Takes a copy of an account that was changed elsewhere in the household and joins it with ours. False: it brought
    /// nothing new.
    pub async fn adopt(&self, account: Account) -> Result<bool, AccountError> {
        check_user(&account.user).map_err(|reason| AccountError::BadName(account.user.clone(), reason))?;
        let _changing = self.0.changing.lock().await;
        let ours = self.find(&account.user);
        let joined = ours.as_ref().map_or_else(|| account.clone(), |ours| ours.joined(&account));
        if ours.is_some_and(|ours| *ours == joined) {
            return Ok(false);
        }
        let message = format!("Account {} as the household has it", account.user);
        self.keep(joined, "household", &message).await?;
        Ok(true)
    }

    /// Tells of every change that was made here (not of those that were adopted).
    pub fn changes(&self) -> broadcast::Receiver<AccountChange> {
        self.0.changes.subscribe()
    }

    /// Removes an account. What it kept stays in the store until it is purged.
    pub async fn remove(&self, user: &str) -> Result<(), AccountError> {
        let _changing = self.0.changing.lock().await;
        self.known(user)?;
        let message = format!("Account {user} removed");
        self.0.files.commit("accounts", &message, vec![Change::remove(&path(user))]).await?;
        let _ = self.0.changes.send(AccountChange::Removed(user.to_owned()));
        self.reload()
    }

    /// Sets the person's own password and ends their web sessions.
    pub async fn set_password(&self, user: &str, password: &str) -> Result<(), AccountError> {
        check_password(password)?;
        let salt = self.known(user)?.salt();
        let password = password.to_owned();
        let verifier = self.hashed(move || Verifier::new(&password, &salt)).await?;
        self.change(user, "Password changed", |account| {
            account.password = verifier;
            account.revoke(|one| matches!(one.secret, Secret::Session(_)));
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Makes a password for a device; it is shown once and never again.
    pub async fn add_device(&self, user: &str, label: &str) -> Result<(Credential, String), AccountError> {
        let password = new_password();
        let (salt, text) = (self.known(user)?.salt(), password.clone());
        let verifier = self.hashed(move || Verifier::new(&text, &salt)).await?;
        let credential = self.add_credential(user, label, Secret::Password(verifier), "Device added").await?;
        Ok((credential, password))
    }

    /// Revokes a device's password or ends a web session, by its id.
    pub async fn revoke(&self, user: &str, id: &str) -> Result<(), AccountError> {
        self.change(user, "Access revoked", |account| {
            if !account.credentials.iter().any(|one| one.id == id) {
                return Err(AccountError::UnknownDevice(id.to_owned()));
            }
            account.revoke(|one| one.id == id);
            Ok(())
        })
        .await?;
        lock(&self.0.last_use).remove(&(user.to_owned(), Some(id.to_owned())));
        Ok(())
    }

    /// When a credential was last used (`None`: the person's own password), as far as this process has seen.
    pub fn last_use(&self, user: &str, credential: Option<&str>) -> Option<LastUse> {
        lock(&self.0.last_use).get(&(user.to_owned(), credential.map(str::to_owned))).cloned()
    }

    async fn add_credential(
        &self,
        user: &str,
        label: &str,
        secret: Secret,
        message: &str,
    ) -> Result<Credential, AccountError> {
        let label: String = label.trim().chars().filter(|c| !c.is_control()).take(80).collect();
        let credential = Credential { id: new_token::<9>(), label, created_ms: clock::now_ms(), secret };
        let kept = credential.clone();
        self.change(user, message, move |account| {
            // Sessions make room by themselves: the oldest ends. Device passwords do not.
            let count = account.credentials.len();
            if count >= limits::CREDENTIALS_PER_ACCOUNT_MAX {
                let oldest =
                    account.credentials.iter().position(|one| matches!(one.secret, Secret::Session(_)));
                let oldest = account.credentials[oldest.ok_or(AccountError::TooMany(count))?].id.clone();
                account.revoke(|one| one.id == oldest);
            }
            account.credentials.push(kept);
            Ok(())
        })
        .await?;
        Ok(credential)
    }

    async fn change(
        &self,
        user: &str,
        message: &str,
        edit: impl FnOnce(&mut Account) -> Result<(), AccountError>,
    ) -> Result<Arc<Account>, AccountError> {
        let _changing = self.0.changing.lock().await;
        let mut account = Account::clone(&*self.known(user)?);
        edit(&mut account)?;
        account.changed_ms = clock::now_ms().max(account.changed_ms + 1);
        let message = format!("{message}: {}", account.user);
        self.keep_and_tell(account, user, &message).await
    }

    async fn keep_and_tell(
        &self,
        account: Account,
        author: &str,
        message: &str,
    ) -> Result<Arc<Account>, AccountError> {
        let account = self.keep(account, author, message).await?;
        let _ = self.0.changes.send(AccountChange::Changed(Box::new(Account::clone(&account)))); // nobody listens: nobody to tell
        Ok(account)
    }

    async fn keep(
        &self,
        account: Account,
        author: &str,
        message: &str,
    ) -> Result<Arc<Account>, AccountError> {
        let path = path(&account.user);
        let text = config::written(&path, &account)?;
        self.0.files.commit(author, message, vec![Change::put(&path, text)]).await?;
        let account = Arc::new(account);
        let mut known = self.0.known.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.insert(account.user.clone(), account.clone());
        lock(&self.0.verified).retain(|_, one| one.user != account.user);
        Ok(account)
    }

    fn known(&self, user: &str) -> Result<Arc<Account>, AccountError> {
        self.find(user).ok_or_else(|| AccountError::Unknown(user.to_owned()))
    }

    async fn hashed<T: Send + 'static>(
        &self,
        hash: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let _permit = self.0.hashing.acquire().await;
        aside(hash).await.ok_or(AccountError::Hashing)
    }
}

fn check_password(password: &str) -> Result<(), AccountError> {
    let fits = password.chars().count() >= limits::PASSWORD_CHARS_MIN
        && password.len() <= limits::PASSWORD_BYTES_MAX;
    if fits { Ok(()) } else { Err(AccountError::BadPassword) }
}

fn path(user: &str) -> String {
    format!("{DIR}/{user}.toml")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const DIR: &str = "accounts";

#[cfg(test)]
mod tests;
