//! What an appliance is told at its start: command-line words, on a machine the words of its kernel command line.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::identity::{Identity, Service};
pub use tracing::Level;

/// Where an appliance keeps its data, what it listens on, and how it speaks to whoever started it.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory for the store and the control socket.
    pub dir: Option<PathBuf>,
    /// A file or block device that is the store itself; no control socket then.
    pub device: Option<PathBuf>,
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Which port a service takes.
    pub ports: Ports,
    /// Single services' ports, whatever `ports` says.
    pub port_of: BTreeMap<String, u16>,
    /// The household's domain, when the store does not know one yet.
    pub domain: Option<String>,
    /// Logs as JSON lines, not for people.
    pub log_json: bool,
    /// The least level that is logged.
    pub log_level: tracing::Level,
    /// A supervisor holds our standard input and output: one JSON line in at the start (the seed), one line out when
    /// ready; the end of standard input means "stop".
    pub supervised: bool,
}

/// How a service finds its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// The well-known ones: a machine of its own.
    Own,
    /// The well-known ones, shared with the other appliances on one address.
    Shared,
    /// A base port plus the service's offset; 0 lets the system choose each.
    Base(u16),
}

/// A wrong word on the command line; the text says which and what is possible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct OptionError(String);

impl Options {
    /// Options for a data directory, on loopback, with ports that the system chooses. Tests start from here.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: Some(dir.into()),
            device: None,
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ports: Ports::Base(0),
            port_of: BTreeMap::new(),
            domain: None,
            log_json: false,
            log_level: tracing::Level::INFO,
            supervised: false,
        }
    }

    /// Reads command-line words (without the program's name).
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Options, OptionError> {
        let mut options = Options::in_dir("");
        options.dir = None;
        options.ports = Ports::Own;
        options.bind.clear();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || {
                inline.clone().or_else(|| words.next()).ok_or_else(|| wrong(format!("{name} needs a value")))
            };
            match name.as_str() {
                "--dir" => options.dir = Some(value()?.into()),
                "--device" => options.device = Some(value()?.into()),
                "--domain" => options.domain = Some(value()?),
                "--bind" => {
                    for one in value()?.split(',') {
                        let address = one
                            .parse()
                            .map_err(|_| wrong(format!("--bind: {one:?} is not an IP address")))?;
                        options.bind.push(address);
                    }
                }
                "--base-port" => {
                    let text = value()?;
                    let base =
                        text.parse().map_err(|_| wrong(format!("--base-port: {text:?} is not a port")))?;
                    options.ports = Ports::Base(base);
                }
                "--port" => {
                    let text = value()?;
                    let parsed =
                        text.split_once('=').and_then(|(name, port)| Some((name, port.parse().ok()?)));
                    let (name, port) = parsed.ok_or_else(|| {
                        wrong(format!("--port: {text:?} is not SERVICE=NUMBER, as imap=1143"))
                    })?;
                    options.port_of.insert(name.to_owned(), port);
                }
                "--shared-ports" => options.ports = Ports::Shared,
                "--log" => options.log_json = value()? == "json",
                "--log-level" => {
                    let text = value()?;
                    options.log_level = text.parse().map_err(|_| {
                        wrong(format!("--log-level: {text:?} is none of error, warn, info, debug, trace"))
                    })?;
                }
                "--supervised" => options.supervised = true,
                _ => return Err(wrong(format!("unknown option {name:?}; known are {KNOWN}"))),
            }
        }
        if options.dir.is_none() && options.device.is_none() {
            return Err(wrong("say where the data is: --dir DIRECTORY or --device FILE".to_owned()));
        }
        if options.bind.is_empty() {
            options.bind.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        }
        Ok(options)
    }

    /// The port of a service under these options; 0 is the system's choice.
    pub fn port(&self, service: &Service) -> u16 {
        if let Some(port) = self.port_of.get(service.name) {
            return *port;
        }
        match self.ports {
            Ports::Own => service.port,
            Ports::Shared => service.shared,
            Ports::Base(0) => 0,
            Ports::Base(base) => base.saturating_add(service.offset),
        }
    }

    /// A name for messages: where the data of this appliance is.
    pub fn place(&self, identity: &Identity) -> String {
        match (&self.device, &self.dir) {
            (Some(path), _) | (None, Some(path)) => path.display().to_string(),
            (None, None) => identity.name.to_owned(),
        }
    }
}

fn wrong(text: String) -> OptionError {
    OptionError(text)
}

const KNOWN: &str = "--dir, --device, --domain, --bind, --base-port, --port, --shared-ports, --log, --log-level, --supervised";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_machine_has_its_ports_for_itself() {
        let options = Options::parse(words("--device=/dev/xvda --domain example.org")).unwrap();
        assert_eq!(options.port(&Service::web(8443, 444)), 443);
        assert_eq!(options.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn base_port_adds_the_offset() {
        let options = Options::parse(words("--dir /tmp/x --base-port 10000 --bind ::1,127.0.0.1")).unwrap();
        assert_eq!(options.port(&Service::known("imap", 143)), 10143);
        assert_eq!(options.bind.len(), 2);
    }

    #[test]
    fn a_single_port_may_differ() {
        let options =
            Options::parse(words("--dir x --base-port 10000 --port imap=1143 --port=smtp=2525")).unwrap();
        assert_eq!(options.port(&Service::known("imap", 143)), 1143);
        assert_eq!(options.port(&Service::known("smtp", 25)), 2525);
        assert!(Options::parse(words("--dir x --port imap")).is_err());
    }

    #[test]
    fn wrong_words_are_named() {
        let text = |line: &str| Options::parse(words(line)).unwrap_err().to_string();
        assert!(text("--dir x --bind nine").contains("\"nine\""));
        assert!(text("--dir x --colour").contains("--colour"));
        assert!(text("--domain x").contains("--device"));
        assert!(text("--dir").contains("needs a value"));
    }
}
