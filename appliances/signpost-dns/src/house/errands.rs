//! Requests that wait for something: updates, transfers, signed questions, sleeping services.

use std::sync::Arc;

use super::{House, KnownKey, unlocked};
use crate::answer::{Writer, answer};
use crate::engine::{Asker, reply_limit};
use crate::errand::Errand;
use crate::keeper::Cause;
use crate::message::{Message, bare_reply};
use crate::name::Name;
use crate::query::{self, Incoming, Query, opcode, rcode};
use crate::record::{CLASS_IN, RecordType};
use crate::tsig::{self, RequestId, Signer, Verified};
use crate::update;

/// Seconds since 1970, as TSIG has them.
pub(super) fn now() -> u64 {
    u64::from(crate::serve::now_s())
}

/// Who signed a request.
pub(super) enum Party<'k> {
    /// Nobody.
    Nobody,
    /// A shared key.
    Key(&'k KnownKey, Verified<'k>),
    /// A KEY record of the zone (SIG(0)), by its owner; and the request's name.
    Own(Name, RequestId),
}

impl Party<'_> {
    fn words(&self) -> String {
        match self {
            Party::Nobody => "nobody".to_string(),
            Party::Key(known, _) => format!("key {}", known.key.name.to_string().trim_end_matches('.')),
            Party::Own(name, _) => format!("SIG(0) {}", name.to_string().trim_end_matches('.')),
        }
    }
}

impl House {
    /// Does the engine's errands from now on.
    pub fn do_errands(self: &Arc<Self>) {
        let Some(errands) = self.engine.errands() else { return };
        self.remember();
        let house = Arc::downgrade(self);
        errands.done_by(move |errand| {
            let house = house.upgrade();
            Box::pin(async move {
                if let Some(house) = house {
                    house.errand(errand).await;
                }
            })
        });
    }

    async fn errand(&self, errand: Errand) {
        let Incoming::Query(query) = query::read(&errand.message) else { return };
        let keys = unlocked(self.keys.read()).clone();
        let find = |name: &Name| keys.get(name).map(|known| &known.key);
        let mut party = Party::Nobody;
        if let Some(at) = query.signature_at {
            let kind = errand.message.get(at..).and_then(signature_type);
            if kind == Some(RecordType::TSIG) {
                match tsig::verify(&errand.message, at, find, now()) {
                    Ok(verified) => {
                        let Some(known) = keys.get(&verified.key.name) else { return };
                        party = Party::Key(known, verified);
                    }
                    Err(rejected) => {
                        let mut reply = bare_reply(&errand.message, query.question_end, rejected.rcode);
                        tsig::reject(&mut reply, &rejected, find, now());
                        errand.replies.send(reply).await;
                        return;
                    }
                }
            } else if query.opcode == opcode::UPDATE {
                let own = self.sig0(&errand.message, at, &query);
                party = own.map_or(Party::Nobody, |(name, id)| Party::Own(name, id));
            }
        }
        match (query.opcode, query.qtype) {
            (opcode::UPDATE, _) => self.update(&errand, &query, &party).await,
            (opcode::QUERY, RecordType::AXFR | RecordType::IXFR) => {
                self.transfer(&errand, &query, &party).await
            }
            (opcode::QUERY, _) => self.question(&errand, &query, &party).await,
            _ => self.say(&errand, &query, &party, rcode::NOTAUTH).await,
        }
    }

    /// Sends a reply of a response code alone, signed when the request was.
    pub(super) async fn say(&self, errand: &Errand, query: &Query<'_>, party: &Party<'_>, code: u16) {
        let mut reply = bare_reply(&errand.message, query.question_end, code);
        if let Party::Key(known, verified) = party {
            Signer::new(&known.key, &verified.mac).sign(&mut reply, now());
        }
        errand.replies.send(reply).await;
    }

    async fn update(&self, errand: &Errand, query: &Query<'_>, party: &Party<'_>) {
        let id = match party {
            Party::Nobody => {
                return self.say(errand, query, party, self.updated(errand, party, None).await.0).await;
            }
            Party::Key(_, verified) => verified.id(),
            Party::Own(_, id) => *id,
        };
        let before = unlocked(self.seen.lock()).before(&id);
        match (before, party) {
            (Ok(None), _) => {}
            (Ok(Some(code)), _) => return self.say(errand, query, party, code).await,
            (Err(too_old), Party::Key(known, verified)) => {
                let rejected = too_old.rejected(verified);
                let mut reply = bare_reply(&errand.message, query.question_end, rejected.rcode);
                tsig::reject(&mut reply, &rejected, |_| Some(&known.key), now());
                errand.replies.send(reply).await;
                return;
            }
            (Err(_), _) => return self.say(errand, query, party, rcode::REFUSED).await,
        }
        let (code, saved) = self.updated(errand, party, Some(&id)).await;
        if code != rcode::SERVFAIL {
            unlocked(self.seen.lock()).note(id, code, saved, now());
            if !saved {
                self.remembered().await;
            }
        }
        self.say(errand, query, party, code).await;
    }

    /// RFC 2136 section 3: the response code, and whether the store remembers the request now.
    async fn updated(&self, errand: &Errand, party: &Party<'_>, id: Option<&RequestId>) -> (u16, bool) {
        let Ok(message) = Message::parse(&errand.message) else { return (rcode::FORMERR, false) };
        let (origin, rtype, class) = &message.question;
        if *rtype != RecordType::SOA {
            return (rcode::FORMERR, false);
        }
        let Some(keeper) = self.keeper(origin).filter(|_| *class == CLASS_IN) else {
            return (rcode::NOTAUTH, false);
        };
        if matches!(party, Party::Nobody) {
            return (rcode::REFUSED, false);
        }
        let may = |name: &Name, rtype: RecordType| match party {
            Party::Nobody => false,
            Party::Key(known, _) => known.settings.may(&keeper.origin, name, rtype),
            // Self-update: a name may change what is at itself, not hand itself another key of the zone's.
            Party::Own(own, _) => name == own && !rtype.is_made_by_signer() && rtype != RecordType::NS,
        };
        let mut cause = Cause::new(party.words(), "by dynamic update");
        let unsaved = unlocked(self.seen.lock()).unsaved();
        cause.remembered.clone_from(&unsaved);
        cause.remembered.extend(id.map(|id| tsig::row_of(id, rcode::NOERROR)));
        let view = match party {
            Party::Key(known, _) => known.settings.view.as_deref(),
            _ => None,
        };
        let done = match view {
            // A view's commit does not carry the memory of requests; the next of a zone does.
            Some(view) => {
                self.change_view(&cause, view, &keeper, |_, zone| update::work_out(zone, &message, may)).await
            }
            None => keeper.change(&cause, |zone| update::work_out(zone, &message, may)).await,
        };
        let saved = view.is_none() && done.as_ref().is_ok_and(|changed| changed.sets > 0);
        if !saved {
            unlocked(self.seen.lock()).give_back(unsaved);
        }
        match done {
            Ok(changed) => {
                if changed.sets > 0 {
                    self.tell_secondaries(&keeper.origin);
                }
                (rcode::NOERROR, saved)
            }
            Err(error) => {
                if error.rcode() == rcode::SERVFAIL {
                    tracing::error!(zone = %keeper.origin, %error, "an update failed");
                }
                (error.rcode(), false)
            }
        }
    }

    /// A question that is signed, or for a service that sleeps.
    async fn question(&self, errand: &Errand, query: &Query<'_>, party: &Party<'_>) {
        let served = self.engine.served.now();
        let asleep = served
            .find(query.lower(), query.qtype)
            .is_some_and(|views| views.sleepers.contains(query.lower()));
        if let (true, Some(hook), Ok(name)) = (asleep, self.wake_hook(), Name::from_octets(query.lower())) {
            // A service that does not wake in time is answered for all the same: its address is known.
            self.wake(&name, hook).await;
        }
        let served = self.engine.served.now();
        let Some(views) = served.find(query.lower(), query.qtype).filter(|_| query.qclass == CLASS_IN) else {
            return self.say(errand, query, party, rcode::REFUSED).await;
        };
        let zone = views.zone_for(errand.asker.address);
        let mut signer = match party {
            Party::Key(known, verified) => Some(Signer::new(&known.key, &verified.mac)),
            _ => None,
        };
        let opt = self.engine.opt(query, errand.asker, crate::serve::now_s());
        let opt = opt.octets();
        let room = opt.len() + signer.as_ref().map_or(0, Signer::octets);
        let limit = reply_limit(query, Asker { ..errand.asker }).saturating_sub(room);
        let mut reply = Vec::new();
        let mut writer = Writer::new(&mut reply, query, &zone.origin, limit);
        let code = answer(zone, query, &mut writer);
        writer.finish(query, code, opt);
        if let Some(signer) = &mut signer {
            signer.sign(&mut reply, now());
        }
        errand.replies.send(reply).await;
    }
}

/// The type of the record that begins here.
fn signature_type(record: &[u8]) -> Option<RecordType> {
    let mut at = 0;
    while *record.get(at)? != 0 {
        if record[at] >= 0xC0 {
            at += 1;
            break;
        }
        at += 1 + record[at] as usize;
    }
    let rtype = record.get(at + 1..at + 3)?;
    Some(RecordType(u16::from_be_bytes([rtype[0], rtype[1]])))
}
