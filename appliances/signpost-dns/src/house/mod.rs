//! Everything that an appliance of this kind holds: the engine, a keeper for each zone, keys, devices. Errands come here.

pub mod commands;
pub mod devices;
mod errands;
mod first;
mod notify;
mod sig0;
mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chassis::Chassis;
use chassis::config::Config;
use store::Store;

use crate::dnssec::rollover::{KeyRecord, Role, Stage, Step, next_step};
use crate::dnssec::{Algorithm, Signer, ZoneKey};
use crate::engine::{Engine, Served, Views};
use crate::keeper::{BRANCH, Cause, KeepError, Keeper, files};
use crate::name::Name;
use crate::settings::{KeySettings, Settings, ZoneSettings, named, networks};
use crate::tsig::{Key, Seen};
use crate::update::SetChange;
use crate::zone::{Denial, Zone};

/// Called with a lower-case wire name when a question for a sleeping service comes; the answer waits for it.
pub type WakeHook = Arc<dyn Fn(Name) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

struct KnownKey {
    key: Key,
    settings: KeySettings,
}

/// See the module.
pub struct House {
    /// Answers questions.
    pub engine: Arc<Engine>,
    store: Store,
    config: Config<Settings>,
    settings: RwLock<Arc<Settings>>,
    keepers: RwLock<HashMap<Name, Arc<Keeper>>>,
    keys: RwLock<Arc<HashMap<Name, KnownKey>>>,
    served: Arc<Mutex<Served>>,
    seen: Mutex<Seen>,
    troubles: Mutex<HashMap<Name, String>>,
    wake: Mutex<Option<WakeHook>>,
}

fn unlocked<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl House {
    /// Opens all zones of the store. A zone that cannot be read is noted as trouble, the others are served.
    ///
    /// # Errors
    /// When the settings or the store itself cannot be read.
    pub fn open(chassis: &Chassis, engine: Arc<Engine>) -> Result<Arc<House>, KeepError> {
        let config = chassis.config::<Settings>();
        let settings = Arc::new(config.get().map_err(|error| KeepError::Other(error.to_string()))?);
        let house = Arc::new(House {
            engine,
            store: chassis.store().clone(),
            config,
            settings: RwLock::new(settings.clone()),
            keepers: RwLock::default(),
            keys: RwLock::default(),
            served: Arc::default(),
            seen: Mutex::default(),
            troubles: Mutex::default(),
            wake: Mutex::default(),
        });
        house.read_keys(&settings);
        for origin in files::origins(&house.store.branch(BRANCH)?.snapshot()?)? {
            if let Err(error) = house.open_zone(&origin) {
                tracing::error!(zone = %origin, %error, "the zone is not served");
                house.note_trouble(&origin, Some(error.to_string()));
            }
        }
        Ok(house)
    }

    /// The hook for sleeping services.
    pub fn set_wake_hook(&self, hook: WakeHook) {
        *unlocked(self.wake.lock()) = Some(hook);
    }

    fn read_keys(&self, settings: &Settings) {
        let mut keys = HashMap::new();
        for (name, one) in &settings.keys {
            match one.key(name) {
                Ok(key) => drop(keys.insert(key.name.clone(), KnownKey { key, settings: one.clone() })),
                Err(error) => tracing::error!(key = name, error, "the key is not used"),
            }
        }
        *unlocked(self.keys.write()) = Arc::new(keys);
    }

    fn note_trouble(&self, origin: &Name, trouble: Option<String>) {
        let mut troubles = unlocked(self.troubles.lock());
        match trouble {
            Some(words) => drop(troubles.insert(origin.clone(), words)),
            None => drop(troubles.remove(origin)),
        }
    }

    /// What is wrong with zones, in words.
    pub fn troubles(&self) -> Vec<(Name, String)> {
        unlocked(self.troubles.lock()).iter().map(|(name, words)| (name.clone(), words.clone())).collect()
    }

    fn open_zone(self: &Arc<Self>, origin: &Name) -> Result<Arc<Keeper>, KeepError> {
        let settings = self.settings();
        let zone_settings = zone_settings(&settings, origin);
        let signer =
            zone_settings.signed.then(|| signer_of(&zone_settings)).transpose().map_err(KeepError::Other)?;
        let house = Arc::downgrade(self);
        let publish = move |origin: &Name, zone: Arc<Zone>| {
            if let Some(house) = house.upgrade() {
                house.publish(origin, zone);
            }
        };
        let keeper = Arc::new(Keeper::open(&self.store, origin, signer, publish)?);
        unlocked(self.keepers.write()).insert(origin.clone(), keeper.clone());
        self.note_trouble(origin, None);
        Ok(keeper)
    }

    /// Serves a version of a zone, in all its views.
    fn publish(&self, origin: &Name, zone: Arc<Zone>) {
        let settings = self.settings();
        let mut views = Views::plain(zone.clone());
        for (view, ranges) in &settings.views {
            match self.inside(origin, &zone, view) {
                Ok(Some(inside)) => {
                    let inside = Arc::new(inside);
                    views
                        .inside
                        .extend(networks(ranges).into_iter().map(|network| (network, inside.clone())));
                }
                Ok(None) => {}
                Err(error) => tracing::error!(zone = %origin, view, %error, "the view shows the public zone"),
            }
        }
        let sleepers = zone_settings(&settings, origin).sleepers;
        let names = sleepers.iter().filter_map(|text| Name::from_text(text, Some(origin)).ok());
        views.sleepers = Arc::new(names.map(|name| name.lower().octets().into()).collect());
        let mut served = unlocked(self.served.lock());
        served.put(origin, Arc::new(views));
        self.engine.served.publish(served.clone());
    }

    /// The zone with a view's RRsets in place of the public ones; none when the view has nothing for it.
    fn inside(&self, origin: &Name, zone: &Zone, view: &str) -> Result<Option<Zone>, KeepError> {
        let snapshot = self.store.branch(BRANCH)?.snapshot()?;
        let path = format!("views/{view}/{}", origin.lower().to_string().trim_end_matches('.'));
        let mut records = Vec::new();
        for entry in snapshot.walk(&path)? {
            let entry = entry?;
            let bytes = snapshot.read(&entry.path)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let parsed = crate::zonefile::parse(&text, origin, Some(300));
            records.extend(parsed.map_err(|error| KeepError::Text { path: path.clone(), error })?);
        }
        if records.is_empty() {
            return Ok(None);
        }
        let mut sets: std::collections::BTreeMap<_, SetChange> = std::collections::BTreeMap::new();
        for record in records.into_iter().filter(|record| record.name.is_within(origin)) {
            let set = sets.entry((record.name.order_key(), record.rtype)).or_insert_with(|| SetChange {
                name: record.name.clone(),
                rtype: record.rtype,
                ttl: record.ttl,
                datas: Vec::new(),
            });
            set.datas.push(record.data);
        }
        let mut inside = zone.clone();
        let mut touched = Vec::new();
        for set in sets.into_values() {
            inside.set(&set.name, set.rtype, set.rrset(origin));
            touched.push((set.name, set.rtype));
        }
        inside.check_touched(touched.iter().map(|(name, _)| name))?;
        let settings = zone_settings(&self.settings(), origin);
        if settings.signed {
            let signer = signer_of(&settings).map_err(KeepError::Other)?;
            signer.sign_touched(&mut inside, &touched, crate::serve::now_s());
        }
        Ok(Some(inside))
    }

    /// The settings as of now.
    pub fn settings(&self) -> Arc<Settings> {
        unlocked(self.settings.read()).clone()
    }

    /// Changes the settings, as a commit on the branch `config`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn change_settings(
        &self,
        who: &str,
        why: &str,
        edit: impl FnOnce(&mut Settings),
    ) -> Result<(), KeepError> {
        let changed =
            self.config.change(who, why, edit).await.map_err(|error| KeepError::Other(error.to_string()))?;
        self.read_keys(&changed);
        *unlocked(self.settings.write()) = Arc::new(changed);
        Ok(())
    }

    /// Reads the settings again after somebody else changed them.
    pub fn reread_settings(&self) {
        match self.config.get() {
            Ok(settings) => {
                self.read_keys(&settings);
                *unlocked(self.settings.write()) = Arc::new(settings);
            }
            Err(error) => tracing::error!(%error, "the settings stay as they were"),
        }
    }

    /// The keeper of a zone.
    pub fn keeper(&self, origin: &Name) -> Option<Arc<Keeper>> {
        unlocked(self.keepers.read()).get(origin).cloned()
    }

    /// The keeper of the closest zone at or above a name.
    pub fn keeper_of(&self, name: &Name) -> Option<Arc<Keeper>> {
        let keepers = unlocked(self.keepers.read());
        let mut here = Some(name.clone());
        while let Some(one) = here {
            if let Some(keeper) = keepers.get(&one) {
                return Some(keeper.clone());
            }
            here = one.parent();
        }
        None
    }

    /// All keepers, by name.
    pub fn keepers(&self) -> Vec<Arc<Keeper>> {
        let mut all: Vec<Arc<Keeper>> = unlocked(self.keepers.read()).values().cloned().collect();
        all.sort_by(|one, other| one.origin.cmp(&other.origin));
        all
    }

    /// Makes a zone of records or replaces one's content; the serial goes on from where it was.
    ///
    /// # Errors
    /// `KeepError`; nothing changed.
    pub async fn import(
        self: &Arc<Self>,
        origin: &Name,
        zone: &Zone,
        cause: &Cause,
    ) -> Result<u32, KeepError> {
        if let Some(keeper) = self.keeper(origin) {
            let wanted = zone.clone();
            let changed =
                keeper.change(cause, |there| Ok(crate::keeper::replacement(there, &wanted))).await?;
            return Ok(changed.serial);
        }
        Keeper::import(&self.store, origin, zone, cause).await?;
        Ok(self.open_zone(origin)?.served().serial())
    }

    /// Follows the branch: what others push is taken in.
    pub async fn follow(self: Arc<Self>) {
        let Ok(branch) = self.store.branch(BRANCH) else { return };
        let Ok(mut watch) = branch.watch("", None) else { return };
        while let Ok(event) = watch.next_async().await {
            let paths: Vec<String> = event
                .changes
                .iter()
                .map(|change| String::from_utf8_lossy(change.path.as_ref()).into_owned())
                .collect();
            for origin in origins_of(&paths) {
                match self.keeper(&origin) {
                    Some(keeper) => match keeper.take_in(event.commit).await {
                        Ok(_) => self.note_trouble(&origin, None),
                        Err(error) => {
                            tracing::error!(zone = %origin, %error, "what was pushed is not served");
                            self.note_trouble(&origin, Some(error.to_string()));
                        }
                    },
                    None => {
                        if let Err(error) = self.open_zone(&origin) {
                            self.note_trouble(&origin, Some(error.to_string()));
                        }
                    }
                }
            }
            if paths.iter().any(|path| path.starts_with("views/")) {
                for keeper in self.keepers() {
                    self.publish(&keeper.origin, keeper.served());
                }
            }
        }
    }

    /// What time brings: signatures that end, keys that roll, devices that fell silent. Once a minute.
    pub async fn tick(self: Arc<Self>) {
        loop {
            for keeper in self.keepers() {
                if let Err(error) = keeper.renew(RENEW_AT_ONCE).await {
                    tracing::error!(zone = %keeper.origin, %error, "signatures were not renewed");
                }
                if let Err(error) = self.roll_keys(&keeper, u64::from(crate::serve::now_s()), |_| false).await
                {
                    tracing::error!(zone = %keeper.origin, %error, "keys were not rolled");
                }
            }
            self.expire_devices(u64::from(crate::serve::now_s())).await;
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
    }

    /// Takes the steps of key rollover that are due.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn roll_keys(
        &self,
        keeper: &Keeper,
        now: u64,
        parent_has: impl Fn(usize) -> bool,
    ) -> Result<(), KeepError> {
        let mut settings = zone_settings(&self.settings(), &keeper.origin);
        if !settings.signed || !roll(&mut settings, now, parent_has)? {
            return Ok(());
        }
        let signer = signer_of(&settings).map_err(KeepError::Other)?;
        let cause = Cause::new("signer", "keys rolled");
        self.change_settings("signer", &format!("{}: keys rolled", keeper.origin), |all| {
            *zone_settings_mut(all, &keeper.origin) = settings;
        })
        .await?;
        keeper.sign_anew(Some(signer), &cause).await?;
        Ok(())
    }

    /// Begins or ends signing a zone.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn sign(
        &self,
        origin: &Name,
        who: &str,
        how: Option<(Algorithm, bool)>,
    ) -> Result<u32, KeepError> {
        let keeper =
            self.keeper(origin).ok_or_else(|| KeepError::Other(format!("there is no zone {origin}")))?;
        let mut settings = zone_settings(&self.settings(), origin);
        settings.signed = how.is_some();
        if let Some((algorithm, nsec3)) = how {
            (settings.algorithm, settings.nsec3) = (Some(algorithm), nsec3);
            roll(&mut settings, u64::from(crate::serve::now_s()), |_| false)?;
        } else {
            settings.keys.clear();
        }
        let signer = how.map(|_| signer_of(&settings)).transpose().map_err(KeepError::Other)?;
        let why = if how.is_some() { "is signed from now on" } else { "is no longer signed" };
        self.change_settings(who, &format!("{origin} {why}"), |all| {
            *zone_settings_mut(all, origin) = settings
        })
        .await?;
        Ok(keeper.sign_anew(signer, &Cause::new(who, why)).await?.serial)
    }
}

/// Names that are signed anew in one go.
const RENEW_AT_ONCE: usize = 5000;

/// Takes all steps that are due; whether there was one.
fn roll(
    settings: &mut ZoneSettings,
    now: u64,
    parent_has: impl Fn(usize) -> bool,
) -> Result<bool, KeepError> {
    let mut moved = false;
    if settings.keys.is_empty() {
        for role in [Role::KeySigning, Role::ZoneSigning] {
            settings.keys.push(new_key(settings.algorithm, role, now)?);
        }
        moved = true;
    }
    while let Some(step) = next_step(&settings.keys, &settings.timing, now, &parent_has) {
        match step {
            Step::Generate(role) => settings.keys.push(new_key(settings.algorithm, role, now)?),
            Step::Move(at, stage) => (settings.keys[at].stage, settings.keys[at].since) = (stage, now),
            Step::Remove(at) => drop(settings.keys.remove(at)),
        }
        moved = true;
    }
    Ok(moved)
}

fn new_key(algorithm: Option<Algorithm>, role: Role, now: u64) -> Result<KeyRecord, KeepError> {
    let algorithm = algorithm.unwrap_or(Algorithm::EcdsaP256);
    let private = ZoneKey::generate(algorithm).map_err(|error| KeepError::Other(error.to_string()))?;
    let private = data_encoding::BASE64.encode(&private);
    Ok(KeyRecord { algorithm, role, stage: Stage::Published, since: now, private })
}

/// The signer of a zone's keys as they stand.
pub fn signer_of(settings: &ZoneSettings) -> Result<Signer, String> {
    let mut signer = Signer {
        published: Vec::new(),
        key_signing: Vec::new(),
        zone_signing: Vec::new(),
        asked_of_parent: Vec::new(),
        denial: if settings.nsec3 { Denial::Nsec3 } else { Denial::Nsec },
        key_ttl: 3600,
    };
    for record in &settings.keys {
        let private =
            data_encoding::BASE64.decode(record.private.as_bytes()).map_err(|error| error.to_string())?;
        let flags = if record.role == Role::ZoneSigning { 256 } else { 257 };
        let key =
            ZoneKey::from_pkcs8(record.algorithm, flags, &private).map_err(|error| error.to_string())?;
        let key = Arc::new(key);
        signer.published.push(key.clone());
        let signs_keys = record.role != Role::ZoneSigning && record.stage != Stage::Retired;
        let signs_zone = record.role != Role::KeySigning && record.stage == Stage::Active;
        if signs_keys {
            signer.key_signing.push(key.clone());
        }
        if signs_zone {
            signer.zone_signing.push(key.clone());
        }
        let asked = signs_keys
            && settings.keys.iter().all(|other| other.role != record.role || other.since <= record.since);
        if asked {
            signer.asked_of_parent.push(key);
        }
    }
    if signer.key_signing.is_empty() || signer.zone_signing.is_empty() {
        return Err("no key is active".to_string());
    }
    Ok(signer)
}

/// The settings of a zone; the usual ones when it has none.
pub fn zone_settings(settings: &Settings, origin: &Name) -> ZoneSettings {
    let found = settings.zones.iter().find(|(name, _)| named(name).as_ref() == Some(origin));
    found.map(|(_, one)| one.clone()).unwrap_or_default()
}

/// The settings of a zone, to change them.
pub fn zone_settings_mut<'s>(settings: &'s mut Settings, origin: &Name) -> &'s mut ZoneSettings {
    let known = settings.zones.keys().find(|name| named(name).as_ref() == Some(origin)).cloned();
    let name = known.unwrap_or_else(|| origin.lower().to_string().trim_end_matches('.').to_string());
    settings.zones.entry(name).or_default()
}

fn origins_of(paths: &[String]) -> Vec<Name> {
    let mut origins: Vec<Name> = paths
        .iter()
        .filter_map(|path| {
            Name::from_text(path.strip_prefix("zones/")?.split('/').next()?, Some(&Name::root())).ok()
        })
        .collect();
    origins.sort();
    origins.dedup();
    origins
}
