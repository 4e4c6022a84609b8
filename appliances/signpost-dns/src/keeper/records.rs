//! The records of a large zone once more, in a derived table: a row a name, read in order by a start instead of a file a name.
//! A change writes its rows with its commit. Where the table stands behind the branch (a push, another zone's commit), the
//! files that differ are read, and nothing else.
//!
//! Rows may be ahead of the commit that the table stands at: they then say what a later commit made, whose files differ and
//! are read in any case.

use std::collections::{BTreeMap, HashMap, HashSet};

use store::{CommitId, IndexEdits, Snapshot, Store, Transaction};

use super::KeepError;
use super::derived::{each, write};
use super::files::{self, Layout, Loaded};
use crate::name::Name;
use crate::record::{CLASS_IN, Record, RecordType};
use crate::zone::{Node, Zone};

/// Octets of a row; a name that has more is marked, and read from its file.
const ROW_OCTETS_MAX: usize = 8000;
const ROWS_AT_ONCE: usize = 2000;
/// The form of the rows; another one is made anew.
const FORM: u8 = 1;
const HEAD: &[u8] = b"h";

/// The table of one zone.
pub struct Rows {
    name: String,
}

/// What a table gives of each name.
type Names = BTreeMap<Vec<u8>, Vec<Record>>;

impl Rows {
    /// The table of a zone; `short` names the zone.
    pub fn of(short: &str) -> Rows {
        Rows { name: format!("signpost.records.{short}") }
    }

    /// Reads a zone: from the table where there is one, else from its files, and then makes the table of a large zone.
    ///
    /// # Errors
    /// `KeepError` that names the file at fault.
    pub fn load(&self, store: &Store, snapshot: &Snapshot, origin: &Name) -> Result<Loaded, KeepError> {
        if let Some((loaded, at, edits)) = self.read_table(store, snapshot, origin) {
            if at != snapshot.commit() {
                // It goes on from here; when somebody is quicker, the next start finds a longer difference.
                let _ = store.index(&self.name)?.advance(at, snapshot.commit(), edits);
            }
            return Ok(loaded);
        }
        let loaded = files::load(snapshot, origin)?;
        if loaded.layout == Layout::Spread && loaded.strays.is_empty() {
            self.make(store, snapshot.commit(), &loaded.zone)?;
        }
        Ok(loaded)
    }

    /// Reads a zone as it is in any snapshot, and leaves the table where it stands.
    ///
    /// # Errors
    /// `KeepError` that names the file at fault.
    pub fn look(&self, store: &Store, snapshot: &Snapshot, origin: &Name) -> Result<Loaded, KeepError> {
        match self.read_table(store, snapshot, origin) {
            Some((loaded, ..)) => Ok(loaded),
            None => files::load(snapshot, origin),
        }
    }

    /// Adds the rows of what a change touches to its transaction.
    pub fn note<'a>(
        &self,
        transaction: &mut Transaction,
        zone: &'a Zone,
        layout: Layout,
        names: impl Iterator<Item = &'a Name>,
    ) {
        if layout != Layout::Spread {
            return;
        }
        let edits = transaction.index(&self.name);
        for name in names.chain([&zone.origin]) {
            let row = zone.node(name).map(|node| row_of(zone, node)).unwrap_or_default();
            match row.is_empty() {
                true => edits.delete(row_key(name)),
                false => edits.put(row_key(name), row),
            }
        }
    }

    /// Makes the table of a zone anew, as it is at a commit.
    ///
    /// # Errors
    /// What the store says; there is no table then, or that of another commit.
    pub fn make(&self, store: &Store, commit: Option<CommitId>, zone: &Zone) -> Result<(), store::Error> {
        let index = store.index(&self.name)?;
        index.clear()?;
        let nodes: Vec<_> = zone.nodes().filter(|node| !node.rrsets.is_empty()).collect();
        for some in nodes.chunks(ROWS_AT_ONCE) {
            let mut edits = IndexEdits::new();
            some.iter().for_each(|node| edits.put(row_key(&node.name), row_of(zone, node)));
            write(&index, edits)?;
        }
        let mut edits = IndexEdits::new();
        edits.put(HEAD, [FORM]);
        match index.advance(None, commit, edits) {
            // Somebody changed the zone meanwhile: made by another start.
            Err(store::Error::RefMoved { .. }) => Ok(()),
            other => other,
        }
    }

    /// The zone, the commit that the table stands at, and the edits that bring it up to the snapshot. None: there is no
    /// table, or something is wrong with it or with the files that differ; the files are what counts, and say what.
    fn read_table(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        origin: &Name,
    ) -> Option<(Loaded, Option<CommitId>, IndexEdits)> {
        self.try_table(store, snapshot, origin).ok().flatten()
    }

    fn try_table(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        origin: &Name,
    ) -> Result<Option<(Loaded, Option<CommitId>, IndexEdits)>, KeepError> {
        let index = store.index(&self.name)?;
        let Some(at) = index.at()?.filter(|_| index.get(HEAD).is_ok_and(|form| form == Some(vec![FORM])))
        else {
            return Ok(None);
        };
        let (mut names, mut marked, mut broken) = (Names::new(), HashSet::new(), false);
        each(&index, |key, row| {
            let Some(key) = key.strip_prefix(b"n") else { return };
            match read_row(&row) {
                Some(records) => drop(names.insert(key.to_vec(), records)),
                None if row == [0] => drop(marked.insert(key.to_vec())),
                None => broken = true,
            }
        })?;
        if broken {
            return Ok(None);
        }
        let stale = self.stale(store, snapshot, origin, at)?;
        let mut read: HashMap<String, Vec<Record>> = HashMap::new();
        let marked = marked.iter().filter_map(|key| name_of_key(key, origin));
        let marked = marked.map(|name| files::path_of(origin, &name, Layout::Spread));
        for path in stale.paths.into_iter().chain(marked) {
            if let Some(bytes) = snapshot.read(&path)? {
                read.insert(path.clone(), files::records_of(&bytes, &path, origin)?);
            }
        }
        stale.names.iter().for_each(|name| drop(names.remove(&name.order_key()[..])));
        let mut edits = IndexEdits::new();
        for (path, records) in read {
            for record in records {
                let home = files::path_of(origin, &record.name, Layout::Spread);
                // Somebody arranged files by hand: who reads the whole knows where each name stands.
                if home != path && record.rtype != RecordType::SOA {
                    return Ok(None);
                }
                names.entry(record.name.order_key().into()).or_default().push(record);
            }
        }
        let zone = Zone::build(origin, names.into_values().flatten())?;
        for name in &stale.names {
            let row = zone.node(name).map(|node| row_of(&zone, node)).unwrap_or_default();
            if row.is_empty() { edits.delete(row_key(name)) } else { edits.put(row_key(name), row) }
        }
        Ok(Some((Loaded { zone, layout: Layout::Spread, strays: HashMap::new() }, Some(at), edits)))
    }

    /// The files that differ from those the table was made of, and the names that stand or stood in them.
    fn stale(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        origin: &Name,
        at: CommitId,
    ) -> Result<Stale, KeepError> {
        let mut stale = Stale::default();
        if snapshot.commit() == Some(at) {
            return Ok(stale);
        }
        let older = store.snapshot_at(at)?;
        for change in snapshot.diff(&older, files::directory(origin))? {
            let path = change.path.to_str().into_owned();
            for side in [&older, snapshot] {
                if let Some(bytes) = side.read(&path)? {
                    let records = files::records_of(&bytes, &path, origin)?;
                    stale.names.extend(records.into_iter().map(|record| record.name));
                }
            }
            stale.paths.push(path);
        }
        // The apex stands in two files, its SOA and the rest.
        if stale.names.contains(origin) {
            let both = ["SOA", "@"].map(|file| format!("{}/{file}", files::directory(origin)));
            stale.paths.retain(|path| !both.contains(path));
            stale.paths.push(both[0].clone());
            stale.paths.push(files::path_of(origin, origin, Layout::Spread));
        }
        Ok(stale)
    }
}

#[derive(Default)]
struct Stale {
    paths: Vec<String>,
    names: HashSet<Name>,
}

fn row_key(name: &Name) -> Vec<u8> {
    [b"n", &name.order_key()[..]].concat()
}

/// The name of a key, in lower case: labels from the right, each ended by 0, octets 0 and 1 escaped.
fn name_of_key(key: &[u8], origin: &Name) -> Option<Name> {
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut octets = key.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            0 => labels.push(Vec::new()),
            1 => labels.last_mut()?.push(octets.next()? - 1),
            other => labels.last_mut()?.push(other),
        }
    }
    labels.pop();
    let mut wire = Vec::new();
    for label in labels.iter().rev() {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_octets(&wire).ok().filter(|name| name.is_within(origin))
}

/// The name and the sets that people made: type, TTL, count, and each record's length and data. Empty: there are none. One
/// zero: it is too long, the file has it.
fn row_of(zone: &Zone, node: &Node) -> Vec<u8> {
    let mut row = node.name.octets().to_vec();
    let before = row.len();
    for set in files::kept_sets(zone, node) {
        row.extend_from_slice(&set.rtype.0.to_be_bytes());
        row.extend_from_slice(&set.ttl.to_be_bytes());
        row.extend_from_slice(&set.count.to_be_bytes());
        for data in set.datas(&zone.origin) {
            row.extend_from_slice(&(data.len() as u16).to_be_bytes());
            row.extend_from_slice(&data);
        }
    }
    match row.len() {
        length if length == before => Vec::new(),
        length if length > ROW_OCTETS_MAX => vec![0],
        _ => row,
    }
}

fn read_row(row: &[u8]) -> Option<Vec<Record>> {
    let mut at = 0;
    let name = Name::from_message(row, &mut at).ok().filter(|name| name.octets().len() == at)?;
    let mut rest = row.get(at..).filter(|rest| !rest.is_empty())?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let ttl = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        rest = tail;
        for _ in 0..number(6) {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (data, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let (name, rtype, data) = (name.clone(), RecordType(number(0)), data.to_vec());
            records.push(Record { name, rtype, class: CLASS_IN, ttl, data });
            rest = tail;
        }
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::origin;
    use crate::keeper::{BRANCH, Cause, Keeper};
    use crate::update::SetChange;
    use store::{MemoryDevice, Options};

    fn text(hosts: usize) -> String {
        let mut text = "$TTL 300\n@ SOA ns1 h 10 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\n".to_string();
        (0..hosts).for_each(|n| text += &format!("H{n}.\\000\\001 A 10.0.{}.{}\n", n >> 8, n & 255));
        let long = format!("\"{}\" ", "x".repeat(250));
        text + &format!("long TXT {}\n", long.repeat(40))
    }

    fn lines(zone: &Zone) -> Vec<String> {
        zone.plain_records().map(|record| record.to_line()).collect()
    }

    fn opened(store: &Store) -> Keeper {
        Keeper::open(store, &origin(), None, |_, _| ()).unwrap()
    }

    /// What the table says and what the files say.
    fn both(store: &Store) -> (Option<Vec<String>>, Vec<String>) {
        let snapshot = store.branch(BRANCH).unwrap().snapshot().unwrap();
        let rows = opened(store).tables.rows;
        let table = rows.read_table(store, &snapshot, &origin()).map(|(loaded, ..)| lines(&loaded.zone));
        (table, lines(&files::load(&snapshot, &origin()).unwrap().zone))
    }

    fn set(name: &str, datas: Vec<Vec<u8>>) -> SetChange {
        let name = Name::from_text(name, Some(&origin())).unwrap();
        SetChange { name, rtype: RecordType::A, ttl: 60, datas }
    }

    #[tokio::test]
    async fn a_zone_that_grows_is_spread() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        let zone = |text: &str| {
            Zone::build(&origin(), crate::zonefile::parse(text, &origin(), None).unwrap()).unwrap()
        };
        let cause = Cause::new("test", "imported");
        Keeper::import(&store, &origin(), &zone(&text(5)), &cause).await.unwrap();
        let keeper = opened(&store);
        let wanted = zone(&text(2100));
        keeper.change(&cause, |there| Ok(crate::keeper::replacement(there, &wanted))).await.unwrap();
        let file = |name: &str, layout| {
            let path = files::path_of(&origin(), &Name::from_text(name, Some(&origin())).unwrap(), layout);
            store.branch(BRANCH).unwrap().snapshot().unwrap().entry(&path).unwrap().is_some()
        };
        assert!(file("ns1", Layout::Spread) && !file("ns1", Layout::Flat));
        let index = store.index(&keeper.tables.rows.name).unwrap();
        assert_eq!(index.at().unwrap(), store.branch(BRANCH).unwrap().head(), "its table is there at once");
        keeper.change(&cause, |_| Ok(vec![set("ns1", vec![vec![192, 0, 2, 9]])])).await.unwrap();
        let (table, files) = both(&store);
        assert_eq!(table, Some(files));
        assert_eq!(lines(&opened(&store).served()), lines(&keeper.served()));
    }

    #[tokio::test]
    async fn the_table_says_what_the_files_say() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        let zone = crate::zonefile::parse(&text(700), &origin(), None).unwrap();
        let zone = Zone::build(&origin(), zone).unwrap();
        let cause = Cause::new("test", "imported");
        Keeper::import(&store, &origin(), &zone, &cause).await.unwrap();
        let keeper = opened(&store);
        for (name, datas) in [
            ("h5.\\000\\001", vec![vec![192, 0, 2, 5]]),
            ("new.below", vec![vec![192, 0, 2, 6], vec![192, 0, 2, 7]]),
            ("h6.\\000\\001", vec![]),
            ("long", vec![vec![192, 0, 2, 8]]),
        ] {
            keeper.change(&cause, |_| Ok(vec![set(name, datas)])).await.unwrap();
            let (table, files) = both(&store);
            assert_eq!(table, Some(files), "{name}");
        }
        // Somebody pushes: files differ, one goes, one comes, one has two names' worth of lines.
        let mut push = store.branch(BRANCH).unwrap().begin().unwrap();
        let path = |name: &str| {
            files::path_of(&origin(), &Name::from_text(name, Some(&origin())).unwrap(), Layout::Spread)
        };
        push.put(path("h7.\\000\\001"), "h7.\\000\\001 60 A 192.0.2.70\n").unwrap();
        push.remove(path("h8.\\000\\001")).unwrap();
        push.put(path("pushed"), "pushed 60 A 192.0.2.71\n").unwrap();
        push.commit_async(cause.author(), "pushed").await.unwrap();
        let (table, files) = both(&store);
        assert_eq!(table, Some(files));
        assert!(opened(&store).change(&cause, |_| Ok(vec![set("pushed", vec![])])).await.is_ok());
        let (table, files) = both(&store);
        assert_eq!(table, Some(files));
        // A file that holds another's name is found out, and the files are read.
        let mut push = store.branch(BRANCH).unwrap().begin().unwrap();
        push.put(path("pushed"), "stray 60 A 192.0.2.72\n").unwrap();
        push.commit_async(cause.author(), "pushed").await.unwrap();
        assert!(both(&store).0.is_none());
        assert!(lines(&opened(&store).served()).iter().any(|line| line.starts_with("stray")));
    }
}
