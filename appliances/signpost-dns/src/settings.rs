//! What the owner set, as it stands in `signpost.toml` on the branch `config`: zones, keys, views. That branch is never
//! served; secrets may stand there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::dnssec::Algorithm as SigningAlgorithm;
use crate::dnssec::rollover::{KeyRecord, Role, Stage, Timing};
use crate::limits::RRL_ANSWERS_A_SECOND;
use crate::name::Name;
use crate::network::Network;
use crate::record::RecordType;
use crate::tsig;

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Answers a second to one network; 0: no limit.
    pub answers_a_second: u32,
    /// Whether askers on this machine are limited too.
    pub limit_loopback: bool,
    /// What NSID tells; empty: the host's role, `signpost`.
    pub identity: String,
    /// The resolver that is asked what the parents of zones say; none: the system's.
    pub resolver: Option<SocketAddr>,
    /// Called for a question for a sleeping service: `http://HOST:PORT/PATH`.
    pub wake_url: Option<String>,
    /// Networks of each view: an asker in one of them gets the view's records before the public ones.
    pub views: BTreeMap<String, Vec<String>>,
    /// Zones that differ from the usual.
    pub zones: BTreeMap<String, ZoneSettings>,
    /// TSIG keys by name.
    pub keys: BTreeMap<String, KeySettings>,
    /// Devices by name.
    pub devices: BTreeMap<String, Device>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            answers_a_second: RRL_ANSWERS_A_SECOND,
            limit_loopback: false,
            identity: String::new(),
            resolver: None,
            wake_url: None,
            views: BTreeMap::new(),
            zones: BTreeMap::new(),
            keys: BTreeMap::new(),
            devices: BTreeMap::new(),
        }
    }
}

/// One zone's settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneSettings {
    /// Whether the appliance signs it.
    pub signed: bool,
    /// NSEC3 instead of NSEC.
    pub nsec3: bool,
    /// Secondaries that are told of changes.
    pub notify: Vec<SocketAddr>,
    /// The key that signs NOTIFY; none: unsigned.
    pub notify_key: Option<String>,
    /// Networks that may have the whole zone without a key.
    pub transfer_to: Vec<String>,
    /// Names whose service sleeps until it is asked for.
    pub sleepers: Vec<String>,
    /// Since when the parent is asked to take its DS away, seconds since 1970; 0: it is not.
    pub leaving: u64,
    /// Since when the parent was seen without a DS, while leaving.
    pub ds_gone_since: u64,
    /// The algorithm of new keys.
    pub algorithm: Option<SigningAlgorithm>,
    /// When keys roll.
    pub timing: Timing,
    /// The keys.
    pub keys: Vec<KeyRecord>,
}

impl ZoneSettings {
    /// Whether something happens when the parent's DS changes: a new key signing key, or leaving.
    pub fn waits_for_parent(&self) -> bool {
        let coming = |key: &KeyRecord| matches!(key.stage, Stage::Published | Stage::Asked);
        self.leaving != 0 || self.keys.iter().any(|key| key.role != Role::ZoneSigning && coming(key))
    }
}

/// A TSIG key and what it may do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    /// The secret in base 64.
    pub secret: String,
    /// Zones it may change; empty: all.
    pub zones: Vec<String>,
    /// Names it may change: a name, or `*.name` for all below; empty: all of its zones.
    pub names: Vec<String>,
    /// Types it may change; empty: all but the signer's.
    pub types: Vec<String>,
    /// Whether it may not have whole zones.
    pub no_transfer: bool,
    /// Whether it may only ask and transfer.
    pub read_only: bool,
    /// The view that its updates change; none: the public zone.
    pub view: Option<String>,
}

impl KeySettings {
    /// The key itself.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn key(&self, name: &str) -> Result<tsig::Key, String> {
        let algorithm = if self.algorithm.is_empty() { "hmac-sha256" } else { &self.algorithm };
        let algorithm = tsig::Algorithm::from_text(algorithm)
            .ok_or_else(|| format!("{algorithm}: known are hmac-sha256, hmac-sha384 and hmac-sha512"))?;
        let secret =
            BASE64.decode(self.secret.as_bytes()).map_err(|_| "the secret is not base 64".to_string())?;
        if secret.len() < 8 {
            return Err("the secret is shorter than 8 octets".to_string());
        }
        Ok(tsig::Key::new(Name::from_text(name, Some(&Name::root()))?, algorithm, &secret))
    }

    /// Whether it has to do with this zone.
    pub fn knows_zone(&self, origin: &Name) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|one| named(one).as_ref() == Some(origin))
    }

    /// Whether it may change records of this type at this name.
    pub fn may(&self, origin: &Name, name: &Name, rtype: RecordType) -> bool {
        let of_signer = rtype.is_made_by_signer()
            || (name == origin
                && matches!(rtype, RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY));
        let type_fits =
            self.types.is_empty() || self.types.iter().any(|one| RecordType::from_text(one) == Some(rtype));
        let name_fits = self.names.is_empty()
            || self.names.iter().any(|one| match one.strip_prefix("*.") {
                Some(above) => named(above).is_some_and(|above| name.is_within(&above) && *name != above),
                None => named(one).as_ref() == Some(name),
            });
        !self.read_only && !of_signer && type_fits && name_fits && self.knows_zone(origin)
    }
}

/// A device that tells us its address.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// Its name in the zone, in full.
    pub host: String,
    /// SHA-256 of its password, base 16.
    pub password: String,
    /// TTL of its addresses in seconds.
    pub ttl: u32,
    /// Seconds of silence after which its addresses go; 0: never.
    pub expires_s: u64,
    /// The lower 64 bits of its IPv6 address behind a router whose prefix changes, as `::1:2:3:4`.
    pub interface: Option<String>,
    /// The device (a router) whose prefix it lives under.
    pub behind: Option<String>,
    /// When it was added, seconds since 1970.
    pub added: u64,
    /// When it was last heard of, to within an eighth of its patience.
    pub seen: u64,
    /// How it was last heard of: `dyndns2`, `https`.
    pub how: String,
}

/// A name of the settings, with or without the last dot.
pub fn named(text: &str) -> Option<Name> {
    Name::from_text(text, Some(&Name::root())).ok()
}

/// The networks of a view.
pub fn networks(texts: &[String]) -> Vec<Network> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
