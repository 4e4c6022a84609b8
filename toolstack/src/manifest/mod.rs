//! `nymote.toml`: which services run, on which machines and networks; typed, checked, every fault with its line.

mod check;
mod describe;
mod init;
mod quantity;
mod settings;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

pub use check::Fault;
pub use describe::{DescribeArgs, describe};
pub use init::{InitArgs, init};
pub use quantity::Bytes;

use crate::trouble::Trouble;

/// The file's name.
pub const MANIFEST: &str = "nymote.toml";

/// A household as it is to be deployed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The household's domain.
    pub domain: Spanned<String>,
    /// Its accounts.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Spanned<AccountEntry>>,
    /// Networks by name.
    #[serde(default, rename = "network")]
    pub networks: BTreeMap<String, Spanned<Network>>,
    /// Services by name: mail, contacts, calendar, signpost.
    #[serde(default, rename = "service")]
    pub services: BTreeMap<String, Spanned<Service>>,
}

/// An account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    /// Login name.
    pub user: Spanned<String>,
    /// What people call this person.
    #[serde(default)]
    pub name: String,
    /// May see and change what is everybody's.
    #[serde(default)]
    pub admin: bool,
}

/// A network that machines are on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The host's bridge.
    pub bridge: Spanned<String>,
    /// Its addresses: `192.168.1.0/24`.
    pub prefix: Spanned<String>,
    /// The way out.
    pub gateway: Option<Spanned<IpAddr>>,
    /// Who answers the machines' questions for names; the gateway unless said otherwise.
    pub nameserver: Option<Spanned<IpAddr>>,
}

/// A service and the machine that it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The machine's memory.
    pub memory: Option<Spanned<Bytes>>,
    /// The size of its disk.
    pub disk: Option<Spanned<Bytes>>,
    /// The network that it is on.
    pub network: Option<Spanned<String>>,
    /// Its address there.
    pub address: Option<Spanned<IpAddr>>,
    /// Ports other than the well-known ones, by service name: `imap = 1143`.
    #[serde(default)]
    pub ports: BTreeMap<String, Spanned<u16>>,
    /// Settings of the appliance itself, as they stand in its `NAME.toml`.
    pub settings: Option<Spanned<toml::Table>>,
}

/// What a machine has at least, and unless said otherwise.
pub struct Size {
    /// The service.
    pub name: &'static str,
    /// The least memory with which its journey passes.
    pub memory: Bytes,
    /// The least disk: an empty store and room to move.
    pub disk_min: Bytes,
    /// The disk that `init` proposes.
    pub disk: Bytes,
}

/// The sizes of the four.
pub const SIZES: [Size; 4] = [
    Size { name: "mail", memory: Bytes::mb(32), disk_min: Bytes::mb(64), disk: Bytes::mb(4096) },
    Size { name: "contacts", memory: Bytes::mb(24), disk_min: Bytes::mb(32), disk: Bytes::mb(512) },
    Size { name: "calendar", memory: Bytes::mb(24), disk_min: Bytes::mb(32), disk: Bytes::mb(512) },
    Size { name: "signpost", memory: Bytes::mb(8), disk_min: Bytes::mb(16), disk: Bytes::mb(64) },
];

impl Manifest {
    /// Reads and checks the text of a `nymote.toml`. All faults at once, in the order of their lines; of its grammar the first.
    pub fn read(text: &str) -> Result<Manifest, Vec<Fault>> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| vec![words::fault(&error, text)])?;
        let mut faults = check::faults(&manifest, text);
        if faults.is_empty() {
            return Ok(manifest);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(faults)
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<(Manifest, String), Trouble> {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Trouble::new(format!("there is no {}", path.display())).advise("`nymote init` writes one")
            }
            _ => Trouble::io("read", path, error),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes());
            let fault = Fault::at(&text, error.utf8_error().valid_up_to(), "this is no text in UTF-8");
            trouble(path, &text, &[fault])
        })?;
        match Manifest::read(&text) {
            Ok(manifest) => Ok((manifest, text)),
            Err(faults) => Err(trouble(path, &text, &faults)),
        }
    }

    /// The size of a service's machine: memory, disk.
    pub fn size(&self, name: &str) -> Option<(Bytes, Bytes)> {
        let (service, size) =
            (self.services.get(name)?.get_ref(), SIZES.iter().find(|size| size.name == name)?);
        let memory = service.memory.as_ref().map_or(size.memory, |memory| *memory.get_ref());
        Some((memory, service.disk.as_ref().map_or(size.disk, |disk| *disk.get_ref())))
    }
}

/// All faults, each with its line as it stands in the file.
fn trouble(path: &Path, text: &str, faults: &[Fault]) -> Trouble {
    let count = if faults.len() == 1 { "a fault".to_owned() } else { format!("{} faults", faults.len()) };
    let trouble = Trouble::new(format!("{} has {count}; nothing was done", path.display()));
    faults.iter().fold(trouble, |trouble, fault| {
        let source = text.lines().nth(fault.line - 1).unwrap_or_default().trim();
        let source: String = source.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
        trouble.advise(format!("{}:{}: {}\n      {source}", path.display(), fault.line, fault.what))
    })
}

/// How much of a line is shown.
const SHOWN_MAX: usize = 120;

/// The length of a network's prefix; `None` when it is none.
pub fn prefix_bits(network: &Network) -> Option<u32> {
    check::prefix(network).ok().map(|prefix| prefix.bits())
}

#[cfg(test)]
mod tests;
