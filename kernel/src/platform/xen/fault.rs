//! What a backend can do wrong. Any of these ends its device, with one line on the console.

use core::fmt;

/// How a backend broke its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It claims more responses than there are unanswered requests.
    TooManyResponses {
        /// Responses claimed.
        claimed: u32,
        /// Requests unanswered.
        outstanding: u32,
    },
    /// A response with an id that is not out.
    UnknownId(u64),
    /// A response to another operation than the one asked for.
    WrongOperation(u8),
    /// Data that would reach outside its page.
    OutsidePage {
        /// Where it is said to start.
        offset: usize,
        /// How long it is said to be.
        length: usize,
    },
    /// A packet longer than any can be.
    PacketTooLong(usize),
    /// An extra information slot where none can be, or of an unknown kind.
    Extra(u8),
    /// A property of the device that cannot be.
    Property(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooManyResponses { claimed, outstanding } => {
                write!(out, "it claims {claimed} responses to {outstanding} requests")
            }
            Fault::UnknownId(id) => write!(out, "it answers request {id:#x}, which is not out"),
            Fault::WrongOperation(operation) => {
                write!(out, "it answers operation {operation}, which was not asked")
            }
            Fault::OutsidePage { offset, length } => {
                write!(out, "its data of {length} bytes at {offset} leaves the page")
            }
            Fault::PacketTooLong(bytes) => {
                write!(out, "its packet of {bytes} bytes or more is longer than any can be")
            }
            Fault::Extra(kind) => write!(out, "its extra information {kind} makes no sense"),
            Fault::Property(name) => write!(out, "its property {name} makes no sense"),
        }
    }
}
