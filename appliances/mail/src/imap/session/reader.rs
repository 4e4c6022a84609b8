//! Messages one after another as FETCH and SEARCH want to read them: from what is kept of them, or whole. Whole ones are
//! read ahead by another thread, while those before are on their way to the client; memory is bounded by a piece of
//! them, or by one message.

use crate::imap::render::{Content, Needs};
use crate::mailbox::{Account, Head, Heads, MailboxError, Row, Rows};
use crate::message;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

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
    Ahead(mpsc::Receiver<Vec<One>>, std::vec::IntoIter<One>),
}

impl Read {
    /// Nothing where the message was forgotten meanwhile.
    fn whole(account: &Account, row: &Row, needs: Needs) -> Result<Option<Read>, MailboxError> {
        let read = match needs {
            Needs::WholeHeader => account.read_header(row)?,
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
        let many = ranges.iter().map(|(low, high)| high - low + 1).sum::<u32>() > FEW;
        let source = match needs {
            Needs::Facts => Source::Rows,
            Needs::Cached | Needs::Header => Source::Heads(None),
            Needs::WholeHeader | Needs::Message if many => {
                let (sender, receiver) = mpsc::channel(1);
                let (account, rows, ranges) = (account.clone(), rows.clone(), ranges.clone());
                tokio::task::spawn_blocking(move || read_ahead(&account, &rows, &ranges, needs, &sender));
                Source::Ahead(receiver, Vec::new().into_iter())
            }
            Needs::WholeHeader | Needs::Message => Source::Messages(needs),
        };
        let (account, id, ranges) = (account.clone(), id.to_owned(), ranges.into());
        Reader { account, id, rows, ranges, source, computed: Vec::new(), computed_bytes: 0 }
    }

    /// The next message that is there.
    pub async fn next(&mut self) -> Option<One> {
        if let Source::Ahead(receiver, piece) = &mut self.source {
            loop {
                match piece.next() {
                    Some(one) => return Some(one),
                    None => *piece = receiver.recv().await?.into_iter(),
                }
            }
        }
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
                Source::Messages(needs) => Read::whole(&self.account, &row, *needs),
                Source::Ahead(..) => Ok(None),
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

fn read_ahead(
    account: &Account,
    rows: &Rows,
    ranges: &[(u32, u32)],
    needs: Needs,
    to: &mpsc::Sender<Vec<One>>,
) {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for (number, row) in rows.in_ranges(ranges) {
        let one = match Read::whole(account, row, needs) {
            Ok(Some(read)) => {
                if let Read::Whole(raw) = &read {
                    bytes += raw.len();
                }
                Ok((number, *row, read))
            }
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        let failed = one.is_err();
        piece.push(one);
        if failed || bytes >= AHEAD_BYTES {
            bytes = 0;
            // Nobody listens any more, or nothing more can be read.
            if to.blocking_send(std::mem::take(&mut piece)).is_err() || failed {
                return;
            }
        }
    }
    let _ = to.blocking_send(piece);
}

/// Messages that are read one by one, without another thread.
const FEW: u32 = 4;
/// Bytes of messages that go from one thread to the other at a time; three such pieces are in memory at the most.
const AHEAD_BYTES: usize = 256 << 10;
/// Bytes of computed heads that are kept in one flush.
const COMPUTED_BYTES_MAX: usize = 512 << 10;
