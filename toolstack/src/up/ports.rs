//! Whether the ports are free, asked before anything is started, with the name of who has them.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use chassis::options::Ports;

use crate::household::Settings;
use crate::suite::SUITE;
use crate::trouble::Trouble;

/// How the settings choose ports.
pub fn chosen(settings: &Settings) -> Ports {
    settings.base_port.map_or(Ports::Shared, Ports::Base)
}

/// Tries every port that the suite will need and lets go of it again. Names all that are taken, not the first alone.
pub fn check(settings: &Settings) -> Result<(), Trouble> {
    let mut options = chassis::Options::in_dir("");
    options.ports = chosen(settings);
    let mut taken = Vec::new();
    for member in &SUITE {
        for service in member.identity.services {
            let port = options.port(service);
            for address in settings.bind.iter().filter(|_| port != 0) {
                let at = SocketAddr::new(*address, port);
                let both = TcpListener::bind(at).map(drop).and_then(|()| match service.name {
                    "dns" => UdpSocket::bind(at).map(drop),
                    _ => Ok(()),
                });
                let Err(error) = both else { continue };
                let name = match service.name {
                    "web" => format!("{}'s pages", member.identity.title),
                    name => name.to_owned(),
                };
                taken.push(refusal(&name, at, &error)?);
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let mut trouble = Trouble::new(if taken.len() == 1 { "a port is taken" } else { "ports are taken" });
    for line in taken {
        trouble = trouble.advise(line);
    }
    Err(trouble
        .advise("stop what holds them, or choose other ports: --base-port 20000, or 0 for any free ones"))
}

/// A line for a port that is taken; what is no question of this port ends everything.
fn refusal(name: &str, at: SocketAddr, error: &std::io::Error) -> Result<String, Trouble> {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let holder =
                holder(at.ip(), at.port()).map_or(String::new(), |holder| format!(", held by {holder}"));
            Ok(format!("{at} for {name}{holder}"))
        }
        ErrorKind::PermissionDenied => Err(Trouble::new(format!("{at} for {name} is for root alone"))
            .advise("start it as root, give the program CAP_NET_BIND_SERVICE, or leave --public out")),
        ErrorKind::AddrNotAvailable => {
            Err(Trouble::new(format!("this machine does not have the address {}", at.ip()))
                .advise("`ip address` shows those that it has; name one of them with --bind"))
        }
        _ => Err(Trouble::new(format!("cannot listen on {at} for {name}: {error}"))),
    }
}

/// The program that listens on a port, as `name (process 123)`, where /proc tells us.
fn holder(address: IpAddr, port: u16) -> Option<String> {
    let tables =
        if address.is_ipv4() { ["tcp", "udp", "tcp6", "udp6"] } else { ["tcp6", "udp6", "tcp", "udp"] };
    let inode = tables
        .iter()
        .find_map(|table| inode_of(&fs::read_to_string(format!("/proc/net/{table}")).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = |one: fs::DirEntry| {
            fs::read_link(one.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        };
        if descriptors.flatten().any(has) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

/// The inode of the listening socket of a port, from a table of /proc/net (states 0A: TCP listening, 07: UDP bound).
fn inode_of(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        (local == port && matches!(*fields.get(3)?, "0A" | "07")).then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(base_port: u16) -> Settings {
        Settings {
            layout: 1,
            domain: "home.arpa".into(),
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            base_port: Some(base_port),
            new: false,
        }
    }

    #[test]
    fn every_taken_port_is_named_with_its_holder() {
        // A base such that imap (143) and imaps (993) can be held by this test.
        let (base, _held) = (20_000..60_000)
            .step_by(1_000)
            .find_map(|base| {
                let held = (
                    TcpListener::bind(("127.0.0.1", base + 143)),
                    TcpListener::bind(("127.0.0.1", base + 993)),
                );
                match held {
                    (Ok(one), Ok(two)) => Some((base, (one, two))),
                    _ => None,
                }
            })
            .unwrap();
        let text = check(&settings(base)).unwrap_err().to_string();
        assert!(text.contains(&format!("127.0.0.1:{} for imap", base + 143)), "{text}");
        assert!(text.contains(&format!("127.0.0.1:{} for imaps", base + 993)), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(check(&settings(0)).is_ok());
    }
}
