//! A mail server for a household, over the store.

pub mod auth;
pub mod directory;
pub mod imap;
pub mod limits;
pub mod mailbox;
pub mod message;
pub mod queue;
pub mod run;
pub mod sasl;
pub mod service;
pub mod settings;
pub mod smtp;

pub use run::{IDENTITY, run};
