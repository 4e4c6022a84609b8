//! Commands: the verb and what follows it.

use super::cursor::{Cursor, Parsed, is_atom_char, text};
use super::fetch::Fetch;
use super::list::List;
use super::search::{Search, month_number};
use super::set::{Set, SetOrSaved};
use crate::message::unix_from_civil;

/// A command with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// What the response is to begin with.
    pub tag: String,
    /// What is wanted.
    pub body: Body<'a>,
}

/// A command that cannot be read: answer `TAG BAD why`, or `* BAD why` where there is no tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The tag, where one could be read.
    pub tag: Option<String>,
    /// What is wrong, in words.
    pub why: &'static str,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// CAPABILITY.
    Capability,
    /// NOOP.
    Noop,
    /// LOGOUT.
    Logout,
    /// ID with what the client says of itself (RFC 2971).
    Id(Vec<(String, Option<String>)>),
    /// STARTTLS.
    StartTls,
    /// LOGIN.
    Login {
        /// The name as sent.
        user: String,
        /// The password as sent.
        password: Vec<u8>,
    },
    /// AUTHENTICATE; `initial` is base64 as sent, `=` for empty (RFC 4959).
    Authenticate {
        /// In upper case.
        mechanism: String,
        /// The initial response.
        initial: Option<Vec<u8>>,
    },
    /// ENABLE with capability names in upper case (RFC 5161).
    Enable(Vec<String>),
    /// NAMESPACE (RFC 2342).
    Namespace,
    /// SELECT and EXAMINE.
    Select {
        /// Which.
        mailbox: String,
        /// EXAMINE: nothing may change.
        read_only: bool,
        /// CONDSTORE was asked for (RFC 7162 3.1.8).
        condstore: bool,
        /// What the client knew (RFC 7162 3.2.5).
        qresync: Option<Qresync>,
    },
    /// CREATE, with special uses like `\Sent` (RFC 6154 3).
    Create {
        /// The new name.
        mailbox: String,
        /// Special uses as written.
        special_use: Vec<String>,
    },
    /// DELETE.
    Delete(String),
    /// RENAME from, to.
    Rename(String, String),
    /// SUBSCRIBE.
    Subscribe(String),
    /// UNSUBSCRIBE.
    Unsubscribe(String),
    /// LIST and LSUB.
    List(List),
    /// STATUS.
    Status(String, Vec<StatusItem>),
    /// APPEND of one message or several (RFC 3502 MULTIAPPEND).
    Append(String, Vec<Appended<'a>>),
    /// IDLE.
    Idle,
    /// GETQUOTA of a root (RFC 9208).
    GetQuota(String),
    /// GETQUOTAROOT of a mailbox.
    GetQuotaRoot(String),
    /// SETQUOTA: only the owner may, by other means.
    SetQuota(String),
    /// COMPRESS with its algorithm in upper case (RFC 4978).
    Compress(String),
    /// CHECK.
    Check,
    /// CLOSE.
    Close,
    /// UNSELECT (RFC 3691).
    Unselect,
    /// EXPUNGE, or UID EXPUNGE of these (RFC 4315).
    Expunge(Option<SetOrSaved>),
    /// SEARCH and UID SEARCH.
    Search(Search),
    /// FETCH and UID FETCH.
    Fetch(Fetch),
    /// STORE and UID STORE.
    Store(Store),
    /// COPY and UID COPY.
    Copy {
        /// Numbers are UIDs.
        uid: bool,
        /// Which messages.
        set: SetOrSaved,
        /// To where.
        mailbox: String,
    },
    /// MOVE and UID MOVE (RFC 6851).
    Move {
        /// Numbers are UIDs.
        uid: bool,
        /// Which messages.
        set: SetOrSaved,
        /// To where.
        mailbox: String,
    },
}

/// What a client knew of a mailbox when it last looked (RFC 7162 3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    /// UIDVALIDITY then.
    pub uid_validity: u32,
    /// HIGHESTMODSEQ then.
    pub modseq: u64,
    /// UIDs it knows; nothing means all.
    pub known_uids: Option<Set>,
    /// Some sequence numbers and their UIDs, pair by pair.
    pub samples: Option<(Set, Set)>,
}

/// What STATUS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// MESSAGES.
    Messages,
    /// RECENT.
    Recent,
    /// UIDNEXT.
    UidNext,
    /// UIDVALIDITY.
    UidValidity,
    /// UNSEEN.
    Unseen,
    /// DELETED (RFC 9051).
    Deleted,
    /// DELETED-STORAGE (RFC 9208).
    DeletedStorage,
    /// SIZE (RFC 8438).
    Size,
    /// HIGHESTMODSEQ (RFC 7162).
    HighestModSeq,
    /// APPENDLIMIT (RFC 7889).
    AppendLimit,
    /// MAILBOXID (RFC 8474).
    MailboxId,
}

/// One message of an APPEND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended<'a> {
    /// Flags and keywords as written.
    pub flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970 and the zone in minutes, where said.
    pub date: Option<(i64, i32)>,
    /// The message.
    pub message: &'a [u8],
}

/// What STORE does with flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagsAction {
    /// FLAGS.
    Replace,
    /// +FLAGS.
    Add,
    /// -FLAGS.
    Remove,
}

/// A STORE or UID STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Numbers are UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SetOrSaved,
    /// Only messages unchanged after this mod-sequence (RFC 7162 3.1.3).
    pub unchanged_since: Option<u64>,
    /// Add, remove or replace.
    pub action: FlagsAction,
    /// `.SILENT`.
    pub silent: bool,
    /// Flags and keywords as written.
    pub flags: Vec<String>,
}

/// Reads a command that `Framer` gave out. `utf8`: mailbox names are UTF-8 in this session.
pub fn parse(frame: &[u8], utf8: bool) -> Result<Command<'_>, Refused> {
    let mut cursor = Cursor::new(frame, utf8);
    let tag = cursor.take_while(|b| is_atom_char(b) && b != b'+' && b.is_ascii());
    if tag.is_empty() || tag.len() > TAG_LENGTH_MAX {
        return Err(Refused { tag: None, why: "a command begins with a tag" });
    }
    let tag = text(tag);
    let body = cursor.space().and_then(|()| cursor.body()).and_then(|body| cursor.end().map(|()| body));
    body.map(|body| Command { tag: tag.clone(), body }).map_err(|why| Refused { tag: Some(tag), why })
}

impl<'a> Cursor<'a> {
    fn body(&mut self) -> Parsed<Body<'a>> {
        let verb = self.keyword().map_err(|_| "a command is missing")?;
        Ok(match verb.as_str() {
            "CAPABILITY" => Body::Capability,
            "NOOP" => Body::Noop,
            "LOGOUT" => Body::Logout,
            "STARTTLS" => Body::StartTls,
            "NAMESPACE" => Body::Namespace,
            "IDLE" => Body::Idle,
            "CHECK" => Body::Check,
            "CLOSE" => Body::Close,
            "UNSELECT" => Body::Unselect,
            "EXPUNGE" => Body::Expunge(None),
            "ID" => self.id()?,
            "LOGIN" => self.login()?,
            "AUTHENTICATE" => self.authenticate()?,
            "ENABLE" => self.enable()?,
            "SELECT" => self.select(false)?,
            "EXAMINE" => self.select(true)?,
            "CREATE" => self.create()?,
            "DELETE" => Body::Delete(self.space_mailbox()?),
            "RENAME" => Body::Rename(self.space_mailbox()?, self.space_mailbox()?),
            "SUBSCRIBE" => Body::Subscribe(self.space_mailbox()?),
            "UNSUBSCRIBE" => Body::Unsubscribe(self.space_mailbox()?),
            "LIST" => Body::List(self.list_command()?),
            "LSUB" => Body::List(self.lsub()?),
            "STATUS" => {
                let mailbox = self.space_mailbox()?;
                self.space()?;
                Body::Status(mailbox, self.list(false, Self::status_item)?)
            }
            "APPEND" => self.append()?,
            "GETQUOTA" => Body::GetQuota(self.space_text()?),
            "GETQUOTAROOT" => Body::GetQuotaRoot(self.space_mailbox()?),
            "SETQUOTA" => {
                let root = self.space_text()?;
                self.space()?;
                self.list(true, |c| c.astring())?;
                Body::SetQuota(root)
            }
            "COMPRESS" => {
                self.space()?;
                Body::Compress(self.keyword()?)
            }
            "UID" => {
                self.space()?;
                let verb = self.keyword()?;
                self.numbered(&verb, true)?
            }
            verb => self.numbered(verb, false)?,
        })
    }

    /// Commands that exist with sequence numbers and with UIDs.
    fn numbered(&mut self, verb: &str, uid: bool) -> Parsed<Body<'a>> {
        match verb {
            "FETCH" => self.fetch(uid).map(Body::Fetch),
            "SEARCH" => self.search(uid).map(Body::Search),
            "STORE" => self.store(uid).map(Body::Store),
            "COPY" | "MOVE" => {
                self.space()?;
                let set = self.set_or_saved()?;
                let mailbox = self.space_mailbox()?;
                Ok(if verb == "COPY" {
                    Body::Copy { uid, set, mailbox }
                } else {
                    Body::Move { uid, set, mailbox }
                })
            }
            "EXPUNGE" => {
                self.space()?;
                self.set_or_saved().map(|set| Body::Expunge(Some(set)))
            }
            _ => Err("an unknown command"),
        }
    }

    fn space_mailbox(&mut self) -> Parsed<String> {
        self.space()?;
        self.mailbox()
    }

    fn space_text(&mut self) -> Parsed<String> {
        self.space()?;
        self.astring_text()
    }

    fn id(&mut self) -> Parsed<Body<'a>> {
        self.space()?;
        if self.eat_word("NIL") {
            return Ok(Body::Id(Vec::new()));
        }
        let pairs = self.list(true, |c| {
            let name = text(&c.string()?);
            c.space()?;
            Ok((name, c.nstring()?.map(|v| text(&v))))
        })?;
        // RFC 2971 3.3 bounds the list.
        if pairs.len() > 30 { Err("ID has more than 30 fields") } else { Ok(Body::Id(pairs)) }
    }

    fn login(&mut self) -> Parsed<Body<'a>> {
        let user = self.space_text()?;
        self.space()?;
        Ok(Body::Login { user, password: self.astring()? })
    }

    fn authenticate(&mut self) -> Parsed<Body<'a>> {
        self.space()?;
        let mechanism = self.keyword()?;
        let initial = if self.eat(b' ') { Some(self.take_while(|b| b > b' ').to_vec()) } else { None };
        Ok(Body::Authenticate { mechanism, initial })
    }

    fn enable(&mut self) -> Parsed<Body<'a>> {
        let mut names = Vec::new();
        while self.eat(b' ') {
            names.push(self.keyword()?);
        }
        if names.is_empty() { Err("ENABLE names nothing") } else { Ok(Body::Enable(names)) }
    }

    fn select(&mut self, read_only: bool) -> Parsed<Body<'a>> {
        let mailbox = self.space_mailbox()?;
        let (mut condstore, mut qresync) = (false, None);
        if self.eat(b' ') {
            self.list(false, |c| {
                match c.keyword()?.as_str() {
                    "CONDSTORE" => condstore = true,
                    "QRESYNC" => {
                        c.space()?;
                        qresync = Some(c.qresync()?);
                    }
                    _ => return Err("an unknown SELECT parameter"),
                }
                Ok(())
            })?;
        }
        Ok(Body::Select { mailbox, read_only, condstore, qresync })
    }

    /// `(uidvalidity modseq [known-uids] [(seq-set uid-set)])`.
    fn qresync(&mut self) -> Parsed<Qresync> {
        self.expect(b'(', "QRESYNC has no parameters")?;
        let uid_validity = self.nz_number()?;
        self.space()?;
        let modseq = self.number64()?;
        let (mut known_uids, mut samples) = (None, None);
        if self.eat(b' ') && self.peek() != Some(b'(') {
            known_uids = Some(self.set()?);
            self.eat(b' ');
        }
        if self.eat(b'(') {
            let numbers = self.set()?;
            self.space()?;
            samples = Some((numbers, self.set()?));
            self.expect(b')', "QRESYNC's samples do not end")?;
        }
        self.expect(b')', "QRESYNC's parameters do not end")?;
        Ok(Qresync { uid_validity, modseq, known_uids, samples })
    }

    fn create(&mut self) -> Parsed<Body<'a>> {
        let mailbox = self.space_mailbox()?;
        let mut special_use = Vec::new();
        if self.eat_word(" (USE ") {
            special_use = self.list(true, Self::flag)?;
            self.expect(b')', "CREATE's parameters do not end")?;
        }
        Ok(Body::Create { mailbox, special_use })
    }

    pub(super) fn status_item(&mut self) -> Parsed<StatusItem> {
        Ok(match self.keyword()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "DELETED-STORAGE" => StatusItem::DeletedStorage,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            "APPENDLIMIT" => StatusItem::AppendLimit,
            "MAILBOXID" => StatusItem::MailboxId,
            _ => return Err("an unknown STATUS item"),
        })
    }

    fn append(&mut self) -> Parsed<Body<'a>> {
        let mailbox = self.space_mailbox()?;
        let mut messages = Vec::new();
        while self.eat(b' ') {
            if messages.len() >= APPENDED_MAX {
                return Err("too many messages in one APPEND");
            }
            messages.push(self.appended()?);
        }
        if messages.is_empty() { Err("APPEND has no message") } else { Ok(Body::Append(mailbox, messages)) }
    }

    fn appended(&mut self) -> Parsed<Appended<'a>> {
        let mut flags = Vec::new();
        if self.peek() == Some(b'(') {
            flags = self.list(true, Self::flag)?;
            self.space()?;
        }
        let mut date = None;
        if self.peek() == Some(b'"') {
            date = Some(self.date_time()?);
            self.space()?;
        }
        let wrapped = self.eat_word("UTF8 (");
        let (message, _) = self.literal()?;
        if wrapped {
            self.expect(b')', "a UTF8 message does not end (RFC 6855 4)")?;
        }
        Ok(Appended { flags, date, message })
    }

    /// `"17-Jul-1996 02:44:25 -0700"` (RFC 3501 9 `date-time`).
    fn date_time(&mut self) -> Parsed<(i64, i32)> {
        let raw = self.string()?;
        date_time(&raw).ok_or("a date is not like \"17-Jul-1996 02:44:25 -0700\"")
    }

    fn store(&mut self, uid: bool) -> Parsed<Store> {
        self.space()?;
        let set = self.set_or_saved()?;
        self.space()?;
        let mut unchanged_since = None;
        if self.eat_word("(UNCHANGEDSINCE ") {
            unchanged_since = Some(self.number64()?);
            self.expect(b')', "STORE's modifier does not end")?;
            self.space()?;
        }
        let action = match self.peek() {
            Some(b'+') => FlagsAction::Add,
            Some(b'-') => FlagsAction::Remove,
            _ => FlagsAction::Replace,
        };
        if action != FlagsAction::Replace {
            let _ = self.eat(b'+') || self.eat(b'-');
        }
        if !self.eat_word("FLAGS") {
            return Err("STORE knows FLAGS, +FLAGS and -FLAGS");
        }
        let silent = self.eat_word(".SILENT");
        self.space()?;
        let flags = if self.peek() == Some(b'(') {
            self.list(true, Self::flag)?
        } else {
            let mut flags = vec![self.flag()?];
            while self.eat(b' ') {
                flags.push(self.flag()?);
            }
            flags
        };
        Ok(Store { uid, set, unchanged_since, action, silent, flags })
    }
}

fn date_time(raw: &[u8]) -> Option<(i64, i32)> {
    let raw = std::str::from_utf8(raw).ok()?.trim_start();
    let mut words = raw.split(' ');
    let (date, time, zone, None) = (words.next()?, words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let mut date = date.split('-');
    let (day, month, year) =
        (date.next()?.parse::<u8>().ok()?, date.next()?, date.next()?.parse::<i32>().ok()?);
    let month = month_number(month.as_bytes())?;
    let mut time = time.split(':').map(|n| n.parse::<u32>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let (sign, digits) = match zone.as_bytes() {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let digits: u32 = std::str::from_utf8(digits).ok().filter(|d| d.len() == 4)?.parse().ok()?;
    let minutes = sign * (digits / 100 * 60 + digits % 100) as i32;
    let valid = (1..=31).contains(&day)
        && year <= 9999
        && hour < 24
        && minute < 60
        && second <= 60
        && minutes.abs() < 1440;
    if !valid {
        return None;
    }
    let local = unix_from_civil(i64::from(year), u32::from(month), u32::from(day), hour, minute, second);
    Some((local - i64::from(minutes) * 60, minutes))
}

const TAG_LENGTH_MAX: usize = 100;
/// Messages in one MULTIAPPEND; their bytes are bounded one by one by the framer and in sum by the session.
const APPENDED_MAX: usize = 1_000;
