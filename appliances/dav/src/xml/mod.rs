//! XML as WebDAV uses it: small requests read whole into elements, answers written as they are made.

pub mod read;
pub mod write;

/// Namespace of RFC 4918.
pub const DAV: &str = "DAV:";
/// Namespace of RFC 4791.
pub const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
/// Namespace of RFC 6352.
pub const CARDDAV: &str = "urn:ietf:params:xml:ns:carddav";
/// Namespace of the Calendar Server extensions (getctag, shared, calendar-color's neighbours).
pub const CALENDAR_SERVER: &str = "http://calendarserver.org/ns/";
/// Namespace of Apple's calendar colours and order.
pub const APPLE: &str = "http://apple.com/ns/ical/";

/// An element's or property's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name {
    /// Namespace; empty for none.
    pub ns: String,
    /// Local name.
    pub local: String,
}

impl Name {
    /// The name `local` in `ns`.
    pub fn new(ns: &str, local: &str) -> Name {
        Name { ns: ns.to_string(), local: local.to_string() }
    }

    /// A name of RFC 4918's namespace.
    pub fn dav(local: &str) -> Name {
        Name::new(DAV, local)
    }
}

impl std::fmt::Display for Name {
    /// Clark notation, `{namespace}local`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{}}}{}", self.ns, self.local)
    }
}

impl std::str::FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Name, ()> {
        let (ns, local) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(())?;
        Ok(Name::new(ns, local))
    }
}
