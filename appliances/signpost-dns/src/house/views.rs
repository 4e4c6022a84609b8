//! Views: RRsets that askers in some networks get instead of the public ones. They stand in the store beside the zones,
//! `views/VIEW/ORIGIN/…`, and are changed by pushes, by commands and pages, by devices, and by updates whose key is of a
//! view.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::Snapshot;

use super::{House, signer_of, unlocked, zone_settings};
use crate::engine::Views;
use crate::keeper::{BRANCH, Cause, Changed, KeepError, Keeper, files};
use crate::name::Name;
use crate::network::Network;
use crate::record::Record;
use crate::settings::networks;
use crate::update::SetChange;
use crate::zone::Zone;
use crate::zonefile;

/// TTL of a view's records that say none.
const TTL_UNASKED_S: u32 = 300;

/// What a view has of its own for one zone, in order of names and types.
pub type ViewSets = Arc<Vec<SetChange>>;

/// The directory of a view's records for a zone.
fn directory(view: &str, origin: &Name) -> String {
    format!("views/{view}/{}", files::origin_text(origin))
}

/// Reads what a view has for a zone, file by file.
///
/// # Errors
/// `KeepError` that names the file and line at fault.
pub fn read(
    snapshot: &Snapshot,
    view: &str,
    origin: &Name,
) -> Result<BTreeMap<String, Vec<Record>>, KeepError> {
    let mut all = BTreeMap::new();
    for entry in snapshot.walk(directory(view, origin))? {
        let entry = entry?;
        let path = String::from_utf8_lossy(entry.path.as_ref()).into_owned();
        let bytes = snapshot.read(&entry.path)?.unwrap_or_default();
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| KeepError::Other(format!("{path} is not text in UTF-8")))?;
        let records = zonefile::parse(text, origin, Some(TTL_UNASKED_S))
            .map_err(|error| KeepError::Text { path: path.clone(), error })?;
        if let Some(outside) = records.iter().find(|record| !record.name.is_within(origin)) {
            return Err(KeepError::Other(format!("{path}: {} is not within {origin}", outside.name)));
        }
        all.insert(path, records);
    }
    Ok(all)
}

/// Records as RRsets.
pub fn sets_of(records: impl IntoIterator<Item = Record>) -> Vec<SetChange> {
    let mut sets: BTreeMap<_, SetChange> = BTreeMap::new();
    for record in records {
        let (name, rtype, ttl) = (record.name, record.rtype, record.ttl);
        let set = sets.entry((name.order_key(), rtype)).or_insert_with(|| SetChange {
            name,
            rtype,
            ttl,
            datas: Vec::new(),
        });
        set.datas.push(record.data);
    }
    sets.into_values().collect()
}

/// The zone with a view's RRsets in place of the public ones, not yet signed.
///
/// # Errors
/// `KeepError::Zone` when that would be no zone.
pub fn overlay(zone: &Zone, sets: &[SetChange]) -> Result<Zone, KeepError> {
    let mut inside = zone.clone();
    for set in sets {
        inside.set(&set.name, set.rtype, set.rrset(&zone.origin));
    }
    inside.check_touched(sets.iter().map(|set| &set.name))?;
    Ok(inside)
}

/// A view's name is a directory's.
///
/// # Errors
/// A sentence.
pub fn check_name(view: &str) -> Result<(), KeepError> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    match !view.is_empty() && view.len() <= 60 && view.bytes().all(plain) {
        true => Ok(()),
        false => Err(KeepError::Other(format!("{view:?}: a view's name is letters, digits, - and _"))),
    }
}

impl House {
    /// Says which networks see a view; none takes the view away.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn set_view(&self, who: &str, view: &str, ranges: Vec<String>) -> Result<(), KeepError> {
        check_name(view)?;
        if let Some(error) = ranges.iter().find_map(|one| one.parse::<Network>().err()) {
            return Err(KeepError::Other(error));
        }
        self.change_settings(who, &format!("view {view}"), |all| {
            if ranges.is_empty() {
                all.views.remove(view);
            } else {
                all.views.insert(view.to_string(), ranges);
            }
        })
        .await
    }

    /// What a view has of its own for a zone, read once and kept until it changes.
    ///
    /// # Errors
    /// `KeepError`.
    pub fn view_sets(&self, view: &str, origin: &Name) -> Result<ViewSets, KeepError> {
        let key = (view.to_string(), origin.clone());
        if let Some(sets) = unlocked(self.view_sets.lock()).get(&key) {
            return Ok(sets.clone());
        }
        let read = read(&self.store.branch(BRANCH)?.snapshot()?, view, origin)?;
        let sets = Arc::new(sets_of(read.into_values().flatten()));
        unlocked(self.view_sets.lock()).insert(key, sets.clone());
        Ok(sets)
    }

    /// Forgets what was read of views: somebody changed them.
    pub(super) fn views_changed(&self) {
        unlocked(self.view_sets.lock()).clear();
        for keeper in self.keepers() {
            self.publish(&keeper.origin, keeper.served());
        }
    }

    /// A version of a zone as its views show it.
    pub(super) fn views_of(&self, origin: &Name, zone: &Arc<Zone>) -> Vec<(Network, Arc<Zone>)> {
        let settings = self.settings();
        let mut all = Vec::new();
        for (view, ranges) in &settings.views {
            match self.inside(origin, zone, view) {
                Ok(Some(inside)) => {
                    all.extend(networks(ranges).into_iter().map(|network| (network, inside.clone())));
                }
                Ok(None) => {}
                Err(error) => tracing::error!(zone = %origin, view, %error, "the view shows the public zone"),
            }
        }
        // The narrowest network that holds an asker decides.
        all.sort_by_key(|(network, _)| std::cmp::Reverse(network.bits()));
        all
    }

    /// The zone as a view shows it; none when the view has nothing for it.
    fn inside(&self, origin: &Name, zone: &Zone, view: &str) -> Result<Option<Arc<Zone>>, KeepError> {
        let sets = self.view_sets(view, origin)?;
        if sets.is_empty() {
            return Ok(None);
        }
        let mut inside = overlay(zone, &sets)?;
        let settings = zone_settings(&self.settings(), origin);
        if settings.signed {
            let signer = signer_of(&settings).map_err(KeepError::Other)?;
            let touched: Vec<_> = sets.iter().map(|set| (set.name.clone(), set.rtype)).collect();
            signer.sign_touched(&mut inside, &touched, crate::serve::now_s());
        }
        Ok(Some(Arc::new(inside)))
    }

    /// Changes what a view has for a zone: `work` is given what it has now and the zone as it shows it, and says what
    /// the RRsets are to become; one that goes lets the public one show again. On the device and served when it returns.
    ///
    /// # Errors
    /// `KeepError`; nothing changed.
    pub async fn change_view(
        &self,
        cause: &Cause,
        view: &str,
        keeper: &Keeper,
        work: impl FnOnce(&[SetChange], &Zone) -> Result<Vec<SetChange>, u16>,
    ) -> Result<Changed, KeepError> {
        check_name(view)?;
        if !self.settings().views.contains_key(view) {
            return Err(KeepError::Other(format!("there is no view {view}; `view set` makes one")));
        }
        let origin = &keeper.origin;
        let _alone = self.view_writer.lock().await;
        let (sets, public) = (self.view_sets(view, origin)?, keeper.served());
        let shown = overlay(&public, &sets)?;
        let changes = work(&sets, &shown).map_err(KeepError::Refused)?;
        let changes: Vec<SetChange> = changes.into_iter().filter(|change| !sets.contains(change)).collect();
        if changes.is_empty() {
            return Ok(Changed { sets: 0, serial: public.serial() });
        }
        let touches =
            |record: &Record| changes.iter().any(|one| one.name == record.name && one.rtype == record.rtype);
        let branch = self.store.branch(BRANCH)?;
        let mut transaction = branch.begin()?;
        let mut files = read(transaction.base(), view, origin)?;
        let before = files.clone();
        files.values_mut().for_each(|records| records.retain(|record| !touches(record)));
        for change in &changes {
            let path = format!("{}/{}", directory(view, origin), files::file_name(origin, &change.name));
            let record =
                |data: &Vec<u8>| crate::zone::record(&change.name, change.rtype, change.ttl, data.clone());
            files.entry(path).or_default().extend(change.datas.iter().map(record));
        }
        overlay(&public, &sets_of(files.values().flatten().cloned()))?;
        for (path, records) in files {
            match (before.get(&path), records.is_empty()) {
                (Some(same), _) if *same == records => {}
                (None, true) => {}
                (Some(_), true) => drop(transaction.remove(path)?),
                _ => drop(transaction.put(path, zonefile::print(&records))?),
            }
        }
        let message = format!("{origin} in the view {view}: {}", cause.why);
        transaction.commit_async(cause.author(), message).await?;
        self.views_changed();
        Ok(Changed { sets: changes.len(), serial: public.serial() })
    }

    /// Serves a version of a zone, in all its views.
    pub(super) fn publish(&self, origin: &Name, zone: Arc<Zone>) {
        let mut views = Views::plain(zone.clone());
        views.inside = self.views_of(origin, &zone);
        let sleepers = zone_settings(&self.settings(), origin).sleepers;
        let names = sleepers.iter().filter_map(|text| Name::from_text(text, Some(origin)).ok());
        views.sleepers = Arc::new(names.map(|name| name.lower().octets().into()).collect());
        let mut served = unlocked(self.served.lock());
        served.put(origin, Arc::new(views));
        self.engine.served.publish(served.clone());
    }
}
