//! Keeping records in a zone from outside: updates (RFC 2136) that are signed (RFC 8945) and that take nothing away from
//! anybody else. It knows what it wrote last and changes a set of records only while that still stands there.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::name::Name;
use crate::query::rcode;
use crate::record::{CLASS_ANY, CLASS_IN, CLASS_NONE, Record, RecordType};
use crate::tsig::{Key, Signer};

/// Where a zone is kept, and the key that may change it.
pub struct Publisher {
    /// The server's address; updates go over TCP.
    pub server: SocketAddr,
    /// The zone.
    pub zone: Name,
    /// The key.
    pub key: Key,
}

/// The records of one name and type; none means that there should be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// The name.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
    /// The records, all of that name and type.
    pub records: Vec<Record>,
}

/// What became of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It stands in the zone.
    Done,
    /// Somebody else's records stand there, or somebody took ours away: nothing was changed.
    LeftAlone,
}

/// Why nothing could be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The server was not reached, or said nothing in time.
    #[error("the name server {0} does not answer: {1}")]
    Unreachable(SocketAddr, std::io::Error),
    /// It does not know the key, or is not in charge of the zone (RFC 2136 section 3.1, RFC 8945 section 5.2).
    #[error("the name server takes no updates of this zone by this key")]
    NotAuthorised,
    /// It refused.
    #[error("the name server refused the update (response code {0})")]
    Refused(u16),
}

impl RecordSet {
    /// Sorts records into sets, in the order in which the sets first occur.
    pub fn of(records: Vec<Record>) -> Vec<RecordSet> {
        let mut sets: Vec<RecordSet> = Vec::new();
        for record in records {
            match sets.iter_mut().find(|set| set.is_of(&record.name, record.rtype)) {
                Some(set) => set.records.push(record),
                None => sets.push(RecordSet {
                    name: record.name.clone(),
                    rtype: record.rtype,
                    records: vec![record],
                }),
            }
        }
        sets
    }

    /// Whether it is the set of this name and type.
    pub fn is_of(&self, name: &Name, rtype: RecordType) -> bool {
        self.rtype == rtype && self.name.lower() == name.lower()
    }
}

impl Publisher {
    /// Puts `wanted` into the zone, where nothing stands or where `before`, what was published last, still does.
    ///
    /// # Errors
    /// `PublishError`; the set is as it was.
    pub async fn put(
        &self,
        wanted: &RecordSet,
        before: Option<&RecordSet>,
    ) -> Result<Published, PublishError> {
        let mut update = Update::of(&self.zone);
        match before {
            None => update.require_none(wanted),
            Some(before) => update.require(before),
        }
        if before.is_some() {
            update.delete(wanted);
        }
        update.add(wanted);
        if self.send(update).await? == Answer::Done {
            return Ok(Published::Done);
        }
        // It may stand there already: the answer to an earlier update was lost.
        let mut standing = Update::of(&self.zone);
        standing.require(wanted);
        let stands = !wanted.records.is_empty() && self.send(standing).await? == Answer::Done;
        Ok(if stands { Published::Done } else { Published::LeftAlone })
    }

    async fn send(&self, update: Update) -> Result<Answer, PublishError> {
        let mut message = update.message();
        Signer::for_request(&self.key).sign(&mut message, chassis::clock::now_ms() / 1000);
        let id = [message[0], message[1]];
        let unreachable = |error| PublishError::Unreachable(self.server, error);
        let reply = tokio::time::timeout(ANSWER_TIME, exchange(self.server, &message)).await;
        let reply = reply.map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?;
        let reply = reply.map_err(unreachable)?;
        if reply.len() < 12 || reply[..2] != id {
            return Err(unreachable(std::io::ErrorKind::InvalidData.into()));
        }
        match u16::from(reply[3] & 0x0F) {
            rcode::NOERROR => Ok(Answer::Done),
            rcode::YXRRSET | rcode::NXRRSET | rcode::YXDOMAIN | rcode::NXDOMAIN => Ok(Answer::Otherwise),
            rcode::NOTAUTH | rcode::NOTZONE => Err(PublishError::NotAuthorised),
            other => Err(PublishError::Refused(other)),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Answer {
    Done,
    Otherwise,
}

/// One message over a connection of its own (RFC 1035 section 4.2.2).
async fn exchange(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// An update being written (RFC 2136 section 2).
struct Update {
    zone: Name,
    prerequisites: Vec<Record>,
    changes: Vec<Record>,
}

impl Update {
    fn of(zone: &Name) -> Update {
        Update { zone: zone.clone(), prerequisites: Vec::new(), changes: Vec::new() }
    }

    /// Section 2.4.3: nothing of that name and type stands there.
    fn require_none(&mut self, set: &RecordSet) {
        self.prerequisites.push(bare(set, CLASS_NONE));
    }

    /// Section 2.4.2: exactly these stand there; for an empty set, nothing.
    fn require(&mut self, set: &RecordSet) {
        if set.records.is_empty() {
            return self.require_none(set);
        }
        self.prerequisites.extend(set.records.iter().map(|record| Record {
            ttl: 0,
            class: CLASS_IN,
            ..record.clone()
        }));
    }

    /// Section 2.5.2: all of that name and type go.
    fn delete(&mut self, set: &RecordSet) {
        self.changes.push(bare(set, CLASS_ANY));
    }

    /// Section 2.5.1.
    fn add(&mut self, set: &RecordSet) {
        self.changes.extend(set.records.iter().cloned());
    }

    fn message(&self) -> Vec<u8> {
        let id: [u8; 2] = chassis::accounts::random();
        let count = |records: &[Record]| (records.len() as u16).to_be_bytes();
        let mut out = [
            &id[..],
            &UPDATE,
            &1u16.to_be_bytes(),
            &count(&self.prerequisites),
            &count(&self.changes),
            &[0, 0],
            self.zone.octets(),
        ]
        .concat();
        out.extend_from_slice(&RecordType::SOA.0.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        for record in self.prerequisites.iter().chain(&self.changes) {
            crate::message::push_record(&mut out, record);
        }
        out
    }
}

/// A record without data that speaks of a whole set.
fn bare(set: &RecordSet, class: u16) -> Record {
    Record { name: set.name.clone(), rtype: set.rtype, class, ttl: 0, data: Vec::new() }
}

/// The flags of an update: its opcode.
const UPDATE: [u8; 2] = [crate::query::opcode::UPDATE << 3, 0];
/// An update is signed, written and flushed in a few milliseconds.
const ANSWER_TIME: Duration = Duration::from_secs(10);
