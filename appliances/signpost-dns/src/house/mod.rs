//! Everything that an appliance of this kind holds: the engine, a keeper for each zone, keys, devices. Errands come here.

pub mod commands;
pub mod devices;
mod errands;
mod first;
mod notify;
pub mod parent;
mod push;
mod remember;
mod sig0;
mod transfer;
pub mod views;
mod wake;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chassis::Chassis;
use chassis::config::Config;
use store::Store;

use crate::dnssec::rollover::{KeyRecord, Role, Stage, Step, next_step};
use crate::dnssec::{Algorithm, Signer, ZoneKey};
use crate::engine::{Engine, Served};
use crate::keeper::{BRANCH, Cause, KeepError, Keeper, files};
use crate::name::Name;
use crate::rrl::Limits;
use crate::settings::{KeySettings, Settings, ZoneSettings, named};
use crate::tsig::{Key, Seen};
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
    memory: Arc<remember::Memory>,
    troubles: Mutex<HashMap<Name, String>>,
    wake_hook: Mutex<Option<WakeHook>>,
    woken: Mutex<wake::Woken>,
    parents: Mutex<HashMap<Name, parent::Seen>>,
    heard: Mutex<HashMap<String, devices::Heard>>,
    view_sets: Mutex<HashMap<(String, Name), views::ViewSets>>,
    /// Held by who changes a view.
    view_writer: tokio::sync::Mutex<()>,
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
            memory: Arc::default(),
            troubles: Mutex::default(),
            wake_hook: Mutex::default(),
            woken: Mutex::default(),
            parents: Mutex::default(),
            heard: Mutex::default(),
            view_sets: Mutex::default(),
            view_writer: tokio::sync::Mutex::default(),
        });
        house.apply(&settings);
        house.restore_requests()?;
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
        *unlocked(self.wake_hook.lock()) = Some(hook);
    }

    /// Keys and rate limits of these settings, from now on.
    fn apply(&self, settings: &Settings) {
        let Settings { answers_a_second, limit_loopback, .. } = *settings;
        self.engine.limit(Limits { answers_a_second, loopback: limit_loopback });
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
        self.settle(changed);
        Ok(())
    }

    /// Settings that are in force from now on.
    fn settle(&self, new: Settings) {
        self.apply(&new);
        let new = Arc::new(new);
        let old = std::mem::replace(&mut *unlocked(self.settings.write()), new.clone());
        let sleepers = |all: &Settings| -> Vec<Vec<String>> {
            all.zones.values().map(|one| one.sleepers.clone()).collect()
        };
        if old.views != new.views || sleepers(&old) != sleepers(&new) {
            self.views_changed();
        }
    }

    /// Reads the settings again after somebody else changed them.
    pub fn reread_settings(&self) {
        match self.config.get() {
            Ok(settings) => self.settle(settings),
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

    /// Takes a zone away: no longer served, its files gone from the branch (its history stays).
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn remove(&self, origin: &Name, cause: &Cause) -> Result<(), KeepError> {
        self.existing(origin)?;
        let mut transaction = self.store.branch(BRANCH)?.begin()?;
        transaction.remove(files::directory(origin))?;
        transaction.commit_async(cause.author(), format!("{origin} {}", cause.why)).await?;
        unlocked(self.keepers.write()).remove(origin);
        let mut served = unlocked(self.served.lock());
        served.remove(origin);
        self.engine.served.publish(served.clone());
        drop(served);
        self.note_trouble(origin, None);
        Ok(())
    }

    /// Follows the branch: what others push is taken in.
    pub async fn follow(self: Arc<Self>) {
        let Ok(branch) = self.store.branch(BRANCH) else { return };
        let Ok(mut watch) = branch.watch("", None) else { return };
        // What the keepers committed they serve already.
        let own = |commit| self.keepers().iter().any(|keeper| keeper.made(commit));
        while let Ok(event) = watch.next_of_others(own).await {
            let paths: Vec<String> = event
                .changes
                .iter()
                .map(|change| String::from_utf8_lossy(change.path.as_ref()).into_owned())
                .collect();
            self.taken(&paths, event.commit).await;
        }
    }

    /// What time brings: signatures that end, keys that roll, devices that fell silent. Once a minute.
    pub async fn tick(self: Arc<Self>) {
        loop {
            self.expire_devices(u64::from(crate::serve::now_s())).await;
            if let Err(error) = self.save_requests() {
                tracing::error!(%error, "which requests were seen was not written");
            }
            for keeper in self.keepers() {
                if let Err(error) = keeper.renew(RENEW_AT_ONCE).await {
                    tracing::error!(zone = %keeper.origin, %error, "signatures were not renewed");
                }
                if let Err(error) = self.roll_keys(&keeper, u64::from(crate::serve::now_s()), |_| false).await
                {
                    tracing::error!(zone = %keeper.origin, %error, "keys were not rolled");
                }
                if let Err(error) = self.follow_parent(&keeper).await {
                    tracing::error!(zone = %keeper.origin, %error, "what waits for the parent was not done");
                }
            }
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

    /// Begins signing a zone, or changes how it is signed: another algorithm is rolled to.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn sign(
        &self,
        origin: &Name,
        who: &str,
        algorithm: Algorithm,
        nsec3: bool,
    ) -> Result<u32, KeepError> {
        let keeper = self.existing(origin)?;
        let mut settings = zone_settings(&self.settings(), origin);
        (settings.signed, settings.algorithm, settings.nsec3) = (true, Some(algorithm), nsec3);
        (settings.leaving, settings.ds_gone_since) = (0, 0);
        roll(&mut settings, u64::from(crate::serve::now_s()), |_| false)?;
        self.sign_as(&keeper, who, settings, "is signed from now on").await
    }

    /// Ends signing a zone in good order: the parent is asked to take its DS away (RFC 8078 section 4), and when it did
    /// and caches forgot it, signing ends.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn sign_off(&self, origin: &Name, who: &str) -> Result<u32, KeepError> {
        let keeper = self.existing(origin)?;
        let mut settings = zone_settings(&self.settings(), origin);
        if !settings.signed {
            return Err(KeepError::Other(format!("{origin} is not signed")));
        }
        settings.leaving = u64::from(crate::serve::now_s());
        self.sign_as(&keeper, who, settings, "asks its parent to forget its DS").await
    }

    fn existing(&self, origin: &Name) -> Result<Arc<Keeper>, KeepError> {
        self.keeper(origin).ok_or_else(|| KeepError::Other(format!("there is no zone {origin}")))
    }

    async fn sign_as(
        &self,
        keeper: &Keeper,
        who: &str,
        settings: ZoneSettings,
        why: &str,
    ) -> Result<u32, KeepError> {
        let signer = signer_of(&settings).map_err(KeepError::Other)?;
        self.change_settings(who, &format!("{} {why}", keeper.origin), |all| {
            *zone_settings_mut(all, &keeper.origin) = settings;
        })
        .await?;
        Ok(keeper.sign_anew(Some(signer), &Cause::new(who, why)).await?.serial)
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
    let algorithm = settings.algorithm.unwrap_or(Algorithm::EcdsaP256);
    while let Some(step) = next_step(&settings.keys, algorithm, &settings.timing, now, &parent_has) {
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

/// The signer of a zone's keys as they stand. Every algorithm among the keys signs everything (RFC 4035 section 2.2), also
/// while one takes the place of another.
pub fn signer_of(settings: &ZoneSettings) -> Result<Signer, String> {
    let mut keys: Vec<(&KeyRecord, Arc<ZoneKey>)> = Vec::new();
    for record in &settings.keys {
        let private =
            data_encoding::BASE64.decode(record.private.as_bytes()).map_err(|error| error.to_string())?;
        let flags = if record.role == Role::ZoneSigning { 256 } else { 257 };
        let key =
            ZoneKey::from_pkcs8(record.algorithm, flags, &private).map_err(|error| error.to_string())?;
        keys.push((record, Arc::new(key)));
    }
    let signs_keys = |one: &KeyRecord| one.role != Role::ZoneSigning;
    let is_asked = |one: &KeyRecord| signs_keys(one) && matches!(one.stage, Stage::Asked | Stage::Active);
    let signs_zone = |one: &KeyRecord| one.role != Role::KeySigning && one.stage == Stage::Active;
    // Those that the role asks for; of an algorithm that has none, whichever comes next.
    let signing = |wanted: &dyn Fn(&KeyRecord) -> bool, otherwise: &dyn Fn(&KeyRecord) -> bool| {
        let mut chosen: Vec<Arc<ZoneKey>> = Vec::new();
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let of: Vec<_> = keys.iter().filter(|(one, _)| one.algorithm == algorithm).collect();
            let fitting: Vec<_> =
                of.iter().filter(|(one, _)| wanted(one)).map(|(_, key)| key.clone()).collect();
            match fitting.is_empty() {
                false => chosen.extend(fitting),
                true => {
                    let next = of.iter().find(|(one, _)| otherwise(one)).or(of.first());
                    chosen.extend(next.map(|(_, key)| key.clone()));
                }
            }
        }
        chosen
    };
    let key_signing = signing(&signs_keys, &|one| one.role != Role::ZoneSigning);
    let zone_signing = signing(&signs_zone, &|one| one.role != Role::KeySigning);
    if key_signing.is_empty() || zone_signing.is_empty() {
        return Err("no key is active".to_string());
    }
    let newest = keys
        .iter()
        .filter(|(one, _)| is_asked(one))
        .max_by_key(|(one, _)| (one.stage == Stage::Asked, one.since));
    Ok(Signer {
        asked_of_parent: newest.map(|(_, key)| key.clone()).into_iter().collect(),
        published: keys.iter().map(|(_, key)| key.clone()).collect(),
        key_signing,
        zone_signing,
        denial: if settings.nsec3 { Denial::Nsec3 } else { Denial::Nsec },
        key_ttl: 3600,
        leaving: settings.leaving != 0,
        earlier: Arc::default(),
    })
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

#[cfg(test)]
mod leaving;
#[cfg(test)]
mod rolling;
