//! WebDAV and the part of CalDAV and CardDAV that both share.

pub mod calendar;
pub mod limits;
pub mod reading;
pub mod xml;
