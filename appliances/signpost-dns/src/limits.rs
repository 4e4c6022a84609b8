//! Every bound of this appliance, with its reason and source.

use std::time::Duration;

/// Octets of a label (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// Octets of a name in wire form, the root included (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of a UDP answer when the asker sent no EDNS (RFC 1035 section 2.3.4).
pub const UDP_OCTETS_PLAIN: usize = 512;
/// Octets of a UDP answer that we send and announce: no fragments on today's paths (RFC 9715, DNS flag day 2020).
pub const UDP_OCTETS_EDNS: usize = 1232;
/// Octets of a message over a stream (RFC 1035 section 4.2.2: two octets of length).
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// Replies over streams are padded to multiples of this when the asker pads (RFC 8467 section 4.1).
pub const PADDED_BLOCK_OCTETS: usize = 468;
/// Octets of a datagram that is read; longer ones are cut and found malformed.
pub const DATAGRAM_OCTETS_MAX: usize = 4096;
/// CNAME and DNAME steps followed within a zone for one question; a loop ends here.
pub const CHAIN_STEPS_MAX: usize = 16;
/// Records in one RRset; more do not fit a message of 65,535 octets anyway.
pub const RRSET_RECORDS_MAX: usize = 4096;
/// Octets of a zone file that is imported: a zone of a million names.
pub const ZONE_TEXT_OCTETS_MAX: usize = 256 << 20;
/// Depth of parentheses is one (RFC 1035 section 5.1); tokens of one entry.
pub const ENTRY_TOKENS_MAX: usize = 8192;
/// The highest TTL (RFC 2181 section 8: the top bit means 0).
pub const TTL_S_MAX: u32 = 0x7FFF_FFFF;
/// Records in one UPDATE: what 65,535 octets can carry, each at least 11.
pub const UPDATE_RECORDS_MAX: usize = 6000;
/// TCP connections open at once; above it the idlest is closed.
pub const TCP_CONNECTIONS_MAX: usize = 1024;
/// A stream without a question is closed after this (RFC 7766 section 6.2.3 says "a few seconds").
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// A started message must be complete, and an answer taken, within this: slow clients are cut off.
pub const TCP_MESSAGE: Duration = Duration::from_secs(5);
/// Questions of one TCP connection answered before others get their turn.
pub const TCP_PIPELINE_MAX: usize = 128;
/// Updates and transfers of one TCP connection under way at once; behind them it is read no further.
pub const TCP_ERRANDS_MAX: usize = 8;
/// Rate limited: answers a second to one network, as NSD's `rrl-ratelimit`.
pub const RRL_ANSWERS_A_SECOND: u32 = 200;
/// Of the answers held back, one in this many goes out truncated, so that a real asker can come back by TCP
/// (NSD's `rrl-slip`).
pub const RRL_SLIP: u32 = 2;
/// Rows of 24 octets in the rate limiter's table: 192 KiB, so that a machine of 8 MB has room for it (NSD's `rrl-size` is
/// a million; a home needs fewer, and two networks on one row err towards sending).
pub const RRL_ROWS: usize = 1 << 13;
/// Seconds that a TSIG time may be off when the asker says nothing better (RFC 8945 section 10).
pub const TSIG_FUDGE_S: u16 = 300;
/// Octets of zone changes kept in memory for IXFR; when older are asked for, the whole zone goes out.
pub const JOURNAL_OCTETS_MAX: usize = 8 << 20;
/// Octets of one message of a zone transfer: fits a TCP message with room for TSIG.
pub const TRANSFER_MESSAGE_OCTETS: usize = 16_384;
/// Time that the hook of a sleeping service may take within the answer's deadline.
pub const WAKE_DEADLINE: Duration = Duration::from_millis(800);
/// Seconds that a signed request is remembered: longer than any fudge that we take.
pub const SEEN_S: u64 = 2 * 300 + 60;
/// Signed requests remembered against replay; about a minute of the quickest updates.
pub const TSIG_SEEN_MAX: usize = 65_536;
/// Validity of signatures, in seconds: two weeks (RFC 6781 section 4.4.2).
pub const SIGNATURE_VALIDITY_S: u32 = 14 * 86_400;
/// Signatures end up to this much earlier, by name, so that not all are renewed at once.
pub const SIGNATURE_JITTER_S: u32 = 2 * 86_400;
/// Signatures with less than this left are renewed.
pub const SIGNATURE_RENEW_S: u32 = 5 * 86_400;
/// Signatures begin this much in the past, for validators whose clocks are late.
pub const SIGNATURE_BACKDATE_S: u32 = 3600;
/// Sleeping services whose last call is remembered.
pub const SLEEPERS_WOKEN_MAX: usize = 4096;
