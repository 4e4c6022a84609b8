//! Telling the client what others changed (RFC 3501 7.3, 7.4; RFC 7162 3.2.10).

use super::Session;
use crate::imap::grammar::Set;
use crate::mailbox::{Difference, Row};
use std::io;

impl Session {
    /// Tells what is new in the open mailbox. Nothing is told while something is gone and that may not be said. An error
    /// means that the mailbox is no longer there.
    pub(super) async fn tell_changes(&mut self, may_expunge: bool) -> io::Result<()> {
        let (Some(user), Some(selected)) = (&mut self.user, &mut self.selected) else { return Ok(()) };
        user.changes.mark_unchanged();
        let state = user.account.state();
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let named = state.folders.get_key_value(&selected.name).filter(|(_, f)| f.about.id == selected.id);
        // Another may have renamed it; then it stays open under its new name.
        let (name, folder) = named
            .or_else(|| state.folders.iter().find(|(_, f)| f.about.id == selected.id))
            .ok_or_else(gone)?;
        if let Some(known) = &mut selected.unloaded
            && known.folders.values().all(|then| then.about.modseq == folder.about.modseq)
        {
            if *name != selected.name {
                selected.name.clone_from(name);
            }
            return Ok(());
        }
        selected.name.clone_from(name);
        let new = user.account.rows_at(&state, name).map_err(io::Error::other)?;
        self.load().map_err(io::Error::other)?;
        let selected = self.selected()?;
        let differences = selected.rows.differences(&new);
        let is_gone = |d: &Difference| matches!(d, Difference::Gone(_));
        if differences.iter().any(is_gone) && !may_expunge {
            return Ok(());
        }
        self.tell_keywords();
        self.tell_gone(&differences)?;
        let selected = self.selected()?;
        selected.rows = new.clone();
        selected.saved.retain(|uid| new.find(*uid).is_some());
        if differences.iter().any(|d| matches!(d, Difference::Came(_))) {
            let recent = new.len() + 1 - new.first_from(selected.recent_from);
            self.output.untagged(format_args!("{} EXISTS", new.len()));
            if !self.enabled.rev2 {
                self.output.untagged(format_args!("{recent} RECENT"));
            }
        }
        for difference in &differences {
            if let Difference::Changed(row) = difference
                && let Some((number, _)) = new.find(row.uid)
            {
                self.tell_row(number, row, self.enabled.qresync);
                self.output.relieve().await?;
            }
        }
        Ok(())
    }

    /// Tells the flags when there are keywords that the client has not heard of; before any message shows one.
    pub(super) fn tell_keywords(&mut self) {
        let (Some(user), Some(selected)) = (&self.user, &mut self.selected) else { return };
        let state = user.account.state();
        let names = state.keywords.names();
        if names.len() > selected.keywords_told {
            selected.keywords_told = names.len();
            let read_only = selected.read_only;
            self.tell_flags(names, read_only);
        }
    }

    fn tell_gone(&mut self, differences: &[Difference]) -> io::Result<()> {
        let gone = differences
            .iter()
            .filter_map(|d| if let Difference::Gone(row) = d { Some(row.uid) } else { None });
        if self.enabled.qresync {
            let gone = Set::from_sorted(gone);
            self.tell_vanished(&gone, false);
            return Ok(());
        }
        // From the highest number down, so that each number is still what the client thinks it is.
        let rows = self.selected()?.rows.clone();
        let numbers: Vec<u32> = gone.filter_map(|uid| rows.find(uid)).map(|(number, _)| number).collect();
        for number in numbers.into_iter().rev() {
            self.output.untagged(format_args!("{number} EXPUNGE"));
        }
        Ok(())
    }

    /// `* N FETCH (FLAGS …)`, with the UID and the mod-sequence where the client wants them.
    pub(super) fn tell_row(&mut self, number: u32, row: &Row, with_uid: bool) {
        let Some(user) = &self.user else { return };
        let flags = user.account.state().keywords.text(row.flags);
        let recent = self.recent(row);
        let space = if flags.is_empty() || recent.is_empty() { "" } else { " " };
        let uid = if with_uid { format!("UID {} ", row.uid) } else { String::new() };
        let modseq = if self.enabled.condstore { format!(" MODSEQ ({})", row.modseq) } else { String::new() };
        self.output.untagged(format_args!("{number} FETCH ({uid}FLAGS ({flags}{space}{recent}){modseq})"));
    }

    /// `\Recent`, where the message is that to this session.
    pub(super) fn recent(&self, row: &Row) -> &'static str {
        match &self.selected {
            Some(selected) if row.uid >= selected.recent_from && !self.enabled.rev2 => "\\Recent",
            _ => "",
        }
    }

    /// Takes over what was pushed or merged into the account's branch by others.
    pub(super) async fn look_for_pushes(&mut self) {
        if let Some(user) = &self.user
            && let Err(error) = user.account.refresh().await
        {
            tracing::warn!(account = user.account.name(), %error, "what was pushed cannot be taken over");
        }
    }
}
