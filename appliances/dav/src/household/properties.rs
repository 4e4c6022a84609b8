//! What is kept about a collection, in its `.collection` file: JSON that a person can read in a clone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a collection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files and folders.
    #[default]
    Plain,
    /// RFC 4791
    Calendar,
    /// RFC 6352
    AddressBook,
}

/// What others of the household may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
}

/// A collection's properties.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Properties {
    /// What it is.
    pub kind: Kind,
    /// DAV:displayname
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// CALDAV:calendar-description or CARDDAV:addressbook-description
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Apple's calendar-color, `#RRGGBBAA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Apple's calendar-order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// CALDAV:calendar-timezone, a VTIMEZONE as iCalendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// CALDAV:calendar-timezone-id (RFC 7809).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone_id: Option<String>,
    /// CALDAV:supported-calendar-component-set; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// CALDAV:schedule-calendar-transp is transparent: it does not make busy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub transparent: bool,
    /// Who of the household may use it, and how.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, Share>,
    /// The secret part of its public link, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Dead properties: name in Clark notation, value as XML.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dead: BTreeMap<String, String>,
}

impl Properties {
    /// Those of a new collection.
    pub fn new(kind: Kind, name: &str) -> Properties {
        Properties { kind, name: Some(name.to_string()), ..Properties::default() }
    }

    /// Reads the file; what cannot be read is a plain collection.
    pub fn read(bytes: &[u8]) -> Properties {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Writes the file.
    pub fn write(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The component types that the calendar takes.
    pub fn component_set(&self) -> Vec<&str> {
        match self.components.is_empty() {
            true => vec!["VEVENT", "VTODO", "VJOURNAL"],
            false => self.components.iter().map(String::as_str).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_back() {
        let mut properties = Properties::new(Kind::Calendar, "Family");
        properties.shares.insert("bob".into(), Share::ReadWrite);
        properties.dead.insert("{urn:x}a".into(), "<a xmlns=\"urn:x\"/>".into());
        assert_eq!(Properties::read(properties.write().as_bytes()), properties);
        assert_eq!(Properties::read(b"nonsense"), Properties::default());
        assert_eq!(
            Properties::new(Kind::Plain, "x").write(),
            "{\n  \"kind\": \"plain\",\n  \"name\": \"x\"\n}\n"
        );
    }
}
