//! Zone transfers: AXFR (RFC 5936) and IXFR (RFC 1995), message by message as the secondary takes them.

use std::sync::Arc;

use super::errands::{Party, now};
use super::{House, zone_settings};
use crate::errand::Errand;
use crate::keeper::Keeper;
use crate::keeper::journal::Delta;
use crate::limits::{TRANSFER_MESSAGE_OCTETS, UDP_OCTETS_PLAIN};
use crate::message::Message;
use crate::name::Name;
use crate::query::{Query, rcode};
use crate::record::{CLASS_IN, Record, RecordType};
use crate::settings::networks;
use crate::tsig::Signer;
use crate::zone::{Zone, serial_is_after, soa_serial};

impl House {
    pub(super) async fn transfer(&self, errand: &Errand, query: &Query<'_>, party: &Party<'_>) {
        let asked = Name::from_octets(query.lower()).ok();
        let Some(keeper) = asked.and_then(|name| self.keeper(&name)).filter(|_| query.qclass == CLASS_IN)
        else {
            return self.say(errand, query, party, rcode::NOTAUTH).await;
        };
        if !self.may_transfer(&keeper, errand, party) {
            return self.say(errand, query, party, rcode::REFUSED).await;
        }
        let zone = keeper.served();
        let known = match query.qtype {
            RecordType::IXFR => match asked_serial(&errand.message) {
                Some(serial) => Some(serial),
                None => return self.say(errand, query, party, rcode::FORMERR).await,
            },
            // RFC 5936 section 4.2: AXFR is for streams.
            _ if !errand.asker.stream => return self.say(errand, query, party, rcode::FORMERR).await,
            _ => None,
        };
        let soa = zone.soa().plain_records(&zone.origin, &zone.origin);
        let up_to_date = known.is_some_and(|known| !serial_is_after(zone.serial(), known));
        let steps = known.filter(|_| !up_to_date).and_then(|known| keeper.since(known));
        let whole_is_shorter = steps.as_ref().is_some_and(|steps| {
            steps.iter().map(|one| one.added.len() + one.removed.len()).sum::<usize>() > 4 * zone.len() + 64
        });
        let mut messages = Messages::new(errand, query, party, &zone);
        let done = match steps.filter(|_| !whole_is_shorter) {
            _ if up_to_date => messages.send_all(soa.iter().cloned()).await,
            Some(steps) => messages.send_all(incremental(&soa, &steps)).await,
            // RFC 1995 section 2: over UDP the SOA alone says "come by TCP".
            None if !errand.asker.stream => messages.send_all(soa.iter().cloned()).await,
            None => messages.send_all(zone.records().chain(soa.iter().cloned())).await,
        };
        if done.is_some() {
            messages.flush().await;
        }
    }

    fn may_transfer(&self, keeper: &Keeper, errand: &Errand, party: &Party<'_>) -> bool {
        let settings = zone_settings(&self.settings(), &keeper.origin);
        let by_address =
            networks(&settings.transfer_to).iter().any(|network| network.contains(errand.asker.address));
        let by_key = match party {
            Party::Key(known, _) => !known.settings.no_transfer && known.settings.knows_zone(&keeper.origin),
            _ => false,
        };
        by_address || by_key
    }
}

fn asked_serial(message: &[u8]) -> Option<u32> {
    let message = Message::parse(message).ok()?;
    let soa = message.authorities.iter().find(|record| record.rtype == RecordType::SOA)?;
    soa_serial(&soa.data)
}

/// RFC 1995 section 4: the new SOA, each step as old SOA, gone, new SOA, come, and the new SOA again.
fn incremental<'a>(soa: &'a [Record], steps: &'a [Arc<Delta>]) -> impl Iterator<Item = Record> + 'a {
    let steps = steps.iter().flat_map(|step| step.removed.iter().chain(&step.added));
    soa.iter().chain(steps).chain(soa).cloned()
}

struct Messages<'a> {
    errand: &'a Errand,
    head: Vec<u8>,
    origin: &'a Name,
    signer: Option<Signer>,
    out: Vec<u8>,
    count: u16,
    limit: usize,
}

impl<'a> Messages<'a> {
    fn new(errand: &'a Errand, query: &Query<'_>, party: &Party<'_>, zone: &'a Zone) -> Messages<'a> {
        let mut head = crate::message::bare_reply(&errand.message, query.question_end, rcode::NOERROR);
        head[2] |= 0x04;
        let signer = match party {
            Party::Key(known, verified) => Some(Signer::new(&known.key, &verified.mac)),
            _ => None,
        };
        let limit = if errand.asker.stream { TRANSFER_MESSAGE_OCTETS } else { UDP_OCTETS_PLAIN };
        Messages { errand, out: head.clone(), head, origin: &zone.origin, signer, count: 0, limit }
    }

    /// Sends records, full messages as they fill; none when the secondary is gone.
    async fn send_all(&mut self, records: impl Iterator<Item = Record>) -> Option<()> {
        for record in records {
            let room = record.name.octets().len()
                + 10
                + record.data.len()
                + self.signer.as_ref().map_or(0, Signer::octets);
            if self.out.len() + room > self.limit && self.count > 0 {
                if !self.errand.asker.stream {
                    // What does not fit a datagram: the SOA alone, so that the secondary comes by TCP.
                    return self.only_soa(&record);
                }
                self.flush().await?;
            }
            self.push(&record);
        }
        Some(())
    }

    fn only_soa(&mut self, _: &Record) -> Option<()> {
        let first = self.head.len();
        let mut at = first;
        let record = crate::message::read_record(&self.out, &mut at, false).ok()?;
        self.out.truncate(first);
        self.count = 0;
        self.push(&record);
        Some(())
    }

    /// The owner is compressed against the question, which is the origin.
    fn push(&mut self, record: &Record) {
        match record.name.prefix_before(self.origin) {
            Some(prefix) => {
                self.out.extend_from_slice(prefix);
                self.out.extend_from_slice(&[0xC0, 12]);
            }
            None => self.out.extend_from_slice(record.name.octets()),
        }
        for number in [record.rtype.0, record.class] {
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        self.out.extend_from_slice(&record.ttl.to_be_bytes());
        self.out.extend_from_slice(&(record.data.len() as u16).to_be_bytes());
        self.out.extend_from_slice(&record.data);
        self.count += 1;
    }

    async fn flush(&mut self) -> Option<()> {
        let mut message = std::mem::replace(&mut self.out, self.head.clone());
        message[6..8].copy_from_slice(&self.count.to_be_bytes());
        self.count = 0;
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, now());
        }
        self.errand.replies.send(message).await.then_some(())
    }
}
