//! What the parent zone says of a zone of ours: its DS and NS, asked of a resolver. It decides when a key signing key
//! may change hands, when signing may end, and tells the owner whether the registrar did what it must.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{House, errands::now, signer_of, unlocked, zone_settings, zone_settings_mut};
use crate::dnssec::ZoneKey;
use crate::keeper::{Cause, KeepError, Keeper};
use crate::message::Message;
use crate::name::Name;
use crate::query::rcode;
use crate::record::{CLASS_IN, RecordType, data};

/// Time for one try of one resolver.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tries by UDP.
const TRIES: usize = 2;
/// Names that no resolver of the public DNS has (RFC 6761, RFC 8375, ICANN's `internal`).
const SPECIAL_USE: [&str; 8] =
    ["test.", "example.", "invalid.", "localhost.", "local.", "home.arpa.", "internal.", "onion."];
/// Seconds between looks when nothing waits for the parent, and when something does.
const LOOK_EVERY_S: (u64, u64) = (6 * 3600, 300);

/// What the parent was seen to say.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When it was looked at, seconds since 1970.
    pub at: u64,
    /// The DS data.
    pub ds: Vec<Vec<u8>>,
    /// The name servers.
    pub servers: Vec<Name>,
    /// Why nothing could be seen.
    pub problem: Option<String>,
}

impl Seen {
    /// Whether the parent's DS names this key (digests SHA-256 and SHA-384).
    pub fn names(&self, origin: &Name, key: &ZoneKey) -> bool {
        self.problem.is_none() && key.all_ds(origin).iter().any(|ds| self.ds.contains(ds))
    }

    /// What of it the owner must see to, in sentences. `asked`: the keys that the parent should name; `servers`: the
    /// zone's own name servers.
    pub fn problems(
        &self,
        origin: &Name,
        asked: &[std::sync::Arc<ZoneKey>],
        servers: &[Name],
    ) -> Vec<String> {
        if let Some(problem) = &self.problem {
            return vec![format!("{origin}: the parent could not be asked: {problem}")];
        }
        let mut found = Vec::new();
        if self.servers.is_empty() {
            found.push(format!(
                "{origin}: no name server is known to the world; tell the registrar the NS names"
            ));
        }
        for server in servers.iter().filter(|one| !self.servers.is_empty() && !self.servers.contains(one)) {
            found.push(format!("{origin}: the world does not know the name server {server}"));
        }
        for server in self.servers.iter().filter(|one| !servers.contains(one)) {
            found.push(format!("{origin}: the world still asks {server}, which the zone does not name"));
        }
        if asked.is_empty() {
            if !self.ds.is_empty() {
                found.push(format!(
                    "{origin}: the parent has a DS and the zone is not signed: validators refuse it"
                ));
            }
            return found;
        }
        if self.ds.is_empty() {
            found.push(format!("{origin}: the parent has no DS; tell the registrar the one shown"));
        } else if !asked.iter().any(|key| self.names(origin, key)) {
            found.push(format!("{origin}: the parent's DS names none of the keys that it is asked for"));
        }
        found
    }
}

impl House {
    /// The name servers and DS that the world sees for a zone, asked for now.
    pub async fn look_at_parent(&self, origin: &Name) -> Seen {
        let seen = match self.resolver(origin) {
            Ok(resolver) => match (
                ask(resolver, origin, RecordType::DS).await,
                ask(resolver, origin, RecordType::NS).await,
            ) {
                (Ok(ds), Ok(servers)) => Seen {
                    at: now(),
                    ds,
                    servers: servers.iter().filter_map(|one| data::name_at(one, 0)).collect(),
                    problem: None,
                },
                (Err(problem), _) | (_, Err(problem)) => {
                    Seen { at: now(), problem: Some(problem), ..Seen::default() }
                }
            },
            Err(problem) => Seen { at: now(), problem: Some(problem), ..Seen::default() },
        };
        unlocked(self.parents.lock()).insert(origin.clone(), seen.clone());
        seen
    }

    /// What the owner must see to at the registrar, asked for now, in sentences.
    pub async fn registrar_problems(&self, origin: &Name) -> Vec<String> {
        let seen = self.look_at_parent(origin).await;
        self.problems_of(origin, &seen)
    }

    /// What the owner must see to, of what was seen of the parent.
    pub fn problems_of(&self, origin: &Name, seen: &Seen) -> Vec<String> {
        let settings = zone_settings(&self.settings(), origin);
        let signer = settings.signed.then(|| signer_of(&settings).ok()).flatten();
        let keys = signer.map(|signer| signer.published).unwrap_or_default();
        let servers = self.keeper(origin).map(|keeper| {
            let zone = keeper.served();
            let set = zone.apex().get(RecordType::NS);
            let hosts =
                set.into_iter().flat_map(|set| set.datas(origin)).filter_map(|one| data::name_at(&one, 0));
            hosts.collect::<Vec<Name>>()
        });
        let leaving = settings.leaving != 0 && seen.ds.is_empty();
        seen.problems(origin, if leaving { &[] } else { &keys }, &servers.unwrap_or_default())
    }

    /// What was last seen of a zone's parent.
    pub fn parent_seen(&self, origin: &Name) -> Option<Seen> {
        unlocked(self.parents.lock()).get(origin).cloned()
    }

    /// The resolver that is asked: the one of the settings, or the system's.
    fn resolver(&self, origin: &Name) -> Result<SocketAddr, String> {
        if let Some(set) = self.settings().resolver {
            return Ok(set);
        }
        let private =
            SPECIAL_USE.iter().any(|top| Name::from_text(top, None).is_ok_and(|top| origin.is_within(&top)));
        if private {
            return Err("its name is not part of the public DNS (RFC 6761)".to_string());
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let found = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
        found.map(|address| SocketAddr::new(address, 53)).ok_or_else(|| {
            "no resolver is known; `nymote signpost set --resolver ADDRESS:53` names one".to_string()
        })
    }

    /// Looks at the parent when it is time, and does what waits for it: rolls a key signing key whose DS is there, ends
    /// signing when no DS is left.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn follow_parent(&self, keeper: &Keeper) -> Result<(), KeepError> {
        let origin = &keeper.origin;
        let settings = zone_settings(&self.settings(), origin);
        if !settings.signed {
            return Ok(());
        }
        let every = if settings.waits_for_parent() { LOOK_EVERY_S.1 } else { LOOK_EVERY_S.0 };
        if self.parent_seen(origin).is_some_and(|seen| now().saturating_sub(seen.at) < every) {
            return Ok(());
        }
        let seen = self.look_at_parent(origin).await;
        if seen.problem.is_some() || !settings.waits_for_parent() {
            return Ok(());
        }
        if settings.leaving == 0 {
            let signer = signer_of(&settings).map_err(KeepError::Other)?;
            let has = |at: usize| signer.published.get(at).is_some_and(|key| seen.names(origin, key));
            return self.roll_keys(keeper, now(), has).await;
        }
        self.leave(keeper, &seen).await
    }

    /// RFC 8078 section 4: when the DS has been gone for as long as caches may hold it, the zone is no longer signed.
    async fn leave(&self, keeper: &Keeper, seen: &Seen) -> Result<(), KeepError> {
        let origin = &keeper.origin;
        let settings = zone_settings(&self.settings(), origin);
        let gone_since = match (seen.ds.is_empty(), settings.ds_gone_since) {
            (false, _) => 0,
            (true, 0) => now(),
            (true, since) => since,
        };
        if gone_since != settings.ds_gone_since {
            let why = format!(
                "{origin}: the parent {}",
                if gone_since == 0 { "has a DS" } else { "has no DS any more" }
            );
            self.change_settings("signer", &why, |all| {
                zone_settings_mut(all, origin).ds_gone_since = gone_since
            })
            .await?;
        }
        if gone_since != 0 && now().saturating_sub(gone_since) >= settings.timing.parent_s {
            self.unsign(keeper, "signer", "is no longer signed: the parent's DS is gone").await?;
        }
        Ok(())
    }

    /// Ends signing at once.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn unsign(&self, keeper: &Keeper, who: &str, why: &str) -> Result<u32, KeepError> {
        let origin = &keeper.origin;
        self.change_settings(who, &format!("{origin} {why}"), |all| {
            let zone = zone_settings_mut(all, origin);
            (zone.signed, zone.leaving, zone.ds_gone_since) = (false, 0, 0);
            zone.keys.clear();
        })
        .await?;
        Ok(keeper.sign_anew(None, &Cause::new(who, why)).await?.serial)
    }
}

/// The data of an RRset as a resolver knows it; empty when there is none.
async fn ask(resolver: SocketAddr, name: &Name, rtype: RecordType) -> Result<Vec<Vec<u8>>, String> {
    let id: [u8; 2] = chassis::accounts::random();
    let mut question = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 1], name.octets()].concat();
    question.extend_from_slice(&rtype.0.to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
    // EDNS with 1232 octets.
    question.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let mut reply = Err("it does not answer".to_string());
    for _ in 0..TRIES {
        reply = by_udp(resolver, &question).await.map_err(|error| error.to_string());
        if reply.is_ok() {
            break;
        }
    }
    let mut reply = reply.map_err(|error| format!("the resolver {resolver}: {error}"))?;
    if reply.get(2).is_some_and(|flags| flags & 2 != 0) {
        reply =
            by_tcp(resolver, &question).await.map_err(|error| format!("the resolver {resolver}: {error}"))?;
    }
    let message = Message::parse(&reply).map_err(|error| format!("the resolver {resolver}: {error}"))?;
    match message.flags & 15 {
        rcode::NOERROR | rcode::NXDOMAIN => {}
        other => {
            return Err(format!("the resolver {resolver} answers response code {other} for {name} {rtype}"));
        }
    }
    let fitting = message.answers.into_iter().filter(|one| one.rtype == rtype && one.name == *name);
    Ok(fitting.map(|one| one.data).collect())
}

async fn by_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut reply = vec![0; 4096];
    let octets = timeout(PATIENCE, async {
        loop {
            let octets = socket.recv(&mut reply).await?;
            if octets >= 12 && reply[..2] == question[..2] && reply[2] & 0x80 != 0 {
                return std::io::Result::Ok(octets);
            }
        }
    });
    let octets = octets.await??;
    reply.truncate(octets);
    Ok(reply)
}

async fn by_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let talk = async {
        let mut stream = TcpStream::connect(resolver).await?;
        stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], question].concat()).await?;
        let mut reply = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut reply).await?;
        Ok(reply)
    };
    timeout(2 * PATIENCE, talk).await?
}
