//! Who an appliance is: its name, its services and the host names that it answers to.

/// What an appliance says about itself before it runs. All of it is known at compile time.
#[derive(Debug)]
pub struct Identity {
    /// The short name in commands, paths, logs and metrics: `mail`.
    pub name: &'static str,
    /// The name that people read: `Mail`.
    pub title: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// The version that is built.
    pub version: &'static str,
    /// Every port that it may listen on. The first service whose name is `web` carries the chassis's pages.
    pub services: &'static [Service],
    /// How its store is opened: merge policies for its paths, size of the cache. `|options| options` for the defaults.
    pub store: fn(store::Options) -> store::Options,
    /// Labels below the domain that its certificate names (`imap` makes `imap.example.org`).
    pub labels: &'static [&'static str],
}

/// A port that an appliance may listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The name in options, endpoints and nymote.toml: `imaps`.
    pub name: &'static str,
    /// The port on a machine that has its addresses for itself.
    pub port: u16,
    /// The port with `--public`, where all appliances share one address.
    pub shared: u16,
    /// What is added to the base port without `--public`.
    pub offset: u16,
}

impl Service {
    /// A service whose offset and shared port are its well-known port.
    pub const fn known(name: &'static str, port: u16) -> Service {
        Service { name, port, shared: port, offset: port }
    }

    /// The pages of an appliance: 443 alone, `shared` and `base + offset` beside the others.
    pub const fn web(shared: u16, offset: u16) -> Service {
        Service { name: "web", port: 443, shared, offset }
    }
}

impl Identity {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&'static Service> {
        self.services.iter().find(|service| service.name == name)
    }
}
