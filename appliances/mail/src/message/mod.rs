//! A message as bytes: where its header ends, where its parts lie, what its addresses and parameters say.
//!
//! The raw bytes are the truth and are never changed; everything here is a view with offsets into them (RFC 5322,
//! 2045 to 2047, 2231). Line ends are CRLF; a bare LF is understood, because mail that came by git or Maildir has it.
//! Every reader is bounded: depth, number of parts and fields come from `limits`.

mod address;
mod date;
mod encoded;
mod envelope;
mod header;
mod line_ends;
mod mime;
mod sevenbit;
mod structure;
mod text;
mod thread;

pub use address::{Address, Entry, addresses};
pub use date::{civil, format_internal, format_rfc5322, parse_rfc5322, unix_from_civil};
pub use encoded::{decode_words, encode_word, field_text};
pub use envelope::{write_envelope, write_nstring, write_string};
pub use header::{Field, Fields, fields, first_value, header_break, header_end, message_ids, unfold};
pub(crate) use line_ends::{LineEnds, with_crlf};
pub use mime::{Entity, MimeType, parse, part_at};
pub use sevenbit::seven_bit;
pub use structure::write_structure;
pub use text::{decode_body, each_search_text, each_text, lower_texts};
pub use thread::thread;
