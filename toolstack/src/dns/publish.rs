//! The household's records in its own zone: signpost holds it, and `nymote up` keeps MX, SPF, DKIM, DMARC, the services'
//! records and addresses there, by signed updates under a key that may change nothing else.
//!
//! What stands in the zone is its owner's: a set of records is written where there is none, and changed only while what
//! we wrote last still stands there. What that was is in the household's file [`LAST`].

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use chassis::control::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signpost_dns::name::Name;
use signpost_dns::publish::{PublishError, Published, Publisher, RecordSet};
use signpost_dns::record::Record;
use signpost_dns::{tsig, zonefile};

use crate::household::Household;
use crate::trouble::Trouble;

/// What the household remembers: its key, and what it wrote last.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The key's secret, in base 64; empty before the first time.
    secret: String,
    /// The records, as a master file.
    published: String,
}

/// Publishes now and again and again, so that what becomes known later gets there too. `say` takes what is worth a line
/// of the log: a level and words.
pub async fn keep(
    household: Household,
    endpoints: BTreeMap<String, String>,
    say: impl Fn(&'static str, String),
) {
    let (mut first, mut troubled) = (true, false);
    loop {
        match round(&household, &endpoints).await {
            Ok(0) => troubled = false,
            Ok(changed) => {
                troubled = false;
                say("info", format!("{changed} sets of records published in {}", household.settings.domain));
            }
            Err(trouble) if !troubled => {
                troubled = true;
                say("warn", format!("the household's records are not in its zone: {trouble}"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(if first { SOON } else { AGAIN }).await;
        first = false;
    }
}

/// Forgets what was written, so that whatever has no records gets them again; says how many sets were written.
pub async fn anew(household: &Household, endpoints: &BTreeMap<String, String>) -> Result<usize, Trouble> {
    let memory = Memory { published: String::new(), ..Memory::read(household)? };
    memory.write(household)?;
    round(household, endpoints).await
}

/// Brings the zone up to date; says how many sets changed.
async fn round(household: &Household, endpoints: &BTreeMap<String, String>) -> Result<usize, Trouble> {
    let server: Option<SocketAddr> = endpoints.get("dns").and_then(|at| at.parse().ok());
    let Some(server) = server else { return Ok(0) };
    let zone = name(&household.settings.domain)?;
    let wanted = RecordSet::of(records(&wanted(household, endpoints).await, &zone)?);
    let mut memory = Memory::read(household)?;
    let mut published = RecordSet::of(records(&memory.published, &zone)?);
    let mut changed = 0;
    for (set, before) in differences(&wanted, &published) {
        if publish(household, server, &zone, &mut memory, &set, before.as_ref()).await? == Published::Done {
            changed += 1;
        }
        // What is left alone counts as written: it is not tried again until it is to become something else.
        published.retain(|one| !one.is_of(&set.name, set.rtype));
        if !set.records.is_empty() {
            published.push(set);
        }
        memory.published = zonefile::print(published.iter().flat_map(|set| &set.records));
        memory.write(household)?;
    }
    Ok(changed)
}

/// What is to be written: each set with what was written of that name and type before.
fn differences(wanted: &[RecordSet], published: &[RecordSet]) -> Vec<(RecordSet, Option<RecordSet>)> {
    let of = |sets: &[RecordSet], set: &RecordSet| {
        sets.iter().find(|one| one.is_of(&set.name, set.rtype)).cloned()
    };
    let gone = published.iter().filter(|set| of(wanted, set).is_none());
    let gone = gone.map(|set| (RecordSet { records: Vec::new(), ..set.clone() }, Some(set.clone())));
    let new = wanted.iter().map(|set| (set.clone(), of(published, set)));
    new.filter(|(set, before)| before.as_ref() != Some(set)).chain(gone).collect()
}

/// One set; a key that signpost does not know is given to it first.
async fn publish(
    household: &Household,
    server: SocketAddr,
    zone: &Name,
    memory: &mut Memory,
    set: &RecordSet,
    before: Option<&RecordSet>,
) -> Result<Published, Trouble> {
    let words = |error: PublishError| Trouble::new(error.to_string());
    if !memory.secret.is_empty() {
        match publisher(server, zone, &memory.secret)?.put(set, before).await {
            Err(PublishError::NotAuthorised) => {}
            other => return other.map_err(words),
        }
    }
    memory.secret = introduce(household).await?;
    memory.write(household)?;
    publisher(server, zone, &memory.secret)?.put(set, before).await.map_err(words)
}

fn publisher(server: SocketAddr, zone: &Name, secret: &str) -> Result<Publisher, Trouble> {
    let secret = data_encoding::BASE64.decode(secret.as_bytes());
    let secret = secret.map_err(|error| Trouble::new(format!("the secret in {LAST} is damaged: {error}")))?;
    let key = tsig::Key::new(name(KEY)?, tsig::Algorithm::Sha256, &secret);
    Ok(Publisher { server, zone: zone.clone(), key })
}

/// Makes signpost know the key, with a policy of what we publish and no more. Gives its secret.
async fn introduce(household: &Household) -> Result<String, Trouble> {
    let domain = &household.settings.domain;
    let below = HOSTS.iter().map(|host| format!("{host}.{domain}"));
    let names: Vec<String> = std::iter::once(domain.clone()).chain(below).collect();
    let client = Client::connect(&household.of("signpost")).await;
    let client = client.map_err(|error| Trouble::new(error.to_string()))?;
    let policy = json!({"name": KEY, "zones": [domain], "names": names, "types": TYPES});
    let made = client.ask("key.add", policy).await?;
    Ok(made["secret"].as_str().unwrap_or_default().to_owned())
}

/// All that should stand in the zone, as lines.
async fn wanted(household: &Household, endpoints: &BTreeMap<String, String>) -> String {
    let addresses = super::addresses(household);
    let mut lines = super::essential(household, &addresses);
    lines.extend(super::services(household, &addresses, endpoints));
    lines.extend(super::keys(household).await);
    lines.join("\n") + "\n"
}

fn records(text: &str, zone: &Name) -> Result<Vec<Record>, Trouble> {
    zonefile::parse(text, zone, Some(TTL_S)).map_err(|error| Trouble::new(error.to_string()))
}

fn name(text: &str) -> Result<Name, Trouble> {
    Name::from_text(text, Some(&Name::root())).map_err(Trouble::new)
}

impl Memory {
    fn read(household: &Household) -> Result<Memory, Trouble> {
        let path = household.dir.join(LAST);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Trouble::new(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(error) => Err(Trouble::io("read", &path, error)),
        }
    }

    fn write(&self, household: &Household) -> Result<(), Trouble> {
        household.write(LAST, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o600)
    }
}

/// In the household's directory: what is published and the key.
const LAST: &str = "published.json";
/// The key's name at signpost.
const KEY: &str = "household";
/// Below the domain, what the key may change.
const HOSTS: &[&str] = &[
    "mail",
    "contacts",
    "calendar",
    "signpost",
    "imap",
    "smtp",
    "autoconfig",
    "autodiscover",
    "_dmarc",
    "*._domainkey",
    "*._tcp",
];
const TYPES: &[&str] = &["A", "AAAA", "CNAME", "MX", "SRV", "TXT"];
/// A machine that gets another address is found after five minutes.
const TTL_S: u32 = 300;
const AGAIN: Duration = Duration::from_secs(600);
/// The RSA key of DKIM is made beside the first start; it takes seconds.
const SOON: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(text: &str) -> Vec<RecordSet> {
        RecordSet::of(records(text, &name("home.test").unwrap()).unwrap())
    }

    #[test]
    fn only_what_changed_is_written() {
        let before =
            sets("mail.home.test. A 192.0.2.1\nhome.test. MX 10 mail.home.test.\nold.home.test. TXT x\n");
        let wanted = sets(
            "home.test. MX 10 mail.home.test.\nmail.home.test. A 192.0.2.2\nmail.home.test. AAAA 2001:db8::1\n",
        );
        let told: Vec<(String, usize, bool)> = differences(&wanted, &before)
            .into_iter()
            .map(|(set, before)| (format!("{} {}", set.name, set.rtype), set.records.len(), before.is_some()))
            .collect();
        let told: Vec<(&str, usize, bool)> =
            told.iter().map(|(set, n, had)| (set.as_str(), *n, *had)).collect();
        assert_eq!(
            told,
            [
                ("mail.home.test. A", 1, true),
                ("mail.home.test. AAAA", 1, false),
                ("old.home.test. TXT", 0, true)
            ]
        );
        assert!(differences(&wanted, &wanted).is_empty());
    }
}
