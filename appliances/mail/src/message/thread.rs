//! Which conversation a message belongs to (RFC 8474 5.2 THREADID).
//!
//! A conversation is named by its first message: the first of References, else of In-Reply-To, else the message itself
//! (RFC 5322 3.6.4 has a reply repeat the references of what it answers). So the name depends on the message alone: it
//! never changes, and two servers that meet call a conversation the same.

use super::header::{fields, message_ids};

/// The conversation of the message with this header. One without any id is alone: its whole header names it.
pub fn thread(header: &[u8]) -> u64 {
    let first = |name: &str| {
        let field = fields(header).find(|field| field.is(name))?;
        message_ids(field.value, 1).into_iter().next().filter(|id| id.len() > 2)
    };
    let root = first("References").or_else(|| first("In-Reply-To")).or_else(|| first("Message-ID"));
    match &root {
        Some(id) => fnv1a(id.as_bytes()),
        None => fnv1a(header),
    }
}

/// 64 bits of a text (FNV-1a, with a finish that spreads what differs at the end). No secret hangs on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8474_5_2_a_conversation_has_one_name() {
        let first = thread(b"Message-ID: <a@b>\r\n\r\n");
        let reply = thread(b"Message-ID: <c@d>\r\nIn-Reply-To: <a@b>\r\nReferences: <a@b>\r\n\r\n");
        let next = thread(b"References: <a@b>\r\n <c@d>\r\nMessage-ID: <e@f>\r\nIn-Reply-To: <c@d>\r\n\r\n");
        assert!(first == reply && reply == next);
        assert_eq!(first, thread(b"In-Reply-To: your mail (<a@b>)\r\n\r\n"));
        assert_ne!(first, thread(b"Message-ID: <c@d>\r\n\r\n"));
        assert_ne!(thread(b"Subject: x\r\n\r\n"), thread(b"Subject: y\r\n\r\n"));
        assert_eq!(thread(b"References: <>\r\nMessage-ID: <a@b>\r\n\r\n"), first);
    }
}
