//! What a `nymote.toml` must be beyond its grammar: names, sizes, addresses and ports that go together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use toml::Spanned;

use super::words::meant;
use super::{Manifest, Network, SIZES, Service, Size};
use crate::household::check_domain;
use crate::suite::SUITE;

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub what: String,
}

impl Fault {
    /// A fault at a byte of the text.
    pub fn at(text: &str, byte: usize, what: impl Into<String>) -> Fault {
        let before = &text.as_bytes()[..byte.min(text.len())];
        Fault { line: before.iter().filter(|byte| **byte == b'\n').count() + 1, what: what.into() }
    }
}

/// Collects faults of one text.
struct Faults<'a> {
    text: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add<T>(&mut self, place: &Spanned<T>, what: impl Into<String>) {
        self.found.push(Fault::at(self.text, place.span().start, what));
    }
}

/// All faults of a manifest.
pub fn faults(manifest: &Manifest, text: &str) -> Vec<Fault> {
    let mut faults = Faults { text, found: Vec::new() };
    if let Err(error) = check_domain(manifest.domain.get_ref()) {
        faults.add(&manifest.domain, error.to_string().replace("\n  ", "; "));
    }
    accounts(manifest, &mut faults);
    for network in manifest.networks.values() {
        if let Err(error) = prefix(network.get_ref()) {
            faults.add(&network.get_ref().prefix, error);
        }
        ways_out(network.get_ref(), &mut faults);
        bridge(network.get_ref(), &mut faults);
    }
    if manifest.services.is_empty() {
        faults.add(
            &manifest.domain,
            "no service is named: write [service.mail] and so on, or run `nymote init`",
        );
    }
    for (name, service) in &manifest.services {
        one_service(manifest, name, service, &mut faults);
    }
    together(manifest, &mut faults);
    faults.found
}

fn accounts(manifest: &Manifest, faults: &mut Faults<'_>) {
    if manifest.accounts.is_empty() {
        let what = "nobody could log in: add [[account]] and below it user = \"…\" and admin = true";
        faults.add(&manifest.domain, what);
    }
    let mut seen = Vec::new();
    for account in &manifest.accounts {
        let user = &account.get_ref().user;
        if let Err(reason) = chassis::accounts::check_user(user.get_ref()) {
            faults.add(user, reason);
        } else if seen.contains(&user.get_ref()) {
            faults.add(user, format!("the account {:?} is named twice", user.get_ref()));
        }
        seen.push(user.get_ref());
    }
}

fn one_service(manifest: &Manifest, name: &str, spanned: &Spanned<Service>, faults: &mut Faults<'_>) {
    let service = spanned.get_ref();
    let Some(size) = SIZES.iter().find(|size| size.name == name) else {
        let known = SIZES.map(|size| size.name);
        let what =
            format!("there is no service {name:?}{}; there are {}", meant(name, &known), known.join(", "));
        faults.add(spanned, what);
        return;
    };
    sizes(name, service, size, faults);
    for (port_name, port) in &service.ports {
        let services =
            SUITE.iter().find(|member| member.identity.name == name).map(|one| one.identity.services);
        let known: Vec<&str> = services.into_iter().flatten().map(|service| service.name).collect();
        if !known.contains(&port_name.as_str()) {
            let (meant, known) = (meant(port_name, &known), known.join(", "));
            faults.add(port, format!("{name} has no service {port_name:?}{meant}; it has {known}"));
        } else if *port.get_ref() == 0 {
            faults.add(port, "a port is a number from 1 to 65535");
        }
    }
    if let Some(settings) = &service.settings {
        faults.found.extend(super::settings::faults(name, settings, faults.text));
    }
    let Some(network_name) = &service.network else {
        faults.add(spanned, format!("{name} is on no network: add network = \"…\""));
        return;
    };
    let Some(network) = manifest.networks.get(network_name.get_ref()) else {
        let known: Vec<&str> = manifest.networks.keys().map(String::as_str).collect();
        let meant = meant(network_name.get_ref(), &known);
        let known = match known.as_slice() {
            [] => "none is defined: add [network.home] with bridge and prefix".to_owned(),
            [one] => format!("there is {one}"),
            _ => format!("there are {}", known.join(", ")),
        };
        faults.add(network_name, format!("there is no network {:?}{meant}; {known}", network_name.get_ref()));
        return;
    };
    match (&service.address, prefix(network.get_ref())) {
        (None, _) => faults.add(spanned, format!("{name} has no address: add address = \"…\"")),
        (Some(address), Ok(prefix)) if !prefix.holds(*address.get_ref()) => {
            let what =
                format!("{} is not in {} ({})", address.get_ref(), network_name.get_ref(), prefix.text);
            faults.add(address, what);
        }
        (Some(address), Ok(prefix)) if prefix.is_no_machines(*address.get_ref()) => {
            let what = format!(
                "{} is {}'s own name or its broadcast, not a machine's",
                address.get_ref(),
                prefix.text
            );
            faults.add(address, what);
        }
        _ => {}
    }
}

fn sizes(name: &str, service: &Service, size: &Size, faults: &mut Faults<'_>) {
    if let Some(memory) = &service.memory
        && *memory.get_ref() < size.memory
    {
        faults.add(
            memory,
            format!("{name} needs at least {} of memory, not {}", size.memory, memory.get_ref()),
        );
    }
    if let Some(disk) = &service.disk
        && *disk.get_ref() < size.disk_min
    {
        faults
            .add(disk, format!("{name} needs a disk of at least {}, not {}", size.disk_min, disk.get_ref()));
    }
}

/// Nobody takes a port twice, a gateway's address, or on a bridge another machine's address. Of two the one that stands below
/// is the fault.
fn together(manifest: &Manifest, faults: &mut Faults<'_>) {
    let mut taken: BTreeMap<(String, IpAddr, u16), (String, Option<&Spanned<u16>>)> = BTreeMap::new();
    let mut machines: BTreeMap<(&str, IpAddr), &str> = BTreeMap::new();
    let mut services: Vec<_> = manifest.services.iter().collect();
    services.sort_by_key(|(_, spanned)| spanned.span().start);
    for (name, spanned) in services {
        let service = spanned.get_ref();
        let (Some(network), Some(address)) = (&service.network, &service.address) else { continue };
        let gateway =
            manifest.networks.get(network.get_ref()).and_then(|network| network.get_ref().gateway.as_ref());
        if gateway.is_some_and(|gateway| gateway.get_ref() == address.get_ref()) {
            faults.add(address, format!("{} is the gateway of {}", address.get_ref(), network.get_ref()));
        }
        let Some(member) = SUITE.iter().find(|member| member.identity.name == name) else { continue };
        let before = faults.found.len();
        for one in member.identity.services {
            let given = service.ports.get(one.name);
            let port = given.map_or(one.port, |port| *port.get_ref());
            let key = (network.get_ref().clone(), *address.get_ref(), port);
            let own = format!("{name}'s {}", one.name);
            if let Some((other, theirs)) = taken.insert(key, (own.clone(), given)) {
                let what =
                    format!("port {port} of {} is taken twice: by {other} and by {own}", address.get_ref());
                match given.or(theirs) {
                    Some(port) => faults.add(port, what),
                    None => faults.add(address, what),
                }
            }
        }
        let bridge =
            manifest.networks.get(network.get_ref()).map(|network| network.get_ref().bridge.get_ref());
        let Some(bridge) = bridge.filter(|bridge| *bridge != NO_BRIDGE) else { continue };
        if let Some(other) = machines.insert((bridge, *address.get_ref()), name)
            && faults.found.len() == before
        {
            let what = format!(
                "{} is {other}'s address already; a machine has one of its own (processes on one host may share one: bridge = \"{NO_BRIDGE}\")",
                address.get_ref()
            );
            faults.add(address, what);
        }
    }
}

/// What stands for a bridge where processes are the machines.
const NO_BRIDGE: &str = "none";

fn ways_out(network: &Network, faults: &mut Faults<'_>) {
    let Ok(prefix) = prefix(network) else { return };
    if let Some(gateway) = &network.gateway {
        let address = *gateway.get_ref();
        if !prefix.holds(address) {
            faults.add(gateway, format!("the gateway {address} is not in {}", prefix.text));
        } else if prefix.is_no_machines(address) {
            faults.add(
                gateway,
                format!("{address} is {}'s own name or its broadcast, not a gateway's", prefix.text),
            );
        }
    }
    if let Some(nameserver) = &network.nameserver
        && nameserver.get_ref().is_ipv4() != prefix.base.is_ipv4()
    {
        let what = format!(
            "machines on {} cannot reach {}: name one of the same kind",
            prefix.text,
            nameserver.get_ref()
        );
        faults.add(nameserver, what);
    }
}

/// A bridge is a network interface of the host: Linux's rules for their names, and nothing that ends a word in xl's files.
fn bridge(network: &Network, faults: &mut Faults<'_>) {
    let name = network.bridge.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX || !name.chars().all(plain) || name.starts_with('.')
    {
        faults.add(
            &network.bridge,
            format!("{name:?} is no bridge's name: 1 to {INTERFACE_NAME_MAX} of a-z, 0-9, '.', '-' and '_', as `ip link` shows it"),
        );
    }
}

/// Linux's IFNAMSIZ without the end of the string.
const INTERFACE_NAME_MAX: usize = 15;

/// A network's addresses.
pub struct Prefix {
    base: IpAddr,
    bits: u32,
    text: String,
}

impl Prefix {
    /// Whether an address is one of them.
    pub fn holds(&self, address: IpAddr) -> bool {
        let masked = |bits: u128, width: u32| if self.bits == 0 { 0 } else { bits >> (width - self.bits) };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(one)) => {
                masked(u128::from(u32::from(base)), 32) == masked(u128::from(u32::from(one)), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(one)) => {
                masked(u128::from(base), 128) == masked(u128::from(one), 128)
            }
            _ => false,
        }
    }

    /// Whether an address of it is the network's own or its broadcast (RFC 919, RFC 4291 2.6.1), where it has these.
    fn is_no_machines(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(one) => {
                let hosts = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                self.bits < 31 && matches!(u32::from(one) & hosts, own if own == 0 || own == hosts)
            }
            IpAddr::V6(one) => {
                let hosts = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                self.bits < 127 && u128::from(one) & hosts == 0
            }
        }
    }

    /// Its lowest address, which is the network's own.
    fn own(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(base) => {
                let hosts = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                IpAddr::V4((u32::from(base) & !hosts).into())
            }
            IpAddr::V6(base) => {
                let hosts = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                IpAddr::V6((u128::from(base) & !hosts).into())
            }
        }
    }

    /// The length of the prefix in bits.
    pub fn bits(&self) -> u32 {
        self.bits
    }
}

/// Reads a network's prefix.
pub fn prefix(network: &Network) -> Result<Prefix, String> {
    let text = network.prefix.get_ref();
    let wrong = || format!("{text:?} is no prefix: write it as 192.168.1.0/24 or fd00::/64");
    let (base, bits) = text.split_once('/').ok_or_else(wrong)?;
    let (base, bits): (IpAddr, u32) =
        (base.parse().map_err(|_| wrong())?, bits.parse().map_err(|_| wrong())?);
    let width = if base.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return Err(wrong());
    }
    let prefix = Prefix { base, bits, text: text.clone() };
    match prefix.own() {
        own if own == base => Ok(prefix),
        own => Err(format!("{text:?} is an address in a network; the network is {own}/{bits}")),
    }
}
