//! Dynamic update (RFC 2136) without I/O: prerequisites, prescan and changes against a compiled zone.

use std::collections::BTreeMap;

use crate::limits::UPDATE_RECORDS_MAX;
use crate::message::Message;
use crate::name::Name;
use crate::query::rcode;
use crate::record::{CLASS_ANY, CLASS_IN, CLASS_NONE, Record, RecordType, data};
use crate::zone::{Node, Rrset, Zone, serial_is_after, soa_serial};

/// What an RRset is to become; no data: it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// The owner.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// The data of all its records.
    pub datas: Vec<Vec<u8>>,
}

impl SetChange {
    /// The RRset, or nothing when it goes.
    pub fn rrset(&self, origin: &Name) -> Option<Rrset> {
        (!self.datas.is_empty()).then(|| Rrset::new(origin, self.rtype, self.ttl, self.datas.clone()))
    }
}

/// Works an update out: what it changes, in order of names and types. The zone section was checked by the caller.
/// `may` is the policy of whoever signed it.
///
/// # Errors
/// The response code that the RFC asks for; nothing was changed.
pub fn work_out(
    zone: &Zone,
    update: &Message,
    may: impl Fn(&Name, RecordType) -> bool,
) -> Result<Vec<SetChange>, u16> {
    if update.answers.len() + update.authorities.len() > UPDATE_RECORDS_MAX {
        return Err(rcode::REFUSED);
    }
    prerequisites(zone, &update.answers)?;
    prescan(zone, &update.authorities)?;
    let refused = |record: &Record| {
        record.rtype.is_made_by_signer() && record.class == CLASS_IN || !may(&record.name, record.rtype)
    };
    if update.authorities.iter().any(refused) {
        return Err(rcode::REFUSED);
    }
    let mut draft = Draft { zone, names: BTreeMap::new() };
    for record in &update.authorities {
        match record.class {
            CLASS_IN => draft.add(record),
            CLASS_ANY if record.rtype == RecordType::ANY => draft.delete_name(&record.name),
            CLASS_ANY => draft.delete_set(&record.name, record.rtype),
            _ => draft.delete_record(record),
        }
    }
    Ok(draft.changes())
}

/// RFC 2136 section 3.2.
fn prerequisites(zone: &Zone, records: &[Record]) -> Result<(), u16> {
    let mut values: BTreeMap<(Box<[u8]>, RecordType), Vec<&Record>> = BTreeMap::new();
    for record in records {
        if record.ttl != 0 {
            return Err(rcode::FORMERR);
        }
        if !record.name.is_within(&zone.origin) {
            return Err(rcode::NOTZONE);
        }
        let node = zone.node(&record.name).filter(|node| in_use(node));
        let has = node.is_some_and(|node| node.get(record.rtype).is_some());
        let bare = record.data.is_empty();
        match (record.class, record.rtype) {
            (CLASS_ANY | CLASS_NONE, _) if !bare => return Err(rcode::FORMERR),
            (CLASS_ANY, RecordType::ANY) if node.is_none() => return Err(rcode::NXDOMAIN),
            (CLASS_NONE, RecordType::ANY) if node.is_some() => return Err(rcode::YXDOMAIN),
            (_, RecordType::ANY) if record.class != CLASS_IN => {}
            (CLASS_ANY | CLASS_NONE, rtype) if !rtype.is_data() => return Err(rcode::FORMERR),
            (CLASS_ANY, _) if !has => return Err(rcode::NXRRSET),
            (CLASS_NONE, _) if has => return Err(rcode::YXRRSET),
            (CLASS_ANY | CLASS_NONE, _) => {}
            (CLASS_IN, rtype) if rtype.is_data() => {
                values.entry((record.name.order_key(), rtype)).or_default().push(record);
            }
            _ => return Err(rcode::FORMERR),
        }
    }
    // Section 3.2.3: an RRset exists with exactly these values; TTLs do not count.
    for ((_, rtype), wanted) in values {
        let node = zone.node(&wanted[0].name).ok_or(rcode::NXRRSET)?;
        let mut there: Vec<Vec<u8>> = node.get(rtype).ok_or(rcode::NXRRSET)?.datas(&zone.origin).collect();
        let mut wanted: Vec<Vec<u8>> = wanted.iter().map(|record| record.data.clone()).collect();
        for all in [&mut there, &mut wanted] {
            all.iter_mut().for_each(|one| *one = data::canonical(rtype, one));
            all.sort();
            all.dedup();
        }
        if there != wanted {
            return Err(rcode::NXRRSET);
        }
    }
    Ok(())
}

fn in_use(node: &Node) -> bool {
    node.rrsets.iter().any(|set| !set.rtype.is_made_by_signer())
}

/// RFC 2136 section 3.4.1: the whole update section is sound before anything is done.
fn prescan(zone: &Zone, records: &[Record]) -> Result<(), u16> {
    for record in records {
        if !record.name.is_within(&zone.origin) {
            return Err(rcode::NOTZONE);
        }
        let sound = match record.class {
            CLASS_IN => record.rtype.is_data() && data::check(record.rtype, &record.data).is_ok(),
            CLASS_ANY => {
                record.ttl == 0
                    && record.data.is_empty()
                    && (record.rtype.is_data() || record.rtype == RecordType::ANY)
            }
            CLASS_NONE => record.ttl == 0 && record.rtype.is_data(),
            _ => false,
        };
        if !sound {
            return Err(rcode::FORMERR);
        }
    }
    Ok(())
}

type Sets = BTreeMap<RecordType, (u32, Vec<Vec<u8>>)>;

/// The touched names as they are to become.
struct Draft<'z> {
    zone: &'z Zone,
    names: BTreeMap<Box<[u8]>, (Name, Sets)>,
}

impl Draft<'_> {
    fn sets(&mut self, name: &Name) -> &mut Sets {
        let zone = self.zone;
        &mut self.names.entry(name.order_key()).or_insert_with(|| (name.clone(), sets_of(zone, name))).1
    }

    fn is_apex(&self, name: &Name) -> bool {
        *name == self.zone.origin
    }

    /// RFC 2136 section 3.4.2.2.
    fn add(&mut self, record: &Record) {
        let apex = self.is_apex(&record.name);
        let sets = self.sets(&record.name);
        let others = sets.keys().any(|&rtype| rtype != RecordType::CNAME);
        match record.rtype {
            RecordType::CNAME if others => return,
            RecordType::SOA => {
                let Some((_, old)) = sets.get(&RecordType::SOA).filter(|_| apex) else { return };
                let serials = (soa_serial(&record.data), old.first().and_then(|data| soa_serial(data)));
                if !matches!(serials, (Some(new), Some(old)) if serial_is_after(new, old)) {
                    return;
                }
            }
            RecordType::CNAME => {}
            _ if sets.contains_key(&RecordType::CNAME) => return,
            _ => {}
        }
        let set = sets.entry(record.rtype).or_default();
        set.0 = record.ttl;
        if matches!(record.rtype, RecordType::CNAME | RecordType::SOA | RecordType::DNAME) {
            set.1.clear();
        }
        if !set.1.iter().any(|one| data::same(record.rtype, one, &record.data)) {
            set.1.push(record.data.clone());
        }
    }

    /// RFC 2136 section 3.4.2.3: the apex keeps its SOA and NS.
    fn delete_name(&mut self, name: &Name) {
        let apex = self.is_apex(name);
        self.sets(name).retain(|&rtype, _| apex && matches!(rtype, RecordType::SOA | RecordType::NS));
    }

    fn delete_set(&mut self, name: &Name, rtype: RecordType) {
        if !(self.is_apex(name) && matches!(rtype, RecordType::SOA | RecordType::NS)) {
            self.sets(name).remove(&rtype);
        }
    }

    /// RFC 2136 section 3.4.2.4: the SOA and the last NS of the apex stay.
    fn delete_record(&mut self, record: &Record) {
        let apex = self.is_apex(&record.name);
        let sets = self.sets(&record.name);
        let Some((_, datas)) = sets.get_mut(&record.rtype) else { return };
        let keeps =
            record.rtype == RecordType::SOA || (apex && record.rtype == RecordType::NS && datas.len() == 1);
        if keeps {
            return;
        }
        datas.retain(|one| !data::same(record.rtype, one, &record.data));
        if datas.is_empty() {
            sets.remove(&record.rtype);
        }
    }

    /// What is different now.
    fn changes(self) -> Vec<SetChange> {
        let mut changes = Vec::new();
        for (_, (name, sets)) in self.names {
            let old = sets_of(self.zone, &name);
            for rtype in old.keys().filter(|rtype| !sets.contains_key(rtype)) {
                changes.push(SetChange { name: name.clone(), rtype: *rtype, ttl: 0, datas: Vec::new() });
            }
            for (rtype, (ttl, mut datas)) in sets {
                datas.sort_by_cached_key(|one| data::canonical(rtype, one));
                if old.get(&rtype) != Some(&(ttl, datas.clone())) {
                    changes.push(SetChange { name: name.clone(), rtype, ttl, datas });
                }
            }
        }
        changes
    }
}

fn sets_of(zone: &Zone, name: &Name) -> Sets {
    let rrsets = zone.node(name).map_or(&[][..], |node| &node.rrsets);
    let made = rrsets.iter().filter(|set| !set.rtype.is_made_by_signer());
    made.map(|set| (set.rtype, (set.ttl, set.datas(&zone.origin).collect()))).collect()
}

/// The changes that make one zone's plain records another's: for imports, pushes and undo.
pub fn difference(old: &Zone, new: &Zone) -> Vec<SetChange> {
    let mut changes = Vec::new();
    let mut compare = |name: &Name| {
        let (before, after) = (sets_of(old, name), sets_of(new, name));
        for rtype in before.keys().filter(|rtype| !after.contains_key(rtype)) {
            changes.push(SetChange { name: name.clone(), rtype: *rtype, ttl: 0, datas: Vec::new() });
        }
        for (rtype, (ttl, datas)) in after {
            if before.get(&rtype) != Some(&(ttl, datas.clone())) {
                changes.push(SetChange { name: name.clone(), rtype, ttl, datas });
            }
        }
    };
    old.nodes().for_each(|node| compare(&node.name));
    new.nodes().filter(|node| old.node(&node.name).is_none()).for_each(|node| compare(&node.name));
    changes
}

#[cfg(test)]
mod tests;
