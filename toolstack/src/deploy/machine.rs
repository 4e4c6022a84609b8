//! A machine as the deployment repository describes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, prefix_bits};
use crate::suite;
use crate::trouble::Trouble;

/// `machine.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The service that it is.
    pub name: String,
    /// The household's domain.
    pub domain: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The size of its disk in bytes.
    pub disk_bytes: u64,
    /// The host's bridge.
    pub bridge: String,
    /// Its address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix_bits: u32,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Who answers questions for names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nameserver: Option<IpAddr>,
    /// Ports other than the well-known ones.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
}

impl Machine {
    /// The machine of a service of a checked manifest.
    pub fn of(manifest: &Manifest, name: &str) -> Result<Machine, Trouble> {
        let missing = || Trouble::new(format!("{name} is not whole in nymote.toml"));
        let service = manifest.services.get(name).ok_or_else(missing)?.get_ref();
        let network_name = service.network.as_ref().ok_or_else(missing)?.get_ref();
        let network = manifest.networks.get(network_name).ok_or_else(missing)?.get_ref();
        let (memory, disk) = manifest.size(name).ok_or_else(missing)?;
        Ok(Machine {
            name: name.to_owned(),
            domain: manifest.domain.get_ref().clone(),
            memory_bytes: memory.0,
            disk_bytes: disk.0,
            bridge: network.bridge.get_ref().clone(),
            address: *service.address.as_ref().ok_or_else(missing)?.get_ref(),
            prefix_bits: prefix_bits(network).ok_or_else(missing)?,
            gateway: network.gateway.as_ref().map(|gateway| *gateway.get_ref()),
            nameserver: network.nameserver.as_ref().or(network.gateway.as_ref()).map(|one| *one.get_ref()),
            ports: service.ports.iter().map(|(name, port)| (name.clone(), *port.get_ref())).collect(),
        })
    }

    /// Reads a `machine.toml`.
    pub fn parse(text: &str) -> Result<Machine, Trouble> {
        toml::from_str(text).map_err(|error| Trouble::new(format!("machine.toml: {}", error.message())))
    }

    /// Its `machine.toml`.
    pub fn text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// The appliance's own arguments, on any platform.
    pub fn arguments(&self, device: &str) -> Vec<String> {
        let mut words = vec![
            format!("--device={device}"),
            format!("--domain={}", self.domain),
            format!("--bind={}", self.address),
            "--log=json".to_owned(),
        ];
        words.extend(self.ports.iter().map(|(name, port)| format!("--port={name}={port}")));
        words
    }

    /// Where its pages and its health are.
    pub fn web(&self) -> Option<SocketAddr> {
        let service = suite::member(&self.name)?.identity.service("web")?;
        Some(SocketAddr::new(self.address, self.ports.get("web").copied().unwrap_or(service.port)))
    }

    /// Its card's address: the same at each start, so that neighbours need not learn it anew, and another's for another machine.
    /// Xen's own prefix, and three bytes of what it is.
    pub fn card(&self) -> String {
        let of = format!("{} of {} at {}", self.name, self.domain, self.address);
        let hash = ring::digest::digest(&ring::digest::SHA256, of.as_bytes());
        let hash = hash.as_ref();
        format!("00:16:3e:{:02x}:{:02x}:{:02x}", hash[0] & 0x7f, hash[1], hash[2])
    }

    /// Its `machine.cfg`: xl's, with places for the host's own paths.
    pub fn xl(&self) -> String {
        let family = if self.address.is_ipv4() { "" } else { "6" };
        let mut extra = format!("ip{family}={}/{} hostname={}", self.address, self.prefix_bits, self.name);
        if let Some(gateway) = self.gateway {
            let _ = write!(extra, " gateway{family}={gateway}");
        }
        if let Some(nameserver) = self.nameserver {
            let _ = write!(extra, " nameserver={nameserver}");
        }
        let _ = write!(extra, " {}", self.arguments("/dev/xvda").join(" "));
        format!(
            "name = \"nymote-{}\"\ntype = \"pv\"\nkernel = \"@IMAGE@\"\nmemory = {}\nvcpus = 1\nextra = '{extra}'\n\
             disk = [\"phy:@DISK@,xvda,w\"]\nvif = [\"bridge={},mac={}\"]\n\
             on_poweroff = \"destroy\"\non_reboot = \"restart\"\non_crash = \"destroy\"\n",
            self.name,
            self.memory_bytes >> 20,
            self.bridge,
            self.card()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            name: "mail".into(),
            domain: "example.org".into(),
            memory_bytes: 32 << 20,
            disk_bytes: 4 << 30,
            bridge: "xenbr0".into(),
            address: "192.168.1.11".parse().unwrap(),
            prefix_bits: 24,
            gateway: "192.168.1.1".parse().ok(),
            nameserver: "192.168.1.1".parse().ok(),
            ports: [("imap".to_owned(), 1143)].into(),
        }
    }

    #[test]
    fn a_machine_reads_as_it_is_written() {
        assert_eq!(Machine::parse(&machine().text()).unwrap(), machine());
        assert_eq!(machine().web(), "192.168.1.11:443".parse().ok());
    }

    #[test]
    fn a_card_keeps_its_address_and_shares_it_with_nobody() {
        assert_eq!(machine().card(), Machine { memory_bytes: 64 << 20, ..machine() }.card());
        assert_ne!(machine().card(), Machine { name: "contacts".into(), ..machine() }.card());
        assert_ne!(machine().card(), Machine { domain: "example.net".into(), ..machine() }.card());
    }

    #[test]
    fn xl_gets_the_kernel_s_settings_and_the_program_s_words() {
        let text = machine().xl();
        for needed in [
            "name = \"nymote-mail\"",
            "memory = 32",
            "ip=192.168.1.11/24",
            "gateway=192.168.1.1",
            "nameserver=192.168.1.1",
            "--device=/dev/xvda",
            "--port=imap=1143",
            "phy:@DISK@,xvda,w",
            "bridge=xenbr0,mac=00:16:3e:",
        ] {
            assert!(text.contains(needed), "{needed} in\n{text}");
        }
    }
}
