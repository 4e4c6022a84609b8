//! Transaction signatures (RFC 8945): HMAC with SHA-256, SHA-384, SHA-512, truncation, time, and memory of what was
//! seen, so that a recorded update cannot be played again.

use std::collections::BTreeMap;

use ring::hmac;

use crate::limits::{SEEN_S, TSIG_FUDGE_S, TSIG_SEEN_MAX};
use crate::name::{Malformed, Name};
use crate::query::rcode;
use crate::record::{CLASS_ANY, RecordType};

/// Error codes of TSIG (RFC 8945 section 3).
pub mod error {
    #![allow(missing_docs)]
    pub const BADSIG: u16 = 16;
    pub const BADKEY: u16 = 17;
    pub const BADTIME: u16 = 18;
    pub const BADTRUNC: u16 = 22;
}

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// hmac-sha256
    Sha256,
    /// hmac-sha384
    Sha384,
    /// hmac-sha512
    Sha512,
}

impl Algorithm {
    const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// The name, without the last dot.
    pub fn text(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "hmac-sha256",
            Algorithm::Sha384 => "hmac-sha384",
            Algorithm::Sha512 => "hmac-sha512",
        }
    }

    /// The algorithm of a name.
    pub fn from_text(text: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|one| one.text().eq_ignore_ascii_case(text.trim_end_matches('.')))
    }

    fn name(self) -> Name {
        Name::from_text(self.text(), Some(&Name::root())).unwrap_or_else(|_| Name::root())
    }

    fn octets(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }

    fn ring(self) -> hmac::Algorithm {
        match self {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A shared key.
#[derive(Clone)]
pub struct Key {
    /// Its name.
    pub name: Name,
    /// Its algorithm.
    pub algorithm: Algorithm,
    hmac: hmac::Key,
}

impl Key {
    /// A key from its secret.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Key {
        Key { name, algorithm, hmac: hmac::Key::new(algorithm.ring(), secret) }
    }
}

/// The fields of a TSIG record.
#[derive(Debug, Clone)]
struct Fields {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
}

/// A request whose signature holds.
pub struct Verified<'k> {
    /// The key.
    pub key: &'k Key,
    /// The request's MAC, which the reply's covers.
    pub mac: Vec<u8>,
    time: u64,
}

/// A request whose signature does not hold, and how to say so.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The response code.
    pub rcode: u16,
    /// The TSIG error; none for FORMERR, whose reply has no TSIG.
    pub error: Option<u16>,
    /// The MAC of a request that is only late: its reply is signed (RFC 8945 section 5.2.3).
    signed: Option<(Name, Vec<u8>)>,
    fields: Option<Box<(Name, Name, u64)>>,
}

fn plain(rcode: u16) -> Rejected {
    Rejected { rcode, error: None, signed: None, fields: None }
}

/// Checks the TSIG record that begins at `at` of a request, the last of the message.
///
/// # Errors
/// `Rejected`, for [`reject`].
pub fn verify<'k>(
    message: &[u8],
    at: usize,
    find: impl FnOnce(&Name) -> Option<&'k Key>,
    now: u64,
) -> Result<Verified<'k>, Rejected> {
    let fields = read(message, at).map_err(|_| plain(rcode::FORMERR))?;
    let reject = |error, signed| Rejected {
        rcode: rcode::NOTAUTH,
        error: Some(error),
        signed,
        fields: Some(Box::new((fields.key.clone(), fields.algorithm.clone(), fields.time))),
    };
    let key = find(&fields.key).filter(|key| key.algorithm.name() == fields.algorithm);
    let key = key.ok_or_else(|| reject(error::BADKEY, None))?;
    // RFC 8945 section 5.2.2.1: at least ten octets and half the digest.
    let whole = key.algorithm.octets();
    if fields.mac.len() > whole || fields.mac.len() < 10.max(whole / 2) {
        return Err(plain(rcode::FORMERR));
    }
    let mut signed = message[..at].to_vec();
    signed[..2].copy_from_slice(&fields.original_id.to_be_bytes());
    let additional = u16::from_be_bytes([signed[10], signed[11]]).wrapping_sub(1);
    signed[10..12].copy_from_slice(&additional.to_be_bytes());
    let mut context = hmac::Context::with_key(&key.hmac);
    context.update(&signed);
    context.update(&variables(&fields));
    let mac = context.sign();
    if !equal(&mac.as_ref()[..fields.mac.len()], &fields.mac) {
        return Err(reject(error::BADSIG, None));
    }
    // A fudge of hours would outlive our memory of what was seen.
    if now.abs_diff(fields.time) > u64::from(fields.fudge.min(TSIG_FUDGE_S)) {
        return Err(reject(error::BADTIME, Some((key.name.clone(), fields.mac))));
    }
    Ok(Verified { key, mac: fields.mac, time: fields.time })
}

/// Compares without telling by its time where the difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn read(message: &[u8], mut at: usize) -> Result<Fields, Malformed> {
    let key = Name::from_message(message, &mut at)?;
    let fixed = message.get(at..at + 10).ok_or(Malformed::Short)?;
    // Type TSIG, class ANY, TTL 0 (RFC 8945 section 4.2).
    if fixed[..8] != [0, 250, 0, 255, 0, 0, 0, 0] {
        return Err(Malformed::Data);
    }
    let end = at + 10 + u16::from_be_bytes([fixed[8], fixed[9]]) as usize;
    at += 10;
    let algorithm = Name::from_message(message, &mut at)?;
    let mut take = |octets: usize| {
        let piece = message.get(at..at + octets).filter(|_| at + octets <= end).ok_or(Malformed::Data);
        at += octets;
        piece
    };
    let number = |piece: &[u8]| piece.iter().fold(0u64, |all, &octet| all << 8 | u64::from(octet));
    let time = number(take(6)?);
    let fudge = number(take(2)?) as u16;
    let mac_octets = number(take(2)?) as usize;
    let mac = take(mac_octets)?.to_vec();
    let original_id = number(take(2)?) as u16;
    let error = number(take(2)?) as u16;
    let other_octets = number(take(2)?) as usize;
    let other = take(other_octets)?.to_vec();
    if at != end || end != message.len() {
        return Err(Malformed::Data);
    }
    Ok(Fields { key, algorithm, time, fudge, mac, original_id, error, other })
}

/// What is signed beside the message (RFC 8945 section 4.3.3).
fn variables(fields: &Fields) -> Vec<u8> {
    let mut out = fields.key.lower().octets().to_vec();
    out.extend_from_slice(&CLASS_ANY.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(fields.algorithm.lower().octets());
    out.extend_from_slice(&fields.time.to_be_bytes()[2..]);
    out.extend_from_slice(&fields.fudge.to_be_bytes());
    out.extend_from_slice(&fields.error.to_be_bytes());
    out.extend_from_slice(&(fields.other.len() as u16).to_be_bytes());
    out.extend_from_slice(&fields.other);
    out
}

fn append(message: &mut Vec<u8>, fields: &Fields) {
    let mut data = fields.algorithm.octets().to_vec();
    data.extend_from_slice(&fields.time.to_be_bytes()[2..]);
    data.extend_from_slice(&fields.fudge.to_be_bytes());
    data.extend_from_slice(&(fields.mac.len() as u16).to_be_bytes());
    data.extend_from_slice(&fields.mac);
    data.extend_from_slice(&fields.original_id.to_be_bytes());
    data.extend_from_slice(&fields.error.to_be_bytes());
    data.extend_from_slice(&(fields.other.len() as u16).to_be_bytes());
    data.extend_from_slice(&fields.other);
    let (name, rtype) = (fields.key.clone(), RecordType::TSIG);
    crate::message::push_record(
        message,
        &crate::record::Record { name, rtype, class: CLASS_ANY, ttl: 0, data },
    );
    let additional = u16::from_be_bytes([message[10], message[11]]) + 1;
    message[10..12].copy_from_slice(&additional.to_be_bytes());
}

/// Signs the messages of one reply; those after the first cover the MAC before (RFC 8945 section 5.3.1).
pub struct Signer {
    key: Key,
    last: Vec<u8>,
    first: bool,
}

impl Signer {
    /// A signer for the reply to a verified request.
    pub fn new(key: &Key, request_mac: &[u8]) -> Signer {
        Signer { key: key.clone(), last: request_mac.to_vec(), first: true }
    }

    /// A signer for a request of our own.
    pub fn for_request(key: &Key) -> Signer {
        Signer { key: key.clone(), last: Vec::new(), first: true }
    }

    /// Octets that a signature adds at most.
    pub fn octets(&self) -> usize {
        self.key.name.octets().len() + 10 + 16 + 16 + self.key.algorithm.octets() + 6
    }

    /// Signs one message.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        self.sign_with(message, now, 0, Vec::new());
    }

    fn sign_with(&mut self, message: &mut Vec<u8>, now: u64, error: u16, other: Vec<u8>) {
        let mut fields = Fields {
            key: self.key.name.clone(),
            algorithm: self.key.algorithm.name(),
            time: now,
            fudge: TSIG_FUDGE_S,
            mac: Vec::new(),
            original_id: u16::from_be_bytes([message[0], message[1]]),
            error,
            other,
        };
        let mut context = hmac::Context::with_key(&self.key.hmac);
        if !self.last.is_empty() {
            context.update(&(self.last.len() as u16).to_be_bytes());
            context.update(&self.last);
        }
        context.update(message);
        if self.first {
            context.update(&variables(&fields));
        } else {
            context.update(&now.to_be_bytes()[2..]);
            context.update(&TSIG_FUDGE_S.to_be_bytes());
        }
        fields.mac = context.sign().as_ref().to_vec();
        (self.last, self.first) = (fields.mac.clone(), false);
        append(message, &fields);
    }
}

/// Makes the reply to a rejected request of the bare reply that carries its response code.
pub fn reject<'k>(
    reply: &mut Vec<u8>,
    rejected: &Rejected,
    find: impl FnOnce(&Name) -> Option<&'k Key>,
    now: u64,
) {
    let (Some(error), Some(fields)) = (rejected.error, &rejected.fields) else { return };
    if let Some((name, mac)) = &rejected.signed
        && let Some(key) = find(name)
    {
        // RFC 8945 section 5.2.3: the reply to BADTIME is signed with the client's time and tells ours.
        let mut signer = Signer::new(key, mac);
        return signer.sign_with(reply, fields.2, error, now.to_be_bytes()[2..].to_vec());
    }
    let id = u16::from_be_bytes([reply[0], reply[1]]);
    let (key, algorithm, time) = (**fields).clone();
    let fudge = TSIG_FUDGE_S;
    append(
        reply,
        &Fields { key, algorithm, time, fudge, mac: Vec::new(), original_id: id, error, other: Vec::new() },
    );
}

/// Names a signed request: when it was signed, and the beginning of its signature.
pub type RequestId = (u64, [u8; 10]);

/// The signed requests of the last minutes. The same request again gets the same answer and does nothing: a client
/// that lost the reply is helped, a recording is worthless.
///
/// What is noted also goes, as rows, to whoever keeps it over a restart: [`Seen::unsaved`].
#[derive(Default)]
pub struct Seen {
    answers: BTreeMap<RequestId, u16>,
    /// Requests signed before this are no longer remembered, so they are refused.
    floor: u64,
    unsaved: Vec<Row>,
}

/// A row of the table of requests: no value, it goes.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// The name of a request that was signed at `time`.
pub fn request_id(time: u64, signature: &[u8]) -> RequestId {
    (time, *signature.first_chunk().unwrap_or(&[0; 10]))
}

/// The row that remembers what was answered to a request.
pub fn row_of(id: &RequestId, rcode: u16) -> Row {
    ([&id.0.to_be_bytes()[..], &id.1].concat(), Some(rcode.to_be_bytes().to_vec()))
}

impl Seen {
    /// Takes a row back in after a start; whether it is too old to matter.
    pub fn restore(&mut self, key: &[u8], value: &[u8], now: u64) -> bool {
        let (Some(time), Some(rcode)) =
            (key.first_chunk().map(|time| u64::from_be_bytes(*time)), value.first_chunk())
        else {
            return true;
        };
        if time + SEEN_S < now {
            return true;
        }
        self.answers.insert(request_id(time, &key[8..]), u16::from_be_bytes(*rcode));
        false
    }

    /// What was answered to this very request.
    ///
    /// # Errors
    /// When it is too old to know.
    pub fn before(&self, id: &RequestId) -> Result<Option<u16>, TooOld> {
        if id.0 < self.floor {
            return Err(TooOld);
        }
        Ok(self.answers.get(id).copied())
    }

    /// Notes what was answered; `saved`: its row is kept already. The memory is bounded: the oldest go, and the floor
    /// rises.
    pub fn note(&mut self, id: RequestId, rcode: u16, saved: bool, now: u64) {
        self.answers.insert(id, rcode);
        if !saved {
            self.unsaved.push(row_of(&id, rcode));
        }
        while let Some((&(time, mac), _)) = self.answers.first_key_value() {
            let full = self.answers.len() > TSIG_SEEN_MAX;
            if !full && time + SEEN_S >= now {
                break;
            }
            self.answers.pop_first();
            self.unsaved.push(([&time.to_be_bytes()[..], &mac].concat(), None));
            if full {
                self.floor = self.floor.max(time + 1);
            }
        }
    }

    /// Rows that are to be written, once.
    pub fn unsaved(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.unsaved)
    }

    /// Rows that were not written after all.
    pub fn give_back(&mut self, mut rows: Vec<Row>) {
        rows.append(&mut self.unsaved);
        self.unsaved = rows;
    }
}

/// A request that is older than the memory of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld;

impl TooOld {
    /// How to say so.
    pub fn rejected(self, request: &Verified<'_>) -> Rejected {
        let fields = (request.key.name.clone(), request.key.algorithm.name(), request.time);
        Rejected {
            rcode: rcode::NOTAUTH,
            error: Some(error::BADTIME),
            signed: Some((request.key.name.clone(), request.mac.clone())),
            fields: Some(Box::new(fields)),
        }
    }
}

impl Verified<'_> {
    /// The request's name.
    pub fn id(&self) -> RequestId {
        request_id(self.time, &self.mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm) -> Key {
        Key::new(Name::from_text("upd.", None).unwrap(), algorithm, b"secret")
    }

    fn request(key: &Key, now: u64) -> (Vec<u8>, usize) {
        let mut message = b"\x01\x02\x28\0\0\x01\0\0\0\0\0\0\x04test\0\0\x06\0\x01".to_vec();
        let at = message.len();
        Signer::for_request(key).sign(&mut message, now);
        (message, at)
    }

    #[test]
    fn rfc8945_5_2_every_fault_has_its_error() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let (message, at) = request(&key, 1000);
            let check = |message: &[u8], find: Option<&Key>, now: u64| {
                verify(message, at, |_| find.map(|_| &key), now)
                    .map(|one| one.time)
                    .map_err(|one| (one.rcode, one.error))
            };
            assert_eq!(check(&message, Some(&key), 1300), Ok(1000));
            assert_eq!(check(&message, Some(&key), 1301), Err((9, Some(error::BADTIME))));
            assert_eq!(check(&message, Some(&key), 699), Err((9, Some(error::BADTIME))));
            assert_eq!(check(&message, None, 1000), Err((9, Some(error::BADKEY))));
            for octet in 0..at {
                let mut bent = message.clone();
                bent[octet] ^= 1;
                let verdict = check(&bent, Some(&key), 1000);
                // The id is not covered: it is the original id that counts. Counts make the message another one.
                assert!(octet < 2 || verdict.is_err(), "octet {octet}");
            }
        }
    }

    #[test]
    fn truncated_macs_down_to_half() {
        let key = key(Algorithm::Sha256);
        for (octets, good) in [(32, true), (16, true), (15, false), (10, false), (0, false)] {
            let (whole, at) = request(&key, 1000);
            let fields = read(&whole, at).unwrap();
            let mut message = whole[..at].to_vec();
            message[10..12].fill(0);
            append(&mut message, &Fields { mac: fields.mac[..octets].to_vec(), ..fields });
            assert_eq!(verify(&message, at, |_| Some(&key), 1000).is_ok(), good, "{octets}");
        }
    }

    #[test]
    fn a_recorded_request_is_answered_and_does_nothing() {
        let key = key(Algorithm::Sha256);
        let (message, at) = request(&key, 1000);
        let mut seen = Seen::default();
        let Ok(verified) = verify(&message, at, |_| Some(&key), 1000) else { panic!("good signature") };
        assert_eq!(seen.before(&verified.id()), Ok(None));
        seen.note(verified.id(), 0, false, 1000);
        assert_eq!(seen.before(&verified.id()), Ok(Some(0)));
        let mut after_a_start = Seen::default();
        for (key, value) in seen.unsaved() {
            assert!(!after_a_start.restore(&key, &value.unwrap(), 1100));
        }
        assert_eq!(after_a_start.before(&verified.id()), Ok(Some(0)));
        for other in 0..TSIG_SEEN_MAX as u64 {
            seen.note(request_id(1001, &[&other.to_be_bytes()[..], &[7, 7]].concat()), 0, true, 1000);
        }
        assert_eq!(seen.before(&verified.id()), Err(TooOld));
        assert_eq!(seen.unsaved().len(), 1, "its row goes too");
    }

    proptest::proptest! {
        #[test]
        fn any_tsig_octets_are_refused(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let key = key(Algorithm::Sha256);
            let (mut message, at) = request(&key, 1000);
            message.truncate(at);
            message.extend_from_slice(&octets);
            proptest::prop_assert!(verify(&message, at, |_| Some(&key), 1000).is_err());
        }
    }
}
