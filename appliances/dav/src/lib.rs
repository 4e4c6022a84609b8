//! WebDAV and the part of CalDAV and CardDAV that both share.

pub mod activity;
pub mod agenda;
pub mod calendar;
pub mod card;
#[cfg(feature = "command")]
pub mod command;
pub mod commands;
pub mod git;
pub mod household;
pub mod http;
pub mod limits;
pub mod pages;
pub mod path;
pub mod reading;
pub mod server;
pub mod text_match;
pub mod xml;
