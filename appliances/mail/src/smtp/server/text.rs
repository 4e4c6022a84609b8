//! The text of a message, by DATA or BDAT (RFC 3030).

use super::{Session, State, Step};
use crate::message::LineEnds;
use crate::smtp::data::DataDecoder;
use crate::smtp::reply::Reply;

/// A message that comes by BDAT.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Chunks {
    bytes: usize,
    line_ends: LineEnds,
}

impl Session {
    /// Whether the text may come, else the reply that says why not.
    fn text_allowed(&self) -> Result<(), Reply> {
        match &self.envelope {
            None => Err(Reply::new(503, "5.5.1", "MAIL first")),
            Some(e) if e.recipients.is_empty() => Err(Reply::new(554, "5.5.1", "no valid recipients")),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn data(&mut self) {
        if self.chunked.is_some() {
            self.refuse(&Reply::new(503, "5.5.1", "DATA cannot follow BDAT"));
            return;
        }
        match self.text_allowed() {
            Ok(()) => {
                self.reply(354, "", "go ahead, end with <CRLF>.<CRLF>");
                self.state = State::Data { decoder: DataDecoder::default(), bytes: 0 };
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    pub(super) fn data_step(&mut self) -> Option<Step> {
        let State::Data { decoder, bytes } = &mut self.state else { return None };
        if self.input.is_empty() && !decoder.is_ended() {
            return Some(Step::NeedInput);
        }
        let mut text = Vec::with_capacity(self.input.len());
        let (used, done) = decoder.decode(&self.input, &mut text);
        self.input.drain(..used);
        *bytes = bytes.saturating_add(text.len());
        let (bytes, bare_cr) = (*bytes, decoder.has_bare_cr());
        let max = self.settings.message_bytes_max;
        if done && bytes <= max && !bare_cr && !text.is_empty() {
            // The last piece first; the next step finds the decoder at its end.
            return Some(Step::Body(text));
        }
        if !done {
            let keep = bytes <= max && !bare_cr && !text.is_empty();
            return keep.then_some(Step::Body(text));
        }
        self.finish_text(bytes, bare_cr)
    }

    pub(super) fn bdat(&mut self, size: u64, last: bool) {
        // The bytes follow whatever we think of them (RFC 3030 2): a refused chunk is read and forgotten.
        match self.text_allowed() {
            Ok(()) => {
                self.chunked.get_or_insert_default();
            }
            Err(reply) => {
                self.reset();
                self.refuse(&reply);
            }
        }
        if !matches!(self.state, State::Closed) {
            self.state = State::Bdat { remaining: size, last };
        }
    }

    pub(super) fn bdat_step(&mut self) -> Option<Step> {
        let State::Bdat { remaining, last } = &mut self.state else { return None };
        if *remaining > 0 {
            if self.input.is_empty() {
                return Some(Step::NeedInput);
            }
            let take = usize::try_from(*remaining).unwrap_or(usize::MAX).min(self.input.len());
            *remaining -= take as u64;
            let text = self.chunked.as_mut().map(|chunks| chunks.add(&self.input[..take]));
            self.input.drain(..take);
            let (text, chunks) = (text?, self.chunked?);
            let keep = chunks.bytes <= self.settings.message_bytes_max && !chunks.line_ends.had_bare_cr();
            return keep.then_some(Step::Body(text));
        }
        let last = *last;
        self.state = State::Command;
        // No chunks: refused before, the reply was given.
        let chunks = self.chunked?;
        if last {
            return self.finish_text(chunks.bytes, chunks.line_ends.has_bare_cr());
        }
        if chunks.bytes > self.settings.message_bytes_max {
            self.reset();
            self.refuse(&too_big(self.settings.message_bytes_max));
            return Some(Step::Abandon);
        }
        self.reply(250, "2.0.0", &format!("{} bytes so far", chunks.bytes));
        None
    }

    fn finish_text(&mut self, bytes: usize, bare_cr: bool) -> Option<Step> {
        let reply = if bytes > self.settings.message_bytes_max {
            too_big(self.settings.message_bytes_max)
        } else if bare_cr {
            Reply::new(
                550,
                "5.6.11",
                "a CR stands alone in the message; lines end with CRLF (RFC 5321 2.3.8)",
            )
        } else {
            self.state = State::AskedMessage;
            return Some(Step::Message);
        };
        self.state = State::Command;
        self.reset();
        self.refuse(&reply);
        Some(Step::Abandon)
    }
}

impl Chunks {
    /// The next piece as it is kept.
    fn add(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(piece.len());
        self.line_ends.add(piece, &mut text);
        self.bytes = self.bytes.saturating_add(text.len());
        text
    }
}

pub(super) fn too_big(max: usize) -> Reply {
    Reply::new(552, "5.3.4", format!("the message is larger than {max} bytes"))
}
