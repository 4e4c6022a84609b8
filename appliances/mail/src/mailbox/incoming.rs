//! Messages on their way into a mailbox. What takes time of each (hash, deflate, structure) is done before the account's
//! writer sees it, by whoever brings it and on several threads where there are many; the text is let go then.

use super::error::MailboxError;
use super::heads::Head;
use chassis::aside::begin;
use store::Blob;

/// A message to be put into a mailbox.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its bytes, which are kept as they are.
    pub raw: Vec<u8>,
    /// Flags and keywords as IMAP names them.
    pub flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970.
    pub date: i64,
}

/// A message that the writer has nothing to compute of.
pub struct Incoming {
    pub(super) blob: Blob,
    /// Its head as it is kept, where it is small enough for that.
    pub(super) head: Option<Vec<u8>>,
    pub(super) flags: Vec<String>,
    pub(super) date: i64,
}

impl Incoming {
    /// Computes what is to be computed.
    pub fn new(message: NewMessage) -> Result<Incoming, MailboxError> {
        let blob = Blob::new(&message.raw)?;
        let head = Head::encoded(&message.raw, &blob.id());
        Ok(Incoming { blob, head, flags: message.flags, date: message.date })
    }

    /// The same for many: on other threads where that is worth it, in order.
    pub async fn all(messages: Vec<NewMessage>) -> Result<Vec<Incoming>, MailboxError> {
        let bytes: usize = messages.iter().map(|message| message.raw.len()).sum();
        if bytes <= INLINE_BYTES_MAX {
            return messages.into_iter().map(Incoming::new).collect();
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let share = messages.len().div_ceil(threads);
        let mut messages = messages.into_iter();
        let mut pieces = Vec::with_capacity(threads);
        loop {
            let piece: Vec<NewMessage> = messages.by_ref().take(share).collect();
            if piece.is_empty() {
                break;
            }
            let work = move || piece.into_iter().map(Incoming::new).collect::<Result<Vec<_>, _>>();
            pieces.push(begin(work));
        }
        let mut all = Vec::new();
        for piece in pieces {
            all.append(&mut piece.await.ok_or(MailboxError::Stopping)??);
        }
        Ok(all)
    }
}

/// Up to this size a message takes less than a few milliseconds, and no other thread.
const INLINE_BYTES_MAX: usize = 128 << 10;
/// Threads that one APPEND may keep busy.
const THREADS_MAX: usize = 4;
