//! WebDAV and the part of CalDAV and CardDAV that both share.
