//! A client's session: what it is allowed to say, and what is done about it (RFC 3501 3).

mod fetch;
mod flags;
mod folders;
mod in_order;
mod list;
mod login;
mod reader;
mod search;
mod select;
mod sync;

use super::capability;
use super::grammar::{Body, Command, Set, SetOrSaved, parse};
use super::output::{Output, Stream};
use super::serve::Context;
use crate::limits;
use crate::mailbox::{Account, MailboxError};
use login::Exchange;
use select::Selected;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::WriteHalf;
use tokio::sync::watch;

/// What the connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Go,
    /// Begin TLS.
    StartTls,
    /// Compress from here on.
    Compress,
    /// End.
    Close,
}

/// How a command ended; its tagged response.
pub(super) enum Done {
    /// `OK text`.
    Ok(String),
    /// `NO text`.
    No(String),
    /// `BAD text`.
    Bad(String),
}

/// The result of doing a command: a tagged response, or the end of the connection.
pub(super) type Answer = io::Result<Done>;

/// What the client is allowed and has switched on.
#[derive(Debug, Default)]
struct Enabled {
    condstore: bool,
    qresync: bool,
    rev2: bool,
}

/// A client's session.
pub struct Session {
    context: Context,
    peer: IpAddr,
    secure: bool,
    compressed: bool,
    output: Output,
    user: Option<User>,
    selected: Option<Selected>,
    enabled: Enabled,
    exchange: Option<(String, Exchange)>,
    idling: Option<String>,
    /// Tag of the command under way.
    tag: String,
    /// STOREs under way.
    stored: Vec<flags::Stored>,
    failures: u32,
}

struct User {
    account: Arc<Account>,
    changes: watch::Receiver<u64>,
}

impl Session {
    /// A session that has just connected.
    pub fn new(context: Context, peer: IpAddr, secure: bool, output: Output) -> Session {
        Session {
            context,
            peer,
            secure,
            compressed: false,
            output,
            user: None,
            selected: None,
            enabled: Enabled::default(),
            exchange: None,
            idling: None,
            tag: String::new(),
            stored: Vec::new(),
            failures: 0,
        }
    }

    /// The server speaks first (RFC 3501 7.1.1).
    pub async fn greet(&mut self) -> io::Result<()> {
        let capability = self.capability();
        self.output.untagged(format_args!("OK [CAPABILITY {capability}] nymote is ready"));
        self.output.send().await
    }

    /// Whether the next line belongs to an exchange and is no command.
    pub fn wants_line(&self) -> bool {
        self.exchange.is_some() || self.idling.is_some()
    }

    /// Whether somebody is logged in.
    pub fn is_logged_in(&self) -> bool {
        self.user.is_some()
    }

    /// What every connection needs.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Where responses are collected.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Another stream takes the place of the one that was written to.
    pub fn replace_output(&mut self, stream: WriteHalf<Box<dyn Stream>>) -> Output {
        let utf8 = self.output.utf8;
        let old = std::mem::replace(&mut self.output, Output::new(stream));
        self.output.utf8 = utf8;
        old
    }

    /// TLS has begun: nothing that was said before counts.
    pub fn secured(&mut self) {
        self.secure = true;
    }

    /// How long the client may be silent (RFC 3501 5.4 wants 30 minutes).
    pub fn patience(&self) -> Duration {
        match (&self.user, &self.idling) {
            (None, _) => limits::LOGIN_TIME,
            (_, Some(_)) => limits::IDLE_SIGN_TIME,
            _ => limits::IMAP_IDLE_TIME,
        }
    }

    /// Resolves when something has changed that an idling client wants to know. Loses nothing when it is dropped.
    pub async fn changed(&mut self) {
        if let (Some(user), Some(_)) = (&mut self.user, &self.idling)
            && user.changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Tells an idling client what has changed.
    pub async fn tell_idling(&mut self) -> io::Result<Next> {
        if self.tell_changes(true).await.is_err() {
            return self.bye("the mailbox was deleted").await;
        }
        Ok(Next::Go)
    }

    /// The client was silent for too long; an idling one gets a sign that we live.
    pub async fn out_of_patience(&mut self) -> io::Result<Next> {
        if self.idling.is_some() {
            self.output.untagged("OK still here");
            self.output.send().await?;
            return Ok(Next::Go);
        }
        self.bye("you were silent for too long").await
    }

    /// The client's bytes make no sense any more.
    pub async fn lost(&mut self) -> io::Result<Next> {
        self.bye("a line or literal is too long to be passed over").await
    }

    /// A command was too big.
    pub async fn too_big(&mut self, tag: Option<String>, message: bool) -> io::Result<Next> {
        match (tag, message) {
            (Some(tag), true) => {
                let limit = limits::MESSAGE_BYTES_MAX;
                self.output.line(format_args!("{tag} NO [TOOBIG] a message may have {limit} bytes at most"));
            }
            (Some(tag), false) => {
                self.output.line(format_args!("{tag} BAD [TOOBIG] the command is too long"))
            }
            (None, _) => self.output.untagged("BAD the command is too long"),
        }
        self.count_failure().await
    }

    /// Ends the session.
    pub async fn end(&mut self) {
        self.leave();
        self.output.close().await;
    }

    /// Does one command.
    pub async fn command(&mut self, frame: Vec<u8>) -> io::Result<Next> {
        let utf8 = self.output.utf8;
        let parsed = parse(&frame, utf8);
        if let Ok(Command { tag, body: Body::Store(store) }) = parsed {
            return match self.selected.is_some() {
                true => self.store(tag, store).await,
                false => self.answer(&tag, Done::Bad("select a mailbox first".into()), false).await,
            };
        }
        if self.settle().await? == Next::Close {
            return Ok(Next::Close);
        }
        match parsed {
            Ok(Command { tag, body }) => self.act(tag, body).await,
            Err(refused) => {
                match refused.tag {
                    Some(tag) => self.output.line(format_args!("{tag} BAD {}", refused.why)),
                    None => self.output.untagged(format_args!("BAD {}", refused.why)),
                }
                self.count_failure().await
            }
        }
    }

    /// Takes a line of an exchange.
    pub async fn line(&mut self, line: Vec<u8>) -> io::Result<Next> {
        if let Some(tag) = self.idling.take() {
            let done = match line.eq_ignore_ascii_case(b"DONE") {
                true => Done::Ok("IDLE is over".into()),
                false => Done::Bad("DONE was expected".into()),
            };
            return self.answer(&tag, done, true).await;
        }
        match self.exchange.take() {
            Some((tag, exchange)) => match self.go_on(&tag, exchange, &line).await? {
                Some(done) => self.answer(&tag, done, false).await,
                None => Ok(Next::Go),
            },
            None => Ok(Next::Go),
        }
    }

    async fn act(&mut self, tag: String, body: Body<'_>) -> io::Result<Next> {
        self.tag.clone_from(&tag);
        // EXPUNGE may not be told while a command with sequence numbers is under way (RFC 3501 7.4.1).
        let by_number = match &body {
            Body::Fetch(fetch) => !fetch.uid,
            Body::Search(search) => !search.uid,
            _ => false,
        };
        let done = match body {
            Body::Capability => {
                let capability = self.capability();
                self.output.untagged(format_args!("CAPABILITY {capability}"));
                Done::Ok("that is all".into())
            }
            Body::Noop => {
                self.look_for_pushes().await;
                Done::Ok("done".into())
            }
            Body::Id(_) => {
                self.output.untagged(concat!(
                    r#"ID ("name" "nymote" "version" ""#,
                    env!("CARGO_PKG_VERSION"),
                    r#"")"#
                ));
                Done::Ok("done".into())
            }
            Body::Logout => {
                self.output.untagged("BYE see you");
                self.output.line(format_args!("{tag} OK logged out"));
                self.output.send().await?;
                return Ok(Next::Close);
            }
            Body::StartTls if self.secure => Done::Bad("TLS is there already".into()),
            Body::StartTls if self.user.is_some() => Done::Bad("STARTTLS comes before the login".into()),
            Body::StartTls => {
                self.output.line(format_args!("{tag} OK begin TLS"));
                self.output.send().await?;
                return Ok(Next::StartTls);
            }
            body if self.user.is_none() => match self.before_login(&tag, body).await? {
                Some(done) => done,
                None => return Ok(Next::Go),
            },
            Body::Login { .. } | Body::Authenticate { .. } => Done::Bad("you are logged in already".into()),
            Body::Idle => {
                self.tell_changes(true).await?;
                self.idling = Some(tag);
                self.output.line("+ idling");
                self.output.send().await?;
                return Ok(Next::Go);
            }
            Body::Compress(algorithm) if algorithm == "DEFLATE" && !self.compressed => {
                self.output.line(format_args!("{tag} OK compressing"));
                self.output.send().await?;
                self.compressed = true;
                return Ok(Next::Compress);
            }
            Body::Compress(_) if self.compressed => {
                Done::No("[COMPRESSIONACTIVE] compressing already".into())
            }
            Body::Compress(_) => Done::No("only DEFLATE is known".into()),
            body => self.after_login(body).await?,
        };
        self.answer(&tag, done, !by_number).await
    }

    async fn after_login(&mut self, body: Body<'_>) -> Answer {
        match body {
            Body::Enable(names) => Ok(self.enable(&names)),
            Body::Namespace => {
                self.output.untagged(r#"NAMESPACE (("" "/")) NIL NIL"#);
                Ok(Done::Ok("done".into()))
            }
            Body::Select { mailbox, read_only, condstore, qresync } => {
                self.select(&mailbox, read_only, condstore, qresync).await
            }
            Body::Create { mailbox, special_use } => self.create(mailbox, special_use).await,
            Body::Delete(mailbox) => self.delete(mailbox).await,
            Body::Rename(from, to) => self.rename(from, to).await,
            Body::Subscribe(mailbox) => self.subscribe(mailbox, true).await,
            Body::Unsubscribe(mailbox) => self.subscribe(mailbox, false).await,
            Body::List(list) => self.list(list),
            Body::Status(mailbox, items) => self.status(&mailbox, &items),
            Body::Append(mailbox, messages) => self.append(&mailbox, messages).await,
            Body::GetQuota(root) => Ok(self.quota(&root)),
            Body::GetQuotaRoot(mailbox) => Ok(self.quota_root(&mailbox)),
            Body::SetQuota(_) => Ok(Done::No("[NOPERM] quotas are set by the owner of the server".into())),
            body if self.selected.is_none() => {
                drop(body);
                Ok(Done::Bad("select a mailbox first".into()))
            }
            Body::Check => Ok(Done::Ok("everything is on the disk already".into())),
            Body::Unselect => {
                self.leave();
                Ok(Done::Ok("done".into()))
            }
            body => match self.load() {
                Ok(()) => self.with_rows(body).await,
                Err(error) => Ok(refused(&error)),
            },
        }
    }

    /// Commands on the messages of the open mailbox.
    async fn with_rows(&mut self, body: Body<'_>) -> Answer {
        match body {
            Body::Close => self.close().await,
            Body::Expunge(uids) => self.expunge(uids).await,
            Body::Search(search) => self.search(search).await,
            Body::Fetch(fetch) => self.fetch(fetch).await,
            Body::Copy { uid, set, mailbox } => self.copy(uid, set, &mailbox).await,
            Body::Move { uid, set, mailbox } => self.move_to(uid, set, &mailbox).await,
            _ => Ok(Done::Bad("not now".into())),
        }
    }

    /// Tells what has changed, then the tagged response.
    async fn answer(&mut self, tag: &str, done: Done, may_expunge: bool) -> io::Result<Next> {
        if self.selected.is_some() && self.tell_changes(may_expunge).await.is_err() {
            return self.bye("the mailbox was deleted").await;
        }
        match done {
            Done::Ok(text) => self.output.line(format_args!("{tag} OK {text}")),
            Done::No(text) => self.output.line(format_args!("{tag} NO {text}")),
            Done::Bad(text) => {
                self.output.line(format_args!("{tag} BAD {text}"));
                return self.count_failure().await;
            }
        }
        self.failures = 0;
        self.output.relieve().await?;
        Ok(Next::Go)
    }

    async fn count_failure(&mut self) -> io::Result<Next> {
        self.failures += 1;
        if self.failures > limits::IMAP_FAILURES_MAX {
            return self.bye("too many commands that make no sense").await;
        }
        Ok(Next::Go)
    }

    async fn bye(&mut self, why: &str) -> io::Result<Next> {
        self.output.untagged(format_args!("BYE {why}"));
        self.output.send().await?;
        Ok(Next::Close)
    }

    fn capability(&self) -> String {
        match self.user {
            Some(_) => capability::after_login(self.compressed),
            None => capability::before_login(self.may_send_password(), !self.secure),
        }
    }

    fn may_send_password(&self) -> bool {
        self.secure || self.context.plaintext_login
    }

    fn enable(&mut self, names: &[String]) -> Done {
        let mut enabled = Vec::new();
        for name in names {
            match name.as_str() {
                "CONDSTORE" => self.enabled.condstore = true,
                "QRESYNC" => (self.enabled.condstore, self.enabled.qresync) = (true, true),
                "IMAP4REV2" => (self.enabled.rev2, self.output.utf8) = (true, true),
                "UTF8=ACCEPT" => self.output.utf8 = true,
                _ => continue,
            }
            enabled.push(if name == "IMAP4REV2" { "IMAP4rev2" } else { name.as_str() });
        }
        let enabled = enabled.join(" ");
        let space = if enabled.is_empty() { "" } else { " " };
        self.output.untagged(format_args!("ENABLED{space}{enabled}"));
        Done::Ok("done".into())
    }

    fn account(&self) -> io::Result<Arc<Account>> {
        self.user
            .as_ref()
            .map(|user| user.account.clone())
            .ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    fn selected(&mut self) -> io::Result<&mut Selected> {
        self.selected.as_mut().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The sequence numbers of a set as the client knows them, as sorted ranges.
    fn numbers_of(&mut self, uid: bool, set: &SetOrSaved) -> io::Result<Vec<(u32, u32)>> {
        let selected = self.selected()?;
        let rows = &selected.rows;
        Ok(match set {
            SetOrSaved::Saved => {
                let numbers =
                    selected.saved.iter().filter_map(|uid| rows.find(*uid)).map(|(number, _)| number);
                Set::from_sorted(numbers).ranges().to_vec()
            }
            SetOrSaved::Set(set) if uid => {
                let largest = rows.at(rows.len()).map_or(0, |row| row.uid);
                let numbers = |(low, high): (u32, u32)| {
                    (rows.first_from(low), rows.first_from(high.saturating_add(1)).saturating_sub(1))
                };
                set.resolve(largest).into_iter().map(numbers).filter(|(low, high)| low <= high).collect()
            }
            SetOrSaved::Set(set) => set.resolve(rows.len()),
        })
    }

    /// The UIDs of a set as the client numbers it, in order.
    fn uids_of(&mut self, uid: bool, set: &SetOrSaved) -> io::Result<Vec<u32>> {
        let ranges = self.numbers_of(uid, set)?;
        let rows = &self.selected()?.rows;
        Ok(rows.in_ranges(&ranges).map(|(_, row)| row.uid).collect())
    }
}

/// The response to what a mailbox refused.
pub(super) fn refused(error: &MailboxError) -> Done {
    let code = match error {
        MailboxError::NoSuchMailbox(_) => "[NONEXISTENT] ",
        MailboxError::Exists(_) => "[ALREADYEXISTS] ",
        MailboxError::BadName(_) | MailboxError::Inbox => "[CANNOT] ",
        MailboxError::OverQuota { .. } => "[OVERQUOTA] ",
        // RFC 5530 3 has no code for a full disk; clients know this one.
        full if full.is_full() => return Done::No("[OVERQUOTA] the disk is full".into()),
        MailboxError::Keywords(_) | MailboxError::TooManyMailboxes | MailboxError::UidsExhausted(_) => {
            "[LIMIT] "
        }
        MailboxError::Store(_) | MailboxError::Stopping => "[UNAVAILABLE] ",
    };
    // An error's text could hold a name with a line end in it only if such a name existed; none does.
    Done::No(format!("{code}{error}"))
}
