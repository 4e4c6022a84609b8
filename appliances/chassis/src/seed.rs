//! What whoever starts an appliance tells it beyond options: JSON lines on standard input, under `--supervised`.
//!
//! The first line comes before anything else; later lines change what they name. The end of the input means "stop", so
//! that no appliance outlives its supervisor. What goes back, on standard output, are lines of [`Told`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::accounts::{Account, AccountChange};
use crate::tls::Leaf;

/// What an appliance is given. Every part may be missing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seed {
    /// The household's domain.
    pub domain: Option<String>,
    /// The certificate to serve until a real one is set, and the authority that signed it.
    pub leaf: Option<Leaf>,
    /// The authority's certificate, for people to download.
    pub authority_pem: Option<String>,
    /// Accounts of the household; each is taken when it is newer than the appliance's own.
    pub accounts: Vec<Account>,
    /// Login names of accounts that are no more.
    pub removed: Vec<String>,
    /// The pages of the other appliances, for the navigation.
    pub siblings: Vec<Sibling>,
}

/// Another appliance of the household, as a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// Its short name: `contacts`.
    pub name: String,
    /// What people read: `Contacts`.
    pub title: String,
    /// Where its pages are.
    pub url: String,
}

/// What an appliance says once, when every one of its services listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Each service's first address.
    pub endpoints: BTreeMap<String, SocketAddr>,
    /// From the start of the process, in milliseconds.
    pub after_ms: u64,
}

/// A line to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Once.
    Ready(Ready),
    /// An account was changed here; the other appliances of the household take it over.
    Account(AccountChange),
}
