//! Addresses: static ones, DHCPv4 leases, router advertisements.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{IpAddress, IpCidr, Ipv4Cidr, Ipv6Cidr};

use super::stack::{LOOPBACK, LinkNumber, Network};

/// Most name servers that are kept.
const NAMESERVERS_MAX: usize = 4;

/// How one card gets its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardSettings {
    /// Ask a DHCPv4 server.
    pub dhcp: bool,
    /// Follow IPv6 router advertisements.
    pub router_advertisements: bool,
    /// Fixed addresses with their networks.
    pub addresses: Vec<IpCidr>,
    /// Fixed way out, IPv4.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Fixed way out, IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Fixed name servers; DHCP's are used when there are none.
    pub nameservers: Vec<IpAddr>,
}

/// What a card's DHCP client has.
#[derive(Default)]
pub struct Lease {
    client: Option<SocketHandle>,
    address: Option<Ipv4Cidr>,
    nameservers: Vec<IpAddr>,
}

impl CardSettings {
    /// Reads a card's settings; `setting` gives the values of [`crate::settings::NAMES`]. The second value has one line
    /// for each setting that could not be read and is left out.
    pub fn read(card: usize, setting: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let value = |name: &str| {
            setting(&format!("{name}.eth{card}"))
                .or_else(|| if card == 0 { setting(name) } else { None })
                .unwrap_or_default()
        };
        let mut settings = CardSettings::default();
        match value("ip").as_str() {
            "" | "dhcp" => settings.dhcp = true,
            "off" => {}
            list => settings.add_addresses("ip", list, IpAddr::is_ipv4, &mut wrong),
        }
        match value("ip6").as_str() {
            "" | "auto" => settings.router_advertisements = true,
            "off" => {}
            list => settings.add_addresses("ip6", list, IpAddr::is_ipv6, &mut wrong),
        }
        settings.gateway_v4 = one(&value("gateway"), "gateway", &mut wrong);
        settings.gateway_v6 = one(&value("gateway6"), "gateway6", &mut wrong);
        let servers = value("nameserver");
        settings.nameservers = servers
            .split(',')
            .filter_map(|server| one(server, "nameserver", &mut wrong))
            .take(NAMESERVERS_MAX)
            .collect();
        (settings, wrong)
    }

    fn add_addresses(&mut self, name: &str, list: &str, fits: fn(&IpAddr) -> bool, wrong: &mut Vec<String>) {
        for word in list.split(',') {
            let parsed = word.split_once('/').and_then(|(address, length)| {
                let address: IpAddr = address.parse().ok().filter(fits)?;
                let address = Some(address).filter(|&address| IpAddress::from(address).is_unicast())?;
                let longest = if address.is_ipv4() { 32 } else { 128 };
                let length = length.parse::<u8>().ok().filter(|&length| length <= longest)?;
                Some(IpCidr::new(address.into(), length))
            });
            match parsed {
                Some(cidr) => self.addresses.push(cidr),
                None => wrong.push(format!("{name}={word}: want ADDRESS/LENGTH")),
            }
        }
    }
}

fn one<T: core::str::FromStr>(word: &str, name: &str, wrong: &mut Vec<String>) -> Option<T> {
    if word.is_empty() {
        return None;
    }
    let parsed = word.parse().ok();
    if parsed.is_none() {
        wrong.push(format!("{name}={word}: want an address"));
    }
    parsed
}

impl Network {
    /// Gives a new link the addresses that are known by now, and starts its DHCP client.
    pub(super) fn configure(&mut self, number: LinkNumber) {
        let link = &mut self.links[number];
        let mut addresses = link.settings.addresses.clone();
        if (link.settings.router_advertisements || addresses.iter().any(|net| matches!(net, IpCidr::Ipv6(_))))
            && let Some(mac) = link.wire.mac()
        {
            addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(link_local(mac), 64)));
        }
        link.interface.update_ip_addrs(|list| {
            for address in addresses {
                let _ = list.push(address);
            }
        });
        if let Some(gateway) = link.settings.gateway_v4 {
            let _ = link.interface.routes_mut().add_default_ipv4_route(gateway);
        }
        if let Some(gateway) = link.settings.gateway_v6 {
            let _ = link.interface.routes_mut().add_default_ipv6_route(gateway);
        }
        if link.settings.dhcp {
            link.lease.client = Some(link.datagrams.add(dhcpv4::Socket::new()));
        }
        self.ask_for_addresses(number);
    }

    /// Takes over what the DHCP client was given, or gives up what it lost.
    pub(super) fn follow_lease(&mut self, number: LinkNumber) {
        let link = &mut self.links[number];
        let before: Vec<IpCidr> = link.interface.ip_addrs().to_vec();
        if let Some(client) = link.lease.client {
            match link.datagrams.get_mut::<dhcpv4::Socket<'_>>(client).poll() {
                Some(dhcpv4::Event::Configured(config)) => {
                    let (address, router) = (config.address, config.router);
                    link.lease.nameservers = config.dns_servers.iter().map(|&server| server.into()).collect();
                    link.replace_lease(Some(address));
                    if let (Some(router), None) = (router, link.settings.gateway_v4) {
                        let _ = link.interface.routes_mut().add_default_ipv4_route(router);
                    }
                }
                Some(dhcpv4::Event::Deconfigured) => {
                    link.replace_lease(None);
                    if link.settings.gateway_v4.is_none() {
                        link.interface.routes_mut().remove_default_ipv4_route();
                    }
                }
                None => {}
            }
        }
        self.ask_for_addresses(number);
        if number != LOOPBACK && self.links[number].interface.ip_addrs() != before {
            let line = self.describe(number);
            self.news.push(line);
        }
    }

    /// Whether the machine has the addresses with which a program can begin: every fixed IPv6 address that nobody else has,
    /// and of the cards that ask DHCP all, or any card an IPv4 address at all (the others may be on networks without a
    /// server).
    pub fn is_configured(&self) -> bool {
        let cards = || self.links.iter().skip(1);
        let leased = || cards().all(|link| link.lease.client.is_none() || link.lease.address.is_some());
        let reachable =
            || cards().any(|link| link.interface.ip_addrs().iter().any(|net| matches!(net, IpCidr::Ipv4(_))));
        let asked = |net: &IpCidr| self.is_to_be_ours(net.address().into());
        !cards().any(|link| link.settings.addresses.iter().any(asked)) && (leased() || reachable())
    }

    /// Who is asked for names, in order.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let fixed = self.links.iter().flat_map(|link| link.settings.nameservers.iter());
        let leased = self.links.iter().flat_map(|link| link.lease.nameservers.iter());
        let fixed: Vec<IpAddr> = fixed.copied().take(NAMESERVERS_MAX).collect();
        if fixed.is_empty() { leased.copied().take(NAMESERVERS_MAX).collect() } else { fixed }
    }
}

impl super::stack::Link {
    fn replace_lease(&mut self, address: Option<Ipv4Cidr>) {
        let old = core::mem::replace(&mut self.lease.address, address);
        self.interface.update_ip_addrs(|list| {
            list.retain(|cidr| old.is_none_or(|old| *cidr != IpCidr::Ipv4(old)));
            if let Some(address) = address {
                let _ = list.push(IpCidr::Ipv4(address));
            }
        });
    }
}

/// A card's address on its own link (RFC 4291 appendix A).
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn read(pairs: &[(&str, &str)]) -> (CardSettings, Vec<String>) {
        CardSettings::read(0, |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn without_settings_a_card_asks_and_listens() {
        let (settings, wrong) = read(&[]);
        assert!(settings.dhcp && settings.router_advertisements && wrong.is_empty());
    }

    #[test]
    fn fixed_addresses_are_read_and_wrong_ones_named() {
        let (settings, wrong) = read(&[
            ("ip", "10.0.0.2/24,10.1/8"),
            ("ip6.eth0", "fd00::2/64,ff02::5/64"),
            ("gateway", "10.0.0.1"),
            ("nameserver", "9.9.9.9,x"),
        ]);
        assert_eq!(settings.addresses.len(), 2);
        assert_eq!(settings.gateway_v4, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(settings.nameservers, vec![IpAddr::from([9, 9, 9, 9])]);
        let expected = [
            "ip=10.1/8: want ADDRESS/LENGTH",
            "ip6=ff02::5/64: want ADDRESS/LENGTH",
            "nameserver=x: want an address",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn rfc4291_a_link_local_address_comes_from_the_mac() {
        assert_eq!(link_local([0x00, 0x16, 0x3e, 1, 2, 3]).to_string(), "fe80::216:3eff:fe01:203");
    }
}
