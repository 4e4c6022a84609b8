//! LIST with selection and return options (RFC 3501 6.3.8, 5258 LIST-EXTENDED, 5819 LIST-STATUS, 6154 SPECIAL-USE).

use super::command::StatusItem;
use super::cursor::{Cursor, Parsed};

/// A LIST, or an LSUB as the LIST it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Prefix of the patterns.
    pub reference: String,
    /// Names with `*` and `%`; one unless the client speaks LIST-EXTENDED.
    pub patterns: Vec<String>,
    /// Which mailboxes.
    pub selection: Vec<ListSelection>,
    /// What is told of each.
    pub returns: Vec<ListReturn>,
    /// The client used the extended syntax, so attributes like \NonExistent may be told.
    pub extended: bool,
    /// Said as LSUB: answer with LSUB lines.
    pub lsub: bool,
}

/// Which mailboxes LIST looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSelection {
    /// Only subscribed names, also of mailboxes that are gone.
    Subscribed,
    /// Remote mailboxes too; we have none.
    Remote,
    /// Also parents of which only a child matches.
    RecursiveMatch,
    /// Only those with a special use.
    SpecialUse,
}

/// What LIST tells of each mailbox beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListReturn {
    /// \Subscribed.
    Subscribed,
    /// \HasChildren, \HasNoChildren.
    Children,
    /// \Sent and its like.
    SpecialUse,
    /// A STATUS line for each.
    Status(Vec<StatusItem>),
}

impl Cursor<'_> {
    /// What follows `LIST`.
    pub(super) fn list_command(&mut self) -> Parsed<List> {
        self.space()?;
        let mut extended = false;
        let mut selection = Vec::new();
        if self.peek() == Some(b'(') {
            extended = true;
            selection = self.list(true, Self::list_selection)?;
            self.space()?;
        }
        let only = |s: &ListSelection| matches!(s, ListSelection::RecursiveMatch | ListSelection::Remote);
        if selection.contains(&ListSelection::RecursiveMatch) && selection.iter().all(only) {
            return Err("RECURSIVEMATCH needs another selection option (RFC 5258 3.1)");
        }
        let reference = self.mailbox()?;
        self.space()?;
        let patterns = if self.peek() == Some(b'(') {
            extended = true;
            self.list(false, Self::pattern)?
        } else {
            vec![self.pattern()?]
        };
        let mut returns = Vec::new();
        if self.eat_word(" RETURN ") {
            extended = true;
            returns = self.list(true, Self::list_return)?;
        }
        Ok(List { reference, patterns, selection, returns, extended, lsub: false })
    }

    /// What follows `LSUB`.
    pub(super) fn lsub(&mut self) -> Parsed<List> {
        self.space()?;
        let reference = self.mailbox()?;
        self.space()?;
        let patterns = vec![self.pattern()?];
        let selection = vec![ListSelection::Subscribed, ListSelection::RecursiveMatch];
        Ok(List { reference, patterns, selection, returns: Vec::new(), extended: false, lsub: true })
    }

    /// `list-mailbox`: an atom that may hold `*` and `%`, or a string.
    fn pattern(&mut self) -> Parsed<String> {
        let raw = match self.peek() {
            Some(b'"' | b'{') => self.string()?,
            _ => {
                let wild = |b: u8| super::cursor::is_atom_char(b) || matches!(b, b']' | b'%' | b'*');
                self.take_while(wild).to_vec()
            }
        };
        if raw.is_empty() { Ok(String::new()) } else { self.mailbox_text(raw) }
    }

    fn list_selection(&mut self) -> Parsed<ListSelection> {
        match self.keyword()?.as_str() {
            "SUBSCRIBED" => Ok(ListSelection::Subscribed),
            "REMOTE" => Ok(ListSelection::Remote),
            "RECURSIVEMATCH" => Ok(ListSelection::RecursiveMatch),
            "SPECIAL-USE" => Ok(ListSelection::SpecialUse),
            _ => Err("an unknown LIST selection option"),
        }
    }

    fn list_return(&mut self) -> Parsed<ListReturn> {
        match self.keyword()?.as_str() {
            "SUBSCRIBED" => Ok(ListReturn::Subscribed),
            "CHILDREN" => Ok(ListReturn::Children),
            "SPECIAL-USE" => Ok(ListReturn::SpecialUse),
            "STATUS" => {
                self.space()?;
                self.list(false, Self::status_item).map(ListReturn::Status)
            }
            _ => Err("an unknown LIST return option"),
        }
    }
}
