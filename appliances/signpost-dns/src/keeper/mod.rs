//! A zone and its place in the store: every change is a commit, flushed before it is acknowledged or served.
//!
//! The zone that changes are worked out against (`working`) runs ahead of the one that is served: commits that wait for
//! the same flush follow each other in memory. When a flush fails the store is read-only for good, and so is the zone:
//! what is served stays what is on the device.

pub mod derived;
pub mod files;
pub mod journal;
mod records;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use store::{Author, Branch, CommitId, Snapshot, Store};

use crate::dnssec::Signer;
use crate::name::Name;
use crate::query::rcode;
use crate::record::{Record, RecordType};
use crate::update::{SetChange, difference};
use crate::zone::{Denial, Rrset, Zone, ZoneFault, serial_is_after, soa_serial, with_serial};
use derived::Tables;
use files::Layout;
use journal::{Journal, Touched};

/// The branch that zones are on.
pub const BRANCH: &str = "main";
/// The derived table of signed requests that were seen.
pub const REQUESTS: &str = "signpost.requests";

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store did not take it; what is served is as before.
    #[error("the store did not take the change: {0}")]
    Store(#[from] store::Error),
    /// The zone would not be a zone.
    #[error("{0}")]
    Zone(#[from] ZoneFault),
    /// A file does not read.
    #[error("{path}, {error}")]
    Text {
        /// Where it is in the store.
        path: String,
        /// What is wrong.
        error: crate::zonefile::TextError,
    },
    /// A rule of RFC 2136 or of the policy; the response code.
    #[error("refused with response code {0}")]
    Refused(u16),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

impl KeepError {
    /// The response code of an update that failed so.
    pub fn rcode(&self) -> u16 {
        match self {
            KeepError::Refused(code) => *code,
            KeepError::Zone(_) => rcode::REFUSED,
            _ => rcode::SERVFAIL,
        }
    }
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// RRsets that changed; 0: nothing did, and there was no commit.
    pub sets: usize,
    /// The serial now.
    pub serial: u32,
}

/// Who changes something and why, for the commit.
#[derive(Debug, Clone)]
pub struct Cause {
    /// An account, key or part of the program.
    pub who: String,
    /// One sentence.
    pub why: String,
    /// Rows for the memory of signed requests, written together with the change; no value: the row goes.
    pub remembered: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Cause {
    /// A cause.
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Cause {
        Cause { who: who.into(), why: why.into(), remembered: Vec::new() }
    }

    /// The commit's author.
    pub fn author(&self) -> Author {
        Author::new(&self.who, format!("{}@signpost", self.who))
    }
}

struct State {
    working: Arc<Zone>,
    served: Arc<Zone>,
    served_step: u64,
    step: u64,
    signer: Option<Signer>,
    layout: Layout,
    strays: HashMap<Name, String>,
    journal: Journal,
    own_commits: HashSet<CommitId>,
    /// A start found no signature for some of the zone: it made them, and the serial must say so.
    signed_anew: bool,
}

/// Keeps one zone.
pub struct Keeper {
    /// The zone's name.
    pub origin: Name,
    branch: Branch,
    tables: Tables,
    state: Mutex<State>,
    /// Held shared by changes on their way to the device, alone by who reads what others pushed.
    under_way: tokio::sync::RwLock<()>,
    publish: Box<dyn Fn(&Name, Arc<Zone>) + Send + Sync>,
}

fn now() -> u32 {
    crate::serve::now_s()
}

impl Keeper {
    /// Opens a zone that is in the store. `publish` is called with each version that is to be served.
    ///
    /// # Errors
    /// `KeepError` that names the file at fault.
    pub fn open(
        store: &Store,
        origin: &Name,
        signer: Option<Signer>,
        publish: impl Fn(&Name, Arc<Zone>) + Send + Sync + 'static,
    ) -> Result<Keeper, KeepError> {
        let branch = store.branch(BRANCH)?;
        let tables = Tables::of(origin);
        let loaded = tables.rows.load(store, &branch.snapshot()?, origin)?;
        let (mut zone, mut signed_anew) = (loaded.zone, false);
        if let Some(signer) = &signer {
            let earlier = Arc::new(tables.signatures(store)?);
            zone = Signer { earlier: earlier.clone(), ..signer.clone() }.sign_all(&zone, now());
            signed_anew = earlier.is_empty() || earlier.missed() > 0;
        }
        let zone = Arc::new(zone);
        let journal = tables.journal(store, zone.serial())?;
        publish(origin, zone.clone());
        let state = State {
            working: zone.clone(),
            served: zone,
            served_step: 0,
            step: 0,
            signer,
            layout: loaded.layout,
            strays: loaded.strays,
            journal,
            own_commits: HashSet::new(),
            signed_anew,
        };
        let under_way = tokio::sync::RwLock::new(());
        Ok(Keeper {
            origin: origin.clone(),
            branch,
            tables,
            state: Mutex::new(state),
            under_way,
            publish: Box::new(publish),
        })
    }

    /// Writes a new zone, or replaces one, as one commit.
    ///
    /// # Errors
    /// `KeepError`; nothing changed.
    pub async fn import(store: &Store, origin: &Name, zone: &Zone, cause: &Cause) -> Result<(), KeepError> {
        let mut transaction = store.branch(BRANCH)?.begin()?;
        files::write_whole(&mut transaction, zone)?;
        transaction.commit_async(cause.author(), format!("{origin} {}", cause.why)).await?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The zone as it is served.
    pub fn served(&self) -> Arc<Zone> {
        self.state().served.clone()
    }

    /// The branch that the zone is on.
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// The zone as it is in a snapshot of the store, unsigned.
    ///
    /// # Errors
    /// `KeepError` that names the file at fault.
    pub fn look(&self, snapshot: &Snapshot) -> Result<Zone, KeepError> {
        Ok(self.tables.rows.look(self.branch.store(), snapshot, &self.origin)?.zone)
    }

    /// The file that a name's records stand in.
    pub fn path_of(&self, name: &Name) -> String {
        let state = self.state();
        state.strays.get(name).cloned().unwrap_or_else(|| files::path_of(&self.origin, name, state.layout))
    }

    /// The records that changed since a serial, step by step; none when that is too long ago.
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<journal::Delta>>> {
        let state = self.state();
        let served = state.served.serial();
        state.journal.since(serial, served)
    }

    /// Changes the zone: `work` says what, given the zone as it is now. Returns when it is on the device and served.
    ///
    /// # Errors
    /// `KeepError`; nothing changed.
    pub async fn change(
        &self,
        cause: &Cause,
        work: impl FnOnce(&Zone) -> Result<Vec<SetChange>, u16>,
    ) -> Result<Changed, KeepError> {
        let _under_way = self.under_way.read().await;
        self.change_held(cause, work).await
    }

    async fn change_held(
        &self,
        cause: &Cause,
        work: impl FnOnce(&Zone) -> Result<Vec<SetChange>, u16>,
    ) -> Result<Changed, KeepError> {
        let (waiting, zone, step, sets, outgrown) = {
            let mut state = self.state();
            let changes = work(&state.working).map_err(KeepError::Refused)?;
            if changes.is_empty() {
                return Ok(Changed { sets: 0, serial: state.working.serial() });
            }
            let zone = Arc::new(next_zone(&state, &changes)?);
            let mut transaction = self.branch.begin()?;
            let outgrown = files::is_outgrown(&zone, state.layout, &state.strays);
            match outgrown {
                true => {
                    files::write_whole(&mut transaction, &zone)?;
                    (state.layout, state.strays) = (Layout::Spread, HashMap::new());
                }
                false => {
                    files::write_changed(&mut transaction, &zone, &changes, state.layout, &state.strays)?;
                    let names = changes.iter().map(|change| &change.name);
                    self.tables.rows.note(&mut transaction, &zone, state.layout, names);
                }
            }
            let old = state.journal.base(&state.working);
            let touched = Touched::between(&old, &zone);
            let noted = state.journal.note(&old, &zone, &touched);
            self.tables.note(&mut transaction, self.branch.store(), &zone, &touched, noted)?;
            for (key, value) in &cause.remembered {
                let requests = transaction.index(REQUESTS);
                match value {
                    Some(value) => requests.put(&key[..], &value[..]),
                    None => requests.delete(&key[..]),
                }
            }
            let message = format!("{} {}\n\n{}", self.origin, cause.why, describe(&changes));
            let waiting = transaction.commit_async(cause.author(), message);
            state.working = zone.clone();
            state.step += 1;
            (waiting, zone, state.step, changes.len(), outgrown)
        };
        let committed = waiting.await;
        if let (Ok(commit), true) = (&committed, outgrown) {
            // Without its table the next start would read every file, and make it.
            let _ = self.tables.rows.make(self.branch.store(), Some(**commit), &zone);
        }
        let mut state = self.state();
        match committed {
            Ok(commit) => {
                state.own_commits.insert(*commit);
                if step > state.served_step {
                    (state.served_step, state.served) = (step, zone.clone());
                    (self.publish)(&self.origin, zone.clone());
                }
                Ok(Changed { sets, serial: zone.serial() })
            }
            Err(error) => {
                state.working = state.served.clone();
                state.journal.clear();
                Err(error.into())
            }
        }
    }

    /// Changes how the zone is signed, or renews what is signed: a new serial, and the commit that says so.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn sign_anew(&self, signer: Option<Signer>, cause: &Cause) -> Result<Changed, KeepError> {
        let _alone = self.under_way.write().await;
        {
            let mut state = self.state();
            let mut zone = (*state.working).clone();
            if signer.is_none() {
                zone = plain(&zone)?;
            }
            if let Some(signer) = &signer {
                zone = signer.sign_all(&zone, now());
            }
            state.signer = signer;
            let old = std::mem::replace(&mut state.working, Arc::new(zone));
            state.journal.hold(old);
        }
        self.change_held(cause, |zone| Ok(vec![touch_soa(zone)])).await
    }

    /// Signatures that a start had to make need a new serial, which tells the secondaries; they get the whole zone. A start
    /// that found them all changes nothing.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn count_up_after_start(&self) -> Result<(), KeepError> {
        let zone = {
            let mut state = self.state();
            if !std::mem::take(&mut state.signed_anew) {
                return Ok(());
            }
            state.journal.gap();
            state.served.clone()
        };
        self.tables.write_all(self.branch.store(), &zone)?;
        self.change(&Cause::new("signer", "signed anew after a start"), |zone| Ok(vec![touch_soa(zone)]))
            .await?;
        Ok(())
    }

    /// Renews the signatures that end soon; nothing happens when none do.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn renew(&self, at_most: usize) -> Result<usize, KeepError> {
        let _alone = self.under_way.write().await;
        let renewed = {
            let mut state = self.state();
            let Some(signer) = state.signer.clone() else { return Ok(0) };
            let mut zone = (*state.working).clone();
            let renewed = signer.renew(&mut zone, now(), at_most);
            if renewed > 0 {
                let (old, zone) = (state.working.clone(), Arc::new(zone));
                state.journal.hold(old);
                state.working = zone;
            }
            renewed
        };
        if renewed > 0 {
            let cause = Cause::new("signer", format!("signed anew: {renewed} names"));
            self.change_held(&cause, |zone| Ok(vec![touch_soa(zone)])).await?;
        }
        Ok(renewed)
    }

    /// Whether a commit is of this keeper's making; asked once.
    pub fn made(&self, commit: CommitId) -> bool {
        self.state().own_commits.remove(&commit)
    }

    /// Takes in what others committed to the branch (a push, a merge, a revert): checked, with a serial that goes on,
    /// and served. A tree that is no zone is not served; the zone stays as it was.
    ///
    /// # Errors
    /// `KeepError` that names what is wrong with the pushed files.
    pub async fn take_in(&self, commit: Option<CommitId>) -> Result<Option<Changed>, KeepError> {
        let _alone = self.under_way.write().await;
        if commit.is_some_and(|commit| self.state().own_commits.remove(&commit)) {
            return Ok(None);
        }
        let snapshot = self.branch.snapshot()?;
        let loaded = self.tables.rows.load(self.branch.store(), &snapshot, &self.origin)?;
        {
            let mut state = self.state();
            (state.layout, state.strays) = (loaded.layout, loaded.strays);
        }
        let pushed = loaded.zone;
        let cause = Cause::new("signpost", "counts the serial up after a push");
        let changed = self.change_held(&cause, |zone| Ok(replacement(zone, &pushed))).await?;
        Ok((changed.sets > 0).then_some(changed))
    }

    /// Makes what a commit changed undone, record by record, whatever happened since.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn undo(&self, commit: CommitId, cause: &Cause) -> Result<Changed, KeepError> {
        let store = self.branch.store();
        let parent = store.commit(commit)?.parents.first().copied();
        let parent =
            parent.ok_or_else(|| KeepError::Other("there is nothing before this commit".to_string()))?;
        let after = self.look(&store.snapshot_at(commit)?)?;
        let before = self.look(&store.snapshot_at(parent)?)?;
        let changes: Vec<SetChange> = difference(&after, &before)
            .into_iter()
            .filter(|change| change.rtype != RecordType::SOA)
            .collect();
        self.change(cause, |zone| Ok(changes.into_iter().filter(|change| differs(zone, change)).collect()))
            .await
    }
}

fn differs(zone: &Zone, change: &SetChange) -> bool {
    let there = zone.node(&change.name).and_then(|node| node.get(change.rtype));
    match (there, change.rrset(&zone.origin)) {
        (None, None) => false,
        (Some(there), Some(wanted)) => there.body() != wanted.body(),
        _ => true,
    }
}

/// The zone after changes: checked, the serial counted up, signed where it was touched.
fn next_zone(state: &State, changes: &[SetChange]) -> Result<Zone, KeepError> {
    let mut zone = (*state.working).clone();
    let origin = zone.origin.clone();
    let old_serial = zone.serial();
    for change in changes {
        zone.set(&change.name, change.rtype, change.rrset(&origin));
    }
    zone.check_touched(changes.iter().map(|change| &change.name))?;
    if !serial_is_after(zone.serial(), old_serial) {
        let soa = zone.soa_data();
        let data = with_serial(&soa, next_serial(old_serial));
        let set = Rrset::new(&origin, RecordType::SOA, zone.soa().ttl, vec![data]);
        zone.set(&origin, RecordType::SOA, Some(set));
    }
    if let Some(signer) = &state.signer {
        let mut touched: Vec<(Name, RecordType)> =
            changes.iter().map(|change| (change.name.clone(), change.rtype)).collect();
        touched.push((origin, RecordType::SOA));
        signer.sign_touched(&mut zone, &touched, now());
    }
    Ok(zone)
}

/// RFC 1982: one more; 0 is passed over, some secondaries take it for "never".
fn next_serial(serial: u32) -> u32 {
    match serial.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

fn touch_soa(zone: &Zone) -> SetChange {
    let data = with_serial(&zone.soa_data(), next_serial(zone.serial()));
    SetChange { name: zone.origin.clone(), rtype: RecordType::SOA, ttl: zone.soa().ttl, datas: vec![data] }
}

/// The zone without what the signer put in.
fn plain(zone: &Zone) -> Result<Zone, ZoneFault> {
    let of_signer = |record: &Record| {
        record.name == zone.origin
            && zone.denial != Denial::Unsigned
            && matches!(record.rtype, RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY)
    };
    Zone::build(&zone.origin, zone.plain_records().filter(|record| !of_signer(record)))
}

/// Changes from a signed zone to one read from files, which has no keys in it.
fn difference_unsigned(zone: &Zone, pushed: &Zone) -> Vec<SetChange> {
    match plain(zone) {
        Ok(plain) => difference(&plain, pushed),
        Err(_) => difference(zone, pushed),
    }
}

/// The changes that make a zone's content another's, the signer's part untouched; the serial follows by itself.
pub fn replacement(there: &Zone, wanted: &Zone) -> Vec<SetChange> {
    let mut changes = difference_unsigned(there, wanted);
    changes.retain(|change| change.rtype != RecordType::SOA || !same_but_serial(there, wanted));
    changes
}

fn same_but_serial(zone: &Zone, pushed: &Zone) -> bool {
    let (own, other) = (zone.soa_data(), pushed.soa_data());
    let ahead =
        matches!((soa_serial(&other), soa_serial(&own)), (Some(new), Some(old)) if serial_is_after(new, old));
    !ahead && with_serial(&own, 0) == with_serial(&other, 0) && zone.soa().ttl == pushed.soa().ttl
}

/// The changes as lines for a commit's message, the first few.
fn describe(changes: &[SetChange]) -> String {
    const LINES: usize = 20;
    let mut lines: Vec<String> = changes
        .iter()
        .take(LINES)
        .map(|change| {
            let texts: Vec<String> = change
                .datas
                .iter()
                .take(4)
                .map(|data| crate::record::text::to_text(change.rtype, data))
                .collect();
            let more = if change.datas.len() > 4 { ", …" } else { "" };
            match texts.is_empty() {
                true => format!("{} {} goes", change.name, change.rtype),
                false => format!("{} {} {}{more}", change.name, change.rtype, texts.join(", ")),
            }
        })
        .collect();
    if changes.len() > LINES {
        lines.push(format!("and {} more", changes.len() - LINES));
    }
    lines.join("\n")
}

#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;
