//! Every bound of the mail appliance, with its reason.

use std::time::Duration;

/// MIME parts of one message; more are not shown separately (Dovecot: 10,000).
pub const MIME_PARTS_MAX: usize = 10_000;
/// Nested MIME parts; the message of a deeper one is a leaf (Dovecot and mail-parser: 100 and 64).
pub const MIME_DEPTH_MAX: usize = 64;
/// Parameters of one Content-Type or Content-Disposition.
pub const MIME_PARAMETERS_MAX: usize = 100;
/// Bytes of such a field that are read: a hundred long parameters, and no more (a field of 10 MB is a bomb).
pub const MIME_PARAMETER_BYTES_MAX: usize = 64 << 10;
/// Header fields looked at in one header.
pub const HEADER_FIELDS_MAX: usize = 10_000;
/// Addresses read from one field.
pub const ADDRESSES_MAX: usize = 10_000;
/// Words and signs of one address.
pub const ADDRESS_WORDS_MAX: usize = 1_000;
/// Text that is searched in one message, in bytes.
pub const SEARCH_TEXT_MAX: usize = 16 << 20;

/// A command line with its CRLF: 512 octets (RFC 5321 4.5.3.1.4), more by the parameters of SIZE, 8BITMIME, AUTH,
/// SMTPUTF8 and DSN, which add 26, 17, 500, 10 and 620.
pub const SMTP_COMMAND_MAX: usize = 998;
/// A response line of an AUTH exchange (RFC 4954 4: 12,288 octets).
pub const SMTP_AUTH_LINE_MAX: usize = 12_288;
/// Recipients of one message (RFC 5321 4.5.3.1.8 wants at least 100).
pub const SMTP_RECIPIENTS_MAX: usize = 1_000;
/// Local part (RFC 5321 4.5.3.1.1).
pub const LOCAL_PART_MAX: usize = 64;
/// Domain (RFC 5321 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// A message, in bytes, unless configured: what SIZE and APPENDLIMIT announce.
pub const MESSAGE_BYTES_MAX: usize = 50 << 20;
/// Received fields before a message is thought to loop (RFC 5321 6.3 wants at least 100).
pub const RECEIVED_MAX: usize = 100;
/// Errors of one client before the connection is closed with 421.
pub const SMTP_ERRORS_MAX: u32 = 20;
/// Commands that bring no mail forward, before 421.
pub const SMTP_IDLE_COMMANDS_MAX: u32 = 200;
/// Failed AUTH tries on one connection.
pub const AUTH_TRIES_MAX: u32 = 3;

/// Bytes of a mailbox name in UTF-8.
pub const MAILBOX_NAME_MAX: usize = 1_000;
/// Levels of a mailbox name.
pub const MAILBOX_DEPTH_MAX: usize = 20;
/// Mailboxes of one account.
pub const MAILBOXES_MAX: usize = 5_000;
/// Different keywords of one account: with the five system flags they fill 64 bits.
pub const KEYWORDS_MAX: usize = 59;

/// Bytes of an IMAP command beside the messages of an APPEND: clients name thousands of UIDs in one.
pub const IMAP_COMMAND_MAX: usize = 256 << 10;
/// The same before a login.
pub const IMAP_COMMAND_BEFORE_LOGIN_MAX: usize = 8 << 10;
/// A line of AUTHENTICATE, or DONE.
pub const IMAP_LINE_MAX: usize = 12_288;
/// Commands without sense in a row, before BYE.
pub const IMAP_FAILURES_MAX: u32 = 30;
/// A TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// From the connection to the login.
pub const LOGIN_TIME: Duration = Duration::from_secs(60);
/// Silence after a login (RFC 3501 5.4 wants 30 minutes at least).
pub const IMAP_IDLE_TIME: Duration = Duration::from_secs(31 * 60);
/// A client that takes nothing of what it asked for, before it is given up.
pub const IMAP_SEND_TIME: Duration = Duration::from_secs(5 * 60);
/// Silence of ours in IDLE, before a sign of life keeps middle boxes from forgetting the connection.
pub const IDLE_SIGN_TIME: Duration = Duration::from_secs(4 * 60);
