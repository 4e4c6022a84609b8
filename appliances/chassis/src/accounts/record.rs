//! An account as it is kept on the `config` branch.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::saslprep::prepared;
use super::scram::ScramKeys;
use super::secret;
use crate::clock;

/// An account of the household: one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name to log in with: lower case, letters, digits, `.`, `-`, `_`.
    pub user: String,
    /// The mail address that belongs to it.
    pub address: String,
    /// What people call this person.
    #[serde(default)]
    pub name: String,
    /// May see and change what is everybody's: accounts, metrics, queue.
    #[serde(default)]
    pub admin: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last changed; of two copies the later one is right.
    pub changed_ms: u64,
    /// The salt of SCRAM, in base64: one for all passwords of the account.
    pub scram_salt: String,
    /// The password that the person knows.
    pub password: Verifier,
    /// The devices' own passwords, and web sessions.
    #[serde(default, rename = "credential", skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// Credentials that were revoked, so that no older copy of the account brings them back. The last hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
}

/// What is kept of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// argon2id, as a PHC string.
    pub argon2id: String,
    /// For SCRAM-SHA-256.
    pub scram: ScramKeys,
}

/// A password of one device, or a browser that is logged in; each can be revoked alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// A random name of its own.
    pub id: String,
    /// What its owner calls it: `Anna's phone`.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// What it is checked against.
    pub secret: Secret,
}

/// How a credential is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secret {
    /// A device's password.
    Password(Verifier),
    /// The fingerprint of a browser's cookie.
    Session(String),
}

impl Account {
    /// A new account. Hashes the password: call it where blocking is allowed.
    pub fn new(user: &str, address: &str, password: &str) -> Account {
        let salt = secret::random::<16>();
        let now_ms = clock::now_ms();
        Account {
            user: user.to_owned(),
            address: address.to_owned(),
            name: String::new(),
            admin: false,
            created_ms: now_ms,
            changed_ms: now_ms,
            scram_salt: STANDARD.encode(salt),
            password: Verifier::new(password, &salt),
            credentials: Vec::new(),
            revoked: Vec::new(),
        }
    }

    /// Two copies that were changed apart, as one: the later one's person and password; the credentials of both, without
    /// those that either has revoked. The order of the two does not matter.
    pub fn joined(&self, other: &Account) -> Account {
        let later =
            if (other.changed_ms, &other.password.argon2id) > (self.changed_ms, &self.password.argon2id) {
                other
            } else {
                self
            };
        let mut joined = later.clone();
        joined.revoked = self.revoked.iter().chain(&other.revoked).cloned().collect();
        joined.revoked.sort();
        joined.revoked.dedup();
        let mut credentials: Vec<Credential> =
            self.credentials.iter().chain(&other.credentials).cloned().collect();
        credentials.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        credentials.dedup_by(|a, b| a.id == b.id);
        credentials.retain(|one| !joined.revoked.contains(&one.id));
        joined.credentials = credentials;
        joined
    }

    /// Sets the person's own password; browsers that are logged in no longer are. Hashes: call it where blocking is allowed.
    pub fn set_password(&mut self, password: &str) {
        self.password = Verifier::new(password, &self.salt());
        self.revoke(|one| matches!(one.secret, Secret::Session(_)));
        self.touch();
    }

    /// It is changed now: later than every copy that this one comes from.
    pub fn touch(&mut self) {
        self.changed_ms = clock::now_ms().max(self.changed_ms + 1);
    }

    /// This copy with what a deployment changed: `before` is the account as it was deployed last, `now` as it is to be. What the
    /// deployment left alone stays as it is here, devices too; another account of the same name takes its place.
    pub fn deployed(&self, before: Option<&Account>, now: &Account) -> Account {
        let Some(before) = before else { return self.joined(now) };
        if self.scram_salt != now.scram_salt {
            return now.clone();
        }
        let mut account = self.clone();
        if before.password != now.password && account.password != now.password {
            account.password = now.password.clone();
            account.revoke(|one| matches!(one.secret, Secret::Session(_)));
        }
        if before.name != now.name {
            account.name.clone_from(&now.name);
        }
        if before.admin != now.admin {
            account.admin = now.admin;
        }
        if account != *self {
            account.touch();
        }
        account
    }

    /// Revokes the credentials that `which` names.
    pub(super) fn revoke(&mut self, which: impl Fn(&Credential) -> bool) {
        let (gone, kept) = self.credentials.drain(..).partition(which);
        self.credentials = kept;
        self.revoked.extend(Vec::<Credential>::into_iter(gone).map(|one| one.id));
        let surplus = self.revoked.len().saturating_sub(REVOKED_MAX);
        self.revoked.drain(..surplus);
    }

    /// The salt of SCRAM.
    pub fn salt(&self) -> Vec<u8> {
        STANDARD.decode(&self.scram_salt).unwrap_or_default()
    }

    /// The device passwords, without the web sessions.
    pub fn devices(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(|one| matches!(one.secret, Secret::Password(_)))
    }

    /// The browsers that are logged in.
    pub fn sessions(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(|one| matches!(one.secret, Secret::Session(_)))
    }

    /// Every password with the credential that it belongs to; the person's own first, as `None`.
    pub(super) fn verifiers(&self) -> impl Iterator<Item = (Option<&str>, &Verifier)> {
        let own = std::iter::once((None, &self.password));
        own.chain(self.credentials.iter().filter_map(|one| match &one.secret {
            Secret::Password(verifier) => Some((Some(one.id.as_str()), verifier)),
            Secret::Session(_) => None,
        }))
    }
}

impl Verifier {
    /// Hashes a password both ways, in its prepared form (RFC 4013).
    pub fn new(password: &str, salt: &[u8]) -> Verifier {
        let password = prepared(password);
        Verifier { argon2id: secret::hash(&password), scram: ScramKeys::derive(&password, salt) }
    }
}

/// Whether this can be a login name; the error says what it must be.
pub fn check_user(user: &str) -> Result<(), &'static str> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if user.len() > 64 || !user.chars().all(fits) || !edge(user.chars().next()) || !edge(user.chars().last())
    {
        return Err(
            "a login name has 1 to 64 of a-z, 0-9, '.', '-', '_', and begins and ends with a letter or digit",
        );
    }
    Ok(())
}

const REVOKED_MAX: usize = 100;
