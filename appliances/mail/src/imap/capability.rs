//! What we can do, and tell when (RFC 3501 6.1.1).

use crate::limits;

/// Before a login. Over plain text nothing that carries a password is offered (RFC 3501 11.1).
pub fn before_login(secure: bool, starttls: bool) -> String {
    let mut words = String::from("IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ENABLE ID");
    if starttls {
        words.push_str(" STARTTLS");
    }
    words.push_str(match secure {
        true => " AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256",
        false => " LOGINDISABLED",
    });
    words
}

/// After a login.
pub fn after_login(compressed: bool) -> String {
    let compress = if compressed { "" } else { " COMPRESS=DEFLATE" };
    format!(
        "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ENABLE ID IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS MOVE MULTIAPPEND \
         SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES WITHIN BINARY \
         CONDSTORE QRESYNC OBJECTID PREVIEW UTF8=ACCEPT QUOTA QUOTA=RES-STORAGE APPENDLIMIT={}{compress}",
        limits::MESSAGE_BYTES_MAX
    )
}
