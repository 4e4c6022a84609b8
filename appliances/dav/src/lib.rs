//! WebDAV and the part of CalDAV and CardDAV that both share.

pub mod calendar;
pub mod card;
pub mod limits;
pub mod reading;
pub mod text_match;
pub mod xml;
