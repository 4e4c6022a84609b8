//! A zone as files: `zones/ORIGIN/SOA`, and for each owner name a file of master-file lines. Zones of many names spread
//! them over two levels of directories, so that a change touches a few small objects.
//!
//! Only the lines count when a zone is read: whoever edits by hand may put them into any file below `zones/ORIGIN`.

use std::collections::{BTreeMap, HashMap};

use data_encoding::HEXLOWER;
use store::{Snapshot, Transaction};

use super::KeepError;
use crate::name::Name;
use crate::record::{Record, RecordType};
use crate::update::SetChange;
use crate::zone::{Denial, Node, Rrset, Zone};
use crate::zonefile;

/// Where names have their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All in one directory.
    Flat,
    /// By two times six bits of the name's hash.
    Spread,
}

/// Names of a zone from which on they are spread.
const SPREAD_FROM: usize = 512;
/// Names from which on a zone that stands in one directory is spread.
const OUTGROWN_FROM: usize = 4 * SPREAD_FROM;
/// The longest file name that is the name itself.
const FILE_NAME_OCTETS: usize = 120;

/// A zone read from files.
pub struct Loaded {
    /// The zone, unsigned.
    pub zone: Zone,
    /// Where its names have their files.
    pub layout: Layout,
    /// Names whose lines stand elsewhere than they would be written.
    pub strays: HashMap<Name, String>,
}

/// The directory of a zone.
pub fn directory(origin: &Name) -> String {
    format!("zones/{}", origin_text(origin))
}

/// A zone's name as directories have it.
pub fn origin_text(origin: &Name) -> String {
    origin.lower().to_string().trim_end_matches('.').to_string()
}

/// The zones that are in the store.
pub fn origins(snapshot: &Snapshot) -> Result<Vec<Name>, store::Error> {
    let entries = snapshot.list("zones")?;
    let names = entries.iter().filter(|entry| entry.is_directory());
    Ok(names.filter_map(|entry| Name::from_text(&entry.name(), Some(&Name::root())).ok()).collect())
}

/// The file that a name's records stand in.
pub fn path_of(origin: &Name, name: &Name, layout: Layout) -> String {
    let file = file_name(origin, name);
    match layout {
        Layout::Flat => format!("{}/{file}", directory(origin)),
        Layout::Spread => {
            let hash = hash_of(name);
            format!("{}/{:02x}/{:02x}/{file}", directory(origin), hash[0] & 0x3F, hash[1] & 0x3F)
        }
    }
}

fn hash_of(name: &Name) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.lower().octets());
    *digest.as_ref().first_chunk().unwrap_or(&[0; 16])
}

/// The file that a name's records stand in: the name within the zone, `@` for the apex, a hash for odd names.
pub fn file_name(origin: &Name, name: &Name) -> String {
    let lower = name.lower();
    let relative = match lower.prefix_before(&origin.lower()) {
        Some([]) | None => "@".to_string(),
        Some(prefix) => {
            let text = Name::join(prefix, &Name::root()).unwrap_or_else(|_| Name::root()).to_string();
            text.trim_end_matches('.').replace('/', "\\047")
        }
    };
    let odd = store::name_fault(relative.as_bytes()).is_some()
        || relative == "SOA"
        || relative.len() > FILE_NAME_OCTETS;
    if odd { format!("name-{}", HEXLOWER.encode(&hash_of(name))) } else { relative }
}

/// Reads a zone from its files.
pub fn load(snapshot: &Snapshot, origin: &Name) -> Result<Loaded, KeepError> {
    let directory = directory(origin);
    let mut records = Vec::new();
    let mut homes: Vec<(Name, String)> = Vec::new();
    for entry in snapshot.walk(&directory)? {
        let entry = entry?;
        let path = String::from_utf8_lossy(entry.path.as_ref()).into_owned();
        let new = records_of(&snapshot.read(&entry.path)?.unwrap_or_default(), &path, origin)?;
        let mut last: Option<&Name> = None;
        for record in new.iter().filter(|record| record.rtype != RecordType::SOA) {
            if last != Some(&record.name) {
                homes.push((record.name.clone(), path.clone()));
            }
            last = Some(&record.name);
        }
        records.extend(new);
    }
    let apex = format!("{directory}/@");
    let flat = snapshot.entry(&apex)?.is_some() && homes.len() < OUTGROWN_FROM;
    let layout = if flat || homes.len() < SPREAD_FROM { Layout::Flat } else { Layout::Spread };
    let strays = homes.into_iter().filter(|(name, path)| *path != path_of(origin, name, layout)).collect();
    Ok(Loaded { zone: Zone::build(origin, records)?, layout, strays })
}

/// The records of one file.
pub fn records_of(bytes: &[u8], path: &str, origin: &Name) -> Result<Vec<Record>, KeepError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| KeepError::Other(format!("{path} is not text in UTF-8")))?;
    zonefile::parse(text, origin, Some(3600))
        .map_err(|error| KeepError::Text { path: path.to_string(), error })
}

/// Whether a zone stands in one directory and has grown too large for that: a change would write all of its names. Files
/// that somebody arranged otherwise stay as they are.
pub fn is_outgrown(zone: &Zone, layout: Layout, strays: &HashMap<Name, String>) -> bool {
    let flat = |(name, path): (&Name, &String)| *path == path_of(&zone.origin, name, Layout::Flat);
    zone.len() >= OUTGROWN_FROM
        && match layout {
            Layout::Flat => strays.is_empty(),
            Layout::Spread => !strays.is_empty() && strays.iter().all(flat),
        }
}

/// Puts a whole zone in place of what was there.
pub fn write_whole(transaction: &mut Transaction, zone: &Zone) -> Result<(), KeepError> {
    let origin = &zone.origin;
    let layout = if zone.len() < SPREAD_FROM { Layout::Flat } else { Layout::Spread };
    transaction.remove(directory(origin))?;
    for node in zone.nodes() {
        let text = text_of(zone, &node.name);
        if !text.is_empty() {
            transaction.put(path_of(origin, &node.name, layout), text)?;
        }
    }
    transaction.put(format!("{}/SOA", directory(origin)), soa_text(zone))?;
    Ok(())
}

/// Writes the files that changes touch.
pub fn write_changed(
    transaction: &mut Transaction,
    zone: &Zone,
    changes: &[SetChange],
    layout: Layout,
    strays: &HashMap<Name, String>,
) -> Result<(), KeepError> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for name in changes.iter().map(|change| &change.name) {
        let usual = path_of(&zone.origin, name, layout);
        if let Some(path) = strays.get(name) {
            // A file that somebody arranged by hand keeps its names, rewritten.
            let together = strays.iter().filter(|(_, home)| *home == path).map(|(name, _)| name);
            let mut names: Vec<&Name> = together.collect();
            names.sort();
            texts.insert(path.clone(), names.into_iter().map(|name| text_of(zone, name)).collect());
            continue;
        }
        let text = text_of(zone, name);
        texts.insert(usual, text);
    }
    for (path, text) in texts {
        if text.is_empty() {
            transaction.remove(path)?;
        } else {
            transaction.put(path, text)?;
        }
    }
    let soa_home = format!("{}/SOA", directory(&zone.origin));
    transaction.put(soa_home, soa_text(zone))?;
    Ok(())
}

fn soa_text(zone: &Zone) -> String {
    zonefile::print(&zone.soa().plain_records(&zone.origin, &zone.origin))
}

/// The lines of a name, without the SOA and what the signer makes.
fn text_of(zone: &Zone, name: &Name) -> String {
    let Some(node) = zone.node(name) else { return String::new() };
    let kept = kept_sets(zone, node).filter(|set| set.rtype != RecordType::SOA);
    let records: Vec<Record> = kept.flat_map(|set| set.plain_records(&node.name, &zone.origin)).collect();
    zonefile::print(&records)
}

/// The RRsets of a name that people and updates made.
pub fn kept_sets<'a>(zone: &'a Zone, node: &'a Node) -> impl Iterator<Item = &'a Rrset> {
    let signed_apex = node.name == zone.origin && zone.denial != Denial::Unsigned;
    let keys = [RecordType::DNSKEY, RecordType::CDS, RecordType::CDNSKEY];
    node.rrsets
        .iter()
        .filter(move |set| !(set.rtype.is_made_by_signer() || signed_apex && keys.contains(&set.rtype)))
}
