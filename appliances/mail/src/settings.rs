//! The owner's settings: `mail.toml` on the `config` branch. Every one has a default that is right for a household.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All settings of the mail appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name that this server says in greetings and Received fields; empty is `mail.DOMAIN`.
    pub hostname: String,
    /// More domains whose mail is ours, beside the household's.
    pub domains: Vec<String>,
    /// An address (or the part before the @) and where its mail goes: account names or addresses.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// The account that gets mail for unknown addresses of our domains; empty refuses it.
    pub catch_all: String,
    /// What separates an account from a detail in its address: `anna+shop@…`.
    pub detail_separator: String,
    /// The largest message, in bytes.
    pub message_bytes_max: usize,
    /// What an account may keep, in bytes; 0 is no bound.
    pub quota_bytes: u64,
    /// Whether submitted mail is copied to Sent.
    pub copy_to_sent: bool,
    /// Whether rate limits and sender checks hold for the same machine too.
    pub limit_loopback: bool,
    /// Messages that one network may send in an hour without logging in.
    pub messages_per_hour: u32,
    /// Whether a DMARC policy of `reject` refuses mail; otherwise such mail goes to Junk.
    pub obey_dmarc_reject: bool,
    /// A server that takes all outgoing mail, for homes whose port 25 is closed.
    pub smart_host: Option<SmartHost>,
    /// Hosts for single domains, `"example.org" = "192.0.2.1:25"`, instead of their MX records.
    pub routes: BTreeMap<String, String>,
    /// DNS servers, `"192.0.2.53:53"`; empty takes those of the system.
    pub dns: Vec<String>,
    /// The port of other mail hosts. Anything but 25 is for trials on one machine.
    pub mx_port: u16,
    /// Days that a message is tried.
    pub queue_days: u32,
    /// Other servers that hold an account of ours too: by account, where it is there. Both fetch, merge and push.
    pub twins: BTreeMap<String, Twin>,
    /// Whether IMAP takes passwords without TLS. Only for trials on one machine.
    pub plaintext_login: bool,
}

/// A smart host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmartHost {
    /// Name or address, and port: `smtp.example.net:465`. Port 465 is TLS from the start.
    pub host: String,
    /// User name; empty sends without a login.
    pub user: String,
    /// Password.
    pub password: String,
    /// Certificates to trust beside the usual ones, as PEM.
    pub trust_pem: String,
    /// Whether TLS begins with the connection; where it is left out, at port 465.
    pub implicit_tls: Option<bool>,
}

/// An account on another server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Twin {
    /// Its repository: `https://mail.example.org/mail.git`.
    pub url: String,
    /// The account's name there.
    pub user: String,
    /// A device's password there.
    pub password: String,
    /// The authority that vouches for its certificate, as PEM; empty for the usual ones.
    pub trust_pem: String,
}

impl SmartHost {
    /// Whether the connection is encrypted from its start, instead of by STARTTLS.
    pub fn tls_from_start(&self) -> bool {
        self.implicit_tls.unwrap_or_else(|| self.host.ends_with(":465"))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hostname: String::new(),
            domains: Vec::new(),
            aliases: BTreeMap::new(),
            catch_all: String::new(),
            detail_separator: "+".into(),
            message_bytes_max: crate::limits::MESSAGE_BYTES_MAX,
            quota_bytes: 0,
            copy_to_sent: true,
            limit_loopback: false,
            messages_per_hour: 500,
            obey_dmarc_reject: true,
            smart_host: None,
            routes: BTreeMap::new(),
            dns: Vec::new(),
            mx_port: 25,
            queue_days: 5,
            twins: BTreeMap::new(),
            plaintext_login: false,
        }
    }
}
