//! Logging in: by password, by SCRAM, by a browser's cookie.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ring::hmac;

use super::{
    Account, AccountError, Accounts, ClientFirst, Credential, Exchange, LastUse, ScramError, ScramKeys,
    Secret, Verified, lock, new_token, saslprep::prepared, secret,
};
use crate::clock;
use crate::limits;

/// Somebody who has proved who they are.
#[derive(Debug, Clone)]
pub struct Login {
    /// The account.
    pub account: Arc<Account>,
    /// The device password or web session that was used; `None` is the person's own password.
    pub credential: Option<String>,
}

impl Login {
    /// What the owner calls the device that this login used, for histories: `Anna's phone`.
    pub fn device(&self) -> &str {
        let id = self.credential.as_deref();
        let found = self.account.credentials.iter().find(|one| Some(one.id.as_str()) == id);
        found.map_or("main password", |one| one.label.as_str())
    }
}

/// Why somebody does not get in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoginError {
    /// The name or the password is wrong; which of them is not said.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many failures from there: not even looked at.
    #[error("too many failed logins from your network; try again in {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    /// Too many passwords are being checked.
    #[error("too many logins at once; try again")]
    Busy,
    /// SCRAM went wrong before a password was in question.
    #[error(transparent)]
    Scram(ScramError),
}

/// A SCRAM exchange under way.
#[derive(Debug)]
pub struct ScramLogin {
    accounts: Accounts,
    account: Option<Arc<Account>>,
    exchange: Exchange,
    user: String,
    from: IpAddr,
    with: String,
}

static WAITING: AtomicUsize = AtomicUsize::new(0);

impl Accounts {
    /// Checks a name and a password. `from` is the client's address, `with` the protocol or program (for the owner to
    /// read). A wrong one is answered late, and beyond a bound not looked at.
    pub async fn login(
        &self,
        user: &str,
        password: &str,
        from: IpAddr,
        with: &str,
    ) -> Result<Login, LoginError> {
        let key = self.remembered_as(user, password);
        if let Some(login) = self.remembered(&key) {
            self.used(&login, from, with);
            return Ok(login);
        }
        let user = user.to_lowercase();
        self.may_try(from, &user)?;
        let account = self.find(&user);
        let found = if password.len() > limits::PASSWORD_BYTES_MAX {
            None
        } else {
            self.which_password(account.clone(), password.to_owned()).await?
        };
        let (Some(account), Some(credential)) = (account, found) else {
            return Err(self.refused(from, &user, with).await);
        };
        let login = Login { account, credential };
        self.remember(key, &login);
        self.admitted(&login, from, with);
        Ok(login)
    }

    /// HTTP Basic (RFC 7617): the value of an Authorization field.
    pub async fn login_basic(
        &self,
        authorization: &str,
        from: IpAddr,
        with: &str,
    ) -> Result<Login, LoginError> {
        use base64::Engine as _;
        let decoded = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, value)| base64::engine::general_purpose::STANDARD.decode(value.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => self.login(user, password, from, with).await,
            None => Err(LoginError::Wrong),
        }
    }

    /// Begins SCRAM-SHA-256 with the client's first message. An unknown user gets a salt too, always the same one.
    pub fn scram(&self, client_first: &str, from: IpAddr, with: &str) -> Result<ScramLogin, LoginError> {
        let first = ClientFirst::parse(client_first).map_err(LoginError::Scram)?;
        let user = first.user.to_lowercase();
        if !first.authzid.is_empty() && !first.authzid.eq_ignore_ascii_case(&first.user) {
            return Err(LoginError::Wrong);
        }
        self.may_try(from, &user)?;
        let account = self.find(&user);
        let salt = match &account {
            Some(account) => account.salt(),
            None => hmac::sign(&self.0.verified_key, user.as_bytes()).as_ref()[..16].to_vec(),
        };
        let exchange = Exchange::begin(first, &salt, &new_token::<18>());
        Ok(ScramLogin { accounts: self.clone(), account, exchange, user, from, with: with.to_owned() })
    }

    /// Opens a web session for somebody who has just logged in; the token is the cookie's value.
    pub async fn open_session(&self, login: &Login, label: &str) -> Result<String, AccountError> {
        let token = new_token::<32>();
        let secret = Secret::Session(secret::fingerprint(&token));
        self.add_credential(&login.account.user, label, secret, "Logged in on the web").await?;
        Ok(token)
    }

    /// Who a session's cookie belongs to; `None` when it is revoked, too old or never was.
    pub fn session(&self, token: &str, from: IpAddr, with: &str) -> Option<Login> {
        let fingerprint = secret::fingerprint(token);
        let is_it = |one: &&Credential| matches!(&one.secret, Secret::Session(kept) if *kept == fingerprint);
        for account in self.all() {
            let Some(credential) = account.credentials.iter().find(is_it) else { continue };
            let seen = self.last_use(&account.user, Some(&credential.id)).map_or(0, |last| last.at_ms);
            let idle_ms = clock::now_ms().saturating_sub(seen.max(credential.created_ms));
            if idle_ms > limits::SESSION_TIME.as_millis() as u64 {
                return None;
            }
            let login = Login { credential: Some(credential.id.clone()), account };
            self.used(&login, from, with);
            return Some(login);
        }
        None
    }

    /// Which of the account's passwords this is. The shared salt of SCRAM makes finding it one derivation, however many
    /// devices there are; argon2id then confirms it, and is paid for a wrong one too, so that times tell nothing. A machine
    /// without the memory for argon2id takes SCRAM's keys for what they are: a proof of the same password.
    async fn which_password(
        &self,
        account: Option<Arc<Account>>,
        typed: String,
    ) -> Result<Option<Option<String>>, LoginError> {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= limits::HASHES_WAITING_MAX {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            return Err(LoginError::Busy);
        }
        let found = self.hashed(move || {
            let salt = account.as_ref().map_or(Vec::new(), |account| account.salt());
            let fits = |password: &str| {
                let keys = ScramKeys::derive(password, &salt);
                let same = |kept: &ScramKeys| secret::equal(keys.stored.as_bytes(), kept.stored.as_bytes());
                account.as_ref()?.verifiers().find(|(_, verifier)| same(&verifier.scram))
            };
            // Its prepared form; or, where it was set by an appliance without Unicode's tables, as it was typed then.
            let mut password = prepared(&typed);
            let mut hit = fits(&password);
            if hit.is_none() && password != typed {
                hit = fits(&typed);
                password = Cow::Borrowed(&typed);
            }
            match hit {
                Some((id, verifier)) if secret::verify(&password, &verifier.argon2id).unwrap_or(true) => {
                    Some(id.map(str::to_owned))
                }
                Some(_) => None,
                None => {
                    secret::verify_nobody(&password);
                    None
                }
            }
        });
        let found = found.await;
        WAITING.fetch_sub(1, Ordering::Relaxed);
        found.map_err(|_| LoginError::Busy)
    }

    fn may_try(&self, from: IpAddr, user: &str) -> Result<(), LoginError> {
        lock(&self.0.throttle).may_try(from, user, Instant::now()).map_err(LoginError::Throttled)
    }

    async fn refused(&self, from: IpAddr, user: &str, with: &str) -> LoginError {
        tracing::warn!(user, %from, with, "login refused");
        lock(&self.0.throttle).failed(from, user, Instant::now());
        tokio::time::sleep(limits::FAILURE_DELAY).await;
        LoginError::Wrong
    }

    fn admitted(&self, login: &Login, from: IpAddr, with: &str) {
        tracing::info!(user = login.account.user, device = login.device(), %from, with, "logged in");
        lock(&self.0.throttle).succeeded(from, &login.account.user, Instant::now());
        self.used(login, from, with);
    }

    fn used(&self, login: &Login, from: IpAddr, with: &str) {
        let last = LastUse { at_ms: clock::now_ms(), from, with: with.to_owned() };
        lock(&self.0.last_use).insert((login.account.user.clone(), login.credential.clone()), last);
    }

    fn remembered_as(&self, user: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0.verified_key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Login> {
        let verified = lock(&self.0.verified).get(key).filter(|one| one.until > Instant::now()).cloned()?;
        let account = self.find(&verified.user)?;
        Some(Login { account, credential: verified.credential })
    }

    fn remember(&self, key: [u8; 32], login: &Login) {
        let mut verified = lock(&self.0.verified);
        if verified.len() >= limits::VERIFIED_MAX {
            let now = Instant::now();
            verified.retain(|_, one| one.until > now);
            // A hash costs a thousand times what looking for the oldest does.
            let oldest = verified.iter().min_by_key(|(_, one)| one.until).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| verified.len() >= limits::VERIFIED_MAX) {
                verified.remove(&oldest);
            }
        }
        // Only while the account is still the one that was checked: a revocation may have come between.
        if self.find(&login.account.user).is_some_and(|now| now.changed_ms == login.account.changed_ms) {
            let (user, credential) = (login.account.user.clone(), login.credential.clone());
            verified
                .insert(key, Verified { user, credential, until: Instant::now() + limits::VERIFIED_TIME });
        }
    }
}

impl ScramLogin {
    /// What to send to the client.
    pub fn server_first(&self) -> &str {
        self.exchange.server_first()
    }

    /// Takes the client's last message; gives who it is and the server's last message.
    pub async fn finish(self, client_last: &str) -> Result<(Login, String), LoginError> {
        let candidates: Vec<(Option<String>, ScramKeys)> = self
            .account
            .iter()
            .flat_map(|account| account.verifiers())
            .map(|(id, verifier)| (id.map(str::to_owned), verifier.scram.clone()))
            .collect();
        let keys: Vec<ScramKeys> = candidates.iter().map(|(_, keys)| keys.clone()).collect();
        match (self.exchange.finish(client_last, &keys), self.account) {
            (Ok((place, answer)), Some(account)) => {
                let login = Login { account, credential: candidates[place].0.clone() };
                self.accounts.admitted(&login, self.from, &self.with);
                Ok((login, answer))
            }
            (Err(error @ ScramError::Malformed(_)), _) => Err(LoginError::Scram(error)),
            _ => Err(self.accounts.refused(self.from, &self.user, &self.with).await),
        }
    }
}
