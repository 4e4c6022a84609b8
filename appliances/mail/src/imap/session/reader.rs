//! Messages one after another as FETCH and SEARCH want to read them: from what is kept of them, or whole.

use crate::imap::render::{Content, Needs};
use crate::mailbox::{Account, Head, Heads, MailboxError, Row, Rows};
use crate::message;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What was read of a message.
pub(super) enum Read {
    /// Nothing was needed.
    Nothing,
    /// Structure, thread and some fields.
    Head(Box<Head>),
    /// All of it; where only the header is needed, perhaps only its beginning.
    Whole(Bytes),
}

/// A row with its number and what was read of it.
type One = Result<(u32, Row, Read), MailboxError>;

/// See the module.
pub(super) struct Reader {
    account: Arc<Account>,
    id: String,
    rows: Rows,
    /// What is still to be read, as ranges of numbers, and how far the first of them is read.
    ranges: VecDeque<(u32, u32)>,
    source: Source,
    /// Heads that had to be computed, to be kept.
    computed: Vec<(Row, Head)>,
    /// Bytes of those.
    computed_bytes: usize,
}

enum Source {
    Rows,
    Heads(Option<Heads>),
    Messages(Needs),
}

impl Read {
    /// A message, or its header where that is all that is needed; nothing where it was forgotten meanwhile. One of `many`
    /// does not stay in memory; one alone does, because clients fetch it in pieces.
    pub fn whole(
        account: &Account,
        row: &Row,
        needs: Needs,
        many: bool,
    ) -> Result<Option<Read>, MailboxError> {
        let read = match needs {
            Needs::WholeHeader => account.read_header(row)?,
            _ if many => account.read_once(row)?,
            _ => account.read(row)?,
        };
        Ok(read.map(Read::Whole))
    }

    /// What a response is written from.
    pub fn content(&self) -> Content<'_> {
        match self {
            Read::Nothing => Content::default(),
            Read::Head(head) => {
                Content { header: Some(&head.header), structure: Some(&head.structure), ..Content::default() }
            }
            Read::Whole(raw) => Content { raw: Some(raw), ..Content::default() },
        }
    }

    /// The message's conversation.
    pub fn thread(&self) -> Option<u64> {
        match self {
            Read::Nothing => None,
            Read::Head(head) => Some(head.thread),
            Read::Whole(raw) => Some(message::thread(&raw[..message::header_end(raw)])),
        }
    }
}

impl Reader {
    /// Reads the rows of these ranges of numbers.
    pub fn new(
        account: &Arc<Account>,
        id: &str,
        rows: Rows,
        ranges: Vec<(u32, u32)>,
        needs: Needs,
    ) -> Reader {
        let source = match needs {
            Needs::Facts => Source::Rows,
            Needs::Cached | Needs::Header => Source::Heads(None),
            Needs::WholeHeader | Needs::Message => Source::Messages(needs),
        };
        let (account, id, ranges) = (account.clone(), id.to_owned(), ranges.into());
        Reader { account, id, rows, ranges, source, computed: Vec::new(), computed_bytes: 0 }
    }

    /// The next message that is there.
    pub fn next(&mut self) -> Option<One> {
        loop {
            let (low, high) = self.ranges.front_mut()?;
            let number = *low;
            *low += 1;
            if *low > *high {
                self.ranges.pop_front();
            }
            let Some(row) = self.rows.at(number).copied() else { continue };
            let read = match &self.source {
                Source::Rows => Ok(Some(Read::Nothing)),
                Source::Heads(_) => self.head(&row).map(|head| head.map(|head| Read::Head(head.into()))),
                Source::Messages(needs) => Read::whole(&self.account, &row, *needs, false),
            };
            match read {
                Ok(Some(read)) => return Some(Ok((number, row, read))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// What is kept of a message, or is computed now.
    pub fn head(&mut self, row: &Row) -> Result<Option<Head>, MailboxError> {
        let kept = match &mut self.source {
            Source::Heads(Some(heads)) => heads.get(row)?,
            source => {
                let mut heads = self.account.heads(&self.id)?;
                let kept = heads.get(row)?;
                *source = Source::Heads(Some(heads));
                kept
            }
        };
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(head) = self.account.read(row)?.map(|raw| Head::of(&raw)) else { return Ok(None) };
        self.computed_bytes += head.header.len() + head.structure.len();
        self.computed.push((*row, head.clone()));
        if self.computed_bytes > COMPUTED_BYTES_MAX {
            self.end()?;
        }
        Ok(Some(head))
    }

    /// Keeps what had to be computed.
    pub fn end(&mut self) -> Result<(), MailboxError> {
        self.computed_bytes = 0;
        match std::mem::take(&mut self.computed) {
            computed if computed.is_empty() => Ok(()),
            computed => self.account.keep_heads(&self.id, &computed),
        }
    }
}

/// Bytes of computed heads that are kept in one flush.
const COMPUTED_BYTES_MAX: usize = 512 << 10;
