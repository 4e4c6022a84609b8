//! The household's records in its own zone: signpost holds it, and `nymote up` keeps MX, SPF, DKIM, DMARC, the key of
//! mail's certificate, the services' records and addresses there, by signed updates under a key that may change nothing else.
//!
//! What stands in the zone is its owner's: a set of records is written where there is none, and changed only while what
//! we wrote last still stands there. What that was is in the household's file [`LAST`].

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chassis::control::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signpost_dns::name::Name;
use signpost_dns::publish::{PublishError, Published, Publisher, RecordSet};
use signpost_dns::record::{Record, RecordType};
use signpost_dns::{tsig, zonefile};

use super::dane;
use crate::household::Household;
use crate::trouble::Trouble;

/// What the household remembers: its key, and what it wrote last.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The key's secret, in base 64; empty before the first time.
    secret: String,
    /// What signpost knows of the key's policy: [`POLICY`], or of an earlier version's.
    #[serde(default)]
    policy: u32,
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
    let mut troubled = false;
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
        tokio::time::sleep(AGAIN).await;
    }
}

/// Forgets what was written, so that whatever has no records gets them again; says how many sets were written.
pub async fn anew(household: &Household, endpoints: &BTreeMap<String, String>) -> Result<usize, Trouble> {
    let _turn = turn(household).await?;
    forget(&household.dir)?;
    Ok(bring_household(household, endpoints).await?.sets)
}

/// Forgets what was written, but not the key.
pub fn forget(dir: &Path) -> Result<(), Trouble> {
    Memory { published: String::new(), ..Memory::read(dir)? }.write(dir)
}

/// Waits until nobody else is at it: a command and the supervisor take turns.
async fn turn(household: &Household) -> Result<fs::File, Trouble> {
    let dir = fs::File::open(&household.dir).map_err(|error| Trouble::io("open", &household.dir, error))?;
    for _ in 0..TURN_TRIES {
        if dir.try_lock().is_ok() {
            return Ok(dir);
        }
        tokio::time::sleep(TURN_PAUSE).await;
    }
    Err(Trouble::new("somebody else is publishing the household's records for too long"))
}

/// What was written last, as far as it is known.
pub fn published(household: &Household) -> Result<Vec<Record>, Trouble> {
    records(&Memory::read(&household.dir)?.published, &name(&household.settings.domain)?)
}

/// The keys of DKIM and of mail's certificate, as they were published last, as lines of a master file.
pub fn last_keys(household: &Household) -> Result<String, Trouble> {
    let published = published(household)?;
    let is_key = |record: &&Record| {
        record.rtype == RecordType::TLSA || record.name.to_string().contains("._domainkey.")
    };
    Ok(zonefile::print(published.iter().filter(is_key)))
}

/// Brings the zone up to date, and mail to the certificate that waited for that; says how many sets changed.
pub async fn round(household: &Household, endpoints: &BTreeMap<String, String>) -> Result<usize, Trouble> {
    let _turn = turn(household).await?;
    let changed = bring_household(household, endpoints).await?;
    let (known, now_s) = (published(household)?, chassis::clock::now_ms() / 1000);
    match dane::go_on(household, &known, changed.left_alone, now_s).await? {
        true => Ok(changed.sets + bring_household(household, endpoints).await?.sets),
        false => Ok(changed.sets),
    }
}

async fn bring_household(
    household: &Household,
    endpoints: &BTreeMap<String, String>,
) -> Result<Changed, Trouble> {
    let server: Option<SocketAddr> = endpoints.get("dns").and_then(|at| at.parse().ok());
    let Some(server) = server else { return Ok(Changed::default()) };
    let wanted = wanted(household, endpoints).await?;
    let signpost = household.of("signpost");
    let way =
        Way { dir: &household.dir, domain: &household.settings.domain, server, signpost: Some(&signpost) };
    bring(&way, &wanted).await
}

/// The way to a household's zone.
pub struct Way<'a> {
    /// Where it is remembered what was written.
    pub dir: &'a Path,
    /// The zone.
    pub domain: &'a str,
    /// Who takes the updates.
    pub server: SocketAddr,
    /// The directory of a signpost that can be told the key at once; a machine has it on its disk.
    pub signpost: Option<&'a Path>,
}

/// What a round did.
#[derive(Default)]
pub struct Changed {
    /// Sets that were written.
    pub sets: usize,
    /// The key of mail's certificate is somebody else's to publish.
    left_alone: bool,
}

/// Makes the zone have what is wanted (lines of a master file), as far as what stands there is ours.
pub async fn bring(way: &Way<'_>, wanted: &str) -> Result<Changed, Trouble> {
    let mut changed = Changed::default();
    let zone = name(way.domain)?;
    let wanted = RecordSet::of(records(wanted, &zone)?);
    let mut memory = Memory::read(way.dir)?;
    let mut published = RecordSet::of(records(&memory.published, &zone)?);
    for (set, before) in differences(&wanted, &published) {
        match publish(way, &zone, &mut memory, &set, before.as_ref()).await? {
            Published::Done => changed.sets += 1,
            Published::LeftAlone => changed.left_alone |= set.rtype == RecordType::TLSA,
        }
        // What is left alone counts as written: it is not tried again until it is to become something else.
        published.retain(|one| !one.is_of(&set.name, set.rtype));
        if !set.records.is_empty() {
            published.push(set);
        }
        memory.published = zonefile::print(published.iter().flat_map(|set| &set.records));
        memory.write(way.dir)?;
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
    way: &Way<'_>,
    zone: &Name,
    memory: &mut Memory,
    set: &RecordSet,
    before: Option<&RecordSet>,
) -> Result<Published, Trouble> {
    let words = |error: PublishError| Trouble::new(error.to_string());
    if !memory.secret.is_empty() && (memory.policy == POLICY || way.signpost.is_none()) {
        match (publisher(way.server, zone, &memory.secret)?.put(set, before).await, way.signpost) {
            (Err(PublishError::NotAuthorised), Some(_)) => {}
            (other, _) => return other.map_err(words),
        }
    }
    let Some(signpost) = way.signpost else {
        return Err(Trouble::new("signpost has no key for it; it gets one when it is deployed anew"));
    };
    (memory.secret, memory.policy) = (introduce(signpost, way.domain).await?, POLICY);
    memory.write(way.dir)?;
    publisher(way.server, zone, &memory.secret)?.put(set, before).await.map_err(words)
}

fn publisher(server: SocketAddr, zone: &Name, secret: &str) -> Result<Publisher, Trouble> {
    let secret = data_encoding::BASE64.decode(secret.as_bytes());
    let secret = secret.map_err(|error| Trouble::new(format!("the secret in {LAST} is damaged: {error}")))?;
    let key = tsig::Key::new(name(KEY)?, tsig::Algorithm::Sha256, &secret);
    Ok(Publisher { server, zone: zone.clone(), key })
}

/// Makes signpost know the key, with a policy of what we publish and no more. Gives its secret.
async fn introduce(signpost: &Path, domain: &str) -> Result<String, Trouble> {
    let client = Client::connect(signpost).await;
    let client = client.map_err(|error| Trouble::new(error.to_string()))?;
    let policy = json!({"name": KEY, "zones": [domain], "names": names(domain), "types": TYPES});
    let made = client.ask("key.add", policy).await?;
    Ok(made["secret"].as_str().unwrap_or_default().to_owned())
}

/// The names that the key may change.
fn names(domain: &str) -> Vec<String> {
    let below = HOSTS.iter().map(|host| format!("{host}.{domain}"));
    std::iter::once(domain.to_owned()).chain(below).collect()
}

/// The key as a machine's settings have it: its name and its table. Made and remembered in `dir` where there is none.
pub fn deployed_key(dir: &Path, domain: &str) -> Result<(&'static str, toml::Table), Trouble> {
    let mut memory = Memory::read(dir)?;
    if memory.secret.is_empty() {
        memory.secret = data_encoding::BASE64.encode(&chassis::accounts::random::<32>());
        memory.write(dir)?;
    }
    let list = |all: Vec<String>| toml::Value::Array(all.into_iter().map(toml::Value::String).collect());
    let types = TYPES.iter().map(|&one| one.to_owned()).collect();
    let mut table = toml::Table::new();
    table.insert("algorithm".to_owned(), "hmac-sha256".into());
    table.insert("secret".to_owned(), memory.secret.into());
    table.insert("zones".to_owned(), list(vec![domain.to_owned()]));
    table.insert("names".to_owned(), list(names(domain)));
    table.insert("types".to_owned(), list(types));
    Ok((KEY, table))
}

/// All that should stand in the zone, as lines.
async fn wanted(household: &Household, endpoints: &BTreeMap<String, String>) -> Result<String, Trouble> {
    let addresses = super::addresses(household);
    let mut lines = super::essential(household, &addresses);
    lines.extend(super::services(household, &addresses, endpoints));
    // While mail starts again its keys are not gone: what is published of them stays.
    lines.extend(super::keys(household).await?);
    lines.extend(dane::records(household).await?);
    Ok(lines.join("\n") + "\n")
}

fn records(text: &str, zone: &Name) -> Result<Vec<Record>, Trouble> {
    zonefile::parse(text, zone, Some(TTL_S)).map_err(|error| Trouble::new(error.to_string()))
}

fn name(text: &str) -> Result<Name, Trouble> {
    Name::from_text(text, Some(&Name::root())).map_err(Trouble::new)
}

impl Memory {
    fn read(dir: &Path) -> Result<Memory, Trouble> {
        let path = dir.join(LAST);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Trouble::new(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(error) => Err(Trouble::io("read", &path, error)),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), Trouble> {
        crate::household::write(dir, LAST, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o600)
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
    "_25._tcp.mail",
];
const TYPES: &[&str] = &["A", "AAAA", "CNAME", "MX", "SRV", "TLSA", "TXT"];
/// Counts the versions of the two lists above: signpost is told when it has an older one.
const POLICY: u32 = 1;
/// A machine that gets another address is found after five minutes.
pub const TTL_S: u32 = 300;
/// A round without changes asks the mail appliance twice, and nobody else.
pub const AGAIN: Duration = Duration::from_secs(20);
/// A round of updates takes a second where much is new.
const TURN_TRIES: u32 = 300;
const TURN_PAUSE: Duration = Duration::from_millis(100);

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
