//! A mail server for a household, over the store.

pub mod auth;
#[cfg(feature = "command")]
pub mod command;
pub mod commands;
pub mod directory;
pub mod gitmount;
pub mod imap;
pub mod limits;
pub mod mailbox;
pub mod message;
pub mod queue;
pub mod run;
pub mod sasl;
pub mod service;
pub mod settings;
pub mod setup;
pub mod smtp;
pub mod trace;
pub mod twins;
pub mod webmail;

pub use run::{IDENTITY, run};
