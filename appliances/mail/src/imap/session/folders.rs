//! Mailboxes made, renamed and deleted, messages put into them, quotas (RFC 3501 6.3, RFC 3502, 6154, 7889, 9208).

use super::flags::{is_unknown, no_such_target, written};
use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{Appended, Set, StatusItem};
use crate::limits;
use crate::mailbox::{Flags, MailboxError, NewMessage};
use std::time::{SystemTime, UNIX_EPOCH};

impl Session {
    pub(super) async fn create(&mut self, mailbox: String, special_use: Vec<String>) -> Answer {
        let special_use = match special_use.as_slice() {
            [] => String::new(),
            [one] => match SPECIAL_USES.iter().find(|known| known.eq_ignore_ascii_case(one)) {
                Some(known) => (*known).to_owned(),
                None => return Ok(Done::No("[USEATTR] that special use is not known".into())),
            },
            _ => return Ok(Done::No("[USEATTR] a mailbox has one special use".into())),
        };
        let account = self.account()?;
        if !special_use.is_empty() && account.state().special(&special_use).is_some() {
            return Ok(Done::No(format!("[USEATTR] there is a mailbox for {special_use} already")));
        }
        let name = mailbox.clone();
        match account.change(move |draft| draft.create(&name, &special_use)).await {
            Ok(()) => {
                let state = account.state();
                let name = mailbox.strip_suffix('/').unwrap_or(&mailbox);
                Ok(Done::Ok(match state.folders.get(name) {
                    Some(folder) => format!("[MAILBOXID ({})] made", folder.about.id),
                    None => "made".into(),
                }))
            }
            Err(error) => Ok(refused(&error)),
        }
    }

    pub(super) async fn delete(&mut self, mailbox: String) -> Answer {
        if self.selected.as_ref().is_some_and(|selected| selected.name == mailbox) {
            self.leave();
        }
        match self.account()?.change(move |draft| draft.delete(&mailbox)).await {
            Ok(()) => Ok(Done::Ok("deleted".into())),
            Err(error) => Ok(refused(&error)),
        }
    }

    pub(super) async fn rename(&mut self, from: String, to: String) -> Answer {
        match self.account()?.change(move |draft| draft.rename(&from, &to)).await {
            // What is open goes along with its name: it is known by its id.
            Ok(()) => Ok(Done::Ok("renamed".into())),
            Err(error) => Ok(refused(&error)),
        }
    }

    pub(super) async fn subscribe(&mut self, mailbox: String, wanted: bool) -> Answer {
        match self.account()?.change(move |draft| draft.subscribe(&mailbox, wanted)).await {
            Ok(()) => Ok(Done::Ok("done".into())),
            Err(error) => Ok(refused(&error)),
        }
    }

    pub(super) fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Answer {
        if items.contains(&StatusItem::HighestModSeq) {
            self.enabled.condstore = true;
        }
        if self.tell_status(mailbox, items)? {
            Ok(Done::Ok("done".into()))
        } else {
            Ok(refused(&MailboxError::NoSuchMailbox(mailbox.to_owned())))
        }
    }

    /// `* STATUS …`; whether there is such a mailbox.
    pub(super) fn tell_status(&mut self, mailbox: &str, items: &[StatusItem]) -> std::io::Result<bool> {
        let account = self.account()?;
        let state = account.state();
        let Some(folder) = state.folders.get(mailbox) else { return Ok(false) };
        let about = &folder.about;
        let mut deleted_bytes = 0;
        if items.contains(&StatusItem::DeletedStorage) && about.deleted > 0 {
            let rows = account.rows_at(&state, mailbox).map_err(std::io::Error::other)?;
            let deleted = rows.iter().filter(|row| row.flags.has(Flags::DELETED));
            deleted_bytes = deleted.map(|row| u64::from(row.size)).sum();
        }
        let facts: Vec<String> = items
            .iter()
            .map(|item| match item {
                StatusItem::Messages => format!("MESSAGES {}", about.messages),
                StatusItem::Recent => format!("RECENT {}", folder.recent()),
                StatusItem::UidNext => format!("UIDNEXT {}", about.uid_next),
                StatusItem::UidValidity => format!("UIDVALIDITY {}", about.uid_validity),
                StatusItem::Unseen => format!("UNSEEN {}", about.unseen),
                StatusItem::Deleted => format!("DELETED {}", about.deleted),
                StatusItem::DeletedStorage => format!("DELETED-STORAGE {deleted_bytes}"),
                StatusItem::Size => format!("SIZE {}", about.bytes),
                StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", about.modseq),
                StatusItem::AppendLimit => format!("APPENDLIMIT {}", limits::MESSAGE_BYTES_MAX),
                StatusItem::MailboxId => format!("MAILBOXID ({})", about.id),
            })
            .collect();
        self.output.bytes().extend_from_slice(b"* STATUS ");
        self.output.mailbox(mailbox);
        self.output.line(format_args!(" ({})", facts.join(" ")));
        Ok(true)
    }

    pub(super) async fn append(&mut self, mailbox: &str, messages: Vec<Appended<'_>>) -> Answer {
        let bytes: usize = messages.iter().map(|message| message.message.len()).sum();
        if bytes > limits::MESSAGE_BYTES_MAX {
            return Ok(Done::No("[TOOBIG] the messages of one APPEND are too big together".into()));
        }
        if messages.iter().any(|message| message.message.is_empty()) {
            // A literal of nothing cancels the APPEND (RFC 3502 6.3.11).
            return Ok(Done::No("an empty message is none; nothing was appended".into()));
        }
        if let Some(unknown) =
            messages.iter().flat_map(|message| &message.flags).find(|flag| is_unknown(flag))
        {
            return Ok(Done::Bad(format!("{unknown} is no flag")));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let one = |appended: Appended<'_>| NewMessage {
            raw: crate::message::with_crlf(appended.message.to_vec()),
            flags: appended.flags,
            date: appended.date.map_or(now, |(seconds, _)| seconds),
        };
        let messages = messages.into_iter().map(one).collect();
        match self.account()?.append(mailbox, messages, self.context.quota_bytes).await {
            Ok(added) => {
                let uids = written(&Set::from_sorted(added.to));
                Ok(Done::Ok(format!("[APPENDUID {} {uids}] appended", added.uid_validity)))
            }
            Err(error) => Ok(no_such_target(&error)),
        }
    }

    pub(super) fn quota(&mut self, root: &str) -> Done {
        if !root.is_empty() {
            return Done::No("[NONEXISTENT] the only quota root is \"\"".into());
        }
        match self.tell_quota() {
            Ok(()) => Done::Ok("done".into()),
            Err(_) => Done::Bad("log in first".into()),
        }
    }

    pub(super) fn quota_root(&mut self, mailbox: &str) -> Done {
        let state = self.account().map(|account| account.state());
        if let Some(error) = state.ok().and_then(|state| state.folder(mailbox).err()) {
            return refused(&error);
        }
        self.output.bytes().extend_from_slice(b"* QUOTAROOT ");
        self.output.mailbox(mailbox);
        self.output.line(" \"\"");
        self.quota("")
    }

    /// Storage in units of 1,024 bytes (RFC 9208 5.1).
    fn tell_quota(&mut self) -> std::io::Result<()> {
        let used = self.account()?.state().bytes().div_ceil(1024);
        match self.context.quota_bytes / 1024 {
            0 => self.output.untagged("QUOTA \"\" ()"),
            limit => self.output.untagged(format_args!("QUOTA \"\" (STORAGE {used} {limit})")),
        }
        Ok(())
    }
}

/// RFC 6154 2.
const SPECIAL_USES: [&str; 7] =
    ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];
