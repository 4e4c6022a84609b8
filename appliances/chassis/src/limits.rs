//! Every bound of the chassis, each with its reason. Appliances have their own `limits.rs` for their protocols.

use std::time::Duration;

/// The head of a request: request line and all header fields together. hyper's least is 8 kB; browsers and DAV clients
/// stay below 4 kB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What hyper holds of a body in one direction before it waits.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Header fields of a request; nginx and Apache take 100.
pub const HEADERS_MAX: usize = 100;
/// A head that began must have ended after this time (slow-loris).
pub const HEAD_TIME: Duration = Duration::from_secs(15);
/// A connection without a request is closed after this time.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// A connection whose client asks again within this time is looked at for so long before its thread sleeps.
pub const LOOK_TIME: Duration = Duration::from_micros(100);
/// Every so many quick requests the thread sleeps all the same.
pub const LOOKS_IN_A_ROW: u32 = 64;
/// A TLS handshake must be done within this time.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The next piece of a body must arrive, or be taken, within this time.
pub const BODY_PIECE_TIME: Duration = Duration::from_secs(30);
/// A body that dribbles: after the first `BODY_PIECE_TIME`, it must average this many bytes a second.
pub const BODY_RATE_MIN: u64 = 512;
/// A form of the web shell: a password change is below 1 kB.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body that no handler wants, read before the answer over HTTP/2: what its window lets a client send at once.
pub const LEFTOVER_BYTES_MAX: usize = 64 * 1024;
/// And for how long.
pub const LEFTOVER_TIME: Duration = Duration::from_secs(2);
/// Streams that one HTTP/2 connection may have open at once. Browsers use up to 100; each costs some kB.
pub const HTTP2_STREAMS_MAX: u32 = 64;
/// HTTP/2 flow-control windows: two of these bound what a stalled handler holds of one connection.
pub const HTTP2_WINDOW_BYTES: u32 = 64 * 1024;

/// Connections to one listener of a process at once. A TLS connection costs about 20 kB.
pub const CONNECTIONS_MAX: usize = 2000;
/// The same on a machine of our own, which has 8 to 32 MB.
pub const CONNECTIONS_MAX_MACHINE: usize = 600;
/// What must be free in one piece before a connection is taken on a machine of our own: its TLS and a request take some 60 kB.
pub const CONNECTION_LEAVES_BYTES: usize = 96 << 10;
/// How often, 50 ms apart, it is looked whether that is there before a connection is closed.
pub const MEMORY_PATIENCE: u32 = 20;
/// Connections to one listener from one address (IPv4) or /64 (IPv6). Loopback may use all of them.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 100;

/// Passwords hashed at once; each takes `HASH_MEMORY_KIB` for some ten milliseconds of a processor.
pub const HASHES_AT_ONCE: usize = 2;
/// Passwords waiting to be hashed; beyond that the answer is "busy, try again".
pub const HASHES_WAITING_MAX: usize = 64;
/// Memory of one argon2id hash on a machine of our own (24 MB in all): RFC 9106's second choice scaled to what is there.
pub const HASH_MEMORY_KIB: u32 = 4 * 1024;
/// Passes of argon2id over its memory, so that it costs what OWASP's 19 MiB and two passes cost.
pub const HASH_PASSES: u32 = 6;
/// What must be free beside a hash's memory, for everybody else meanwhile; else a machine hashes with less (one of 8 MB).
pub const HASH_LEAVES_BYTES: usize = 256 << 10;
/// Rounds of PBKDF2 for SCRAM-SHA-256; RFC 7677 asks for 4096 at least.
pub const SCRAM_ROUNDS: u32 = 4096;
/// Password length that is looked at; longer ones are refused, not truncated.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// The shortest password that a person may choose (NIST SP 800-63B).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Remembered successful verifications.
pub const VERIFIED_MAX: usize = 512;
/// How long a verified password needs no new hash.
pub const VERIFIED_TIME: Duration = Duration::from_secs(3600);

/// Accounts of one household.
pub const ACCOUNTS_MAX: usize = 200;
/// Device passwords and web sessions of one account.
pub const CREDENTIALS_PER_ACCOUNT_MAX: usize = 100;
/// A web session ends after this time without a visit.
pub const SESSION_TIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// A device's last use is written down at most this often.
pub const SEEN_WRITE_TIME: Duration = Duration::from_secs(600);

/// Failed logins that one network may make at once before it must wait.
pub const FAILURES_BURST: u32 = 10;
/// After that, one more failure is allowed for each of these intervals.
pub const FAILURE_INTERVAL: Duration = Duration::from_secs(20);
/// The answer to a wrong password waits this long, so that guessing is slow from the first guess.
pub const FAILURE_DELAY: Duration = Duration::from_millis(300);
/// Networks whose failures are remembered.
pub const FAILURE_NETWORKS_MAX: usize = 4096;

/// One line of the control socket.
pub const CONTROL_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A configuration file.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// After a request to stop, connections have this long to finish what they do.
pub const STOP_TIME: Duration = Duration::from_secs(8);
