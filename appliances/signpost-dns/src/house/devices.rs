//! Devices and their addresses: told by dyndns2, by a plain call, by a router's new IPv6 prefix; gone with silence.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::{House, unlocked};
use crate::keeper::{Cause, Changed, KeepError};
use crate::name::Name;
use crate::record::RecordType;
use crate::settings::{Device, named};
use crate::update::SetChange;
use crate::zone::Zone;

/// Seconds that a device's addresses live in caches when nothing else was said.
const TTL_UNASKED_S: u32 = 60;

/// What a device's password is kept as. It is long and random: a plain digest is enough.
pub fn fingerprint(password: &str) -> String {
    HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, password.as_bytes()).as_ref())
}

/// Calls of one device that are heard within [`TELLS_S`]; a device that roams tells a few.
const TELLS_MAX: u32 = 120;
/// See [`TELLS_MAX`].
const TELLS_S: u64 = 60;

/// What is known of a device and not worth a commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heard {
    /// When it was last heard of, seconds since 1970.
    pub at: u64,
    since: u64,
    tells: u32,
}

/// Addresses that a device told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Its IPv4 address.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The IPv6 prefix that its network has now, first 64 bits.
    pub prefix: Option<Ipv6Addr>,
    /// It has no address any more.
    pub offline: bool,
}

impl Told {
    /// Addresses from words; what is empty says nothing.
    ///
    /// # Errors
    /// The word that is no address.
    pub fn from_words<'w>(
        words: impl IntoIterator<Item = &'w str>,
        prefix: Option<&str>,
    ) -> Result<Told, String> {
        let mut told = Told::default();
        for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
            match word.parse::<IpAddr>().map_err(|_| format!("{word} is not an address"))? {
                IpAddr::V4(four) => told.ipv4 = Some(four),
                IpAddr::V6(six) => told.ipv6 = Some(six),
            }
        }
        if let Some(text) = prefix.map(str::trim).filter(|text| !text.is_empty()) {
            let address = text.split('/').next().unwrap_or(text);
            told.prefix = Some(address.parse().map_err(|_| format!("{text} is not an IPv6 prefix"))?);
        }
        Ok(told)
    }
}

/// A prefix's upper 64 bits with an interface's lower 64.
fn joined(prefix: Ipv6Addr, interface: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(u64::MAX);
    Ipv6Addr::from(u128::from(prefix) & !low | u128::from(interface) & low)
}

impl House {
    /// The device that these credentials belong to.
    pub fn device_login(&self, name: &str, password: &str) -> Option<Device> {
        let settings = self.settings();
        let device = settings.devices.get(name)?;
        chassis::accounts::equal(device.password.as_bytes(), fingerprint(password).as_bytes())
            .then(|| device.clone())
    }

    /// Adds a device; gives the password, which is shown once.
    ///
    /// # Errors
    /// `KeepError`: the host is in no zone, or the name is taken.
    pub async fn add_device(&self, who: &str, name: &str, device: Device) -> Result<String, KeepError> {
        let host =
            named(&device.host).ok_or_else(|| KeepError::Other(format!("{} is not a name", device.host)))?;
        if self.keeper_of(&host).is_none() {
            return Err(KeepError::Other(format!("no zone here holds {host}; import or make one first")));
        }
        if self.settings().devices.contains_key(name) {
            return Err(KeepError::Other(format!("there is a device {name} already; revoke it first")));
        }
        let password = chassis::accounts::new_password();
        let added =
            Device { password: fingerprint(&password), added: u64::from(crate::serve::now_s()), ..device };
        self.change_settings(who, &format!("device {name} added"), |all| {
            drop(all.devices.insert(name.to_string(), added))
        })
        .await?;
        Ok(password)
    }

    /// Takes a device and its addresses away.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn revoke_device(&self, who: &str, name: &str) -> Result<(), KeepError> {
        let device = self.settings().devices.get(name).cloned();
        let device = device.ok_or_else(|| KeepError::Other(format!("there is no device {name}")))?;
        self.change_settings(who, &format!("device {name} revoked"), |all| drop(all.devices.remove(name)))
            .await?;
        let told = Told { offline: true, ..Told::default() };
        self.set_addresses(&Cause::new(who, format!("device {name} revoked")), &[(device, told)]).await?;
        Ok(())
    }

    /// Counts a device's calls; false when they are too many.
    pub fn may_tell(&self, name: &str) -> bool {
        let now = super::errands::now();
        let mut all = unlocked(self.heard.lock());
        let heard = all.entry(name.to_string()).or_default();
        if now.saturating_sub(heard.since) >= TELLS_S {
            (heard.since, heard.tells) = (now, 0);
        }
        heard.tells += 1;
        heard.tells <= TELLS_MAX
    }

    /// When a device was last heard of, seconds since 1970; 0: never.
    pub fn last_heard(&self, name: &str, device: &Device) -> u64 {
        unlocked(self.heard.lock()).get(name).map_or(0, |heard| heard.at).max(device.seen)
    }

    /// Takes what a device told for everybody, or for askers in a view.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn hear_in(
        self: &Arc<Self>,
        name: &str,
        told: Told,
        how: &str,
        view: &str,
    ) -> Result<Changed, KeepError> {
        if view.is_empty() {
            return self.hear(name, told, how).await;
        }
        let settings = self.settings();
        let device = settings.devices.get(name);
        let device = device.ok_or_else(|| KeepError::Other(format!("there is no device {name}")))?;
        let cause = Cause::new(format!("device {name}"), format!("told by {how} for the view {view}"));
        let changed = self.set_addresses_in(&cause, view, device, told).await?;
        self.note_seen(name, device, how).await?;
        Ok(changed)
    }

    /// Sets a device's addresses as askers in a view see them; none of a kind leaves it, `offline` takes both away.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn set_addresses_in(
        &self,
        cause: &Cause,
        view: &str,
        device: &Device,
        told: Told,
    ) -> Result<Changed, KeepError> {
        let host =
            named(&device.host).ok_or_else(|| KeepError::Other(format!("{} is not a name", device.host)))?;
        let keeper =
            self.keeper_of(&host).ok_or_else(|| KeepError::Other(format!("no zone here holds {host}")))?;
        let one = (host, device.ttl, told);
        self.change_view(cause, view, &keeper, move |own, _| Ok(address_sets(own, &one))).await
    }

    /// Takes what a device told: its own addresses, and those of all devices behind it when the prefix is new.
    ///
    /// # Errors
    /// `KeepError`.
    pub async fn hear(self: &Arc<Self>, name: &str, told: Told, how: &str) -> Result<Changed, KeepError> {
        let settings = self.settings();
        let device = settings
            .devices
            .get(name)
            .ok_or_else(|| KeepError::Other(format!("there is no device {name}")))?;
        let mut all = vec![(device.clone(), told)];
        if let Some(prefix) = told.prefix {
            let own = device.interface.as_ref().and_then(|text| text.parse().ok());
            all[0].1.ipv6 = all[0].1.ipv6.or(own.map(|own| joined(prefix, own)));
            for (_, other) in
                settings.devices.iter().filter(|(_, other)| other.behind.as_deref() == Some(name))
            {
                let Some(interface) = other.interface.as_ref().and_then(|text| text.parse().ok()) else {
                    continue;
                };
                all.push((other.clone(), Told { ipv6: Some(joined(prefix, interface)), ..Told::default() }));
            }
        }
        let changed =
            self.set_addresses(&Cause::new(format!("device {name}"), format!("told by {how}")), &all).await?;
        self.note_seen(name, device, how).await?;
        Ok(changed)
    }

    /// Notes that a device lives: often enough for its patience, seldom enough for the store.
    async fn note_seen(&self, name: &str, device: &Device, how: &str) -> Result<(), KeepError> {
        let now = u64::from(crate::serve::now_s());
        unlocked(self.heard.lock()).entry(name.to_string()).or_default().at = now;
        let patience = if device.expires_s == 0 { 86_400 } else { device.expires_s / 8 };
        if now.saturating_sub(device.seen) < patience.max(1) && device.how == how {
            return Ok(());
        }
        self.change_settings("signpost", &format!("device {name} was heard of"), |all| {
            if let Some(device) = all.devices.get_mut(name) {
                (device.seen, device.how) = (now, how.to_string());
            }
        })
        .await
    }

    async fn set_addresses(&self, cause: &Cause, all: &[(Device, Told)]) -> Result<Changed, KeepError> {
        let mut last = Changed { sets: 0, serial: 0 };
        for keeper in self.keepers() {
            let of_zone: Vec<(Name, u32, Told)> = all
                .iter()
                .filter_map(|(device, told)| Some((named(&device.host)?, device.ttl, *told)))
                .filter(|(host, ..)| self.keeper_of(host).is_some_and(|one| one.origin == keeper.origin))
                .collect();
            if of_zone.is_empty() {
                continue;
            }
            let changed = keeper
                .change(cause, |zone| Ok(of_zone.iter().flat_map(|one| address_sets(zone, one)).collect()))
                .await?;
            if changed.sets > 0 {
                self.tell_secondaries(&keeper.origin);
            }
            last = Changed { sets: last.sets + changed.sets, serial: changed.serial };
        }
        Ok(last)
    }

    /// Takes away the addresses of devices that were not heard of for too long.
    pub async fn expire_devices(&self, now: u64) {
        for (name, device) in &self.settings().devices {
            let heard = self.last_heard(name, device);
            if device.expires_s == 0 || heard == 0 || now.saturating_sub(heard) < device.expires_s {
                continue;
            }
            let cause = Cause::new("signpost", format!("device {name} fell silent"));
            let told = Told { offline: true, ..Told::default() };
            match self.set_addresses(&cause, &[(device.clone(), told)]).await {
                Ok(changed) if changed.sets > 0 => {
                    tracing::info!(device = name, "fell silent; its addresses are gone")
                }
                Ok(_) => {}
                Err(error) => tracing::error!(device = name, %error, "its addresses could not be taken away"),
            }
        }
    }
}

/// Where RRsets stand: a zone, or what a view has of its own.
pub trait Sets {
    /// The data of an RRset.
    fn set_of(&self, name: &Name, rtype: RecordType) -> Option<Vec<Vec<u8>>>;
}

impl Sets for Zone {
    fn set_of(&self, name: &Name, rtype: RecordType) -> Option<Vec<Vec<u8>>> {
        let set = self.node(name)?.get(rtype)?;
        Some(set.datas(&self.origin).collect())
    }
}

impl Sets for [SetChange] {
    fn set_of(&self, name: &Name, rtype: RecordType) -> Option<Vec<Vec<u8>>> {
        self.iter().find(|one| one.name == *name && one.rtype == rtype).map(|one| one.datas.clone())
    }
}

/// What is to change for one device's addresses.
fn address_sets(zone: &(impl Sets + ?Sized), (host, ttl, told): &(Name, u32, Told)) -> Vec<SetChange> {
    let there = |rtype: RecordType| zone.set_of(host, rtype);
    let wanted = [
        (RecordType::A, told.ipv4.map(|address| address.octets().to_vec())),
        (RecordType::AAAA, told.ipv6.map(|address| address.octets().to_vec())),
    ];
    let ttl = if *ttl == 0 { TTL_UNASKED_S } else { *ttl };
    let set = |rtype, datas| SetChange { name: host.clone(), rtype, ttl, datas };
    let mut changes = Vec::new();
    for (rtype, address) in wanted {
        match (address, there(rtype)) {
            (Some(address), there) if there.as_ref() != Some(&vec![address.clone()]) => {
                changes.push(set(rtype, vec![address]))
            }
            (None, Some(_)) if told.offline => changes.push(set(rtype, Vec::new())),
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_prefix_keeps_the_interface() {
        let join = |prefix: &str, interface: &str| {
            joined(prefix.parse().unwrap(), interface.parse().unwrap()).to_string()
        };
        assert_eq!(join("2001:db8:7:1::", "::1:2:3:4"), "2001:db8:7:1:1:2:3:4");
        assert_eq!(join("2001:db8:7:1:ffff::9", "fe80::5"), "2001:db8:7:1::5");
    }

    #[test]
    fn words_are_addresses_or_refused() {
        let told = Told::from_words(["192.0.2.1", "", "2001:db8::1"], Some("2001:db8:1::/56")).unwrap();
        assert_eq!((told.ipv4.is_some(), told.ipv6.is_some(), told.prefix.is_some()), (true, true, true));
        assert!(Told::from_words(["256.1.1.1"], None).is_err());
        assert!(Told::from_words([""; 0], Some("nine")).is_err());
    }
}
