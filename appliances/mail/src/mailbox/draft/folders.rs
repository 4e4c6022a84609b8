//! Mailboxes that are made, renamed, deleted and subscribed to.

use super::{Dirty, Draft};
use crate::limits;
use crate::mailbox::error::MailboxError;
use crate::mailbox::layout::About;
use crate::mailbox::rows::Rows;
use crate::mailbox::state::Folder;
use crate::mailbox::{heads, load, name, table, texts};

impl Draft<'_> {
    /// Makes a mailbox, and the ones above it that are not there.
    pub fn create(&mut self, mailbox: &str, special_use: &str) -> Result<(), MailboxError> {
        let mailbox = name::check(mailbox)?;
        if self.state.folders.contains_key(&mailbox) {
            return Err(MailboxError::Exists(mailbox));
        }
        let parts: Vec<&str> = mailbox.split(name::SEPARATOR).collect();
        let names: Vec<String> = (1..=parts.len()).map(|n| parts[..n].join("/")).collect();
        let missing: Vec<&String> =
            names.iter().filter(|name| !self.state.folders.contains_key(*name)).collect();
        if self.state.folders.len() + missing.len() > limits::MAILBOXES_MAX {
            return Err(MailboxError::TooManyMailboxes);
        }
        for name in missing {
            let uid_validity = self.next_uid_validity()?;
            let about = About {
                uid_validity,
                uid_next: 1,
                modseq: 1,
                id: format!("F{uid_validity:08x}"),
                special_use: if *name == mailbox { special_use.to_owned() } else { String::new() },
                messages: 0,
                unseen: 0,
                deleted: 0,
                bytes: 0,
            };
            let mut folder = Folder::new(about);
            folder.set_rows(Some(Rows::default()));
            self.renamed.remove(name);
            self.state.folders.insert(name.clone(), folder);
            self.dirty.insert(name.clone(), Dirty::default());
            self.bring_table_up(name)?;
        }
        self.what.push(format!("{mailbox}: made"));
        Ok(())
    }

    /// Deletes a mailbox with its messages; mailboxes below it stay.
    pub fn delete(&mut self, mailbox: &str) -> Result<(), MailboxError> {
        if mailbox == "INBOX" {
            return Err(MailboxError::Inbox);
        }
        let id = self.folder(mailbox)?.about.id.clone();
        for table in [table::name, heads::name, texts::name] {
            self.left.push(table(self.account, &id));
        }
        self.tx.remove(name::directory(mailbox))?;
        self.state.folders.remove(mailbox);
        self.dirty.remove(mailbox);
        self.what.push(format!("{mailbox}: deleted"));
        Ok(())
    }

    /// Renames a mailbox and all below it. INBOX keeps its name and gives its messages away (RFC 3501 6.3.5).
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), MailboxError> {
        let to = name::check(to)?;
        self.folder(from)?;
        if to.starts_with(&format!("{from}/")) && from != "INBOX" {
            return Err(MailboxError::Exists(to));
        }
        if from == "INBOX" {
            let uids: Vec<u32> = self.rows("INBOX")?.iter().map(|row| row.uid).collect();
            self.create(&to, "")?;
            self.move_to("INBOX", &uids, &to)?;
            return Ok(());
        }
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .state
            .folders
            .keys()
            .filter(|name| *name == from || name.starts_with(&below))
            .cloned()
            .collect();
        let target = |name: &String| format!("{to}{}", &name[from.len()..]);
        if let Some(taken) = moved.iter().map(target).find(|name| self.state.folders.contains_key(name)) {
            return Err(MailboxError::Exists(taken));
        }
        self.flush_dirty(&moved)?;
        for name in &moved {
            // The table goes by the mailbox's id; it must stand at a commit that has the new name.
            self.bring_table_up(name)?;
            let id = self.folder(name)?.about.id.clone();
            self.tx.index(table::name(self.account, &id)).bring_up();
        }
        if let Some((parent, _)) = to.rsplit_once(name::SEPARATOR)
            && !self.state.folders.contains_key(parent)
        {
            self.create(parent, "")?;
        }
        for name in &moved {
            self.tx.rename(name::directory(name), name::directory(&target(name)))?;
            if let Some(folder) = self.state.folders.remove(name) {
                self.state.folders.insert(target(name), folder);
            }
            let before = self.renamed.remove(name).unwrap_or_else(|| name.clone());
            self.renamed.insert(target(name), before);
        }
        self.what.push(format!("{from}: renamed to {to}"));
        Ok(())
    }

    /// Subscribes to a name or gives it up. The name need not exist.
    pub fn subscribe(&mut self, mailbox: &str, wanted: bool) -> Result<(), MailboxError> {
        let mailbox = name::check(mailbox)?;
        let changed = match wanted {
            true if self.state.subscriptions.len() >= limits::MAILBOXES_MAX * 2 => {
                return Err(MailboxError::TooManyMailboxes);
            }
            true => self.state.subscriptions.insert(mailbox),
            false => self.state.subscriptions.remove(&mailbox),
        };
        if changed {
            let lines: Vec<&str> = self.state.subscriptions.iter().map(String::as_str).collect();
            self.tx.put(load::SUBSCRIPTIONS, lines.join("\n") + "\n")?;
            self.what.push("subscriptions changed".to_owned());
        }
        Ok(())
    }

    /// Gives every mailbox another UIDVALIDITY: what clients know of its UIDs no longer holds.
    pub fn renew_uids(&mut self) -> Result<(), MailboxError> {
        let names: Vec<String> = self.state.folders.keys().cloned().collect();
        for name in names {
            self.bring_table_up(&name)?;
            let uid_validity = self.next_uid_validity()?;
            self.folder_mut(&name)?.about.uid_validity = uid_validity;
            self.dirty.entry(name).or_default();
        }
        self.what.push("UIDs begin anew: the store is an older copy".into());
        Ok(())
    }

    fn next_uid_validity(&mut self) -> Result<u32, MailboxError> {
        let next = (self.now_s as u32).max(self.state.uid_validity_last + 1);
        self.state.uid_validity_last = next;
        self.tx.put(load::UID_VALIDITY, format!("{next}\n"))?;
        Ok(next)
    }
}
