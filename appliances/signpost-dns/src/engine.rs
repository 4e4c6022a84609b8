//! Answering without waiting: what can be said from the compiled zones is said at once, the rest becomes an errand.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::answer::edns::{CookieJar, Opt, pad};
use crate::answer::{Writer, answer};
use crate::errand::Errands;
use crate::limits::{MESSAGE_OCTETS_MAX, UDP_OCTETS_EDNS, UDP_OCTETS_PLAIN};
use crate::name::Name;
use crate::network::Network;
use crate::query::{self, Incoming, Query, opcode, rcode};
use crate::record::{CLASS_IN, RecordType};
use crate::rrl::{Limiter, Limits, Verdict as Limited};
use crate::zone::{Zone, hash_octets};

/// A zone as different askers see it.
#[derive(Debug, Clone)]
pub struct Views {
    /// For everybody else.
    pub public: Arc<Zone>,
    /// For askers in a network; the first that fits.
    pub inside: Vec<(Network, Arc<Zone>)>,
    /// Lower-case wire names whose service sleeps: a question for them calls the hook first.
    pub sleepers: Arc<std::collections::HashSet<Box<[u8]>>>,
}

impl Views {
    /// One zone for all.
    pub fn plain(zone: Arc<Zone>) -> Views {
        Views { public: zone, inside: Vec::new(), sleepers: Arc::default() }
    }

    /// The zone as this asker sees it.
    pub fn zone_for(&self, asker: IpAddr) -> &Arc<Zone> {
        self.inside.iter().find(|(network, _)| network.contains(asker)).map_or(&self.public, |(_, zone)| zone)
    }
}

#[derive(Default)]
struct OctetHasher(u64);
impl Hasher for OctetHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, octets: &[u8]) {
        self.0 = self.0.rotate_left(5) ^ hash_octets(octets);
    }
    fn write_usize(&mut self, _: usize) {}
}

/// All zones served, at one moment.
#[derive(Default, Clone)]
pub struct Served {
    zones: HashMap<Box<[u8]>, Arc<Views>, BuildHasherDefault<OctetHasher>>,
}

impl Served {
    /// Adds or replaces a zone.
    pub fn put(&mut self, origin: &Name, views: Arc<Views>) {
        self.zones.insert(origin.octets().to_ascii_lowercase().into(), views);
    }

    /// Takes a zone away.
    pub fn remove(&mut self, origin: &Name) {
        self.zones.remove(&origin.octets().to_ascii_lowercase()[..]);
    }

    /// The closest zone at or above a lower-case wire name; for DS the one above a zone's own apex, if it is here too
    /// (RFC 4035 section 3.1.4.1).
    #[inline]
    pub fn find(&self, lower: &[u8], rtype: RecordType) -> Option<&Arc<Views>> {
        let (mut at, mut own_apex) = (0, None);
        loop {
            if let Some(views) = self.zones.get(&lower[at..]) {
                if at > 0 || rtype != RecordType::DS {
                    return Some(views);
                }
                own_apex = Some(views);
            }
            match lower[at] {
                0 => return own_apex,
                length => at += 1 + length as usize,
            }
        }
    }

    /// All zones.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Views>> {
        self.zones.values()
    }
}

/// A value that many threads read and one replaces. A reader keeps its own pointer and looks only at a counter.
pub struct Published<T> {
    generation: AtomicU64,
    current: RwLock<Arc<T>>,
}

impl<T> Published<T> {
    /// Publishes a first value.
    pub fn new(value: T) -> Published<T> {
        Published { generation: AtomicU64::new(1), current: RwLock::new(Arc::new(value)) }
    }

    /// Replaces the value for all who look from now on.
    pub fn publish(&self, value: T) {
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(value);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The value now.
    pub fn now(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Brings a reader's pointer up to date.
    pub fn refresh(&self, seen: &mut u64, own: &mut Arc<T>) {
        let generation = self.generation.load(Ordering::Acquire);
        if generation != *seen {
            (*seen, *own) = (generation, self.now());
        }
    }
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The address.
    pub address: IpAddr,
    /// Whether by a stream (TCP, TLS, HTTPS): no truncation, no rate limit.
    pub stream: bool,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send what the buffer holds.
    Reply,
    /// Send nothing.
    Silence,
    /// Make it an errand.
    Errand,
}

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Requests answered at once.
    pub answered: AtomicU64,
    /// Answers held back by the rate limiter.
    pub limited: AtomicU64,
}

/// What all threads share.
pub struct Engine {
    /// The zones.
    pub served: Published<Served>,
    /// Totals for the web page and metrics.
    pub totals: Totals,
    limits: Mutex<Limits>,
    limits_changed: AtomicU64,
    cookies: CookieJar,
    nsid: Box<[u8]>,
    errands: Option<Errands>,
}

/// What one thread keeps for itself between requests.
pub struct Desk {
    served: Arc<Served>,
    seen: u64,
    counter: Counter,
}

/// The limiter of one thread, and its clock.
struct Counter {
    limiter: Limiter,
    now_s: u32,
    limits_seen: u64,
}

impl Engine {
    /// An engine. `errands` has them done; without it such requests are answered NOTIMP or REFUSED.
    pub fn new(cookie_secret: [u8; 16], nsid: &[u8], errands: Option<Errands>) -> Engine {
        Engine {
            served: Published::new(Served::default()),
            totals: Totals::default(),
            limits: Mutex::default(),
            limits_changed: AtomicU64::new(1),
            cookies: CookieJar::new(cookie_secret),
            nsid: nsid.into(),
            errands,
        }
    }

    /// Limits all threads' answers from now on.
    pub fn limit(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.limits_changed.fetch_add(1, Ordering::Release);
    }

    /// How much is let through.
    pub fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A desk for a thread.
    pub fn desk(&self, limiter: Limiter) -> Desk {
        Desk { served: self.served.now(), seen: 0, counter: Counter { limiter, now_s: 0, limits_seen: 0 } }
    }

    /// The OPT of a reply that is made elsewhere.
    pub fn opt(&self, query: &Query<'_>, asker: Asker, now_s: u32) -> Opt {
        query.edns.map_or(Opt::NONE, |edns| {
            let cookie = edns.cookie.map(|option| self.cookies.judge(option, asker.address, now_s));
            Opt::new(&edns, 0, cookie.as_ref().map(|one| &one.fresh), &self.nsid, asker.stream)
        })
    }

    /// Who does errands.
    pub fn errands(&self) -> Option<&Errands> {
        self.errands.as_ref()
    }

    /// Looks at the clock and at the zones; once a batch.
    pub fn look_up(&self, desk: &mut Desk, now_s: u32) {
        desk.counter.now_s = now_s;
        self.served.refresh(&mut desk.seen, &mut desk.served);
        let changed = self.limits_changed.load(Ordering::Acquire);
        if changed != desk.counter.limits_seen {
            desk.counter.limits_seen = changed;
            desk.counter.limiter.set(self.limits());
        }
    }

    /// Handles one request; the reply, if any, is in `out`.
    pub fn handle(&self, desk: &mut Desk, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Verdict {
        match query::read(message) {
            Incoming::Nothing => Verdict::Silence,
            Incoming::Wrong(code) => {
                header_only(message, code, &[], out);
                self.limited(&mut desk.counter, asker, None, code, out)
            }
            Incoming::Bare(edns) => {
                let cookie =
                    edns.cookie.map(|option| self.cookies.judge(option, asker.address, desk.counter.now_s));
                let opt = Opt::new(&edns, 0, cookie.as_ref().map(|one| &one.fresh), &self.nsid, asker.stream);
                header_only(message, rcode::NOERROR, opt.octets(), out);
                Verdict::Reply
            }
            Incoming::Query(query) => self.question(desk, &query, asker, out),
        }
    }

    fn question(&self, desk: &mut Desk, query: &Query<'_>, asker: Asker, out: &mut Vec<u8>) -> Verdict {
        let cookie = query
            .edns
            .and_then(|edns| edns.cookie)
            .map(|option| self.cookies.judge(option, asker.address, desk.counter.now_s));
        let opt = |code: u16| {
            query.edns.map_or(Opt::NONE, |edns| {
                Opt::new(&edns, code, cookie.as_ref().map(|one| &one.fresh), &self.nsid, asker.stream)
            })
        };
        let limit = reply_limit(query, asker);
        let known = cookie.as_ref().is_some_and(|one| one.known);
        // The zones are looked at while the counter counts: no pointer that all threads share is touched for a question.
        let Desk { served, counter, .. } = desk;
        let refuse = |counter: &mut Counter, code: u16, out: &mut Vec<u8>| {
            let root = Name::root();
            let mut writer = Writer::new(out, query, &root, limit);
            writer.authoritative = false;
            writer.finish(query, code, opt(code).octets());
            if known { Verdict::Reply } else { self.limited(counter, asker, Some(query), code, out) }
        };
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return refuse(counter, rcode::BADVERS, out);
        }
        let transfer = matches!(query.qtype, RecordType::AXFR | RecordType::IXFR);
        if query.opcode != opcode::QUERY || query.signature_at.is_some() || transfer {
            return match (&self.errands, query.opcode) {
                (Some(_), _) => Verdict::Errand,
                (None, opcode::QUERY) => refuse(counter, rcode::REFUSED, out),
                (None, _) => refuse(counter, rcode::NOTIMP, out),
            };
        }
        if let Some(code) = refusal_of_type(query.qtype) {
            return refuse(counter, code, out);
        }
        let Some(views) = served.find(query.lower(), query.qtype).filter(|_| query.qclass == CLASS_IN) else {
            return refuse(counter, rcode::REFUSED, out);
        };
        if !views.sleepers.is_empty() && self.errands.is_some() && views.sleepers.contains(query.lower()) {
            return Verdict::Errand;
        }
        self.answer_from(counter, views, query, asker, opt(0).octets(), known, limit, out)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of question(), which has decided all of these")]
    fn answer_from(
        &self,
        counter: &mut Counter,
        views: &Views,
        query: &Query<'_>,
        asker: Asker,
        opt: &[u8],
        known: bool,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let zone = views.zone_for(asker.address);
        let mut writer = Writer::new(out, query, &zone.origin, limit - opt.len());
        let code = answer(zone, query, &mut writer);
        writer.finish(query, code, opt);
        if asker.stream && query.edns.is_some_and(|edns| edns.padding) {
            pad(out, opt.len());
        }
        if known { Verdict::Reply } else { self.limited(counter, asker, Some(query), code, out) }
    }

    /// Lets the rate limiter look at a reply that goes out by UDP.
    fn limited(
        &self,
        counter: &mut Counter,
        asker: Asker,
        query: Option<&Query<'_>>,
        code: u16,
        out: &mut Vec<u8>,
    ) -> Verdict {
        if asker.stream {
            return Verdict::Reply;
        }
        let kind = query
            .filter(|_| code == rcode::NOERROR)
            .map_or(u64::from(code), |query| hash_octets(query.lower()));
        let limited = counter.limiter.judge(asker.address, kind, counter.now_s);
        if limited == Limited::Send {
            return Verdict::Reply;
        }
        self.totals.limited.fetch_add(1, Ordering::Relaxed);
        match query {
            Some(query) if limited == Limited::Slip => {
                cut_short(query, out);
                Verdict::Reply
            }
            _ => Verdict::Silence,
        }
    }
}

/// The octets that a reply to this asker may have.
pub fn reply_limit(query: &Query<'_>, asker: Asker) -> usize {
    match (asker.stream, query.edns) {
        (true, _) => MESSAGE_OCTETS_MAX,
        (false, Some(edns)) => usize::from(edns.udp_octets).clamp(UDP_OCTETS_PLAIN, UDP_OCTETS_EDNS),
        (false, None) => UDP_OCTETS_PLAIN,
    }
}

/// Types that no question may have (RFC 6895 section 3.1): pseudo-types are malformed, the rest is not implemented.
fn refusal_of_type(qtype: RecordType) -> Option<u16> {
    match qtype.0 {
        0 | 41 | 250 => Some(rcode::FORMERR),
        249 | 253 | 254 => Some(rcode::NOTIMP),
        _ => None,
    }
}

/// A reply without a question.
fn header_only(message: &[u8], code: u16, opt: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&message[..2]);
    out.extend_from_slice(&[0x80 | message[2] & 0x79, message[3] & 0x10 | code as u8, 0, 0, 0, 0, 0, 0, 0]);
    out.push(u8::from(!opt.is_empty()));
    out.extend_from_slice(opt);
}

/// What the rate limiter lets through now and then: the question and TC, so that a real asker comes by TCP.
fn cut_short(query: &Query<'_>, out: &mut Vec<u8>) {
    out.truncate(query.question_end);
    out[2] |= 0x02;
    out[6..12].fill(0);
}

#[cfg(test)]
mod tests;
