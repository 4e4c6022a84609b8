//! Changing a zone: RRsets set and taken away; empty non-terminals come and go by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Denial, Hashed, Node, Nsec3, Rrset, Sorted, Zone, hash_octets};
use crate::limits::RRSET_RECORDS_MAX;
use crate::name::Name;
use crate::record::{Record, RecordType};
use crate::zonefile::soa_minimum;

/// Why records do not make a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneFault {
    /// Not exactly one SOA at the apex.
    #[error("{0} needs exactly one SOA record, at its apex")]
    Soa(Name),
    /// No NS at the apex.
    #[error("{0} needs at least one NS record at its apex")]
    Ns(Name),
    /// A record outside.
    #[error("{0} is not within the zone {1}")]
    Outside(Name, Name),
    /// CNAME with other data (RFC 1034 section 3.6.2).
    #[error("{0} has a CNAME beside other records")]
    Cname(Name),
    /// Two CNAMEs or DNAMEs of one name.
    #[error("{0} has more than one {1}")]
    Single(Name, RecordType),
    /// More records than an answer can hold.
    #[error("{0} {1} has more than {RRSET_RECORDS_MAX} records")]
    TooMany(Name, RecordType),
    /// Names below a DNAME (RFC 6672 section 2.4).
    #[error("{0} is below the DNAME of {1}")]
    BelowDname(Name, Name),
}

/// TTL and data of each type of a name.
type Sets = BTreeMap<RecordType, (u32, Vec<Vec<u8>>)>;

impl Zone {
    /// Makes a zone of its records. Those that the signer makes are left out: it will make them anew.
    ///
    /// # Errors
    /// The first `ZoneFault` found.
    pub fn build(origin: &Name, records: impl IntoIterator<Item = Record>) -> Result<Zone, ZoneFault> {
        let mut grouped: BTreeMap<Box<[u8]>, (Name, Sets)> = BTreeMap::new();
        for record in records.into_iter().filter(|record| !record.rtype.is_made_by_signer()) {
            if !record.name.is_within(origin) {
                return Err(ZoneFault::Outside(record.name, origin.clone()));
            }
            let sets = grouped
                .entry(record.name.order_key())
                .or_insert_with(|| (record.name.clone(), BTreeMap::new()));
            // RFC 2181 section 5.2: TTLs of an RRset that differ are all the lowest.
            let set = sets.1.entry(record.rtype).or_insert((record.ttl, Vec::new()));
            set.0 = set.0.min(record.ttl);
            set.1.push(record.data);
        }
        let mut nodes = Vec::with_capacity(grouped.len());
        for (_, (name, sets)) in grouped {
            let mut node = Node::new(name);
            node.rrsets =
                sets.into_iter().map(|(rtype, (ttl, datas))| Rrset::new(origin, rtype, ttl, datas)).collect();
            check_node(&node, origin)?;
            nodes.push(node);
        }
        Zone::from_nodes(origin, nodes)
    }

    fn from_nodes(origin: &Name, nodes: Vec<Node>) -> Result<Zone, ZoneFault> {
        let apex_key = origin.order_key();
        let apex = nodes.first().filter(|node| node.key == apex_key && node.get(RecordType::SOA).is_some());
        let apex = Arc::new(apex.ok_or_else(|| ZoneFault::Soa(origin.clone()))?.clone());
        if apex.get(RecordType::NS).is_none() {
            return Err(ZoneFault::Ns(origin.clone()));
        }
        let mut zone = Zone {
            origin: origin.clone(),
            denial: Denial::Unsigned,
            negative_soa: negative_soa(&apex, origin),
            nodes: Hashed::for_about(nodes.len()),
            order: Sorted::default(),
            nsec3: Sorted::default(),
            apex,
        };
        let shared: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        for node in &shared {
            zone.put_hashed(node.clone());
        }
        zone.order = Sorted::from_sorted(shared.clone());
        for node in &shared {
            zone.ensure_ancestors(&node.name);
        }
        zone.check_dnames()?;
        Ok(zone)
    }

    /// Checks what changes of these names could have broken.
    ///
    /// # Errors
    /// The first `ZoneFault` found.
    pub fn check_touched<'n>(&self, names: impl Iterator<Item = &'n Name>) -> Result<(), ZoneFault> {
        if self.apex.get(RecordType::SOA).is_none() {
            return Err(ZoneFault::Soa(self.origin.clone()));
        }
        if self.apex.get(RecordType::NS).is_none() {
            return Err(ZoneFault::Ns(self.origin.clone()));
        }
        for name in names {
            let Some(node) = self.node(name) else { continue };
            check_node(node, &self.origin)?;
            if node.get(RecordType::DNAME).is_some()
                && let Some(below) =
                    self.order.after(&node.key).next().filter(|next| next.key.starts_with(&node.key))
            {
                return Err(ZoneFault::BelowDname(below.name.clone(), node.name.clone()));
            }
            let mut above = name.parent();
            while let Some(one) = above.filter(|one| one.octets().len() >= self.origin.octets().len()) {
                if self.node(&one).is_some_and(|node| node.get(RecordType::DNAME).is_some()) {
                    return Err(ZoneFault::BelowDname(name.clone(), one));
                }
                above = one.parent();
            }
        }
        Ok(())
    }

    fn check_dnames(&self) -> Result<(), ZoneFault> {
        for node in self.order.iter().filter(|node| node.get(RecordType::DNAME).is_some()) {
            if let Some(below) =
                self.order.after(&node.key).next().filter(|next| next.key.starts_with(&node.key))
            {
                return Err(ZoneFault::BelowDname(below.name.clone(), node.name.clone()));
            }
        }
        Ok(())
    }

    fn put_hashed(&mut self, node: Arc<Node>) {
        let lower = node.name.octets().to_ascii_lowercase();
        let hash = hash_octets(&lower);
        self.nodes.put(hash, node, |one| one.name.octets().eq_ignore_ascii_case(&lower));
    }

    /// Replaces a node by one of the same name that has as much reason to exist: the signer's hand.
    pub(crate) fn replace(&mut self, node: Node) {
        self.put_node(node);
    }

    fn put_node(&mut self, node: Node) {
        let node = Arc::new(node);
        if node.key == self.apex.key {
            self.apex = node.clone();
            self.negative_soa = negative_soa(&node, &self.origin);
        }
        self.put_hashed(node.clone());
        self.order.put(node);
    }

    fn remove_node(&mut self, node: &Node) {
        let lower = node.name.octets().to_ascii_lowercase();
        self.nodes.remove(hash_octets(&lower), |one| one.name.octets().eq_ignore_ascii_case(&lower));
        self.order.remove(&node.key);
    }

    /// Puts empty non-terminals between the name and the apex (RFC 4592 section 2.2.2).
    fn ensure_ancestors(&mut self, name: &Name) {
        let mut above = name.parent();
        while let Some(ancestor) = above.filter(|one| one.octets().len() > self.origin.octets().len()) {
            if self.node(&ancestor).is_some() {
                return;
            }
            above = ancestor.parent();
            self.put_node(Node::new(ancestor));
        }
    }

    /// The node of a name.
    pub fn node(&self, name: &Name) -> Option<&Arc<Node>> {
        self.node_lower(&name.octets().to_ascii_lowercase())
    }

    /// The node of a lower-case name.
    #[inline]
    pub(crate) fn node_lower(&self, lower: &[u8]) -> Option<&Arc<Node>> {
        self.nodes.get(hash_octets(lower), |one| one.name.octets().eq_ignore_ascii_case(lower))
    }

    /// Sets or takes away one RRset of a name within the zone.
    pub fn set(&mut self, name: &Name, rtype: RecordType, set: Option<Rrset>) {
        let mut node = match self.node(name) {
            Some(node) => (**node).clone(),
            None if set.is_none() => return,
            None => Node::new(name.clone()),
        };
        match (node.rrsets.binary_search_by_key(&rtype, |one| one.rtype), set) {
            (Ok(at), Some(new)) => node.rrsets[at] = new,
            (Err(at), Some(new)) => node.rrsets.insert(at, new),
            (Ok(at), None) => drop(node.rrsets.remove(at)),
            (Err(_), None) => return,
        }
        let empty = node.rrsets.is_empty();
        let name = node.name.clone();
        self.put_node(node);
        if empty { self.prune(&name) } else { self.ensure_ancestors(&name) }
    }

    /// Takes away the empty nodes from `name` upwards that nothing stands below.
    fn prune(&mut self, name: &Name) {
        let mut here = Some(name.clone());
        while let Some(name) = here.filter(|one| one.octets().len() > self.origin.octets().len()) {
            let Some(node) = self.node(&name).cloned() else { return };
            let peopled =
                self.order.after(&node.key).next().is_some_and(|next| next.key.starts_with(&node.key));
            if !node.rrsets.is_empty() || peopled {
                return;
            }
            self.remove_node(&node);
            here = name.parent();
        }
    }

    /// Sets how absence is proven, and the NSEC3 chain.
    pub fn set_denial(&mut self, denial: Denial, chain: Sorted<Nsec3>) {
        (self.denial, self.nsec3) = (denial, chain);
    }

    /// The NSEC3 chain, to change it in place.
    pub fn nsec3_mut(&mut self) -> &mut Sorted<Nsec3> {
        &mut self.nsec3
    }
}

fn negative_soa(apex: &Node, origin: &Name) -> Rrset {
    let soa = apex
        .get(RecordType::SOA)
        .cloned()
        .unwrap_or_else(|| Rrset::new(origin, RecordType::SOA, 0, Vec::new()));
    let minimum = soa.datas(origin).next().and_then(|data| soa_minimum(&data)).unwrap_or(0);
    let ttl = soa.ttl.min(minimum);
    soa.with_ttl(ttl)
}

/// Checks what one name may hold together.
///
/// # Errors
/// The `ZoneFault`.
pub fn check_node(node: &Node, origin: &Name) -> Result<(), ZoneFault> {
    let others =
        node.rrsets.iter().filter(|set| set.rtype != RecordType::CNAME && !set.rtype.is_made_by_signer());
    if node.get(RecordType::CNAME).is_some() && others.count() > 0 {
        return Err(ZoneFault::Cname(node.name.clone()));
    }
    for set in &node.rrsets {
        let single = matches!(set.rtype, RecordType::CNAME | RecordType::DNAME | RecordType::SOA);
        let apex = node.name == *origin;
        if set.rtype == RecordType::SOA && (!apex || set.count != 1) {
            return Err(ZoneFault::Soa(origin.clone()));
        }
        if single && set.count > 1 {
            return Err(ZoneFault::Single(node.name.clone(), set.rtype));
        }
        if usize::from(set.count) > RRSET_RECORDS_MAX {
            return Err(ZoneFault::TooMany(node.name.clone(), set.rtype));
        }
    }
    Ok(())
}
