//! The key of mail's certificate in the DNS (TLSA, RFC 6698): who sends to us checks it where the zone is signed (RFC 7672),
//! and sends nothing to a host that shows another one. So a new certificate is known there before it is served (RFC 7671
//! section 8.1): [`Coming`] keeps it until nobody can remember the records without its key. The local authority's leaf has
//! the same key at every start.

use std::fs;
use std::io::ErrorKind;

use chassis::tls::{Shown, Tls};
use serde::{Deserialize, Serialize};
use serde_json::json;
use signpost_dns::record::{Record, RecordType};

use crate::household::Household;
use crate::place::reach;
use crate::suite;
use crate::trouble::Trouble;

/// A certificate that mail is going to serve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Coming {
    /// The chain in PEM.
    pub certificate: String,
    /// Its private key in PEM.
    pub key: String,
    /// Since when the zone has its key beside the one that is served, in seconds since 1970.
    #[serde(default)]
    pub known_since_s: Option<u64>,
}

impl Coming {
    /// The one that waits, if one does.
    pub fn read(household: &Household) -> Result<Option<Coming>, Trouble> {
        let path = household.dir.join(COMING);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Trouble::new(format!("{} is damaged: {error}", path.display()))
                    .advise("`nymote certificate` writes it anew")
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Trouble::io("read", &path, error)),
        }
    }

    /// Keeps it.
    pub fn write(&self, household: &Household) -> Result<(), Trouble> {
        household.write(COMING, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o600)
    }

    /// Lets none wait.
    pub fn forget(household: &Household) -> Result<(), Trouble> {
        let path = household.dir.join(COMING);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Trouble::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Whether nobody remembers any more what the zone said before it knew this key.
    fn due(&self, now_s: u64) -> bool {
        self.known_since_s.is_some_and(|since_s| now_s >= since_s + WAIT_S)
    }

    fn shown(&self) -> Result<Shown, Trouble> {
        Tls::check(&self.certificate, &self.key).map_err(|error| Trouble::new(error.to_string()))
    }
}

/// The records: the key that mail shows, and the one that it is going to show. None when mail cannot be asked.
pub async fn records(household: &Household) -> Result<Vec<String>, Trouble> {
    let client = chassis::control::Client::connect(&household.of("mail")).await;
    let client = client.map_err(|error| Trouble::new(error.to_string()))?;
    let shown = client.ask("certificate.show", json!({"name": host(household)})).await?;
    let mut keys: Vec<String> = shown["key_sha256"].as_str().map(str::to_owned).into_iter().collect();
    if let Some(coming) = Coming::read(household)? {
        keys.push(data_encoding::HEXLOWER.encode(&coming.shown()?.key_sha256));
    }
    keys.dedup();
    Ok(keys.into_iter().map(|key| format!("_25._tcp.{}. TLSA 3 1 1 {key}", host(household))).collect())
}

/// Whether a certificate is to wait: mail would show it, the zone is signed, and what we published there does not know
/// its key.
pub async fn must_wait(household: &Household, shown: &Shown, published: &[Record]) -> Result<bool, Trouble> {
    let mut known = published.iter().filter(|record| record.rtype == RecordType::TLSA).peekable();
    if !shown.is_for(&host(household)) || known.peek().is_none() {
        return Ok(false);
    }
    if known.any(|record| record.data.ends_with(&shown.key_sha256)) {
        return Ok(false);
    }
    let Some(signpost) = suite::member("signpost") else { return Ok(false) };
    let zones = reach(&household.dir, signpost).await?.ask("zone.list", json!({})).await?;
    let own = format!("{}.", household.settings.domain);
    let mut zones = zones.as_array().into_iter().flatten();
    Ok(zones.any(|zone| zone["zone"] == own.as_str() && zone["signed"] == true))
}

/// After a round: `published` stands in the zone as far as we know, and is not ours where `left_alone`. Gives mail the
/// certificate that waits when its time has come, and says so.
pub async fn go_on(
    household: &Household,
    published: &[Record],
    left_alone: bool,
    now_s: u64,
) -> Result<bool, Trouble> {
    let Some(mut coming) = Coming::read(household)? else { return Ok(false) };
    let key = coming.shown()?.key_sha256;
    let known = |record: &Record| record.rtype == RecordType::TLSA && record.data.ends_with(&key);
    if coming.known_since_s.is_none() && published.iter().any(known) {
        // Records of somebody else's are that one's to look after: waiting mends nothing.
        coming.known_since_s = Some(if left_alone { 0 } else { now_s });
        coming.write(household)?;
    }
    if !coming.due(now_s) {
        return Ok(false);
    }
    let Some(mail) = suite::member("mail") else { return Ok(false) };
    let set = json!({"certificate": coming.certificate, "key": coming.key});
    reach(&household.dir, mail).await?.ask("certificate.set", set).await?;
    Coming::forget(household)?;
    Ok(true)
}

/// The host that takes mail: what MX names.
fn host(household: &Household) -> String {
    format!("mail.{}", household.settings.domain)
}

/// In the household's directory.
const COMING: &str = "coming.json";
/// How long the zone knows a key before it is served: twice the records' time to live (RFC 7671 section 8.1), for what a
/// secondary gives out a little later.
pub const WAIT_S: u64 = 2 * super::publish::TTL_S as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7671_8_1_a_key_is_known_before_it_is_served() {
        let mut coming = Coming { certificate: String::new(), key: String::new(), known_since_s: None };
        assert!(!coming.due(u64::MAX), "not before the zone has it");
        coming.known_since_s = Some(1000);
        assert!(!coming.due(1000 + WAIT_S - 1));
        assert!(coming.due(1000 + WAIT_S));
    }
}
